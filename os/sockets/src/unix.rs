//! [`UnixSocket`]: sockets inside the image (unix(7)), in pairs as socketpair(2) makes them. There are no names yet.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel::mm::pages::Promise;
use linux::buffers::{CopyLock, UserBuffers};
use linux::errno::{
    EAGAIN, ECONNREFUSED, ECONNRESET, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, EOPNOTSUPP, EPIPE, Errno,
};
use linux::fd::{self, File, Stat};
use linux::pace::Pace;
use linux::readiness::{Readiness, events};
use linux::socket::{
    AF_UNIX, Address, Credentials, Kind, Outgoing, Received, Shutdown, Socket, UnixName, flags,
};
use sync::SpinLock;

use crate::options::{Common, SOL_SOCKET, deadline, name, of_int};

/// Octets of a stream that are moved at once.
const STEP: usize = 4096;
/// Octets that a message counts beside its own, so that empty ones are bounded, too.
const MESSAGE_OVERHEAD: usize = 256;

/// Two sockets that are connected to each other.
struct Pair {
    kind: Kind,
    sides: [Side; 2],
}

struct Side {
    inbox: SpinLock<Inbox>,
    receiving: CopyLock,
    readiness: Readiness,
}

/// What was sent at once, or a part of a stream.
struct Message {
    octets: Vec<u8>,
    _memory: Promise,
}

impl Message {
    /// Zeroes, so many. `None`: no memory.
    fn new(len: usize) -> Option<Self> {
        let (mut octets, mut memory) = (Vec::new(), Promise::none());
        if !memory.grow(len + MESSAGE_OVERHEAD) || octets.try_reserve_exact(len).is_err() {
            return None;
        }
        octets.resize(len, 0);
        Some(Self { octets, _memory: memory })
    }
}

/// What was sent to a side and not received. A stream's messages are parts of any length.
#[derive(Default)]
struct Inbox {
    messages: VecDeque<Message>,
    octets: usize,
    /// Nothing more comes: the other side has said so, or is gone.
    ended: bool,
    /// Its owner receives no more.
    shut: bool,
    /// Its owner is gone.
    closed: bool,
    /// The other side is gone and has not read all. Told once.
    reset: bool,
}

impl Inbox {
    /// What the messages count against the sender's buffer.
    fn used(&self) -> usize {
        self.octets + self.messages.len() * MESSAGE_OVERHEAD
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.octets -= message.octets.len();
        Some(message)
    }

    /// Puts back what was not received.
    fn put_back(&mut self, message: Message) {
        self.octets += message.octets.len();
        self.messages.push_front(message);
    }
}

/// One of a pair.
pub struct UnixSocket {
    pair: Arc<Pair>,
    side: usize,
    inode: u64,
    options: SpinLock<Common>,
}

/// Makes a pair.
pub fn pair(kind: Kind) -> [Arc<UnixSocket>; 2] {
    let side = || Side {
        inbox: SpinLock::new(Inbox::default()),
        receiving: CopyLock::new(()),
        readiness: Readiness::new(),
    };
    let pair = Arc::new(Pair { kind, sides: [side(), side()] });
    [0, 1].map(|side| {
        let options = SpinLock::new(Common::new());
        Arc::new(UnixSocket { pair: pair.clone(), side, inode: fd::next_inode(), options })
    })
}

impl UnixSocket {
    fn mine(&self) -> &Side {
        &self.pair.sides[self.side]
    }

    fn others(&self) -> &Side {
        &self.pair.sides[1 - self.side]
    }

    /// Puts a message into the other side's inbox; `EAGAIN`: there is no room, and the message stays.
    fn put(&self, message: &mut Option<Message>) -> Result<(), Errno> {
        let limit = self.options.lock().send_buffer as usize;
        let mut inbox = self.others().inbox.lock();
        if inbox.closed && self.pair.kind == Kind::Datagram {
            return Err(ECONNREFUSED);
        }
        // What this side has shut for sending has ended for the other.
        if inbox.shut || inbox.closed || inbox.ended {
            return Err(EPIPE);
        }
        if inbox.used() >= limit {
            return Err(EAGAIN);
        }
        inbox.messages.try_reserve(1).map_err(|_| ENOMEM)?;
        if let Some(message) = message.take() {
            inbox.octets += message.octets.len();
            inbox.messages.push_back(message);
        }
        drop(inbox);
        self.others().readiness.notify(events::IN | events::RDNORM);
        Ok(())
    }

