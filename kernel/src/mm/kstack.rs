//! Kernel stacks: in a region of their own, an unmapped page below each.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;
use sync::SpinLock;

use super::space;
use crate::arch::current::paging::{KSTACK_BASE, PAGE_SIZE};

/// Pages of a thread's kernel stack.
pub const THREAD_PAGES: u64 = 4;

/// Address of the next stack's guard page; addresses are not used again.
static NEXT: AtomicU64 = AtomicU64::new(KSTACK_BASE);

/// Stacks of finished threads, to be used again.
static SPARE: SpinLock<Vec<KernelStack>> = SpinLock::new(Vec::new());

/// A mapped stack. Dropping it keeps it for the next thread.
pub struct KernelStack {
    top: u64,
}

impl KernelStack {
    /// A stack of [`THREAD_PAGES`]. `None`: no memory.
    pub fn new() -> Option<Self> {
        if let Some(stack) = SPARE.lock().pop() {
            return Some(stack);
        }
        Some(Self { top: map(THREAD_PAGES)? })
    }

    /// First address above.
    pub fn top(&self) -> u64 {
        self.top
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        SPARE.lock().push(Self { top: self.top });
    }
}

/// Maps a stack for ever and returns its top. `None`: no memory; nothing is kept but the addresses.
pub fn map(pages: u64) -> Option<u64> {
    let guard = NEXT.fetch_add((pages + 1) * PAGE_SIZE, Ordering::Relaxed);
    let bottom = guard + PAGE_SIZE;
    for page in 0..pages {
        if space::map_kernel_page(bottom + page * PAGE_SIZE).is_none() {
            for page in 0..page {
                // SAFETY: mapped just above, and not used yet.
                unsafe { space::unmap_kernel_page(bottom + page * PAGE_SIZE) };
            }
            return None;
        }
    }
    Some(bottom + pages * PAGE_SIZE)
}

/// A stack of one page for each entry of the task state segment. `None`: no memory.
pub fn interrupt_stacks() -> Option<[u64; 7]> {
    let mut stacks = [0; 7];
    for top in &mut stacks {
        *top = map(1)?;
    }
    Some(stacks)
}

/// Makes room to keep the stacks of so many threads when they end. False: no memory.
pub fn reserve_spare(threads: usize) -> bool {
    let mut spare = SPARE.lock();
    let len = spare.len();
    spare.try_reserve(threads.saturating_sub(len)).is_ok()
}

/// Whether `address` lies in a guard page: a kernel stack overflowed.
pub fn is_guard(address: u64) -> bool {
    (KSTACK_BASE..NEXT.load(Ordering::Relaxed)).contains(&address)
}
