//! IGMP (RFC 3376, RFC 2236) for the interfaces of a stack.

use core::net::Ipv4Addr;

use frame::Frame;
use wire::{Protocol, igmp, ipv4};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{frame_of, with_head};
use crate::iface::{IfaceId, Kind, Packet};
use crate::igmp::{MAX_GROUPS, Message};
use crate::stack::Stack;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::{Cast, Egress};
use crate::stack::receive::Outcome;

/// An IPv4 header with the router alert option.
const HEADER_LEN: usize = ipv4::HEADER_LEN + igmp::ROUTER_ALERT.len();

impl Stack {
    /// Listens to a group at an interface, once more. `false`: it is no group, or there are [`MAX_GROUPS`].
    pub fn join_group(&mut self, iface: IfaceId, group: Ipv4Addr, now: Instant) -> bool {
        let joined = self.iface_mut(iface).is_ok_and(|iface| iface.membership.join(now, group));
        self.handle_igmp_timeout(iface, now);
        joined
    }

    /// Takes one join back. `false`: there was none.
    pub fn leave_group(&mut self, iface: IfaceId, group: Ipv4Addr, now: Instant) -> bool {
        let left = self.iface_mut(iface).is_ok_and(|iface| iface.membership.leave(now, group));
        self.handle_igmp_timeout(iface, now);
        left
    }

    /// Takes an IGMP message.
    pub(super) fn receive_igmp(
        &mut self,
        received: Received,
        mut frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        // RFC 3376 § 4: what has crossed a router is forged.
        if received.header.ttl != 1 {
            return Err(DropReason::Igmp);
        }
        frame.pull(received.header_len);
        let len = frame.len();
        let frame = with_head(frame, len, self.pool).ok_or(DropReason::NoMemory)?;
        let message = igmp::Packet::new_checked(frame.head())
            .and_then(|packet| igmp::Repr::parse(&packet))
            .map_err(|_| DropReason::Igmp)?;
        let iface = self.ifaces.get_mut(received.link.iface.0 as usize).ok_or(DropReason::NoRoute)?;
        iface.membership.handle(now, &message, &mut self.rng);
        Ok(Outcome::Delivered)
    }

    /// Tells routers of groups.
    pub(super) fn handle_igmp_timeout(&mut self, id: IfaceId, now: Instant) {
        while let Some(iface) = self.ifaces.get_mut(id.0 as usize)
            && let Some(message) = iface.membership.poll(now, &mut self.rng)
        {
            if iface.kind() == Kind::Loopback {
                continue;
            }
            if let Err(reason) = self.send_igmp(id, &message, now) {
                self.count_late_drop(id, reason);
            }
        }
    }

    fn send_igmp(&mut self, id: IfaceId, message: &Message, now: Instant) -> Result<(), DropReason> {
        let mut octets = [0; HEADER_LEN + igmp::report_len(MAX_GROUPS)];
        let body = &mut octets[HEADER_LEN..];
        let (dst, len) = match message {
            Message::Report(records) => {
                let len = igmp::report_len(records.len());
                igmp::emit_report(&mut igmp::Packet::new_unchecked(&mut body[..len]), records);
                (igmp::ALL_V3_ROUTERS, len)
            }
            Message::ReportV2(group) | Message::LeaveV2(group) => {
                let leave = matches!(message, Message::LeaveV2(_));
                let mut packet = igmp::Packet::new_unchecked(&mut body[..igmp::HEADER_LEN]);
                igmp::emit_v2(&mut packet, *group, leave);
                (if leave { igmp::ALL_ROUTERS } else { *group }, igmp::HEADER_LEN)
            }
        };
        let iface = self.iface_mut(id)?;
        // RFC 3376 § 4.2.13: who has no address yet still reports.
        let src = iface.source_for(dst).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let egress = Egress {
            iface: id,
            next_hop: dst,
            source: src,
            link_mtu: iface.mtu(),
            path_mtu: iface.mtu(),
            cast: Cast::Multicast,
            tx_checksum: false,
            tx_segmentation: false,
        };
        let header = ipv4::Repr {
            traffic_class: 0xc0,
            ttl: 1,
            dont_fragment: true,
            payload_len: len as u16,
            ..Self::header(&egress, dst, Protocol::IGMP)
        };
        let mut packet = ipv4::Packet::new_unchecked(&mut octets[..HEADER_LEN]);
        header.emit(&mut packet);
        packet.set_version_ihl(0x40 | (HEADER_LEN / 4) as u8);
        packet.set_total_len((HEADER_LEN + len) as u16);
        octets[ipv4::HEADER_LEN..HEADER_LEN].copy_from_slice(&igmp::ROUTER_ALERT);
        ipv4::Packet::new_unchecked(&mut octets[..HEADER_LEN]).fill_checksum();
        let frame = frame_of(&octets[..HEADER_LEN + len], self.pool).ok_or(DropReason::NoMemory)?;
        self.send_packet(now, &egress, &header, Packet { frame, checksum: None, segmentation: None }, None)
    }
}
