//! [`UnixSocket`]: sockets inside the image (unix(7)). A service of its own: in an image only if its program uses it.
//!
//! A socket has one queue, of what was sent to it and not received ([`inbox`]). Streams, and the connections of streams and of
//! sequenced packets, are in [`stream`] and [`connection`], messages in [`datagram`], names in [`names`], descriptors on their way in
//! [`rights`], options in [`options`].
//!
//! Lock order: what is on its way ([`rights`]), a listener's state, another socket's state, a socket's name, the table of names,
//! readiness. Messages and descriptions are dropped when all of these are open: both may come back here.

mod connection;
mod datagram;
mod inbox;
mod names;
mod options;
mod rights;
mod stream;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use abi::service::Service;
use kernel::mm::pages::Promise;
use linux::buffers::{CopyLock, UserBuffers};
use linux::errno::{
    EAFNOSUPPORT, EAGAIN, ECONNRESET, EINVAL, ENOBUFS, ENOTCONN, ENOTTY, EPIPE, EPROTONOSUPPORT, Errno,
};
use linux::fd::{self, Description, File, Stat};
use linux::readiness::{Readiness, events};
use linux::service::Record;
use linux::socket::{
    AF_UNIX, Address, Control, Credentials, Family, Kind, Outgoing, Received, Shutdown, Socket, UnixName,
    broken_pipe,
};
use sync::SpinLock;

use self::inbox::{Inbox, Queued};
use self::names::Bound;
use crate::options::{Common, deadline};

/// Most messages in a datagram socket's queue that its peer did not send, and one more (`net.unix.max_dgram_qlen`).
const MAX_QUEUED: usize = 10;
/// Octets that a message counts beside its own, so that empty ones are bounded, too.
const MESSAGE_OVERHEAD: usize = 256;
/// `SO_SNDBUF` and `SO_RCVBUF` of a new socket, as on Linux (`net.core.wmem_default`).
const BUFFER: i32 = 212_992;

/// What has become of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// A datagram socket stays so.
    Idle,
    Listening,
    Connected,
}

/// A local socket.
pub struct UnixSocket {
    this: Weak<Self>,
    kind: Kind,
    inode: u64,
    /// Who waits for this socket.
    readiness: Readiness,
    /// Who waits for room in its queue, of messages or of connections.
    room: Readiness,
    /// It leaves [`Phase::Idle`] once.
    phase: AtomicU8,
    state: SpinLock<State>,
    bound: SpinLock<Bound>,
    /// Held while octets of a stream are delivered, so that who else receives finds those behind them.
    receiving: CopyLock,
    /// What it has sent and was not received, with each message's overhead.
    sent: AtomicUsize,
    options: SpinLock<Common>,
    /// `SO_PASSCRED`.
    passes_credentials: AtomicBool,
    /// `SO_PEEK_OFF`; negative: off.
    peek_offset: AtomicI32,
    /// The socket whose `wanted` list it stands in, by its inode; 0: none.
    wants_room_of: AtomicU64,
    /// The listener, by its inode, as long as it was not accepted; 0: none.
    listener: AtomicU64,
    /// Stands in the list of those that may hold sockets on their way.
    holds_sockets: AtomicBool,
    _memory: Promise,
}

#[derive(Default)]
struct State {
    inbox: Inbox,
    /// Connections that were not accepted, and how many there may be, and one more.
    backlog: alloc::collections::VecDeque<Arc<UnixSocket>>,
    backlog_max: usize,
    /// The other side; of a datagram socket where its messages go.
    peer: Option<Arc<UnixSocket>>,
    /// Datagram sockets that are connected to this one and found its queue full.
    wanted: Vec<Weak<UnixSocket>>,
    /// `SO_ERROR`.
    error: Option<Errno>,
    /// Nothing is received any more once the queue is empty; of what is sent to it nothing is taken.
    receive_shut: bool,
    /// Nothing is sent any more.
    send_shut: bool,
    /// Nobody uses it any more.
    closed: bool,
    /// Who it is connected with, for `SO_PEERCRED`.
    peer_credentials: Option<Credentials>,
}

impl State {
    fn is_peer(&self, other: &UnixSocket) -> bool {
        self.peer.as_ref().is_some_and(|peer| core::ptr::eq(&**peer, other))
    }

    fn take_error(&mut self) -> Result<(), Errno> {
        self.error.take().map_or(Ok(()), Err)
    }
}

