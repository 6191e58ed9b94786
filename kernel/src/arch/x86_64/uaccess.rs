//! The routines that touch program memory.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::vectors::{VECTOR_GP, VECTOR_PF};

global_asm!(
    ".section .text.uaccess,\"ax\",@progbits",
    // includeos_user_copy(to: rdi, from: rsi, len: rdx) -> octets not copied
    ".globl includeos_user_copy",
    ".globl includeos_user_copy_fixup",
    "includeos_user_copy:",
    "1: cmp rdx, 64",
    "jb 2f",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + 32]",
    "movups xmm3, [rsi + 48]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm2",
    "movups [rdi + 48], xmm3",
    "add rsi, 64",
    "add rdi, 64",
    "sub rdx, 64",
    "jmp 1b",
    "2: cmp rdx, 16",
    "jb 3f",
    "movups xmm0, [rsi]",
    "movups [rdi], xmm0",
    "add rsi, 16",
    "add rdi, 16",
    "sub rdx, 16",
    "jmp 2b",
    // A word of 8 or 4 octets goes in one access: whoever looks at it meanwhile sees the old or the new one.
    "3: cmp rdx, 8",
    "jb 5f",
    "mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rdx, 8",
    "5: cmp rdx, 4",
    "jb 6f",
    "mov eax, [rsi]",
    "mov [rdi], eax",
    "add rsi, 4",
    "add rdi, 4",
    "sub rdx, 4",
    "6: test rdx, rdx",
    "jz 4f",
    "mov al, [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 6b",
    // Both the end and the place where a fault above goes on.
    "4: includeos_user_copy_fixup:",
    "mov rax, rdx",
    "ret",
    // includeos_user_compare_exchange(word: rdi, old: esi, new: edx, found: rcx) -> 0, or 1 after a fault
    ".globl includeos_user_compare_exchange",
    ".globl includeos_user_compare_exchange_fixup",
    "includeos_user_compare_exchange:",
    "mov eax, esi",
    "lock cmpxchg [rdi], edx",
    "mov [rcx], eax",
    "xor eax, eax",
    "ret",
    "includeos_user_compare_exchange_fixup:",
    "mov eax, 1",
    "ret",
    // includeos_user_save_fpu(to: rdi, xmm: rsi, mask: edx:eax, is_xsave: ecx) -> 0, or 1 after a fault. The xmm registers are
    // loaded from memory first, and lost.
    ".globl includeos_user_save_fpu",
    ".globl includeos_user_save_fpu_fixup",
    "includeos_user_save_fpu:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movups xmm\\i, [rsi + 16 * \\i]",
    ".endr",
    "test ecx, ecx",
    "jz 2f",
    "xsave64 [rdi]",
    "jmp 3f",
    "2: fxsave64 [rdi]",
    "3: xor eax, eax",
    "ret",
    "includeos_user_save_fpu_fixup:",
    "mov eax, 1",
    "ret",
    // includeos_user_restore_fpu(from: rdi, xmm: rsi, mask: edx:eax, is_xsave: ecx) -> 0, 1 after a fault, or 2: the CPU refuses
    // the state. The xmm registers are written to memory then, and lost.
    ".globl includeos_user_restore_fpu",
    ".globl includeos_user_restore_fpu_fixup",
    ".globl includeos_user_restore_fpu_refused",
    "includeos_user_restore_fpu:",
    "test ecx, ecx",
    "jz 2f",
    "xrstor64 [rdi]",
    "jmp 3f",
    "2: fxrstor64 [rdi]",
    "3:",
    ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movups [rsi + 16 * \\i], xmm\\i",
    ".endr",
    "xor eax, eax",
    "ret",
    "includeos_user_restore_fpu_fixup:",
    "mov eax, 1",
    "ret",
    "includeos_user_restore_fpu_refused:",
    "mov eax, 2",
    "ret",
    // The same where the program's pages are closed to the kernel otherwise (SMAP, SDM vol. 3 § 5.6): RFLAGS.AC opens them.
    ".irp routine, copy, compare_exchange, save_fpu, restore_fpu",
    ".globl includeos_user_\\routine\\()_smap",
    "includeos_user_\\routine\\()_smap:",
    "stac",
    "call includeos_user_\\routine",
    "clac",
    "ret",
    ".endr",
    ".text",
);

unsafe extern "C" {
    fn includeos_user_copy();
    fn includeos_user_copy_fixup();
    fn includeos_user_copy_smap();
    fn includeos_user_compare_exchange();
    fn includeos_user_compare_exchange_fixup();
    fn includeos_user_compare_exchange_smap();
    fn includeos_user_save_fpu();
    fn includeos_user_save_fpu_fixup();
    fn includeos_user_save_fpu_smap();
    fn includeos_user_restore_fpu();
    fn includeos_user_restore_fpu_fixup();
    fn includeos_user_restore_fpu_refused();
    fn includeos_user_restore_fpu_smap();
}

/// The routines of this machine.
static COPY: AtomicPtr<()> = AtomicPtr::new(includeos_user_copy as *const () as *mut ());
static COMPARE_EXCHANGE: AtomicPtr<()> =
    AtomicPtr::new(includeos_user_compare_exchange as *const () as *mut ());
static SAVE_FPU: AtomicPtr<()> = AtomicPtr::new(includeos_user_save_fpu as *const () as *mut ());
static RESTORE_FPU: AtomicPtr<()> = AtomicPtr::new(includeos_user_restore_fpu as *const () as *mut ());

