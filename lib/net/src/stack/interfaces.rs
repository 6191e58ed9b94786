//! Interfaces and their addresses: made, changed, looked up.

use alloc::string::String;
use core::net::Ipv4Addr;

use wire::vlan::VlanId;

use crate::acd::{ConflictDetector, ProbeTiming};
use crate::iface::{Address, IfaceId, Interface, Kind, Link, MAX_ADDRESSES, MAX_IFACES, Origin};
use crate::route::Route;
use crate::stack::Stack;
use crate::steering::STEERING_KEY_LEN;
use crate::{Instant, Ipv4Cidr};

/// Why an interface was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfaceError {
    /// There are [`MAX_IFACES`].
    Full,
    /// The name or the VLAN is taken.
    Exists,
    /// The parent is no device.
    Parent,
}

/// Why an address was not given to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// There is no such interface.
    NoInterface,
    /// It has [`MAX_ADDRESSES`].
    Full,
    /// It is no address of one host.
    NotUnicast,
}

/// An address that packets for this host may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Local {
    address: Ipv4Addr,
    iface: IfaceId,
    broadcast: bool,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locality {
    /// This host's.
    Own,
    /// All hosts' on the link of the interface asked about.
    Broadcast,
    /// All hosts' on the link of another interface.
    OtherBroadcast,
    /// A group's.
    Multicast,
    /// Somebody else's.
    Other,
}

impl Stack {
    /// An interface on a device, whose link is `link`.
    pub fn add_device(&mut self, name: impl Into<String>, link: Link) -> Result<IfaceId, IfaceError> {
        self.add_interface(name.into(), Kind::Ethernet, link)
    }

    /// A sub-interface: frames of `parent` with the tag `id`.
    pub fn add_vlan(
        &mut self,
        name: impl Into<String>,
        parent: IfaceId,
        id: VlanId,
    ) -> Result<IfaceId, IfaceError> {
        let device = self.interface(parent).filter(|parent| parent.kind() == Kind::Ethernet);
        let link = device.ok_or(IfaceError::Parent)?.link();
        let place = match self.vlans.binary_search_by_key(&(parent, id), |(parent, id, _)| (*parent, *id)) {
            Ok(_) => return Err(IfaceError::Exists),
            Err(place) => place,
        };
        let iface = self.add_interface(name.into(), Kind::Vlan { parent, id }, link)?;
        self.vlans.insert(place, (parent, id, iface));
        Ok(iface)
    }

    /// An interface. `None`: there is none of this number.
    pub fn interface(&self, iface: IfaceId) -> Option<&Interface> {
        self.ifaces.get(iface.0 as usize)
    }

    /// As [`Self::interface`], to change its steering.
    pub fn interface_mut(&mut self, iface: IfaceId) -> Option<&mut Interface> {
        self.ifaces.get_mut(iface.0 as usize)
    }

    /// All interfaces; loopback is the first.
    pub fn interfaces(&self) -> impl Iterator<Item = (IfaceId, &Interface)> {
        self.ifaces.iter().enumerate().map(|(index, iface)| (IfaceId(index as u16), iface))
    }

    /// What a device says of its link now. A link that goes down takes its queue with it; one that comes up is asked for its
    /// old address by DHCP.
    pub fn set_link(&mut self, iface: IfaceId, link: Link, now: Instant) {
        let of_device = |kind| matches!(kind, Kind::Vlan { parent, .. } if parent == iface);
        for index in 1..self.ifaces.len() {
            let id = IfaceId(index as u16);
            if id != iface && !of_device(self.ifaces[index].kind()) {
                continue;
            }
            let known = &mut self.ifaces[index];
            let (was_up, up) = (known.link.up, link.up);
            known.link = Link { mtu: link.mtu.max(crate::iface::MIN_MTU), ..link };
            if !up {
                known.tx.clear();
            }
            if up
                && !was_up
                && let Some(client) = &mut known.dhcp
            {
                client.handle_link_up(now);
            }
        }
        self.generation = self.generation.wrapping_add(1);
    }

    /// How new addresses of an interface are probed. Default: not at all.
    pub fn set_probe_timing(&mut self, iface: IfaceId, timing: ProbeTiming) {
        if let Some(iface) = self.ifaces.get_mut(iface.0 as usize) {
            iface.probe_timing = timing;
        }
    }

