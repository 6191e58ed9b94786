//! File descriptors. As long as there is no file tree: the console as 0, 1 and 2.

use core::sync::atomic::{AtomicU8, Ordering};

use alloc::vec::Vec;

use kernel::sched::Wake;
use kernel::{console, sched, uaccess};

use crate::errno::{
    EBADF, EINVAL, ENAMETOOLONG, ENOENT, ENOTTY, ERANGE, ERESTARTNOHAND, ERESTARTSYS, EROFS, ESPIPE, Errno,
    Result,
};
use crate::limits;

/// Which of the descriptors 0, 1, 2 are open: bits 0 to 2; their close-on-exec flags: bits 4 to 6.
static OPEN: AtomicU8 = AtomicU8::new(0b111);

/// Octets that go through the kernel at a step.
const CHUNK: usize = 512;
/// Most octets of one read or write (`MAX_RW_COUNT`).
const MAX_COUNT: usize = 0x7fff_f000;

fn check(fd: i32) -> core::result::Result<(), Errno> {
    if (0..3).contains(&fd) && OPEN.load(Ordering::Relaxed) & 1 << fd != 0 { Ok(()) } else { Err(EBADF) }
}

/// write(2).
pub fn write(fd: i32, buf: u64, count: usize) -> Result {
    check(fd)?;
    uaccess::check_range(buf, count as u64)?;
    let count = count.min(MAX_COUNT);
    let mut chunk = [0; CHUNK];
    let mut done = 0;
    while done < count {
        let part = &mut chunk[..(count - done).min(CHUNK)];
        if let Err(fault) = uaccess::read_bytes(buf + done as u64, part) {
            return if done > 0 { Ok(done as u64) } else { Err(fault.into()) };
        }
        console::write(part);
        done += part.len();
        // A signal ends what is long.
        if sched::breathe() {
            break;
        }
    }
    Ok(done as u64)
}

/// read(2): what has arrived, as from a pipe; waits if nothing has.
pub fn read(fd: i32, buf: u64, count: usize) -> Result {
    check(fd)?;
    uaccess::check_range(buf, count as u64)?;
    let mut chunk = [0; CHUNK];
    let count = count.min(CHUNK);
    if count == 0 {
        return Ok(0);
    }
    // Octets that were taken and cannot be delivered would be lost.
    uaccess::prepare_write(buf, count)?;
    loop {
        if let Some(len) = console::try_read(&mut chunk[..count]) {
            uaccess::write_bytes(buf, &chunk[..len])?;
            return Ok(len as u64);
        }
        if console::wait_for_input(None) == Wake::Notified {
            return Err(ERESTARTSYS);
        }
    }
}

