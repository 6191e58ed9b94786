//! Calls on sockets: arguments to and from what a [`Socket`] offers. The sockets themselves are a service (`os/sockets`).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use kernel::uaccess;

use crate::buffers::UserBuffers;
use crate::errno::{EAFNOSUPPORT, EFAULT, EINVAL, EMSGSIZE, ENOBUFS, ENOTSOCK, EPIPE, Errno, Result};
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
    /// What did not fit is counted in the result.
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
}

/// What a receive gave.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Octets delivered; with [`flags::TRUNC`] those of the whole datagram.
    pub len: usize,
    /// Where it came from; `None`: connected, and not told.
    pub from: Option<SocketAddr>,
    /// The datagram was longer than the buffers.
    pub truncated: bool,
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
    /// `AF_INET`, `AF_INET6`, or `AF_UNIX`, whose sockets have no addresses: what they give for one is not looked at.
    fn domain(&self) -> u16;
    /// bind(2).
    fn bind(&self, address: SocketAddr) -> Outcome<()>;
    /// listen(2).
    fn listen(&self, backlog: i32) -> Outcome<()>;
    /// accept(2): the new socket and its peer.
    fn accept(&self, nonblocking: bool) -> Outcome<(Arc<dyn Socket>, SocketAddr)>;
    /// connect(2). `None`: a datagram socket's peer is taken away (`AF_UNSPEC`).
    fn connect(&self, address: Option<SocketAddr>, nonblocking: bool) -> Outcome<()>;
    /// sendto(2).
    fn send(
        &self,
        from: &mut UserBuffers,
        to: Option<SocketAddr>,
        flags: u32,
        nonblocking: bool,
    ) -> Outcome<usize>;
    /// recvfrom(2).
    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Outcome<Received>;
    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Outcome<()>;
    /// getsockname(2).
    fn local_address(&self) -> Outcome<SocketAddr>;
    /// getpeername(2).
    fn peer_address(&self) -> Outcome<SocketAddr>;
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

const AF_UNSPEC: u16 = 0;
/// Inside this machine.
pub const AF_UNIX: u16 = 1;
/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;

// Addresses (ip(7), ipv6(7)).

/// Reads a socket address. `None`: `AF_UNSPEC`.
fn read_address(address: u64, len: u32) -> Outcome<Option<SocketAddr>> {
    const STORAGE: u32 = 128;
    if len > STORAGE {
        return Err(EINVAL);
    }
    if len < 2 {
        return Err(EINVAL);
    }
    let mut octets = [0; STORAGE as usize];
    let octets = &mut octets[..len as usize];
    uaccess::read_bytes(address, octets)?;
    let port = |octets: &[u8]| u16::from_be_bytes([octets[2], octets[3]]);
    match u16::from_le_bytes([octets[0], octets[1]]) {
        AF_UNSPEC => Ok(None),
        AF_INET if len >= 16 => {
            let ip = Ipv4Addr::new(octets[4], octets[5], octets[6], octets[7]);
            Ok(Some(SocketAddr::from((ip, port(octets)))))
        }
        AF_INET6 if len >= 28 => {
            let word =
                |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            let mut ip = [0; 16];
            ip.copy_from_slice(&octets[8..24]);
            let flow = word(4);
            Ok(Some(SocketAddrV6::new(Ipv6Addr::from(ip), port(octets), flow, word(24)).into()))
        }
        AF_INET | AF_INET6 => Err(EINVAL),
        _ => Err(EAFNOSUPPORT),
    }
}

/// An address as the program sees it; of an `AF_INET6` socket an IPv4 address is shown mapped.
fn address_octets(domain: u16, address: SocketAddr) -> Vec<u8> {
    let mut octets = Vec::with_capacity(28);
    match (domain, address.ip()) {
        (AF_UNIX, _) => octets.extend(AF_UNIX.to_le_bytes()),
        (AF_INET6, ip) => {
            let (ip, scope, flow) = match (ip, address) {
                (IpAddr::V4(ip), _) => (ip.to_ipv6_mapped(), 0, 0),
                (IpAddr::V6(ip), SocketAddr::V6(address)) => (ip, address.scope_id(), address.flowinfo()),
                (IpAddr::V6(ip), _) => (ip, 0, 0),
            };
            octets.extend(AF_INET6.to_le_bytes());
            octets.extend(address.port().to_be_bytes());
            octets.extend(flow.to_le_bytes());
            octets.extend(ip.octets());
            octets.extend(scope.to_le_bytes());
        }
        (_, ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(ip) => ip.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
            };
            octets.extend(AF_INET.to_le_bytes());
            octets.extend(address.port().to_be_bytes());
            octets.extend(ip.octets());
            octets.extend([0; 8]);
        }
    }
    octets
}

