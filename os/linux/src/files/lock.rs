//! Locks of files: flock(2) and the locks of fcntl(2).
//!
//! There is one process, so that its own locks (`F_SETLK`) do not exclude each other; they and those of open file descriptions
//! (`F_OFD_SETLK`) do, and those of descriptions each other. flock(2) is apart.

mod table;

use alloc::sync::Arc;
use core::ops::Range;

use kernel::mm::pages;
use kernel::{sched, uaccess};
use sync::SpinLock;

use self::table::{FileId, Held, Kind, Locks, Owner, TooMany, Wanted};
use super::opened::{OpenFile, OpenPath};
use super::{Node, Outcome};
use crate::errno::{EAGAIN, EBADF, EINVAL, ENOLCK, EOVERFLOW, Result};
use crate::fd::{self, Description};
use crate::process::PID;
use crate::readiness::{Readiness, events};

/// Behind the last octet that a file may have.
const END: u64 = i64::MAX as u64 + 1;
/// Octets of the kernel's heap that a lock is taken to cost.
const COST: usize = 64;

static LOCKS: SpinLock<Locks> = SpinLock::new(Locks::new());
static RELEASED: Readiness = Readiness::new();

/// flock(2).
pub fn flock(fd: i32, operation: i32) -> Result {
    const SHARED: i32 = 1;
    const EXCLUSIVE: i32 = 2;
    const NONBLOCKING: i32 = 4;
    const UNLOCK: i32 = 8;
    let exclusive = match operation & !NONBLOCKING {
        SHARED => Some(false),
        EXCLUSIVE => Some(true),
        UNLOCK => None,
        _ => return Err(EINVAL),
    };
    let description = fd::get(fd)?;
    let wanted = wanted(&description, Kind::Flock, 0..END)?;
    set(&wanted, exclusive, operation & NONBLOCKING != 0)
}

/// The lock operations of fcntl(2). `None`: it is none of them.
pub fn fcntl(description: &Arc<Description>, op: i32, arg: u64) -> Option<Result> {
    const GETLK: i32 = 5;
    const SETLK: i32 = 6;
    const SETLKW: i32 = 7;
    const OFD_GETLK: i32 = 36;
    const OFD_SETLK: i32 = 37;
    const OFD_SETLKW: i32 = 38;
    match op {
        GETLK | OFD_GETLK => Some(get_lock(description, op == OFD_GETLK, arg)),
        SETLK | SETLKW | OFD_SETLK | OFD_SETLKW => {
            let of_description = matches!(op, OFD_SETLK | OFD_SETLKW);
            Some(set_lock(description, of_description, !matches!(op, SETLKW | OFD_SETLKW), arg))
        }
        _ => None,
    }
}

/// A descriptor of a file was closed: the process has no locks of the file any more, whatever other descriptors it has (fcntl(2)).
pub fn closed(description: &Description) {
    release(description, Kind::Record, Owner::Process);
}

/// The last descriptor of a description is gone, and with it its locks.
pub fn forget(description: &Description) {
    let owner = owner_of(description);
    release(description, Kind::Record, owner);
    release(description, Kind::Flock, owner);
}

/// Takes all locks that an owner has of a file from it.
fn release(description: &Description, kind: Kind, owner: Owner) {
    let file = file_of(description);
    let released = LOCKS.lock().release(kind, file, owner);
    if released.len() > 0 {
        pages::take_back(released.len() * COST);
        RELEASED.notify(events::IN);
    }
}

/// `struct flock`: type and origin, start, length, process.
struct Flock {
    kind: u16,
    range: Range<u64>,
}

const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;

fn read_flock(description: &Description, of_description: bool, at: u64) -> Outcome<Flock> {
    let [kinds, start, len, pid] = uaccess::read::<[u64; 4]>(at)?;
    let base = match kinds >> 16 & 0xffff {
        0 => 0,
        1 => description.downcast::<OpenFile>().map_or(0, OpenFile::offset),
        2 => description.downcast::<OpenFile>().map_or(0, OpenFile::size),
        _ => return Err(EINVAL),
    };
    if of_description && pid as u32 != 0 {
        return Err(EINVAL);
    }
    Ok(Flock { kind: kinds as u16, range: range(base, start as i64, len as i64)? })
}

/// The octets that `l_start` and `l_len` mean, from `base` on: `EOVERFLOW` behind the last octet, `EINVAL` before the first.
fn range(base: u64, start: i64, len: i64) -> Outcome<Range<u64>> {
    let start = base.checked_add_signed(start).ok_or(EINVAL)?;
    if start >= END {
        return Err(EOVERFLOW);
    }
    match len {
        0 => Ok(start..END),
        len if len > 0 => match start + len.unsigned_abs() {
            end if end > END => Err(EOVERFLOW),
            end => Ok(start..end),
        },
        len => Ok(start.checked_add_signed(len).ok_or(EINVAL)?..start),
    }
}

