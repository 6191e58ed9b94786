//! [`Park`]: how a thread waits and is woken, whoever is first.
//!
//! One word a thread. Rules:
//!
//! 1. Only the thread itself goes from running to announced ([`Park::announce`]), which begins a new wait with a new
//!    number, and back ([`Park::cancel`]).
//! 2. The CPU that has switched away from a thread, with its registers saved, goes from announced to parked
//!    ([`Park::commit`]). If the thread was woken in between, it goes back to a run queue instead.
//! 3. A waker takes a thread out of announced or parked exactly once. Out of parked it owns the thread and must put it into
//!    a run queue; out of announced it does nothing more, since rule 2 or the thread itself will see.
//! 4. A wake-up that names a wait ends that wait and no later one.
//!
//! From 2 and 3: a thread is in a run queue only with its registers saved, in one queue, once. The model in
//! `tests/loom.rs` checks it.

use crate::atomic::{AtomicU64, Ordering, const_fn};

const STATE: u64 = 0b11;
const RUNNING: u64 = 0;
const ANNOUNCED: u64 = 1;
const PARKED: u64 = 2;
const ENDED: u64 = 3;
const REASON_SHIFT: u32 = 2;
const REASON: u64 = 0b11 << REASON_SHIFT;
const WAIT_SHIFT: u32 = 4;

/// Number of one wait of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitNumber(u64);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wake {
    /// Somebody woke the thread from what it waited for.
    Woken = 0,
    /// The deadline.
    Deadline = 1,
    /// The thread should see what came up for it (a signal).
    Notified = 2,
}

/// What a wake-up found, and what its caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a thread taken out of parked is in no run queue"]
pub enum Found {
    /// The thread does not wait (any more), or waits for something else: nothing.
    NotWaiting,
    /// It had not been switched away from: nothing; it goes on by itself.
    OnCpu,
    /// It was parked: the caller puts it into a run queue.
    Parked,
}

/// The word of a wait that is over.
fn ended(word: u64, reason: Wake) -> u64 {
    word & !(STATE | REASON) | (reason as u64) << REASON_SHIFT | RUNNING
}

/// The waiting state of one thread.
pub struct Park(AtomicU64);

impl Park {
    const_fn! {
        /// A thread that runs, or is about to.
        #[must_use]
        pub fn new() -> Self {
            Self(AtomicU64::new(RUNNING))
        }
    }

    /// Announces a wait, by the thread itself. From here on a wake-up with this number ends it.
    pub fn announce(&self) -> WaitNumber {
        let number = (self.0.load(Ordering::Relaxed) >> WAIT_SHIFT) + 1;
        // Sequentially consistent, as what the thread looks at next ("was I notified?") and what a notifier does (leave
        // the notice, then wake) must not both miss.
        self.0.swap(number << WAIT_SHIFT | ANNOUNCED, Ordering::SeqCst);
        WaitNumber(number)
    }

    /// Takes an announced wait back, by the thread itself. False: somebody ended it first; see [`Self::reason`].
    pub fn cancel(&self) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        word & STATE == ANNOUNCED && self.replace(word, ended(word, Wake::Woken)).is_ok()
    }

    /// The number of the present wait, or of the last one.
    pub fn number(&self) -> WaitNumber {
        WaitNumber(self.0.load(Ordering::Relaxed) >> WAIT_SHIFT)
    }

    /// Whether the wait `number` is on: nobody has ended it.
    pub fn is_waiting(&self, number: WaitNumber) -> bool {
        let word = self.0.load(Ordering::Acquire);
        matches!(word & STATE, ANNOUNCED | PARKED) && word >> WAIT_SHIFT == number.0
    }

    /// Whether the thread neither waits nor has ended.
    pub fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) & STATE == RUNNING
    }

    /// Whether the wait is announced and nobody has ended it.
    pub fn is_announced(&self) -> bool {
        self.0.load(Ordering::Acquire) & STATE == ANNOUNCED
    }

    /// By the CPU that has switched away from the thread: true, the thread is parked now and belongs to its waker; false,
    /// it can go on and belongs into a run queue.
    pub fn commit(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // Releases: who takes the thread out of parked sees its saved registers.
        word & STATE == ANNOUNCED && self.replace(word, word & !STATE | PARKED).is_ok()
    }

    /// Ends the wait `number`, or whatever wait there is, for a reason.
    pub fn wake(&self, number: Option<WaitNumber>, reason: Wake) -> Found {
        let mut word = self.0.load(Ordering::SeqCst);
        loop {
            let found = match word & STATE {
                ANNOUNCED => Found::OnCpu,
                PARKED => Found::Parked,
                _ => return Found::NotWaiting,
            };
            if number.is_some_and(|number| number.0 != word >> WAIT_SHIFT) {
                return Found::NotWaiting;
            }
            match self.replace(word, ended(word, reason)) {
                Ok(_) => return found,
                Err(now) => word = now,
            }
        }
    }

    fn replace(&self, word: u64, with: u64) -> Result<u64, u64> {
        self.0.compare_exchange(word, with, Ordering::SeqCst, Ordering::SeqCst)
    }

    /// Why the last wait ended.
    pub fn reason(&self) -> Wake {
        match (self.0.load(Ordering::Acquire) & REASON) >> REASON_SHIFT {
            1 => Wake::Deadline,
            2 => Wake::Notified,
            _ => Wake::Woken,
        }
    }

    /// Ends the thread, by itself: it will not be switched to any more.
    pub fn end(&self) {
        self.0.store(ENDED, Ordering::Release);
    }

    /// Whether [`Self::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) & STATE == ENDED
    }
}

impl Default for Park {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn woken_before_the_switch_goes_on() {
        let park = Park::new();
        let number = park.announce();
        assert_eq!(park.wake(Some(number), Wake::Deadline), Found::OnCpu);
        assert!(!park.is_announced() && !park.commit());
        assert_eq!(park.reason(), Wake::Deadline);
    }

    #[test]
    fn woken_after_the_switch_belongs_to_its_waker() {
        let park = Park::new();
        let number = park.announce();
        assert!(park.commit());
        assert_eq!(park.wake(Some(number), Wake::Woken), Found::Parked);
        assert_eq!(park.wake(Some(number), Wake::Woken), Found::NotWaiting);
    }

    #[test]
    fn a_late_wake_up_does_not_end_the_next_wait() {
        let park = Park::new();
        let first = park.announce();
        assert!(park.cancel());
        let second = park.announce();
        assert_eq!(park.wake(Some(first), Wake::Woken), Found::NotWaiting);
        assert!(park.is_announced());
        assert_eq!(park.wake(None, Wake::Notified), Found::OnCpu);
        assert_eq!(park.reason(), Wake::Notified);
        assert_eq!(park.wake(Some(second), Wake::Woken), Found::NotWaiting);
    }

    #[test]
    fn an_ended_thread_is_not_woken() {
        let park = Park::new();
        park.end();
        assert!(park.has_ended());
        assert_eq!(park.wake(None, Wake::Woken), Found::NotWaiting);
    }
}
