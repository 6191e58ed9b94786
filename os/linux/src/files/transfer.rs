//! From file to file and at an offset: pread(2), pwrite(2), preadv2(2) and their kin, copy_file_range(2), sendfile(2).

use alloc::sync::Arc;

use kernel::{sched, uaccess};
use vfs::PAGE_SIZE;

use super::opened::{OpenDirectory, OpenFile, OpenPath, check_end};
use super::{Outcome, now};
use crate::buffers::UserBuffers;
use crate::errno::{EBADF, EFBIG, EINVAL, EISDIR, EOPNOTSUPP, EOVERFLOW, ESPIPE, EXDEV, Errno, Result};
use crate::fd::{self, Description, File};
use crate::file;
use crate::pace::Pace;

/// Calls `on` with the open file behind a descriptor.
fn with<T>(fd: i32, on: impl FnOnce(&OpenFile) -> Outcome<T>) -> Outcome<T> {
    let description = fd::get(fd)?;
    match description.downcast::<OpenFile>() {
        Some(file) => on(file),
        None => Err(not_a_file(&description)),
    }
}

/// Why an object has no offsets.
fn not_a_file(description: &Description) -> Errno {
    match () {
        () if description.downcast::<OpenPath>().is_some() => EBADF,
        () if description.downcast::<OpenDirectory>().is_some() => EISDIR,
        () => ESPIPE,
    }
}

/// The description of an object that has offsets, and the offset.
fn positioned(fd: i32, offset: i64) -> Outcome<(Arc<Description>, u64)> {
    let offset = u64::try_from(offset).map_err(|_| EINVAL)?;
    let description = fd::get_open(fd)?;
    let is_directory = description.downcast::<OpenDirectory>().is_some();
    if description.downcast::<OpenFile>().is_some() || is_directory || is_device(&description) {
        Ok((description, offset))
    } else {
        Err(ESPIPE)
    }
}

/// Reads; `buffers` makes the program's buffers when it is clear that there is something to read.
fn read_at(fd: i32, offset: i64, buffers: impl FnOnce() -> Outcome<UserBuffers>) -> Result {
    let (description, offset) = positioned(fd, offset)?;
    description.check_readable()?;
    let mut to = buffers()?;
    check_end(offset, to.len())?;
    match description.downcast::<OpenFile>() {
        Some(file) => Ok(file.read_at(&mut to, offset)? as u64),
        // A device has no offsets that count.
        None if is_device(&description) => {
            Ok(description.file().read(&mut to, description.is_nonblocking())? as u64)
        }
        None => Err(not_a_file(&description)),
    }
}

/// Writes, as [`read_at`] reads.
fn write_at(fd: i32, offset: i64, buffers: impl FnOnce() -> Outcome<UserBuffers>) -> Result {
    let (description, offset) = positioned(fd, offset)?;
    description.check_writable()?;
    let mut from = buffers()?;
    check_end(offset, from.len())?;
    match description.downcast::<OpenFile>() {
        Some(file) => {
            let (done, _) = file.write_at(&mut from, offset)?;
            Ok(done as u64)
        }
        None if is_device(&description) => {
            Ok(description.file().write(&mut from, description.is_nonblocking())? as u64)
        }
        None => Err(not_a_file(&description)),
    }
}

/// Whether it is a device with a node, such as /dev/zero.
fn is_device(description: &Description) -> bool {
    description.file().node().is_some_and(|node| node.kind() == vfs::FileType::CharDevice)
}

/// pread(2).
pub fn pread64(fd: i32, buf: u64, count: usize, offset: i64) -> Result {
    read_at(fd, offset, || one(buf, count, offset))
}

/// pwrite(2).
pub fn pwrite64(fd: i32, buf: u64, count: usize, offset: i64) -> Result {
    write_at(fd, offset, || one(buf, count, offset))
}

/// A buffer, all of which has to be before the last offset, though not all may be moved at once.
fn one(buf: u64, count: usize, offset: i64) -> Outcome<UserBuffers> {
    let buffer = UserBuffers::one(buf, count)?;
    check_end(offset.cast_unsigned(), count)?;
    Ok(buffer)
}

fn pieces(iov: u64, count: i32) -> Outcome<UserBuffers> {
    UserBuffers::from_iovec(iov, u64::try_from(count).map_err(|_| EINVAL)?)
}

/// preadv(2). The second half of the offset is not used with 64 bits.
pub fn preadv(fd: i32, iov: u64, count: i32, offset: i64) -> Result {
    read_at(fd, offset, || pieces(iov, count))
}

/// pwritev(2).
pub fn pwritev(fd: i32, iov: u64, count: i32, offset: i64) -> Result {
    write_at(fd, offset, || pieces(iov, count))
}

/// The flags that change nothing here: RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT.
const RWF_IGNORED: i32 = 0xf;

/// preadv2(2); with an offset of -1 it is readv(2).
pub fn preadv2(fd: i32, iov: u64, count: i32, offset: i64, _high: u64, flags: i32) -> Result {
    if flags & !RWF_IGNORED != 0 {
        described(fd, offset)?.check_readable()?;
        return Err(EOPNOTSUPP);
    }
    if offset == -1 { file::readv(fd, iov, count) } else { preadv(fd, iov, count, offset) }
}

/// What preadv2(2) and pwritev2(2) are about.
fn described(fd: i32, offset: i64) -> Outcome<Arc<Description>> {
    if offset == -1 { fd::get_open(fd) } else { positioned(fd, offset).map(|(description, _)| description) }
}