/// Has the routines open the program's pages: SMAP is about to be turned on.
pub(super) fn use_smap() {
    COPY.store(includeos_user_copy_smap as *const () as *mut (), Ordering::Relaxed);
    COMPARE_EXCHANGE.store(includeos_user_compare_exchange_smap as *const () as *mut (), Ordering::Relaxed);
    SAVE_FPU.store(includeos_user_save_fpu_smap as *const () as *mut (), Ordering::Relaxed);
    RESTORE_FPU.store(includeos_user_restore_fpu_smap as *const () as *mut (), Ordering::Relaxed);
}

/// Copies until done or until a page is missing; returns the octets not copied. After a fault the faulting address is
/// in `PerCpu::uaccess_fault`.
///
/// # Safety
/// Whatever lies at the kernel's side of the copy is valid for it; the other side is program memory, mapped or not.
#[inline]
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> usize {
    let left;
    // SAFETY: the caller's promise; a fault on the program's side goes on at the fix-up. Both routines change the registers
    // that are named here and no other.
    unsafe {
        asm!("call qword ptr [rip + {copy}]", copy = sym COPY, inout("rdi") to => _, inout("rsi") from => _,
            inout("rdx") len => _, lateout("rax") left, out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _);
    }
    left
}

/// Writes `new` where `old` is, in one step, as a full barrier; returns what was there. `None`: the page is missing, or may
/// not be written; its address is in `PerCpu::uaccess_fault`.
///
/// # Safety
/// `word` is program memory, mapped or not, at a multiple of 4.
#[inline]
pub unsafe fn compare_exchange(word: *mut u32, old: u32, new: u32) -> Option<u32> {
    let mut found = 0u32;
    let fault: u32;
    // SAFETY: the caller's promise; a fault on the program's side goes on at the fix-up. `found` is ours. Both routines change
    // eax and no other register.
    unsafe {
        asm!("call qword ptr [rip + {routine}]", routine = sym COMPARE_EXCHANGE, in("rdi") word, in("esi") old,
            in("edx") new, in("rcx") &raw mut found, lateout("eax") fault);
    }
    (fault == 0).then_some(found)
}

/// Writes floating-point state to program memory: the xmm registers as they are in `xmm`, the rest as it is in the CPU. `mask`: for
/// `xsave`; `None`: `fxsave`. Returns false if a page is missing, whose address is in `PerCpu::uaccess_fault`.
///
/// # Safety
/// `to` is program memory, mapped or not, aligned as the instruction wants it.
pub unsafe fn save_fpu(to: u64, xmm: &[[u64; 2]; 16], mask: Option<u64>) -> bool {
    let fault: u32;
    // SAFETY: the caller's promise; a fault on the program's side goes on at the fix-up. Both routines change eax and the xmm
    // registers.
    unsafe {
        asm!("call qword ptr [rip + {routine}]", routine = sym SAVE_FPU, in("rdi") to, in("rsi") xmm,
            inout("eax") mask.unwrap_or(0) as u32 => fault, in("edx") (mask.unwrap_or(0) >> 32) as u32,
            in("ecx") u32::from(mask.is_some()), clobber_abi("sysv64"));
    }
    fault == 0
}

/// What came of [`restore_fpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The CPU has the state, and `xmm` the xmm registers.
    Done,
    /// A page is missing; its address is in `PerCpu::uaccess_fault`.
    Missing,
    /// The CPU refuses the state.
    Refused,
}

/// The other way round: loads the CPU's state from program memory, whatever is there.
///
/// # Safety
/// `from` is program memory, mapped or not.
pub unsafe fn restore_fpu(from: u64, xmm: &mut [[u64; 2]; 16], mask: Option<u64>) -> Restored {
    let result: u32;
    // SAFETY: as in `save_fpu`; what the CPU refuses goes on behind the fix-up.
    unsafe {
        asm!("call qword ptr [rip + {routine}]", routine = sym RESTORE_FPU, in("rdi") from, in("rsi") xmm,
            inout("eax") mask.unwrap_or(0) as u32 => result, in("edx") (mask.unwrap_or(0) >> 32) as u32,
            in("ecx") u32::from(mask.is_some()), clobber_abi("sysv64"));
    }
    match result {
        0 => Restored::Done,
        1 => Restored::Missing,
        _ => Restored::Refused,
    }
}

/// Where an exception at `rip` goes on, if it is one that a routine may meet there.
pub fn fixup(vector: u64, rip: u64) -> Option<u64> {
    let restore = [includeos_user_restore_fpu as *const (), includeos_user_restore_fpu_fixup as *const ()];
    let routines = [
        [includeos_user_copy as *const (), includeos_user_copy_fixup as *const ()],
        [includeos_user_compare_exchange as *const (), includeos_user_compare_exchange_fixup as *const ()],
        [includeos_user_save_fpu as *const (), includeos_user_save_fpu_fixup as *const ()],
        restore,
    ];
    let is_in = |[start, end]: [*const (); 2]| (start as u64..end as u64).contains(&rip);
    match vector {
        VECTOR_PF => routines.into_iter().find(|&routine| is_in(routine)).map(|[_, end]| end as u64),
        VECTOR_GP if is_in(restore) => Some(includeos_user_restore_fpu_refused as *const () as u64),
        _ => None,
    }
}
