//! [`SharedPage`]: a page of RAM that several hold, such as a page of a file.
//!
//! Its octets may be written by several CPUs, and by the program, while others read them: so they are only ever copied, and nobody
//! gets a reference to them.

use alloc::sync::Arc;
use core::ops::Range;

use super::{direct, frames, space};
use crate::arch::current::paging::PAGE_SIZE;
use crate::uaccess;

/// A page of RAM, which the program was not promised. Clones are the same page; its frame is free again when the last one goes.
#[derive(Clone)]
pub struct SharedPage(Arc<Frame>);

/// The frame's physical address.
struct Frame(u64);

impl SharedPage {
    /// A page of zeroes. `None`: what is left of RAM is promised to the program.
    pub fn alloc() -> Option<Self> {
        if !space::promise_to_files(PAGE_SIZE) {
            return None;
        }
        let Some(frame) = frames::alloc_zeroed() else {
            space::take_back_from_files(PAGE_SIZE);
            return None;
        };
        Some(Self(Arc::new(Frame(frame))))
    }

    /// The frame's physical address. It is a frame as long as a clone of the page is there.
    pub(super) fn frame(&self) -> u64 {
        self.0.0
    }

    /// Where an octet of it is in the direct map. `len` octets from there are in it.
    fn pointer(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at <= PAGE_SIZE as usize && len <= PAGE_SIZE as usize - at, "an octet outside of the page");
        direct::pointer(self.0.0 + at as u64)
    }

    /// Copies octets out.
    ///
    /// # Panics
    /// If they are not in a page.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        // SAFETY: the frame is ours as long as `self` is, and `pointer` has checked the length; `to` is not in it.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(self.pointer(at, to.len()), to.len()) }
    }

    /// Copies octets in.
    ///
    /// # Panics
    /// If they are not in a page.
    pub fn write(&self, at: usize, from: &[u8]) {
        // SAFETY: as in `read`.
        unsafe { self.pointer(at, from.len()).copy_from_nonoverlapping(from.as_ptr(), from.len()) }
    }

    /// Writes zeroes.
    ///
    /// # Panics
    /// If they are not in a page.
    pub fn zero(&self, range: Range<usize>) {
        // SAFETY: as in `read`.
        unsafe { self.pointer(range.start, range.len()).write_bytes(0, range.len()) }
    }

    /// Copies octets to the program; returns how many: all, or those before the first that cannot be written.
    ///
    /// # Panics
    /// If they are not in a page.
    pub fn copy_to_program(&self, at: usize, to: u64, len: usize) -> usize {
        // SAFETY: as in `read`.
        unsafe { uaccess::write_raw(to, self.pointer(at, len), len) }
    }

    /// Copies octets from the program; returns how many: all, or those before the first that cannot be read.
    ///
    /// # Panics
    /// If they are not in a page.
    pub fn copy_from_program(&self, at: usize, from: u64, len: usize) -> usize {
        // SAFETY: as in `read`; there is never a reference to the frame.
        unsafe { uaccess::read_raw(from, self.pointer(at, len), len) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: it came from `frames`, one frame, and nobody holds it any more.
        unsafe { frames::free(self.0, 0) };
        space::take_back_from_files(PAGE_SIZE);
    }
}

/// Promises bytes of the kernel's heap to files. `false`: so many are not left.
pub fn promise(bytes: usize) -> bool {
    space::promise_to_files(bytes as u64)
}

/// Takes a promise back.
pub fn take_back(bytes: usize) {
    space::take_back_from_files(bytes as u64);
}

/// Bytes of the kernel's heap that the program has some use of: they are not promised to it again, so that what fills up is its
/// memory and not the kernel's. Dropping it takes the promise back.
#[derive(Debug, Default)]
pub struct Promise(usize);

impl Promise {
    /// Of nothing.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Promises as many bytes in all. `false`: so many are not left, and it is as it was.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.0);
        let granted = more == 0 || promise(more);
        if granted {
            self.0 += more;
        }
        granted
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        take_back(self.0);
    }
}