/// Calls `f` for each element of an iovec array (readv(2)); stops at the first short one.
fn vectored(iov: u64, count: i32, f: impl Fn(u64, usize) -> Result) -> Result {
    if !(0..=1024).contains(&count) {
        return Err(EINVAL);
    }
    let mut elements = Vec::with_capacity(count as usize);
    for i in 0..count as u64 {
        let [base, len] = uaccess::read::<[u64; 2]>(iov.wrapping_add(16 * i))?;
        if len > i64::MAX as u64 {
            return Err(EINVAL);
        }
        uaccess::check_range(base, len)?;
        elements.push((base, len));
    }
    let (mut total, mut left) = (0, MAX_COUNT as u64);
    for (base, len) in elements {
        let len = len.min(left);
        if len == 0 {
            continue;
        }
        left -= len;
        match f(base, len as usize) {
            Ok(done) => {
                total += done;
                if done < len {
                    break;
                }
            }
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

/// writev(2).
pub fn writev(fd: i32, iov: u64, count: i32) -> Result {
    check(fd)?;
    vectored(iov, count, |base, len| write(fd, base, len))
}

/// readv(2).
pub fn readv(fd: i32, iov: u64, count: i32) -> Result {
    check(fd)?;
    vectored(iov, count, |base, len| read(fd, base, len))
}

/// close(2).
pub fn close(fd: i32) -> Result {
    check(fd)?;
    OPEN.fetch_and(!(1 << fd), Ordering::Relaxed);
    Ok(0)
}

/// lseek(2): the console cannot seek.
pub fn lseek(fd: i32, _offset: i64, _whence: i32) -> Result {
    check(fd)?;
    Err(ESPIPE)
}

/// poll(2) on the console: output is always possible, input when an octet is there.
pub fn poll(fds: u64, nfds: u64, timeout: i32) -> Result {
    const POLLIN: u16 = 1;
    const POLLOUT: u16 = 4;
    const POLLNVAL: u16 = 0x20;
    if nfds > limits::files() {
        return Err(EINVAL);
    }
    let deadline = u64::try_from(timeout).ok().map(|ms| kernel::time::now_ns() + ms * 1_000_000);
    loop {
        let mut ready = 0;
        let mut wants_input = false;
        for i in 0..nfds {
            let entry = fds.wrapping_add(8 * i);
            let fd = uaccess::read::<i32>(entry)?;
            let events = uaccess::read::<u16>(entry.wrapping_add(4))?;
            let revents = match check(fd) {
                _ if fd < 0 => 0,
                Err(_) => POLLNVAL,
                Ok(()) if events & POLLIN != 0 => {
                    wants_input = true;
                    events & POLLOUT | if console::readable() { POLLIN } else { 0 }
                }
                Ok(()) => events & POLLOUT,
            };
            uaccess::write::<u16>(entry.wrapping_add(6), revents)?;
            ready += u64::from(revents != 0);
        }
        if ready > 0 || timeout == 0 {
            return Ok(ready);
        }
        if deadline.is_some_and(|deadline| kernel::time::now_ns() >= deadline) {
            return Ok(0);
        }
        let wake = if wants_input {
            console::wait_for_input(deadline)
        } else {
            sched::prepare_wait();
            sched::wait(deadline)
        };
        if wake == Wake::Notified {
            return Err(ERESTARTNOHAND);
        }
    }
}

/// fcntl(2).
pub fn fcntl(fd: i32, op: i32, arg: u64) -> Result {
    const F_GETFD: i32 = 1;
    const F_SETFD: i32 = 2;
    const F_GETFL: i32 = 3;
    const O_RDWR: u64 = 2;
    check(fd)?;
    match op {
        F_GETFD => Ok(u64::from(OPEN.load(Ordering::Relaxed) >> (fd + 4) & 1)),
        F_SETFD => {
            let bit = 1 << (fd + 4);
            if arg & 1 != 0 {
                OPEN.fetch_or(bit, Ordering::Relaxed);
            } else {
                OPEN.fetch_and(!bit, Ordering::Relaxed);
            }
            Ok(0)
        }
        F_GETFL => Ok(O_RDWR),
        _ => Err(EINVAL),
    }
}

/// ioctl(2).
pub fn ioctl(fd: i32, _op: u64, _arg: u64) -> Result {
    check(fd)?;
    Err(ENOTTY)
}

/// fstat(2): a character device.
pub fn fstat(fd: i32, statbuf: u64) -> Result {
    const S_IFCHR: u32 = 0o020_000;
    check(fd)?;
    // struct stat of x86_64: dev, ino, nlink (u64 each), mode, uid, gid, pad (u32 each), rdev, size, blksize, blocks,
    // and three times seconds and nanoseconds.
    let mut stat = [0u64; 18];
    stat[0] = 1;
    stat[1] = 1 + fd as u64;
    stat[2] = 1;
    stat[3] = u64::from(S_IFCHR | 0o620);
    stat[5] = 4 << 8 | 64; // ttyS0
    stat[7] = 1024;
    uaccess::write(statbuf, stat)?;
    Ok(0)
}

/// newfstatat(2), as fstat(3) of libc uses it: with an empty path.
pub fn newfstatat(dirfd: i32, path: u64, statbuf: u64, flags: i32) -> Result {
    const AT_EMPTY_PATH: i32 = 0x1000;
    if read_path(path)? == 0 {
        return if flags & AT_EMPTY_PATH != 0 { fstat(dirfd, statbuf) } else { Err(ENOENT) };
    }
    Err(ENOENT)
}

/// The length of a path, checked as Linux does before it looks anything up.
fn read_path(path: u64) -> Result {
    match uaccess::read_cstr(path, &mut [0; 4096]) {
        Ok(len) => Ok(len as u64),
        Err(None) => Err(ENAMETOOLONG),
        Err(Some(fault)) => Err(fault.into()),
    }
}

/// open(2).
pub fn open(path: u64, flags: i32, mode: u32) -> Result {
    const AT_FDCWD: i32 = -100;
    openat(AT_FDCWD, path, flags, mode)
}

/// access(2).
pub fn access(path: u64, mode: i32) -> Result {
    if mode & !7 != 0 {
        return Err(EINVAL);
    }
    read_path(path)?;
    Err(ENOENT)
}

/// openat(2).
pub fn openat(_dirfd: i32, path: u64, flags: i32, _mode: u32) -> Result {
    const O_CREAT: i32 = 0o100;
    if read_path(path)? == 0 {
        return Err(ENOENT);
    }
    Err(if flags & O_CREAT != 0 { EROFS } else { ENOENT })
}

/// readlink(2).
pub fn readlink(path: u64, _buf: u64, size: i32) -> Result {
    if size <= 0 {
        return Err(EINVAL);
    }
    read_path(path)?;
    Err(ENOENT)
}

/// getcwd(2).
pub fn getcwd(buf: u64, size: u64) -> Result {
    // libc answers a size of 0 itself, with EINVAL.
    if size < 2 {
        return Err(ERANGE);
    }
    uaccess::write_bytes(buf, b"/\0")?;
    Ok(2)
}
