//! The kernel's own heap. The program's allocator is libc's or the program's and has nothing to do with it.
//! (On the host, unit tests use the host's.)

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use heap::{Heap, PageSource};
use sync::SpinLock;

use super::{direct, frames};
use crate::arch::current::percpu;

static HEAP: SpinLock<Heap> = SpinLock::new(Heap::new());

struct Frames;

// SAFETY: frames of the zone are RAM, exclusive until freed, aligned to their block's size, and readable and
// writable through the direct map.
unsafe impl PageSource for Frames {
    fn alloc_pages(&mut self, order: u8) -> Option<NonNull<u8>> {
        NonNull::new(direct::pointer(frames::alloc(order)?))
    }

    unsafe fn free_pages(&mut self, ptr: NonNull<u8>, order: u8) {
        // SAFETY: the caller's promise; `alloc_pages` made the pointer from the physical address.
        unsafe { frames::free(direct::physical(ptr.as_ptr()), order) }
    }
}

/// What `alloc::*` in the kernel allocates from.
struct KernelHeap;

// SAFETY: `Heap` returns exclusive memory of the layout asked for; the lock serialises its callers.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        percpu::assert_in_section();
        HEAP.lock().alloc(layout, &mut Frames).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        percpu::assert_in_section();
        if let Some(ptr) = NonNull::new(ptr) {
            // SAFETY: the caller's promise: `ptr` came from `alloc` with this layout.
            unsafe { HEAP.lock().dealloc(ptr, layout, &mut Frames) }
        }
    }
}

#[global_allocator]
static KERNEL_HEAP: KernelHeap = KernelHeap;
