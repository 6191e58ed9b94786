//! [`Notice`]: a thread should look at what came up for it before its program goes on.
//!
//! Rules:
//!
//! 1. The notifier changes what the thread will look at, leaves the notice, then ends the thread's wait
//!    ([`Park::wake`](crate::park::Park::wake)); if there is none to end, it looks for the CPU on which the thread is the
//!    current one, and interrupts it.
//! 2. A thread announces its wait, then looks for a notice, then gives up the CPU.
//! 3. A CPU makes a thread its current one, then looks for a notice, with interrupts masked until the program goes on.
//!
//! So either the thread sees the notice, or the notifier sees the wait or the CPU. Sequentially consistent, all of them: two
//! sides each write one word and then read the other's.

use crate::atomic::{AtomicBool, Ordering, const_fn};

/// A notice that was left for a thread, or was not.
pub struct Notice(AtomicBool);

impl Notice {
    const_fn! {
        /// None was left.
        pub fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    /// By the notifier, before it looks for the thread (rule 1).
    pub fn leave(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// By the thread, after it has announced a wait (rule 2): whether one was left.
    pub fn is_left(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// By the thread (rule 3): takes it. What the notifier changed is looked at after this, so that a later notice is not lost.
    pub fn take(&self) -> bool {
        // The plain look first: mostly there is none. The swap acquires what the notifier changed before `leave`.
        self.is_left() && self.0.swap(false, Ordering::AcqRel)
    }
}

impl Default for Notice {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn is_taken_once() {
        let notice = Notice::new();
        assert!(!notice.take());
        notice.leave();
        notice.leave();
        assert!(notice.is_left() && notice.take() && !notice.take());
    }
}
