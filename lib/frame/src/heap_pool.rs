//! [`HeapPool`].

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::{BLOCK_ALIGN, BLOCK_OVERHEAD, DmaAddr, LINK_LAYOUT, Memory, Pool};

/// A pool on the global allocator, for memory that no device reaches: tests, and images that run as a process. Blocks
/// are as long as asked for.
#[derive(Debug)]
pub struct HeapPool {
    blocks: AtomicUsize,
    links: AtomicUsize,
    max_links: usize,
}

impl HeapPool {
    /// Where every block seems to lie.
    pub const DMA: DmaAddr = DmaAddr(0x1000_0000);

    /// A pool that hands out at most `max_links` links at a time. It is never freed, as frames refer to it.
    pub fn leak(max_links: usize) -> &'static Self {
        Box::leak(Box::new(Self { blocks: AtomicUsize::new(0), links: AtomicUsize::new(0), max_links }))
    }

    /// Blocks and links that are out.
    pub fn out(&self) -> (usize, usize) {
        (self.blocks.load(Ordering::Relaxed), self.links.load(Ordering::Relaxed))
    }
}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len, BLOCK_ALIGN).ok()
}

// SAFETY: memory comes from the global allocator with the layout asked for, zeroed.
unsafe impl Pool for HeapPool {
    fn allocate_block(&self, octets: usize) -> Option<Memory> {
        let len = BLOCK_OVERHEAD.checked_add(octets).filter(|len| *len <= 1 << 31)?;
        // SAFETY: the length is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout(len)?) })?;
        self.blocks.fetch_add(1, Ordering::Relaxed);
        Some(Memory { start, len, dma: Self::DMA })
    }

    unsafe fn free_block(&self, memory: Memory) {
        let Some(layout) = layout(memory.len) else { return };
        self.blocks.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it came from `allocate_block` (caller), with this layout.
        unsafe { dealloc(memory.start.as_ptr(), layout) };
    }

    fn allocate_link(&self) -> Option<NonNull<u8>> {
        let count = |links| (links < self.max_links).then_some(links + 1);
        self.links.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).ok()?;
        // SAFETY: the layout's size is not 0.
        NonNull::new(unsafe { alloc_zeroed(LINK_LAYOUT) })
    }

    unsafe fn free_link(&self, link: NonNull<u8>) {
        self.links.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it came from `allocate_link` (caller), with this layout.
        unsafe { dealloc(link.as_ptr(), LINK_LAYOUT) };
    }
}
