//! mmap(2) and its kin.

use kernel::arch::current::paging::{PAGE_SIZE, Protection};
use kernel::mm::{self, Map, Remap};

use crate::errno::{EBADF, EINVAL, ENODEV, Result};

fn protection(prot: i32) -> core::result::Result<Protection, crate::errno::Errno> {
    const WRITE: i32 = 2;
    const EXEC: i32 = 4;
    /// PROT_GROWSDOWN and PROT_GROWSUP change how far mprotect reaches; nothing here grows.
    const KNOWN: i32 = 7 | 0x0100_0000 | 0x0200_0000;
    if prot & !KNOWN != 0 {
        return Err(EINVAL);
    }
    // x86 has no pages that can be written or executed and not read.
    Ok(Protection { read: prot & 7 != 0, write: prot & WRITE != 0, execute: prot & EXEC != 0 })
}

/// mmap(2).
pub fn mmap(addr: u64, length: u64, prot: i32, flags: i32, fd: i32, offset: u64) -> Result {
    const TYPE: i32 = 0xf;
    const FIXED: i32 = 0x10;
    const ANONYMOUS: i32 = 0x20;
    const NORESERVE: i32 = 0x4000;
    const POPULATE: i32 = 0x8000;
    const STACK: i32 = 0x2_0000;
    const FIXED_NOREPLACE: i32 = 0x10_0000;
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    if flags & ANONYMOUS == 0 {
        return Err(if (0..3).contains(&fd) { ENODEV } else { EBADF });
    }
    if !(1..=3).contains(&(flags & TYPE)) {
        return Err(EINVAL);
    }
    let fixed = flags & (FIXED | FIXED_NOREPLACE) != 0;
    if fixed && !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    Ok(mm::map(Map {
        address: addr,
        len: length,
        protection: protection(prot & 7)?,
        fixed,
        no_replace: flags & FIXED_NOREPLACE != 0,
        // A thread's stack is large and mostly untouched; Linux' own stacks are not counted either.
        no_reserve: flags & (NORESERVE | STACK) != 0,
        populate: flags & POPULATE != 0,
    })?)
}

/// mprotect(2).
pub fn mprotect(addr: u64, len: u64, prot: i32) -> Result {
    const GROWS: i32 = 0x0300_0000;
    if !addr.is_multiple_of(PAGE_SIZE) || prot & GROWS == GROWS {
        return Err(EINVAL);
    }
    mm::protect(addr, len, protection(prot)?)?;
    Ok(0)
}

/// munmap(2).
pub fn munmap(addr: u64, length: u64) -> Result {
    mm::unmap(addr, length)?;
    Ok(0)
}

/// mremap(2).
pub fn mremap(addr: u64, old_len: u64, new_len: u64, flags: u32, to: u64) -> Result {
    const MAYMOVE: u32 = 1;
    const FIXED: u32 = 2;
    let fixed = flags & FIXED != 0;
    let misplaced = fixed && (flags & MAYMOVE == 0 || !to.is_multiple_of(PAGE_SIZE));
    if flags & !(MAYMOVE | FIXED) != 0 || !addr.is_multiple_of(PAGE_SIZE) || new_len == 0 || misplaced {
        return Err(EINVAL);
    }
    let may_move = flags & MAYMOVE != 0;
    Ok(mm::remap(Remap { address: addr, old_len, new_len, may_move, to: fixed.then_some(to) })?)
}

/// brk(2): the system call returns the end, moved or not.
pub fn brk(addr: u64) -> Result {
    Ok(mm::brk(addr))
}

/// madvise(2).
pub fn madvise(addr: u64, length: u64, advice: i32) -> Result {
    const DONTNEED: i32 = 4;
    const FREE: i32 = 8;
    // NORMAL, RANDOM, SEQUENTIAL, WILLNEED, and the hints from 10 to 21 and COLD, PAGEOUT, POPULATE.
    let is_hint = matches!(advice, 0..=3 | 10..=23);
    if !is_hint && !matches!(advice, DONTNEED | FREE) || !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    match (length, is_hint) {
        (0, _) => {}
        (_, true) => mm::check_mapped(addr, length)?,
        (_, false) => mm::discard(addr, length)?,
    }
    Ok(0)
}
