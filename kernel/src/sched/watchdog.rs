//! Finding CPUs that are stuck: for ten seconds inside one kernel section, which is meant to be left within microseconds.
//!
//! Each CPU counts the sections it leaves. Another one looks at the count when its timer fires anyway; an idle one sets its
//! timer for that as long as a CPU is busy. A machine that is idle as a whole is not woken.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu::{idle_mask, online_mask};
use crate::arch::current::percpu::{self, PerCpu};
use crate::log;

/// After so long a CPU is named, in nanoseconds.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Between two looks, in nanoseconds.
const PERIOD_NS: u64 = 1_000_000_000;

/// When the next look is due.
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);

/// What is known of one CPU.
pub struct Watch {
    /// Sections that the CPU has left.
    left: AtomicU64,
    /// The count at the last look that found another one, and when that was.
    seen: AtomicU64,
    seen_ns: AtomicU64,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self { left: AtomicU64::new(0), seen: AtomicU64::new(0), seen_ns: AtomicU64::new(0) }
    }

    /// The CPU itself has left a section, or its kernel code has come to a place where it would.
    pub(super) fn note_left(&self) {
        // No other CPU writes it, so that it need not be a locked instruction.
        self.left.store(self.left.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Looks; true if the CPU has been in the same section since [`PATIENCE_NS`] and was not named yet.
    fn is_stuck(&self, in_section: bool, now_ns: u64) -> bool {
        const NAMED: u64 = u64::MAX;
        let left = self.left.load(Ordering::Relaxed);
        if !in_section || self.seen.load(Ordering::Relaxed) != left {
            self.seen.store(left, Ordering::Relaxed);
            self.seen_ns.store(now_ns, Ordering::Relaxed);
            return false;
        }
        let since = self.seen_ns.load(Ordering::Relaxed);
        let stuck = since != NAMED && now_ns.saturating_sub(since) >= PATIENCE_NS;
        if stuck {
            self.seen_ns.store(NAMED, Ordering::Relaxed);
        }
        stuck
    }
}

/// Looks at the other CPUs, if it is time.
pub(super) fn look(this: &PerCpu, now_ns: u64) {
    let due = NEXT_LOOK.load(Ordering::Relaxed);
    let next = now_ns + PERIOD_NS;
    if now_ns < due || NEXT_LOOK.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    for cpu in percpu::all().filter(|cpu| !core::ptr::eq(*cpu, this)) {
        let in_section = idle_mask() & cpu.bit() == 0 && cpu.depth.load(Ordering::Relaxed) > 0;
        if cpu.sched.watch.is_stuck(in_section, now_ns) {
            // It may hold any lock: none is waited for.
            let thread = super::try_find_thread(|thread| cpu.is_current(thread));
            let name = thread.as_ref().map(|thread| thread.name()).unwrap_or_default();
            log!(
                Warn,
                "CPU {} has been in one kernel section for {} s: thread {} \"{}\"",
                cpu.id(),
                PATIENCE_NS / 1_000_000_000,
                thread.map_or(0, |thread| thread.tid),
                crate::report::text(&name)
            );
        }
    }
}

/// When an idle CPU should look, if any other CPU is busy.
pub(super) fn next_look(this: &PerCpu, now_ns: u64) -> Option<u64> {
    let busy = online_mask() & !idle_mask() & !this.bit();
    (busy != 0).then_some(now_ns + PATIENCE_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_section_that_does_not_end_is_named_once() {
        let watch = Watch::new();
        watch.note_left();
        assert!(!watch.is_stuck(true, S));
        assert!(!watch.is_stuck(true, 10 * S));
        assert!(watch.is_stuck(true, 11 * S));
        assert!(!watch.is_stuck(true, 30 * S));
        watch.note_left();
        assert!(!watch.is_stuck(true, 31 * S));
        assert!(watch.is_stuck(true, 41 * S));
    }

    #[test]
    fn sections_that_end_and_programs_that_run_are_well() {
        let watch = Watch::new();
        for second in 0..60 {
            watch.note_left();
            assert!(!watch.is_stuck(true, second * S));
        }
        for second in 60..120 {
            assert!(!watch.is_stuck(false, second * S));
        }
        assert!(!watch.is_stuck(true, 120 * S));
    }
}
