//! [`TcpSocket`]: a stream socket.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use core::time::Duration;

use frame::Frame;
use kernel::mm::packets;
use linux::buffers::UserBuffers;
use linux::errno::{
    EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, ECONNABORTED, ECONNREFUSED, ECONNRESET,
    EHOSTUNREACH, EINPROGRESS, EINVAL, EISCONN, ENETDOWN, ENETUNREACH, ENOBUFS, ENOPROTOOPT, ENOTCONN, EPIPE,
    ETIMEDOUT, Errno,
};
use linux::fd::{self, File, Stat};
use linux::readiness::{Readiness, events};
use linux::socket::{AF_INET, Received, Shutdown, Socket, flags};
use net::HEADROOM;
use net::stack::{ConnectError, ListenerHandle, OpenError, TcpHandle};
use net::tcp::{Config, Error, Events, FourTuple, KeepAlive, SendError};
use sync::SpinLock;
use wire::Port;

use crate::config;
use crate::options::{self, Common, IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET, int, name, of_int};
use crate::pass::{self, Net};

/// Octets of a frame that a write makes: a segment's.
const CHUNK: usize = 1460;
/// Most connections that wait to be accepted (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

/// Names at `IPPROTO_TCP`.
mod tcp_name {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const QUICKACK: i32 = 12;
    pub const USER_TIMEOUT: i32 = 18;
}

/// Things that a program wants of its flow, besides sending and receiving.
mod request {
    /// Nothing more is sent.
    pub const SHUTDOWN: u32 = 1;
    /// Nobody uses the socket any more.
    pub const CLOSE: u32 = 2;
    /// There is room for accepted connections.
    pub const ACCEPT: u32 = 4;
}

/// Where a socket stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Neither connected nor listening; perhaps bound.
    Idle {
        local: Option<SocketAddrV4>,
    },
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
        local: SocketAddrV4,
        backlog: usize,
    },
    /// The connection is over.
    Over {
        tuple: FourTuple,
    },
}

#[derive(Debug, Default)]
struct ReceiveQueue {
    frames: VecDeque<Frame>,
    octets: usize,
    /// After what is here comes the end.
    ended: bool,
    /// The program wants no more.
    shut: bool,
}

#[derive(Debug, Default)]
struct SendQueue {
    frames: VecDeque<Frame>,
    octets: usize,
    /// The program will send no more, or cannot.
    shut: bool,
}

/// What can be set.
#[derive(Clone, Debug)]
struct Options {
    common: Common,
    nodelay: bool,
    cork: bool,
    keep_idle: u32,
    keep_interval: u32,
    keep_count: u32,
    user_timeout_ms: u32,
    defer_accept: i32,
    traffic_class: i32,
    ttl: i32,
}

impl Options {
    const fn new() -> Self {
        Self {
            common: Common::new(),
            nodelay: false,
            cork: false,
            keep_idle: 7200,
            keep_interval: 75,
            keep_count: 9,
            user_timeout_ms: 0,
            defer_accept: 0,
            traffic_class: 0,
            ttl: 64,
        }
    }

    /// What a flow is made with.
    fn config(&self) -> Config {
        let mut config = Config::new(Port::NONE, Port::NONE);
        config.nagle = !self.nodelay;
        config.keep_alive = self.keep_alive();
        if self.user_timeout_ms > 0 {
            config.user_timeout = Some(Duration::from_millis(self.user_timeout_ms.into()));
        }
        config
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        self.common.keep_alive.then(|| KeepAlive {
            idle: Duration::from_secs(self.keep_idle.into()),
            interval: Duration::from_secs(self.keep_interval.into()),
            probes: self.keep_count,
        })
    }
}

/// A stream socket.
pub struct TcpSocket {
    this: Weak<Self>,
    inode: u64,
    readiness: Readiness,
    phase: SpinLock<Phase>,
    receive: SpinLock<ReceiveQueue>,
    send: SpinLock<SendQueue>,
    accepted: SpinLock<VecDeque<Arc<TcpSocket>>>,
    options: SpinLock<Options>,
    /// Stands in the owner's list.
    posted: AtomicBool,
    requests: AtomicU32,
    /// Octets that the program has read and the flow does not know of.
    read: AtomicU32,
    /// `SO_ERROR`; 0: none.
    error: AtomicU16,
}