/// Writes an address to where its length says how much fits; the length becomes what there was to write.
fn write_address(domain: u16, address: Option<SocketAddr>, to: u64, len_at: u64) -> Outcome<()> {
    if to == 0 {
        return Ok(());
    }
    let room = usize::try_from(uaccess::read::<i32>(len_at)?).map_err(|_| EINVAL)?;
    let octets = address.map(|address| address_octets(domain, address)).unwrap_or_default();
    uaccess::write_bytes(to, &octets[..octets.len().min(room)])?;
    uaccess::write(len_at, octets.len() as u32)?;
    Ok(())
}

// Calls.

/// Calls `f` with the socket behind a descriptor and whether it waits.
fn with<T>(fd: i32, f: impl FnOnce(&dyn Socket, bool) -> Outcome<T>) -> Outcome<T> {
    let description = fd::get(fd)?;
    let socket = description.file().as_socket().ok_or(ENOTSOCK)?;
    f(socket, description.is_nonblocking())
}

fn install(socket: Arc<dyn Socket>, flags: i32) -> Result {
    fd::install(Description::new(socket, flags & O_NONBLOCK != 0), flags & O_CLOEXEC != 0, 0)
}

/// The kind and the flags of `type`. The kind is `None` where there is none of that number.
fn kind_and_flags(kind: i32) -> Outcome<(Option<Kind>, i32)> {
    const FLAGS: i32 = O_NONBLOCK | O_CLOEXEC;
    const KINDS: [Option<Kind>; 7] =
        [None, Some(Kind::Stream), Some(Kind::Datagram), None, None, Some(Kind::SeqPacket), None];
    let flags = kind & FLAGS;
    let kind = usize::try_from(kind & !FLAGS).ok().and_then(|kind| KINDS.get(kind)).ok_or(EINVAL)?;
    Ok((*kind, flags))
}

/// socket(2).
pub fn socket(domain: i32, kind: i32, protocol: i32) -> Result {
    let (kind, flags) = kind_and_flags(kind)?;
    let domain = u16::try_from(domain).map_err(|_| EAFNOSUPPORT)?;
    if domain != AF_INET && domain != AF_INET6 {
        return Err(EAFNOSUPPORT);
    }
    let kind = kind.ok_or(crate::errno::ESOCKTNOSUPPORT)?;
    let network = service::network().ok_or(EAFNOSUPPORT)?;
    install(network.sockets.socket(domain, kind, protocol)?, flags)
}

/// bind(2).
pub fn bind(fd: i32, address: u64, len: u32) -> Result {
    with(fd, |socket, _| socket.bind(read_address(address, len)?.ok_or(EAFNOSUPPORT)?))?;
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
    write_address(domain, Some(peer), address, len_at)?;
    Ok(number.install(description, flags & O_CLOEXEC != 0))
}

/// connect(2).
pub fn connect(fd: i32, address: u64, len: u32) -> Result {
    with(fd, |socket, nonblocking| socket.connect(read_address(address, len)?, nonblocking))?;
    Ok(0)
}

/// What a broken connection does to a sender: `SIGPIPE`, unless it said no.
fn broken_pipe<T>(result: Outcome<T>, flags: u32) -> Outcome<T> {
    if matches!(result, Err(EPIPE)) && flags & flags::NOSIGNAL == 0 {
        signal::raise_broken_pipe();
    }
    result
}

fn send(fd: i32, from: &mut UserBuffers, to: Option<SocketAddr>, flags: u32) -> Outcome<usize> {
    with(fd, |socket, nonblocking| {
        broken_pipe(socket.send(from, to, flags, nonblocking || flags & flags::DONTWAIT != 0), flags)
    })
}

/// sendto(2).
pub fn sendto(fd: i32, buf: u64, len: usize, flags: u32, address: u64, address_len: u32) -> Result {
    let mut from = UserBuffers::one(buf, len)?;
    let to = if address == 0 { None } else { read_address(address, address_len)? };
    send(fd, &mut from, to, flags).map(|sent| sent as u64)
}

/// recvfrom(2).
pub fn recvfrom(fd: i32, buf: u64, len: usize, flags: u32, address: u64, len_at: u64) -> Result {
    let mut to = UserBuffers::one(buf, len)?;
    let received = with(fd, |socket, nonblocking| {
        let received = socket.receive(&mut to, flags, nonblocking || flags & flags::DONTWAIT != 0)?;
        write_address(socket.domain(), received.from, address, len_at)?;
        Ok(received)
    })?;
    Ok(received.len as u64)
}

/// `struct msghdr`, as words: name, name length, iovec, its length, control, its length, flags.
const MSGHDR_WORDS: usize = 7;

fn read_message(message: u64) -> Outcome<([u64; MSGHDR_WORDS], UserBuffers)> {
    let words = uaccess::read::<[u64; MSGHDR_WORDS]>(message)?;
    let buffers = UserBuffers::from_iovec(words[2], words[3]).map_err(|error| match error {
        EINVAL if words[3] > 1024 => EMSGSIZE,
        error => error,
    })?;
    Ok((words, buffers))
}

