//! Received IPv4 packets: what is wrong with them, and whose they are (RFC 1122 § 3.2, RFC 1812 § 5).

use frame::{Frame, Pressure};
use wire::{Malformed, Protocol, icmpv4, ipv4};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{behind, with_head};
use crate::hooks::{Point, View};
use crate::reassembly::GivenUp;
use crate::stack::Stack;
use crate::stack::interfaces::{Locality, is_host};
use crate::stack::receive::{LinkInfo, Outcome};

/// Options that name a way (RFC 791 § 3.1): loose and strict source route.
const SOURCE_ROUTES: [u8; 2] = [0x83, 0x89];

/// A packet, its header read.
#[derive(Debug)]
pub(super) struct Received {
    /// What the link says of it.
    pub(super) link: LinkInfo,
    pub(super) header: ipv4::Repr,
    /// Octets of the header, options included.
    pub(super) header_len: usize,
    /// It is for one host.
    pub(super) unicast: bool,
}

impl Received {
    /// Whether it was sent to one host only, on the link and by its address.
    pub(super) fn is_unicast(&self) -> bool {
        self.unicast && self.link.unicast
    }
}

impl Stack {
    /// Takes an IPv4 packet.
    pub(super) fn receive_ipv4(
        &mut self,
        link: LinkInfo,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let (frame, header, header_len) = self.read_header(frame)?;
        let locality = self.locality(link.iface, header.dst);
        self.check_addresses(&link, &header, locality)?;
        let view = View {
            input: Some(link.iface),
            output: None,
            header: &header,
            payload: behind(&frame, header_len),
        };
        self.hooks.check(Point::Prerouting, &view)?;
        let received = Received { link, header, header_len, unicast: locality == Locality::Own };
        match locality {
            Locality::Own | Locality::Broadcast => self.input(received, frame, now),
            Locality::Multicast => {
                if self.ifaces[link.iface.0 as usize].membership.is_member(header.dst)
                    || header.protocol == Protocol::IGMP
                {
                    return self.input(received, frame, now);
                }
                Err(DropReason::NotLocal)
            }
            // RFC 2644: directed broadcasts are not sent on.
            Locality::OtherBroadcast => Err(DropReason::NotLocal),
            // A server may answer a client that has no address yet by its future one (RFC 2131 § 4.1).
            Locality::Other if self.is_awaited_by_dhcp(&received, &frame) => self.input(received, frame, now),
            Locality::Other if self.forwarding => self.forward(received, frame, now),
            Locality::Other => Err(DropReason::NotLocal),
        }
    }

    /// The frame without padding, its header in one piece and read.
    fn read_header(&self, frame: Frame) -> Result<(Frame, ipv4::Repr, usize), DropReason> {
        let mut frame = with_head(frame, ipv4::MAX_HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let frame_len = frame.len();
        let packet = ipv4::Packet::new_quoted(frame.head()).map_err(|_| DropReason::Ipv4Header)?;
        let total_len = usize::from(packet.total_len());
        if total_len > frame_len {
            return Err(DropReason::Ipv4Header);
        }
        let header = ipv4::Repr::parse(&packet).map_err(|error| match error {
            Malformed::Checksum => DropReason::Ipv4Checksum,
            _ => DropReason::Ipv4Header,
        })?;
        if has_source_route(packet.options()) {
            return Err(DropReason::SourceRoute);
        }
        let header_len = packet.header_len();
        frame.truncate(total_len);
        Ok((frame, header, header_len))
    }

    /// RFC 1812 § 5.3.7, RFC 1122 § 3.2.1.3.
    fn check_addresses(
        &self,
        link: &LinkInfo,
        header: &ipv4::Repr,
        locality: Locality,
    ) -> Result<(), DropReason> {
        let (src, dst) = (header.src, header.dst);
        let from_outside = !link.own;
        if from_outside && (src.is_loopback() || dst.is_loopback()) {
            return Err(DropReason::Martian);
        }
        if dst.octets()[0] == 0 || dst.octets()[0] >= 240 && !dst.is_broadcast() {
            return Err(DropReason::Martian);
        }
        if !is_host(src) {
            // Only who has no address yet speaks like that, to all (RFC 1122 § 3.2.1.3 (a)).
            let nobody = src.is_unspecified() && locality != Locality::Own;
            return if nobody { Ok(()) } else { Err(DropReason::Martian) };
        }
        match self.locality(link.iface, src) {
            Locality::Own if from_outside => Err(DropReason::Martian),
            Locality::Broadcast | Locality::OtherBroadcast => Err(DropReason::Martian),
            // RFC 1122 § 3.3.6: to one host by its address, to all by the link.
            _ if !link.unicast && !matches!(locality, Locality::Broadcast | Locality::Multicast) => {
                Err(DropReason::Martian)
            }
            _ => Ok(()),
        }
    }

    /// Takes a packet for this host.
    fn input(&mut self, received: Received, frame: Frame, now: Instant) -> Result<Outcome, DropReason> {
        if !received.header.is_fragment() {
            return self.deliver(received, frame, now);
        }
        let Some(whole) = self.reassemble(&received, frame, now)? else {
            return Ok(Outcome::Delivered);
        };
        let (frame, header, header_len) = self.read_header(whole)?;
        let link = LinkInfo { checksum_valid: false, segment_size: None, ..received.link };
        self.deliver(Received { link, header, header_len, ..received }, frame, now)
    }

    fn reassemble(
        &mut self,
        received: &Received,
        frame: Frame,
        now: Instant,
    ) -> Result<Option<Frame>, DropReason> {
        if self.pressure >= Pressure::DropReassembly {
            return Err(DropReason::ReassemblyFull);
        }
        let ifaces = &mut self.ifaces;
        let count = |gone: GivenUp| {
            if let Some(iface) = ifaces.get_mut(gone.iface.0 as usize) {
                iface.counters.late_dropped[DropReason::ReassemblyFull as usize] += gone.fragments;
            }
        };
        self.reassembly.insert(now, received.link.iface, &received.header, frame, self.pool, count)
    }

    /// Gives a whole packet to its protocol.
    fn deliver(&mut self, received: Received, frame: Frame, now: Instant) -> Result<Outcome, DropReason> {
        let view = View {
            input: Some(received.link.iface),
            output: None,
            header: &received.header,
            payload: behind(&frame, received.header_len),
        };
        self.hooks.check(Point::Input, &view)?;
        match received.header.protocol {
            Protocol::TCP => self.receive_tcp(received, frame, now),
            Protocol::UDP => self.receive_udp(received, frame, now),
            Protocol::ICMP => self.receive_icmp(received, frame, now),
            Protocol::IGMP => self.receive_igmp(received, frame, now),
            _ => {
                if received.is_unicast() {
                    let error = icmpv4::Repr::Unreachable(icmpv4::Unreachable::Protocol);
                    self.send_icmp_error(now, received.link.iface, &frame, &error);
                }
                Err(DropReason::UnknownProtocol)
            }
        }
    }
}

fn has_source_route(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [0, ..] | [] => return false,
            [1, ref rest @ ..] => options = rest,
            [kind, ..] if SOURCE_ROUTES.contains(&kind) => return true,
            [_, len, ..] => match options.get(usize::from(len.max(2))..) {
                Some(rest) => options = rest,
                None => return false,
            },
            [_] => return false,
        }
    }
}
