//! [`PendingWork`]: what came up for a CPU during a kernel section.
//!
//! Rules:
//!
//! 1. Handlers on the CPU record their vector, and do nothing else.
//! 2. Another CPU that has work for this one changes what the scheduler looks at, under its lock, then asks
//!    ([`PendingWork::request_resched`]), and sends an interrupt if nobody had asked before.
//! 3. A CPU leaves its outermost section only when it has looked with interrupts masked and found nothing
//!    ([`PendingWork::take`]), and keeps them masked until the program goes on or the CPU halts: what comes later interrupts.
//! 4. The scheduler takes the request back first ([`PendingWork::begin_resched`]) and then looks, under the lock of rule 2.
//!
//! From 2 and 4: who finds that somebody had asked before, and sends nothing, changed the data before the scheduler looks.

use core::mem::offset_of;

use crate::atomic::{AtomicBool, AtomicU64, Ordering, const_fn};

/// What one CPU has to do before it leaves its outermost kernel section.
#[repr(C)]
pub struct PendingWork {
    vectors: [AtomicU64; 4],
    resched: AtomicBool,
}

/// A set of interrupt vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors([u64; 4]);

impl Vectors {
    /// Whether `vector` is in it.
    pub fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector / 64)] & 1 << (vector % 64) != 0
    }

    /// Those of `count` vectors from `first` on, fewer than 64 in one word of the set, the first as bit 0.
    pub fn range(&self, first: u8, count: usize) -> u64 {
        self.0[usize::from(first / 64)] >> (first % 64) & ((1 << count) - 1)
    }
}

impl PendingWork {
    /// Where the vectors' bits are: 256, from here. The handlers in assembly set them there with one instruction.
    pub const VECTORS: usize = offset_of!(Self, vectors);

    const_fn! {
        /// Nothing.
        pub fn new() -> Self {
            #[cfg(not(loom))]
            let vectors = [const { AtomicU64::new(0) }; 4];
            #[cfg(loom)]
            let vectors = core::array::from_fn(|_| AtomicU64::new(0));
            Self { vectors, resched: AtomicBool::new(false) }
        }
    }

    /// By a handler: `vector` came.
    pub fn record(&self, vector: u8) {
        // Relaxed: it interrupts whoever takes it, on the same CPU.
        self.vectors[usize::from(vector / 64)].fetch_or(1 << (vector % 64), Ordering::Relaxed);
    }

    /// By the CPU itself: takes the vectors that came. `None`: there is nothing to do at all; with interrupts masked, the
    /// section may be left (rule 3).
    #[inline]
    pub fn take(&self) -> Option<Vectors> {
        // The plain look first: a swap locks the bus, and mostly there is nothing. Relaxed: see `record`.
        let [a, b, c, d] = &self.vectors;
        let look = |word: &AtomicU64| word.load(Ordering::Relaxed);
        if look(a) | look(b) | look(c) | look(d) == 0 {
            return self.needs_resched().then(Vectors::default);
        }
        Some(Vectors(self.vectors.each_ref().map(|word| match look(word) {
            0 => 0,
            _ => word.swap(0, Ordering::Relaxed),
        })))
    }

    /// By another CPU, after it has changed what the scheduler looks at (rule 2). True: nobody had asked, and the caller
    /// sends an interrupt.
    #[must_use = "nobody else interrupts the CPU"]
    pub fn request_resched(&self) -> bool {
        // Ordered by the scheduler's lock: if this finds a request that `begin_resched` takes back later, then our change
        // under the lock was before its look.
        !self.resched.swap(true, Ordering::Relaxed)
    }

    /// By the CPU itself, inside a section: the scheduler should run before it is left.
    pub fn set_resched(&self) {
        self.resched.store(true, Ordering::Relaxed);
    }

    /// Whether the scheduler should run before the section is left.
    pub fn needs_resched(&self) -> bool {
        // Relaxed: a request from another CPU that is not seen yet has an interrupt on its way.
        self.resched.load(Ordering::Relaxed)
    }

    /// By the scheduler, before it takes the lock of rule 4 and looks.
    pub fn begin_resched(&self) {
        self.resched.store(false, Ordering::Relaxed);
    }
}

impl Default for PendingWork {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_taken_once() {
        let pending = PendingWork::new();
        assert_eq!(pending.take(), None);
        pending.record(0);
        pending.record(255);
        let vectors = pending.take().unwrap();
        assert!(vectors.contains(0) && vectors.contains(255) && !vectors.contains(64));
        assert_eq!(pending.take(), None);
    }

    #[test]
    fn a_request_is_made_once_until_the_scheduler_begins() {
        let pending = PendingWork::new();
        assert!(pending.request_resched() && !pending.request_resched());
        assert_eq!(pending.take(), Some(Vectors::default()));
        assert!(pending.needs_resched(), "looking does not take the request back");
        pending.begin_resched();
        assert_eq!(pending.take(), None);
        pending.set_resched();
        assert!(!pending.request_resched());
    }
}
