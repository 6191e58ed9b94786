//! [`WaitList`]: who waits for what, the first first.
//!
//! Rules:
//!
//! 1. A waiter looks at what it waits for, announces its wait and enters, all under the list's lock. So who changes the
//!    thing, and then wakes, finds the waiter, or the waiter sees the change.
//! 2. Moving to another list holds both locks: a waker finds the waiter in one or the other. Locks are taken by address.
//! 3. A waiter whose wait has ended is not moved. So it finds itself if it looks in all lists, one after the other, after that.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::{SpinGuard, SpinLock};

/// Waiters, each with the key of what it waits for. One list may serve many keys.
pub struct WaitList<K, W>(SpinLock<Vec<Entry<K, W>>>);

struct Entry<K, W> {
    key: K,
    waiter: W,
}

/// How many waiters [`WaitList::requeue`] wakes and moves at most, or did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Woken.
    pub woken: usize,
    /// Waiting at the other key now.
    pub moved: usize,
}

impl<K: PartialEq + Copy, W> WaitList<K, W> {
    crate::atomic::const_fn! {
        /// Nobody waits.
        pub fn new() -> Self {
            Self(SpinLock::new(Vec::new()))
        }
    }

    /// Enters the waiter that `prepare` returns, beside what it is for, unless that fails. `prepare` runs under the lock (rule
    /// 1): it looks whether there is anything to wait for, announces the wait, and must not block.
    ///
    /// # Errors
    /// Those of `prepare`; no memory.
    pub fn enter<R, E: From<TryReserveError>>(
        &self,
        key: K,
        prepare: impl FnOnce() -> Result<(W, R), E>,
    ) -> Result<R, E> {
        let mut list = self.0.lock();
        list.try_reserve(1)?;
        let (waiter, result) = prepare()?;
        list.push(Entry { key, waiter });
        Ok(result)
    }

    /// Takes out the waiters at `key` for which `is_meant` holds, up to `max` that `wake` counts: those whose waits it ended.
    /// Returns how many. Both run under the lock. O(waiters in the list).
    pub fn wake(
        &self,
        key: K,
        max: usize,
        mut is_meant: impl FnMut(&W) -> bool,
        mut wake: impl FnMut(&W) -> bool,
    ) -> usize {
        let mut woken = 0;
        self.0.lock().retain(|entry| {
            let takes = woken < max && entry.key == key && is_meant(&entry.waiter);
            if takes {
                woken += usize::from(wake(&entry.waiter));
            }
            !takes
        });
        woken
    }

    /// If `check` succeeds, wakes up to `max.woken` waiters at `key` and has up to `max.moved` others wait at `to_key` in `to`,
    /// which may be this list. `check`, `wake` and `waits` (whether a wait is still on: rule 3) run under both locks. O(waiters in the list).
    ///
    /// # Errors
    /// Those of `check`; no memory. Nobody was woken or moved then.
    pub fn requeue<E: From<TryReserveError>>(
        &self,
        key: K,
        (to, to_key): (&Self, K),
        max: Requeued,
        check: impl FnOnce() -> Result<(), E>,
        mut wake: impl FnMut(&W) -> bool,
        mut waits: impl FnMut(&W) -> bool,
    ) -> Result<Requeued, E> {
        let (mut from, mut other) = lock_both(&self.0, &to.0);
        let here = from.iter().filter(|entry| entry.key == key).count();
        if let Some(other) = &mut other {
            other.try_reserve(max.moved.min(here))?;
        }
        check()?;
        let (mut done, moves, is_elsewhere) = (Requeued::default(), Cell::new(false), other.is_some());
        let leaves = |entry: &mut Entry<K, W>| {
            moves.set(false);
            if entry.key != key {
                false
            } else if done.woken < max.woken {
                done.woken += usize::from(wake(&entry.waiter));
                true
            } else if !waits(&entry.waiter) {
                true
            } else if done.moved < max.moved {
                done.moved += 1;
                entry.key = to_key;
                moves.set(is_elsewhere);
                is_elsewhere
            } else {
                false
            }
        };
        for entry in from.extract_if(.., leaves) {
            if let (true, Some(other)) = (moves.get(), &mut other) {
                other.push(entry);
            }
        }
        Ok(done)
    }

