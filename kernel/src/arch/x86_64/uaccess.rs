//! The one routine that touches program memory.

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
    "3: test rdx, rdx",
    "jz 4f",
    "mov al, [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jmp 3b",
    // Both the end and the place where a fault above goes on.
    "4: includeos_user_copy_fixup:",
    "mov rax, rdx",
    "ret",
    // The same where the program's pages are closed to the kernel otherwise (SMAP, SDM vol. 3 § 5.6): RFLAGS.AC opens them.
    ".globl includeos_user_copy_smap",
    "includeos_user_copy_smap:",
    "stac",
    "call includeos_user_copy",
    "clac",
    "ret",
    ".text",
);

unsafe extern "C" {
    fn includeos_user_copy(to: *mut u8, from: *const u8, len: usize) -> usize;
    fn includeos_user_copy_fixup();
    fn includeos_user_copy_smap(to: *mut u8, from: *const u8, len: usize) -> usize;
}

/// The routine that copies on this machine.
static COPY: AtomicPtr<()> = AtomicPtr::new(includeos_user_copy as *const () as *mut ());

/// Has copies open the program's pages: SMAP is about to be turned on.
pub(super) fn use_smap() {
    COPY.store(includeos_user_copy_smap as *const () as *mut (), Ordering::Relaxed);
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

/// Where a page fault at `rip` goes on, if `rip` is in the copy.
pub fn fixup(rip: u64) -> Option<u64> {
    let start = includeos_user_copy as *const () as u64;
    let end = includeos_user_copy_fixup as *const () as u64;
    (start..end).contains(&rip).then_some(end)
}
