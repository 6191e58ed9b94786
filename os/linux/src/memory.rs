//! mmap(2) and its kin.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::arch::current::paging::{LOW_END, PAGE_SIZE, Protection};
use kernel::mm::{self, Access, Map, MapError, MappedArea, PageInError, Remap};
use kernel::{sched, uaccess};

use crate::errno::{EACCES, EAGAIN, EFAULT, EINVAL, ENODEV, ENOMEM, ENOSPC, EPERM, Errno, Result};
use crate::{fd, files};

fn protection(prot: i32) -> core::result::Result<Protection, Errno> {
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
    const PRIVATE: i32 = 2;
    const FIXED: i32 = 0x10;
    const ANONYMOUS: i32 = 0x20;
    const NORESERVE: i32 = 0x4000;
    const POPULATE: i32 = 0x8000;
    const STACK: i32 = 0x2_0000;
    const FIXED_NOREPLACE: i32 = 0x10_0000;
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let file = if flags & ANONYMOUS == 0 { Some(fd::get_open(fd)?) } else { None };
    if !(1..=3).contains(&(flags & TYPE)) {
        return Err(EINVAL);
    }
    let fixed = flags & (FIXED | FIXED_NOREPLACE) != 0;
    if fixed && !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let request = Map {
        address: addr,
        len: length,
        protection: protection(prot & 7)?,
        fixed,
        no_replace: flags & FIXED_NOREPLACE != 0,
        // A thread's stack is large and mostly untouched; Linux' own stacks are not counted either.
        no_reserve: flags & (NORESERVE | STACK) != 0,
    };
    let address = match file {
        Some(file) => {
            let files = files::operations().ok_or(ENODEV)?;
            (files.map)(&file, offset, request, flags & TYPE != PRIVATE)?
        }
        None => mm::map(request, None)?,
    };
    if flags & POPULATE != 0 {
        populate_new(address, request);
    }
    Ok(address)
}

/// Backs the pages of a mapping that was just made. One that is not to be had is looked for again at its first touch
/// (mmap(2), `MAP_POPULATE`).
fn populate_new(address: u64, request: Map) {
    let access = match request.protection {
        protection if protection.write => Access::Write,
        protection if protection.read => Access::Read,
        _ => return,
    };
    let end = address.saturating_add(request.len);
    for page in (address..end).step_by(PAGE_SIZE as usize) {
        if mm::page_in(page, access).is_err() || sched::breathe() {
            break;
        }
    }
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
    const DONTUNMAP: u32 = 4;
    let fixed = flags & FIXED != 0;
    let keep = flags & DONTUNMAP != 0;
    let misplaced = fixed && !to.is_multiple_of(PAGE_SIZE)
        || (fixed || keep) && flags & MAYMOVE == 0
        || keep && old_len != new_len;
    if flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0
        || !addr.is_multiple_of(PAGE_SIZE)
        || new_len == 0
        || misplaced
    {
        return Err(EINVAL);
    }
    let may_move = flags & MAYMOVE != 0;
    Ok(mm::remap(Remap { address: addr, old_len, new_len, may_move, to: fixed.then_some(to), keep })?)
}

/// brk(2): the system call returns the end, moved or not.
pub fn brk(addr: u64) -> Result {
    Ok(mm::brk(addr))
}

