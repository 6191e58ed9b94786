//! TCP's connections and listeners: which segment is whose, when each is called, which way its segments go. What a segment does
//! is in [`crate::tcp`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv4Addr};

use frame::{Frame, Pressure, Segmentation};
use wire::checksum::Sum;
use wire::icmpv4::{self, Unreachable};
use wire::tcp::{Flags, HEADER_LEN, MAX_HEADER_LEN, Packet, Repr};
use wire::{Port, Protocol, SeqNumber, ipv4};

use crate::counters::DropReason;
use crate::deadlines::Deadlines;
use crate::frames::{HEADROOM, add_to_sum, prepend, with_head};
use crate::iface::{IfaceId, Kind};
use crate::ip_options::IpOptions;
use crate::rng::Rng;
use crate::slab::{Handle, Slab};
use crate::stack::interfaces::is_host;
use crate::stack::ipv4_input::Received;
use crate::stack::ipv4_output::{Cast, Egress, Offload};
use crate::stack::orphans::Orphans;
use crate::stack::receive::{LinkInfo, Outcome};
use crate::stack::{Source, Stack};
use crate::tcp::{
    Config, Demux, Ecn, Events, Flow, FlowState, FourTuple, Handled, IcmpError, InsertError, IsnGenerator,
    Listen, RestoreError, Segment, SendError, State, TimeWaitAnswer, TimeWaitTable, reset_for, source_ports,
};
use crate::{Instant, Key};

/// Most listeners of a stack.
pub const MAX_LISTENERS: usize = 1024;
/// Most connections that a listener may have begun or keep until they are accepted.
pub const MAX_BACKLOG: usize = 4096;
/// Segments that are given to a device as one, where it cuts. They lie in about as many pieces of memory, for which a device has
/// descriptors (drivers/virtio: 16).
const SEGMENTS_AT_ONCE: u32 = 13;
/// Octets of IPv4 and TCP headers without options.
const HEADERS_LEN: u16 = 40;

/// What [`TcpHandle`] names.
#[derive(Debug)]
pub enum Tcp {}
/// Names a connection.
pub type TcpHandle = Handle<Tcp>;

/// What [`ListenerHandle`] names.
#[derive(Debug)]
pub enum Listener {}
/// Names a listener.
pub type ListenerHandle = Handle<Listener>;

/// Why a connection was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// ENETUNREACH: no way there.
    Unreachable,
    /// EADDRNOTAVAIL: the address is not this host's, or no port is left.
    NotAvailable,
    /// EADDRINUSE: there is such a connection.
    InUse,
    /// ENOBUFS: as many connections as there may be.
    Full,
    /// EINVAL: not the address and port of one host.
    NotUnicast,
}

/// Why a listener was not made, or a connection not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// EADDRINUSE.
    InUse,
    /// EADDRNOTAVAIL: not an address of this host, or no port.
    NotAvailable,
    /// ENOBUFS: as many as there may be.
    Full,
    /// The saved state is not one.
    State(RestoreError),
}

/// All connections and listeners of a stack.
#[derive(Debug)]
pub(super) struct Connections {
    demux: Demux<TcpHandle, ListenerHandle>,
    /// Each on the heap: a table that grows moves no connections.
    pub(super) flows: Slab<Box<Connection>, Tcp>,
    pub(super) orphans: Orphans,
    listeners: Slab<ListenQueue, Listener>,
    /// By a connection's slot, a moment not later than its deadline.
    timers: Deadlines,
    /// Connections of which nothing is left but TIME-WAIT.
    time_wait: TimeWaitTable,
    isn: IsnGenerator,
    /// What each listener's cookies are made with.
    cookie_key: Key,
    port_key: Key,
    /// Connections begun: moves the search for a free port on.
    opened: u32,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) flow: Flow,
    tuple: FourTuple,
    egress: Egress,
    /// Of [`Stack::generation`], when `egress` was found.
    generation: u32,
    owner: Owner,
    /// It came to a listener that waits for data until then ([`Config::defer_accept`]).
    deferred_until: Option<Instant>,
    /// Its program has closed it.
    pub(super) is_orphan: bool,
    /// It stands in an interface's queue of those that may send.
    ready: bool,
    pending: Events,
    reported: bool,
    /// What an ICMP error said last.
    error: Option<icmpv4::Repr>,
}

