//! futex(2). All futexes are private: there is one address space.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use kernel::sched::thread::Thread;
use kernel::{sched, uaccess};
use sync::SpinLock;

use crate::errno::{EAGAIN, EINVAL, ENOSYS, ETIMEDOUT, Errno, Result};
use crate::table::name_once;
use crate::time;

struct Waiter {
    thread: Arc<Thread>,
    bitset: u32,
}

/// Who waits at which address, first come first. The lock covers the look at the word, too: a waker that changed it
/// before cannot be missed.
static WAITERS: SpinLock<BTreeMap<u64, VecDeque<Waiter>>> = SpinLock::new(BTreeMap::new());

/// futex(2).
pub fn futex(uaddr: u64, op: i32, val: u32, timeout: u64, uaddr2: u64, val3: u32) -> Result {
    const PRIVATE: i32 = 128;
    const CLOCK_REALTIME: i32 = 256;
    if !uaddr.is_multiple_of(4) {
        return Err(EINVAL);
    }
    let realtime = op & CLOCK_REALTIME != 0;
    match op & !(PRIVATE | CLOCK_REALTIME) {
        0 => {
            let deadline = relative(timeout)?;
            wait(uaddr, val, !0, deadline)
        }
        1 => Ok(wake(uaddr, val, !0)),
        3 => requeue(uaddr, val, timeout, uaddr2, None),
        4 => requeue(uaddr, val, timeout, uaddr2, Some(val3)),
        9 => {
            let deadline = absolute(timeout, realtime)?;
            wait(uaddr, val, val3, deadline)
        }
        10 if val3 == 0 => Err(EINVAL),
        10 => Ok(wake(uaddr, val, val3)),
        other => {
            name_once(202, format_args!("futex operation {other} is not implemented (ENOSYS)"));
            Err(ENOSYS)
        }
    }
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
    // Pages the word in, so that the look under the lock does not have to.
    uaccess::read::<u32>(uaddr)?;
    let thread = {
        let mut waiters = WAITERS.lock();
        if uaccess::read::<u32>(uaddr)? != expected {
            return Err(EAGAIN);
        }
        let thread = sched::prepare_wait();
        waiters.entry(uaddr).or_default().push_back(Waiter { thread: thread.clone(), bitset });
        thread
    };
    if !sched::wait(deadline) {
        return Ok(0);
    }
    // Still in a queue? Not necessarily that of `uaddr`: it may have been moved.
    let mut waiters = WAITERS.lock();
    waiters.retain(|_, queue| {
        queue.retain(|waiter| !Arc::ptr_eq(&waiter.thread, &thread));
        !queue.is_empty()
    });
    Err(ETIMEDOUT)
}

/// Wakes up to `count` threads that wait at `uaddr` for any bit of `bitset`; returns how many.
pub fn wake(uaddr: u64, count: u32, bitset: u32) -> u64 {
    let mut waiters = WAITERS.lock();
    let Some(queue) = waiters.get_mut(&uaddr) else { return 0 };
    let mut woken = 0;
    let mut i = 0;
    // Linux wakes one even for a count of 0.
    while i < queue.len() && woken < u64::from(count.max(1)) {
        if queue[i].bitset & bitset == 0 {
            i += 1;
        } else if let Some(waiter) = queue.remove(i) {
            woken += u64::from(sched::wake(&waiter.thread));
        }
    }
    if queue.is_empty() {
        waiters.remove(&uaddr);
    }
    woken
}

fn requeue(uaddr: u64, wake_count: u32, requeue_count: u64, uaddr2: u64, expected: Option<u32>) -> Result {
    if !uaddr2.is_multiple_of(4) || wake_count as i32 <= -1 || (requeue_count as i32) < 0 {
        return Err(EINVAL);
    }
    if let Some(expected) = expected
        && uaccess::read::<u32>(uaddr)? != expected
    {
        return Err(EAGAIN);
    }
    let mut waiters = WAITERS.lock();
    let Some(mut queue) = waiters.remove(&uaddr) else { return Ok(0) };
    let mut woken = 0;
    while woken < u64::from(wake_count) {
        let Some(waiter) = queue.pop_front() else { break };
        woken += u64::from(sched::wake(&waiter.thread));
    }
    let moved = queue.len().min(requeue_count as u32 as usize);
    let to_move: VecDeque<Waiter> = queue.drain(..moved).collect();
    if !to_move.is_empty() {
        waiters.entry(uaddr2).or_default().extend(to_move);
    }
    if !queue.is_empty() {
        let mut rest = queue;
        let back = waiters.entry(uaddr).or_default();
        rest.append(back);
        *back = rest;
    }
    Ok(woken + moved as u64)
}
