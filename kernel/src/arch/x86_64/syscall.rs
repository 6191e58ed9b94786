//! The `syscall` instruction: from the program to `os/linux` and back.
//!
//! Linux's convention: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9, result in rax; rcx and r11 are lost,
//! everything else, xmm registers included, is kept.

use core::arch::global_asm;

use super::cpu::{self, msr};
use super::gdt::{KERNEL_CODE, KERNEL_DATA};
use super::percpu;
use super::vectors::{SYSCALL_VECTOR, TrapFrame};

global_asm!(
    super::irq::irq_macros!(),
    super::vectors::frame_macros!(),
    ".section .text.syscall,\"ax\",@progbits",
    ".globl includeos_syscall_entry",
    "includeos_syscall_entry:",
    "mov dword ptr gs:[{depth}], 1",
    "mov gs:[{scratch}], rsp",
    "mov rsp, gs:[{kstack_top}]",
    "push {data}",
    "push qword ptr gs:[{scratch}]",
    "push r11",
    "push {code}",
    "push rcx",
    "push rax",
    "push {syscall_vector}",
    "SAVE_REGISTERS",
    "IRQ_ENABLE",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {syscall_from_program}",
    "test al, al",
    "jz includeos_trap_return",
    "RESTORE_REGISTERS",
    // rsp is at `vector`. The flags are restored with interrupts still masked; they open as the program goes on.
    "mov rcx, [rsp + 16]",
    "and qword ptr [rsp + 32], ~0x200",
    "push qword ptr [rsp + 32]",
    "popfq",
    "mov dword ptr gs:[{depth}], 0",
    "mov rsp, [rsp + 40]",
    "IRQ_ENABLE_AND_JUMP rcx",
    ".text",
    depth = const percpu::DEPTH,
    scratch = const percpu::SCRATCH,
    kstack_top = const percpu::KSTACK_TOP,
    data = const KERNEL_DATA,
    code = const KERNEL_CODE,
    syscall_vector = const SYSCALL_VECTOR,
    syscall_from_program = sym syscall_from_program,
);

unsafe extern "C" {
    fn includeos_syscall_entry();
}

#[cfg(includeos_metal)]
unsafe extern "Rust" {
    /// `os/linux/table`: carries out call `frame.error` and puts the result into `frame.rax`.
    safe fn linux_syscall(frame: &mut TrapFrame);
}
#[cfg(not(includeos_metal))]
fn linux_syscall(_: &mut TrapFrame) {}

/// Returns whether the program may go on by the short way: nothing but rax changed, and it is not being stepped through (the
/// short way restores the flags while it is still in the kernel).
extern "C" fn syscall_from_program(frame: &mut TrapFrame) -> bool {
    linux_syscall(frame);
    super::vectors::return_to_program(frame);
    const TRAP_FLAG: u64 = 1 << 8;
    frame.vector == SYSCALL_VECTOR && frame.rflags & TRAP_FLAG == 0
}

/// IF, DF, TF, NT, AC, IOPL are cleared at entry, as Linux does.
const FMASK: u64 = 0x47700;

/// Makes `syscall` arrive here, on this CPU.
///
/// # Safety
/// `%gs` and the current thread's kernel stack are in place before the program runs.
pub unsafe fn init() {
    let entry: unsafe extern "C" fn() = includeos_syscall_entry;
    // SAFETY: the registers exist on every x86_64 CPU (EFER.SCE was set at boot). STAR's user selectors count from
    // 0x10: data 0x18, code 0x20, as in `gdt`.
    unsafe {
        cpu::wrmsr(msr::STAR, 0x0010_0008 << 32);
        cpu::wrmsr(msr::LSTAR, entry as usize as u64);
        cpu::wrmsr(msr::FMASK, FMASK);
    }
}
