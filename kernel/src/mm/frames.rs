//! Frames of RAM: one zone, from physical address 0 to the end of RAM, holes never freed into it.

use heap::Buddy;
use sync::SpinLock;

use super::direct;
use crate::arch::current::paging::PAGE_SIZE;

static ZONE: SpinLock<Option<Buddy>> = SpinLock::new(None);

/// Hands the zone over to this module. Called once, at boot.
pub(super) fn init(zone: Buddy) {
    *ZONE.lock() = Some(zone);
}

/// Takes `1 << order` frames, whatever they contain; returns their physical address. `None`: there are not as many in
/// one piece.
pub fn alloc(order: u8) -> Option<u64> {
    let frame = ZONE.lock().as_mut()?.alloc(order)?;
    Some(frame as u64 * PAGE_SIZE)
}

/// Takes one frame, filled with zeroes.
pub fn alloc_zeroed() -> Option<u64> {
    let physical = alloc(0)?;
    // SAFETY: the frame is ours alone, and all RAM is in the direct map.
    unsafe { direct::pointer(physical).write_bytes(0, PAGE_SIZE as usize) };
    Some(physical)
}

/// Takes a frame for a PML4, at a multiple of 8 KiB; the frame behind stays with it.
pub fn alloc_pml4() -> Option<u64> {
    alloc(1)
}

/// Gives frames back.
///
/// # Safety
/// `physical` came from [`alloc`] with the same order, and nobody uses the frames any more.
pub unsafe fn free(physical: u64, order: u8) {
    if let Some(zone) = ZONE.lock().as_mut()
        && let Err(error) = zone.free((physical / PAGE_SIZE) as usize, order)
    {
        panic!("frame {physical:#x}: {error}");
    }
}

/// Adds RAM that boot had set aside.
///
/// # Safety
/// The range is RAM, page-aligned, and nobody uses it any more.
pub unsafe fn add(start: u64, end: u64) {
    if let Some(zone) = ZONE.lock().as_mut()
        && let Err(error) =
            zone.free_range((start / PAGE_SIZE) as usize, ((end - start) / PAGE_SIZE) as usize)
    {
        panic!("RAM {start:#x}..{end:#x}: {error}");
    }
}

/// Frames that are free.
pub fn free_count() -> u64 {
    ZONE.lock().as_ref().map_or(0, |zone| zone.free_frames() as u64)
}
