//! [`Stack`]: interfaces, protocols and sockets, tied together.
//!
//! A received packet's way is a chain of calls, a file for each layer:
//! `receive` (Ethernet, VLAN) → `arp`, or `ipv4_input` (checks, prerouting, for whom?) → `forward`, or input hook → `icmp`, `igmp`,
//! `dhcp`, `udp`, `tcp` → an event. What is sent goes `udp`, `tcp`, `icmp` ... → `ipv4_output` (route, output hook,
//! postrouting, fragments) → `transmit` (neighbour, Ethernet) → the device's queue.
//!
//! The caller owns the loop:
//!
//! 1. [`Stack::receive`] with what each device has received;
//! 2. [`Stack::handle_timeout`] while [`Stack::poll_timeout`] is not later than now;
//! 3. [`Stack::poll_transmit`] for each device, while that has room;
//! 4. [`Stack::poll_event`] until there is none.
//!
//! 2 to 4 also follow every call of a program.

mod arp;
mod configure;
mod dhcp;
mod forward;
mod icmp;
mod igmp;
mod interfaces;
mod ipv4_input;
mod ipv4_output;
mod orphans;
mod receive;
mod tcp;
mod transmit;
mod udp;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;

use frame::{Frame, Pool, Pressure};
use wire::MacAddr;

use crate::counters::DropReason;
use crate::hooks::Hooks;
use crate::icmp::ErrorLimits;
use crate::ident::Identification;
use crate::iface::{IfaceId, Interface, Kind, Link};
use crate::pmtu::{PathMtuState, PathMtus};
use crate::reassembly::{GivenUp, Reassembly};
use crate::rng::Rng;
use crate::route::{Route, Routes};
use crate::udp::{Endpoints, UdpHandle};
use crate::{Instant, Key};

pub use configure::ConfigureError;
pub(crate) use interfaces::is_host;
pub use interfaces::{AddressError, IfaceError};
pub use ipv4_output::SendError;
pub use tcp::{
    ConnectError, ListenOptions, Listener, ListenerHandle, MAX_BACKLOG, MAX_LISTENERS, OpenError, Tcp,
    TcpHandle,
};
pub use udp::{UdpOverrides, UdpSend};

/// Packets to this host itself that wait at most; a further one is dropped.
pub const MAX_LOOPBACK_QUEUE: usize = 1024;
/// Echo replies and address conflicts that wait to be asked for at most; a further one is dropped. What happens to leases
/// is never dropped, and stands there once for each interface.
pub const MAX_NOTICES: usize = 64;
/// Connections, packets and timers that one [`Stack::handle_timeout`] works on at most.
const TIMEOUT_BUDGET: usize = 256;

/// What a stack is to be like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Secret, drawn from the machine's randomness. All keys and random numbers of the stack follow from it.
    pub key: Key,
    /// Ports for those who do not care. Cores that have a stack each have a part each.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Most TCP connections.
    pub max_flows: usize,
    /// Most of them that their programs have closed (as Linux' `tcp_max_orphans`); never more than half of all.
    pub max_orphans: usize,
    /// Packets for other hosts are sent on. Devices must not put segments together then ([`frame::RxFrame::segment_size`]).
    pub forwarding: bool,
}

impl Settings {
    /// Linux' range of ports, 65536 connections, half of them without a program, no forwarding.
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            ephemeral_ports: 32_768..=60_999,
            max_flows: 65_536,
            max_orphans: 32_768,
            forwarding: false,
        }
    }
}

/// What happened, for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something changed about a connection.
    Tcp {
        /// Which.
        flow: TcpHandle,
        /// What.
        events: crate::tcp::Events,
    },
    /// [`Stack::tcp_accept`] has a connection.
    Accept {
        /// At which listener.
        listener: ListenerHandle,
    },
    /// [`Stack::udp_receive`] or [`Stack::udp_take_error`] has something.
    Udp {
        /// Where.
        socket: UdpHandle,
    },
    /// An interface got an address, routes and name servers by DHCP, or lost them, or they changed.
    Lease {
        /// Which.
        iface: IfaceId,
    },
    /// Somebody else uses an address of this host.
    AddressConflict {
        /// Where.
        iface: IfaceId,
        /// Which address.
        address: Ipv4Addr,
        /// Who.
        mac: MacAddr,
    },
    /// A host answered [`Stack::send_echo_request`].
    EchoReply {
        /// Who.
        from: Ipv4Addr,
        /// The request's identifier.
        ident: u16,
        /// Its sequence number.
        seq: u16,
        /// Octets that came back.
        len: u16,
    },
}

