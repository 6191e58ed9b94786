//! Program memory, as the kernel reads and writes it.
//!
//! An address from the program is a claim. These functions refuse what is not the program's half or is the kernel's own
//! memory in it, page in what is promised, and return [`Fault`] for the rest.

use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use crate::arch::current::paging::{LOW_END, PAGE_SIZE};
use crate::arch::current::{percpu, uaccess};
use crate::mm::{self, Access};

/// The program named memory that it may not use in this way (EFAULT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Types of which every bit pattern is a value: what may be read from a program's memory as it is.
///
/// # Safety
/// Any octets of the type's size are a valid value, and it has no padding (its octets are written to the program).
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($kind:ty),*) => { $(
        // SAFETY: integers have no invalid values and no padding.
        unsafe impl Plain for $kind {}
    )* };
}
plain!(u8, u16, u32, u64, i32, i64, usize);
// SAFETY: as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Checks that a range lies in the program's part, whatever is mapped there: the first thing Linux does with a buffer
/// (`access_ok`), also with an empty one.
///
/// # Errors
/// [`Fault`].
pub fn check_range(address: u64, len: u64) -> Result<(), Fault> {
    if address.checked_add(len).is_some_and(|end| end <= LOW_END) { Ok(()) } else { Err(Fault) }
}

fn check(address: u64, len: usize) -> Result<(), Fault> {
    percpu::assert_in_section();
    check_range(address, len as u64)?;
    if mm::image::holds_kernel(address..address + len as u64) { Err(Fault) } else { Ok(()) }
}

/// Fills `to` from program memory.
///
/// # Errors
/// [`Fault`]; part of `to` may be filled.
pub fn read_bytes(from: u64, to: &mut [u8]) -> Result<(), Fault> {
    check(from, to.len())?;
    if read_some(from, to) == to.len() { Ok(()) } else { Err(Fault) }
}

/// As [`read_bytes`], as far as there is something: returns how many octets were read.
pub fn read_some(from: u64, to: &mut [u8]) -> usize {
    // SAFETY: a slice may be written.
    unsafe { read_raw(from, to.as_mut_ptr(), to.len()) }
}

/// Copies octets to program memory.
///
/// # Errors
/// [`Fault`]; some of the octets may have been written.
pub fn write_bytes(to: u64, from: &[u8]) -> Result<(), Fault> {
    if write_some(to, from) == from.len() { Ok(()) } else { Err(Fault) }
}

/// As [`write_bytes`], as far as that is possible: returns how many octets were written.
pub fn write_some(to: u64, from: &[u8]) -> usize {
    // SAFETY: a slice may be read.
    unsafe { write_raw(to, from.as_ptr(), from.len()) }
}

/// Copies octets from program memory to where others may write, too, and returns how many: all, or those before the first that
/// cannot be read.
///
/// # Safety
/// `to` is the kernel's memory and may be written, as far as `len`; no reference to it is used meanwhile that says otherwise.
pub(crate) unsafe fn read_raw(from: u64, to: *mut u8, len: usize) -> usize {
    if check(from, len).is_err() {
        return 0;
    }
    // SAFETY: the kernel's side is the caller's promise; the other was checked to be in the program's half.
    unsafe { copy(to, from as *const u8, len, Access::Read) }
}

/// Copies octets to program memory from where others may write, too, and returns how many: all, or those before the first that
/// cannot be written.
///
/// # Safety
/// `from` is the kernel's memory, as far as `len`.
pub(crate) unsafe fn write_raw(to: u64, from: *const u8, len: usize) -> usize {
    if check(to, len).is_err() {
        return 0;
    }
    // SAFETY: as in `read_raw`, the other way round.
    unsafe { copy(to as *mut u8, from, len, Access::Write) }
}

/// Copies, bringing in what is missing on the program's side, which is accessed as `access` says. Returns how many octets.
///
/// # Safety
/// As [`uaccess::copy`].
#[inline]
unsafe fn copy(to: *mut u8, from: *const u8, len: usize, access: Access) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { uaccess::copy(to, from, len) } {
        0 => len,
        // SAFETY: as above.
        left => unsafe { resume_copy(to, from, len, left, access) },
    }
}

/// Goes on with a copy that a page was missing for, `left` octets before its end.
///
/// # Safety
/// As [`copy`].
#[cold]
#[inline(never)]
unsafe fn resume_copy(to: *mut u8, from: *const u8, len: usize, mut left: usize, access: Access) -> usize {
    // SAFETY: the caller's promise; `done` is less than `len`.
    let go_on =
        |done: usize, step| unsafe { uaccess::copy(to.wrapping_add(done), from.wrapping_add(done), step) };
    while left > 0 {
        let fault = percpu::this().uaccess_fault.load(Ordering::Relaxed);
        let done = len - left;
        if page_in_fault(access).is_err() {
            // Several octets are copied at once: those before the page that is not there are still to come.
            let user = if access == Access::Read { from as u64 } else { to as u64 } + done as u64;
            let before = (fault & !(PAGE_SIZE - 1)).saturating_sub(user).min(left as u64) as usize;
            return done + before - go_on(done, before);
        }
        left = go_on(done, left);
    }
    len
}

