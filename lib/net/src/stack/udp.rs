//! UDP (RFC 768) for the endpoints of a stack.

use core::net::{IpAddr, Ipv4Addr};

use frame::Frame;
use wire::checksum::Sum;
use wire::icmpv4::{self, Unreachable};
use wire::{Port, Protocol, ipv4, udp};

use crate::Instant;
use crate::counters::DropReason;
use crate::frames::{add_to_sum, prepend, with_head, with_writable_head};
use crate::iface::IfaceId;
use crate::ip_options::PathMtuDiscovery;
use crate::stack::interfaces::is_host;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::{Cast, Egress, Offload, SendError};
use crate::stack::receive::Outcome;
use crate::stack::{Source, Stack};
use crate::tcp::FourTuple;
use crate::udp::{
    BindError, BindOptions, Datagram, Endpoint, MAX_ENDPOINT_GROUPS, UdpError, UdpHandle, UdpOptions,
};

/// What is asked for one send alone (IP_TTL, IP_TOS and IP_PKTINFO as control messages).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpOverrides {
    /// Time to live, at least 1.
    pub ttl: Option<u8>,
    /// Differentiated services code point and ECN.
    pub traffic_class: Option<u8>,
    /// Where it is to leave.
    pub iface: Option<IfaceId>,
}

/// What is to be sent.
#[derive(Debug)]
pub struct UdpSend {
    /// Whom to; `None`: the peer the endpoint is connected to.
    pub to: Option<(Ipv4Addr, Port)>,
    /// The address it is to come from, one of this host's; `None`: the endpoint's, or what suits the way.
    pub from: Option<Ipv4Addr>,
    /// The octets.
    pub payload: Frame,
    /// UDP_SEGMENT: the payload is many datagrams of so many octets each, the last one shorter. `None`: it is one.
    pub segment_size: Option<u16>,
    /// Instead of what the endpoint's options say.
    pub overrides: UdpOverrides,
}

impl Stack {
    /// Makes an endpoint. `local` of `None`: at all addresses; [`Port::NONE`]: at a free port.
    pub fn udp_bind(
        &mut self,
        local: Option<Ipv4Addr>,
        port: Port,
        options: BindOptions,
    ) -> Result<UdpHandle, BindError> {
        let is_possible = |local| self.is_own(local) || local.is_multicast() || local.is_broadcast();
        if !options.nonlocal && local.is_some_and(|local| !is_possible(local)) {
            return Err(BindError::NotAvailable);
        }
        self.udp.bind(local, port, options, &self.ephemeral_ports, &mut self.rng)
    }

    /// Connects an endpoint to a peer, from whom alone it then hears; with `None` to nobody.
    pub fn udp_connect(
        &mut self,
        handle: UdpHandle,
        remote: Option<(Ipv4Addr, Port)>,
        now: Instant,
    ) -> Result<(), BindError> {
        let endpoint = self.udp.get(handle).ok_or(BindError::NoEndpoint)?;
        let bound = endpoint.local;
        let local = match remote {
            None => bound.unwrap_or(Ipv4Addr::UNSPECIFIED),
            Some((address, _)) => {
                let options = &endpoint.options;
                let way = self.route_by(now, address, bound, options.multicast_iface, &options.ip);
                way.map_err(|_| BindError::Unreachable)?.source
            }
        };
        self.udp.connect(handle, local, remote)
    }

    /// An endpoint.
    pub fn udp(&self, handle: UdpHandle) -> Option<&Endpoint> {
        self.udp.get(handle)
    }

    /// What an endpoint's datagrams are like, to be changed.
    pub fn udp_options(&mut self, handle: UdpHandle) -> Option<&mut UdpOptions> {
        Some(&mut self.udp.get_mut(handle)?.options)
    }

    /// Octets that a packet to a connected endpoint's peer may have, as far as is known (IP_MTU). `None`: it is not connected, or
    /// there is no way.
    pub fn udp_path_mtu(&self, handle: UdpHandle, now: Instant) -> Option<u16> {
        let endpoint = self.udp.get(handle)?;
        let options = &endpoint.options;
        let way = self.route_by(now, endpoint.remote?.0, endpoint.local, None, &options.ip).ok()?;
        Some(if options.ip.discovery.uses_path_mtu() { way.path_mtu } else { way.link_mtu })
    }

    /// Endpoints.
    pub fn udp_count(&self) -> usize {
        self.udp.len()
    }