/// What an event in the queue is about; what has happened is read when it is taken out.
#[derive(Clone, Copy, Debug)]
enum Source {
    Tcp(TcpHandle),
    Accept(ListenerHandle),
    Udp(UdpHandle),
}

/// A network stack. Several stacks are several values.
pub struct Stack {
    pool: &'static dyn Pool,
    ephemeral_ports: RangeInclusive<u16>,
    rng: Rng,
    ifaces: Vec<Interface>,
    /// This host's own unicast and broadcast addresses, sorted.
    locals: Vec<interfaces::Local>,
    /// Tagged sub-interfaces, sorted by device and tag.
    vlans: Vec<(IfaceId, wire::vlan::VlanId, IfaceId)>,
    routes: Routes,
    /// Counts changes that may change a way; connections look again when it differs.
    generation: u32,
    path_mtus: PathMtus,
    reassembly: Reassembly,
    ident: Identification,
    error_limits: ErrorLimits,
    /// The hook points.
    pub hooks: Hooks,
    /// Packets for other hosts are sent on.
    pub forwarding: bool,
    pressure: Pressure,
    udp: Endpoints,
    tcp: tcp::Connections,
    /// Packets to this host itself, each with the interface at which it is to be seen.
    loopback: VecDeque<(IfaceId, Frame)>,
    /// Each connection, listener and endpoint at most once.
    events: VecDeque<Source>,
    /// Events about nothing of these.
    notices: VecDeque<Event>,
}

impl Stack {
    /// A stack with a loopback interface, 127.0.0.1/8. Frames come from `pool`.
    pub fn new(settings: Settings, pool: &'static dyn Pool) -> Self {
        let mut rng = Rng::new(settings.key);
        let mut stack = Self {
            pool,
            ephemeral_ports: settings.ephemeral_ports,
            ifaces: Vec::new(),
            locals: Vec::new(),
            vlans: Vec::new(),
            routes: Routes::default(),
            generation: 0,
            path_mtus: PathMtus::new(rng.key()),
            reassembly: Reassembly::new(rng.key()),
            ident: Identification::new(rng.key()),
            error_limits: ErrorLimits::new(rng.key()),
            hooks: Hooks::default(),
            forwarding: settings.forwarding,
            pressure: Pressure::None,
            udp: Endpoints::new(rng.key()),
            tcp: tcp::Connections::new(&mut rng, settings.max_flows, settings.max_orphans),
            loopback: VecDeque::new(),
            events: VecDeque::new(),
            notices: VecDeque::new(),
            rng,
        };
        stack.add_loopback();
        stack
    }

