//! Starting the CPUs beside the boot CPU (SDM vol. 3 § 10.4.4).

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use crate::arch::current::cpuid::CpuFeatures;
use crate::arch::current::paging::STARTUP_PAGE;
use crate::arch::current::percpu::{self, MAX_CPUS, PerCpu};
use crate::arch::current::{fpu, gdt, isolation, lapic, syscall, tlb, trampoline, vectors};
use crate::machine::cpus;
use crate::mm::kstack;
use crate::{log, sched, time};

/// Pages of an idle thread's stack.
const IDLE_STACK_PAGES: u64 = kstack::THREAD_PAGES;
/// How long a CPU may take to come up, in nanoseconds, before it is asked again, and before it is given up.
const PATIENCE_NS: [u64; 2] = [20_000_000, 1_000_000_000];

/// Starts all CPUs that the firmware's tables name; those that do not start are named in the log and left alone. Called once, on
/// the boot CPU, when everything that threads need is there. Returns whether no CPU will come any more: one that was given up
/// may still run through the trampoline and boot's tables.
///
/// # Safety
/// The trampoline's page is set aside (`mm::init`), and was not released.
pub unsafe fn start(features: &CpuFeatures) -> bool {
    let boot = percpu::this().apic_id.load(Ordering::Relaxed);
    let ids = cpus::apic_ids();
    let mut others =
        ids.into_iter().filter(|&id| id != boot && (id < 255 || lapic::has_wide_ids())).peekable();
    if others.peek().is_none() {
        return true;
    }
    let mut all_settled = true;
    // SAFETY: by the caller's promise.
    unsafe { trampoline::install() };
    for apic_id in others {
        let number = sched::cpu_count();
        if number as usize >= MAX_CPUS {
            log!(Warn, "only {MAX_CPUS} CPUs are used; the others stay halted");
            break;
        }
        let Some((startup, stack)) = prepare(number, features) else {
            log!(Warn, "too little memory for CPU {number} (LAPIC {apic_id}); {number} CPUs are used (-m)");
            break;
        };
        // Leaked: the CPU reads it in its own time, and there is one for each CPU.
        // SAFETY: the stack is fresh; `bring_up` ends when the last hand-over was taken, or has it back.
        unsafe { trampoline::hand_over(Box::leak(startup), stack) };
        if !bring_up(apic_id, number) {
            // If it comes later it finds nothing and halts (`trampoline`).
            all_settled = false;
            log!(Warn, "the CPU with LAPIC {apic_id} does not start; the others run without it");
        }
    }
    log!(Info, "{} CPUs", sched::cpu_count());
    all_settled
}

/// What a CPU is started with.
pub(crate) struct Startup {
    cpu: &'static PerCpu,
    interrupt_stacks: [u64; 7],
    features: CpuFeatures,
}

/// Data and an idle stack for a CPU. `None`: no memory.
fn prepare(number: u32, features: &CpuFeatures) -> Option<(Box<Startup>, u64)> {
    let interrupt_stacks = kstack::interrupt_stacks()?;
    let stack = kstack::map(IDLE_STACK_PAGES)?;
    let cpu = Box::leak(Box::new(PerCpu::new(number)));
    Some((Box::new(Startup { cpu, interrupt_stacks, features: *features }), stack))
}

/// Starts a CPU and waits until it runs threads. False: it does not.
fn bring_up(apic_id: u32, number: u32) -> bool {
    let started = || sched::cpu_count() > number;
    lapic::send_init(apic_id);
    for patience in PATIENCE_NS {
        lapic::send_startup(apic_id, STARTUP_PAGE);
        let until = time::now_ns() + patience;
        while !started() && time::now_ns() < until {
            core::hint::spin_loop();
        }
        if started() {
            return true;
        }
    }
    if trampoline::take_back() {
        return false;
    }
    // One came at the last moment, and is all but there.
    while !started() {
        core::hint::spin_loop();
    }
    true
}

/// Where the trampoline arrives, on the CPU's idle stack, with interrupts masked.
pub(crate) extern "C" fn ap_main(startup: &'static Startup) -> ! {
    let cpu = startup.cpu;
    // SAFETY: once on this CPU, first thing, with data and stacks of its own; the boot CPU has filled the table of vectors.
    unsafe {
        percpu::init(cpu);
        gdt::load(cpu, startup.interrupt_stacks);
        vectors::use_idt();
        fpu::init(&startup.features);
        isolation::init_cpu(&startup.features);
        syscall::init();
    }
    lapic::init_this_cpu();
    if sched::init().is_err() {
        crate::exit::refuse(format_args!("too little memory for the idle thread of CPU {} (-m)", cpu.id()));
    }
    tlb::start_over();
    sched::idle()
}