    /// The next received datagram.
    pub fn udp_receive(&mut self, handle: UdpHandle) -> Option<Datagram> {
        self.udp.get_mut(handle)?.pop()
    }

    /// The next received datagram with those behind it that can be told of as one, of `room` octets at most; if they are
    /// several, how long each is but the last, which may be shorter (UDP_GRO).
    pub fn udp_receive_many(&mut self, handle: UdpHandle, room: usize) -> Option<(Datagram, Option<u16>)> {
        self.udp.get_mut(handle)?.pop_many(room)
    }

    /// A view of the next received datagram, which stays. `None`: there is none, or no memory for a view.
    pub fn udp_peek(&self, handle: UdpHandle) -> Option<Datagram> {
        self.udp.get(handle)?.peek()
    }

    /// The last error about what the endpoint sent.
    pub fn udp_take_error(&mut self, handle: UdpHandle) -> Option<UdpError> {
        self.udp.get_mut(handle)?.error.take()
    }

    /// Ends an endpoint; what it has not received is dropped.
    pub fn udp_close(&mut self, handle: UdpHandle, now: Instant) {
        let Some(endpoint) = self.udp.close(handle) else { return };
        for (iface, group) in endpoint.groups {
            self.leave_group(iface, group, now);
        }
    }

    /// Lets an endpoint hear a group. `false`: it is none, or there are too many.
    pub fn udp_join(&mut self, handle: UdpHandle, iface: IfaceId, group: Ipv4Addr, now: Instant) -> bool {
        let Some(endpoint) = self.udp.get(handle) else { return false };
        if endpoint.groups.len() >= MAX_ENDPOINT_GROUPS
            || endpoint.groups.contains(&(iface, group))
            || !self.join_group(iface, group, now)
        {
            return false;
        }
        if let Some(endpoint) = self.udp.get_mut(handle) {
            endpoint.groups.push((iface, group));
        }
        true
    }

    /// Lets an endpoint hear a group no longer. `false`: it did not.
    pub fn udp_leave(&mut self, handle: UdpHandle, iface: IfaceId, group: Ipv4Addr, now: Instant) -> bool {
        let Some(endpoint) = self.udp.get_mut(handle) else { return false };
        let before = endpoint.groups.len();
        endpoint.groups.retain(|known| *known != (iface, group));
        endpoint.groups.len() < before && self.leave_group(iface, group, now)
    }

    /// Sends a datagram, or many. What cannot wait for the device is dropped; an error says so.
    pub fn udp_send(&mut self, handle: UdpHandle, send: UdpSend, now: Instant) -> Result<(), SendError> {
        let endpoint = self.udp.get(handle).ok_or(SendError::NoSocket)?;
        let mut options = endpoint.options;
        let UdpOverrides { ttl, traffic_class, iface } = send.overrides;
        options.ip.traffic_class = traffic_class.unwrap_or(options.ip.traffic_class);
        options.ip.ttl = ttl.unwrap_or(options.ip.ttl);
        options.multicast_ttl = ttl.unwrap_or(options.multicast_ttl);
        options.ip.device = options.ip.device.or(iface);
        if send.from.is_some_and(|from| !self.is_own(from)) {
            return Err(SendError::NotOwn);
        }
        let to = send.to.or(endpoint.remote).ok_or(SendError::NoDestination)?;
        let src_port = endpoint.port;
        let local = endpoint.local.filter(|local| self.is_own(*local));
        if to.1 == Port::NONE {
            return Err(SendError::NoDestination);
        }
        let way = self.route_by(now, to.0, send.from.or(local), options.multicast_iface, &options.ip)?;
        let path_mtu = if options.ip.discovery.uses_path_mtu() { way.path_mtu } else { way.link_mtu };
        let egress = Egress { path_mtu, ..way };
        if egress.cast == Cast::Broadcast && !options.broadcast {
            return Err(SendError::Broadcast);
        }
        let mut rest = Some(send.payload);
        while let Some(payload) = rest.take() {
            let size = send.segment_size.filter(|size| *size > 0).map_or(usize::MAX, usize::from);
            let payload = if payload.len() > size {
                let (first, others) = payload.split(size).map_err(|_| SendError::TooLong)?;
                rest = Some(others);
                first
            } else {
                payload
            };
            self.send_datagram(now, &egress, (src_port, to), &options, payload)?;
        }
        Ok(())
    }