/// Whoever sent a message of which nobody asked whose it was when it was sent.
const NOBODY: Credentials = Credentials { pid: 0, uid: 65_534, gid: 65_534 };

/// What is told of a message's sender: its name, if it has one.
fn named(sender: &UnixSocket) -> Option<Address> {
    Some(sender.name()).filter(|name| *name != UnixName::Unnamed).map(Address::Unix)
}

/// Descriptions and credentials that go with a message.
fn ancillary(control: Vec<Control>) -> (Vec<Arc<Description>>, Option<Credentials>) {
    let (mut descriptions, mut credentials) = (Vec::new(), None);
    for control in control {
        match control {
            Control::Rights(rights) => descriptions = rights,
            Control::Credentials(given) => credentials = Some(given),
            // Of another level: passed over, as on Linux.
            Control::Internet(_) => {}
        }
    }
    (descriptions, credentials)
}

/// How long a call waits.
#[derive(Clone, Copy)]
struct Wait {
    nonblocking: bool,
    deadline: Option<u64>,
}

const READABLE: u32 = events::IN | events::RDNORM;
const WRITABLE: u32 = events::OUT | events::WRNORM;
const ENDED: u32 = READABLE | WRITABLE | events::RDHUP | events::HUP | events::ERR;

impl UnixSocket {
    /// A socket without a name.
    ///
    /// # Errors
    /// `ENOBUFS`.
    fn new(kind: Kind) -> Result<Arc<Self>, Errno> {
        let mut memory = Promise::none();
        if !memory.grow(size_of::<Self>()) {
            return Err(ENOBUFS);
        }
        let mut options = Common::new();
        (options.send_buffer, options.receive_buffer) = (BUFFER, BUFFER);
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            kind,
            inode: fd::next_inode(),
            readiness: Readiness::new(),
            room: Readiness::new(),
            phase: AtomicU8::new(Phase::Idle as u8),
            state: SpinLock::new(State::default()),
            bound: SpinLock::new(Bound::default()),
            receiving: CopyLock::new(()),
            sent: AtomicUsize::new(0),
            options: SpinLock::new(options),
            passes_credentials: AtomicBool::new(false),
            peek_offset: AtomicI32::new(-1),
            wants_room_of: AtomicU64::new(0),
            listener: AtomicU64::new(0),
            holds_sockets: AtomicBool::new(false),
            _memory: memory,
        }))
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Listening,
            2 => Phase::Connected,
            _ => Phase::Idle,
        }
    }

    /// Leaves [`Phase::Idle`].
    ///
    /// # Errors
    /// Where it stands, if it has left it already.
    fn advance(&self, to: Phase) -> Result<(), Phase> {
        let advanced =
            self.phase.compare_exchange(Phase::Idle as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
        advanced.map(drop).map_err(|_| self.phase())
    }

    fn is_connected_kind(&self) -> bool {
        self.kind != Kind::Datagram
    }

    fn name(&self) -> UnixName {
        self.bound.lock().name.clone()
    }

    fn peer(&self) -> Option<Arc<Self>> {
        self.state.lock().peer.clone()
    }

    fn send_limit(&self) -> usize {
        self.options.lock().send_buffer as usize
    }

    fn is_writable(&self) -> bool {
        // With three quarters free, as on Linux.
        self.phase() != Phase::Listening && self.sent.load(Ordering::Acquire) * 4 <= self.send_limit()
    }

    /// Waits until what it has sent leaves room for more.
    ///
    /// # Errors
    /// `SO_ERROR`; `EPIPE`: it is shut; `EAGAIN`, `ERESTARTSYS`.
    fn wait_to_send(&self, wait: Wait) -> Result<(), Errno> {
        self.readiness.block_on(events::OUT, wait.nonblocking, wait.deadline, || {
            {
                let mut state = self.state.lock();
                state.take_error()?;
                if state.send_shut {
                    return Err(EPIPE);
                }
            }
            if self.sent.load(Ordering::Acquire) < self.send_limit() { Ok(()) } else { Err(EAGAIN) }
        })
    }

    fn send_wait(&self, nonblocking: bool) -> Wait {
        Wait { nonblocking, deadline: deadline(self.options.lock().send_timeout) }
    }

    fn receive_wait(&self, nonblocking: bool) -> Wait {
        Wait { nonblocking, deadline: deadline(self.options.lock().receive_timeout) }
    }

    /// Something was taken out of the queue: tells those who wait for room.
    fn made_room(&self) {
        self.room.notify(WRITABLE);
        let wanted = {
            let mut state = self.state.lock();
            if state.wanted.is_empty() {
                return;
            }
            core::mem::take(&mut state.wanted)
        };
        for sender in wanted.iter().filter_map(Weak::upgrade) {
            let _ = sender.wants_room_of.compare_exchange(self.inode, 0, Ordering::AcqRel, Ordering::Acquire);
            sender.readiness.notify(WRITABLE);
        }
    }

    /// Puts a message into the queue, if `check` has nothing against it; otherwise it stays.
    ///
    /// # Errors
    /// Those of `check`; `ENOMEM`.
    fn enqueue(
        &self,
        queued: &mut Option<Queued>,
        check: impl FnOnce(&State) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let has_sockets = queued.as_ref().is_some_and(|queued| queued.rights.has_sockets());
        let mut moving = has_sockets.then(rights::moving);
        {
            let mut state = self.state.lock();
            check(&state)?;
            if let Some(holders) = &mut moving {
                holders.register(self)?;
            }
            state.inbox.push(queued)?;
        }
        drop(moving);
        self.readiness.notify(READABLE);
        Ok(())
    }

    /// Whose credentials go with a message to another socket: those that the program gave, or its own, if one of the two asks
    /// for them, or may ask when it was accepted.
    fn credentials_for(&self, other: &Self, given: Option<Credentials>) -> Option<Credentials> {
        let asked = |socket: &Self| socket.passes_credentials.load(Ordering::Relaxed);
        let is_new = other.listener.load(Ordering::Acquire) != 0;
        given.or_else(|| (asked(self) || asked(other) || is_new).then_some(Credentials::OWN))
    }

    /// Ends it, unless that was done: gives the descriptions of its queue for the caller to let go.
    fn end(&self, was_accepted: bool) -> Vec<Arc<Description>> {
        // First, so that who finds it closed does not find it again.
        let entry = self.bound.lock().release(self);
        drop(entry);
        let (inbox, backlog, peer) = {
            let mut state = self.state.lock();
            if core::mem::replace(&mut state.closed, true) {
                return Vec::new();
            }
            (state.receive_shut, state.send_shut) = (true, true);
            (core::mem::take(&mut state.inbox), core::mem::take(&mut state.backlog), state.peer.take())
        };
        self.made_room();
        if let Some(peer) = peer {
            if self.is_connected_kind() {
                let reset = !inbox.is_empty() || !was_accepted;
                {
                    let mut state = peer.state.lock();
                    (state.receive_shut, state.send_shut) = (true, true);
                    if reset {
                        state.error = Some(ECONNRESET);
                    }
                }
                peer.readiness.notify(ENDED);
            } else {
                self.forget_room_of(&peer);
            }
        }
        self.readiness.notify(ENDED);
        rights::forget_holder(self);
        let mut descriptions = inbox.into_descriptions();
        for connection in backlog {
            descriptions.append(&mut connection.end(false));
        }
        descriptions
    }
}

