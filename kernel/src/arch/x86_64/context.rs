//! Switching from one thread's kernel stack to another's.

use core::arch::global_asm;

use super::cpu::{self, msr};
use super::fpu::FpuState;
use super::isolation;
use super::vectors::TrapFrame;

global_asm!(
    ".section .text.context,\"ax\",@progbits",
    // includeos_switch(save: *mut u64, load: u64)
    ".globl includeos_switch",
    "includeos_switch:",
    ".irp reg, rbp, rbx, r12, r13, r14, r15",
    "push \\reg",
    ".endr",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    ".irp reg, r15, r14, r13, r12, rbx, rbp",
    "pop \\reg",
    ".endr",
    "ret",
    // Where the first switch to a thread arrives; rsp is at its TrapFrame.
    ".globl includeos_thread_start",
    "includeos_thread_start:",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {thread_started}",
    "jmp includeos_trap_return",
    // As above, of a thread of the kernel's own: what it runs is in r12.
    ".globl includeos_kernel_thread_start",
    "includeos_kernel_thread_start:",
    "mov rdi, r12",
    "xor ebp, ebp",
    "call {kernel_thread_started}",
    "ud2",
    // The same for a program at ring 3.
    ".globl includeos_isolated_thread_start",
    "includeos_isolated_thread_start:",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {thread_started}",
    "jmp includeos_isolated_trap_return",
    ".text",
    thread_started = sym crate::sched::thread_started,
    kernel_thread_started = sym crate::sched::kernel_thread_started,
);

unsafe extern "C" {
    fn includeos_switch(save: *mut u64, load: u64);
    fn includeos_thread_start();
    fn includeos_kernel_thread_start();
    fn includeos_isolated_thread_start();
}

/// What a thread that does not run keeps, besides its kernel stack.
pub struct Context {
    rsp: u64,
    fpu: FpuState,
    /// Base of `%fs`: the thread's TLS.
    pub fs_base: u64,
}

impl Context {
    /// The context of a thread that starts by returning to the program as `frame` says. `stack_top` is the top of its
    /// kernel stack. `None`: no memory.
    ///
    /// # Safety
    /// The stack is mapped, empty, at least a page, and used by this thread alone.
    pub unsafe fn new(stack_top: u64, frame: &TrapFrame, fs_base: u64, fpu: FpuState) -> Self {
        let start: unsafe extern "C" fn() =
            if isolation::is_on() { includeos_isolated_thread_start } else { includeos_thread_start };
        let frame_at = stack_top - size_of::<TrapFrame>() as u64;
        // Six registers for `includeos_switch` to pop, then its return address.
        let rsp = frame_at - 7 * 8;
        // SAFETY: both writes lie below `stack_top` on a stack that is this thread's alone and large enough.
        unsafe {
            (frame_at as *mut TrapFrame).write(frame.clone());
            (rsp as *mut [u64; 7]).write([0, 0, 0, 0, 0, 0, start as usize as u64]);
        }
        Self { rsp, fpu, fs_base }
    }

    /// The context of a thread of the kernel's own, which runs `entry` in a kernel section and never returns from it.
    ///
    /// # Safety
    /// As [`Self::new`].
    pub unsafe fn kernel(stack_top: u64, entry: extern "C" fn() -> !, fpu: FpuState) -> Self {
        let start: unsafe extern "C" fn() = includeos_kernel_thread_start;
        // As in `new`: r15, r14, r13, r12, rbx, rbp, then where to. Two words more keep the stack aligned at the call.
        let rsp = stack_top - 9 * 8;
        // SAFETY: as in `new`.
        unsafe {
            (rsp as *mut [u64; 7]).write([0, 0, 0, entry as usize as u64, 0, 0, start as usize as u64]);
        }
        Self { rsp, fpu, fs_base: 0 }
    }

    /// The context of code that already runs on a stack of its own (the idle thread).
    pub fn running(fpu: FpuState) -> Self {
        Self { rsp: 0, fpu, fs_base: 0 }
    }
}

/// Switches from the thread that runs to another; returns when somebody switches back.
///
/// # Safety
/// `from` is the context of the thread that runs, `to` that of one that does not and whose stack is alive; both stay
/// valid until `from` runs again. This CPU is in a kernel section.
pub unsafe fn switch(from: *mut Context, to: *mut Context) {
    // SAFETY: the caller's promise. FPU state and FS base are the program's: kernel code uses neither the upper
    // halves of vector registers nor %fs, so that they may change here.
    unsafe {
        (*from).fpu.save();
        (*from).fs_base = current_fs_base();
        (*to).fpu.restore();
        set_fs_base((*to).fs_base);
        includeos_switch(&raw mut (*from).rsp, (*to).rsp);
    }
}

/// Loads `%fs`'s base.
fn set_fs_base(base: u64) {
    // SAFETY: the register exists on every x86_64 CPU; the kernel does not use %fs. Callers pass canonical addresses
    // (checked in arch_prctl and clone).
    unsafe { cpu::wrmsr(msr::FS_BASE, base) }
}

/// The base of `%fs` of the thread that runs.
pub fn current_fs_base() -> u64 {
    // SAFETY: the register exists on every x86_64 CPU.
    unsafe { cpu::rdmsr(msr::FS_BASE) }
}

/// Changes the base of `%fs` of the thread that runs. `base` is in the program's half.
pub fn set_current_fs_base(base: u64) {
    set_fs_base(base);
}
