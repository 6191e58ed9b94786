//! The routines that touch program memory.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicPtr, Ordering};

global_asm!(
    ".section .text.uaccess,\"ax\",@progbits",
    // includeos_user_copy(to: rdi, from: rsi, len: rdx) -> octets not copied
    ".globl includeos_user_copy",
    ".globl includeos_user_copy_fixup",
    "includeos_user_copy:",
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
    // The same where the program's pages are closed to the kernel otherwise (SMAP, SDM vol. 3 § 5.6): RFLAGS.AC opens them.
    ".globl includeos_user_copy_smap",
    "includeos_user_copy_smap:",
    "stac",
    "call includeos_user_copy",
    "clac",
    "ret",
    ".globl includeos_user_compare_exchange_smap",
    "includeos_user_compare_exchange_smap:",
    "stac",
    "call includeos_user_compare_exchange",
    "clac",
    "ret",
    ".text",
);

unsafe extern "C" {
    fn includeos_user_copy();
    fn includeos_user_copy_fixup();
    fn includeos_user_copy_smap();
    fn includeos_user_compare_exchange();
    fn includeos_user_compare_exchange_fixup();
    fn includeos_user_compare_exchange_smap();
}

/// The routines of this machine.
static COPY: AtomicPtr<()> = AtomicPtr::new(includeos_user_copy as *const () as *mut ());
static COMPARE_EXCHANGE: AtomicPtr<()> =
    AtomicPtr::new(includeos_user_compare_exchange as *const () as *mut ());

/// Has the routines open the program's pages: SMAP is about to be turned on.
pub(super) fn use_smap() {
    COPY.store(includeos_user_copy_smap as *const () as *mut (), Ordering::Relaxed);
    COMPARE_EXCHANGE.store(includeos_user_compare_exchange_smap as *const () as *mut (), Ordering::Relaxed);
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
            inout("rdx") len => _, lateout("rax") left, out("xmm0") _);
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

/// Where a page fault at `rip` goes on, if `rip` is in one of the routines.
pub fn fixup(rip: u64) -> Option<u64> {
    let routines = [
        [includeos_user_copy as *const (), includeos_user_copy_fixup as *const ()],
        [includeos_user_compare_exchange as *const (), includeos_user_compare_exchange_fixup as *const ()],
    ];
    let found = routines.into_iter().find(|[start, end]| (*start as u64..*end as u64).contains(&rip));
    found.map(|[_, end]| end as u64)
}
