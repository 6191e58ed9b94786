//! Packets for other hosts (RFC 1812 § 5).

use frame::Frame;
use wire::icmpv4::{Repr, Unreachable};
use wire::ipv4;

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{behind, with_writable_head};
use crate::hooks::{Point, View};
use crate::iface::Packet;
use crate::stack::Stack;
use crate::stack::interfaces::is_host;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::Cast;
use crate::stack::receive::Outcome;

impl Stack {
    /// Sends a packet on.
    pub(super) fn forward(
        &mut self,
        received: Received,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let Received { link, header, header_len, .. } = received;
        if !link.unicast || !is_host(header.src) {
            return Err(DropReason::Martian);
        }
        // RFC 3927 § 2.7: link-local addresses stay on their link.
        if header.src.is_link_local() || header.dst.is_link_local() {
            return Err(DropReason::Martian);
        }
        if header.ttl <= 1 {
            let error = Repr::TimeExceeded { reassembly: false };
            self.send_icmp_error(now, link.iface, &frame, &error);
            return Err(DropReason::TtlExpired);
        }
        // The path's MTU is what this host has learned for itself; a router goes by the link's.
        let egress = match self.route(now, header.dst, None, None) {
            Ok(egress) if egress.cast == Cast::Unicast => egress,
            Ok(_) => return Err(DropReason::NotLocal),
            Err(reason) => {
                self.send_icmp_error(now, link.iface, &frame, &Repr::Unreachable(Unreachable::Net));
                return Err(reason);
            }
        };
        let view = View {
            input: Some(link.iface),
            output: Some(egress.iface),
            header: &header,
            payload: behind(&frame, header_len),
        };
        self.hooks.check(Point::Forward, &view)?;
        if frame.len() > usize::from(egress.link_mtu) && header.dont_fragment {
            let error = Repr::Unreachable(Unreachable::FragmentationNeeded { mtu: egress.link_mtu });
            self.send_icmp_error(now, link.iface, &frame, &error);
            return Err(DropReason::TooBig);
        }
        let mut frame = with_writable_head(frame, header_len, self.pool).ok_or(DropReason::NoMemory)?;
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        if !ipv4::Packet::new_unchecked(head).decrement_ttl() {
            return Err(DropReason::TtlExpired);
        }
        let header = ipv4::Repr { ttl: header.ttl - 1, ..header };
        self.send_packet(
            now,
            &egress,
            &header,
            Packet { frame, checksum: None, segmentation: None },
            Some(link.iface),
        )?;
        Ok(Outcome::Forwarded)
    }
}
