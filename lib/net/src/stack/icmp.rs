//! ICMP in and out (RFC 792, RFC 1122 § 3.2.2, RFC 5927).

use core::net::{IpAddr, Ipv4Addr};

use frame::Frame;
use wire::checksum::Sum;
use wire::icmpv4::{self, Repr, Unreachable};
use wire::{Malformed, Port, Protocol, SeqNumber, ipv4};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{add_to_sum, frame_of, prepend, with_head, with_writable_head};
use crate::icmp::{MAX_ERROR_LEN, emit_error, may_answer};
use crate::iface::IfaceId;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::{Offload, SendError};
use crate::stack::receive::Outcome;
use crate::stack::{Event, Stack};
use crate::tcp::FourTuple;

/// Octets of a transport header that every error quotes (RFC 792): ports, and TCP's sequence number.
const QUOTED_LEN: usize = 8;

impl Stack {
    /// Asks a host to send `payload` back. [`Event::EchoReply`] follows, if it does.
    pub fn send_echo_request(
        &mut self,
        to: Ipv4Addr,
        ident: u16,
        seq: u16,
        payload: Frame,
        now: Instant,
    ) -> Result<(), SendError> {
        let egress = self.route(now, to, None, None)?;
        let header = Self::header(&egress, to, Protocol::ICMP);
        let message = self.message(&Repr::EchoRequest { ident, seq }, payload)?;
        Ok(self.send_ipv4(now, &egress, header, message, Offload::default())?)
    }

    /// Takes an ICMP message.
    pub(super) fn receive_icmp(
        &mut self,
        received: Received,
        mut frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        frame.pull(received.header_len);
        // The checksum is over all of it. Few messages come in pieces.
        let len = frame.len();
        let mut frame = with_head(frame, len, self.pool).ok_or(DropReason::NoMemory)?;
        let packet = icmpv4::Packet::new_checked(frame.head()).map_err(|_| DropReason::Icmp)?;
        let message = Repr::parse(&packet).map_err(|error| match error {
            Malformed::Field(_) => DropReason::IcmpIgnored,
            _ => DropReason::Icmp,
        })?;
        match message {
            // RFC 1122 § 3.2.2.6 allows silence towards groups, which spares the network storms.
            Repr::EchoRequest { .. } if !received.is_unicast() => Err(DropReason::IcmpIgnored),
            Repr::EchoRequest { ident, seq } => {
                frame.pull(icmpv4::HEADER_LEN);
                self.send_echo_reply(&received, frame, &Repr::EchoReply { ident, seq }, now)?;
                Ok(Outcome::Delivered)
            }
            Repr::EchoReply { ident, seq } => {
                let len = (len - icmpv4::HEADER_LEN) as u16;
                self.report(Event::EchoReply { from: received.header.src, ident, seq, len });
                Ok(Outcome::Delivered)
            }
            error => {
                if !received.is_unicast() {
                    return Err(DropReason::IcmpQuote);
                }
                let quote = packet.payload();
                self.receive_icmp_error(&error, quote, now)
            }
        }
    }

    /// Takes an error about a packet that this host has sent, if it has (RFC 5927 § 4).
    fn receive_icmp_error(
        &mut self,
        error: &Repr,
        quote: &[u8],
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let packet = ipv4::Packet::new_quoted(quote).map_err(|_| DropReason::Icmp)?;
        let (src, dst, len) = (packet.src(), packet.dst(), packet.total_len());
        let Some(transport) = packet.payload().first_chunk::<QUOTED_LEN>() else {
            return Err(DropReason::IcmpQuote);
        };
        if !self.is_own(src) || packet.fragment_offset() != 0 {
            return Err(DropReason::IcmpQuote);
        }
        let port = |at: usize| Port(u16::from_be_bytes([transport[at], transport[at + 1]]));
        let tuple = FourTuple {
            local: IpAddr::V4(src),
            local_port: port(0),
            remote: IpAddr::V4(dst),
            remote_port: port(2),
        };
        let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
        let taken = match packet.protocol() {
            Protocol::TCP => self.is_in_flight(&tuple, SeqNumber(sequence)),
            Protocol::UDP => self.udp.lookup(&tuple, None).is_some(),
            // Nobody waits for errors about echo requests.
            _ => false,
        };
        if !taken {
            return Err(DropReason::IcmpQuote);
        }
        let mut error = *error;
        if let Repr::Unreachable(Unreachable::FragmentationNeeded { mtu }) = &mut error {
            match self.path_mtus.handle_too_big(now, dst, *mtu, len) {
                Some(learned) => *mtu = learned,
                None => return Err(DropReason::IcmpQuote),
            }
            self.generation = self.generation.wrapping_add(1);
        }
        match packet.protocol() {
            Protocol::TCP => self.handle_tcp_error(&tuple, SeqNumber(sequence), &error, now),
            _ => self.handle_udp_error(&tuple, &error),
        }
        Ok(Outcome::Delivered)
    }