/// Has `step` touch a range of program memory, again each time that it gives `None` because a page is missing.
///
/// # Errors
/// [`Fault`].
pub(crate) fn touch<R>(
    address: u64,
    len: usize,
    access: Access,
    mut step: impl FnMut() -> Option<R>,
) -> Result<R, Fault> {
    check(address, len)?;
    loop {
        if let Some(result) = step() {
            return Ok(result);
        }
        page_in_fault(access)?;
    }
}

/// Backs the pages of a range for writing: what is written there next arrives, unless another thread unmaps it.
///
/// # Errors
/// [`Fault`]: part of the range may not be written.
pub fn prepare_write(address: u64, len: usize) -> Result<(), Fault> {
    check(address, len)?;
    let mut at = address;
    while at < address + len as u64 {
        mm::page_in(at, Access::Write).map_err(|_| Fault)?;
        at = (at | (PAGE_SIZE - 1)) + 1;
    }
    Ok(())
}

/// Backs the page that the last copy missed.
fn page_in_fault(access: Access) -> Result<(), Fault> {
    let address = percpu::this().uaccess_fault.load(Ordering::Relaxed);
    mm::page_in(address, access).map_err(|_| Fault)
}

/// Reads a value.
///
/// # Errors
/// [`Fault`].
pub fn read<T: Plain>(from: u64) -> Result<T, Fault> {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the octets are initialised (to zero), and `T: Plain` takes any.
    unsafe {
        let octets = core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>());
        read_bytes(from, octets)?;
        Ok(value.assume_init())
    }
}

/// Writes a value.
///
/// # Errors
/// [`Fault`].
pub fn write<T: Plain>(to: u64, value: T) -> Result<(), Fault> {
    // SAFETY: `T: Plain` has no padding, so that all its octets are initialised.
    let octets = unsafe { core::slice::from_raw_parts((&raw const value).cast(), size_of::<T>()) };
    write_bytes(to, octets)
}

/// Reads a word without paging it in: under a lock, after [`page_in_word`] without it. One access if `from` is a multiple
/// of 4.
///
/// # Errors
/// [`Fault`]: the page is not there at the moment, or never.
pub fn try_read_word(from: u64) -> Result<u32, Fault> {
    check(from, 4)?;
    let mut word = 0u32;
    // SAFETY: as in `read_bytes`.
    let left = unsafe { uaccess::copy((&raw mut word).cast(), from as *const u8, 4) };
    if left == 0 { Ok(word) } else { Err(Fault) }
}

/// Replaces a word, in one step, if it is `old`; returns what was found. Does not page it in, as [`try_read_word`]. `at` is a
/// multiple of 4.
///
/// # Errors
/// [`Fault`]: the page is not there at the moment, or may not be written.
pub fn try_compare_exchange(at: u64, old: u32, new: u32) -> Result<u32, Fault> {
    check(at, 4)?;
    if !at.is_multiple_of(4) {
        return Err(Fault);
    }
    // SAFETY: an aligned address in the program's half.
    unsafe { uaccess::compare_exchange(at as *mut u32, old, new) }.ok_or(Fault)
}

/// Backs the page of a word, for reading or writing. Another thread may unmap it again before the next access.
///
/// # Errors
/// [`Fault`].
pub fn page_in_word(at: u64, access: Access) -> Result<(), Fault> {
    check(at, 4)?;
    mm::page_in(at, access).map_err(|_| Fault)
}

/// Reads a string that ends with a zero octet, without it, into `to`.
///
/// # Errors
/// `Err(None)`: no zero octet in the first `to.len()`; `Err(Some(Fault))`.
pub fn read_cstr(from: u64, to: &mut [u8]) -> Result<usize, Option<Fault>> {
    /// Octets that are read at once: not across the end of a page, behind which nothing may be mapped.
    const STEP: u64 = 64;
    let mut done = 0;
    while done < to.len() {
        let at = from.checked_add(done as u64).ok_or(Some(Fault))?;
        let step = ((STEP - at % STEP) as usize).min(to.len() - done);
        let piece = &mut to[done..done + step];
        read_bytes(at, piece).map_err(Some)?;
        if let Some(end) = piece.iter().position(|octet| *octet == 0) {
            return Ok(done + end);
        }
        done += step;
    }
    Err(None)
}