    fn send_datagram(
        &mut self,
        now: Instant,
        egress: &Egress,
        (src_port, (dst, dst_port)): (Port, (Ipv4Addr, Port)),
        options: &UdpOptions,
        payload: Frame,
    ) -> Result<(), SendError> {
        let max = usize::from(u16::MAX) - ipv4::HEADER_LEN - udp::HEADER_LEN;
        let payload_len = u16::try_from(payload.len()).ok().filter(|len| usize::from(*len) <= max);
        let payload_len = payload_len.ok_or(SendError::TooLong)?;
        let len = payload_len + udp::HEADER_LEN as u16;
        let fits = ipv4::HEADER_LEN + usize::from(len) <= usize::from(egress.path_mtu);
        if options.ip.discovery.refuses_long() && !fits {
            return Err(SendError::TooLong);
        }
        let frame = prepend(payload, udp::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let mut frame = with_writable_head(frame, udp::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let repr = udp::Repr { src_port, dst_port, payload_len };
        let pseudo = Sum::pseudo_v4(egress.source, dst, Protocol::UDP, len);
        let completes = egress.tx_checksum && fits && !options.no_checksum;
        let offload = Offload { checksum: completes.then_some(6), segmentation: None };
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        repr.emit(&mut udp::Packet::new_unchecked(&mut head[..udp::HEADER_LEN]));
        let checksum = if options.no_checksum {
            0
        } else if completes {
            pseudo.partial()
        } else {
            // 0 would say that there is none.
            Some(add_to_sum(pseudo, &frame, 0, usize::MAX).finish()).filter(|sum| *sum != 0).unwrap_or(0xffff)
        };
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        udp::Packet::new_unchecked(&mut head[..udp::HEADER_LEN]).set_checksum(checksum);
        let multicast = egress.cast == Cast::Multicast;
        let header = ipv4::Repr {
            ttl: if multicast { options.multicast_ttl } else { options.ip.ttl },
            traffic_class: options.ip.traffic_class,
            dont_fragment: options.ip.discovery.dont_fragment(fits),
            ..Self::header(egress, dst, Protocol::UDP)
        };
        if multicast && options.multicast_loop && egress.iface != IfaceId::LOOPBACK {
            self.loop_back(now, egress, &header, &frame);
        }
        Ok(self.send_ipv4(now, egress, header, frame, offload)?)
    }

    /// Lets this host hear what it sends to a group that it listens to.
    fn loop_back(&mut self, now: Instant, egress: &Egress, header: &ipv4::Repr, payload: &Frame) {
        let member =
            self.interface(egress.iface).is_some_and(|iface| iface.membership().is_member(header.dst));
        if !member {
            return;
        }
        let Some(copy) = payload.try_clone() else { return };
        let here = Egress { cast: Cast::Local, link_mtu: u16::MAX, path_mtu: u16::MAX, ..*egress };
        if let Err(reason) = self.send_ipv4(now, &here, *header, copy, Offload::default()) {
            self.count_late_drop(IfaceId::LOOPBACK, reason);
        }
    }

    /// Takes a UDP datagram.
    pub(super) fn receive_udp(
        &mut self,
        received: Received,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let Received { link, ref header, header_len, .. } = received;
        let frame = with_head(frame, header_len + udp::HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        let repr = read_datagram(&frame, header_len, header, link.checksum_valid)?;
        let len = udp::HEADER_LEN + usize::from(repr.payload_len);
        if self.is_for_dhcp(link.iface, &repr) {
            let mut message = frame;
            message.pull(header_len + udp::HEADER_LEN);
            message.truncate(len - udp::HEADER_LEN);
            return self.receive_dhcp(link.iface, message, now);
        }
        let datagram = |mut payload: Frame| {
            payload.pull(header_len + udp::HEADER_LEN);
            payload.truncate(len - udp::HEADER_LEN);
            Datagram {
                from: header.src,
                from_port: repr.src_port,
                to: header.dst,
                iface: link.iface,
                ttl: header.ttl,
                traffic_class: header.traffic_class,
                at: now,
                payload,
            }
        };
        if !received.unicast {
            return self.receive_for_all(repr.dst_port, &datagram(frame));
        }
        let tuple = FourTuple {
            local: IpAddr::V4(header.dst),
            local_port: repr.dst_port,
            remote: IpAddr::V4(header.src),
            remote_port: repr.src_port,
        };
        let Some(socket) = self.udp.lookup(&tuple, Some(link.iface)) else {
            if received.is_unicast() && is_host(header.src) {
                let error = icmpv4::Repr::Unreachable(Unreachable::Port);
                self.send_icmp_error(now, link.iface, &frame, &error);
            }
            return Err(DropReason::NoSocket);
        };
        self.push_datagram(socket, datagram(frame))?;
        Ok(Outcome::Delivered)
    }

    /// A datagram to a group or to all: each endpoint that listens gets it.
    fn receive_for_all(&mut self, port: Port, datagram: &Datagram) -> Result<Outcome, DropReason> {
        let mut outcome = Err(DropReason::NoSocket);
        let from = (datagram.from, datagram.from_port);
        let mut n = 0;
        while let Some(socket) = self.udp.listener(n, datagram.iface, datagram.to, port, from) {
            n += 1;
            let copy = datagram.payload.try_clone().map(|payload| Datagram { payload, ..*datagram });
            let pushed = copy.ok_or(DropReason::NoMemory).and_then(|copy| self.push_datagram(socket, copy));
            if outcome.is_err() {
                outcome = pushed.map(|()| Outcome::Delivered);
            }
        }
        outcome
    }

    fn push_datagram(&mut self, socket: UdpHandle, datagram: Datagram) -> Result<(), DropReason> {
        let endpoint = self.udp.get_mut(socket).ok_or(DropReason::NoSocket)?;
        if !endpoint.push(datagram) {
            return Err(DropReason::SocketFull);
        }
        self.report_udp(socket);
        Ok(())
    }

    /// Takes an ICMP error about something an endpoint sent. Who is not connected, or did not ask for all errors, is told as on
    /// Linux: an error that may pass is no reason to give a peer up.
    pub(super) fn handle_udp_error(&mut self, tuple: &FourTuple, error: &icmpv4::Repr) {
        let Some(socket) = self.udp.lookup(tuple, None) else { return };
        let (Some(endpoint), IpAddr::V4(to)) = (self.udp.get_mut(socket), tuple.remote) else { return };
        let options = &endpoint.options;
        let is_final = match error {
            icmpv4::Repr::Unreachable(Unreachable::FragmentationNeeded { .. }) => {
                if options.ip.discovery == PathMtuDiscovery::Dont {
                    return;
                }
                true
            }
            icmpv4::Repr::Unreachable(
                Unreachable::Protocol
                | Unreachable::Port
                | Unreachable::Prohibited { .. }
                // Unknown, down, isolated, out of precedence: `icmp_err_convert` of Linux has them as final.
                | Unreachable::Other { code: 6..=8 | 14..=15 },
            ) => true,
            _ => false,
        };
        if !options.receive_errors && (endpoint.remote.is_none() || !is_final) {
            return;
        }
        endpoint.error = Some(UdpError { error: *error, to, to_port: tuple.remote_port });
        self.report_udp(socket);
    }

    fn report_udp(&mut self, socket: UdpHandle) {
        if let Some(endpoint) = self.udp.get_mut(socket)
            && !core::mem::replace(&mut endpoint.reported, true)
        {
            self.events.push_back(Source::Udp(socket));
        }
    }
}

/// Reads the header of a datagram behind an IP header, and looks at the checksum of all of it.
fn read_datagram(
    frame: &Frame,
    header_len: usize,
    header: &ipv4::Repr,
    checksum_valid: bool,
) -> Result<udp::Repr, DropReason> {
    let octets = frame.head().get(header_len..).unwrap_or(&[]);
    if octets.len() < udp::HEADER_LEN {
        return Err(DropReason::UdpHeader);
    }
    let packet = udp::Packet::new_unchecked(octets);
    let len = packet.datagram_len();
    if usize::from(len) < udp::HEADER_LEN || len > header.payload_len {
        return Err(DropReason::UdpHeader);
    }
    if !checksum_valid && packet.checksum() != 0 {
        let pseudo = Sum::pseudo_v4(header.src, header.dst, Protocol::UDP, len);
        let end = header_len + usize::from(len);
        if !add_to_sum(pseudo, frame, header_len, end).is_valid() {
            return Err(DropReason::UdpChecksum);
        }
    }
    udp::Repr::parse(&packet, None).map_err(|_| DropReason::UdpHeader)
}
