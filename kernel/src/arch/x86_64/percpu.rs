//! Per-CPU data, reached through `%gs`.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::gdt::{Gdt, Tss};
use crate::sched::thread::Thread;

/// What belongs to one CPU. The entry assembly knows the first fields by their offsets below.
///
/// Everything is atomic because a handler on the same CPU may look at any moment; no other CPU writes here except
/// `pending` and `resched`.
#[repr(C, align(64))]
pub struct PerCpu {
    this: AtomicPtr<PerCpu>,
    /// Top of the current thread's kernel stack: where an entry from the program starts.
    pub kstack_top: AtomicU64,
    /// Holds one register while an entry changes stacks.
    scratch: AtomicU64,
    /// Depth of kernel sections; 0: the program runs. Starts at 1: boot is a section.
    pub depth: AtomicU32,
    /// Number of this CPU, from 0.
    pub id: AtomicU32,
    /// Address of the xAPIC's EOI register; null: x2APIC.
    pub lapic_eoi: AtomicPtr<u32>,
    /// Vectors that came and were not handled yet.
    pub pending: [AtomicU64; 4],
    /// The scheduler should run when the outermost section is left.
    pub resched: AtomicBool,
    /// The thread that runs.
    pub current: AtomicPtr<Thread>,
    /// CR2 of the last page fault inside a user-memory copy.
    pub uaccess_fault: AtomicU64,
    /// A report is being written; another fault now ends the machine at once.
    pub dying: AtomicBool,
    pub(super) gdt: Gdt,
    pub(super) tss: Tss,
}

pub(super) const KSTACK_TOP: usize = offset_of!(PerCpu, kstack_top);
pub(super) const SCRATCH: usize = offset_of!(PerCpu, scratch);
pub(super) const DEPTH: usize = offset_of!(PerCpu, depth);
pub(super) const LAPIC_EOI: usize = offset_of!(PerCpu, lapic_eoi);
pub(super) const PENDING: usize = offset_of!(PerCpu, pending);

impl PerCpu {
    const fn new() -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            kstack_top: AtomicU64::new(0),
            scratch: AtomicU64::new(0),
            depth: AtomicU32::new(1),
            id: AtomicU32::new(0),
            lapic_eoi: AtomicPtr::new(core::ptr::null_mut()),
            pending: [const { AtomicU64::new(0) }; 4],
            resched: AtomicBool::new(false),
            current: AtomicPtr::new(core::ptr::null_mut()),
            uaccess_fault: AtomicU64::new(0),
            dying: AtomicBool::new(false),
            gdt: Gdt::new(),
            tss: Tss::new(),
        }
    }

    /// Takes the vectors that came since the last call.
    pub fn take_pending(&self) -> [u64; 4] {
        // The plain look first: a swap locks the bus, and mostly there is nothing.
        self.pending.each_ref().map(|word| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::AcqRel),
        })
    }
}

static BOOT_CPU: PerCpu = PerCpu::new();

/// Makes `%gs` point to the boot CPU's data. First thing at boot: entries and [`this`] rely on it.
///
/// # Safety
/// Called once, at boot, with the direct map in place.
pub unsafe fn init_boot_cpu() {
    // The alias in the upper half, so that the low half holds the program alone.
    let alias: *mut PerCpu = crate::mm::direct::of_image(&raw const BOOT_CPU).cast_mut();
    BOOT_CPU.this.store(alias, Ordering::Relaxed);
    // SAFETY: GS_BASE exists on every x86_64 CPU; nothing used %gs before.
    unsafe { super::cpu::wrmsr(super::cpu::msr::GS_BASE, alias as u64) }
}

/// This CPU's data.
#[inline]
pub fn this() -> &'static PerCpu {
    let this: *const PerCpu;
    // SAFETY: `init_boot_cpu` ran before anything else, so %gs:0 holds the address of this CPU's live `PerCpu`.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) this, const offset_of!(PerCpu, this),
            options(readonly, nostack, preserves_flags));
        &*this
    }
}