/// madvise(2).
pub fn madvise(addr: u64, length: u64, advice: i32) -> Result {
    const DONTNEED: i32 = 4;
    const FREE: i32 = 8;
    const REMOVE: i32 = 9;
    const POPULATE_READ: i32 = 22;
    const POPULATE_WRITE: i32 = 23;
    const DONTNEED_LOCKED: i32 = 24;
    // NORMAL, RANDOM, SEQUENTIAL, WILLNEED; DONTFORK to KEEPONFORK; COLD, PAGEOUT.
    let is_hint = matches!(advice, 0..=3 | 10..=21);
    let acts = matches!(advice, DONTNEED | FREE | REMOVE | POPULATE_READ | POPULATE_WRITE | DONTNEED_LOCKED);
    if !is_hint && !acts || !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let end = range_end(addr, length).ok_or(EINVAL)?;
    if end == addr {
        return Ok(0);
    }
    match advice {
        // Without a file behind it, memory is given up at once.
        FREE if areas(addr..end).any(|area| area.file.is_some()) => return Err(EINVAL),
        DONTNEED | FREE | DONTNEED_LOCKED => mm::discard(addr, length)?,
        REMOVE => {
            mm::check_mapped(addr, length).map_err(behind_is_unmapped)?;
            return remove(addr..end);
        }
        POPULATE_READ | POPULATE_WRITE => {
            mm::check_mapped(addr, length).map_err(behind_is_unmapped)?;
            let access = if advice == POPULATE_READ { Access::Read } else { Access::Write };
            populate(addr..end, |_| Some(access)).map_err(|error| match error {
                PageInError::Protected => EINVAL,
                // Gone meanwhile.
                PageInError::NotMapped | PageInError::NoMemory => ENOMEM,
                PageInError::Kernel | PageInError::BehindEnd | PageInError::NoSpace => EFAULT,
            })?;
        }
        _ => mm::check_mapped(addr, length).map_err(behind_is_unmapped)?,
    }
    Ok(0)
}

/// The areas in a range, one after the other, as each is when it is its turn.
fn areas(range: core::ops::Range<u64>) -> impl Iterator<Item = MappedArea> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        let area = mm::area_at_or_above(at).filter(|area| area.range.start < range.end)?;
        at = area.range.end;
        Some(area)
    })
}

/// madvise(2), `MADV_REMOVE`: punches holes into the files that are mapped in a range.
fn remove(range: core::ops::Range<u64>) -> Result {
    for area in areas(range.clone()) {
        let part = area.range.start.max(range.start)..area.range.end.min(range.end);
        let Some(backing) = area.file else { return Err(EINVAL) };
        if !backing.shared || !area.protection.write {
            return Err(EACCES);
        }
        let offset = backing.first * PAGE_SIZE + (part.start - area.range.start);
        let files = files::operations().ok_or(EINVAL)?;
        (files.punch_hole)(&backing, offset, part.end - part.start)?;
    }
    Ok(0)
}

/// Nothing is mapped behind the program's part: a gap, for the calls that refuse gaps.
fn behind_is_unmapped(error: MapError) -> MapError {
    match error {
        MapError::Invalid => MapError::NoMemory,
        error => error,
    }
}

/// The end of a range in whole pages. `None`: it wraps.
fn range_end(addr: u64, length: u64) -> Option<u64> {
    addr.checked_add(length.checked_next_multiple_of(PAGE_SIZE)?)
}

/// Backs the pages of a range as `access` says for each one's protection; pages for which it says nothing are
/// [`PageInError::Protected`].
fn populate(
    range: core::ops::Range<u64>,
    access: impl Fn(Protection) -> Option<Access>,
) -> core::result::Result<(), PageInError> {
    for page in range.step_by(PAGE_SIZE as usize) {
        let protection = mm::protection_at(page).ok_or(PageInError::NotMapped)?;
        mm::page_in(page, access(protection).ok_or(PageInError::Protected)?)?;
        // It is as long as memory is large; only a signal that ends the program would end it on Linux.
        sched::breathe();
    }
    Ok(())
}

/// mincore(2).
pub fn mincore(addr: u64, length: u64, vec: u64) -> Result {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    if uaccess::check_range(addr, length).is_err() {
        return Err(ENOMEM);
    }
    let pages = length.div_ceil(PAGE_SIZE);
    uaccess::check_range(vec, pages)?;
    let mut chunk = [0; 512];
    let mut done = 0;
    while done < pages {
        let part = &mut chunk[..(pages - done).min(512) as usize];
        mm::residency(addr + done * PAGE_SIZE, part)?;
        uaccess::write_bytes(vec + done, part)?;
        done += part.len() as u64;
        sched::breathe();
    }
    Ok(0)
}

/// msync(2): there is nothing that memory could be written back to.
pub fn msync(addr: u64, length: u64, flags: i32) -> Result {
    const ASYNC: i32 = 1;
    const INVALIDATE: i32 = 2;
    const SYNC: i32 = 4;
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0
        || !addr.is_multiple_of(PAGE_SIZE)
        || flags & (ASYNC | SYNC) == ASYNC | SYNC
    {
        return Err(EINVAL);
    }
    // As on Linux, a length that wraps when it is rounded up is one of nothing.
    let len = length.wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    if len != 0 {
        mm::check_mapped(addr, len).map_err(|_| ENOMEM)?;
    }
    Ok(0)
}

