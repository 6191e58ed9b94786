//! [`Interface`]: a link, and what this host is called there.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use frame::{ChecksumOffload, Frame, Segmentation, TxFrame};
use wire::MacAddr;
use wire::vlan::VlanId;

use crate::acd::{ConflictDetector, ProbeTiming};
use crate::cidr::Ipv4Cidr;
use crate::counters::Counters;
use crate::dhcp;
use crate::hooks::Filtered;
use crate::igmp::Membership;
use crate::neighbour::Neighbours;
use crate::stack::TcpHandle;
use crate::steering::{STEERING_KEY_LEN, Steering};
use crate::{DropReason, Key};

/// Most interfaces of a stack, loopback and VLANs among them.
pub const MAX_IFACES: usize = 4096;
/// Most addresses of an interface.
pub const MAX_ADDRESSES: usize = 16;
/// Most frames that wait for a device; a further one is dropped.
pub const MAX_TX_QUEUE: usize = 1024;
/// The least MTU of a link that carries IPv4 (RFC 791 § 3.2).
pub const MIN_MTU: u16 = 68;

/// An interface of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceId(pub u16);

impl IfaceId {
    /// The interface that every stack has: what is sent to one of its own addresses.
    pub const LOOPBACK: Self = Self(0);
}

/// What is true of a device's link now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The device's address.
    pub mac: MacAddr,
    /// Most octets of an IP packet, at least [`MIN_MTU`].
    pub mtu: u16,
    /// The device completes checksums ([`ChecksumOffload`]).
    pub tx_checksum: bool,
    /// The device cuts TCP segments that are longer than the MTU ([`Segmentation`]); it completes checksums, too.
    pub tx_segmentation: bool,
    /// There is a link.
    pub up: bool,
}

/// What an interface stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Loopback,
    /// A device.
    Ethernet,
    /// Frames of another interface that carry this tag (IEEE 802.1Q).
    Vlan {
        /// The other interface: a device.
        parent: IfaceId,
        /// The tag.
        id: VlanId,
    },
}

/// Where an address or a route is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody set it.
    Static,
    /// A DHCP server leased it.
    Dhcp,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) cidr: Ipv4Cidr,
    pub(crate) origin: Origin,
    pub(crate) detector: Option<ConflictDetector>,
}

impl Address {
    /// It was not found to be somebody else's, so that it may be used.
    pub(crate) fn is_usable(&self) -> bool {
        self.detector.as_ref().is_none_or(ConflictDetector::is_usable)
    }
}

/// An IP packet on its way to a link.
#[derive(Debug)]
pub(crate) struct Packet {
    /// From the IP header on.
    pub(crate) frame: Frame,
    /// What is still to be computed, counted from the IP header on.
    pub(crate) checksum: Option<ChecksumOffload>,
    /// It is several TCP segments; counted from the IP header on.
    pub(crate) segmentation: Option<Segmentation>,
}

/// An interface.
#[derive(Debug)]
pub struct Interface {
    name: String,
    kind: Kind,
    pub(crate) link: Link,
    /// Most octets of a packet that somebody asked for, such as a DHCP server.
    pub(crate) mtu_limit: Option<u16>,
    /// How its addresses are probed before they are used.
    pub(crate) probe_timing: ProbeTiming,
    pub(crate) addresses: Vec<Address>,
    pub(crate) neighbours: Neighbours<Ipv4Addr, Filtered<Packet>>,
    pub(crate) membership: Membership,
    pub(crate) dhcp: Option<dhcp::Client>,
    /// Frames for the device.
    pub(crate) tx: VecDeque<TxFrame>,
    /// Connections that may have something to send, each at most once.
    pub(crate) ready: VecDeque<TcpHandle>,
    pub(crate) counters: Counters,
    /// Whose the connections are.
    pub steering: Steering,
}

impl Interface {
    pub(crate) fn new(
        name: String,
        kind: Kind,
        link: Link,
        key: Key,
        steering: [u8; STEERING_KEY_LEN],
    ) -> Self {
        Self {
            name,
            kind,
            link: Link { mtu: link.mtu.max(MIN_MTU), ..link },
            mtu_limit: None,
            probe_timing: ProbeTiming::NONE,
            addresses: Vec::new(),
            neighbours: Neighbours::new(key),
            membership: Membership::default(),
            dhcp: None,
            tx: VecDeque::new(),
            ready: VecDeque::new(),
            counters: Counters::ZERO,
            steering: Steering::new(steering),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it stands on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is true of its link.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Most octets of an IP packet.
    pub fn mtu(&self) -> u16 {
        self.mtu_limit.map_or(self.link.mtu, |limit| limit.min(self.link.mtu)).max(MIN_MTU)
    }

    /// Its addresses, those that are still being probed left out.
    pub fn addresses(&self) -> impl Iterator<Item = (Ipv4Cidr, Origin)> {
        self.addresses
            .iter()
            .filter(|address| address.is_usable())
            .map(|address| (address.cidr, address.origin))
    }

    /// What happened at it.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The hosts on its link.
    pub fn neighbours(&self) -> impl Iterator<Item = (Ipv4Addr, MacAddr, crate::neighbour::NeighbourState)> {
        self.neighbours.entries()
    }

    /// The multicast groups it listens to.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Its DHCP client, if it has one.
    pub fn dhcp(&self) -> Option<&dhcp::Client> {
        self.dhcp.as_ref()
    }

    /// Frames that wait for the device.
    pub fn tx_queue_len(&self) -> usize {
        self.tx.len()
    }

    /// Whether an address is one of a host on its link.
    pub(crate) fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|known| known.cidr.contains(address))
    }

    /// The address to speak from to `peer`: one of the same network, else the first.
    pub(crate) fn source_for(&self, peer: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut usable = self.addresses().map(|(cidr, _)| cidr);
        let first = usable.next()?;
        let same = core::iter::once(first).chain(usable).find(|cidr| cidr.contains(peer));
        Some(same.unwrap_or(first).address())
    }

    /// Queues a frame for the device.
    pub(crate) fn queue(&mut self, frame: TxFrame) -> Result<(), DropReason> {
        if !self.link.up {
            return Err(DropReason::LinkDown);
        }
        if self.tx.len() >= MAX_TX_QUEUE {
            return Err(DropReason::TxQueueFull);
        }
        self.tx.push_back(frame);
        Ok(())
    }
}