/// Who uses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A program.
    Program,
    /// It came to a listener and is in the handshake.
    Handshake(ListenerHandle),
    /// It came to a listener by the acknowledgment of a cookie.
    Cookie(ListenerHandle),
    /// It waits to be accepted.
    Accept(ListenerHandle),
    /// Nobody: it goes on until both sides are done.
    Nobody,
}

/// How a listener is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// So many connections wait for the program or are in the handshake.
    pub backlog: usize,
    /// SO_REUSEPORT: others that say the same may listen at the same place. Peers are spread over them.
    pub shared: bool,
    /// IP_FREEBIND: the address need not be one of this host's.
    pub nonlocal: bool,
}

impl ListenOptions {
    /// A listener that nobody shares.
    pub const fn new(backlog: usize) -> Self {
        Self { backlog, shared: false, nonlocal: false }
    }
}

#[derive(Debug)]
struct ListenQueue {
    local: Option<Ipv4Addr>,
    port: Port,
    backlog: usize,
    config: Config,
    /// Bounds the handshakes.
    half_open: crate::tcp::Listener,
    accept: VecDeque<TcpHandle>,
    reported: bool,
}

impl Connection {
    /// When it is to be called.
    fn poll_timeout(&self) -> Option<Instant> {
        self.flow.poll_timeout().into_iter().chain(self.deferred_until).min()
    }

    /// Whether a connection that came to a listener is ready for the program: the handshake is done, and what that waits for has
    /// come, or was waited for long enough.
    fn is_to_be_accepted(&mut self, now: Instant) -> bool {
        if !self.pending.has(Events::CONNECTED) {
            return false;
        }
        let Some(defer) = self.flow.config().defer_accept else { return true };
        let until = *self.deferred_until.get_or_insert(now + defer);
        let has_come = self.pending.has(Events::READABLE) || self.pending.has(Events::FINISHED);
        let is_over = has_come || until <= now;
        if is_over {
            self.deferred_until = None;
        }
        is_over
    }
}

impl Connections {
    pub(super) fn new(rng: &mut Rng, max_flows: usize, max_orphans: usize) -> Self {
        Self {
            demux: Demux::new(rng.key(), max_flows),
            flows: Slab::new(max_flows),
            orphans: Orphans::new(max_orphans.min(max_flows / 2)),
            listeners: Slab::new(MAX_LISTENERS),
            timers: Deadlines::new(),
            time_wait: TimeWaitTable::new(rng.key(), max_flows),
            isn: IsnGenerator::new(rng.key()),
            cookie_key: rng.key(),
            port_key: rng.key(),
            opened: 0,
        }
    }

    pub(super) fn take_events(&mut self, handle: TcpHandle) -> Option<Events> {
        let connection = self.flows.get_mut(handle)?;
        connection.reported = false;
        let events = core::mem::take(&mut connection.pending);
        (events != Events::default()).then_some(events)
    }

    pub(super) fn take_report(&mut self, listener: ListenerHandle) -> bool {
        let Some(queue) = self.listeners.get_mut(listener) else { return false };
        queue.reported = false;
        !queue.accept.is_empty()
    }

    /// When a connection has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.time_wait.poll_timeout()).min()
    }

    fn insert(&mut self, connection: Box<Connection>) -> Result<TcpHandle, OpenError> {
        let tuple = connection.tuple;
        if self.demux.flow(&tuple).is_some() {
            return Err(OpenError::InUse);
        }
        let handle = self.flows.insert(connection).map_err(|_| OpenError::Full)?;
        match self.demux.insert(tuple, handle) {
            Ok(()) => Ok(handle),
            Err(error) => {
                self.flows.remove(handle);
                Err(if error == InsertError::Exists { OpenError::InUse } else { OpenError::Full })
            }
        }
    }

    fn remove(&mut self, handle: TcpHandle) {
        let Some(connection) = self.flows.remove(handle) else { return };
        self.timers.clear(handle.index());
        self.demux.remove(&connection.tuple);
        if connection.is_orphan {
            self.orphans.note_over();
        }
        if let Owner::Handshake(listener) = connection.owner
            && let Some(queue) = self.listeners.get_mut(listener)
        {
            queue.half_open.release();
        }
    }

    /// Sets the timer, unless it rings early enough: a deadline that moves on with each acknowledgment is looked at again when
    /// the old one has come.
    fn arm(&mut self, handle: TcpHandle) {
        let Some(at) = self.flows.get(handle).and_then(|connection| connection.poll_timeout()) else {
            return;
        };
        if self.timers.get(handle.index()).is_none_or(|armed| at < armed) {
            self.timers.set(handle.index(), at);
        }
    }

    /// A port for a connection (RFC 6056 § 3.3.3), of those that this stack has.
    fn free_port(&mut self, mut tuple: FourTuple, range: &core::ops::RangeInclusive<u16>) -> Option<Port> {
        self.opened = self.opened.wrapping_add(1);
        source_ports(&self.port_key, &tuple, self.opened).find(|port| {
            tuple.local_port = *port;
            range.contains(&port.0)
                && self.demux.flow(&tuple).is_none()
                && self.demux.listener(&tuple).is_none()
        })
    }
}

