//! DHCP's client on an interface: its messages, and what a lease changes.

use core::net::Ipv4Addr;

use frame::Frame;
use wire::checksum::Sum;
use wire::dhcpv4::{self, CLIENT_PORT, SERVER_PORT};
use wire::{MacAddr, Port, Protocol, ipv4, udp};

use crate::Instant;
use crate::counters::DropReason;
use crate::dhcp::{Client, Event, Lease, LeaseState, Request, RestoreError};
use crate::frames::{frame_of, with_head};
use crate::iface::{IfaceId, Kind, Origin, Packet};
use crate::route::Route;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::{Cast, Egress};
use crate::stack::receive::Outcome;
use crate::stack::{self, Stack};

/// Octets of the messages sent: all servers take as many (RFC 2131 § 2).
const MAX_MESSAGE: usize = 548;
/// Routes from DHCP give way to those that somebody set.
const METRIC: u32 = 100;

impl Stack {
    /// Has an interface configured by DHCP. `saved`: a lease it had before, which is asked for again. The host is called
    /// `host_name`, which may be empty. `false`: it is no interface of a link.
    pub fn start_dhcp(
        &mut self,
        id: IfaceId,
        host_name: &str,
        saved: Option<&LeaseState>,
        now: Instant,
    ) -> bool {
        let key = self.rng.key();
        let Some(mac) = self.mac_for_dhcp(id) else { return false };
        let known = saved.and_then(|saved| Client::reboot(mac, host_name, key, saved, now).ok());
        self.install_dhcp(id, known.unwrap_or_else(|| Client::new(mac, host_name, key, now)), now);
        true
    }

    /// Goes on with a lease after a live update, without asking.
    pub fn resume_dhcp(
        &mut self,
        id: IfaceId,
        host_name: &str,
        saved: &LeaseState,
        now: Instant,
    ) -> Result<(), RestoreError> {
        let key = self.rng.key();
        let mac = self.mac_for_dhcp(id).ok_or(RestoreError::Impossible("interface"))?;
        let client = Client::resume(mac, host_name, key, saved, now)?;
        self.install_dhcp(id, client, now);
        Ok(())
    }

    /// Gives the lease of an interface back. The address goes a second later, when the server has heard of it.
    pub fn stop_dhcp(&mut self, id: IfaceId, now: Instant) {
        if let Ok(iface) = self.iface_mut(id)
            && let Some(client) = &mut iface.dhcp
        {
            client.release(now);
        }
        self.handle_dhcp_timeout(id, now);
    }

    /// Whether a datagram is one for the client of an interface.
    pub(super) fn is_for_dhcp(&self, iface: IfaceId, repr: &udp::Repr) -> bool {
        repr.dst_port == CLIENT_PORT
            && repr.src_port == SERVER_PORT
            && self.interface(iface).is_some_and(|iface| iface.dhcp.is_some())
    }

    /// Whether a packet to an address that is not ours may be a server's answer to a client that has none.
    pub(super) fn is_awaited_by_dhcp(&self, received: &Received, frame: &Frame) -> bool {
        let ports = crate::frames::behind(frame, received.header_len).first_chunk::<4>();
        received.header.protocol == Protocol::UDP
            && !received.header.is_fragment()
            && received.link.unicast
            && self
                .interface(received.link.iface)
                .is_some_and(|iface| iface.dhcp.as_ref().is_some_and(|client| client.lease().is_none()))
            && ports.is_some_and(|[a, b, c, d]| {
                Port(u16::from_be_bytes([*a, *b])) == SERVER_PORT
                    && Port(u16::from_be_bytes([*c, *d])) == CLIENT_PORT
            })
    }

    /// Takes a DHCP message.
    pub(super) fn receive_dhcp(
        &mut self,
        id: IfaceId,
        message: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let len = message.len();
        let message = with_head(message, len, self.pool).ok_or(DropReason::NoMemory)?;
        let packet = dhcpv4::Packet::new_checked(message.head()).map_err(|_| DropReason::Dhcp)?;
        let repr = dhcpv4::Repr::parse(&packet).map_err(|_| DropReason::Dhcp)?;
        let client = self.iface_mut(id)?.dhcp.as_mut().ok_or(DropReason::Dhcp)?;
        client.handle_message(now, &repr)?;
        self.handle_dhcp_timeout(id, now);
        Ok(Outcome::Delivered)
    }

    /// The address of a lease was probed, or is somebody else's.
    pub(super) fn handle_lease_probed(&mut self, id: IfaceId, now: Instant, free: bool) {
        if let Ok(iface) = self.iface_mut(id)
            && let Some(client) = &mut iface.dhcp
        {
            client.handle_probed(now, free);
        }
        self.handle_dhcp_timeout(id, now);
    }

