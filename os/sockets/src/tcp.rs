//! [`TcpSocket`]: a stream socket, as the program sees it. What the network pass does with it is in [`owner`].

mod info;
mod options;
mod owner;
mod queues;

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

use frame::Frame;
use kernel::mm::packets;
use linux::buffers::{CopyLock, UserBuffers};
use linux::errno::{
    EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, ECONNABORTED, ECONNRESET, EFAULT, EINPROGRESS,
    EINVAL, EISCONN, ENETDOWN, ENETUNREACH, ENOBUFS, ENOTCONN, EOPNOTSUPP, EPIPE, ERESTARTSYS, Errno,
};
use linux::fd::{self, File, Stat};
use linux::pace::Pace;
use linux::readiness::{Readiness, events};
use linux::socket::{AF_INET, Address, Outgoing, Received, Shutdown, Socket, broken_pipe, flags};
use net::HEADROOM;
use net::stack::{ConnectError, ListenOptions, ListenerHandle, OpenError, TcpHandle};
use net::tcp::{Flow, FourTuple, State};
use sync::SpinLock;
use wire::Port;

use self::options::{Options, name as tcp_name};
use self::queues::{ReceiveQueue, SendLimits, SendQueue, deliver};
use crate::bound::Sharing;
use crate::config;
use crate::ioctl;
use crate::ip_options::{self, Ip};
use crate::options::{
    self as common_options, Common, IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET, deadline, int, name, of_int,
};
use crate::pass::{self, Net};

/// Most octets of a frame that a write makes: a segment's.
const CHUNK: usize = 1460;
/// Octets for which a frame has room at least, so that the next small writes find room in it.
const MIN_CHUNK: usize = 256;
/// Most connections that wait to be accepted (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4095;

/// Things that a program wants of its flow, besides sending and receiving.
mod request {
    /// Nothing more is sent.
    pub const SHUTDOWN: u32 = 1;
    /// Nobody uses the socket any more.
    pub const CLOSE: u32 = 2;
    /// There is room for accepted connections.
    pub const ACCEPT: u32 = 4;
}

/// Where a socket stands. It changes while the stack is locked; whoever looks without that lock may be late.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Neither connected nor listening.
    Idle,
    Connecting {
        flow: TcpHandle,
        tuple: FourTuple,
    },
    Connected {
        flow: TcpHandle,
        tuple: FourTuple,
    },
    Listening {
        listener: ListenerHandle,
        backlog: usize,
    },
    /// The connection is over.
    Over {
        tuple: FourTuple,
    },
}

#[derive(Debug)]
struct Place {
    phase: Phase,
    /// The local address that it has of [`crate::bound`].
    bound: Option<SocketAddrV4>,
    /// A connection was begun, and connect(2) has not told how that went.
    outcome_due: bool,
}

/// A stream socket.
pub struct TcpSocket {
    this: Weak<Self>,
    inode: u64,
    readiness: Readiness,
    place: SpinLock<Place>,
    /// Held while octets are moved, so that those of one call stay together whoever else receives or sends.
    receiving: CopyLock,
    sending: CopyLock,
    receive: SpinLock<ReceiveQueue>,
    send: SpinLock<SendQueue>,
    accepted: SpinLock<VecDeque<Arc<TcpSocket>>>,
    options: SpinLock<Options>,
    /// Held while they are changed, which may need a look at the stack: before its lock.
    setting: SpinLock<()>,
    /// Stands in the owner's list.
    posted: AtomicBool,
    requests: AtomicU32,
    /// Octets that the program has read and the flow does not know of.
    read: AtomicU32,
    /// It found no memory for a frame, and is told when there is ([`pass::starve`]).
    starved: AtomicBool,
    /// close(2) waits until all is sent.
    lingers: AtomicBool,
    /// `SO_ERROR`; 0: none.
    error: AtomicU16,
}

impl TcpSocket {
    /// An idle socket.
    pub fn new() -> Arc<Self> {
        Self::with(Phase::Idle, Options::new())
    }