    /// Most octets of a packet at an interface, below what its device can. `None`: no such limit.
    pub fn set_mtu_limit(&mut self, iface: IfaceId, mtu: Option<u16>) {
        if let Some(iface) = self.ifaces.get_mut(iface.0 as usize) {
            iface.mtu_limit = mtu;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Gives an interface an address and a route to its network. It is used when it was probed, and announced.
    pub fn add_address(&mut self, iface: IfaceId, cidr: Ipv4Cidr, now: Instant) -> Result<(), AddressError> {
        self.add_address_from(iface, cidr, Origin::Static, now)
    }

    pub(super) fn add_address_from(
        &mut self,
        id: IfaceId,
        cidr: Ipv4Cidr,
        origin: Origin,
        now: Instant,
    ) -> Result<(), AddressError> {
        let address = cidr.address();
        let iface = self.ifaces.get_mut(id.0 as usize).ok_or(AddressError::NoInterface)?;
        if !is_host(address) || cidr.broadcast() == Some(address) {
            return Err(AddressError::NotUnicast);
        }
        if iface.addresses.iter().any(|known| known.cidr.address() == address) {
            return Ok(());
        }
        if iface.addresses.len() >= MAX_ADDRESSES {
            return Err(AddressError::Full);
        }
        let detector = match iface.kind() {
            Kind::Loopback => None,
            _ => Some(ConflictDetector::new(now, address, iface.probe_timing, &mut self.rng)),
        };
        let usable_at_once = iface.probe_timing.probes == 0;
        iface.addresses.push(Address { cidr, origin, detector });
        if cidr.prefix_len() < 32 && id != IfaceId::LOOPBACK {
            let network = cidr.network();
            self.add_route(
                Route {
                    network: network.address(),
                    prefix_len: network.prefix_len(),
                    gateway: None,
                    iface: id,
                    metric: 0,
                    mtu: None,
                    source: Some(address),
                    origin,
                },
                now,
            );
        }
        self.collect_locals();
        if usable_at_once {
            self.handle_address_timeout(id, now);
        }
        Ok(())
    }

    /// Takes an address from an interface, and the routes that came with it.
    pub fn remove_address(&mut self, id: IfaceId, address: Ipv4Addr, now: Instant) {
        let Some(iface) = self.ifaces.get_mut(id.0 as usize) else { return };
        iface.addresses.retain(|known| known.cidr.address() != address);
        self.remove_routes(|route| route.iface == id && route.source == Some(address), now);
        self.collect_locals();
    }

    /// Whose an address is, seen from an interface.
    pub(super) fn locality(&self, iface: IfaceId, address: Ipv4Addr) -> Locality {
        if address.is_multicast() {
            return Locality::Multicast;
        }
        if address.is_broadcast() {
            return Locality::Broadcast;
        }
        if address.is_loopback() {
            return Locality::Own;
        }
        let first = self.locals.partition_point(|local| local.address < address);
        let same = self.locals[first..].iter().take_while(|local| local.address == address);
        let mut found = Locality::Other;
        for local in same {
            match (local.broadcast, local.iface == iface) {
                (false, _) => return Locality::Own,
                (true, true) => found = Locality::Broadcast,
                (true, false) if found == Locality::Other => found = Locality::OtherBroadcast,
                _ => {}
            }
        }
        found
    }

    /// Whether an address is this host's own.
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        self.locality(IfaceId::LOOPBACK, address) == Locality::Own
    }

    /// The sub-interface for a tag.
    pub(super) fn vlan(&self, device: IfaceId, id: VlanId) -> Option<IfaceId> {
        let found = self.vlans.binary_search_by_key(&(device, id), |(parent, id, _)| (*parent, *id));
        Some(self.vlans.get(found.ok()?)?.2)
    }

    /// Gathers the addresses of all interfaces anew.
    pub(super) fn collect_locals(&mut self) {
        self.locals.clear();
        for (index, iface) in self.ifaces.iter().enumerate() {
            let id = IfaceId(index as u16);
            for (cidr, _) in iface.addresses() {
                self.locals.push(Local { address: cidr.address(), iface: id, broadcast: false });
                let network = Some(cidr.network().address()).filter(|_| cidr.prefix_len() <= 30);
                // The network's own address is the broadcast address of old (RFC 1122 § 3.3.6).
                for address in cidr.broadcast().into_iter().chain(network).filter(|_| index > 0) {
                    self.locals.push(Local { address, iface: id, broadcast: true });
                }
            }
        }
        self.locals.sort_unstable();
        self.generation = self.generation.wrapping_add(1);
    }

    fn add_interface(&mut self, name: String, kind: Kind, link: Link) -> Result<IfaceId, IfaceError> {
        if self.ifaces.len() >= MAX_IFACES {
            return Err(IfaceError::Full);
        }
        if self.ifaces.iter().any(|iface| iface.name() == name) {
            return Err(IfaceError::Exists);
        }
        let id = IfaceId(self.ifaces.len() as u16);
        let key = self.rng.key();
        let steering = self.steering_key();
        self.ifaces.push(Interface::new(name, kind, link, key, steering));
        Ok(id)
    }

    pub(super) fn steering_key(&mut self) -> [u8; STEERING_KEY_LEN] {
        let mut key = [0; STEERING_KEY_LEN];
        for octets in key.as_chunks_mut::<8>().0 {
            *octets = self.rng.next().to_le_bytes();
        }
        key
    }
}

impl Interface {
    /// When something of the interface is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let detectors = self.addresses.iter().filter_map(|address| address.detector.as_ref()?.poll_timeout());
        let dhcp = self.dhcp.as_ref().and_then(crate::dhcp::Client::poll_timeout);
        detectors
            .chain(self.neighbours.poll_timeout())
            .chain(self.membership.poll_timeout())
            .chain(dhcp)
            .min()
    }
}

/// Whether it can be the address of one host.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224
}