    /// By a waiter whose wait ended otherwise: leaves. Whether it was here.
    pub fn leave(&self, is_own: impl Fn(&W) -> bool) -> bool {
        let mut list = self.0.lock();
        let at = list.iter().position(|entry| is_own(&entry.waiter));
        at.map(|at| list.remove(at)).is_some()
    }
}

/// Closes both locks, the one at the lower address first (rule 2). If they are the same one, the second is `None`.
fn lock_both<'a, T>(
    first: &'a SpinLock<T>,
    second: &'a SpinLock<T>,
) -> (SpinGuard<'a, T>, Option<SpinGuard<'a, T>>) {
    match core::ptr::from_ref(first).cmp(&core::ptr::from_ref(second)) {
        core::cmp::Ordering::Equal => (first.lock(), None),
        core::cmp::Ordering::Less => {
            let first = first.lock();
            (first, Some(second.lock()))
        }
        core::cmp::Ordering::Greater => {
            let second = second.lock();
            (first.lock(), Some(second))
        }
    }
}

impl<K: PartialEq + Copy, W> Default for WaitList<K, W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::RefCell;

    fn enter(list: &WaitList<u64, u32>, key: u64, waiter: u32) {
        list.enter(key, || Ok::<_, TryReserveError>((waiter, ()))).unwrap();
    }

    /// All waiters at a key, in order; the list has lost them.
    fn drain(list: &WaitList<u64, u32>, key: u64) -> Vec<u32> {
        let woken = RefCell::new(Vec::new());
        list.wake(
            key,
            usize::MAX,
            |_| true,
            |&waiter| {
                woken.borrow_mut().push(waiter);
                true
            },
        );
        woken.into_inner()
    }

    #[test]
    fn the_first_that_is_meant_is_woken_first() {
        let list = WaitList::new();
        for waiter in 1..=4 {
            enter(&list, u64::from(waiter % 2), waiter);
        }
        assert_eq!(list.wake(1, 1, |_| true, |&waiter| waiter == 1), 1);
        assert_eq!(list.wake(0, 9, |&waiter| waiter == 4, |_| true), 1);
        assert_eq!((drain(&list, 0), drain(&list, 1)), ([2].to_vec(), [3].to_vec()));
    }

    #[test]
    fn a_wait_that_had_ended_does_not_count() {
        let list = WaitList::new();
        (1..=3).for_each(|waiter| enter(&list, 0, waiter));
        assert_eq!(list.wake(0, 1, |_| true, |&waiter| waiter != 1), 1, "2 was woken, 1 only taken out");
        assert_eq!(drain(&list, 0), [3]);
    }

    #[test]
    fn who_sees_a_change_does_not_enter() {
        #[derive(Debug, PartialEq)]
        struct Changed;
        impl From<TryReserveError> for Changed {
            fn from(_: TryReserveError) -> Self {
                Self
            }
        }
        let list: WaitList<u64, u32> = WaitList::new();
        assert_eq!(list.enter(0, || Err::<(u32, ()), _>(Changed)), Err(Changed));
        assert!(!list.leave(|_| true));
    }

    #[test]
    fn some_are_woken_and_some_moved_in_order() {
        let (from, to) = (WaitList::new(), WaitList::new());
        for waiter in 1..=6 {
            enter(&from, u64::from(waiter == 4), waiter);
        }
        enter(&to, 7, 10);
        let max = Requeued { woken: 1, moved: 2 };
        let check = || Ok::<_, TryReserveError>(());
        let done = from.requeue(0, (&to, 7), max, check, |_| true, |&waiter| waiter != 2);
        assert_eq!(done, Ok(max));
        assert_eq!(drain(&to, 7), [10, 3, 5]);
        assert_eq!((drain(&from, 0), drain(&from, 1)), ([6].to_vec(), [4].to_vec()));
    }

    #[test]
    fn moving_within_a_list_changes_the_key() {
        let list = WaitList::new();
        (1..=3).for_each(|waiter| enter(&list, 0, waiter));
        let max = Requeued { woken: 0, moved: 2 };
        let done = list.requeue(0, (&list, 5), max, || Ok::<_, TryReserveError>(()), |_| true, |_| true);
        assert_eq!(done, Ok(max));
        assert_eq!((drain(&list, 0), drain(&list, 5)), ([3].to_vec(), [1, 2].to_vec()));
    }
}