/// sendmsg(2). Ancillary data is not looked at yet.
pub fn sendmsg(fd: i32, message: u64, flags: u32) -> Result {
    let (words, mut from) = read_message(message)?;
    let to = if words[0] == 0 { None } else { read_address(words[0], words[1] as u32)? };
    send(fd, &mut from, to, flags).map(|sent| sent as u64)
}

/// recvmsg(2). There is no ancillary data yet.
pub fn recvmsg(fd: i32, message: u64, flags: u32) -> Result {
    let (words, mut to) = read_message(message)?;
    let received = with(fd, |socket, nonblocking| {
        let received = socket.receive(&mut to, flags, nonblocking || flags & flags::DONTWAIT != 0)?;
        // The name's length is the header's second word, of which it is the low half.
        write_address(socket.domain(), received.from, words[0], message + 8)?;
        Ok(received)
    })?;
    uaccess::write(message + 40, 0u64)?;
    let truncated = if received.truncated { flags::TRUNC } else { 0 };
    uaccess::write(message + 48, truncated)?;
    Ok(received.len as u64)
}

/// Octets of `struct mmsghdr`: the header, and the number of octets sent or received.
const MMSGHDR_SIZE: u64 = 64;

/// sendmmsg(2).
pub fn sendmmsg(fd: i32, messages: u64, count: u32, flags: u32) -> Result {
    let mut done = 0;
    for i in 0..u64::from(count.min(1024)) {
        let message = messages.checked_add(i * MMSGHDR_SIZE).ok_or(EFAULT)?;
        let sent =
            sendmsg(fd, message, flags).and_then(|sent| Ok(uaccess::write(message + 56, sent as u32)?));
        match sent {
            Ok(()) => done += 1,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// recvmmsg(2).
pub fn recvmmsg(fd: i32, messages: u64, count: u32, flags: u32, timeout: u64) -> Result {
    const WAITFORONE: u32 = 0x1_0000;
    let deadline = match timeout {
        0 => None,
        address => Some(kernel::time::now_ns().saturating_add(crate::time::read_timespec(address)?)),
    };
    let mut done = 0;
    for i in 0..u64::from(count.min(1024)) {
        let message = messages.checked_add(i * MMSGHDR_SIZE).ok_or(EFAULT)?;
        let wait = if done > 0 && flags & WAITFORONE != 0 { flags::DONTWAIT } else { 0 };
        let received = recvmsg(fd, message, flags & !WAITFORONE | wait)
            .and_then(|received| Ok(uaccess::write(message + 56, received as u32)?));
        match received {
            Ok(()) => done += 1,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if deadline.is_some_and(|deadline| kernel::time::now_ns() >= deadline) {
            break;
        }
    }
    Ok(done)
}

/// shutdown(2).
pub fn shutdown(fd: i32, how: i32) -> Result {
    let how = match how {
        0 => Shutdown::Read,
        1 => Shutdown::Write,
        2 => Shutdown::Both,
        _ => return Err(EINVAL),
    };
    with(fd, |socket, _| socket.shutdown(how))?;
    Ok(0)
}

/// getsockname(2).
pub fn getsockname(fd: i32, address: u64, len_at: u64) -> Result {
    with(fd, |socket, _| write_required(socket.domain(), socket.local_address()?, address, len_at))?;
    Ok(0)
}

/// getpeername(2).
pub fn getpeername(fd: i32, address: u64, len_at: u64) -> Result {
    with(fd, |socket, _| write_required(socket.domain(), socket.peer_address()?, address, len_at))?;
    Ok(0)
}

fn write_required(domain: u16, address: SocketAddr, to: u64, len_at: u64) -> Outcome<()> {
    if to == 0 {
        return Err(EFAULT);
    }
    write_address(domain, Some(address), to, len_at)
}

/// setsockopt(2).
pub fn setsockopt(fd: i32, level: i32, name: i32, value: u64, len: i32) -> Result {
    /// No option is longer.
    const MAX: usize = 256;
    let len = usize::try_from(len).map_err(|_| EINVAL)?;
    let mut octets = [0; MAX];
    let octets = octets.get_mut(..len).ok_or(ENOBUFS)?;
    with(fd, |socket, _| {
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
    let domain = u16::try_from(domain).map_err(|_| EAFNOSUPPORT)?;
    let kind = kind.ok_or(crate::errno::ESOCKTNOSUPPORT)?;
    let network = service::network().ok_or(EAFNOSUPPORT)?;
    let (first_fd, second_fd) = (fd::reserve(0)?, fd::reserve(0)?);
    let [first, second] = network.sockets.pair(domain, kind, protocol)?;
    uaccess::write(fds, [first_fd.number(), second_fd.number()])?;
    for (fd, socket) in [(first_fd, first), (second_fd, second)] {
        fd.install(Description::new(socket, flags & O_NONBLOCK != 0), flags & O_CLOEXEC != 0);
    }
    Ok(0)
}