impl Stack {
    /// Begins a connection. `from`: address and port of this side, each `None` or [`Port::NONE`] to be chosen. `config`: its
    /// ports, segment size and timestamp offset are set here.
    pub fn tcp_connect(
        &mut self,
        from: (Option<Ipv4Addr>, Port),
        to: (Ipv4Addr, Port),
        config: Config,
        now: Instant,
    ) -> Result<TcpHandle, ConnectError> {
        if !is_host(to.0) || to.1 == Port::NONE {
            return Err(ConnectError::NotUnicast);
        }
        if from.0.is_some_and(|address| !self.is_own(address)) {
            return Err(ConnectError::NotAvailable);
        }
        let way = self.route_by(now, to.0, from.0, None, &config.ip);
        let egress = way.map_err(|_| ConnectError::Unreachable)?;
        if !matches!(egress.cast, Cast::Unicast | Cast::Local) {
            return Err(ConnectError::NotUnicast);
        }
        let mut tuple = FourTuple {
            local: IpAddr::V4(egress.source),
            local_port: from.1,
            remote: IpAddr::V4(to.0),
            remote_port: to.1,
        };
        if tuple.local_port == Port::NONE {
            let port = self.tcp.free_port(tuple, &self.ephemeral_ports);
            tuple.local_port = port.ok_or(ConnectError::NotAvailable)?;
        }
        let config = self.flow_config(config, &tuple, &egress);
        let flow = Flow::connect(config, now, self.tcp.isn.isn(now, &tuple));
        let handle = self.insert_flow(flow, tuple, egress, Owner::Program).map_err(|error| match error {
            OpenError::InUse => ConnectError::InUse,
            _ => ConnectError::Full,
        })?;
        self.after_flow(handle, now);
        Ok(handle)
    }

    /// Takes connections to `local` (`None`: all addresses) and `port`. `config` is that of each connection, as for
    /// [`Self::tcp_connect`].
    pub fn tcp_listen(
        &mut self,
        local: Option<Ipv4Addr>,
        port: Port,
        options: ListenOptions,
        config: Config,
    ) -> Result<ListenerHandle, OpenError> {
        let ListenOptions { backlog, shared, nonlocal } = options;
        if port == Port::NONE || !nonlocal && local.is_some_and(|local| !self.is_own(local)) {
            return Err(OpenError::NotAvailable);
        }
        let queue = ListenQueue {
            local,
            port,
            backlog: backlog.clamp(1, MAX_BACKLOG),
            config,
            half_open: crate::tcp::Listener::new(self.tcp.cookie_key, backlog.clamp(1, MAX_BACKLOG) as u32),
            accept: VecDeque::new(),
            reported: false,
        };
        let handle = self.tcp.listeners.insert(queue).map_err(|_| OpenError::Full)?;
        if self.tcp.demux.listen(local.map(IpAddr::V4), port, handle, shared).is_err() {
            self.tcp.listeners.remove(handle);
            return Err(OpenError::InUse);
        }
        Ok(handle)
    }

    /// The next connection of a listener.
    pub fn tcp_accept(&mut self, listener: ListenerHandle) -> Option<TcpHandle> {
        let handle = self.tcp.listeners.get_mut(listener)?.accept.pop_front()?;
        self.tcp.flows.get_mut(handle)?.owner = Owner::Program;
        self.report_tcp(handle);
        Some(handle)
    }

    /// Changes what connections of a listener are like that come from now on.
    pub fn tcp_set_listener_config(&mut self, listener: ListenerHandle, config: Config) {
        if let Some(queue) = self.tcp.listeners.get_mut(listener) {
            queue.config = config;
        }
    }

    /// Changes how many connections may wait for the program here (0: none), because it was told so or because some that were
    /// taken wait elsewhere. Those that are here stay.
    pub fn tcp_set_backlog(&mut self, listener: ListenerHandle, backlog: usize) {
        if let Some(queue) = self.tcp.listeners.get_mut(listener) {
            queue.backlog = backlog.min(MAX_BACKLOG);
        }
    }

