//! [`pool`]: packet memory as the kernel has it, in lists of free blocks.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Mutex;

use frame::{BLOCK_ALIGN, BLOCK_OVERHEAD, DmaAddr, LINK_LAYOUT, Memory, Pool};

/// Bytes of blocks.
const SIZES: [usize; 3] = [256, 512, 2048];

struct Lists([Mutex<Vec<Block>>; SIZES.len()]);

/// A free block.
struct Block(NonNull<u8>);

// SAFETY: nobody else has it.
unsafe impl Send for Block {}

static LISTS: Lists = Lists([const { Mutex::new(Vec::new()) }; SIZES.len()]);

/// The one pool.
pub fn pool() -> &'static dyn Pool {
    &LISTS
}

// SAFETY: blocks are of the size of their list, or of the allocator, and initialised; one in a list is nobody's.
unsafe impl Pool for Lists {
    fn allocate_block(&self, octets: usize) -> Option<Memory> {
        let wanted = BLOCK_OVERHEAD + octets;
        let class = SIZES.iter().position(|size| *size >= wanted);
        let len = class.map_or(wanted, |class| SIZES[class]);
        let free = class.and_then(|class| self.0[class].lock().ok()?.pop());
        let start = match free {
            Some(Block(start)) => start,
            // SAFETY: the size is not 0.
            None => NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(len, BLOCK_ALIGN).ok()?) })?,
        };
        Some(Memory { start, len, dma: DmaAddr(0x1000) })
    }

    unsafe fn free_block(&self, memory: Memory) {
        if let Some(class) = SIZES.iter().position(|size| *size == memory.len) {
            if let Ok(mut list) = self.0[class].lock() {
                list.push(Block(memory.start));
            }
        } else if let Ok(layout) = Layout::from_size_align(memory.len, BLOCK_ALIGN) {
            // SAFETY: it came from the allocator with this layout.
            unsafe { dealloc(memory.start.as_ptr(), layout) };
        }
    }

    fn allocate_link(&self) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0.
        NonNull::new(unsafe { alloc_zeroed(LINK_LAYOUT) })
    }

    unsafe fn free_link(&self, link: NonNull<u8>) {
        // SAFETY: it came from `allocate_link`.
        unsafe { dealloc(link.as_ptr(), LINK_LAYOUT) };
    }
}
