//! [`WaitList`]: who waits for what, the first first. What futexes are made of.
//!
//! Rules:
//!
//! 1. A waiter looks at what it waits for, announces its wait and enters, all under the list's lock. So who changes the
//!    thing, and then wakes, finds the waiter, or the waiter sees the change.
//! 2. Moving to another list holds both locks: a waker finds the waiter in one or the other. Locks are taken by address.
//! 3. A waiter whose wait has ended is not moved. So it finds itself if it looks in all lists, one after the other, after that.
//! 4. Who takes a waiter out has woken it, even if the wait had ended otherwise: a waiter that does not find itself was woken.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::{SpinGuard, SpinLock};

/// A lock around [`Waiters`]. One list may serve many keys.
pub struct WaitList<K, W>(SpinLock<Waiters<K, W>>);

/// Waiters, each with the key of what it waits for.
pub struct Waiters<K, W>(Vec<Entry<K, W>>);

struct Entry<K, W> {
    key: K,
    waiter: W,
}

/// How many waiters [`Waiters::requeue`] wakes and moves at most, or did.
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
            Self(SpinLock::new(Waiters(Vec::new())))
        }
    }

    /// Closes the lock.
    pub fn lock(&self) -> SpinGuard<'_, Waiters<K, W>> {
        self.0.lock()
    }

    /// Calls `f` with this list's waiters and another one's, under both locks (rule 2). `None`: it is this one.
    pub fn with_both<R>(
        &self,
        other: &Self,
        f: impl FnOnce(&mut Waiters<K, W>, Option<&mut Waiters<K, W>>) -> R,
    ) -> R {
        let (mut first, mut second) = lock_both(&self.0, &other.0);
        f(&mut first, second.as_deref_mut())
    }
}

impl<K: PartialEq + Copy, W> Waiters<K, W> {
    /// Makes room for one more.
    ///
    /// # Errors
    /// No memory.
    pub fn reserve(&mut self) -> Result<(), TryReserveError> {
        self.0.try_reserve(1)
    }

    /// Enters a waiter, for which room was made: it has looked at what it waits for and announced its wait since the lock was
    /// closed (rule 1).
    pub fn enter(&mut self, key: K, waiter: W) {
        self.0.push(Entry { key, waiter });
    }

    /// The waiters at `key`.
    pub fn at(&self, key: K) -> impl Iterator<Item = &W> + Clone {
        self.0.iter().filter(move |entry| entry.key == key).map(|entry| &entry.waiter)
    }

    /// Takes up to `max` waiters at `key` out for which `is_meant` holds, and gives them to `wake`. Returns how many (rule 4).
    /// O(waiters in the list); allocates nothing.
    pub fn wake(
        &mut self,
        key: K,
        max: usize,
        is_meant: impl Fn(&W) -> bool,
        mut wake: impl FnMut(&W),
    ) -> usize {
        let mut woken = 0;
        self.0.retain(|entry| {
            let takes = woken < max && entry.key == key && is_meant(&entry.waiter);
            if takes {
                wake(&entry.waiter);
                woken += 1;
            }
            !takes
        });
        woken
    }

