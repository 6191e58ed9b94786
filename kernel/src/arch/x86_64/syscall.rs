//! The `syscall` instruction: from the program to `os/linux` and back. Two entries: for a program at ring 0, and for one at
//! ring 3 ([`super::isolation`]).
//!
//! Linux's convention: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9, result in rax; rcx and r11 are lost,
//! everything else, xmm registers included, is kept.

use core::arch::global_asm;

use super::cpu::{self, msr};
use super::gdt::{KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA};
use super::vectors::{SYSCALL_VECTOR, TrapFrame};
use super::{isolation, percpu};

global_asm!(
    super::irq::irq_macros!(),
    super::vectors::frame_macros!(),
    ".section .text.syscall,\"ax\",@progbits",
    // To the thread's kernel stack and through the call; goes on at \\trap_return if the short way back does not do. At its end
    // interrupts are masked and rsp is at `vector`.
    ".macro SYSCALL data, code, trap_return",
    "mov dword ptr gs:[{depth}], 1",
    "mov gs:[{scratch}], rsp",
    "mov rsp, gs:[{kstack_top}]",
    "push \\data",
    "push qword ptr gs:[{scratch}]",
    "push r11",
    "push \\code",
    "push rcx",
    "push rax",
    "push {syscall_vector}",
    "SAVE_REGISTERS",
    "IRQ_ENABLE",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "call {syscall_from_program}",
    "test al, al",
    "jz \\trap_return",
    // What a call keeps (SysV AMD64 § 3.2.1) is in its registers, but for rbp.
    "RESTORE_XMM",
    "add rsp, 4 * 8",
    "pop rbp",
    "add rsp, 2 * 8",
    ".irp reg, r10, r9, r8, rax, rcx, rdx, rsi, rdi",
    "pop \\reg",
    ".endr",
    "mov rcx, [rsp + 16]",
    ".endm",
    ".globl includeos_syscall_entry",
    "includeos_syscall_entry:",
    "SYSCALL {kernel_data}, {kernel_code}, includeos_trap_return",
    // The flags are restored with interrupts still masked; they open as the program goes on.
    "and qword ptr [rsp + 32], ~0x200",
    "push qword ptr [rsp + 32]",
    "popfq",
    "mov dword ptr gs:[{depth}], 0",
    "mov rsp, [rsp + 40]",
    "IRQ_ENABLE_AND_JUMP rcx",
    // From ring 3, and back.
    ".globl includeos_isolated_syscall_entry",
    "includeos_isolated_syscall_entry:",
    "SWAP_GS",
    "SYSCALL {user_data}, {user_code}, includeos_isolated_trap_return",
    // `sysretq` to a non-canonical address would fault at ring 0 on the program's stack. rcx is where the program made its call
    // (or where it makes it again): the last page below the gap is never mapped, so that no such address follows a call.
    "mov r11, [rsp + 32]",
    "mov dword ptr gs:[{depth}], 0",
    "mov rsp, [rsp + 40]",
    "SYSCALL_RETURN_TO_RING_3",
    ".text",
    depth = const percpu::DEPTH,
    scratch = const percpu::SCRATCH,
    kstack_top = const percpu::KSTACK_TOP,
    kernel_data = const KERNEL_DATA,
    kernel_code = const KERNEL_CODE,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    syscall_vector = const SYSCALL_VECTOR,
    syscall_from_program = sym syscall_from_program,
);

unsafe extern "C" {
    fn includeos_syscall_entry();
    fn includeos_isolated_syscall_entry();
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
    let entry: unsafe extern "C" fn() =
        if isolation::is_on() { includeos_isolated_syscall_entry } else { includeos_syscall_entry };
    // `syscall` takes the kernel's selectors from STAR's bits 32 to 47, and the next for the stack; `sysret` the program's from
    // bits 48 on, 8 further the stack's and 16 further the code's. AMD's CPUs take the ring from here, too.
    const STAR: u64 = (USER_DATA as u64 - 8) << 48 | (KERNEL_CODE as u64) << 32;
    const { assert!(USER_CODE == USER_DATA + 8 && KERNEL_DATA == KERNEL_CODE + 8) };
    // SAFETY: the registers exist on every x86_64 CPU (EFER.SCE was set at boot).
    unsafe {
        cpu::wrmsr(msr::STAR, STAR);
        cpu::wrmsr(msr::LSTAR, entry as usize as u64);
        cpu::wrmsr(msr::FMASK, FMASK);
    }
}