    /// The next message. `Ok(None)`: the end.
    fn next(&self) -> Result<Option<Message>, Errno> {
        let mut inbox = self.mine().inbox.lock();
        match inbox.pop() {
            Some(message) => Ok(Some(message)),
            // A datagram socket hears no end but its own.
            None if inbox.shut => Ok(None),
            None if core::mem::take(&mut inbox.reset) => Err(ECONNRESET),
            None if inbox.ended && self.pair.kind != Kind::Datagram => Ok(None),
            None => Err(EAGAIN),
        }
    }

    /// Hands the next message to `deliver`, which says how many octets of it are done with, and `None` if it is to stay as it was.
    /// `Ok(None)`: the end.
    fn with_next<T>(
        &self,
        deliver: impl FnOnce(&[u8]) -> Result<(T, Option<usize>), Errno>,
    ) -> Result<Option<T>, Errno> {
        let (value, done) = {
            // Who else receives finds this message or the one behind it, and not both.
            let _receiving = self.mine().receiving.lock();
            let Some(mut message) = self.next()? else { return Ok(None) };
            let delivered = deliver(&message.octets);
            let done = delivered.as_ref().ok().and_then(|(_, done)| *done);
            if done.is_none_or(|done| done < message.octets.len()) {
                message.octets.drain(..done.unwrap_or(0));
                self.mine().inbox.lock().put_back(message);
            }
            delivered?
        };
        if done.is_some() {
            self.tell_sender();
        }
        Ok(Some(value))
    }

    /// Says that there is room again.
    fn tell_sender(&self) {
        self.others().readiness.notify(events::OUT | events::WRNORM);
    }

