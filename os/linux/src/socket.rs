//! Calls on sockets: arguments to and from what a [`Socket`] offers. The sockets themselves are a service (`os/sockets`).

mod address;
mod control;
pub mod message;

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel::uaccess;

pub use self::address::{AF_INET, AF_INET6, AF_UNIX, Address, UnixName};
pub use self::control::{Control, Credentials, Internet};
use crate::buffers::{MAX_COUNT, UserBuffers};
use crate::errno::{EAFNOSUPPORT, EINVAL, ENOBUFS, ENOTSOCK, EPIPE, ESOCKTNOSUPPORT, Errno, Result};
use crate::fd::{self, Description, File};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::service;
use crate::signal;

type Outcome<T> = core::result::Result<T, Errno>;

/// Kinds of sockets (socket(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_SEQPACKET`.
    SeqPacket,
}

/// Flags of sends and receives (send(2), recv(2)).
pub mod flags {
    /// Urgent data.
    pub const OOB: u32 = 0x1;
    /// Data stays in the queue.
    pub const PEEK: u32 = 0x2;
    /// Received: control messages did not fit.
    pub const CTRUNC: u32 = 0x8;
    /// What did not fit is counted in the result. Received: the datagram did not fit.
    pub const TRUNC: u32 = 0x20;
    /// Do not wait.
    pub const DONTWAIT: u32 = 0x40;
    /// Wait for all of it.
    pub const WAITALL: u32 = 0x100;
    /// What the network said about what was sent.
    pub const ERRQUEUE: u32 = 0x2000;
    /// No signal for a broken connection.
    pub const NOSIGNAL: u32 = 0x4000;
    /// More is coming.
    pub const MORE: u32 = 0x8000;
    /// Connect and send at once.
    pub const FASTOPEN: u32 = 0x2000_0000;
    /// Descriptors that are received are closed by execve(2).
    pub const CMSG_CLOEXEC: u32 = 0x4000_0000;
    /// Structures are those of programs of 32 bits.
    pub const CMSG_COMPAT: u32 = 0x8000_0000;
}

/// What goes with a message that is sent, beside its octets. The default is what write(2) has: nothing.
#[derive(Default)]
pub struct Outgoing {
    /// Where it goes; `None`: to the peer.
    pub to: Option<Address>,
    /// Control messages, of each kind one at most. A socket passes over those that mean nothing to it.
    pub control: Vec<Control>,
}

/// What a receive gave.
#[derive(Default)]
pub struct Received {
    /// Octets delivered; with [`flags::TRUNC`] those of the whole datagram.
    pub len: usize,
    /// Where it came from; `None`: connected, and not told.
    pub from: Option<Address>,
    /// `msg_flags` of recvmsg(2), as [`flags::TRUNC`], but for [`flags::CTRUNC`].
    pub flags: u32,
    /// Control messages, in the order in which they are written.
    pub control: Vec<Control>,
}

impl Received {
    /// A datagram or a part of a stream, without control messages. `whole`: how long it was, if that was more than `len`.
    pub fn datagram(len: usize, whole: usize, from: Option<Address>, asked: u32) -> Self {
        let truncated = len < whole;
        Self {
            len: if asked & flags::TRUNC != 0 { whole } else { len },
            from,
            flags: if truncated { flags::TRUNC } else { 0 },
            control: Vec::new(),
        }
    }

    /// Octets of a stream.
    pub fn stream(len: usize) -> Self {
        Self { len, ..Self::default() }
    }
}

/// Directions of shutdown(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// No more is received.
    Read,
    /// No more is sent.
    Write,
    /// Both.
    Both,
}

