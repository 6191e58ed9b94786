//! Calls on file descriptors. There is no file tree yet: a few files that libc looks for ([`crate::etc`]), and objects without a
//! name.

use alloc::sync::Arc;

use kernel::uaccess;

use crate::buffers::UserBuffers;
use crate::errno::{EBADF, EINVAL, EMFILE, ENAMETOOLONG, ENOENT, ERANGE, EROFS, Errno, Result};
use crate::etc;
use crate::fd::{self, Description};
use crate::readiness::events;

pub(crate) const O_NONBLOCK: i32 = 0o4000;
pub(crate) const O_CLOEXEC: i32 = 0o2_000_000;

/// write(2).
pub fn write(fd: i32, buf: u64, count: usize) -> Result {
    let description = fd::get(fd)?;
    let mut from = UserBuffers::one(buf, count)?;
    description.file().write(&mut from, description.is_nonblocking()).map(|done| done as u64)
}

/// read(2).
pub fn read(fd: i32, buf: u64, count: usize) -> Result {
    let description = fd::get(fd)?;
    let mut to = UserBuffers::one(buf, count)?;
    description.file().read(&mut to, description.is_nonblocking()).map(|done| done as u64)
}

/// writev(2).
pub fn writev(fd: i32, iov: u64, count: i32) -> Result {
    let description = fd::get(fd)?;
    let mut from = UserBuffers::from_iovec(iov, u64::try_from(count).map_err(|_| EINVAL)?)?;
    description.file().write(&mut from, description.is_nonblocking()).map(|done| done as u64)
}

/// readv(2).
pub fn readv(fd: i32, iov: u64, count: i32) -> Result {
    let description = fd::get(fd)?;
    let mut to = UserBuffers::from_iovec(iov, u64::try_from(count).map_err(|_| EINVAL)?)?;
    description.file().read(&mut to, description.is_nonblocking()).map(|done| done as u64)
}

/// close(2).
pub fn close(fd: i32) -> Result {
    fd::remove(fd)?;
    Ok(0)
}

/// lseek(2).
pub fn lseek(fd: i32, offset: i64, whence: i32) -> Result {
    fd::get(fd)?.file().seek(offset, whence)
}

/// dup(2).
pub fn dup(fd: i32) -> Result {
    fd::install(fd::get(fd)?, false, 0)
}

/// dup2(2).
pub fn dup2(old: i32, new: i32) -> Result {
    let description = fd::get(old)?;
    let new = usize::try_from(new).map_err(|_| EBADF)?;
    if new as i32 != old {
        replace(new, &description, false)?;
    }
    Ok(new as u64)
}

/// dup3(2).
pub fn dup3(old: i32, new: i32, flags: i32) -> Result {
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(EINVAL);
    }
    let description = fd::get(old)?;
    let new = usize::try_from(new).map_err(|_| EBADF)?;
    replace(new, &description, flags & O_CLOEXEC != 0)?;
    Ok(new as u64)
}

/// Gives a description a number that may have another one, which is closed then.
fn replace(
    new: usize,
    description: &Arc<Description>,
    close_on_exec: bool,
) -> core::result::Result<(), Errno> {
    match fd::replace(new, description, close_on_exec) {
        Err(EMFILE) => Err(EBADF),
        result => result.map(drop),
    }
}

