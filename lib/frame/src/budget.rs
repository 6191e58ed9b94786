//! [`Budget`].

use core::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes all frames together may take. A pool charges it for each block it hands out; everybody may ask how
/// pressing it is.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// What to do without, in the order in which it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below a half: nothing.
    None,
    /// From a half on: windows are offered smaller.
    ShrinkWindows,
    /// From three quarters on: also no new connections.
    RefuseConnections,
    /// From seven eighths on: also no fragments are kept.
    DropReassembly,
}

impl Budget {
    /// A budget of `limit` bytes, nothing used.
    pub const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// Takes bytes from the budget. `false`: there are not as many, and nothing was taken.
    pub fn charge(&self, bytes: usize) -> bool {
        // Relaxed: the number stands for itself, no memory is handed over by it.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
    }

    /// Gives bytes back that were charged.
    pub fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "frame: more released than charged");
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How pressing it is.
    pub fn pressure(&self) -> Pressure {
        let used = self.used();
        match () {
            () if used < self.limit / 2 => Pressure::None,
            () if used < self.limit / 4 * 3 => Pressure::ShrinkWindows,
            () if used < self.limit / 8 * 7 => Pressure::RefuseConnections,
            () => Pressure::DropReassembly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit() {
        let budget = Budget::new(1000);
        assert!(budget.charge(600));
        assert!(!budget.charge(401) && !budget.charge(usize::MAX));
        assert!(budget.charge(400));
        assert_eq!(budget.used(), 1000);
        budget.release(1000);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn pressure_rises_in_order() {
        let budget = Budget::new(800);
        let mut seen = std::vec![budget.pressure()];
        for _ in 0..80 {
            assert!(budget.charge(10));
            seen.push(budget.pressure());
        }
        assert!(seen.is_sorted());
        assert_eq!((seen[0], seen[40], seen[60], seen[70]), {
            use Pressure::*;
            (None, ShrinkWindows, RefuseConnections, DropReassembly)
        });
    }
}