/// A socket. Methods as those of [`File`]: in a kernel section, waiting only if `nonblocking` is false.
pub trait Socket: File {
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`: how its addresses are read and written.
    fn domain(&self) -> u16;
    /// bind(2).
    fn bind(&self, address: &Address) -> Outcome<()>;
    /// listen(2).
    fn listen(&self, backlog: i32) -> Outcome<()>;
    /// accept(2): the new socket and its peer.
    fn accept(&self, nonblocking: bool) -> Outcome<(Arc<dyn Socket>, Address)>;
    /// connect(2). [`Address::Unspecified`]: a datagram socket's peer is taken away.
    fn connect(&self, address: &Address, nonblocking: bool) -> Outcome<()>;
    /// sendto(2), sendmsg(2).
    fn send(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        nonblocking: bool,
    ) -> Outcome<usize>;
    /// recvfrom(2), recvmsg(2).
    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Outcome<Received>;
    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Outcome<()>;
    /// getsockname(2).
    fn local_address(&self) -> Outcome<Address>;
    /// getpeername(2).
    fn peer_address(&self) -> Outcome<Address>;
    /// setsockopt(2).
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Outcome<()>;
    /// getsockopt(2): the value, however long it is.
    fn option(&self, level: i32, name: i32) -> Outcome<Vec<u8>>;
}

/// What makes sockets.
pub trait Family: Sync {
    /// socket(2).
    fn socket(&self, domain: u16, kind: Kind, protocol: i32) -> Outcome<Arc<dyn Socket>>;
    /// socketpair(2).
    fn pair(&self, domain: u16, kind: Kind, protocol: i32) -> Outcome<[Arc<dyn Socket>; 2]>;
}

/// Calls `f` with the socket behind a descriptor and whether it waits.
fn with<T>(fd: i32, f: impl FnOnce(&dyn Socket, bool) -> Outcome<T>) -> Outcome<T> {
    let description = fd::get(fd)?;
    let socket = description.file().as_socket().ok_or(ENOTSOCK)?;
    f(socket, description.is_nonblocking())
}

fn install(socket: Arc<dyn Socket>, flags: i32) -> Result {
    fd::install(Description::new(socket, flags & O_NONBLOCK != 0), flags & O_CLOEXEC != 0, 0)
}

/// The number of the kind, and the flags of `type`.
fn kind_and_flags(kind: i32) -> Outcome<(i32, i32)> {
    const FLAGS: i32 = O_NONBLOCK | O_CLOEXEC;
    /// Kinds that Linux knows of, and one more (`SOCK_MAX`).
    const MAX: i32 = 11;
    let (kind, flags) = (kind & !FLAGS, kind & FLAGS);
    if (0..MAX).contains(&kind) { Ok((kind, flags)) } else { Err(EINVAL) }
}

/// What makes sockets of a family, and of which kind.
fn family(domain: i32, kind: i32) -> Outcome<(&'static dyn Family, u16, Kind)> {
    const RAW: i32 = 3;
    let domain = u16::try_from(domain).map_err(|_| EAFNOSUPPORT)?;
    let family = service::sockets(domain)?;
    let kind = match kind {
        1 => Kind::Stream,
        2 => Kind::Datagram,
        // As on Linux, where BSD has nothing else of the name.
        RAW if domain == AF_UNIX => Kind::Datagram,
        5 => Kind::SeqPacket,
        _ => return Err(ESOCKTNOSUPPORT),
    };
    Ok((family, domain, kind))
}

/// socket(2).
pub fn socket(domain: i32, kind: i32, protocol: i32) -> Result {
    let (kind, flags) = kind_and_flags(kind)?;
    let (family, domain, kind) = family(domain, kind)?;
    install(family.socket(domain, kind, protocol)?, flags)
}

/// bind(2).
pub fn bind(fd: i32, address: u64, len: u32) -> Result {
    with(fd, |socket, _| socket.bind(&Address::read(socket.domain(), address, len)?))?;
    Ok(0)
}

/// listen(2).
pub fn listen(fd: i32, backlog: i32) -> Result {
    with(fd, |socket, _| socket.listen(backlog))?;
    Ok(0)
}

/// accept(2).
pub fn accept(fd: i32, address: u64, len_at: u64) -> Result {
    accept4(fd, address, len_at, 0)
}

/// accept4(2).
pub fn accept4(fd: i32, address: u64, len_at: u64, flags: i32) -> Result {
    fd::get(fd)?;
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(EINVAL);
    }
    let (number, accepted, domain, peer) = with(fd, |socket, nonblocking| {
        // First, as Linux does it: without a number the connection stays in the queue.
        let number = fd::reserve(0)?;
        let (accepted, peer) = socket.accept(nonblocking)?;
        Ok((number, accepted, socket.domain(), peer))
    })?;
    // Closes the connection if the address cannot be written.
    let description = Description::new(accepted, flags & O_NONBLOCK != 0);
    if address != 0 {
        Address::write(Some(&peer), domain, address, len_at)?;
    }
    Ok(number.install(description, flags & O_CLOEXEC != 0))
}

/// connect(2).
pub fn connect(fd: i32, address: u64, len: u32) -> Result {
    let connected = with(fd, |socket, nonblocking| {
        socket.connect(&Address::read(socket.domain(), address, len)?, nonblocking)
    });
    if connected == Err(ENOTSOCK) {
        // Here, and nowhere else, Linux looks at the address first.
        Address::check(address, len)?;
    }
    connected.map(|()| 0)
}

/// What a broken connection does to who sends octets of a stream: `SIGPIPE`, unless the sender said no. For [`Socket::send`].
pub fn broken_pipe<T>(result: Outcome<T>, flags: u32) -> Outcome<T> {
    if matches!(result, Err(EPIPE)) && flags & flags::NOSIGNAL == 0 {
        signal::raise_broken_pipe();
    }
    result
}

/// sendto(2).
pub fn sendto(fd: i32, buf: u64, len: usize, flags: u32, address: u64, address_len: u32) -> Result {
    let mut from = UserBuffers::one(buf, len.min(MAX_COUNT))?;
    let sent = with(fd, |socket, nonblocking| {
        let to = Address::read_destination(socket.domain(), address, address_len)?;
        let nonblocking = nonblocking || flags & flags::DONTWAIT != 0;
        let outgoing = Outgoing { to, control: Vec::new() };
        socket.send(&mut from, outgoing, flags, nonblocking)
    })?;
    Ok(sent as u64)
}

/// recvfrom(2).
pub fn recvfrom(fd: i32, buf: u64, len: usize, flags: u32, address: u64, len_at: u64) -> Result {
    let mut to = UserBuffers::one(buf, len.min(MAX_COUNT))?;
    let received = with(fd, |socket, nonblocking| {
        let received = socket.receive(&mut to, flags, nonblocking || flags & flags::DONTWAIT != 0)?;
        if address != 0 {
            Address::write(received.from.as_ref(), socket.domain(), address, len_at)?;
        }
        Ok(received)
    })?;
    Ok(received.len as u64)
}

/// shutdown(2).
pub fn shutdown(fd: i32, how: i32) -> Result {
    with(fd, |socket, _| {
        socket.shutdown(match how {
            0 => Shutdown::Read,
            1 => Shutdown::Write,
            2 => Shutdown::Both,
            _ => return Err(EINVAL),
        })
    })?;
    Ok(0)
}

/// getsockname(2).
pub fn getsockname(fd: i32, address: u64, len_at: u64) -> Result {
    with(fd, |socket, _| Address::write(Some(&socket.local_address()?), socket.domain(), address, len_at))?;
    Ok(0)
}

/// getpeername(2).
pub fn getpeername(fd: i32, address: u64, len_at: u64) -> Result {
    with(fd, |socket, _| Address::write(Some(&socket.peer_address()?), socket.domain(), address, len_at))?;
    Ok(0)
}

/// setsockopt(2).
pub fn setsockopt(fd: i32, level: i32, name: i32, value: u64, len: i32) -> Result {
    /// No option is longer.
    const MAX: usize = 256;
    with(fd, |socket, _| {
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        let mut octets = [0; MAX];
        let octets = octets.get_mut(..len).ok_or(ENOBUFS)?;
        uaccess::read_bytes(value, octets)?;
        socket.set_option(level, name, octets)
    })?;
    Ok(0)
}

/// getsockopt(2).
pub fn getsockopt(fd: i32, level: i32, name: i32, value: u64, len_at: u64) -> Result {
    with(fd, |socket, _| {
        let room = usize::try_from(uaccess::read::<i32>(len_at)?).map_err(|_| EINVAL)?;
        let octets = socket.option(level, name)?;
        let len = octets.len().min(room);
        uaccess::write_bytes(value, &octets[..len])?;
        uaccess::write(len_at, len as u32)?;
        Ok(())
    })?;
    Ok(0)
}

/// socketpair(2).
pub fn socketpair(domain: i32, kind: i32, protocol: i32, fds: u64) -> Result {
    let (kind, flags) = kind_and_flags(kind)?;
    let (first_fd, second_fd) = (fd::reserve(0)?, fd::reserve(0)?);
    uaccess::write(fds, [first_fd.number(), second_fd.number()])?;
    let (family, domain, kind) = family(domain, kind)?;
    for (fd, socket) in [first_fd, second_fd].into_iter().zip(family.pair(domain, kind, protocol)?) {
        fd.install(Description::new(socket, flags & O_NONBLOCK != 0), flags & O_CLOEXEC != 0);
    }
    Ok(0)
}