    /// Ends a listener; connections that nobody accepted are reset.
    pub fn tcp_unlisten(&mut self, listener: ListenerHandle, now: Instant) {
        let Some(queue) = self.tcp.listeners.remove(listener) else { return };
        self.tcp.demux.unlisten(queue.local.map(IpAddr::V4), queue.port, listener);
        let handshakes: alloc::vec::Vec<_> = self
            .tcp
            .flows
            .iter()
            .filter(|(_, connection)| connection.owner == Owner::Handshake(listener))
            .map(|(handle, _)| handle)
            .collect();
        for handle in queue.accept.into_iter().chain(handshakes) {
            self.tcp_abort(handle, now);
        }
    }

    /// A connection, to look at.
    pub fn tcp(&self, handle: TcpHandle) -> Option<&Flow> {
        Some(&self.tcp.flows.get(handle)?.flow)
    }

    /// Octets that a packet of a connection may have on its way, as far as is known (IP_MTU).
    pub fn tcp_path_mtu(&self, handle: TcpHandle) -> Option<u16> {
        Some(self.tcp.flows.get(handle)?.egress.path_mtu)
    }

    /// Addresses and ports of a connection.
    pub fn tcp_tuple(&self, handle: TcpHandle) -> Option<FourTuple> {
        Some(self.tcp.flows.get(handle)?.tuple)
    }

    /// What an ICMP error said about a connection last: a reason for what [`Flow::error`] calls a timeout or a refusal.
    pub fn tcp_icmp_error(&self, handle: TcpHandle) -> Option<icmpv4::Repr> {
        self.tcp.flows.get(handle)?.error
    }

    /// Whether some connection has sent, or is to send, what its peer has not acknowledged. A step for each connection.
    pub fn tcp_has_unacknowledged(&self) -> bool {
        self.tcp.flows.iter().any(|(_, connection)| connection.flow.unacknowledged() > 0)
    }

    /// Connections, those of which nothing is left but TIME-WAIT among them.
    pub fn tcp_count(&self) -> usize {
        self.tcp.flows.len() + self.tcp.time_wait.len()
    }

