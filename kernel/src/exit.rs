//! How the image ends.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::exit::STATUS_KERNEL;

use crate::arch::current::{irq, lapic, percpu, power};
use crate::log;

/// The CPU that ends the image, plus 1; 0: none does.
static ENDED_BY: AtomicU32 = AtomicU32::new(0);

/// Whether the image is ending: only the CPU that ends it still does anything.
pub fn is_ending() -> bool {
    ENDED_BY.load(Ordering::Acquire) != 0
}

/// Makes this CPU the only one that runs, as the image ends; halts if another one is ahead. Returns false if this CPU has called
/// it before.
pub fn stop_others() -> bool {
    let this = percpu::this();
    let me = this.id() + 1;
    match ENDED_BY.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // By a non-maskable interrupt: they may be keeping others out.
            percpu::all().filter(|cpu| !core::ptr::eq(*cpu, this)).for_each(lapic::send_nmi);
            true
        }
        Err(other) if other == me => false,
        Err(_) => irq::halt_forever(),
    }
}

/// Ends the image with the program's status.
pub fn exit(status: u8) -> ! {
    stop_others();
    power::exit(status)
}

/// Ends the image because it cannot go on; says why in one line.
pub fn refuse(reason: fmt::Arguments<'_>) -> ! {
    stop_others();
    log!(Error, "{reason}");
    power::exit(STATUS_KERNEL)
}