impl TcpSocket {
    /// An idle socket.
    pub fn new() -> Arc<Self> {
        Self::with(Phase::Idle { local: None }, Options::new())
    }

    fn with(phase: Phase, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            inode: fd::next_inode(),
            readiness: Readiness::new(),
            phase: SpinLock::new(phase),
            receive: SpinLock::new(ReceiveQueue::default()),
            send: SpinLock::new(SendQueue::default()),
            accepted: SpinLock::new(VecDeque::new()),
            options: SpinLock::new(options),
            posted: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            read: AtomicU32::new(0),
            error: AtomicU16::new(0),
        })
    }

    fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    fn take_error(&self) -> Result<(), Errno> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            error => Err(Errno(error)),
        }
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
        !self.send.lock().frames.is_empty()
    }

    // In the network pass.

    /// Does what the program has asked for.
    pub fn serve(&self, net: &mut Net) {
        self.posted.store(false, Ordering::Release);
        if self.requests.load(Ordering::Acquire) & request::ACCEPT != 0 {
            self.requests.fetch_and(!request::ACCEPT, Ordering::AcqRel);
            self.on_accept(net);
        }
        let (Phase::Connecting { flow, .. } | Phase::Connected { flow, .. }) = self.phase() else { return };
        let read = self.read.swap(0, Ordering::AcqRel);
        if read > 0 {
            net.stack.tcp_read(flow, read, pass::now());
        }
        self.push(net, flow);
        let requests = self.requests.load(Ordering::Acquire);
        if requests & request::CLOSE != 0 {
            self.give_up(net, flow);
        } else if requests & request::SHUTDOWN != 0 && self.send.lock().frames.is_empty() {
            self.requests.fetch_and(!request::SHUTDOWN, Ordering::AcqRel);
            net.stack.tcp_shutdown(flow, pass::now());
        }
    }

    /// Moves what is to be sent into the flow, as far as that has room.
    fn push(&self, net: &mut Net, flow: TcpHandle) {
        let mut moved = false;
        loop {
            let Some(frame) = self.pop_to_send() else { break };
            let octets = frame.len();
            match net.stack.tcp_send(flow, frame, pass::now()) {
                Ok(()) => moved = true,
                Err(SendError::Full(frame)) => {
                    let mut send = self.send.lock();
                    send.octets += octets;
                    send.frames.push_front(frame);
                    break;
                }
                Err(SendError::Closed(_)) => self.send.lock().shut = true,
            }
        }
        if moved {
            self.readiness.notify(events::OUT | events::WRNORM);
        }
    }

    fn pop_to_send(&self) -> Option<Frame> {
        let mut send = self.send.lock();
        let frame = send.frames.pop_front()?;
        send.octets -= frame.len();
        Some(frame)
    }

    /// Nobody uses the socket: its flow goes on alone until all is sent, or is reset if something was not read (RFC 9293
    /// § 3.6.1, RFC 1122 § 4.2.2.13) or the program said so (`SO_LINGER` of 0).
    fn give_up(&self, net: &mut Net, flow: TcpHandle) {
        let abort = self.receive.lock().octets > 0 || self.options.lock().common.linger == Some(0);
        if !abort && !self.send.lock().frames.is_empty() {
            // There is more than the flow has room for: on with it when there is. The peer may not let that take for ever.
            net.stack.tcp_orphan(flow, pass::now());
            return;
        }
        if abort {
            net.stack.tcp_abort(flow, pass::now());
        } else {
            // The program may have read the rest just now, on another CPU: told to the flow, which takes what is not read
            // for a reason to reset.
            let read = self.read.swap(0, Ordering::AcqRel);
            if read > 0 {
                net.stack.tcp_read(flow, read, pass::now());
            }
            net.stack.tcp_close(flow, pass::now());
        }
        self.forget(net, flow);
    }

    /// The flow is no longer this socket's.
    fn forget(&self, net: &mut Net, flow: TcpHandle) {
        {
            let mut phase = self.phase.lock();
            if let Phase::Connecting { tuple, .. } | Phase::Connected { tuple, .. } = *phase {
                *phase = Phase::Over { tuple };
            }
        }
        // What was queued and nobody reads any more is memory.
        drop(core::mem::take(&mut self.send.lock().frames));
        drop(net.forget_flow(flow));
    }

    /// The stack tells what happened to the flow.
    pub fn on_events(&self, net: &mut Net, flow: TcpHandle, came: Events) {
        let mut changed = 0;
        if came.has(Events::CONNECTED) {
            let mut phase = self.phase.lock();
            if let Phase::Connecting { flow, tuple } = *phase {
                *phase = Phase::Connected { flow, tuple };
            }
            changed |= events::OUT | events::WRNORM;
        }
        if came.has(Events::READABLE) {
            let mut receive = self.receive.lock();
            receive.octets += net.stack.tcp_receive_into(flow, &mut receive.frames);
            drop(receive);
            changed |= events::IN | events::RDNORM;
        }
        if came.has(Events::WRITABLE) {
            self.push(net, flow);
            self.serve_later(net, flow);
        }
        if came.has(Events::FINISHED) {
            self.receive.lock().ended = true;
            changed |= events::IN | events::RDNORM | events::RDHUP;
        }
        if came.has(Events::CLOSED) {
            let error = net.stack.tcp(flow).and_then(|flow| flow.error()).map(|error| match error {
                Error::Refused => ECONNREFUSED,
                Error::Reset => ECONNRESET,
                Error::TimedOut => unreachable_or_timeout(net, flow),
                Error::Aborted => ECONNABORTED,
                Error::Unreachable => EHOSTUNREACH,
            });
            if let Some(Errno(error)) = error {
                self.error.store(error, Ordering::Release);
            }
            self.receive.lock().ended = true;
            self.send.lock().shut = true;
            net.stack.tcp_close(flow, pass::now());
            self.forget(net, flow);
            changed |= events::IN | events::OUT | events::ALWAYS | events::RDHUP;
        }
        if changed != 0 {
            self.readiness.notify(changed);
        }
    }

    /// What had to wait until the flow had room.
    fn serve_later(&self, net: &mut Net, flow: TcpHandle) {
        let requests = self.requests.load(Ordering::Acquire);
        if requests & request::CLOSE != 0 {
            self.give_up(net, flow);
        } else if requests & request::SHUTDOWN != 0 && self.send.lock().frames.is_empty() {
            self.requests.fetch_and(!request::SHUTDOWN, Ordering::AcqRel);
            net.stack.tcp_shutdown(flow, pass::now());
        }
    }

    /// The listener has connections: as many are taken as the program wants to wait for it.
    pub fn on_accept(&self, net: &mut Net) {
        let Phase::Listening { listener, backlog, .. } = self.phase() else { return };
        while self.accepted.lock().len() < backlog
            && let Some(flow) = net.stack.tcp_accept(listener)
        {
            let Some(tuple) = net.stack.tcp_tuple(flow) else { continue };
            let socket = Self::with(Phase::Connected { flow, tuple }, self.options.lock().clone());
            net.register_flow(flow, socket.clone());
            self.accepted.lock().push_back(socket);
            self.readiness.notify(events::IN | events::RDNORM);
        }
    }

    // By the program.

    /// Octets, in order, of what was received; `EAGAIN`: there are none yet.
    fn try_receive(&self, to: &mut UserBuffers, peek: bool) -> Result<usize, Errno> {
        let mut done = 0;
        if peek {
            return self.peek(to);
        }
        while !to.is_empty() {
            let frame = match self.next_received(to.len()) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            let octets = frame.len();
            for segment in frame.segments() {
                let mut rest = segment.octets;
                while !rest.is_empty() {
                    match to.write(rest) {
                        Ok(written) => {
                            done += written;
                            rest = &rest[written..];
                        }
                        Err(fault) => {
                            // What was taken out of the queue and cannot be delivered is lost, as is the program.
                            return if done > 0 { Ok(done) } else { Err(fault) };
                        }
                    }
                }
            }
            self.read.fetch_add(octets as u32, Ordering::AcqRel);
        }
        if self.read.load(Ordering::Acquire) > 0 {
            self.post();
        }
        Ok(done)
    }

    /// The next octets, at most `most`. `Ok(None)`: the end.
    fn next_received(&self, most: usize) -> Result<Option<Frame>, Errno> {
        let mut receive = self.receive.lock();
        let Some(frame) = receive.frames.pop_front() else {
            if receive.shut {
                return Ok(None);
            }
            let ended = receive.ended;
            drop(receive);
            self.take_error()?;
            return if ended { Ok(None) } else { Err(EAGAIN) };
        };
        let frame = if frame.len() > most {
            match frame.split(most) {
                Ok((first, rest)) => {
                    receive.frames.push_front(rest);
                    first
                }
                // No memory for a second view: the program asks again with more room, or gets all of it later.
                Err(frame) => {
                    receive.frames.push_front(frame);
                    return Err(ENOBUFS);
                }
            }
        } else {
            frame
        };
        receive.octets -= frame.len();
        Ok(Some(frame))
    }

    fn peek(&self, to: &mut UserBuffers) -> Result<usize, Errno> {
        let (views, ended) = {
            let receive = self.receive.lock();
            let mut wanted = to.len();
            let mut views = Vec::new();
            for frame in &receive.frames {
                if wanted == 0 {
                    break;
                }
                views.push(frame.try_clone().ok_or(ENOBUFS)?);
                wanted = wanted.saturating_sub(frame.len());
            }
            (views, receive.ended || receive.shut)
        };
        if views.is_empty() {
            self.take_error()?;
            return if ended { Ok(0) } else { Err(EAGAIN) };
        }
        let mut done = 0;
        for view in &views {
            for segment in view.segments() {
                done += to.write(segment.octets)?;
            }
        }
        Ok(done)
    }

    /// Queues as much as there is room for; `EAGAIN`: there is none.
    fn try_send(&self, from: &mut UserBuffers) -> Result<usize, Errno> {
        match self.phase() {
            Phase::Connected { .. } => {}
            Phase::Connecting { .. } => return Err(EAGAIN),
            Phase::Over { .. } => {
                self.take_error()?;
                return Err(EPIPE);
            }
            Phase::Idle { .. } | Phase::Listening { .. } => return Err(EPIPE),
        }
        let limit = self.options.lock().common.send_buffer as usize;
        let mut done = 0;
        while !from.is_empty() {
            {
                let send = self.send.lock();
                if send.shut {
                    drop(send);
                    if done > 0 {
                        break;
                    }
                    self.take_error()?;
                    return Err(EPIPE);
                }
                if send.octets >= limit {
                    break;
                }
            }
            let octets = from.len().min(CHUNK);
            let Some(mut frame) = Frame::allocate(packets::pool(), HEADROOM, octets) else {
                if done > 0 {
                    break;
                }
                return Err(ENOBUFS);
            };
            let taken = match frame.push_back(octets).map(|room| from.read(room)) {
                Some(Ok(taken)) => taken,
                Some(Err(_)) if done > 0 => break,
                Some(Err(fault)) => return Err(fault),
                None => return Err(ENOBUFS),
            };
            frame.truncate(taken);
            done += taken;
            let mut send = self.send.lock();
            send.octets += taken;
            send.frames.push_back(frame);
        }
        if done == 0 {
            return Err(EAGAIN);
        }
        self.post();
        Ok(done)
    }

    fn connect_result(&self) -> Result<(), Errno> {
        match self.phase() {
            Phase::Connected { .. } => Ok(()),
            Phase::Connecting { .. } => Err(EAGAIN),
            _ => Err(self.take_error().err().unwrap_or(ECONNABORTED)),
        }
    }
}

