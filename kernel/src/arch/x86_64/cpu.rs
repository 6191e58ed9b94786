//! Control registers and model-specific registers.

use core::arch::asm;

/// Model-specific registers that the kernel uses (SDM vol. 4).
pub mod msr {
    /// LAPIC base and mode.
    pub const APIC_BASE: u32 = 0x1b;
    /// Extended features: long mode, no-execute, `syscall`.
    pub const EFER: u32 = 0xc000_0080;
    /// Selectors of `syscall` and `sysret`.
    pub const STAR: u32 = 0xc000_0081;
    /// Entry point of `syscall`.
    pub const LSTAR: u32 = 0xc000_0082;
    /// RFLAGS bits that `syscall` clears.
    pub const FMASK: u32 = 0xc000_0084;
    /// Base of `%fs`.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// Base of `%gs`.
    pub const GS_BASE: u32 = 0xc000_0101;
    /// What `swapgs` exchanges with [`GS_BASE`].
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    /// x2APIC registers: this plus the xAPIC offset divided by 16.
    pub const X2APIC: u32 = 0x800;
    /// Time-stamp counter at which the LAPIC timer fires in deadline mode.
    pub const TSC_DEADLINE: u32 = 0x6e0;
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists on this CPU; reading it has no side effect that breaks memory safety.
#[inline]
pub unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists on this CPU, and the new value keeps every promise that code relies on.
#[inline]
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// The address whose access caused the last page fault.
#[inline]
pub fn cr2() -> u64 {
    let value;
    // SAFETY: reading CR2 changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Physical address of the PML4 in use.
#[inline]
pub fn cr3() -> u64 {
    let value: u64;
    // SAFETY: reading CR3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value & !0xfff
}

/// Forgets all translations, on this CPU. (None is global.)
#[inline]
pub fn reload_cr3() {
    // SAFETY: the same tables again.
    unsafe {
        asm!("mov {t}, cr3", "mov cr3, {t}", t = out(reg) _, options(nostack, preserves_flags));
    }
}

/// Forgets the translation of the page that holds `address`, on this CPU.
#[inline]
pub fn invlpg(address: u64) {
    // SAFETY: forgetting a translation makes the CPU walk the tables again and nothing else.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Sets CR4.OSXSAVE and XCR0, so that `xsave` covers the components of `mask`.
///
/// # Safety
/// CPUID offers XSAVE and every component of `mask`.
pub unsafe fn enable_xsave(mask: u64) {
    // SAFETY: the caller's promise; the bit enables instructions and changes the meaning of none in use.
    unsafe {
        set_cr4(1 << 18);
        asm!("xsetbv", in("ecx") 0, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
            options(nomem, nostack, preserves_flags));
    }
}

/// Sets bits of CR4.
///
/// # Safety
/// CPUID offers what the bits turn on, and code in use keeps its meaning under them.
pub unsafe fn set_cr4(bits: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("mov {t}, cr4", "or {t}, {bits}", "mov cr4, {t}", t = out(reg) _, bits = in(reg) bits,
            options(nostack));
    }
}