    fn with(phase: Phase, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            inode: fd::next_inode(),
            readiness: Readiness::new(),
            place: SpinLock::new(Place { phase, bound: None, outcome_due: false }),
            receiving: CopyLock::new(()),
            sending: CopyLock::new(()),
            receive: SpinLock::new(ReceiveQueue::default()),
            send: SpinLock::new(SendQueue::default()),
            accepted: SpinLock::new(VecDeque::new()),
            options: SpinLock::new(options),
            setting: SpinLock::new(()),
            posted: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            read: AtomicU32::new(0),
            starved: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            error: AtomicU16::new(0),
        })
    }

    fn phase(&self) -> Phase {
        self.place.lock().phase
    }

    fn flow(&self) -> Option<TcpHandle> {
        match self.phase() {
            Phase::Connecting { flow, .. } | Phase::Connected { flow, .. } => Some(flow),
            _ => None,
        }
    }

    fn set_error(&self, Errno(error): Errno) {
        self.error.store(error, Ordering::Release);
    }

    fn take_error(&self) -> Result<(), Errno> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            error => Err(Errno(error)),
        }
    }

    /// A call that has moved octets tells of these; an error of the connection is for the next one.
    fn keep_error(&self, error: Errno) {
        if !matches!(error, EAGAIN | EPIPE | EFAULT | ENOBUFS | ERESTARTSYS) {
            self.set_error(error);
        }
    }

    fn send_limits(&self) -> SendLimits {
        let options = self.options.lock();
        SendLimits { buffer: options.common.send_buffer as usize, not_sent: options.not_sent_low_water() }
    }

    /// Has the owner look at this socket.
    fn post(&self) {
        if !self.posted.swap(true, Ordering::AcqRel)
            && let Some(this) = self.this.upgrade()
        {
            pass::post(this);
        }
    }

    fn request(&self, what: u32) {
        self.requests.fetch_or(what, Ordering::AcqRel);
        self.post();
    }

    /// Whether something waits to be moved into the flow.
    pub fn has_unsent(&self) -> bool {
        !self.send.lock().is_empty()
    }

    // Receiving.

    /// Octets, in order, of what was received; `EAGAIN`: there are none yet.
    fn try_receive(&self, to: &mut UserBuffers, discard: bool) -> Result<usize, Errno> {
        let turn = self.receiving.lock();
        let mut done = 0;
        let mut result = Ok(());
        while result.is_ok() && !to.is_empty() {
            let next = self.receive.lock().pop(to.len());
            let mut frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let delivered = if discard {
                to.advance(frame.len());
                frame.len()
            } else {
                let (delivered, outcome) = deliver(&mut frame, to);
                if outcome.is_err() {
                    self.receive.lock().put_back(frame);
                }
                result = outcome;
                delivered
            };
            done += delivered;
        }
        drop(turn);
        if done > 0 {
            self.note_read(done);
            return Ok(done);
        }
        result?;
        // Asked for nothing: as soon as there is something, as on Linux.
        if to.is_empty() && self.receive.lock().octets() > 0 { Ok(0) } else { self.end_of_receive() }
    }

    /// The program has read. The flow is told when it is worth a window update: it hears of less when something else is posted.
    fn note_read(&self, octets: usize) {
        const WORTH_TELLING: usize = 1024;
        let unreported = self.read.fetch_add(octets as u32, Ordering::AcqRel) as usize + octets;
        let buffer = self.options.lock().common.receive_buffer as usize;
        if unreported >= WORTH_TELLING.min(buffer / 8) {
            self.post();
        }
    }

    /// What a receive says that found nothing.
    fn end_of_receive(&self) -> Result<usize, Errno> {
        let ended = {
            let receive = self.receive.lock();
            if receive.octets() > 0 {
                return Err(EAGAIN);
            }
            // The peer's end comes before what happened after it.
            if receive.shut || receive.finished {
                return Ok(0);
            }
            receive.ended
        };
        self.take_error()?;
        match self.phase() {
            Phase::Idle | Phase::Listening { .. } => Err(ENOTCONN),
            _ if ended => Ok(0),
            _ => Err(EAGAIN),
        }
    }

    fn peek(&self, to: &mut UserBuffers) -> Result<usize, Errno> {
        let _turn = self.receiving.lock();
        let views = self.receive.lock().views(to.len())?;
        if views.is_empty() {
            return self.end_of_receive();
        }
        let mut done = 0;
        for mut view in views {
            let (delivered, outcome) = deliver(&mut view, to);
            done += delivered;
            match outcome {
                Ok(()) => {}
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(done)
    }

    // Sending.

    /// Queues as much as there is room for; `EAGAIN`: there is none.
    fn try_send(&self, from: &mut UserBuffers) -> Result<usize, Errno> {
        match self.phase() {
            Phase::Connected { .. } => {}
            Phase::Connecting { .. } => return Err(EAGAIN),
            Phase::Over { .. } | Phase::Idle | Phase::Listening { .. } => {
                self.take_error()?;
                return Err(EPIPE);
            }
        }
        let turn = self.sending.lock();
        let mut done = 0;
        let result = loop {
            if from.is_empty() {
                break Ok(());
            }
            match self.send_chunk(from) {
                Ok(sent) => done += sent,
                Err(error) => break Err(error),
            }
        };
        drop(turn);
        if done > 0 {
            self.post();
            result.unwrap_or_else(|error| self.keep_error(error));
            return Ok(done);
        }
        result.map(|()| 0)
    }

    /// Queues a frame's worth; `EAGAIN`: there is no room.
    fn send_chunk(&self, from: &mut UserBuffers) -> Result<usize, Errno> {
        let limits = self.send_limits();
        let shut = {
            let mut send = self.send.lock();
            if !send.shut && !send.has_room(limits) {
                send.wanted = true;
                return Err(EAGAIN);
            }
            send.shut
        };
        if shut {
            self.take_error()?;
            return Err(EPIPE);
        }
        let octets = from.len().min(CHUNK);
        let Some(mut frame) = Frame::allocate(packets::pool(), HEADROOM, octets.max(MIN_CHUNK)) else {
            self.starve();
            return Err(EAGAIN);
        };
        let room = frame.push_back(octets).ok_or(ENOBUFS)?;
        let taken = from.read(room)?;
        frame.truncate(taken);
        self.send.lock().push(frame);
        Ok(taken)
    }

    /// There is no memory for frames now.
    fn starve(&self) {
        if !self.starved.swap(true, Ordering::AcqRel)
            && let Some(this) = self.this.upgrade()
        {
            pass::starve(this);
        }
    }

    /// Queues all of it, waiting for room.
    fn send_all(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        nonblocking: bool,
    ) -> Result<usize, Errno> {
        // RFC 6093: nobody should send urgent data. Fast open is left out.
        if flags & (flags::OOB | flags::FASTOPEN) != 0 {
            return Err(EOPNOTSUPP);
        }
        if outgoing.to.is_some() && matches!(self.phase(), Phase::Connected { .. }) {
            return Err(EISCONN);
        }
        let deadline = deadline(self.options.lock().common.send_timeout);
        let (mut done, mut pace) = (0, Pace::new());
        loop {
            match self.readiness.block_on(events::OUT, nonblocking, deadline, || self.try_send(from)) {
                Ok(sent) => {
                    done += sent;
                    if pace.moved(sent) {
                        break;
                    }
                }
                Err(error) if done > 0 => {
                    self.keep_error(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            if from.is_empty() {
                break;
            }
        }
        Ok(done)
    }

    // Connecting.

    /// Begins a connection, or tells of the one that was begun. In the stack.
    fn begin_connection(&self, net: &mut Net, to: SocketAddrV4, wait: bool) -> Result<(), Errno> {
        let (bound, due) = {
            let mut place = self.place.lock();
            let due = match place.phase {
                Phase::Connecting { .. } if wait => return Err(EAGAIN),
                Phase::Connecting { .. } => return Err(EALREADY),
                Phase::Listening { .. } | Phase::Over { .. } => return Err(EISCONN),
                Phase::Connected { .. } if !place.outcome_due => return Err(EISCONN),
                Phase::Connected { .. } | Phase::Idle => core::mem::take(&mut place.outcome_due),
            };
            if due && matches!(place.phase, Phase::Connected { .. }) {
                return Ok(());
            }
            (place.bound, due)
        };
        if due {
            return Err(self.take_error().err().unwrap_or(ECONNABORTED));
        }
        let from = bound.map_or((None, Port::NONE), |local| (specified(*local.ip()), Port(local.port())));
        let config = self.options.lock().config();
        let begun = net.stack.tcp_connect(from, (*to.ip(), Port(to.port())), config, pass::now());
        let flow = begun.map_err(|error| match error {
            ConnectError::Unreachable | ConnectError::NotUnicast => ENETUNREACH,
            ConnectError::NotAvailable => EADDRNOTAVAIL,
            ConnectError::InUse => EADDRINUSE,
            ConnectError::Full => ENOBUFS,
        })?;
        let tuple = net.stack.tcp_tuple(flow).ok_or(ENOBUFS)?;
        net.flows.insert(flow, self.this.upgrade().ok_or(EINVAL)?);
        *self.receive.lock() = ReceiveQueue::default();
        *self.send.lock() = SendQueue::default();
        let mut place = self.place.lock();
        place.phase = Phase::Connecting { flow, tuple };
        place.outcome_due = true;
        Err(EAGAIN)
    }

    /// How the connection that was begun went; `EAGAIN`: not known yet.
    fn outcome(&self) -> Result<(), Errno> {
        let phase = {
            let mut place = self.place.lock();
            if matches!(place.phase, Phase::Connecting { .. }) {
                return Err(EAGAIN);
            }
            place.outcome_due = false;
            place.phase
        };
        match phase {
            Phase::Connected { .. } => Ok(()),
            _ => Err(self.take_error().err().unwrap_or(ECONNABORTED)),
        }
    }

    // Options.

    /// Has the flow, or those that come, follow options that were changed.
    fn configure(&self) {
        let phase = self.phase();
        let options = self.options.lock().clone();
        pass::with(|net| {
            let now = pass::now();
            match phase {
                Phase::Connecting { flow, .. } | Phase::Connected { flow, .. } => {
                    net.stack.tcp_configure(flow, now, |flow| options.apply(flow, now));
                }
                Phase::Listening { listener, .. } => {
                    net.stack.tcp_set_listener_config(listener, options.config());
                }
                Phase::Idle | Phase::Over { .. } => {}
            }
        });
    }

    /// How it is to be bound.
    fn binding(&self) -> (Sharing, Ip) {
        let options = self.options.lock();
        let Common { reuse_address: address, reuse_port: port, .. } = options.common;
        (Sharing { address, port }, options.ip)
    }

    /// Options that tell of the connection and are not set. `None`: it is another one.
    fn told(&self, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
        let flow = self.flow();
        match (level, name) {
            (IPPROTO_TCP, tcp_name::INFO) => Some(Ok(self.info())),
            (IPPROTO_TCP, tcp_name::MAXSEG) => {
                let mss = pass::look(|net| Some(net.stack.tcp(flow?)?.info(pass::now()).snd_mss)).flatten();
                mss.map(|mss| Ok(of_int(mss as i32)))
            }
            (IPPROTO_IP, ip_options::name::MTU) => {
                let mtu = pass::look(|net| net.stack.tcp_path_mtu(flow?)).flatten();
                Some(mtu.map(|mtu| of_int(mtu.into())).ok_or(ENOTCONN))
            }
            (SOL_SOCKET, name::MEMINFO) => {
                let received = self.receive.lock().octets();
                let to_send = self.send.lock().octets();
                Some(Ok(common_options::memory_info(&self.options.lock().common, received, to_send, 0)))
            }
            _ => None,
        }
    }

    /// `TCP_INFO`.
    fn info(&self) -> Vec<u8> {
        let held = self.send.lock().octets();
        let connection = |flow| {
            let (info, mtu) = pass::look(|net| {
                Some((net.stack.tcp(flow)?.info(pass::now()), net.stack.tcp_path_mtu(flow)?))
            })
            .flatten()?;
            Some(info::of_connection(&info, mtu, held))
        };
        match self.phase() {
            Phase::Connecting { flow, .. } | Phase::Connected { flow, .. } => connection(flow),
            Phase::Listening { backlog, .. } => Some(info::of_listener(self.accepted.lock().len(), backlog)),
            Phase::Idle | Phase::Over { .. } => None,
        }
        .unwrap_or_else(|| info::without_connection(info::CLOSE))
    }

    // Closing.

    /// Waits until all that was written is acknowledged, the end among it, if the program wants close(2) to do so (`SO_LINGER`).
    /// As the program ends nobody waits, and a signal ends it.
    fn wait_until_sent(&self) {
        let linger = self.options.lock().common.linger();
        let (Some(linger), Phase::Connected { flow, .. }) = (linger, self.phase()) else { return };
        if linger.is_zero() || fd::is_ending() || self.receive.lock().octets() > 0 {
            return;
        }
        self.lingers.store(true, Ordering::Release);
        self.send.lock().shut = true;
        self.requests.fetch_or(request::SHUTDOWN, Ordering::AcqRel);
        pass::with(|net| net.stack.tcp_orphan(flow, pass::now()));
        self.post();
        let is_sent = || {
            let is_sent = self.flow().is_none_or(|flow| {
                let state = pass::look(|net| net.stack.tcp(flow).map(|flow| flow.state())).flatten();
                state.is_none_or(|state| matches!(state, State::FinWait2 | State::TimeWait | State::Closed))
            });
            if is_sent { Ok(()) } else { Err(EAGAIN) }
        };
        // What is not sent by then goes on without us.
        let _ = self.readiness.block_on(events::ALWAYS, false, deadline(Some(linger)), is_sent);
    }
}

fn v4(address: &Address) -> Result<SocketAddrV4, Errno> {
    match address {
        Address::Inet(SocketAddr::V4(address)) => Ok(*address),
        _ => Err(EAFNOSUPPORT),
    }
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

fn remote(tuple: &FourTuple) -> Address {
    SocketAddr::new(tuple.remote, tuple.remote_port.0).into()
}

/// Whether both sides have ended a connection, of which the flow keeps what may still be on its way.
fn is_over(net: &Net, flow: TcpHandle) -> bool {
    net.stack.tcp(flow).is_none_or(|flow| matches!(flow.state(), State::TimeWait | State::Closed))
}

const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const UNBOUND: Address = Address::Inet(SocketAddr::V4(ANY));

impl File for TcpSocket {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        if to.is_empty() {
            return Ok(0);
        }
        self.receive(to, 0, nonblocking).map(|received| received.len)
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        self.send(from, Outgoing::default(), 0, nonblocking)
    }

    fn events(&self) -> u32 {
        const READABLE: u32 = events::IN | events::RDNORM;
        const WRITABLE: u32 = events::OUT | events::WRNORM;
        let error = if self.error.load(Ordering::Acquire) != 0 { events::ERR } else { 0 };
        let (phase, outcome_due) = {
            let place = self.place.lock();
            (place.phase, place.outcome_due)
        };
        match phase {
            // A connection was refused.
            Phase::Idle if outcome_due => READABLE | WRITABLE | events::HUP | events::RDHUP | error,
            Phase::Idle => WRITABLE | events::HUP | error,
            Phase::Connecting { .. } => error,
            Phase::Listening { .. } => {
                if self.accepted.lock().is_empty() {
                    0
                } else {
                    READABLE
                }
            }
            Phase::Connected { .. } | Phase::Over { .. } => {
                let low_water = self.options.lock().receive_low_water(usize::MAX);
                let (readable, ended) = {
                    let receive = self.receive.lock();
                    (receive.octets() >= low_water, receive.is_at_end())
                };
                let limits = self.send_limits();
                let (room, shut) = {
                    let mut send = self.send.lock();
                    let room = send.is_writable(limits);
                    send.wanted |= !room;
                    (room && !self.starved.load(Ordering::Acquire), send.shut)
                };
                let mut mask = error;
                if readable || ended {
                    mask |= READABLE;
                }
                if ended {
                    mask |= events::RDHUP;
                }
                if room || shut {
                    mask |= WRITABLE;
                }
                if ended && shut {
                    mask |= events::HUP;
                }
                mask
            }
        }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        const S_IFSOCK: u32 = 0o140_000;
        Stat { mode: S_IFSOCK | 0o777, inode: self.inode, size: 0, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> linux::errno::Result {
        const FIONREAD: u32 = 0x541b;
        const TIOCOUTQ: u32 = 0x5411;
        const SIOCATMARK: u32 = 0x8905;
        const SIOCOUTQNSD: u32 = 0x894b;
        if !matches!(op, FIONREAD | TIOCOUTQ | SIOCATMARK | SIOCOUTQNSD) {
            return ioctl::interfaces(op, arg);
        }
        if matches!(self.phase(), Phase::Listening { .. }) {
            return Err(EINVAL);
        }
        let of_flow = |count: fn(&Flow) -> u32| {
            let flow = self.flow();
            flow.and_then(|flow| pass::look(|net| net.stack.tcp(flow).map(count)).flatten()).unwrap_or(0)
                as usize
        };
        let value = match op {
            FIONREAD => self.receive.lock().octets(),
            TIOCOUTQ => self.send.lock().octets() + of_flow(Flow::unacknowledged),
            SIOCOUTQNSD => self.send.lock().octets() + of_flow(Flow::not_sent),
            // Urgent data is in line, and not marked (RFC 6093).
            _ => 0,
        };
        kernel::uaccess::write(arg, value as i32)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn close(&self) {
        self.wait_until_sent();
        // With a flow in the owner's pass, behind what was written; without one at once.
        self.requests.fetch_or(request::CLOSE, Ordering::AcqRel);
        if self.flow().is_some() {
            self.post();
        } else {
            pass::with(|net| {
                if let Phase::Listening { listener, .. } = self.phase() {
                    self.unlisten(net, listener);
                }
                self.unbind(net);
            });
        }
    }
}

impl Socket for TcpSocket {
    fn domain(&self) -> u16 {
        AF_INET
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let address = v4(address)?;
        let (sharing, ip) = self.binding();
        pass::with(|net| {
            let bindable = {
                let place = self.place.lock();
                matches!(place.phase, Phase::Idle) && place.bound.is_none_or(|local| local.port() == 0)
            };
            if !bindable {
                return Err(EINVAL);
            }
            net.check_local(*address.ip(), ip.free_bind)?;
            let local = if address.port() == 0 && ip.bind_without_port {
                address
            } else {
                net.bound.bind(self.inode, address, sharing)?
            };
            self.place.lock().bound = Some(local);
            Ok(())
        })
        .ok_or(ENETDOWN)?
    }

    fn listen(&self, backlog: i32) -> Result<(), Errno> {
        // A negative backlog is a large one, as on Linux.
        let backlog = usize::try_from(backlog).unwrap_or(MAX_BACKLOG).min(MAX_BACKLOG);
        let this = self.this.upgrade().ok_or(EINVAL)?;
        let config = self.options.lock().config();
        let (sharing, ip) = self.binding();
        pass::with(|net| {
            let bound = {
                let mut place = self.place.lock();
                match place.phase {
                    Phase::Idle => place.bound,
                    Phase::Listening { listener, .. } => {
                        place.phase = Phase::Listening { listener, backlog };
                        drop(place);
                        self.on_accept(net);
                        return Ok(());
                    }
                    _ => return Err(EINVAL),
                }
            };
            // Those that listen meet those that listen: who shares an address only is alone here.
            let local = match bound {
                Some(local) if local.port() != 0 => {
                    net.bound.check_listen(self.inode, local)?;
                    local
                }
                bound => net.bound.bind(self.inode, bound.unwrap_or(ANY), sharing)?,
            };
            self.place.lock().bound = Some(local);
            let options =
                ListenOptions { backlog: backlog + 1, shared: sharing.port, nonlocal: ip.free_bind };
            let listening = net.stack.tcp_listen(specified(*local.ip()), Port(local.port()), options, config);
            let listener = listening.map_err(|error| {
                if bound.is_none() {
                    self.unbind(net);
                }
                match error {
                    OpenError::InUse => EADDRINUSE,
                    OpenError::NotAvailable => EADDRNOTAVAIL,
                    OpenError::Full | OpenError::State(_) => ENOBUFS,
                }
            })?;
            net.bound.set_listens(self.inode, local, true);
            net.listeners.insert(listener, this);
            self.place.lock().phase = Phase::Listening { listener, backlog };
            Ok(())
        })
        .ok_or(ENETDOWN)?
    }

    fn accept(&self, nonblocking: bool) -> Result<(Arc<dyn Socket>, Address), Errno> {
        let deadline = deadline(self.options.lock().common.receive_timeout);
        let accepted = self.readiness.take_on(events::IN, nonblocking, deadline, || {
            if !matches!(self.phase(), Phase::Listening { .. }) {
                return Err(EINVAL);
            }
            self.accepted.lock().pop_front().ok_or(EAGAIN)
        })?;
        self.request(request::ACCEPT);
        // The connection may be over already.
        let peer = match accepted.phase() {
            Phase::Connected { tuple, .. } | Phase::Connecting { tuple, .. } | Phase::Over { tuple } => {
                remote(&tuple)
            }
            Phase::Idle | Phase::Listening { .. } => UNBOUND,
        };
        Ok((accepted, peer))
    }

    fn connect(&self, address: &Address, nonblocking: bool) -> Result<(), Errno> {
        if *address == Address::Unspecified {
            // What there is ends.
            pass::with(|net| self.disconnect(net)).ok_or(ENETDOWN)?;
            self.place.lock().outcome_due = false;
            self.error.store(0, Ordering::Release);
            self.readiness.notify(events::IN | events::OUT | events::ALWAYS | events::RDHUP);
            return Ok(());
        }
        let to = v4(address)?;
        // The unspecified address is this host.
        let to = SocketAddrV4::new(specified(*to.ip()).unwrap_or(Ipv4Addr::LOCALHOST), to.port());
        if !to.ip().is_loopback() {
            config::wait_for_address();
        }
        let begun = pass::with(|net| self.begin_connection(net, to, !nonblocking)).ok_or(ENETDOWN)?;
        if begun != Err(EAGAIN) {
            return begun;
        }
        if nonblocking {
            // As on Linux even if it is done already, because it goes to this host itself.
            return Err(EINPROGRESS);
        }
        let deadline = deadline(self.options.lock().common.send_timeout);
        // What takes longer than the time given goes on without us.
        match self.readiness.block_on(events::OUT, false, deadline, || self.outcome()) {
            Err(EAGAIN) => Err(EINPROGRESS),
            outcome => outcome,
        }
    }

    fn send(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        nonblocking: bool,
    ) -> Result<usize, Errno> {
        broken_pipe(self.send_all(from, outgoing, flags, nonblocking), flags)
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        if flags & flags::OOB != 0 {
            return Err(EINVAL);
        }
        if flags & flags::ERRQUEUE != 0 {
            return Err(EAGAIN);
        }
        let deadline = deadline(self.options.lock().common.receive_timeout);
        let (peek, discard) = (flags & flags::PEEK != 0, flags & flags::TRUNC != 0);
        let enough = match flags & flags::WAITALL {
            0 => self.options.lock().receive_low_water(to.len()),
            _ => to.len(),
        };
        let mut len = 0;
        loop {
            let got = self.readiness.block_on(events::IN, nonblocking, deadline, || {
                if peek { self.peek(to) } else { self.try_receive(to, discard) }
            });
            match got {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if len > 0 => {
                    self.keep_error(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            if len >= enough || peek || to.is_empty() {
                break;
            }
        }
        Ok(Received::stream(len))
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        pass::with(|net| match self.phase() {
            Phase::Connected { flow, .. } if is_over(net, flow) => Err(ENOTCONN),
            Phase::Connected { .. } => {
                if how != Shutdown::Write {
                    self.receive.lock().shut = true;
                }
                if how != Shutdown::Read {
                    self.send.lock().shut = true;
                    self.requests.fetch_or(request::SHUTDOWN, Ordering::AcqRel);
                }
                Ok(())
            }
            Phase::Connecting { .. } => {
                self.set_error(ECONNRESET);
                self.disconnect(net);
                Ok(())
            }
            // As Linux has it, the other direction of a listener means nothing.
            Phase::Listening { .. } => {
                if how != Shutdown::Write {
                    self.disconnect(net);
                }
                Ok(())
            }
            Phase::Idle | Phase::Over { .. } => Err(ENOTCONN),
        })
        .ok_or(ENETDOWN)??;
        self.post();
        self.readiness.notify(events::IN | events::OUT | events::RDHUP | events::HUP);
        Ok(())
    }

    fn local_address(&self) -> Result<Address, Errno> {
        let place = self.place.lock();
        Ok(match place.phase {
            Phase::Idle | Phase::Listening { .. } => {
                place.bound.map_or(UNBOUND, |local| SocketAddr::V4(local).into())
            }
            Phase::Connecting { tuple, .. } | Phase::Connected { tuple, .. } | Phase::Over { tuple } => {
                SocketAddr::new(tuple.local, tuple.local_port.0).into()
            }
        })
    }

    fn peer_address(&self) -> Result<Address, Errno> {
        match self.phase() {
            Phase::Connected { tuple, flow } if pass::look(|net| is_over(net, flow)) == Some(false) => {
                Ok(remote(&tuple))
            }
            _ => Err(ENOTCONN),
        }
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let quick_ack = {
            let _setting = self.setting.lock();
            let mut options = self.options.lock().clone();
            if level == IPPROTO_TCP && name == tcp_name::WINDOW_CLAMP && int(value)? == 0 {
                // It cannot be taken back where windows were offered.
                if !matches!(self.phase(), Phase::Idle | Phase::Over { .. }) {
                    return Err(EINVAL);
                }
            }
            options.set(level, name, value)?;
            let quick_ack = (level == IPPROTO_TCP && name == tcp_name::QUICKACK).then(|| options.quick_ack());
            *self.options.lock() = options;
            quick_ack
        };
        match (quick_ack, self.flow()) {
            (Some(quick), Some(flow)) => drop(pass::with(|net| {
                net.stack.tcp_configure(flow, pass::now(), |flow| flow.set_quick_ack(quick));
            })),
            _ => self.configure(),
        }
        if level == SOL_SOCKET && name == name::RCVLOWAT {
            // What was too little may be enough.
            self.readiness.notify(events::IN | events::RDNORM);
        }
        Ok(())
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if let Some(told) = self.told(level, name) {
            return told;
        }
        Ok(match (level, name) {
            (SOL_SOCKET, name::ERROR) => {
                of_int(self.take_error().err().map_or(0, |Errno(error)| error.into()))
            }
            (SOL_SOCKET, name::TYPE) => of_int(1),
            (SOL_SOCKET, name::PROTOCOL) => of_int(6),
            (SOL_SOCKET, name::DOMAIN) => of_int(AF_INET.into()),
            (SOL_SOCKET, name::COOKIE) => self.inode.to_le_bytes().to_vec(),
            (SOL_SOCKET, name::ACCEPTCONN) => of_int(matches!(self.phase(), Phase::Listening { .. }).into()),
            _ => {
                let options = self.options.lock().clone();
                options.get(level, name)?
            }
        })
    }
}
