//! Memory for packets: the kernel's [`Pool`] of blocks for [`frame::Frame`]s.
//!
//! Blocks are objects of a heap of their own, so that what is in them has been zeroed once and never held anything but packets:
//! what a packet does not overwrite tells its receiver nothing else. All of them together stay within a budget, for which
//! page frames are set aside before the program is promised the rest: remote traffic takes nothing from the program.
//!
//! Lock order: as for the kernel's heap.

use core::alloc::Layout;
use core::ptr::NonNull;

use ::heap::{Heap, PageSource, SizeClass};
use frame::{BLOCK_ALIGN, BLOCK_OVERHEAD, Budget, DmaAddr, LINK_LAYOUT, Memory, Pool};
use sync::{Once, SpinLock};

use super::{direct, frames, space};
use crate::arch::current::paging::PAGE_SIZE;

/// The part of free memory that packets may take.
const BUDGET_DIVISOR: u64 = 4;
/// Octets of the longest block: a frame of 64 KiB, and what stands in front.
const MAX_OCTETS: usize = 1 << 17;

struct Packets {
    heap: SpinLock<Heap>,
    budget: Budget,
}

static PACKETS: Once<Packets> = Once::new();

/// Sets the budget to a quarter of the memory that is free now. Called once, before the program starts
/// ([`super::set_program`]), when there is a network device. A second call changes nothing.
pub fn init() {
    let frames = frames::free_count() / BUDGET_DIVISOR;
    let budget = Budget::new((frames * PAGE_SIZE) as usize);
    if PACKETS.set(Packets { heap: SpinLock::new(Heap::new()), budget }).is_ok() {
        space::set_aside(frames);
    }
}

/// Where frames come from. Before [`init`] there is nothing in it.
pub fn pool() -> &'static dyn Pool {
    &KernelPool
}

/// How much of packet memory is in use. `None`: before [`init`].
pub fn budget() -> Option<&'static Budget> {
    PACKETS.get().map(|packets| &packets.budget)
}

struct KernelPool;

/// Page frames, zeroed.
struct ZeroedFrames;

// SAFETY: frames of the zone are RAM, exclusive until freed, aligned to their block's size, and readable and
// writable through the direct map.
unsafe impl PageSource for ZeroedFrames {
    fn alloc_pages(&mut self, order: u8) -> Option<NonNull<u8>> {
        let start = NonNull::new(direct::pointer(frames::alloc(order)?))?;
        // SAFETY: the frames are ours alone.
        unsafe { start.write_bytes(0, (PAGE_SIZE as usize) << order) };
        Some(start)
    }

    unsafe fn free_pages(&mut self, ptr: NonNull<u8>, order: u8) {
        // SAFETY: the caller's promise; `alloc_pages` made the pointer from the physical address.
        unsafe { frames::free(direct::physical(ptr.as_ptr()), order) }
    }
}

/// What a block with room for `octets` is allocated with: all bytes of the heap's object.
fn block_layout(octets: usize) -> Option<Layout> {
    let wanted = BLOCK_OVERHEAD + Some(octets).filter(|octets| *octets <= MAX_OCTETS)?;
    let layout = Layout::from_size_align(wanted, BLOCK_ALIGN).ok()?;
    let size = match SizeClass::of(layout) {
        Some(class) => class.size(),
        None => wanted.next_multiple_of(PAGE_SIZE as usize).next_power_of_two(),
    };
    Layout::from_size_align(size, BLOCK_ALIGN).ok()
}

fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    let packets = PACKETS.get()?;
    if !packets.budget.charge(layout.size()) {
        return None;
    }
    let memory = packets.heap.lock().alloc(layout, &mut ZeroedFrames);
    if memory.is_none() {
        packets.budget.release(layout.size());
    }
    memory
}

/// # Safety
/// `memory` came from [`allocate`] with this layout and is not used any more.
unsafe fn free(memory: NonNull<u8>, layout: Layout) {
    let Some(packets) = PACKETS.get() else { return };
    // SAFETY: passed on.
    unsafe { packets.heap.lock().dealloc(memory, layout, &mut ZeroedFrames) };
    packets.budget.release(layout.size());
}

// SAFETY:
// 1. The heap hands out memory of the layout that is asked for, exclusive until it is freed. Its pages are written before
//    they become objects, so it is initialised.
// 2. A size class is served with its own size, so the layout that `free_block` makes of `Memory::len` is the one it came with
//    (a test shows it). The direct map is linear, so a block is contiguous for devices where it starts.
unsafe impl Pool for KernelPool {
    fn allocate_block(&self, octets: usize) -> Option<Memory> {
        let layout = block_layout(octets)?;
        let start = allocate(layout)?;
        Some(Memory { start, len: layout.size(), dma: DmaAddr(direct::physical(start.as_ptr())) })
    }

    unsafe fn free_block(&self, memory: Memory) {
        if let Ok(layout) = Layout::from_size_align(memory.len, BLOCK_ALIGN) {
            // SAFETY: rule 2; the caller's promise.
            unsafe { free(memory.start, layout) }
        }
    }

    fn allocate_link(&self) -> Option<NonNull<u8>> {
        allocate(LINK_LAYOUT)
    }

    unsafe fn free_link(&self, link: NonNull<u8>) {
        // SAFETY: the caller's promise.
        unsafe { free(link, LINK_LAYOUT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_length_leads_back_to_its_layout() {
        for octets in (0..10_000).chain([65_535 + 64, MAX_OCTETS]) {
            let layout = block_layout(octets).unwrap();
            assert!(layout.size() >= BLOCK_OVERHEAD + octets);
            let class = SizeClass::of(layout);
            assert!(class.is_none_or(|class| class.size() == layout.size()), "{octets}");
            let all = layout.size() - BLOCK_OVERHEAD;
            assert!(all > MAX_OCTETS || block_layout(all) == Some(layout), "{octets}");
        }
        assert_eq!(block_layout(MAX_OCTETS + 1), None);
        assert_eq!(block_layout(usize::MAX), None);
    }

    #[test]
    fn a_full_ethernet_frame_takes_less_than_half_a_page() {
        assert!(block_layout(12 + 18 + 1500).unwrap().size() < PAGE_SIZE as usize / 2);
    }
}