fn get_lock(description: &Arc<Description>, of_description: bool, at: u64) -> Result {
    let flock = read_flock(description, of_description, at)?;
    if flock.kind > F_WRLCK {
        return Err(EINVAL);
    }
    let mut wanted = wanted(description, Kind::Record, flock.range)?;
    if !of_description {
        wanted.owner = Owner::Process;
    }
    let found = LOCKS.lock().in_the_way(&wanted, flock.kind == F_WRLCK);
    let Some(found) = found else {
        uaccess::write(at, F_UNLCK)?;
        return Ok(0);
    };
    let Held { owner, range, exclusive } = found;
    let len = if range.end == END { 0 } else { range.end - range.start };
    let kind = if exclusive { F_WRLCK } else { F_RDLCK };
    // A description's lock is nobody's, -1.
    let pid = if owner == Owner::Process { PID as u32 } else { u32::MAX };
    uaccess::write(at, [u64::from(kind), range.start, len, pid.into()])?;
    Ok(0)
}

fn set_lock(description: &Arc<Description>, of_description: bool, nonblocking: bool, at: u64) -> Result {
    let flock = read_flock(description, of_description, at)?;
    let mut wanted = wanted(description, Kind::Record, flock.range)?;
    if !of_description {
        wanted.owner = Owner::Process;
    }
    let exclusive = match flock.kind {
        F_RDLCK => Some(false),
        F_WRLCK => Some(true),
        F_UNLCK => None,
        _ => return Err(EINVAL),
    };
    match exclusive {
        Some(true) => description.check_writable()?,
        Some(false) => description.check_readable()?,
        None => {}
    }
    set(&wanted, exclusive, nonblocking)
}

fn wanted(description: &Arc<Description>, kind: Kind, range: Range<u64>) -> Outcome<Wanted> {
    if description.downcast::<OpenPath>().is_some() {
        return Err(EBADF);
    }
    Ok(Wanted { kind, file: file_of(description), owner: owner_of(description), range })
}

fn owner_of(description: &Description) -> Owner {
    Owner::Description(core::ptr::from_ref(description).addr())
}

/// What tells the file of a description from others. An object without a node is its own.
fn file_of(description: &Description) -> FileId {
    let identity = |node: &Arc<Node>| (node.block().device, node.ino());
    let file = description.file();
    file.node().map_or_else(|| (u64::MAX, file.stat().inode), identity)
}

/// Takes a lock, or, with `None`, gives it up; what the owner had of the range before is replaced.
fn set(wanted: &Wanted, exclusive: Option<bool>, nonblocking: bool) -> Result {
    let Some(exclusive) = exclusive else {
        change(&mut LOCKS.lock(), wanted, false, |locks| {
            locks.clear(wanted, CLEARED_AT_ONCE);
        })?;
        clear(wanted);
        return Ok(0);
    };
    // flock(2) converts by giving up first, so that two who convert do not wait for each other.
    if wanted.kind == Kind::Flock && !nonblocking {
        clear(wanted);
    }
    RELEASED.block_on(events::IN, nonblocking, None, || {
        let mut locks = LOCKS.lock();
        if locks.in_the_way(wanted, exclusive).is_some() {
            return Err(EAGAIN);
        }
        change(&mut locks, wanted, true, |locks| locks.set(wanted, exclusive))
    })?;
    // What was exclusive may be shared now.
    RELEASED.notify(events::IN);
    Ok(0)
}

/// Locks that are cleared before others may run.
const CLEARED_AT_ONCE: usize = 256;

/// Takes what the owner has of a range, which is not in the midst of a lock. Others run meanwhile.
fn clear(wanted: &Wanted) {
    while {
        let mut locks = LOCKS.lock();
        let before = locks.len();
        let more = locks.clear(wanted, CLEARED_AT_ONCE);
        pages::take_back(before.saturating_sub(locks.len()) * COST);
        more
    } {
        sched::breathe();
    }
    RELEASED.notify(events::IN);
}

/// Makes a change for whose locks there is memory.
fn change(locks: &mut Locks, wanted: &Wanted, sets: bool, make: impl FnOnce(&mut Locks)) -> Outcome<()> {
    let more = locks.growth(wanted, sets).map_err(|TooMany| ENOLCK)?;
    if more > 0 && !pages::promise(more * COST) {
        return Err(ENOLCK);
    }
    let most = locks.len() + more;
    make(locks);
    pages::take_back(most.saturating_sub(locks.len()) * COST);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_files_do() {
        assert_eq!(range(0, i64::MAX, 0), Ok(END - 1..END));
        assert_eq!(range(0, i64::MAX, 1), Ok(END - 1..END));
        assert_eq!(range(0, i64::MAX, 2), Err(EOVERFLOW));
        assert_eq!(range(1, i64::MAX, 1), Err(EOVERFLOW));
        assert_eq!(range(10, -11, 1), Err(EINVAL));
        assert_eq!(range(10, 0, -10), Ok(0..10));
        assert_eq!(range(10, 0, -11), Err(EINVAL));
    }
}