    /// Wakes up to `max.woken` waiters at `key` and has up to `max.moved` others wait at `to_key` in `to` (`None`: in this list),
    /// behind those that are there. `waits`: whether a wait is still on; the others stay (rule 3). O(waiters in the list).
    ///
    /// # Errors
    /// No memory; nobody was woken or moved.
    pub fn requeue(
        &mut self,
        key: K,
        mut to: Option<&mut Self>,
        to_key: K,
        max: Requeued,
        mut wake: impl FnMut(&W),
        waits: impl Fn(&W) -> bool,
    ) -> Result<Requeued, TryReserveError> {
        let moving = self.at(key).count().saturating_sub(max.woken).min(max.moved);
        let mut moved = Vec::new();
        moved.try_reserve_exact(moving)?;
        // Those that move within the list have their room there.
        if let Some(to) = &mut to {
            to.0.try_reserve(moving)?;
        }
        let mut done = Requeued::default();
        let leaves = |entry: &mut Entry<K, W>| {
            let goes = (done.woken < max.woken || done.moved < max.moved)
                && entry.key == key
                && waits(&entry.waiter);
            if goes && done.woken < max.woken {
                done.woken += 1;
            } else if goes {
                done.moved += 1;
                entry.key = to_key;
            }
            goes
        };
        // The first of those that leave are the ones to be woken.
        for (nth, entry) in self.0.extract_if(.., leaves).enumerate() {
            if nth < max.woken {
                wake(&entry.waiter);
            } else {
                moved.push(entry);
            }
        }
        to.unwrap_or(self).0.append(&mut moved);
        Ok(done)
    }

    /// By a waiter whose wait ended otherwise: leaves. Whether it was here; if it was nowhere it was woken (rule 4).
    pub fn leave(&mut self, is_own: impl Fn(&W) -> bool) -> bool {
        let at = self.0.iter().position(|entry| is_own(&entry.waiter));
        at.map(|at| self.0.remove(at)).is_some()
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

    fn enter(list: &WaitList<u64, u32>, key: u64, waiter: u32) {
        list.lock().enter(key, waiter);
    }

    /// All waiters at a key, in order; the list has lost them.
    fn drain(list: &WaitList<u64, u32>, key: u64) -> Vec<u32> {
        let mut woken = Vec::new();
        list.lock().wake(key, usize::MAX, |_| true, |&waiter| woken.push(waiter));
        woken
    }

    #[test]
    fn the_first_that_is_meant_is_woken_first() {
        let list = WaitList::new();
        for waiter in 1..=4 {
            enter(&list, u64::from(waiter % 2), waiter);
        }
        assert_eq!(list.lock().wake(1, 1, |_| true, |&waiter| assert_eq!(waiter, 1)), 1);
        assert_eq!(list.lock().wake(0, 9, |&waiter| waiter == 4, |_| ()), 1);
        assert_eq!((drain(&list, 0), drain(&list, 1)), ([2].to_vec(), [3].to_vec()));
    }

    #[test]
    fn some_are_woken_and_some_moved_in_order() {
        let (from, to) = (WaitList::new(), WaitList::new());
        for waiter in 1..=6 {
            enter(&from, u64::from(waiter == 4), waiter);
        }
        enter(&to, 7, 10);
        let max = Requeued { woken: 1, moved: 2 };
        let mut woken = Vec::new();
        let done = from.with_both(&to, |from, to| {
            from.requeue(0, to, 7, max, |&waiter| woken.push(waiter), |&waiter| waiter != 2)
        });
        assert_eq!((done, woken), (Ok(max), [1].to_vec()));
        assert_eq!(drain(&to, 7), [10, 3, 5]);
        assert_eq!((drain(&from, 0), drain(&from, 1)), ([2, 6].to_vec(), [4].to_vec()));
    }

    #[test]
    fn moving_within_a_list_changes_the_key_and_goes_to_the_end() {
        let list = WaitList::new();
        (1..=3).for_each(|waiter| enter(&list, 0, waiter));
        enter(&list, 5, 10);
        let max = Requeued { woken: 0, moved: 2 };
        let done = list.with_both(&list, |from, to| {
            assert!(to.is_none());
            from.requeue(0, to, 5, max, |_| (), |_| true)
        });
        assert_eq!(done, Ok(max));
        assert_eq!((drain(&list, 0), drain(&list, 5)), ([3].to_vec(), [10, 1, 2].to_vec()));
    }

    #[test]
    fn who_leaves_was_there_once() {
        let list = WaitList::new();
        enter(&list, 0, 1);
        assert!(list.lock().leave(|&waiter| waiter == 1));
        assert!(!list.lock().leave(|&waiter| waiter == 1));
    }
}