    /// When [`Self::handle_timeout`] has work. `None`: nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.loopback.is_empty() || !self.loopback_iface().ready.is_empty() {
            return Some(Instant(0));
        }
        let ifaces = self.ifaces.iter().filter_map(Interface::poll_timeout);
        ifaces.chain(self.tcp.poll_timeout()).chain(self.reassembly.poll_timeout()).min()
    }

    /// Does what is due, loopback's packets among it: a bounded number of things. If more is due, [`Self::poll_timeout`]
    /// says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMEOUT_BUDGET {
            if !self.handle_loopback(now) {
                break;
            }
        }
        for _ in 0..TIMEOUT_BUDGET {
            if !self.handle_flow_timeout(now) {
                break;
            }
        }
        for index in 0..self.ifaces.len() {
            let iface = IfaceId(index as u16);
            if self.ifaces[index].poll_timeout().is_some_and(|at| at <= now) {
                self.handle_neighbour_timeout(iface, now);
                self.handle_address_timeout(iface, now);
                self.handle_igmp_timeout(iface, now);
                self.handle_dhcp_timeout(iface, now);
            }
        }
        for _ in 0..TIMEOUT_BUDGET {
            let Some(gone) = self.reassembly.poll(now) else { break };
            self.handle_given_up(now, gone, DropReason::ReassemblyTimeout);
        }
    }

    /// What happened, one thing at a time. A connection or endpoint stands in the queue once, whatever happened to it.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(notice) = self.notices.pop_front() {
            return Some(notice);
        }
        loop {
            match self.events.pop_front()? {
                Source::Tcp(flow) => {
                    if let Some(events) = self.tcp.take_events(flow) {
                        return Some(Event::Tcp { flow, events });
                    }
                }
                Source::Accept(listener) => {
                    if self.tcp.take_report(listener) {
                        return Some(Event::Accept { listener });
                    }
                }
                Source::Udp(socket) => {
                    if let Some(endpoint) = self.udp.get_mut(socket) {
                        endpoint.reported = false;
                        return Some(Event::Udp { socket });
                    }
                }
            }
        }
    }

    /// How pressing memory is: under [`Pressure::RefuseConnections`] SYNs are dropped, under [`Pressure::DropReassembly`]
    /// fragments are given up and dropped, and connections that their programs have closed are reset, a few with each call.
    pub fn set_pressure(&mut self, pressure: Pressure, now: Instant) {
        self.pressure = pressure;
        if pressure >= Pressure::DropReassembly {
            while let Some(gone) = self.reassembly.give_up_oldest() {
                self.handle_given_up(now, gone, DropReason::ReassemblyFull);
            }
            self.reset_orphans(now);
        }
    }

    /// The routing table.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Enters a route. `false`: the table is full, or there is no such interface.
    pub fn add_route(&mut self, route: Route, now: Instant) -> bool {
        let Some(iface) = self.ifaces.get_mut(route.iface.0 as usize) else { return false };
        if !self.routes.add(route) {
            return false;
        }
        if let Some(gateway) = route.gateway {
            iface.neighbours.pin(now, gateway, true);
        }
        self.generation = self.generation.wrapping_add(1);
        true
    }

    /// Takes the routes out for which `remove` says so.
    pub fn remove_routes(&mut self, remove: impl Fn(&Route) -> bool, now: Instant) {
        let gateways: Vec<(IfaceId, Ipv4Addr)> = self
            .routes
            .iter()
            .filter(|route| remove(route))
            .filter_map(|route| Some((route.iface, route.gateway?)))
            .collect();
        self.routes.remove_if(remove);
        for (iface, gateway) in gateways {
            let used = self.routes.iter().any(|route| (route.iface, route.gateway) == (iface, Some(gateway)));
            if let Some(iface) = self.ifaces.get_mut(iface.0 as usize).filter(|_| !used) {
                iface.neighbours.pin(now, gateway, false);
            }
        }
        self.generation = self.generation.wrapping_add(1);
    }

    /// What is known of the MTUs of paths.
    pub fn path_mtu(&self, destination: Ipv4Addr, now: Instant) -> Option<u16> {
        self.path_mtus.get(now, destination)
    }

    /// The MTUs of paths, as data.
    pub fn save_path_mtus(&self, now: Instant) -> Vec<PathMtuState> {
        self.path_mtus.save(now).collect()
    }

    /// Takes what was saved.
    pub fn restore_path_mtus(&mut self, saved: &[PathMtuState], now: Instant) {
        saved.iter().for_each(|path| self.path_mtus.restore(now, path));
        self.generation = self.generation.wrapping_add(1);
    }

    fn report(&mut self, event: Event) {
        let once = matches!(event, Event::Lease { .. });
        if once && self.notices.contains(&event) || !once && self.notices.len() >= MAX_NOTICES {
            return;
        }
        self.notices.push_back(event);
    }

    /// Works on one packet or connection of loopback. `false`: there is none.
    fn handle_loopback(&mut self, now: Instant) -> bool {
        if let Some((seen_at, frame)) = self.loopback.pop_front() {
            self.receive_loopback(seen_at, frame, now);
            return true;
        }
        let Some(flow) = self.ifaces[0].ready.pop_front() else { return false };
        self.transmit_flow(flow, now);
        true
    }

    fn handle_given_up(&mut self, now: Instant, gone: GivenUp, reason: DropReason) {
        if let Some(iface) = self.ifaces.get_mut(gone.iface.0 as usize) {
            iface.counters.late_dropped[reason as usize] += gone.fragments;
        }
        if let Some(first) = gone.first.filter(|_| reason == DropReason::ReassemblyTimeout) {
            let error = wire::icmpv4::Repr::TimeExceeded { reassembly: true };
            self.send_icmp_error(now, gone.iface, &first, &error);
        }
    }

    fn count_late_drop(&mut self, iface: IfaceId, reason: DropReason) {
        if let Some(iface) = self.ifaces.get_mut(iface.0 as usize) {
            iface.counters.count_late_drop(reason);
        }
    }

    fn add_loopback(&mut self) {
        let link = Link {
            mac: MacAddr::UNSPECIFIED,
            mtu: u16::MAX,
            tx_checksum: true,
            tx_segmentation: false,
            up: true,
        };
        let key = self.rng.key();
        let steering = self.steering_key();
        self.ifaces.push(Interface::new("lo".into(), Kind::Loopback, link, key, steering));
        self.ifaces[0].addresses.extend(crate::Ipv4Cidr::new(Ipv4Addr::LOCALHOST, 8).map(|cidr| {
            crate::iface::Address { cidr, origin: crate::iface::Origin::Static, detector: None }
        }));
        self.collect_locals();
    }

    fn loopback_iface(&self) -> &Interface {
        &self.ifaces[0]
    }
}