    fn receive_stream(&self, to: &mut UserBuffers, flags: u32, wait: Wait) -> Result<usize, Errno> {
        let (peek, all) = (flags & flags::PEEK != 0, flags & flags::WAITALL != 0);
        let (mut done, mut pace) = (0, Pace::new());
        while !to.is_empty() {
            let nonblocking = wait.nonblocking || done > 0 && (peek || !all);
            let received = self.mine().readiness.block_on(events::IN, nonblocking, wait.deadline, || {
                self.with_next(|message| {
                    let taken = to.write(message)?;
                    Ok(((taken, message.len()), (!peek).then_some(taken)))
                })
            });
            match received {
                Ok(Some((taken, whole))) => {
                    done += taken;
                    if peek || taken < whole || pace.moved(taken) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn receive_message(&self, to: &mut UserBuffers, flags: u32, wait: Wait) -> Result<Received, Errno> {
        let peek = flags & flags::PEEK != 0;
        let next = self.mine().readiness.block_on(events::IN, wait.nonblocking, wait.deadline, || {
            self.with_next(|message| {
                let written = if message.is_empty() || to.is_empty() { Ok(0) } else { to.write(message) };
                // A message that cannot be delivered is lost, as on Linux.
                Ok(((written, message.len()), (!peek).then_some(message.len())))
            })
        })?;
        let Some((written, whole)) = next else {
            return Ok(Received::default());
        };
        Ok(Received::datagram(written?, whole, None, flags))
    }

    /// No more comes from this side.
    fn end(&self) {
        self.others().inbox.lock().ended = true;
        self.others().readiness.notify(events::IN | events::RDNORM | events::RDHUP | events::HUP);
    }
}

/// How long a call waits.
#[derive(Clone, Copy)]
struct Wait {
    nonblocking: bool,
    deadline: Option<u64>,
}

impl File for UnixSocket {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        self.receive(to, 0, nonblocking).map(|received| received.len)
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        let result = self.send(from, Outgoing::default(), 0, nonblocking);
        if result == Err(EPIPE) {
            linux::signal::raise_broken_pipe();
        }
        result
    }

    fn events(&self) -> u32 {
        let limit = self.options.lock().send_buffer as usize;
        let mut mask = 0;
        let mut over = false;
        {
            let inbox = self.mine().inbox.lock();
            let ended = inbox.shut || inbox.ended && self.pair.kind != Kind::Datagram;
            if inbox.reset {
                mask |= events::ERR;
            }
            if !inbox.messages.is_empty() || ended {
                mask |= events::IN | events::RDNORM;
            }
            if ended {
                mask |= events::RDHUP;
                over = true;
            }
        }
        let inbox = self.others().inbox.lock();
        // Writable with three quarters free, as on Linux.
        if inbox.used() * 4 <= limit {
            mask |= events::OUT | events::WRNORM;
        }
        if over && (inbox.ended || inbox.closed || inbox.shut) {
            mask |= events::HUP;
        }
        mask
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.mine().readiness)
    }

    fn stat(&self) -> Stat {
        const S_IFSOCK: u32 = 0o140_000;
        Stat { mode: S_IFSOCK | 0o777, inode: self.inode, size: 0, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> linux::errno::Result {
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(linux::errno::ENOTTY);
        }
        let inbox = self.mine().inbox.lock();
        let len = match self.pair.kind {
            Kind::Stream => inbox.octets,
            _ => inbox.messages.front().map_or(0, |message| message.octets.len()),
        };
        drop(inbox);
        kernel::uaccess::write(arg, len as i32)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn close(&self) {
        let unread = {
            let mut inbox = self.mine().inbox.lock();
            inbox.closed = true;
            inbox.octets = 0;
            core::mem::take(&mut inbox.messages)
        };
        if !unread.is_empty() && self.pair.kind != Kind::Datagram {
            self.others().inbox.lock().reset = true;
        }
        drop(unread);
        self.end();
        self.tell_sender();
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn bind(&self, _address: &Address) -> Result<(), Errno> {
        Err(EINVAL)
    }

    fn listen(&self, _backlog: i32) -> Result<(), Errno> {
        Err(EINVAL)
    }

    fn accept(&self, _nonblocking: bool) -> Result<(Arc<dyn Socket>, Address), Errno> {
        Err(if self.pair.kind == Kind::Datagram { EOPNOTSUPP } else { EINVAL })
    }

    fn connect(&self, _address: &Address, _nonblocking: bool) -> Result<(), Errno> {
        Err(if self.pair.kind == Kind::Datagram { EOPNOTSUPP } else { EISCONN })
    }

    fn send(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        nonblocking: bool,
    ) -> Result<usize, Errno> {
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        if outgoing.to.is_some() {
            return Err(if self.pair.kind == Kind::Datagram { EOPNOTSUPP } else { EISCONN });
        }
        // Neither descriptors nor credentials can be passed yet.
        if !outgoing.control.is_empty() {
            return Err(EOPNOTSUPP);
        }
        let (limit, deadline) = {
            let options = self.options.lock();
            (options.send_buffer as usize, deadline(options.send_timeout))
        };
        let stream = self.pair.kind == Kind::Stream;
        if !stream && from.len() > limit.saturating_sub(MESSAGE_OVERHEAD) {
            return Err(EMSGSIZE);
        }
        let (mut done, mut pace) = (0, Pace::new());
        loop {
            let len = if stream { from.len().min(STEP) } else { from.len() };
            let mut message = match Message::new(len) {
                Some(message) => message,
                None if done > 0 => return Ok(done),
                None => return Err(ENOBUFS),
            };
            if len > 0 {
                match from.read(&mut message.octets) {
                    Ok(taken) => message.octets.truncate(taken),
                    Err(_) if done > 0 => return Ok(done),
                    Err(fault) => return Err(fault),
                }
            }
            let len = message.octets.len();
            let mut message = (!stream || len > 0).then_some(message);
            let put =
                self.mine().readiness.block_on(events::OUT, nonblocking, deadline, || self.put(&mut message));
            match put {
                Ok(()) => {
                    done += len;
                    if pace.moved(len) {
                        return Ok(done);
                    }
                }
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error),
            }
            if from.is_empty() || !stream {
                return Ok(done);
            }
        }
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        let wait = Wait { nonblocking, deadline: deadline(self.options.lock().receive_timeout) };
        match self.pair.kind {
            Kind::Stream => self.receive_stream(to, flags, wait).map(Received::stream),
            Kind::Datagram | Kind::SeqPacket => self.receive_message(to, flags, wait),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        if how != Shutdown::Write {
            self.mine().inbox.lock().shut = true;
            self.others().readiness.notify(events::OUT | events::HUP);
        }
        if how != Shutdown::Read {
            self.end();
        }
        self.mine().readiness.notify(events::IN | events::OUT | events::RDHUP | events::HUP);
        Ok(())
    }

    fn local_address(&self) -> Result<Address, Errno> {
        Ok(Address::Unix(UnixName::Unnamed))
    }

    fn peer_address(&self) -> Result<Address, Errno> {
        Ok(Address::Unix(UnixName::Unnamed))
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(EOPNOTSUPP);
        }
        self.options.lock().set(name, value)
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        const PEERCRED: i32 = 17;
        if level != SOL_SOCKET {
            return Err(EOPNOTSUPP);
        }
        Ok(match name {
            name::ERROR => {
                let reset = core::mem::take(&mut self.mine().inbox.lock().reset);
                of_int(if reset { ECONNRESET.0.into() } else { 0 })
            }
            name::TYPE => of_int(match self.pair.kind {
                Kind::Stream => 1,
                Kind::Datagram => 2,
                Kind::SeqPacket => 5,
            }),
            name::PROTOCOL => of_int(0),
            name::DOMAIN => of_int(AF_UNIX.into()),
            name::ACCEPTCONN => of_int(0),
            PEERCRED => Credentials::OWN.octets().to_vec(),
            _ => self.options.lock().get(name)?,
        })
    }
}
