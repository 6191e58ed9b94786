//! Resource limits: getrlimit(2).
//!
//! All can be read and set. `RLIMIT_NOFILE` bounds poll(2), `RLIMIT_SIGPENDING` each queue of real-time signals and the
//! number of timers; the others limit nothing: RAM does.

use kernel::{sched, uaccess};
use sync::SpinLock;

use crate::errno::{EINVAL, EPERM, ESRCH, Errno, Result};
use crate::process::PID;

const STACK: usize = 3;
const CORE: usize = 4;
const NOFILE: usize = 7;
const SIGPENDING: usize = 11;
const MSGQUEUE: usize = 12;
const NICE: usize = 13;
const RTPRIO: usize = 14;
const COUNT: usize = 16;

/// No limit.
const INFINITY: u64 = u64::MAX;
/// The highest `RLIMIT_NOFILE` (`fs.nr_open` on Linux).
const NOFILE_MAX: u64 = 1 << 20;

/// `struct rlimit`: the soft limit, which counts, and the hard one, up to which it may be raised.
type Limit = [u64; 2];

static LIMITS: SpinLock<[Limit; COUNT]> = SpinLock::new({
    let mut limits = [[INFINITY; 2]; COUNT];
    limits[STACK] = [kernel::mm::STACK_SIZE, INFINITY];
    limits[CORE] = [0, INFINITY];
    // As systemd has it: select(2) knows no more than 1024, and who does without it raises the limit.
    limits[NOFILE] = [1024, 524_288];
    limits[SIGPENDING] = [1024, 1024];
    limits[MSGQUEUE] = [0, 0];
    limits[NICE] = [0, 0];
    limits[RTPRIO] = [0, 0];
    limits
});

/// How many file descriptors there may be.
pub fn files() -> u64 {
    LIMITS.lock()[NOFILE][0]
}

/// How many real-time signals may be queued at one place, and how many timers there may be.
pub fn signals() -> usize {
    /// Whatever the program sets: kernel memory stays bounded.
    const MOST: u64 = 1 << 16;
    LIMITS.lock()[SIGPENDING][0].min(MOST) as usize
}

/// getrlimit(2).
pub fn getrlimit(resource: u32, old: u64) -> Result {
    let limit = exchange(resource, None)?;
    uaccess::write(old, limit)?;
    Ok(0)
}

/// setrlimit(2).
pub fn setrlimit(resource: u32, new: u64) -> Result {
    exchange(resource, Some(uaccess::read(new)?))?;
    Ok(0)
}

/// prlimit(2).
pub fn prlimit64(pid: i32, resource: u32, new: u64, old: u64) -> Result {
    let new = if new == 0 { None } else { Some(uaccess::read(new)?) };
    if pid != 0 && pid as u64 != PID && sched::find(pid as u32).is_none() {
        return Err(ESRCH);
    }
    let before = exchange(resource, new)?;
    if old != 0 {
        uaccess::write(old, before)?;
    }
    Ok(0)
}

/// Sets a limit, if there is a new one; returns the old one.
fn exchange(resource: u32, new: Option<Limit>) -> core::result::Result<Limit, Errno> {
    let mut limits = LIMITS.lock();
    let limit = limits.get_mut(resource as usize).ok_or(EINVAL)?;
    let before = *limit;
    if let Some([soft, hard]) = new {
        if soft > hard {
            return Err(EINVAL);
        }
        if resource as usize == NOFILE && hard > NOFILE_MAX {
            return Err(EPERM);
        }
        // Raising the hard limit takes CAP_SYS_RESOURCE: the program is root.
        *limit = [soft, hard];
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_exchanged_only_if_it_is_one() {
        let as_u32 = NOFILE as u32;
        let before = exchange(as_u32, None).unwrap();
        assert_eq!(exchange(as_u32, Some([2, 1])), Err(EINVAL));
        assert_eq!(exchange(as_u32, Some([1, NOFILE_MAX + 1])), Err(EPERM));
        assert_eq!(exchange(COUNT as u32, None), Err(EINVAL));
        assert_eq!(exchange(as_u32, Some([77, 100])), Ok(before));
        assert_eq!((files(), exchange(as_u32, Some(before))), (77, Ok([77, 100])));
    }

    #[test]
    fn a_limit_of_signals_is_bounded_whatever_is_set() {
        let before = exchange(SIGPENDING as u32, Some([INFINITY, INFINITY])).unwrap();
        assert_eq!(signals(), 1 << 16);
        exchange(SIGPENDING as u32, Some(before)).unwrap();
    }
}
