//! futex(2). All futexes are private: there is one address space.
//!
//! Who waits stands in a bucket, found by the address, a [`WaitList`]; a bucket's lock covers the look at the word, too, so that
//! a waker that changed it before cannot be missed. Under the lock the word is never paged in: where its page is missing, the lock is
//! opened, the page brought, and all of it done again. Waking allocates nothing.
//!
//! Lock order: buckets by their index, then the waits of [`pi`], then threads and run queues.

pub mod pi;
pub mod robust;
pub mod waitv;

use kernel::mm::Access;
use kernel::sched;
use kernel::sched::{Waiter, Wake};
use kernel::uaccess::{self, Fault};
use sync::{Requeued, WaitList, Waiters};

use crate::errno::{
    EAGAIN, EINVAL, ENOMEM, ENOSYS, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, ETIMEDOUT, Errno, Result,
};
use crate::table::name_once;
use crate::time;

/// What a waiter waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A wake-up.
    Plain,
    /// To be moved to the priority-inheriting futex at this address (`FUTEX_WAIT_REQUEUE_PI`).
    RequeuePi(u64),
    /// A wake-up at one of several addresses (futex_waitv(2)): its index.
    Vector(usize),
}

struct FutexWaiter {
    waiter: Waiter,
    bitset: u32,
    kind: Kind,
}

impl FutexWaiter {
    fn is_of(&self, waiter: &Waiter) -> bool {
        self.waiter.is_same_thread(waiter)
    }

    fn wake(&self) {
        sched::wake(&self.waiter);
    }
}

type Bucket = Waiters<u64, FutexWaiter>;

/// Who waits, by address.
static BUCKETS: [WaitList<u64, FutexWaiter>; 64] = [const { WaitList::new() }; 64];

