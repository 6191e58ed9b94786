//! Isolation: the program at ring 3.
//!
//! By default program and kernel share ring 0. With the boot option `isolation=on` the program runs at ring 3 and sees of memory
//! what is its own. Nothing tests for it while the machine runs: it is other entry points that the CPU is given at boot, other
//! selectors in a thread's first [`TrapFrame`](super::vectors::TrapFrame), other bits in the page tables.
//!
//! At ring 0 `%gs` is always the kernel's ([`super::percpu`]), but for the few instructions, with interrupts masked, between an
//! entry or a return and its `swapgs`. The program's `%gs` has base 0; nothing can give it another one.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use super::cpu::{self, msr};
use super::cpuid::CpuFeatures;
use super::gdt::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use super::{uaccess, vectors};

static ON: AtomicBool = AtomicBool::new(false);

/// Whether the program runs at ring 3.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Turns isolation on, for the whole machine. The memory map is `mm`'s: [`crate::mm::isolate`].
///
/// # Safety
/// Called at boot, before there is a program, another CPU, or an interrupt that is not masked.
pub unsafe fn turn_on() {
    ON.store(true, Ordering::Relaxed);
    vectors::use_isolated_entries();
}

/// Code and stack selector of the program.
pub fn program_selectors() -> (u16, u16) {
    if is_on() { (USER_CODE, USER_DATA) } else { (KERNEL_CODE, KERNEL_DATA) }
}

/// Prepares this CPU for a program at ring 3, if isolation is on.
///
/// # Safety
/// Called once per CPU, before the program runs on it; its segments and `%gs` are in place.
pub unsafe fn init_cpu(features: &CpuFeatures) {
    const UMIP: u64 = 1 << 11;
    const SMEP: u64 = 1 << 20;
    const SMAP: u64 = 1 << 21;
    if !is_on() {
        return;
    }
    if features.smap {
        uaccess::use_smap();
    }
    let cr4 = [(features.umip, UMIP), (features.smep, SMEP), (features.smap, SMAP)]
        .iter()
        .filter(|(has, _)| *has)
        .fold(0, |bits, (_, bit)| bits | bit);
    // SAFETY:
    // 1. A return to ring 3 keeps a segment register only if ring 3 might load it (SDM vol. 2, IRET), and what it does to `%gs`'s
    //    base otherwise differs between CPUs; with null selectors it touches neither. Loading them may clear the bases: that of
    //    `%gs` is written again, and nobody uses it in between, for interrupts are masked; `%fs` is the first thread's to set.
    // 2. CPUID offers the bits of CR4. The kernel runs no code of the program's pages, and touches them through `uaccess`.
    unsafe {
        let base = cpu::rdmsr(msr::GS_BASE);
        asm!("mov ds, {t:e}", "mov es, {t:e}", "mov fs, {t:e}", "mov gs, {t:e}", t = in(reg) 0,
            options(nostack, preserves_flags));
        cpu::wrmsr(msr::GS_BASE, base);
        cpu::wrmsr(msr::KERNEL_GS_BASE, 0);
        cpu::set_cr4(cr4);
    }
}