    /// A packet could not be given to its neighbour: its sender learns of it.
    pub(super) fn handle_unreachable(&mut self, now: Instant, iface: IfaceId, about: &Frame) {
        let error = Repr::Unreachable(Unreachable::Host);
        let mut head = [0; ipv4::MAX_HEADER_LEN + QUOTED_LEN];
        let len = about.copy_to(0, &mut head);
        let own = ipv4::Packet::new_quoted(&head[..len]).is_ok_and(|packet| self.is_own(packet.src()));
        if own {
            // Errors of this host's own do no harm: what they quote was sent.
            let _ = self.receive_icmp_error(&error, &head[..len], now);
        } else {
            self.send_icmp_error(now, iface, about, &error);
        }
    }

    /// Sends an error about a received packet to its source, if that may be and the rate allows it. `iface`: where it came
    /// in, or was to leave.
    pub(super) fn send_icmp_error(&mut self, now: Instant, iface: IfaceId, about: &Frame, error: &Repr) {
        if let Err(reason) = self.try_send_icmp_error(now, about, error) {
            self.count_late_drop(iface, reason);
        }
    }

    fn try_send_icmp_error(&mut self, now: Instant, about: &Frame, error: &Repr) -> Result<(), DropReason> {
        let packet = ipv4::Packet::new_quoted(about.head()).map_err(|_| DropReason::Ipv4Header)?;
        let Ok(quoted) = ipv4::Repr::parse(&packet) else { return Ok(()) };
        let header_len = packet.header_len();
        let mut head = [0; ipv4::MAX_HEADER_LEN + 1];
        about.copy_to(0, &mut head);
        if !may_answer(&quoted, &head, header_len) {
            return Ok(());
        }
        if !self.error_limits.allow(now, quoted.src, &mut self.rng) {
            return Err(DropReason::IcmpRate);
        }
        // It comes from the address spoken to, or that of the way back (RFC 1812 § 4.3.2.4).
        let source = Some(quoted.dst).filter(|dst| self.is_own(*dst));
        let egress = self.route(now, quoted.src, source, None)?;
        let room = MAX_ERROR_LEN - ipv4::HEADER_LEN;
        let len = (icmpv4::HEADER_LEN + about.len()).min(room);
        let mut octets = [0; MAX_ERROR_LEN];
        emit_error(error, about, &mut octets[..len]);
        let message = frame_of(&octets[..len], self.pool).ok_or(DropReason::NoMemory)?;
        // RFC 1812 § 4.3.2.5: precedence 6, internetwork control.
        let header = ipv4::Repr { traffic_class: 0xc0, ..Self::header(&egress, quoted.src, Protocol::ICMP) };
        self.send_ipv4(now, &egress, header, message, Offload::default())
    }

    fn send_echo_reply(
        &mut self,
        received: &Received,
        payload: Frame,
        reply: &Repr,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (src, dst) = (received.header.src, received.header.dst);
        let egress = self.route(now, src, Some(dst), None)?;
        // RFC 1122 § 3.2.2.6: of the same kind of service; the ECN bits are the network's.
        let traffic_class = received.header.traffic_class & 0xfc;
        let header = ipv4::Repr { traffic_class, ..Self::header(&egress, src, Protocol::ICMP) };
        let message = self.message(reply, payload)?;
        self.send_ipv4(now, &egress, header, message, Offload::default())
    }

    /// A message with this payload, checksum filled in.
    fn message(&self, repr: &Repr, payload: Frame) -> Result<Frame, DropReason> {
        let message = prepend(payload, icmpv4::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let mut message =
            with_writable_head(message, icmpv4::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let head = message.head_mut().ok_or(DropReason::NoMemory)?;
        repr.emit(&mut icmpv4::Packet::new_unchecked(&mut head[..icmpv4::HEADER_LEN]));
        let checksum = add_to_sum(Sum::new(), &message, 0, usize::MAX).finish();
        let head = message.head_mut().ok_or(DropReason::NoMemory)?;
        icmpv4::Packet::new_unchecked(&mut head[..icmpv4::HEADER_LEN]).set_checksum(checksum);
        Ok(message)
    }
}