/// The pages that a call of the mlock family means, from the one that holds `addr` on. As on Linux, a length that wraps when
/// it is rounded up is one of nothing.
fn locked_range(addr: u64, length: u64) -> core::result::Result<core::ops::Range<u64>, Errno> {
    let start = addr & !(PAGE_SIZE - 1);
    let len = length.wrapping_add(addr - start).wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    let end = start.checked_add(len).ok_or(EINVAL)?;
    if end > LOW_END && end != start {
        return Err(ENOMEM);
    }
    Ok(start..end)
}

/// mlock(2): backs the range. Nothing is ever paged out, so it stays.
pub fn mlock(addr: u64, length: u64) -> Result {
    mlock2(addr, length, 0)
}

/// mlock2(2).
pub fn mlock2(addr: u64, length: u64, flags: i32) -> Result {
    const ONFAULT: i32 = 1;
    if flags & !ONFAULT != 0 {
        return Err(EINVAL);
    }
    let range = locked_range(addr, length)?;
    if range.is_empty() {
        return Ok(0);
    }
    mm::check_mapped(range.start, range.end - range.start).map_err(|_| ENOMEM)?;
    if flags & ONFAULT == 0 {
        let access = |protection: Protection| match protection {
            Protection { write: true, .. } => Some(Access::Write),
            Protection { read: true, .. } => Some(Access::Read),
            _ => None,
        };
        populate(range, access).map_err(|error| match error {
            PageInError::NoMemory => EAGAIN,
            _ => ENOMEM,
        })?;
    }
    Ok(0)
}

/// munlock(2).
pub fn munlock(addr: u64, length: u64) -> Result {
    let range = locked_range(addr, length)?;
    if !range.is_empty() {
        mm::check_mapped(range.start, range.end - range.start).map_err(|_| ENOMEM)?;
    }
    Ok(0)
}

/// mlockall(2).
pub fn mlockall(flags: i32) -> Result {
    const CURRENT: i32 = 1;
    const FUTURE: i32 = 2;
    const ONFAULT: i32 = 4;
    if flags & !(CURRENT | FUTURE | ONFAULT) != 0 || flags & (CURRENT | FUTURE) == 0 {
        return Err(EINVAL);
    }
    Ok(0)
}

/// munlockall(2).
pub fn munlockall() -> Result {
    Ok(0)
}

/// pkey_mprotect(2): without a key, mprotect(2).
pub fn pkey_mprotect(addr: u64, len: u64, prot: i32, pkey: i32) -> Result {
    if pkey != -1 {
        return Err(EINVAL);
    }
    mprotect(addr, len, prot)
}

/// pkey_alloc(2): as on a CPU without protection keys.
pub fn pkey_alloc(flags: u64, access_rights: u64) -> Result {
    const ACCESS_MASK: u64 = 3;
    Err(if flags != 0 || access_rights & !ACCESS_MASK != 0 { EINVAL } else { ENOSPC })
}

/// pkey_free(2): no key was given out.
pub fn pkey_free(_pkey: i32) -> Result {
    Err(EINVAL)
}

/// membarrier(2). All commands are carried out in the same way, by interrupting the CPUs that run threads.
pub fn membarrier(cmd: i32, flags: u32, _cpu: i32) -> Result {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 1 << 1;
    const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;
    const PRIVATE_EXPEDITED: i32 = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
    const ALL: i32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED;
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if flags != 0 {
        return Err(EINVAL);
    }
    match cmd {
        QUERY => return Ok(ALL as u64),
        REGISTER_PRIVATE_EXPEDITED => REGISTERED.store(true, Ordering::Relaxed),
        REGISTER_GLOBAL_EXPEDITED => {}
        PRIVATE_EXPEDITED if !REGISTERED.load(Ordering::Relaxed) => return Err(EPERM),
        GLOBAL | GLOBAL_EXPEDITED | PRIVATE_EXPEDITED => mm::barrier_on_all_cpus(),
        _ => return Err(EINVAL),
    }
    Ok(0)
}