/// A connection that timed out may have been told why.
fn unreachable_or_timeout(net: &Net, flow: TcpHandle) -> Errno {
    match net.stack.tcp_icmp_error(flow) {
        Some(wire::icmpv4::Repr::Unreachable(_)) => EHOSTUNREACH,
        _ => ETIMEDOUT,
    }
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4, Errno> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(EAFNOSUPPORT),
    }
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

const UNBOUND: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

impl File for TcpSocket {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        self.receive(to, 0, nonblocking).map(|received| received.len)
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        let result = self.send(from, None, 0, nonblocking);
        if result == Err(EPIPE) {
            linux::signal::raise_broken_pipe();
        }
        result
    }

    fn events(&self) -> u32 {
        let error = if self.error.load(Ordering::Acquire) != 0 { events::ERR } else { 0 };
        match self.phase() {
            Phase::Idle { .. } => events::OUT | events::WRNORM | events::HUP | error,
            Phase::Connecting { .. } => error,
            Phase::Listening { .. } => {
                if self.accepted.lock().is_empty() {
                    0
                } else {
                    events::IN | events::RDNORM
                }
            }
            Phase::Connected { .. } | Phase::Over { .. } => {
                let (readable, ended) = {
                    let receive = self.receive.lock();
                    (receive.octets > 0 || receive.ended || receive.shut, receive.ended || receive.shut)
                };
                let (room, shut) = {
                    let send = self.send.lock();
                    // As on Linux, writable when a third is free.
                    (send.octets < self.options.lock().common.send_buffer as usize * 2 / 3, send.shut)
                };
                let mut mask = error;
                if readable {
                    mask |= events::IN | events::RDNORM;
                }
                if ended {
                    mask |= events::RDHUP;
                }
                if room || shut {
                    mask |= events::OUT | events::WRNORM;
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
        let value = match op {
            FIONREAD => self.receive.lock().octets,
            TIOCOUTQ => self.send.lock().octets,
            _ => return Err(linux::errno::ENOTTY),
        };
        kernel::uaccess::write(arg, value as i32)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn close(&self) {
        match self.phase() {
            Phase::Idle { local: Some(local) } => {
                pass::with(|net| net.bound.release(local));
            }
            Phase::Listening { listener, local, .. } => {
                pass::with(|net| {
                    net.stack.tcp_unlisten(listener, pass::now());
                    net.bound.release(local);
                    drop(net.forget_listener(listener));
                });
                let waiting = core::mem::take(&mut *self.accepted.lock());
                // What nobody accepted is reset.
                for socket in waiting {
                    socket.options.lock().common.linger = Some(0);
                    socket.close();
                }
            }
            Phase::Connecting { .. } | Phase::Connected { .. } => self.request(request::CLOSE),
            Phase::Idle { local: None } | Phase::Over { .. } => {}
        }
    }
}

impl Socket for TcpSocket {
    fn domain(&self) -> u16 {
        AF_INET
    }

    fn bind(&self, address: SocketAddr) -> Result<(), Errno> {
        let address = v4(address)?;
        let reuse = {
            let options = self.options.lock();
            options.common.reuse_address || options.common.reuse_port
        };
        if !matches!(self.phase(), Phase::Idle { local: None }) {
            return Err(EINVAL);
        }
        let local = pass::with(|net| net.bind(address, reuse)).ok_or(ENETDOWN)??;
        *self.phase.lock() = Phase::Idle { local: Some(local) };
        Ok(())
    }

    fn listen(&self, backlog: i32) -> Result<(), Errno> {
        // A negative backlog is a large one, as on Linux.
        let backlog = usize::try_from(backlog).unwrap_or(MAX_BACKLOG).clamp(1, MAX_BACKLOG);
        let local = match self.phase() {
            Phase::Idle { local } => local,
            Phase::Listening { listener, local, .. } => {
                *self.phase.lock() = Phase::Listening { listener, local, backlog };
                return Ok(());
            }
            _ => return Err(EINVAL),
        };
        let this = self.this.upgrade().ok_or(EINVAL)?;
        let config = self.options.lock().config();
        pass::with(|net| {
            let local = match local {
                Some(local) => local,
                None => net.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), false)?,
            };
            let listening = net.stack.tcp_listen(specified(*local.ip()), Port(local.port()), backlog, config);
            let listener = listening.map_err(|error| match error {
                OpenError::InUse => EADDRINUSE,
                OpenError::NotAvailable => EADDRNOTAVAIL,
                OpenError::Full | OpenError::State(_) => ENOBUFS,
            })?;
            net.bound.listen(local);
            net.register_listener(listener, this);
            *self.phase.lock() = Phase::Listening { listener, local, backlog };
            Ok(())
        })
        .ok_or(ENETDOWN)?
    }

    fn accept(&self, nonblocking: bool) -> Result<(Arc<dyn Socket>, SocketAddr), Errno> {
        if !matches!(self.phase(), Phase::Listening { .. }) {
            return Err(EINVAL);
        }
        let deadline = options::deadline(self.options.lock().common.receive_timeout);
        let accepted = self
            .readiness
            .block_on(events::IN, nonblocking, deadline, || self.accepted.lock().pop_front().ok_or(EAGAIN))?;
        self.request(request::ACCEPT);
        let peer = accepted.peer_address().unwrap_or(UNBOUND);
        Ok((accepted, peer))
    }

    fn connect(&self, address: Option<SocketAddr>, nonblocking: bool) -> Result<(), Errno> {
        let to = v4(address.ok_or(EAFNOSUPPORT)?)?;
        let local = match self.phase() {
            Phase::Idle { local } => local,
            Phase::Connecting { .. } if nonblocking => return Err(EALREADY),
            Phase::Connecting { .. } => return self.wait_for_connection(),
            Phase::Connected { .. } => return Err(EISCONN),
            Phase::Listening { .. } => return Err(EISCONN),
            Phase::Over { .. } => {
                self.take_error()?;
                return Err(EISCONN);
            }
        };
        // The unspecified address is this host.
        let to_ip = specified(*to.ip()).unwrap_or(Ipv4Addr::LOCALHOST);
        if !to_ip.is_loopback() {
            config::wait_for_address();
        }
        let from = local.map_or((None, Port::NONE), |local| (specified(*local.ip()), Port(local.port())));
        let this = self.this.upgrade().ok_or(EINVAL)?;
        let wanted = self.options.lock().config();
        pass::with(|net| {
            let begun = net.stack.tcp_connect(from, (to_ip, Port(to.port())), wanted, pass::now());
            let flow = begun.map_err(|error| match error {
                ConnectError::Unreachable => ENETUNREACH,
                ConnectError::NotAvailable => EADDRNOTAVAIL,
                ConnectError::InUse => EADDRINUSE,
                ConnectError::Full => ENOBUFS,
                ConnectError::NotUnicast => ENETUNREACH,
            })?;
            let tuple = net.stack.tcp_tuple(flow).ok_or(ENOBUFS)?;
            *self.phase.lock() = Phase::Connecting { flow, tuple };
            net.register_flow(flow, this);
            Ok::<(), Errno>(())
        })
        .ok_or(ENETDOWN)??;
        if nonblocking {
            // To this host itself it may be done already.
            return match self.connect_result() {
                Err(EAGAIN) => Err(EINPROGRESS),
                result => result,
            };
        }
        self.wait_for_connection()
    }

    fn send(
        &self,
        from: &mut UserBuffers,
        to: Option<SocketAddr>,
        _flags: u32,
        nonblocking: bool,
    ) -> Result<usize, Errno> {
        if to.is_some() && matches!(self.phase(), Phase::Connected { .. }) {
            return Err(EISCONN);
        }
        if from.is_empty() {
            return Ok(0);
        }
        let deadline = options::deadline(self.options.lock().common.send_timeout);
        let mut done = 0;
        while !from.is_empty() {
            match self.readiness.block_on(events::OUT, nonblocking, deadline, || self.try_send(from)) {
                Ok(sent) => done += sent,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        match self.phase() {
            Phase::Connected { .. } | Phase::Over { .. } => {}
            Phase::Connecting { .. } => {}
            Phase::Idle { .. } | Phase::Listening { .. } => return Err(ENOTCONN),
        }
        let deadline = options::deadline(self.options.lock().common.receive_timeout);
        let peek = flags & flags::PEEK != 0;
        let mut len = 0;
        loop {
            let got =
                self.readiness.block_on(events::IN, nonblocking, deadline, || self.try_receive(to, peek));
            match got {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(_) if len > 0 => break,
                Err(error) => return Err(error),
            }
            if flags & flags::WAITALL == 0 || peek || to.is_empty() {
                break;
            }
        }
        Ok(Received { len, from: None, truncated: false })
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        if !matches!(self.phase(), Phase::Connected { .. } | Phase::Connecting { .. }) {
            return Err(ENOTCONN);
        }
        if how != Shutdown::Write {
            self.receive.lock().shut = true;
        }
        if how != Shutdown::Read {
            self.send.lock().shut = true;
            self.request(request::SHUTDOWN);
        }
        self.readiness.notify(events::IN | events::OUT | events::RDHUP | events::HUP);
        Ok(())
    }

    fn local_address(&self) -> Result<SocketAddr, Errno> {
        Ok(match self.phase() {
            Phase::Idle { local } => local.map_or(UNBOUND, SocketAddr::V4),
            Phase::Listening { local, .. } => SocketAddr::V4(local),
            Phase::Connecting { tuple, .. } | Phase::Connected { tuple, .. } | Phase::Over { tuple } => {
                SocketAddr::new(tuple.local, tuple.local_port.0)
            }
        })
    }

    fn peer_address(&self) -> Result<SocketAddr, Errno> {
        match self.phase() {
            Phase::Connected { tuple, .. } => Ok(SocketAddr::new(tuple.remote, tuple.remote_port.0)),
            _ => Err(ENOTCONN),
        }
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let mut options = self.options.lock();
        match (level, name) {
            (SOL_SOCKET, _) => options.common.set(name, value)?,
            (IPPROTO_TCP, tcp_name::NODELAY) => options.nodelay = int(value)? != 0,
            (IPPROTO_TCP, tcp_name::CORK) => options.cork = int(value)? != 0,
            (IPPROTO_TCP, tcp_name::KEEPIDLE) => options.keep_idle = positive(int(value)?, 32_767)?,
            (IPPROTO_TCP, tcp_name::KEEPINTVL) => options.keep_interval = positive(int(value)?, 32_767)?,
            (IPPROTO_TCP, tcp_name::KEEPCNT) => options.keep_count = positive(int(value)?, 127)?,
            (IPPROTO_TCP, tcp_name::USER_TIMEOUT) => {
                options.user_timeout_ms = u32::try_from(int(value)?).map_err(|_| EINVAL)?;
            }
            (IPPROTO_TCP, tcp_name::DEFER_ACCEPT) => options.defer_accept = int(value)?,
            (IPPROTO_TCP, tcp_name::QUICKACK) => drop(int(value)?),
            (IPPROTO_IP, 1) => options.traffic_class = int(value)? & 0xff,
            (IPPROTO_IP, 2) => options.ttl = positive(int(value)?, 255)? as i32,
            _ => return Err(ENOPROTOOPT),
        }
        drop(options);
        self.configure();
        Ok(())
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let options = self.options.lock();
        Ok(match (level, name) {
            (SOL_SOCKET, name::ERROR) => {
                of_int(self.take_error().err().map_or(0, |Errno(error)| error.into()))
            }
            (SOL_SOCKET, name::TYPE) => of_int(1),
            (SOL_SOCKET, name::PROTOCOL) => of_int(6),
            (SOL_SOCKET, name::DOMAIN) => of_int(AF_INET.into()),
            (SOL_SOCKET, name::ACCEPTCONN) => of_int(matches!(self.phase(), Phase::Listening { .. }).into()),
            (SOL_SOCKET, _) => options.common.get(name)?,
            (IPPROTO_TCP, tcp_name::NODELAY) => of_int(options.nodelay.into()),
            (IPPROTO_TCP, tcp_name::MAXSEG) => of_int(CHUNK as i32),
            (IPPROTO_TCP, tcp_name::CORK) => of_int(options.cork.into()),
            (IPPROTO_TCP, tcp_name::KEEPIDLE) => of_int(options.keep_idle as i32),
            (IPPROTO_TCP, tcp_name::KEEPINTVL) => of_int(options.keep_interval as i32),
            (IPPROTO_TCP, tcp_name::KEEPCNT) => of_int(options.keep_count as i32),
            (IPPROTO_TCP, tcp_name::USER_TIMEOUT) => of_int(options.user_timeout_ms as i32),
            (IPPROTO_TCP, tcp_name::DEFER_ACCEPT) => of_int(options.defer_accept),
            (IPPROTO_TCP, tcp_name::QUICKACK) => of_int(1),
            (IPPROTO_IP, 1) => of_int(options.traffic_class),
            (IPPROTO_IP, 2) => of_int(options.ttl),
            _ => return Err(ENOPROTOOPT),
        })
    }
}

fn positive(value: i32, most: i32) -> Result<u32, Errno> {
    if (1..=most).contains(&value) { Ok(value as u32) } else { Err(EINVAL) }
}

impl TcpSocket {
    fn wait_for_connection(&self) -> Result<(), Errno> {
        let deadline = options::deadline(self.options.lock().common.send_timeout);
        match self.readiness.block_on(events::OUT, false, deadline, || self.connect_result()) {
            // The time is over: it goes on without us.
            Err(EAGAIN) => Err(EINPROGRESS),
            result => result,
        }
    }

    /// Has the flow follow options that were changed.
    fn configure(&self) {
        let (Phase::Connecting { flow, .. } | Phase::Connected { flow, .. }) = self.phase() else { return };
        let options = self.options.lock().clone();
        pass::with(|net| {
            let now = pass::now();
            net.stack.tcp_configure(flow, now, |flow| {
                flow.set_nagle(!options.nodelay);
                flow.set_cork(options.cork);
                flow.set_keep_alive(now, options.keep_alive());
                flow.set_user_timeout(
                    (options.user_timeout_ms > 0)
                        .then(|| Duration::from_millis(options.user_timeout_ms.into())),
                );
            });
        });
    }
}
