//! Locks of files: flock(2) and the locks of fcntl(2).
//!
//! There is one process, so that its own locks (`F_SETLK`) never exclude anything; those of open file descriptions (`F_OFD_SETLK`, flock)
//! do, between descriptions.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use kernel::uaccess;
use sync::SpinLock;

use super::opened::{OpenFile, OpenPath};
use super::{Node, Outcome};
use crate::errno::{EAGAIN, EBADF, EINVAL, ENOLCK, EOVERFLOW, Result};
use crate::fd::{self, Description};
use crate::readiness::{Readiness, events};

/// What a lock is told from others by: locks of different kinds do not see each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flock,
    Description,
}

#[derive(Clone)]
struct Lock {
    kind: Kind,
    /// File system and number of the node.
    node: (u64, u64),
    /// The description, by its address: it lives as long as the lock.
    owner: usize,
    exclusive: bool,
    range: Range<u64>,
}

/// Most locks there may be.
const MAX: usize = 1 << 16;
/// Behind the last octet that a file may have.
const END: u64 = i64::MAX as u64 + 1;

static LOCKS: SpinLock<Vec<Lock>> = SpinLock::new(Vec::new());
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
    let lock = lock_of(&description, Kind::Flock, 0..END)?;
    set(lock, exclusive, operation & NONBLOCKING != 0)
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

/// The last descriptor of a description is gone, and with it its locks.
pub fn forget(description: *const Description) {
    let released = {
        let mut locks = LOCKS.lock();
        let before = locks.len();
        if before == 0 {
            return;
        }
        locks.retain(|lock| lock.owner != description as usize);
        locks.len() < before
    };
    if released {
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
    let wanted = lock_of(description, Kind::Description, flock.range)?;
    // The process' own locks meet those of descriptions alone.
    let owner = if of_description { wanted.owner } else { 0 };
    let wanted = Lock { owner, exclusive: flock.kind == F_WRLCK, ..wanted };
    let found = LOCKS.lock().iter().find(|lock| excludes(lock, &wanted)).cloned();
    let Some(found) = found else {
        uaccess::write(at, F_UNLCK)?;
        return Ok(0);
    };
    let len = if found.range.end == END { 0 } else { found.range.end - found.range.start };
    let kind = if found.exclusive { F_WRLCK } else { F_RDLCK };
    uaccess::write(at, [u64::from(kind), found.range.start, len, u64::from(u32::MAX)])?;
    Ok(0)
}

fn set_lock(description: &Arc<Description>, of_description: bool, nonblocking: bool, at: u64) -> Result {
    let flock = read_flock(description, of_description, at)?;
    let lock = lock_of(description, Kind::Description, flock.range)?;
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
    if !of_description {
        // There is no other process, but the locks of descriptions are in its way, too.
        let Some(exclusive) = exclusive else { return Ok(0) };
        let wanted = Lock { owner: 0, exclusive, ..lock };
        RELEASED.block_on(events::IN, nonblocking, None, || {
            if LOCKS.lock().iter().any(|held| excludes(held, &wanted)) { Err(EAGAIN) } else { Ok(()) }
        })?;
        return Ok(0);
    }
    set(lock, exclusive, nonblocking)
}

fn lock_of(description: &Arc<Description>, kind: Kind, range: Range<u64>) -> Outcome<Lock> {
    if description.downcast::<OpenPath>().is_some() {
        return Err(EBADF);
    }
    let identity = |node: &Arc<Node>| (node.block().device, node.ino());
    // An object without a node is its own.
    let node = description.file().node().map_or((u64::MAX, description.file().stat().inode), identity);
    Ok(Lock { kind, node, owner: Arc::as_ptr(description) as usize, exclusive: false, range })
}

fn excludes(held: &Lock, wanted: &Lock) -> bool {
    held.kind == wanted.kind
        && held.node == wanted.node
        && held.owner != wanted.owner
        && (held.exclusive || wanted.exclusive)
        && held.range.start < wanted.range.end
        && wanted.range.start < held.range.end
}

/// Takes a lock, or, with `None`, gives it up; what the owner had of the range before is replaced.
fn set(lock: Lock, exclusive: Option<bool>, nonblocking: bool) -> Result {
    let Some(exclusive) = exclusive else {
        replace(&mut LOCKS.lock(), &lock, false)?;
        RELEASED.notify(events::IN);
        return Ok(0);
    };
    let lock = Lock { exclusive, ..lock };
    // flock(2) converts by giving up first, so that two who convert do not wait for each other.
    if lock.kind == Kind::Flock && !nonblocking {
        replace(&mut LOCKS.lock(), &lock, false)?;
        RELEASED.notify(events::IN);
    }
    RELEASED.block_on(events::IN, nonblocking, None, || {
        let mut locks = LOCKS.lock();
        if locks.iter().any(|held| excludes(held, &lock)) {
            return Err(EAGAIN);
        }
        replace(&mut locks, &lock, true)
    })?;
    RELEASED.notify(events::IN);
    Ok(0)
}

/// Cuts the range out of what the owner has, and adds the lock.
fn replace(locks: &mut Vec<Lock>, lock: &Lock, add: bool) -> Outcome<()> {
    locks.try_reserve(2).map_err(|_| ENOLCK)?;
    let is_own = |held: &Lock| held.kind == lock.kind && held.node == lock.node && held.owner == lock.owner;
    // What is given up in the midst of a lock makes two of it.
    let splits =
        |held: &Lock| is_own(held) && held.range.start < lock.range.start && lock.range.end < held.range.end;
    if locks.len() >= MAX && (add || locks.iter().any(splits)) {
        return Err(ENOLCK);
    }
    let mut at = 0;
    while at < locks.len() {
        let held = &locks[at];
        if !is_own(held) || held.range.end <= lock.range.start || lock.range.end <= held.range.start {
            at += 1;
            continue;
        }
        let held = locks.swap_remove(at);
        let parts = [held.range.start..lock.range.start, lock.range.end..held.range.end];
        for range in parts.into_iter().filter(|range| range.start < range.end) {
            locks.push(Lock { range, ..held.clone() });
        }
    }
    if add {
        locks.push(lock.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: usize, range: Range<u64>, exclusive: bool) -> Lock {
        Lock { kind: Kind::Description, node: (1, 1), owner, exclusive, range }
    }

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

    #[test]
    fn the_most_locks_are_not_exceeded_by_giving_up_either() {
        let mut locks: Vec<_> = (0..MAX as u64).map(|at| lock(1, at * 10..at * 10 + 9, true)).collect();
        assert_eq!(replace(&mut locks, &lock(1, 3..5, true), false), Err(ENOLCK));
        assert_eq!(replace(&mut locks, &lock(1, 0..9, true), false), Ok(()));
        assert_eq!(locks.len(), MAX - 1);
    }

    #[test]
    fn ranges_are_cut() {
        let mut locks = Vec::new();
        replace(&mut locks, &lock(1, 0..100, true), true).unwrap();
        replace(&mut locks, &lock(1, 40..60, true), false).unwrap();
        let mut ranges: Vec<_> = locks.iter().map(|lock| (lock.range.start, lock.range.end)).collect();
        ranges.sort_unstable();
        assert_eq!(ranges, [(0, 40), (60, 100)]);
        assert!(locks.iter().any(|held| excludes(held, &lock(2, 30..50, false))));
        assert!(!locks.iter().any(|held| excludes(held, &lock(2, 40..60, true))));
        assert!(!locks.iter().any(|held| excludes(held, &lock(1, 0..100, true))));
    }
}