/// fcntl(2).
pub fn fcntl(fd: i32, op: i32, arg: u64) -> Result {
    const F_DUPFD: i32 = 0;
    const F_GETFD: i32 = 1;
    const F_SETFD: i32 = 2;
    const F_GETFL: i32 = 3;
    const F_SETFL: i32 = 4;
    const F_DUPFD_CLOEXEC: i32 = 1030;
    const FD_CLOEXEC: u64 = 1;
    let description = fd::get(fd)?;
    match op {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let from = usize::try_from(arg as i32).ok().filter(|&from| from < fd::MAX).ok_or(EINVAL)?;
            fd::install(description, op == F_DUPFD_CLOEXEC, from)
        }
        F_GETFD => Ok(u64::from(fd::close_on_exec(fd)?) * FD_CLOEXEC),
        F_SETFD => fd::set_close_on_exec(fd, arg & FD_CLOEXEC != 0).map(|()| 0),
        F_GETFL => {
            let nonblocking = if description.is_nonblocking() { O_NONBLOCK as u64 } else { 0 };
            Ok(u64::from(description.file().access_mode()) | nonblocking)
        }
        F_SETFL => {
            description.set_nonblocking(arg & O_NONBLOCK as u64 != 0);
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}

/// ioctl(2).
pub fn ioctl(fd: i32, op: u32, arg: u64) -> Result {
    const FIONBIO: u32 = 0x5421;
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    let description = fd::get(fd)?;
    match op {
        FIONBIO => {
            description.set_nonblocking(uaccess::read::<i32>(arg)? != 0);
            Ok(0)
        }
        FIOCLEX => fd::set_close_on_exec(fd, true).map(|()| 0),
        FIONCLEX => fd::set_close_on_exec(fd, false).map(|()| 0),
        _ => description.file().ioctl(op, arg),
    }
}

/// fstat(2).
pub fn fstat(fd: i32, statbuf: u64) -> Result {
    let stat = fd::get(fd)?.file().stat();
    // struct stat of x86_64: dev, ino, nlink (u64 each), mode, uid, gid, pad (u32 each), rdev, size, blksize, blocks,
    // and three times seconds and nanoseconds.
    let mut words = [0u64; 18];
    words[0] = 1;
    words[1] = stat.inode;
    words[2] = 1;
    words[3] = u64::from(stat.mode);
    words[5] = stat.device;
    words[6] = stat.size;
    words[7] = if stat.device != 0 { 1024 } else { 4096 };
    words[8] = stat.size.div_ceil(512);
    uaccess::write(statbuf, words)?;
    Ok(0)
}

/// newfstatat(2), as fstat(3) of libc uses it: with an empty path; and for the files of [`etc`].
pub fn newfstatat(dirfd: i32, path: u64, statbuf: u64, flags: i32) -> Result {
    const AT_EMPTY_PATH: i32 = 0x1000;
    let mut buffer = [0; 4096];
    let path = read_path(path, &mut buffer)?;
    if path.is_empty() {
        return if flags & AT_EMPTY_PATH != 0 { fstat(dirfd, statbuf) } else { Err(ENOENT) };
    }
    let file = Description::new(etc::open(path).ok_or(ENOENT)?, false);
    let fd = fd::install(file, true, 0)?;
    let result = fstat(fd as i32, statbuf);
    fd::remove(fd as i32)?;
    result
}

/// A path, checked as Linux does before it looks anything up.
fn read_path(path: u64, to: &mut [u8; 4096]) -> core::result::Result<&[u8], Errno> {
    match uaccess::read_cstr(path, to) {
        Ok(len) => Ok(&to[..len]),
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
    let mut buffer = [0; 4096];
    let path = read_path(path, &mut buffer)?;
    match etc::open(path) {
        Some(_) if mode & 2 != 0 => Err(EROFS),
        Some(_) => Ok(0),
        None => Err(ENOENT),
    }
}

/// openat(2).
pub fn openat(_dirfd: i32, path: u64, flags: i32, _mode: u32) -> Result {
    const O_ACCMODE: i32 = 3;
    const O_CREAT: i32 = 0o100;
    let mut buffer = [0; 4096];
    let path = read_path(path, &mut buffer)?;
    match etc::open(path) {
        Some(_) if flags & O_ACCMODE != 0 => Err(EROFS),
        Some(file) => {
            let description = Description::new(file, flags & O_NONBLOCK != 0);
            fd::install(description, flags & O_CLOEXEC != 0, 0)
        }
        None if path.is_empty() => Err(ENOENT),
        None if flags & O_CREAT != 0 => Err(EROFS),
        None => Err(ENOENT),
    }
}

/// readlink(2).
pub fn readlink(path: u64, _buf: u64, size: i32) -> Result {
    if size <= 0 {
        return Err(EINVAL);
    }
    let mut buffer = [0; 4096];
    let path = read_path(path, &mut buffer)?;
    Err(if etc::open(path).is_some() { EINVAL } else { ENOENT })
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

/// The events of an object that is always ready.
pub(crate) const ALWAYS_READY: u32 = events::IN | events::RDNORM | events::OUT | events::WRNORM;
