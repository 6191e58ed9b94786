//! Translations that other CPUs may still remember (SDM vol. 3 § 5.10.5).
//!
//! Who takes a right away or unmaps a page changes the tables, calls [`shoot_down`], and only then uses the frame for
//! something else. The interrupted CPU flushes in its handler (`vectors`), also inside a kernel section: it may be waiting for
//! a lock that the caller holds. An idle CPU is not disturbed: it flushes before it runs a thread again. The protocol is
//! [`sync::FlushTickets`].

use super::percpu::{self, PerCpu};
use super::{cpu, lapic, vectors};
use crate::{log, sched, time};

/// After so long without an answer a CPU is named in the log, in nanoseconds.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Whether a CPU beside this one may remember translations.
pub fn has_others() -> bool {
    sched::online_mask() != percpu::this().bit()
}

/// What the translations led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Pages.
    Pages,
    /// Page tables: an idle CPU, too, may walk them on its own account.
    Tables,
}

/// Has all other CPUs forget all translations of the program's half, and waits until they have. Flushes this CPU too.
///
/// The caller holds the address space's lock, so that one CPU at a time does this, and no lock that is taken with interrupts
/// masked. Interrupts are on.
pub fn shoot_down(gone: Gone) {
    flush_this_cpu();
    let this = percpu::this();
    // One that is on its way flushes when it has come (`smp`).
    let online = sched::online_mask();
    let mut waited_for = 0;
    for other in percpu::all().filter(|other| online & other.bit() != 0 && !core::ptr::eq(*other, this)) {
        other.tlb.request();
        if gone == Gone::Tables || sched::idle_mask() & other.bit() == 0 {
            waited_for |= other.bit();
            lapic::send_ipi(other, vectors::TLB);
        }
    }
    let started = time::now_ns();
    for other in percpu::all().filter(|other| waited_for & other.bit() != 0) {
        let mut named = false;
        while other.tlb.is_behind() {
            core::hint::spin_loop();
            if !named && time::now_ns() - started > PATIENCE_NS {
                named = true;
                log!(Warn, "CPU {} does not answer: it keeps interrupts out", other.id());
            }
        }
    }
}

/// By a CPU that was idle, after it has said that it no longer is: does what it was not interrupted for.
pub fn catch_up(cpu: &PerCpu) {
    cpu.tlb.catch_up(flush_this_cpu);
}

/// By a CPU that has just come online: from now on it is told.
pub fn start_over() {
    flush_this_cpu();
}

fn flush_this_cpu() {
    cpu::reload_cr3();
}
