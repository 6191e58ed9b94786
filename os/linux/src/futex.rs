//! futex(2). All futexes are private: there is one address space.

use alloc::vec::Vec;

use kernel::sched::Wake;
use kernel::{sched, uaccess};
use sync::SpinLock;

use crate::errno::{EAGAIN, EINVAL, ENOMEM, ENOSYS, ERESTARTNOHAND, ERESTARTSYS, ETIMEDOUT, Errno, Result};
use crate::table::name_once;
use crate::time;

struct Waiter {
    address: u64,
    wait: sched::Waiter,
    bitset: u32,
}

/// Who waits, in buckets by address, first come first. A bucket's lock covers the look at the word, too: a waker that
/// changed it before cannot be missed.
static BUCKETS: [SpinLock<Vec<Waiter>>; 64] = [const { SpinLock::new(Vec::new()) }; 64];

fn bucket_index(address: u64) -> usize {
    // Multiplicative hashing (Knuth, vol. 3 § 6.4): the top bits depend on all of the address.
    ((address / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}

/// futex(2).
pub fn futex(uaddr: u64, op: i32, val: u32, timeout: u64, uaddr2: u64, val3: u32) -> Result {
    const PRIVATE: i32 = 128;
    const CLOCK_REALTIME: i32 = 256;
    let realtime = op & CLOCK_REALTIME != 0;
    match op & !(PRIVATE | CLOCK_REALTIME) {
        0..=8 | 10 if realtime => Err(ENOSYS),
        0 => {
            let deadline = relative(timeout)?;
            wait(uaddr, val, !0, deadline)
        }
        1 => {
            check(uaddr)?;
            Ok(wake(uaddr, val, !0))
        }
        3 => requeue(uaddr, val, timeout, uaddr2, None),
        4 => requeue(uaddr, val, timeout, uaddr2, Some(val3)),
        9 => {
            let deadline = absolute(timeout, realtime)?;
            wait(uaddr, val, val3, deadline)
        }
        10 if val3 == 0 => Err(EINVAL),
        10 => {
            check(uaddr)?;
            Ok(wake(uaddr, val, val3))
        }
        other => {
            name_once(202, format_args!("futex operation {other} is not implemented (ENOSYS)"));
            Err(ENOSYS)
        }
    }
}

/// Whether a word can be at an address at all. It need not be mapped for a wake.
fn check(uaddr: u64) -> core::result::Result<(), Errno> {
    if !uaddr.is_multiple_of(4) {
        return Err(EINVAL);
    }
    Ok(uaccess::check_range(uaddr, 4)?)
}

fn relative(timeout: u64) -> core::result::Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    Ok(Some(kernel::time::now_ns().saturating_add(time::read_timespec(timeout)?)))
}

fn absolute(timeout: u64, realtime: bool) -> core::result::Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    let at = time::read_timespec(timeout)?;
    let offset = if realtime { kernel::time::realtime_offset_ns() } else { 0 };
    Ok(Some(at.saturating_sub(offset)))
}

fn wait(uaddr: u64, expected: u32, bitset: u32, deadline: Option<u64>) -> Result {
    if bitset == 0 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    // Pages the word in, so that the look under the lock does not have to.
    uaccess::read::<u32>(uaddr)?;
    let waiter = {
        let mut bucket = BUCKETS[bucket_index(uaddr)].lock();
        if uaccess::read::<u32>(uaddr)? != expected {
            return Err(EAGAIN);
        }
        bucket.try_reserve(1).map_err(|_| ENOMEM)?;
        let wait = sched::prepare_wait();
        bucket.push(Waiter { address: uaddr, wait: wait.clone(), bitset });
        wait
    };
    let wake = sched::wait(deadline);
    if wake == Wake::Woken {
        return Ok(0);
    }
    // Still in a bucket, and not necessarily that of `uaddr`: it may have been moved.
    for bucket in &BUCKETS {
        bucket.lock().retain(|other| !other.wait.is_same_thread(&waiter));
    }
    match (wake, deadline) {
        (Wake::Deadline, _) => Err(ETIMEDOUT),
        (_, None) => Err(ERESTARTSYS),
        (_, Some(_)) => Err(ERESTARTNOHAND),
    }
}

/// Wakes up to `count` threads that wait at `uaddr` for any bit of `bitset`; returns how many.
pub fn wake(uaddr: u64, count: u32, bitset: u32) -> u64 {
    let mut woken = 0;
    BUCKETS[bucket_index(uaddr)].lock().retain(|waiter| {
        // Linux wakes one even for a count of 0.
        let wanted =
            waiter.address == uaddr && waiter.bitset & bitset != 0 && woken < u64::from(count.max(1));
        if wanted {
            woken += u64::from(sched::wake(&waiter.wait));
        }
        !wanted
    });
    woken
}

/// Wakes up to `wake_count` threads that wait at `uaddr` and has up to `requeue_count` others wait at `uaddr2`.
fn requeue(uaddr: u64, wake_count: u32, requeue_count: u64, uaddr2: u64, expected: Option<u32>) -> Result {
    if (wake_count as i32) < 0 || (requeue_count as i32) < 0 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    check(uaddr2)?;
    if let Some(expected) = expected
        && uaccess::read::<u32>(uaddr)? != expected
    {
        return Err(EAGAIN);
    }
    let (mut woken, mut moved) = (0, Vec::new());
    BUCKETS[bucket_index(uaddr)].lock().retain(|waiter| {
        if waiter.address != uaddr {
            return true;
        }
        if woken < u64::from(wake_count) {
            woken += u64::from(sched::wake(&waiter.wait));
            return false;
        }
        if moved.len() < requeue_count as u32 as usize {
            let (wait, bitset) = (waiter.wait.clone(), waiter.bitset);
            moved.push(Waiter { address: uaddr2, wait, bitset });
            return false;
        }
        true
    });
    let count = moved.len() as u64;
    BUCKETS[bucket_index(uaddr2)].lock().append(&mut moved);
    Ok(woken + count)
}
