//! Interrupt masking, halting and interrupt return. No other file spells `cli`, `sti`, `hlt`, `iretq`, `sysretq` or
//! `swapgs`.
//!
//! The assembly files use the macros below; Rust code uses the functions. One place, so that another way of masking
//! (a paravirtual flag) changes one file.

use core::arch::asm;

/// Assembly macros `IRQ_ENABLE`, `IRQ_ENABLE_AND_JUMP` and `IRQ_RETURN`, for the front of a `global_asm!`; and for a program
/// at ring 3 `SWAP_GS`, `IRQ_RETURN_TO_RING_3` and `SYSCALL_RETURN_TO_RING_3`: `%gs` is the kernel's at ring 0, and the
/// program's (base 0) at ring 3.
///
/// After `IRQ_ENABLE_AND_JUMP` no interrupt is taken before the jump's target (SDM vol. 2, STI). The guard is there
/// because the order in which the compiler emits assembly blocks is its own.
macro_rules! irq_macros {
    () => {
        ".ifndef IRQ_MACROS
        .set IRQ_MACROS, 1
        .macro IRQ_ENABLE
        sti
        .endm
        .macro IRQ_ENABLE_AND_JUMP target
        sti
        jmp \\target
        .endm
        .macro IRQ_RETURN
        iretq
        .endm
        .macro SWAP_GS
        swapgs
        .endm
        .macro IRQ_RETURN_TO_RING_3
        swapgs
        iretq
        .endm
        .macro SYSCALL_RETURN_TO_RING_3
        swapgs
        sysretq
        .endm
        .endif"
    };
}
pub(super) use irq_macros;

/// Lets interrupts in.
#[inline]
pub fn enable() {
    // SAFETY: handlers run on stacks of their own and touch nothing but pending bits.
    unsafe { asm!("sti", options(nostack, preserves_flags)) }
}

/// Keeps interrupts out.
#[inline]
pub fn disable() {
    // SAFETY: masking interrupts cannot break memory safety.
    unsafe { asm!("cli", options(nostack, preserves_flags)) }
}

/// Lets interrupts in and halts until one comes. Nothing is lost between the two (SDM vol. 2, STI).
#[inline]
pub fn enable_and_halt() {
    // SAFETY: as `enable`.
    unsafe { asm!("sti", "hlt", options(nostack, preserves_flags)) }
}

/// Stops this CPU for ever.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: masked and halted, the CPU does nothing more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
