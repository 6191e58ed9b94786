//! I/O ports.

use core::arch::asm;

/// Writes an octet to a port.
///
/// # Safety
/// The device behind the port does nothing on this write that breaks memory safety (no DMA, no reset that the
/// caller does not mean).
#[inline]
pub unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes 32 bits to a port.
///
/// # Safety
/// As [`outb`].
#[inline]
pub unsafe fn outl(port: u16, value: u32) {
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes 16 bits to a port.
///
/// # Safety
/// As [`outb`].
#[inline]
pub unsafe fn outw(port: u16, value: u16) {
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes octets to one port, one after the other; one exit for all of them where the monitor batches strings.
///
/// # Safety
/// As [`outb`], for each octet.
#[inline]
pub unsafe fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: the caller's promise; the instruction reads exactly `bytes`. The direction flag is clear (SysV ABI).
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(readonly, nostack, preserves_flags));
    }
}

/// Reads an octet from a port.
///
/// # Safety
/// Reading the port has no effect that breaks memory safety.
#[inline]
pub unsafe fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads 16 bits from a port.
///
/// # Safety
/// As [`inb`].
#[inline]
pub unsafe fn inw(port: u16) -> u16 {
    let value;
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads 32 bits from a port.
///
/// # Safety
/// As [`inb`].
#[inline]
pub unsafe fn inl(port: u16) -> u32 {
    let value;
    // SAFETY: the caller's promise; the instruction touches no memory.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) }
    value
}
