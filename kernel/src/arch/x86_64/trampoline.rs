//! From the startup interrupt to the first Rust function, on each CPU but the boot CPU.
//!
//! A started CPU is in real mode at the start of a page below 1 MiB. The code is copied to that page; it enters long mode on
//! boot's own tables, which map the image where it lies, and from there the kernel's. One CPU at a time: what it is handed
//! lies in `ap_handover`.

use core::arch::global_asm;
use core::cell::UnsafeCell;

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
    "mov rax, [rip + {handover}]",
    "mov rdi, [rip + {handover} + 8]",
    "mov rsp, [rip + {handover} + 16]",
    // From here on the startup page, with its descriptors, is out of reach.
    "mov cr3, rax",
    "xor ebp, ebp",
    "call {ap_main}",
    "ud2",
    ".text",
    page = const PAGE,
    handover = sym HANDOVER,
    ap_main = sym crate::smp::ap_main,
);

unsafe extern "C" {
    static includeos_trampoline: u8;
    static includeos_trampoline_end: u8;
}

/// Page tables, stack and bring-up data of the CPU that is started next.
#[repr(C)]
struct Handover(UnsafeCell<[u64; 3]>);

// SAFETY: written by the boot CPU while no CPU is being started, read by the one that is.
unsafe impl Sync for Handover {}

static HANDOVER: Handover = Handover(UnsafeCell::new([0; 3]));

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
/// No CPU is being started; `stack` is the top of a mapped stack for it alone.
pub(crate) unsafe fn hand_over(startup: &'static Startup, stack: u64) {
    // SAFETY: by the caller's promise nobody reads it now.
    unsafe { *HANDOVER.0.get() = [cpu::cr3(), core::ptr::from_ref(startup) as u64, stack] };
}