fn bucket(address: u64) -> &'static WaitList<u64, FutexWaiter> {
    // Multiplicative hashing (Knuth, vol. 3 § 6.4): the top bits depend on all of the address.
    &BUCKETS[((address / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize]
}

/// Why a step under a lock did not come to its end.
enum Stopped {
    /// A word's page is missing: bring it in for this access, and do it again.
    Fault(u64, Access),
    /// Another CPU was quicker: do it again.
    Changed,
    /// This is the call's error.
    Failed(Errno),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// Does `step`, which locks what it needs, until it comes to an end.
fn retry<R>(mut step: impl FnMut() -> core::result::Result<R, Stopped>) -> core::result::Result<R, Errno> {
    loop {
        match step() {
            Ok(result) => return Ok(result),
            Err(Stopped::Fault(address, access)) => uaccess::page_in_word(address, access)?,
            Err(Stopped::Changed) => core::hint::spin_loop(),
            Err(Stopped::Failed(errno)) => return Err(errno),
        }
    }
}

/// The word at an address, under a lock.
fn look(address: u64) -> core::result::Result<u32, Stopped> {
    uaccess::try_read_word(address).map_err(|Fault| Stopped::Fault(address, Access::Read))
}

/// Replaces a word, under a lock; [`Stopped::Changed`] if it was not `old`.
fn replace(address: u64, old: u32, new: u32) -> core::result::Result<(), Stopped> {
    match uaccess::try_compare_exchange(address, old, new) {
        Ok(found) if found == old => Ok(()),
        Ok(_) => Err(Stopped::Changed),
        Err(Fault) => Err(Stopped::Fault(address, Access::Write)),
    }
}

/// futex(2).
pub fn futex(uaddr: u64, op: i32, val: u32, timeout: u64, uaddr2: u64, val3: u32) -> Result {
    const PRIVATE: i32 = 128;
    const CLOCK_REALTIME: i32 = 256;
    const WAIT: i32 = 0;
    const WAKE: i32 = 1;
    const REQUEUE: i32 = 3;
    const CMP_REQUEUE: i32 = 4;
    const WAKE_OP: i32 = 5;
    const LOCK_PI: i32 = 6;
    const UNLOCK_PI: i32 = 7;
    const TRYLOCK_PI: i32 = 8;
    const WAIT_BITSET: i32 = 9;
    const WAKE_BITSET: i32 = 10;
    const WAIT_REQUEUE_PI: i32 = 11;
    const CMP_REQUEUE_PI: i32 = 12;
    const LOCK_PI2: i32 = 13;
    let realtime = op & CLOCK_REALTIME != 0;
    let op = op & !(PRIVATE | CLOCK_REALTIME);
    if realtime && !matches!(op, WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2) {
        return Err(ENOSYS);
    }
    match op {
        WAIT => wait(uaddr, val, !0, relative(timeout)?),
        WAIT_BITSET => wait(uaddr, val, val3, absolute(timeout, realtime)?),
        WAKE => wake_call(uaddr, val, !0),
        WAKE_BITSET if val3 == 0 => Err(EINVAL),
        WAKE_BITSET => wake_call(uaddr, val, val3),
        WAKE_OP => wake_op(uaddr, val, timeout as u32, uaddr2, val3),
        REQUEUE => requeue(uaddr, val, timeout, uaddr2, None),
        CMP_REQUEUE => requeue(uaddr, val, timeout, uaddr2, Some(val3)),
        LOCK_PI => pi::lock(uaddr, absolute(timeout, true)?),
        LOCK_PI2 => pi::lock(uaddr, absolute(timeout, realtime)?),
        TRYLOCK_PI => pi::try_lock(uaddr),
        UNLOCK_PI => pi::unlock(uaddr),
        WAIT_REQUEUE_PI => wait_requeue_pi(uaddr, val, val3, absolute(timeout, realtime)?, uaddr2),
        CMP_REQUEUE_PI => requeue_pi(uaddr, val, timeout as i32, uaddr2, val3),
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

/// A moment on the realtime or the monotonic clock, as one on the monotonic clock. 0: none.
fn absolute(timeout: u64, realtime: bool) -> core::result::Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    let at = time::read_timespec(timeout)?;
    let offset = if realtime { kernel::time::realtime_offset_ns() } else { 0 };
    Ok(Some(at.saturating_sub(offset)))
}

/// Puts the current thread into a bucket if the word is `expected`.
fn enter(uaddr: u64, expected: u32, bitset: u32, kind: Kind) -> core::result::Result<Waiter, Errno> {
    retry(|| {
        let mut bucket = bucket(uaddr).lock();
        if look(uaddr)? != expected {
            return Err(EAGAIN.into());
        }
        bucket.reserve().map_err(|_| ENOMEM)?;
        let waiter = sched::prepare_wait();
        bucket.enter(uaddr, FutexWaiter { waiter: waiter.clone(), bitset, kind });
        Ok(waiter)
    })
}

/// Takes the current thread out of the buckets, wherever it was moved; false if it was in none.
fn leave(waiter: &Waiter) -> bool {
    BUCKETS.iter().any(|bucket| bucket.lock().leave(|entry| entry.is_of(waiter)))
}

fn wait(uaddr: u64, expected: u32, bitset: u32, deadline: Option<u64>) -> Result {
    if bitset == 0 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    let waiter = enter(uaddr, expected, bitset, Kind::Plain)?;
    let wake = sched::wait(deadline);
    // Whoever took it out of the bucket has counted it as woken, even if the deadline was the quicker one.
    if wake == Wake::Woken || !leave(&waiter) {
        return Ok(0);
    }
    match (wake, deadline) {
        (Wake::Deadline, _) => Err(ETIMEDOUT),
        (_, None) => Err(ERESTARTSYS),
        (_, Some(_)) => Err(ERESTARTNOHAND),
    }
}

/// Wakes up to `count` threads that wait at `uaddr` for any bit of `bitset`; returns how many.
pub fn wake(uaddr: u64, count: u32, bitset: u32) -> u64 {
    wake_in(&mut bucket(uaddr).lock(), uaddr, count, bitset)
}

fn wake_in(bucket: &mut Bucket, uaddr: u64, count: u32, bitset: u32) -> u64 {
    // Linux wakes one even for a count of 0.
    let max = count.max(1) as usize;
    bucket.wake(uaddr, max, |entry| entry.bitset & bitset != 0, FutexWaiter::wake) as u64
}

/// Refuses an address where threads wait for a priority-inheriting futex: there a wake-up would hand nothing over.
fn check_plain(bucket: &Bucket, uaddr: u64) -> core::result::Result<(), Errno> {
    let plain = |entry: &FutexWaiter| !matches!(entry.kind, Kind::RequeuePi(_));
    if bucket.at(uaddr).all(plain) && !pi::is_waited_for(uaddr) { Ok(()) } else { Err(EINVAL) }
}

fn wake_call(uaddr: u64, count: u32, bitset: u32) -> Result {
    check(uaddr)?;
    let mut bucket = bucket(uaddr).lock();
    check_plain(&bucket, uaddr)?;
    Ok(wake_in(&mut bucket, uaddr, count, bitset))
}

/// What `FUTEX_WAKE_OP` does to the word at the second address (`FUTEX_OP` in futex(2)).
struct WordOperation {
    operation: u32,
    operand: u32,
    comparison: u32,
    comparand: i32,
}

impl WordOperation {
    fn new(encoded: u32) -> Self {
        /// The operand is a bit's number.
        const SHIFT: u32 = 8;
        let operation = encoded >> 28;
        // 12 bits each, with sign.
        let operand = (encoded << 8) as i32 >> 20;
        let comparand = (encoded << 20) as i32 >> 20;
        let operand = if operation & SHIFT != 0 { 1 << (operand & 31) } else { operand as u32 };
        Self { operation: operation & !SHIFT, operand, comparison: encoded >> 24 & 0xf, comparand }
    }

    fn apply(&self, word: u32) -> core::result::Result<u32, Errno> {
        match self.operation {
            0 => Ok(self.operand),
            1 => Ok(word.wrapping_add(self.operand)),
            2 => Ok(word | self.operand),
            3 => Ok(word & !self.operand),
            4 => Ok(word ^ self.operand),
            _ => Err(ENOSYS),
        }
    }

    fn holds(&self, word: u32) -> core::result::Result<bool, Errno> {
        let word = word as i32;
        match self.comparison {
            0 => Ok(word == self.comparand),
            1 => Ok(word != self.comparand),
            2 => Ok(word < self.comparand),
            3 => Ok(word <= self.comparand),
            4 => Ok(word > self.comparand),
            5 => Ok(word >= self.comparand),
            _ => Err(ENOSYS),
        }
    }
}

/// Changes the word at `uaddr2`, wakes at `uaddr`, and at `uaddr2` if the old word was as asked for.
fn wake_op(uaddr: u64, count: u32, count2: u32, uaddr2: u64, encoded: u32) -> Result {
    check(uaddr)?;
    check(uaddr2)?;
    let operation = WordOperation::new(encoded);
    retry(|| {
        bucket(uaddr).with_both(bucket(uaddr2), |first, second| {
            check_plain(first, uaddr)?;
            check_plain(second.as_deref().unwrap_or(first), uaddr2)?;
            let old = look(uaddr2)?;
            replace(uaddr2, old, operation.apply(old)?)?;
            let also_there = operation.holds(old)?;
            let mut woken = wake_in(first, uaddr, count, !0);
            if also_there {
                woken += wake_in(second.unwrap_or(first), uaddr2, count2, !0);
            }
            Ok(woken)
        })
    })
}

/// Wakes up to `wake_count` threads that wait at `uaddr` and has up to `requeue_count` others wait at `uaddr2`.
fn requeue(uaddr: u64, wake_count: u32, requeue_count: u64, uaddr2: u64, expected: Option<u32>) -> Result {
    if (wake_count as i32) < 0 || (requeue_count as i32) < 0 {
        return Err(EINVAL);
    }
    let max = Requeued { woken: wake_count as usize, moved: requeue_count as u32 as usize };
    check(uaddr)?;
    check(uaddr2)?;
    retry(|| {
        bucket(uaddr).with_both(bucket(uaddr2), |from, to| {
            if let Some(expected) = expected
                && look(uaddr)? != expected
            {
                return Err(EAGAIN.into());
            }
            check_plain(from, uaddr)?;
            let waits = |entry: &FutexWaiter| entry.waiter.is_waiting();
            let done = from.requeue(uaddr, to, uaddr2, max, FutexWaiter::wake, waits).map_err(|_| ENOMEM)?;
            Ok((done.woken + done.moved) as u64)
        })
    })
}

/// Waits to be moved to the priority-inheriting futex at `uaddr2`, and then for that (`FUTEX_WAIT_REQUEUE_PI`).
fn wait_requeue_pi(uaddr: u64, expected: u32, bitset: u32, deadline: Option<u64>, uaddr2: u64) -> Result {
    if uaddr == uaddr2 || bitset == 0 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    check(uaddr2)?;
    let waiter = enter(uaddr, expected, bitset, Kind::RequeuePi(uaddr2))?;
    let wake = sched::wait(deadline);
    // A waiter goes from the bucket to the waits of `pi` and from there to its lock, never back: looked at in this order.
    if leave(&waiter) {
        return Err(if wake == Wake::Deadline { ETIMEDOUT } else { ERESTARTNOINTR });
    }
    match (pi::settle(&waiter, uaddr2)?, wake) {
        (true, _) => Ok(0),
        (false, Wake::Deadline) => Err(ETIMEDOUT),
        (false, _) => Err(EAGAIN),
    }
}

/// Hands the priority-inheriting futex at `uaddr2` to the first of those that wait at `uaddr`, or has it wait there, with up
/// to `requeue_count` others (`FUTEX_CMP_REQUEUE_PI`).
fn requeue_pi(uaddr: u64, wake_count: u32, requeue_count: i32, uaddr2: u64, expected: u32) -> Result {
    let Ok(requeue_count) = usize::try_from(requeue_count) else { return Err(EINVAL) };
    if wake_count != 1 || uaddr == uaddr2 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    check(uaddr2)?;
    retry(|| {
        let mut bucket = bucket(uaddr).lock();
        if look(uaddr)? != expected {
            return Err(EAGAIN.into());
        }
        if bucket.at(uaddr).any(|entry| entry.kind != Kind::RequeuePi(uaddr2)) {
            return Err(EINVAL.into());
        }
        let waiters = bucket.at(uaddr).map(|entry| &entry.waiter);
        let count = pi::adopt(uaddr2, waiters.take(requeue_count.saturating_add(1)))?;
        // They wait at the other one now, or have it.
        bucket.wake(uaddr, count, |_| true, |_| ());
        Ok(count as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `FUTEX_OP` of futex(2).
    fn encode(operation: u32, operand: u32, comparison: u32, comparand: u32) -> WordOperation {
        WordOperation::new(operation << 28 | comparison << 24 | (operand & 0xfff) << 12 | comparand & 0xfff)
    }

    #[test]
    fn operations_on_words() {
        let after = |operation, operand, word| encode(operation, operand, 0, 0).apply(word);
        assert_eq!(after(0, 7, 100), Ok(7));
        assert_eq!(after(1, 7, u32::MAX), Ok(6));
        assert_eq!(after(1, -3i32 as u32, 10), Ok(7));
        assert_eq!(after(2, 6, 9), Ok(15));
        assert_eq!(after(3, 6, 15), Ok(9));
        assert_eq!(after(4, 6, 3), Ok(5));
        assert_eq!(after(8, 31, 0), Ok(1 << 31));
        assert_eq!(after(8 | 2, 33, 1), Ok(3), "the number of a bit is taken modulo 32");
        assert_eq!(after(5, 0, 0), Err(ENOSYS));
    }

    #[test]
    fn comparisons_have_a_sign() {
        let holds = |comparison, comparand: i32, word: i32| {
            encode(0, 0, comparison, comparand as u32).holds(word as u32)
        };
        assert_eq!(holds(0, -1, -1), Ok(true));
        assert_eq!(holds(1, -1, -1), Ok(false));
        assert_eq!(holds(2, 0, -1), Ok(true));
        assert_eq!(holds(3, -2048, -2048), Ok(true));
        assert_eq!(holds(4, -1, 0), Ok(true));
        assert_eq!(holds(5, 2047, 2046), Ok(false));
        assert_eq!(holds(6, 0, 0), Err(ENOSYS));
    }
}
