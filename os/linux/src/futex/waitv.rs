//! futex_waitv(2): waiting at several addresses at once.

use alloc::vec::Vec;

use kernel::sched::{Waiter, Wake};
use kernel::{sched, uaccess};

use super::{BUCKETS, Bucket, FutexWaiter, Kind, absolute, bucket, check, look, retry};
use crate::errno::{EAGAIN, EINVAL, ENOMEM, ERESTARTNOHAND, ERESTARTSYS, ETIMEDOUT, Errno, Result};

/// Most addresses (`FUTEX_WAITV_MAX`).
const WAITERS_MAX: u32 = 128;

/// futex_waitv(2); returns the index of one that was woken.
pub fn futex_waitv(waiters: u64, count: u32, flags: u32, timeout: u64, clock: i32) -> Result {
    const REALTIME: i32 = 0;
    const MONOTONIC: i32 = 1;
    if flags != 0 || !(1..=WAITERS_MAX).contains(&count) || waiters == 0 {
        return Err(EINVAL);
    }
    let deadline = match (timeout, clock) {
        (0, _) => None,
        (_, REALTIME | MONOTONIC) => absolute(timeout, clock == REALTIME)?,
        _ => return Err(EINVAL),
    };
    let words = read_waiters(waiters, count)?;
    let waiter = match enter_all(&words)? {
        Entered::All(waiter) => waiter,
        Entered::Woken(index) => return Ok(index as u64),
    };
    let wake = sched::wait(deadline);
    match (leave_all(&words, &waiter), wake, deadline) {
        (Some(index), ..) => Ok(index as u64),
        (None, Wake::Deadline, _) => Err(ETIMEDOUT),
        (None, _, None) => Err(ERESTARTSYS),
        (None, _, Some(_)) => Err(ERESTARTNOHAND),
    }
}

/// An address and the word that is expected there.
type Word = (u64, u32);

/// Reads an array of `struct futex_waitv`: value, address (u64 each), flags, a reserved word (u32 each).
fn read_waiters(at: u64, count: u32) -> core::result::Result<Vec<Word>, Errno> {
    const SIZE_U32: u64 = 2;
    const PRIVATE: u64 = 128;
    let mut words = Vec::new();
    words.try_reserve_exact(count as usize).map_err(|_| ENOMEM)?;
    for i in 0..u64::from(count) {
        let [value, address, flags] = uaccess::read::<[u64; 3]>(at.wrapping_add(24 * i))?;
        let Ok(value) = u32::try_from(value) else { return Err(EINVAL) };
        // The upper half is reserved.
        if flags & !PRIVATE != SIZE_U32 {
            return Err(EINVAL);
        }
        words.push((address, value));
    }
    words.iter().try_for_each(|&(address, _)| check(address))?;
    Ok(words)
}

enum Entered {
    All(Waiter),
    /// Another thread woke it at this one before all were looked at.
    Woken(usize),
}

/// Puts the current thread into the buckets of all addresses, or of none.
fn enter_all(words: &[Word]) -> core::result::Result<Entered, Errno> {
    retry(|| {
        let waiter = sched::prepare_wait();
        for (index, &(address, expected)) in words.iter().enumerate() {
            let mut bucket = bucket(address).lock();
            let stopped = match look(address) {
                Ok(word) if word != expected => Some(EAGAIN.into()),
                Ok(_) if bucket.reserve().is_err() => Some(ENOMEM.into()),
                Ok(_) => None,
                Err(stopped) => Some(stopped),
            };
            let Some(stopped) = stopped else {
                let kind = Kind::Vector(index);
                bucket.enter(address, FutexWaiter { waiter: waiter.clone(), bitset: !0, kind });
                continue;
            };
            drop(bucket);
            sched::cancel_wait(&waiter);
            return match leave_all(&words[..index], &waiter) {
                Some(index) => Ok(Entered::Woken(index)),
                None => Err(stopped),
            };
        }
        Ok(Entered::All(waiter))
    })
}

/// Takes the current thread out of the buckets; returns the first index at which it was not there any more.
fn leave_all(words: &[Word], waiter: &Waiter) -> Option<usize> {
    let mut woken = None;
    for (index, &(address, _)) in words.iter().enumerate() {
        // It may have been moved to another address: then it is looked for everywhere.
        let mut found = remove(&mut bucket(address).lock(), waiter, index);
        found = found || BUCKETS.iter().any(|bucket| remove(&mut bucket.lock(), waiter, index));
        if !found {
            woken = woken.or(Some(index));
        }
    }
    woken
}

fn remove(bucket: &mut Bucket, waiter: &Waiter, index: usize) -> bool {
    bucket.leave(|entry| entry.kind == Kind::Vector(index) && entry.is_of(waiter))
}
