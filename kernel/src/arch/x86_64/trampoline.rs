//! From the startup interrupt to the first Rust function, on each CPU but the boot CPU.
//!
//! A started CPU is in real mode at the start of a page below 1 MiB. The code is copied to that page; it enters long mode on
//! boot's own tables, which map the image where it lies, and from there the kernel's. What it is handed lies in `HANDOVER`, for
//! one CPU at a time. One that was given up may come when the next is awaited, or when all is over: whoever takes the address
//! out goes on, and whoever finds none halts.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu;
use super::paging::STARTUP_PAGE as PAGE;
use crate::mm::direct;
use crate::smp::Startup;

global_asm!(
    super::boot::long_mode_macro!(),
    ".section .rodata.trampoline,\"a\",@progbits",
    ".balign 16",
    ".globl includeos_trampoline",
    ".globl includeos_trampoline_end",
    "includeos_trampoline:",
    ".code16",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    // mov bx, 3f - includeos_trampoline
    ".byte 0xbb",
    ".word 3f - includeos_trampoline",
    "lgdt [bx]",
    "mov eax, cr0",
    "or al, 1",
    "mov cr0, eax",
    // A far jump to 32-bit code, spelt as octets: assemblers disagree about its operands in Intel syntax.
    ".byte 0x66, 0xea",
    ".long {page} + 2f - includeos_trampoline",
    ".word 0x18",
    ".balign 8",
    "4: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff",
    "3: .word 31",
    ".long {page} + 4b - includeos_trampoline",
    ".code32",
    "2: mov eax, 0x10",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "ENTER_LONG_MODE",
    ".byte 0xea",
    ".long includeos_ap_64",
    ".word 0x08",
    "includeos_trampoline_end:",
    ".section .text.trampoline,\"ax\",@progbits",
    ".code64",
    "includeos_ap_64:",
    "xor edi, edi",
    "xchg rdi, [rip + {handover}]",
    "test rdi, rdi",
    "jz 5f",
    "mov rax, [rip + {handover} + 8]",
    "mov rsp, [rip + {handover} + 16]",
    // From here on the startup page, with its descriptors, is out of reach.
    "mov cr3, rax",
    "xor ebp, ebp",
    "call {ap_main}",
    "ud2",
    "5: hlt",
    "jmp 5b",
    ".text",
    page = const PAGE,
    handover = sym HANDOVER,
    ap_main = sym crate::smp::ap_main,
);

unsafe extern "C" {
    static includeos_trampoline: u8;
    static includeos_trampoline_end: u8;
}

/// Bring-up data (0: none), page tables and stack of the CPU that is started next.
static HANDOVER: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Copies the code to its page.
///
/// # Safety
/// [`PAGE`] is RAM and nobody uses it.
pub unsafe fn install() {
    let (start, end) = (&raw const includeos_trampoline, &raw const includeos_trampoline_end);
    let len = end as usize - start as usize;
    // SAFETY: the code lies between the two labels and is shorter than a page; the page is the caller's.
    unsafe { direct::pointer(PAGE).copy_from_nonoverlapping(start, len) };
}

/// Hands over to the CPU that is started next.
///
/// # Safety
/// What was handed over before was taken, or [`take_back`] has it; `stack` is the top of a mapped stack for that CPU alone.
pub(crate) unsafe fn hand_over(startup: &'static Startup, stack: u64) {
    let [data, tables, top] = &HANDOVER;
    tables.store(cpu::cr3(), Ordering::Relaxed);
    top.store(stack, Ordering::Relaxed);
    // Pairs with the exchange in the trampoline: who finds it finds the others.
    data.store(core::ptr::from_ref(startup) as u64, Ordering::Release);
}

/// Takes back what was handed over, so that no CPU will come with it. False: one has taken it, and comes.
pub(crate) fn take_back() -> bool {
    HANDOVER[0].swap(0, Ordering::AcqRel) != 0
}