impl File for UnixSocket {
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
        let mut mask = 0;
        {
            let state = self.state.lock();
            if state.error.is_some() {
                mask |= events::ERR;
            }
            if state.receive_shut {
                mask |= READABLE | events::RDHUP;
            }
            if state.receive_shut && state.send_shut {
                mask |= events::HUP;
            }
            if !state.inbox.is_empty() || !state.backlog.is_empty() {
                mask |= READABLE;
            }
        }
        if self.is_connected_kind() && self.phase() == Phase::Idle {
            mask |= events::HUP;
        }
        if self.is_writable() && (self.kind == Kind::Stream || self.peer_has_room()) {
            mask |= WRITABLE;
        }
        mask
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        const S_IFSOCK: u32 = 0o140_000;
        Stat { mode: S_IFSOCK | 0o777, inode: self.inode, size: 0, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> linux::errno::Result {
        const SIOCINQ: u32 = 0x541b;
        const SIOCOUTQ: u32 = 0x5411;
        let octets = match op {
            SIOCINQ if self.phase() == Phase::Listening => return Err(EINVAL),
            SIOCINQ if self.kind == Kind::Datagram => self.state.lock().inbox.first_len(),
            SIOCINQ => self.state.lock().inbox.octets(),
            SIOCOUTQ => self.sent.load(Ordering::Acquire),
            _ => return Err(ENOTTY),
        };
        kernel::uaccess::write(arg, octets as i32)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn close(&self) {
        rights::release(self.end(true));
        rights::collect_at_close();
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let Address::Unix(name) = address else { return Err(EINVAL) };
        names::bind(self, name)
    }

    fn listen(&self, backlog: i32) -> Result<(), Errno> {
        self.start_listening(backlog)
    }

    fn accept(&self, nonblocking: bool) -> Result<(Arc<dyn Socket>, Address), Errno> {
        let accepted = self.accept_connection(nonblocking)?;
        let peer = accepted.peer_address().unwrap_or(Address::Unix(UnixName::Unnamed));
        Ok((accepted, peer))
    }

    fn connect(&self, address: &Address, nonblocking: bool) -> Result<(), Errno> {
        match (self.kind, address) {
            (Kind::Datagram, Address::Unspecified) => {
                self.set_peer(None);
                Ok(())
            }
            (_, Address::Unix(UnixName::Unnamed)) => Err(EINVAL),
            (Kind::Datagram, Address::Unix(name)) => self.connect_datagrams(name),
            (_, Address::Unix(name)) => self.connect_to_listener(name, self.send_wait(nonblocking)),
            _ => Err(EINVAL),
        }
    }

    fn send(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        nonblocking: bool,
    ) -> Result<usize, Errno> {
        let wait = self.send_wait(nonblocking);
        match self.kind {
            Kind::Stream => broken_pipe(self.send_stream(from, outgoing, flags, wait), flags),
            Kind::Datagram | Kind::SeqPacket => self.send_message(from, outgoing, flags, wait),
        }
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        let wait = self.receive_wait(nonblocking);
        match self.kind {
            Kind::Stream => self.receive_stream(to, flags, wait),
            Kind::Datagram | Kind::SeqPacket => self.receive_message(to, flags, wait),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let (receive, send) = (how != Shutdown::Write, how != Shutdown::Read);
        let peer = {
            let mut state = self.state.lock();
            state.receive_shut |= receive;
            state.send_shut |= send;
            state.peer.clone()
        };
        self.readiness.notify(ENDED);
        self.made_room();
        if let Some(peer) = peer.filter(|_| self.is_connected_kind()) {
            {
                let mut state = peer.state.lock();
                state.receive_shut |= send;
                state.send_shut |= receive;
            }
            peer.readiness.notify(ENDED);
        }
        Ok(())
    }

    fn local_address(&self) -> Result<Address, Errno> {
        Ok(Address::Unix(self.name()))
    }

    fn peer_address(&self) -> Result<Address, Errno> {
        Ok(Address::Unix(self.peer().ok_or(ENOTCONN)?.name()))
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        self.set(level, name, value)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        self.get(level, name)
    }
}

/// What makes local sockets.
struct Local;

/// The service's record points here.
#[cfg_attr(
    not(includeos_metal),
    expect(dead_code, reason = "the records in `crate::service` are the only thing that refers to it")
)]
pub static SERVICE: Record = Record {
    service: Service::Local,
    // The calls are the network's.
    calls: |_| Err(EAFNOSUPPORT),
    start: |_| {},
    network: None,
    sockets: Some(&Local),
};

/// `AF_UNIX` as a protocol.
const PF_UNIX: i32 = 1;

impl Family for Local {
    fn socket(&self, _domain: u16, kind: Kind, protocol: i32) -> Result<Arc<dyn Socket>, Errno> {
        if !matches!(protocol, 0 | PF_UNIX) {
            return Err(EPROTONOSUPPORT);
        }
        Ok(UnixSocket::new(kind)?)
    }

    fn pair(&self, _domain: u16, kind: Kind, protocol: i32) -> Result<[Arc<dyn Socket>; 2], Errno> {
        if !matches!(protocol, 0 | PF_UNIX) {
            return Err(EPROTONOSUPPORT);
        }
        let pair = [UnixSocket::new(kind)?, UnixSocket::new(kind)?];
        for (one, other) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let mut state = one.state.lock();
            state.peer = Some(other.clone());
            state.peer_credentials = Some(Credentials::OWN);
            if kind != Kind::Datagram {
                one.phase.store(Phase::Connected as u8, Ordering::Release);
            }
        }
        Ok(pair.map(|socket| socket as Arc<dyn Socket>))
    }
}
