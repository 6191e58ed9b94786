//! What futex(2) does beyond waiting and waking: operations on words, requeueing, and priority inheritance.

use kernel::sched::{self, Wake};
use sync::Requeued;

use super::{
    FutexWaiter, Kind, MORE, More, Operation, absolute, bucket, check, check_plain, enter, leave, look, pi,
    replace, retry, wake_in,
};
use crate::errno::{EAGAIN, EINVAL, ENOMEM, ENOSYS, ERESTARTNOINTR, ETIMEDOUT, Errno, Result};
use crate::table::name_once;

/// Has futex(2) carry these out. Called once, before the program starts.
pub fn start() {
    let _ = MORE.set(More {
        carry_out,
        is_waited_for: pi::is_waited_for,
        on_exit: pi::on_exit,
        on_priority_change: pi::on_priority_change,
    });
}

fn carry_out(operation: Operation) -> Result {
    const REQUEUE: i32 = 3;
    const CMP_REQUEUE: i32 = 4;
    const WAKE_OP: i32 = 5;
    const LOCK_PI: i32 = 6;
    const UNLOCK_PI: i32 = 7;
    const TRYLOCK_PI: i32 = 8;
    const WAIT_REQUEUE_PI: i32 = 11;
    const CMP_REQUEUE_PI: i32 = 12;
    const LOCK_PI2: i32 = 13;
    let Operation { op, realtime, uaddr, val, timeout, uaddr2, val3 } = operation;
    match op {
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