    /// Lets the client do what is due.
    pub(super) fn handle_dhcp_timeout(&mut self, id: IfaceId, now: Instant) {
        let Ok(iface) = self.iface_mut(id) else { return };
        let Some(client) = &mut iface.dhcp else { return };
        client.handle_timeout(now);
        let event = client.poll_event();
        let mut octets = [0; MAX_MESSAGE];
        let mut message = |client: &mut Client| {
            let Request { src, dst, repr } = client.poll_transmit(now)?;
            let len = repr.emit(&mut dhcpv4::Packet::new_unchecked(&mut octets[..]))?;
            Some((src, dst, len))
        };
        // What is said of an address is said while it is there.
        if let Some((src, dst, len)) = message(client)
            && let Err(reason) = self.send_dhcp(id, src, dst, &octets[..len], now)
        {
            self.count_late_drop(id, reason);
        }
        match event {
            None => {}
            Some(Event::Probe(lease)) => {
                self.forget_lease(id, now);
                let address = lease.address.address();
                let had_it = self
                    .interface(id)
                    .is_some_and(|iface| iface.addresses.iter().any(|known| known.cidr.address() == address));
                let added = self.add_address_from(id, lease.address, Origin::Dhcp, now);
                if had_it || added.is_err() {
                    // Somebody gave it to the interface before, or it has no room: nothing will be probed.
                    self.handle_lease_probed(id, now, had_it);
                }
            }
            Some(Event::Bound(lease)) => {
                self.apply_lease(id, &lease, now);
                self.report(stack::Event::Lease { iface: id });
            }
            Some(Event::Lost) => {
                self.forget_lease(id, now);
                self.report(stack::Event::Lease { iface: id });
            }
        }
    }

    fn mac_for_dhcp(&self, id: IfaceId) -> Option<MacAddr> {
        self.interface(id).filter(|iface| iface.kind() != Kind::Loopback).map(|iface| iface.link().mac)
    }

    fn install_dhcp(&mut self, id: IfaceId, client: Client, now: Instant) {
        if let Ok(iface) = self.iface_mut(id) {
            iface.dhcp = Some(client);
        }
        self.handle_dhcp_timeout(id, now);
    }

    /// The address, routes and MTU of a lease.
    fn apply_lease(&mut self, id: IfaceId, lease: &Lease, now: Instant) {
        let address = lease.address.address();
        // It is there already but after a resumption; then nobody doubts it. A full interface keeps what it has.
        let _ = self.add_address_from(id, lease.address, Origin::Dhcp, now);
        self.remove_lease_routes(id, now);
        self.set_mtu_limit(id, lease.mtu);
        let default = lease.routers.iter().map(|router| (Ipv4Addr::UNSPECIFIED, 0, *router));
        let classless = lease.routes.iter().map(|route| (route.network, route.prefix_len, route.router));
        for (metric, (network, prefix_len, router)) in (METRIC..).zip(default.chain(classless)) {
            let gateway = (!router.is_unspecified()).then_some(router);
            self.add_route(
                Route {
                    network,
                    prefix_len,
                    gateway,
                    iface: id,
                    metric,
                    mtu: None,
                    source: Some(address),
                    origin: Origin::Dhcp,
                },
                now,
            );
        }
    }

    /// Takes the routes of a lease out, but for the one to its own network, which goes with the address.
    fn remove_lease_routes(&mut self, id: IfaceId, now: Instant) {
        let of_lease =
            |route: &Route| route.iface == id && route.origin == Origin::Dhcp && route.metric >= METRIC;
        self.remove_routes(of_lease, now);
    }

    fn forget_lease(&mut self, id: IfaceId, now: Instant) {
        let Some(iface) = self.interface(id) else { return };
        let leased = iface.addresses.iter().find(|address| address.origin == Origin::Dhcp);
        if let Some(address) = leased.map(|address| address.cidr.address()) {
            self.remove_address(id, address, now);
            self.remove_lease_routes(id, now);
            self.set_mtu_limit(id, None);
        }
    }

    fn send_dhcp(
        &mut self,
        id: IfaceId,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        message: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        const HEADERS_LEN: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
        let mut octets = [0; HEADERS_LEN + MAX_MESSAGE];
        let len = HEADERS_LEN + message.len();
        let iface = self.iface_mut(id)?;
        let mtu = iface.link().mtu;
        // A server behind a relay is reached by the relay's router; who answers for it on the link is asked as any.
        let egress = if dst.is_broadcast() {
            Egress {
                iface: id,
                next_hop: dst,
                source: src,
                link_mtu: mtu,
                path_mtu: mtu,
                cast: Cast::Broadcast,
                tx_checksum: false,
                tx_segmentation: false,
            }
        } else {
            self.route(now, dst, Some(src), None)?
        };
        let header = ipv4::Repr {
            src,
            payload_len: (udp::HEADER_LEN + message.len()) as u16,
            ..Self::header(&egress, dst, Protocol::UDP)
        };
        header.emit(&mut ipv4::Packet::new_unchecked(&mut octets[..ipv4::HEADER_LEN]));
        octets[HEADERS_LEN..len].copy_from_slice(message);
        let repr =
            udp::Repr { src_port: CLIENT_PORT, dst_port: SERVER_PORT, payload_len: message.len() as u16 };
        let mut datagram = udp::Packet::new_unchecked(&mut octets[ipv4::HEADER_LEN..len]);
        repr.emit(&mut datagram);
        datagram.fill_checksum(Sum::pseudo_v4(src, dst, Protocol::UDP, header.payload_len));
        let frame = frame_of(&octets[..len], self.pool).ok_or(DropReason::NoMemory)?;
        self.send_packet(now, &egress, &header, Packet { frame, checksum: None, segmentation: None }, None)
    }
}
