//! What a device received: Ethernet and VLAN tags (RFC 894, IEEE 802.1Q).

use frame::{Frame, RxFrame};
use wire::ethernet::{self, EtherType};
use wire::vlan;

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::with_head;
use crate::iface::{IfaceId, Kind};
use crate::stack::Stack;

/// What became of a frame that was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This host consumed it.
    Delivered,
    /// It was sent on.
    Forwarded,
}

/// What the link says of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    /// Where it came in.
    pub(super) iface: IfaceId,
    /// It was sent to one station, not to a group or all.
    pub(super) unicast: bool,
    /// This host sent it.
    pub(super) own: bool,
    /// The transport's checksum is known to be right.
    pub(super) checksum_valid: bool,
    /// It is several TCP segments, each with so many octets of payload.
    pub(super) segment_size: Option<u16>,
}

impl Stack {
    /// Takes the frames that a device received, each to its end. The work is bounded by the burst: for each frame a
    /// bounded number of steps, and of packets that answer it.
    pub fn receive(&mut self, iface: IfaceId, burst: impl IntoIterator<Item = RxFrame>, now: Instant) {
        for frame in burst {
            if self.interface(iface).is_some_and(|iface| iface.kind() == Kind::Ethernet) {
                self.receive_frame(iface, frame, now);
            }
        }
    }

    fn receive_frame(&mut self, iface: IfaceId, frame: RxFrame, now: Instant) {
        let len = frame.frame.len();
        let outcome = self.receive_ethernet(iface, frame, now);
        self.count_received(iface, len, outcome);
    }

    /// Takes a packet that this host sent to itself. `seen_at`: the interface as whose packet it counts; others
    /// than loopback for groups.
    pub(super) fn receive_loopback(&mut self, seen_at: IfaceId, frame: Frame, now: Instant) {
        let len = frame.len();
        let link =
            LinkInfo { iface: seen_at, unicast: true, own: true, checksum_valid: true, segment_size: None };
        let outcome = self.receive_ipv4(link, frame, now);
        self.count_received(IfaceId::LOOPBACK, len, outcome);
    }

    fn receive_ethernet(&mut self, iface: IfaceId, rx: RxFrame, now: Instant) -> Result<Outcome, DropReason> {
        let link = self.ifaces[iface.0 as usize].link();
        if !link.up {
            return Err(DropReason::LinkDown);
        }
        let mut frame = with_head(rx.frame, ethernet::HEADER_LEN + vlan::HEADER_LEN, self.pool)
            .ok_or(DropReason::NoMemory)?;
        let header = ethernet::Packet::new_checked(frame.head())
            .and_then(|packet| ethernet::Repr::parse(&packet))
            .map_err(|_| DropReason::Ethernet)?;
        let unicast = header.dst == link.mac;
        if !unicast && !header.dst.is_multicast() {
            return Err(DropReason::OtherStation);
        }
        if header.src == link.mac {
            // Our own, come back by a loop.
            return Err(DropReason::Ethernet);
        }
        frame.pull(ethernet::HEADER_LEN);
        let info = LinkInfo {
            iface,
            unicast,
            own: false,
            checksum_valid: rx.checksum_valid,
            segment_size: rx.segment_size,
        };
        if header.ethertype != EtherType::VLAN {
            return self.receive_packet(info, header.ethertype, frame, now);
        }
        let tag = vlan::Packet::new_checked(frame.head())
            .and_then(|packet| vlan::Repr::parse(&packet))
            .map_err(|_| DropReason::Ethernet)?;
        frame.pull(vlan::HEADER_LEN);
        let Some(id) = tag.vlan else {
            // A priority only: the frame is the device's own.
            return self.receive_packet(info, tag.ethertype, frame, now);
        };
        let sub = self.vlan(iface, id).ok_or(DropReason::UnknownVlan)?;
        let len = frame.len();
        let outcome = self.receive_packet(LinkInfo { iface: sub, ..info }, tag.ethertype, frame, now);
        self.count_received(sub, len, outcome);
        Ok(Outcome::Delivered)
    }

    fn receive_packet(
        &mut self,
        info: LinkInfo,
        ethertype: EtherType,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        match ethertype {
            EtherType::IPV4 => self.receive_ipv4(info, frame, now),
            EtherType::ARP => self.receive_arp(info, frame, now),
            _ => Err(DropReason::UnknownEtherType),
        }
    }

    fn count_received(&mut self, iface: IfaceId, octets: usize, outcome: Result<Outcome, DropReason>) {
        let counters = &mut self.ifaces[iface.0 as usize].counters;
        counters.rx_frames += 1;
        counters.rx_octets += octets as u64;
        match outcome {
            Ok(Outcome::Delivered) => counters.delivered += 1,
            Ok(Outcome::Forwarded) => counters.forwarded += 1,
            Err(reason) => counters.rx_dropped[reason as usize] += 1,
        }
    }
}
