//! Calls on file descriptors, whatever is behind them. What takes a path is in [`crate::files`].

use alloc::sync::Arc;

use kernel::uaccess;

use crate::buffers::UserBuffers;
use crate::errno::{EBADF, EINVAL, EMFILE, Errno, Result};
use crate::fd::{self, Description};
use crate::files;
use crate::files::opened::OpenFile;
use crate::pipe::{GETPIPE_SZ, SETPIPE_SZ};
use crate::readiness::events;

pub(crate) const O_NONBLOCK: i32 = 0o4000;
pub(crate) const O_CLOEXEC: i32 = 0o2_000_000;

/// write(2).
pub fn write(fd: i32, buf: u64, count: usize) -> Result {
    let description = fd::get_open(fd)?;
    description.check_writable()?;
    let mut from = UserBuffers::one(buf, count)?;
    description.file().write(&mut from, description.is_nonblocking()).map(|done| done as u64)
}

/// read(2).
pub fn read(fd: i32, buf: u64, count: usize) -> Result {
    let description = fd::get_open(fd)?;
    description.check_readable()?;
    let mut to = UserBuffers::one(buf, count)?;
    description.file().read(&mut to, description.is_nonblocking()).map(|done| done as u64)
}

/// writev(2).
pub fn writev(fd: i32, iov: u64, count: i32) -> Result {
    let description = fd::get_open(fd)?;
    description.check_writable()?;
    let mut from = UserBuffers::from_iovec(iov, u64::try_from(count).map_err(|_| EINVAL)?)?;
    if from.is_empty() {
        return Ok(0);
    }
    description.file().write(&mut from, description.is_nonblocking()).map(|done| done as u64)
}

/// readv(2).
pub fn readv(fd: i32, iov: u64, count: i32) -> Result {
    let description = fd::get_open(fd)?;
    description.check_readable()?;
    let mut to = UserBuffers::from_iovec(iov, u64::try_from(count).map_err(|_| EINVAL)?)?;
    if to.is_empty() {
        return Ok(0);
    }
    description.file().read(&mut to, description.is_nonblocking()).map(|done| done as u64)
}

/// close(2).
pub fn close(fd: i32) -> Result {
    closed(fd::remove(fd)?);
    Ok(0)
}

/// What follows when a number stands for a description no longer.
fn closed(description: Arc<Description>) {
    match files::operations() {
        Some(files) => (files.closed)(description),
        None => drop(description),
    }
}

/// lseek(2).
pub fn lseek(fd: i32, offset: i64, whence: i32) -> Result {
    /// `SEEK_HOLE`, the highest.
    const LAST: u32 = 4;
    let description = fd::get_open(fd)?;
    if whence as u32 > LAST {
        return Err(EINVAL);
    }
    description.file().seek(offset, whence)
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
        result => {
            if let Some(before) = result? {
                closed(before);
            }
            Ok(())
        }
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
    // A path alone can be told about and copied.
    if description.is_path() && !matches!(op, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL) {
        return Err(EBADF);
    }
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
            if let Some(file) = description.downcast::<OpenFile>() {
                file.set_flags(arg as i32);
            }
            Ok(0)
        }
        SETPIPE_SZ | GETPIPE_SZ => description.file().fcntl(op, arg).unwrap_or(Err(EBADF)),
        _ => {
            files::operations().and_then(|files| (files.fcntl)(&description, op, arg)).unwrap_or(Err(EINVAL))
        }
    }
}

/// ioctl(2).
pub fn ioctl(fd: i32, op: u32, arg: u64) -> Result {
    const FIONBIO: u32 = 0x5421;
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    let description = fd::get_open(fd)?;
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

/// The events of an object that is always ready.
pub(crate) const ALWAYS_READY: u32 = events::IN | events::RDNORM | events::OUT | events::WRNORM;
