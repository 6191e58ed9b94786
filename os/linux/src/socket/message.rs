//! Calls with a `struct msghdr`: sendmsg(2), recvmsg(2), sendmmsg(2), recvmmsg(2).

use kernel::uaccess;

use super::control::{self, Writer};
use super::{Address, Outcome, Outgoing, Socket, flags, with};
use crate::buffers::UserBuffers;
use crate::errno::{EFAULT, EINVAL, EMSGSIZE, ENOBUFS, Result};

/// Octets of `struct mmsghdr`: the header, and the number of octets sent or received.
const MMSGHDR_SIZE: u64 = 64;
/// Where that number is.
const MMSGHDR_LEN: u64 = 56;
/// Most messages of a call.
const MESSAGES_MAX: u32 = 1024;
/// Most pieces of a message (`IOV_MAX`).
const PIECES_MAX: u64 = 1024;

/// `struct msghdr`, and where it is.
struct Header {
    at: u64,
    name: u64,
    name_len: u32,
    buffers: UserBuffers,
    control: u64,
    control_len: u64,
}

impl Header {
    const NAME_LEN: u64 = 8;
    const CONTROL_LEN: u64 = 40;
    const FLAGS: u64 = 48;

    fn read(at: u64) -> Outcome<Self> {
        const STORAGE: u32 = 128;
        let [name, name_len, pieces, pieces_len, control, control_len, _] = uaccess::read::<[u64; 7]>(at)?;
        let name_len = i32::try_from(name_len as u32).or(if name == 0 { Ok(0) } else { Err(EINVAL) })?;
        if pieces_len > PIECES_MAX {
            return Err(EMSGSIZE);
        }
        let buffers = UserBuffers::from_iovec(pieces, pieces_len)?;
        // Longer names are cut off, as Linux does here and nowhere else.
        Ok(Self { at, name, name_len: (name_len as u32).min(STORAGE), buffers, control, control_len })
    }
}

/// One message out.
fn send(socket: &dyn Socket, nonblocking: bool, message: u64, flags: u32) -> Outcome<usize> {
    let mut header = Header::read(message)?;
    let to = match header.name_len {
        0 => None,
        len => Address::read_destination(socket.domain(), header.name, len)?,
    };
    let len = i32::try_from(header.control_len).map_err(|_| ENOBUFS)?;
    let control = control::read(socket.domain(), header.control, len as usize)?;
    let outgoing = Outgoing { to, control };
    let nonblocking = nonblocking || flags & flags::DONTWAIT != 0;
    socket.send(&mut header.buffers, outgoing, flags, nonblocking)
}

/// One message in.
fn receive(socket: &dyn Socket, nonblocking: bool, message: u64, flags: u32) -> Outcome<usize> {
    let mut header = Header::read(message)?;
    let nonblocking = nonblocking || flags & flags::DONTWAIT != 0;
    let received = socket.receive(&mut header.buffers, flags, nonblocking)?;
    let close_on_exec = flags & flags::CMSG_CLOEXEC != 0;
    let room = usize::try_from(header.control_len).unwrap_or(usize::MAX);
    let mut writer = Writer::new(header.control, room, close_on_exec);
    for control in received.control {
        // As on Linux what cannot be written is left out.
        let _ = writer.put(control);
    }
    if header.name != 0 {
        Address::write(
            received.from.as_ref(),
            socket.domain(),
            header.name,
            header.at.wrapping_add(Header::NAME_LEN),
        )?;
    }
    let flags = received.flags | writer.flags() | flags & flags::CMSG_CLOEXEC;
    uaccess::write(header.at.wrapping_add(Header::FLAGS), flags)?;
    let written = writer.end().wrapping_sub(header.control);
    uaccess::write(header.at.wrapping_add(Header::CONTROL_LEN), written)?;
    Ok(received.len)
}

/// Programs of 32 bits have other structures.
fn check_flags(flags: u32) -> Outcome<()> {
    if flags & flags::CMSG_COMPAT != 0 { Err(EINVAL) } else { Ok(()) }
}

/// sendmsg(2).
pub fn sendmsg(fd: i32, message: u64, flags: u32) -> Result {
    check_flags(flags)?;
    with(fd, |socket, nonblocking| send(socket, nonblocking, message, flags)).map(|sent| sent as u64)
}

/// recvmsg(2).
pub fn recvmsg(fd: i32, message: u64, flags: u32) -> Result {
    check_flags(flags)?;
    with(fd, |socket, nonblocking| receive(socket, nonblocking, message, flags))
        .map(|received| received as u64)
}

/// sendmmsg(2).
pub fn sendmmsg(fd: i32, messages: u64, count: u32, flags: u32) -> Result {
    check_flags(flags)?;
    with(fd, |socket, nonblocking| {
        for_each(messages, count, |message, _| send(socket, nonblocking, message, flags).map(Some))
    })
}

/// recvmmsg(2).
pub fn recvmmsg(fd: i32, messages: u64, count: u32, flags: u32, timeout: u64) -> Result {
    const WAITFORONE: u32 = 0x1_0000;
    check_flags(flags)?;
    let deadline = match timeout {
        0 => None,
        address => Some(kernel::time::now_ns().saturating_add(crate::time::read_timespec(address)?)),
    };
    with(fd, |socket, nonblocking| {
        for_each(messages, count, |message, done| {
            if done > 0 && deadline.is_some_and(|deadline| kernel::time::now_ns() >= deadline) {
                return Ok(None);
            }
            let wait = if done > 0 && flags & WAITFORONE != 0 { flags::DONTWAIT } else { 0 };
            receive(socket, nonblocking, message, flags & !WAITFORONE | wait).map(Some)
        })
    })
}

/// Calls `f` with each message and how many are done, until it fails or gives `None`, and writes down the octets it tells. Returns
/// how many are done.
///
/// # Errors
/// The first message's.
fn for_each(messages: u64, count: u32, mut f: impl FnMut(u64, u64) -> Outcome<Option<usize>>) -> Result {
    let mut done = 0;
    for i in 0..u64::from(count.min(MESSAGES_MAX)) {
        let message = messages.checked_add(i * MMSGHDR_SIZE).ok_or(EFAULT)?;
        let octets = match f(message, done) {
            Ok(Some(octets)) => octets,
            Err(error) if done == 0 => return Err(error),
            Ok(None) | Err(_) => break,
        };
        match uaccess::write(message.wrapping_add(MMSGHDR_LEN), octets as u32) {
            Ok(()) => done += 1,
            Err(fault) if done == 0 => return Err(fault.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}
