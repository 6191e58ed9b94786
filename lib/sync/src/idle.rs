//! [`IdleSet`]: which CPUs halt, and who wakes them.
//!
//! A word with a bit a CPU. Rules:
//!
//! 1. A CPU that found nothing to run announces itself, then looks a last time, and halts only if there is still nothing.
//!    Interrupts are masked from before the announcement until it halts, so that none is taken too early.
//! 2. Who has work for a CPU adds it where rule 1 looks, and then claims the CPU. Whoever takes the bit out by that sends
//!    the interrupt, and nobody else does.
//! 3. A CPU that goes on takes itself out, whoever woke it.
//!
//! From 1 and 2: either the CPU sees the work or its adder sees the bit, as both change the word between.

use crate::atomic::{AtomicU64, Ordering, const_fn};

/// The CPUs that halt or are about to, a bit a CPU.
pub struct IdleSet(AtomicU64);

impl IdleSet {
    const_fn! {
        /// Nobody.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Who is in it. Sequentially consistent, as are the changes: see `flush`, rule 2.
    pub fn mask(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// By the CPU whose bit this is, with interrupts masked: rules 1 and 3. `has_work` is the last look, which may also find
    /// some elsewhere and bring it here; `halt` lets interrupts in and returns after one. Returns whether it halted.
    pub fn halt_unless(&self, bit: u64, has_work: impl FnOnce() -> bool, halt: impl FnOnce()) -> bool {
        // Acquires what an earlier claim released: the work is seen below. Pairs with `claim`.
        self.0.fetch_or(bit, Ordering::SeqCst);
        let halts = !has_work();
        if halts {
            halt();
        }
        self.0.fetch_and(!bit, Ordering::SeqCst);
        halts
    }

    /// By who has added work for a CPU: rule 2. True: it was here, and the caller sends it an interrupt.
    #[must_use = "nobody else wakes a CPU that was claimed"]
    pub fn claim(&self, bit: u64) -> bool {
        // Releases the work that was added. Pairs with `halt_unless`.
        self.0.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
}

impl Default for IdleSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_claimed_once_while_it_halts() {
        let idle = IdleSet::new();
        let halted = idle.halt_unless(
            2,
            || false,
            || {
                assert_eq!(idle.mask(), 2);
                assert!(!idle.claim(1) && idle.claim(2) && !idle.claim(2));
            },
        );
        assert!(halted);
        assert!(!idle.halt_unless(2, || true, || unreachable!("there was work")));
        assert_eq!(idle.mask(), 0);
    }
}