/// pwritev2(2); with an offset of -1 it is writev(2).
pub fn pwritev2(fd: i32, iov: u64, count: i32, offset: i64, _high: u64, flags: i32) -> Result {
    if flags & !RWF_IGNORED != 0 {
        described(fd, offset)?.check_writable()?;
        return Err(EOPNOTSUPP);
    }
    if offset == -1 { file::writev(fd, iov, count) } else { pwritev(fd, iov, count, offset) }
}

/// copy_file_range(2).
pub fn copy_file_range(from_fd: i32, from_at: u64, to_fd: i32, to_at: u64, len: usize, flags: u32) -> Result {
    let invalid = |error| if error == ESPIPE { EINVAL } else { error };
    if flags != 0 {
        fd::get_open(from_fd)?;
        fd::get_open(to_fd)?;
        return Err(EINVAL);
    }
    with(from_fd, |from| {
        with(to_fd, |to| {
            from.check_readable()?;
            to.check_writable()?;
            if to.appends() {
                return Err(EBADF);
            }
            let (from_start, to_start) = (raw_offset_of(from, from_at)?, raw_offset_of(to, to_at)?);
            for start in [from_start, to_start] {
                start.checked_add(len as u64).ok_or(EOVERFLOW)?;
                i64::try_from(start).map_err(|_| EINVAL)?;
            }
            let (from_node, to_node) = (node(from)?, node(to)?);
            if !Arc::ptr_eq(from_node.block(), to_node.block()) {
                return Err(EXDEV);
            }
            let overlaps = from_start < to_start.saturating_add(len as u64)
                && to_start < from_start.saturating_add(len as u64);
            if Arc::ptr_eq(from_node, to_node) && overlaps {
                return Err(EINVAL);
            }
            let done = copy(from, from_start, to, to_start, len)?;
            settle(from, from_at, from_start, done)?;
            settle(to, to_at, to_start, done)?;
            Ok(done as u64)
        })
    })
    .map_err(invalid)
}

/// sendfile(2): from a file to anything that can be written.
pub fn sendfile(to_fd: i32, from_fd: i32, at: u64, len: usize) -> Result {
    let invalid = |error| if matches!(error, ESPIPE | EISDIR) { EINVAL } else { error };
    with(from_fd, |from| {
        from.check_readable()?;
        let start = offset_of(from, at)?;
        let description = fd::get_open(to_fd)?;
        description.check_writable()?;
        let done = match description.downcast::<OpenFile>() {
            Some(to) => {
                to.check_writable()?;
                if to.appends() {
                    return Err(EINVAL);
                }
                let done = copy(from, start, to, to.offset(), len)?;
                to.advance(done);
                done
            }
            None => send(from, start, &description, len)?,
        };
        settle(from, at, start, done)?;
        Ok(done as u64)
    })
    .map_err(invalid)
}

/// Writes octets of a file to an object with buffers of its own.
fn send(from: &OpenFile, start: u64, to: &Description, len: usize) -> Outcome<usize> {
    /// Octets that are read at once.
    const PIECE: usize = 16 * PAGE_SIZE;
    let len = len.min(MAX);
    let mut done = 0;
    while done < len {
        let octets = from.octets(start + done as u64, PIECE.min(len - done))?;
        let there = octets.len();
        if there == 0 {
            break;
        }
        match to.file().write(&mut UserBuffers::of_kernel(octets), to.is_nonblocking()) {
            Ok(written) => {
                done += written;
                if written < there {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        if sched::breathe() {
            break;
        }
    }
    Ok(done)
}

fn node(file: &OpenFile) -> Outcome<&Arc<super::Node>> {
    file.node().ok_or(EINVAL)
}

/// The offset at an address, or, without one, the file's own.
fn offset_of(file: &OpenFile, at: u64) -> Outcome<u64> {
    raw_offset_of(file, at)?.try_into().map(i64::cast_unsigned).map_err(|_| EINVAL)
}

/// The same, whatever is there.
fn raw_offset_of(file: &OpenFile, at: u64) -> Outcome<u64> {
    if at == 0 { Ok(file.offset()) } else { Ok(uaccess::read(at)?) }
}

fn settle(file: &OpenFile, at: u64, start: u64, done: usize) -> Outcome<()> {
    match at {
        0 => file.advance(done),
        at => uaccess::write(at, start + done as u64)?,
    }
    Ok(())
}

/// Most octets of one call (`MAX_RW_COUNT`).
const MAX: usize = 0x7fff_f000;

/// Copies by way of a page of the kernel's.
fn copy(from: &OpenFile, mut from_at: u64, to: &OpenFile, mut to_at: u64, len: usize) -> Outcome<usize> {
    const PAGE: u64 = PAGE_SIZE as u64;
    let to_node = node(to)?;
    to_node.block().check_writable()?;
    if to_at >= i64::MAX as u64 {
        return Err(EFBIG);
    }
    let len = len.min(MAX);
    let (mut done, mut pace) = (0, Pace::new());
    while done < len {
        let octets = from.octets(from_at, (len - done).min(PAGE_SIZE - (to_at % PAGE) as usize))?;
        if octets.is_empty() {
            break;
        }
        match to_node.write_page(to_at / PAGE) {
            Ok(page) => vfs::Page::write(&page, (to_at % PAGE) as usize, &octets),
            Err(_) if done > 0 => break,
            Err(error) => return Err(error.into()),
        }
        from_at += octets.len() as u64;
        to_at += octets.len() as u64;
        done += octets.len();
        to_node.wrote(to_at, now());
        if pace.moved(octets.len()) {
            break;
        }
    }
    Ok(done)
}