    /// Queues octets to be sent; see [`Flow::send`].
    pub fn tcp_send(&mut self, handle: TcpHandle, frame: Frame, now: Instant) -> Result<(), SendError> {
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return Err(SendError::Closed(frame)) };
        connection.flow.send(frame)?;
        self.after_flow(handle, now);
        Ok(())
    }

    /// Received octets, in order. They count against the receive buffer until [`Self::tcp_read`].
    pub fn tcp_receive(&mut self, handle: TcpHandle) -> Option<Frame> {
        self.tcp.flows.get_mut(handle)?.flow.receive()
    }

    /// As [`Self::tcp_receive`], for who keeps what arrives in a queue; see [`Flow::receive_into`].
    pub fn tcp_receive_into(&mut self, handle: TcpHandle, queue: &mut VecDeque<Frame>) -> usize {
        self.tcp.flows.get_mut(handle).map_or(0, |connection| connection.flow.receive_into(queue))
    }

    /// The program has read so many octets of what it was given.
    pub fn tcp_read(&mut self, handle: TcpHandle, octets: u32, now: Instant) {
        self.with_flow(handle, now, |flow| flow.read(now, octets));
    }

    /// Changes what a connection is like.
    pub fn tcp_configure(&mut self, handle: TcpHandle, now: Instant, configure: impl FnOnce(&mut Flow)) {
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        configure(&mut connection.flow);
        // Another interface may be another way.
        connection.generation = self.generation.wrapping_sub(1);
        self.after_flow(handle, now);
    }

    /// Sends no more; see [`Flow::shutdown_send`].
    pub fn tcp_shutdown(&mut self, handle: TcpHandle, now: Instant) {
        self.with_flow(handle, now, Flow::shutdown_send);
    }

    /// Gives a connection up: what is queued is sent, and the handle names nothing any more, at the latest when both sides are
    /// done, or the peer has taken nothing for too long. See [`Flow::close`].
    pub fn tcp_close(&mut self, handle: TcpHandle, now: Instant) {
        self.disown(handle);
        self.with_flow(handle, now, |flow| flow.close(now));
        self.note_orphan(handle, now);
    }

    /// Gives a connection up with a reset.
    pub fn tcp_abort(&mut self, handle: TcpHandle, now: Instant) {
        self.disown(handle);
        self.with_flow(handle, now, Flow::abort);
    }

    /// A connection as data, for live update; see [`Flow::save`].
    pub fn tcp_save(&self, handle: TcpHandle, now: Instant) -> Option<(FourTuple, FlowState)> {
        let connection = self.tcp.flows.get(handle)?;
        Some((connection.tuple, connection.flow.save(now)?))
    }

    /// A connection from data. Addresses and routes stand already.
    pub fn tcp_restore(
        &mut self,
        tuple: FourTuple,
        saved: &FlowState,
        now: Instant,
    ) -> Result<TcpHandle, OpenError> {
        let (IpAddr::V4(local), IpAddr::V4(remote)) = (tuple.local, tuple.remote) else {
            return Err(OpenError::NotAvailable);
        };
        let way = self.route_by(now, remote, Some(local), None, &saved.config.ip);
        let egress = way.map_err(|_| OpenError::NotAvailable)?;
        let flow = Flow::restore(saved, self.pool, now).map_err(OpenError::State)?;
        let handle = self.insert_flow(flow, tuple, egress, Owner::Program)?;
        self.after_flow(handle, now);
        Ok(handle)
    }

    /// Takes a TCP segment.
    pub(super) fn receive_tcp(
        &mut self,
        received: Received,
        frame: Frame,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let Received { link, ref header, header_len, .. } = received;
        if !received.is_unicast() || !is_host(header.src) {
            // RFC 9293 § 3.9.2.3: no broadcasts.
            return Err(DropReason::NoSocket);
        }
        let segment = self.read_segment(frame, header_len, header, &link)?;
        let tuple = FourTuple {
            local: IpAddr::V4(header.dst),
            local_port: segment.repr.dst_port,
            remote: IpAddr::V4(header.src),
            remote_port: segment.repr.src_port,
        };
        let Some(handle) = self.tcp.demux.flow(&tuple) else {
            return self.receive_for_time_wait(tuple, link.iface, segment, now);
        };
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return Err(DropReason::NoSocket) };
        if !connection.flow.ip().hears(link.iface) {
            return Err(DropReason::NoSocket);
        }
        let refused = connection.flow.refused();
        match connection.flow.handle_segment(now, segment) {
            Handled::Done => {
                let is_refused = connection.flow.refused() != refused;
                self.after_flow(handle, now);
                if is_refused { Err(DropReason::SocketFull) } else { Ok(Outcome::Delivered) }
            }
            Handled::Reopen(segment) => {
                self.tcp.remove(handle);
                self.receive_for_listener(tuple, link.iface, segment, now)
            }
        }
    }

    fn receive_for_time_wait(
        &mut self,
        tuple: FourTuple,
        iface: IfaceId,
        segment: Segment,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        match self.tcp.time_wait.handle_segment(now, &tuple, segment) {
            TimeWaitAnswer::Unknown(segment) | TimeWaitAnswer::Reopen(segment) => {
                self.receive_for_listener(tuple, iface, segment, now)
            }
            TimeWaitAnswer::Ignore => Ok(Outcome::Delivered),
            TimeWaitAnswer::Reply(repr) => {
                self.send_bare(&tuple, repr, &IpOptions::DEFAULT, now)?;
                Ok(Outcome::Delivered)
            }
        }
    }

    fn receive_for_listener(
        &mut self,
        tuple: FourTuple,
        iface: IfaceId,
        segment: Segment,
        now: Instant,
    ) -> Result<Outcome, DropReason> {
        let listener = self.tcp.demux.listener(&tuple);
        let queue = listener.and_then(|listener| Some((listener, self.tcp.listeners.get(listener)?)));
        let Some((listener, queue)) = queue.filter(|(_, queue)| queue.config.ip.hears(iface)) else {
            if let Some(reset) = reset_for(&segment) {
                self.send_bare(&tuple, reset, &IpOptions::DEFAULT, now)?;
            }
            return Err(DropReason::NoSocket);
        };
        let syn = segment.repr.flags.has(Flags::SYN);
        if syn && self.pressure >= Pressure::RefuseConnections {
            return Err(DropReason::NoMemory);
        }
        // Also the last acknowledgment of a handshake that nobody remembers: the peer sends it again with its data.
        if queue.accept.len() >= queue.backlog && !segment.repr.flags.has(Flags::RST) {
            return Err(DropReason::ListenFull);
        }
        let ip = queue.config.ip;
        let egress = self.route_back(&tuple, &ip, now)?;
        let config = self.flow_config(queue.config, &tuple, &egress);
        let queue = self.tcp.listeners.get_mut(listener).ok_or(DropReason::NoSocket)?;
        match queue.half_open.handle_segment(now, &config, &tuple, &segment) {
            Listen::Ignore => Err(DropReason::NoSocket),
            Listen::Reply(reply) => {
                self.send_bare(&tuple, reply, &ip, now)?;
                if syn { Ok(Outcome::Delivered) } else { Err(DropReason::NoSocket) }
            }
            Listen::Accept => {
                let flow = Flow::accept(config, now, self.tcp.isn.isn(now, &tuple), &segment.repr);
                let accepted = self.insert_flow(flow, tuple, egress, Owner::Handshake(listener));
                if accepted.is_err()
                    && let Some(queue) = self.tcp.listeners.get_mut(listener)
                {
                    queue.half_open.release();
                }
                let handle = accepted.map_err(|_| DropReason::FlowsFull)?;
                self.after_flow(handle, now);
                Ok(Outcome::Delivered)
            }
            Listen::AcceptCookie(syn) => {
                let mut flow = Flow::accept_cookie(config, now, segment.repr.ack - 1, &syn);
                // It is new: no SYN can reopen it.
                let Handled::Done = flow.handle_segment(now, segment) else {
                    return Err(DropReason::NoSocket);
                };
                let owner = Owner::Cookie(listener);
                let handle =
                    self.insert_flow(flow, tuple, egress, owner).map_err(|_| DropReason::FlowsFull)?;
                self.after_flow(handle, now);
                Ok(Outcome::Delivered)
            }
        }
    }

    /// Does what is due for one connection. `false`: nothing is.
    pub(super) fn handle_flow_timeout(&mut self, now: Instant) -> bool {
        let Some(slot) = self.tcp.timers.pop_due(now) else {
            self.tcp.time_wait.handle_timeout(now);
            return false;
        };
        if let Some(handle) = self.tcp.flows.handle_at(slot)
            && let Some(connection) = self.tcp.flows.get_mut(handle)
        {
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                if connection.flow.poll_timeout().is_some_and(|at| at <= now) {
                    connection.flow.handle_timeout(now);
                }
                self.after_flow(handle, now);
            } else {
                self.tcp.arm(handle);
            }
        }
        true
    }

    /// Sends a connection's next segment, if it has one; then it waits for its next turn.
    pub(super) fn transmit_flow(&mut self, handle: TcpHandle, now: Instant) {
        self.refresh_way(handle, now);
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        let Egress { tx_segmentation, path_mtu, .. } = connection.egress;
        let is_cut = tx_segmentation && connection.flow.mss() + u32::from(HEADERS_LEN) <= path_mtu.into();
        let most = if is_cut { SEGMENTS_AT_ONCE } else { 1 };
        let Some(segment) = connection.flow.poll_transmit_many(now, most) else {
            connection.ready = false;
            let unused = !matches!(connection.owner, Owner::Program | Owner::Accept(_));
            if let Some(rest) = connection.flow.time_wait().filter(|_| unused) {
                let tuple = connection.tuple;
                self.tcp.remove(handle);
                self.tcp.time_wait.insert(tuple, rest);
            } else if connection.flow.state() == State::Closed && unused {
                self.tcp.remove(handle);
            } else {
                self.tcp.arm(handle);
            }
            return;
        };
        let (tuple, egress, ip) = (connection.tuple, connection.egress, *connection.flow.ip());
        self.queue_ready(&egress, handle);
        if let Err(reason) = self.send_segment(&tuple, &egress, segment, &ip, now) {
            self.count_late_drop(egress.iface, reason);
        }
    }

    /// Whether a sequence number is one that the connection may have in the network (RFC 5927 § 4.1).
    pub(super) fn is_in_flight(&self, tuple: &FourTuple, seq: SeqNumber) -> bool {
        let connection = self.tcp.demux.flow(tuple).and_then(|handle| self.tcp.flows.get(handle));
        connection.is_some_and(|connection| {
            let flow = &connection.flow;
            seq >= flow.snd_una && seq < flow.snd_nxt
        })
    }

    /// Takes an ICMP error about a segment that began at `seq`, which is in flight.
    pub(super) fn handle_tcp_error(
        &mut self,
        tuple: &FourTuple,
        seq: SeqNumber,
        error: &icmpv4::Repr,
        now: Instant,
    ) {
        let Some(handle) = self.tcp.demux.flow(tuple) else { return };
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        connection.error = Some(*error);
        let said = match error {
            icmpv4::Repr::Unreachable(Unreachable::FragmentationNeeded { mtu }) => {
                IcmpError::TooBig { mss: mtu.saturating_sub(HEADERS_LEN).into() }
            }
            icmpv4::Repr::Unreachable(
                Unreachable::Protocol
                | Unreachable::Port
                | Unreachable::Host
                | Unreachable::Prohibited { .. },
            ) => IcmpError::Unreachable,
            _ => IcmpError::Transient,
        };
        connection.flow.handle_icmp_error(now, seq, said);
        self.after_flow(handle, now);
    }

    pub(super) fn with_flow(&mut self, handle: TcpHandle, now: Instant, call: impl FnOnce(&mut Flow)) {
        if let Some(connection) = self.tcp.flows.get_mut(handle) {
            call(&mut connection.flow);
            self.after_flow(handle, now);
        }
    }

    fn disown(&mut self, handle: TcpHandle) {
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        let owner = core::mem::replace(&mut connection.owner, Owner::Nobody);
        if let Owner::Handshake(listener) = owner
            && let Some(queue) = self.tcp.listeners.get_mut(listener)
        {
            queue.half_open.release();
        }
    }

    /// What follows each call of a flow: news are reported, its timer is set, it may send.
    fn after_flow(&mut self, handle: TcpHandle, now: Instant) {
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        let events = connection.flow.poll_events();
        connection.pending.0 |= events.0;
        // What is left of it is its last segment, and what its caller has to be told.
        if connection.flow.state() == State::Closed && core::mem::take(&mut connection.is_orphan) {
            self.tcp.orphans.note_over();
        }
        let owner = connection.owner;
        if let Owner::Handshake(listener) | Owner::Cookie(listener) = owner
            && connection.is_to_be_accepted(now)
        {
            connection.owner = Owner::Accept(listener);
            if let Some(queue) = self.tcp.listeners.get_mut(listener) {
                if owner == Owner::Handshake(listener) {
                    queue.half_open.release();
                }
                queue.accept.push_back(handle);
                if !core::mem::replace(&mut queue.reported, true) {
                    self.events.push_back(Source::Accept(listener));
                }
            }
        }
        self.report_tcp(handle);
        self.tcp.arm(handle);
        self.refresh_way(handle, now);
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        if !core::mem::replace(&mut connection.ready, true) {
            let egress = connection.egress;
            self.queue_ready(&egress, handle);
        }
    }

    fn report_tcp(&mut self, handle: TcpHandle) {
        if let Some(connection) = self.tcp.flows.get_mut(handle)
            && connection.owner == Owner::Program
            && connection.pending != Events::default()
            && !core::mem::replace(&mut connection.reported, true)
        {
            self.events.push_back(Source::Tcp(handle));
        }
    }

    /// Puts a connection into the queue of the device by which its segments leave.
    fn queue_ready(&mut self, egress: &Egress, handle: TcpHandle) {
        let device = match self.interface(egress.iface).map(crate::Interface::kind) {
            Some(Kind::Vlan { parent, .. }) => parent,
            _ => egress.iface,
        };
        if let Ok(device) = self.iface_mut(device) {
            device.ready.push_back(handle);
        }
    }

    /// Looks for a connection's way again, if ways have changed. One without a way keeps the old one, in vain.
    fn refresh_way(&mut self, handle: TcpHandle, now: Instant) {
        let generation = self.generation;
        let Some(connection) = self.tcp.flows.get(handle) else { return };
        if connection.generation == generation {
            return;
        }
        let way = self.route_back(&connection.tuple, connection.flow.ip(), now);
        if let Some(connection) = self.tcp.flows.get_mut(handle) {
            connection.generation = generation;
            if let Ok(egress) = way {
                connection.egress = egress;
            }
        }
    }

    fn route_back(&self, tuple: &FourTuple, ip: &IpOptions, now: Instant) -> Result<Egress, DropReason> {
        match (tuple.local, tuple.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => self.route_by(now, remote, Some(local), None, ip),
            _ => Err(DropReason::NoRoute),
        }
    }

    fn flow_config(&self, config: Config, tuple: &FourTuple, egress: &Egress) -> Config {
        Config {
            local_port: tuple.local_port,
            remote_port: tuple.remote_port,
            mss: egress.path_mtu.saturating_sub(HEADERS_LEN).min(config.max_segment),
            timestamp_offset: self.tcp.isn.timestamp_offset(tuple),
            ..config
        }
    }

    fn insert_flow(
        &mut self,
        flow: Flow,
        tuple: FourTuple,
        egress: Egress,
        owner: Owner,
    ) -> Result<TcpHandle, OpenError> {
        self.tcp.insert(Box::new(Connection {
            flow,
            tuple,
            egress,
            generation: self.generation,
            owner,
            deferred_until: None,
            is_orphan: false,
            ready: false,
            pending: Events::default(),
            reported: false,
            error: None,
        }))
    }

    fn send_bare(
        &mut self,
        tuple: &FourTuple,
        repr: Repr,
        ip: &IpOptions,
        now: Instant,
    ) -> Result<(), DropReason> {
        let egress = self.route_back(tuple, ip, now)?;
        self.send_segment(tuple, &egress, Segment::new(repr, None), ip, now)
    }

    fn send_segment(
        &mut self,
        tuple: &FourTuple,
        egress: &Egress,
        segment: Segment,
        ip: &IpOptions,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.local, tuple.remote) else {
            return Err(DropReason::NoRoute);
        };
        let header_len = segment.repr.header_len();
        let len = header_len + segment.payload_len() as usize;
        let mut frame = match segment.payload {
            Some(payload) => prepend(payload, header_len, self.pool),
            None => Frame::allocate(self.pool, HEADROOM, header_len)
                .and_then(|mut frame| frame.push_back(header_len).is_some().then_some(frame)),
        }
        .ok_or(DropReason::NoMemory)?;
        // A path has become shorter than the segments: routers may cut them. What the flow sends later can be no shorter, as it
        // chose its segments in the handshake.
        let longest = segment.size.map_or(len, |size| header_len + usize::from(size));
        let fits = ipv4::HEADER_LEN + longest <= usize::from(egress.path_mtu);
        let completes = egress.tx_checksum && fits;
        let segmentation = segment.size.map(|size| Segmentation { header_len: header_len as u16, size });
        if segmentation.is_some() && !completes {
            return Err(DropReason::TooBig);
        }
        let offload = Offload { checksum: completes.then_some(16), segmentation };
        let pseudo =
            Sum::pseudo_v4(src, dst, Protocol::TCP, u16::try_from(len).map_err(|_| DropReason::TooBig)?);
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        segment.repr.emit(&mut Packet::new_unchecked(&mut head[..header_len]));
        let checksum =
            if completes { pseudo.partial() } else { add_to_sum(pseudo, &frame, 0, usize::MAX).finish() };
        let head = frame.head_mut().ok_or(DropReason::NoMemory)?;
        Packet::new_unchecked(&mut head[..header_len]).set_checksum(checksum);
        let header = ipv4::Repr {
            src,
            dont_fragment: fits && ip.discovery.dont_fragment(fits),
            traffic_class: ip.traffic_class & 0xfc | segment.ecn as u8,
            ttl: ip.ttl,
            ..Self::header(egress, dst, Protocol::TCP)
        };
        self.send_ipv4(now, egress, header, frame, offload)
    }

    /// Reads a segment behind an IP header, and looks at its checksum.
    fn read_segment(
        &self,
        frame: Frame,
        header_len: usize,
        header: &ipv4::Repr,
        link: &LinkInfo,
    ) -> Result<Segment, DropReason> {
        let mut frame =
            with_head(frame, header_len + MAX_HEADER_LEN, self.pool).ok_or(DropReason::NoMemory)?;
        frame.pull(header_len);
        if !link.checksum_valid {
            let pseudo = Sum::pseudo_v4(header.src, header.dst, Protocol::TCP, header.payload_len);
            if !add_to_sum(pseudo, &frame, 0, usize::MAX).is_valid() {
                return Err(DropReason::TcpChecksum);
            }
        }
        let packet = Packet::new_checked(frame.head()).map_err(|_| DropReason::TcpHeader)?;
        let repr = Repr::parse(&packet, None).map_err(|_| DropReason::TcpHeader)?;
        let tcp_header_len = packet.header_len().max(HEADER_LEN);
        frame.pull(tcp_header_len);
        let ecn = Ecn::from_traffic_class(header.traffic_class);
        let size = link.segment_size;
        Ok(Segment { ecn, size, ..Segment::new(repr, (!frame.is_empty()).then_some(frame)) })
    }
}
