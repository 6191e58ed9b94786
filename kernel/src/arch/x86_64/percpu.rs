//! Per-CPU data, reached through `%gs`.

use alloc::sync::Arc;
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use sync::{FlushTickets, PendingWork};

use super::gdt::{Gdt, Tss};
use crate::sched::CpuSched;
use crate::sched::thread::Thread;

/// What belongs to one CPU. The entry assembly knows the first fields by their offsets below.
///
/// Everything is atomic because a handler on the same CPU may look at any moment; other CPUs write `pending`, `tlb` and what
/// is behind the scheduler's locks.
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
    id: AtomicU32,
    /// Number of its LAPIC.
    pub apic_id: AtomicU32,
    /// What its LAPIC timer is set to, in nanoseconds; 0: nothing.
    pub timer_armed: AtomicU64,
    /// Address of the xAPIC's EOI register; null: x2APIC.
    pub lapic_eoi: AtomicPtr<u32>,
    /// What is done before the outermost section is left.
    pub pending: PendingWork,
    /// Flushes of the translations.
    pub tlb: FlushTickets,
    /// The thread that runs; stands for a reference to it.
    pub current: AtomicPtr<Thread>,
    /// The scheduler's part.
    pub sched: CpuSched,
    /// CR2 of the last page fault inside a user-memory copy.
    pub uaccess_fault: AtomicU64,
    pub(super) gdt: Gdt,
    pub(super) tss: Tss,
}

pub(super) const KSTACK_TOP: usize = offset_of!(PerCpu, kstack_top);
pub(super) const SCRATCH: usize = offset_of!(PerCpu, scratch);
pub(super) const DEPTH: usize = offset_of!(PerCpu, depth);
pub(super) const LAPIC_EOI: usize = offset_of!(PerCpu, lapic_eoi);
pub(super) const PENDING: usize = offset_of!(PerCpu, pending) + PendingWork::VECTORS;
pub(super) const TLB_REQUESTED: usize = offset_of!(PerCpu, tlb) + FlushTickets::REQUESTED;
pub(super) const TLB_DONE: usize = offset_of!(PerCpu, tlb) + FlushTickets::DONE;

impl PerCpu {
    /// Data for a CPU that is not running yet.
    pub const fn new(id: u32) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            kstack_top: AtomicU64::new(0),
            scratch: AtomicU64::new(0),
            depth: AtomicU32::new(1),
            id: AtomicU32::new(id),
            apic_id: AtomicU32::new(0),
            timer_armed: AtomicU64::new(0),
            lapic_eoi: AtomicPtr::new(core::ptr::null_mut()),
            pending: PendingWork::new(),
            tlb: FlushTickets::new(),
            current: AtomicPtr::new(core::ptr::null_mut()),
            sched: CpuSched::new(),
            uaccess_fault: AtomicU64::new(0),
            gdt: Gdt::new(),
            tss: Tss::new(),
        }
    }

    /// Number of this CPU, from 0.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Its bit in a mask of CPUs.
    pub fn bit(&self) -> u64 {
        1 << self.id()
    }

    /// The thread that runs on this CPU, which must be the caller's own.
    pub fn current_thread(&self) -> &'static Thread {
        // SAFETY: `current` is set before the first thread runs and stands for a reference to it; the caller is that thread
        // (or this CPU's idle thread), so it does not end before the caller does.
        unsafe { &*self.current.load(Ordering::Relaxed) }
    }

    /// Whether `thread` runs on this CPU. Lasting only while this CPU's run queue is locked.
    pub fn is_current(&self, thread: &Arc<Thread>) -> bool {
        core::ptr::eq(self.current.load(Ordering::SeqCst), Arc::as_ptr(thread))
    }
}

static BOOT_CPU: PerCpu = PerCpu::new(0);

/// In a checked build, that this code runs in a kernel section: where it may touch run queues, heap and tables.
#[inline]
pub fn assert_in_section() {
    if cfg!(all(includeos_metal, debug_assertions)) {
        assert!(this().depth.load(Ordering::Relaxed) > 0, "outside of a kernel section");
    }
}

/// Most CPUs that are used: sets of them are one word.
pub const MAX_CPUS: usize = 64;

/// The CPUs' data, by number; null: no such CPU.
static TABLE: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Makes `%gs` point to the boot CPU's data. First thing at boot: entries and [`this`] rely on it.
///
/// # Safety
/// Called once, at boot, with the direct map in place.
pub unsafe fn init_boot_cpu() {
    // The alias in the upper half, so that the low half holds the program alone.
    let alias = crate::mm::direct::of_image(&raw const BOOT_CPU);
    // SAFETY: the alias of a static is as good as the static; nothing used %gs before.
    unsafe { init(&*alias) }
}

/// Makes `%gs` point to this CPU's data, and has the others find it.
///
/// # Safety
/// Called once on each CPU, first thing, with data of its own.
pub unsafe fn init(cpu: &'static PerCpu) {
    let address = core::ptr::from_ref(cpu).cast_mut();
    cpu.this.store(address, Ordering::Relaxed);
    // SAFETY: GS_BASE exists on every x86_64 CPU; the caller answers for what %gs was.
    unsafe { super::cpu::wrmsr(super::cpu::msr::GS_BASE, address as u64) };
    if let Some(slot) = TABLE.get(cpu.id() as usize) {
        // Pairs with `get`: who finds it there finds it filled.
        slot.store(address, Ordering::Release);
    }
}

/// A CPU's data. `None`: it is not there, or has not started.
pub fn get(id: u32) -> Option<&'static PerCpu> {
    let cpu = TABLE.get(id as usize)?.load(Ordering::Acquire);
    // SAFETY: what is in the table is never freed; all its fields may be shared.
    unsafe { cpu.as_ref() }
}

/// All CPUs that have started. Numbers are given out from 0 and without gaps.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    (0..).map_while(get)
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
