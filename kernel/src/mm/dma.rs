//! [`DmaRegion`]: memory that a device and the kernel share.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use frame::DmaAddr;

use super::{direct, frames};
use crate::arch::current::paging::PAGE_SIZE;

/// Memory that is contiguous for devices, zeroed at first, at a page's boundary. A device may change it at any moment, so it
/// is only read and written by atomic accesses of the sizes that devices use.
#[derive(Debug)]
pub struct DmaRegion {
    start: NonNull<u8>,
    order: u8,
    dma: DmaAddr,
}

// SAFETY: the memory is this value's alone (and the device's), and is not bound to a CPU.
unsafe impl Send for DmaRegion {}
// SAFETY: all accesses are atomic.
unsafe impl Sync for DmaRegion {}

impl DmaRegion {
    /// At least `len` bytes. `None`: there are not as many in one piece.
    pub fn allocate(len: usize) -> Option<Self> {
        let pages = len.div_ceil(PAGE_SIZE as usize).max(1).checked_next_power_of_two()?;
        let order = pages.trailing_zeros() as u8;
        let (start, dma) = pages_for_device(order)?;
        // SAFETY: just allocated with this size.
        unsafe { start.write_bytes(0, (PAGE_SIZE as usize) << order) };
        Some(Self { start, order, dma })
    }

    /// The first byte as devices see it.
    pub fn dma(&self) -> DmaAddr {
        self.dma
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        (PAGE_SIZE as usize) << self.order
    }

    /// Never: a region has at least a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The 16 bits at `offset`.
    ///
    /// # Panics
    /// Outside of the region, or not aligned. So do the other two.
    #[inline]
    pub fn u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: `at` checks that it lies inside, aligned; the memory lives as long as `self`; all accesses are atomic.
        unsafe { AtomicU16::from_ptr(self.at(offset, 2).cast()) }
    }

    /// The 32 bits at `offset`.
    #[inline]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as in `u16`.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// The 64 bits at `offset`.
    #[inline]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `u16`.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    #[inline]
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.is_multiple_of(size) && offset < self.len() && size <= self.len() - offset);
        // SAFETY: inside the region (asserted).
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No device knows of it any more: it was never told, or it was reset.
    pub unsafe fn free(self) {
        // SAFETY: nobody else uses it (caller), and it came from `pages_for_device` with this order.
        unsafe { free_pages(self.start, self.order) }
    }
}

// There is no `Drop`: a device that was not reset may still write to it, so memory that is not freed by name is lost.

/// Pages from the zone.
fn pages_for_device(order: u8) -> Option<(NonNull<u8>, DmaAddr)> {
    if cfg!(not(includeos_metal)) {
        return host_pages(order);
    }
    let physical = frames::alloc(order)?;
    Some((NonNull::new(direct::pointer(physical))?, DmaAddr(physical)))
}

/// # Safety
/// From [`pages_for_device`] with this order; nobody uses the pages any more.
unsafe fn free_pages(start: NonNull<u8>, order: u8) {
    if cfg!(not(includeos_metal)) {
        // SAFETY: by the caller, it came from `host_pages` with this layout.
        return unsafe { alloc::alloc::dealloc(start.as_ptr(), host_layout(order)) };
    }
    // SAFETY: passed on.
    unsafe { frames::free(direct::physical(start.as_ptr()), order) }
}

/// On the host a fake device finds memory by its address.
fn host_pages(order: u8) -> Option<(NonNull<u8>, DmaAddr)> {
    // SAFETY: the size is not 0.
    let start = NonNull::new(unsafe { alloc::alloc::alloc_zeroed(host_layout(order)) })?;
    Some((start, DmaAddr(start.as_ptr().expose_provenance() as u64)))
}

fn host_layout(order: u8) -> alloc::alloc::Layout {
    let size = (PAGE_SIZE as usize) << order.min(20);
    alloc::alloc::Layout::from_size_align(size, PAGE_SIZE as usize)
        .expect("a power of two, far below isize::MAX")
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn fields_lie_where_a_device_sees_them() {
        let region = DmaRegion::allocate(5000).unwrap();
        assert_eq!((region.len(), region.dma().0 % PAGE_SIZE), (8192, 0));
        region.u32(8188).store(0x0102_0304, Ordering::Relaxed);
        assert_eq!(region.u16(8190).load(Ordering::Relaxed), 0x0102);
        assert_eq!(region.u64(0).load(Ordering::Relaxed), 0);
        for (offset, size) in [(8192, 2), (8190, 4), (1, 2), (usize::MAX - 1, 2)] {
            assert!(std::panic::catch_unwind(|| region.at(offset, size)).is_err(), "{offset} {size}");
        }
        // SAFETY: there is no device.
        unsafe { region.free() };
    }

    extern crate std;
}
