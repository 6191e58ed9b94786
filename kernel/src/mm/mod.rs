//! Memory: frames, the kernel's heap, the program's address space.
//!
//! Lock order: a file's content, then the address space, then heap, then frames ([`file`] says how that is kept).

pub mod direct;
pub mod dma;
pub mod file;
pub mod frames;
#[cfg(includeos_metal)]
mod heap;
pub mod image;
pub mod kstack;
pub mod packets;
pub mod pages;
pub mod registers;
mod space;
pub mod vma;

use ::heap::Buddy;
use abi::boot_info::PhysRange;

pub use space::{
    Map, MapError, MappedArea, MemoryUsage, Remap, STACK_SIZE, STACK_TOP, area_at_or_above,
    barrier_on_all_cpus, brk, check_mapped, discard, forget, heap, is_below_stack, isolate, map, page_in,
    protect, protection_at, remap, residency, set_program, unmap, usage,
};

use crate::arch::current::paging::{DEVICE_BASE, NoFrame, PAGE_SIZE, PageTables};

/// How an address was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    /// From a page fault's error code (SDM vol. 3 § 5.7).
    pub fn from_error_code(code: u64) -> Self {
        match code {
            _ if code & 1 << 4 != 0 => Self::Execute,
            _ if code & 1 << 1 != 0 => Self::Write,
            _ => Self::Read,
        }
    }
}

/// Why a page is not there for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageInError {
    /// Nothing is mapped at the address.
    NotMapped,
    /// Something is, and may not be used in this way.
    Protected,
    /// The page was promised without a frame behind it, and none is free.
    NoMemory,
    /// The address is the kernel's.
    Kernel,
    /// The page is behind the end of its file (SIGBUS).
    BehindEnd,
    /// There is no memory, or no space in the file system, for the page of a file (SIGBUS).
    NoSpace,
}

/// RAM could not be put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// Not enough for the image, the kernel's tables and a first program page.
    TooLittle {
        /// RAM in the machine, in bytes.
        ram: u64,
    },
}

impl From<NoFrame> for InitError {
    fn from(_: NoFrame) -> Self {
        Self::TooLittle { ram: frames::free_count() * PAGE_SIZE }
    }
}

/// Takes over the machine's RAM: the frame zone, the direct map, the image's pages by their segments' rights, and an
/// empty low half otherwise. `reserved` stays untouched: what boot still reads.
///
/// # Errors
/// [`InitError`].
///
/// # Safety
/// Called once, at boot, on boot's page tables. `ram` is RAM; `reserved` holds everything in it that is in use apart
/// from the image.
pub unsafe fn init(ram: &[PhysRange], reserved: &[PhysRange]) -> Result<(), InitError> {
    let image = image::range();
    let ram_end = ram.iter().map(|range| range.end).max().unwrap_or(0);
    let too_little = InitError::TooLittle { ram: ram.iter().map(PhysRange::len).sum() };
    let frames = (ram_end / PAGE_SIZE) as usize;
    let words = Buddy::storage_words(frames);
    let bytes = (words as u64 * 8).next_multiple_of(PAGE_SIZE);

    // The zone's own storage: the lowest place in RAM, mapped by boot, that is free.
    let taken = |range: &PhysRange| {
        let overlaps = |other: &PhysRange| range.start < other.end && other.start < range.end;
        reserved.iter().chain([&image]).find(|other| overlaps(other)).copied()
    };
    let place = |range: &PhysRange| {
        let mut start = range.start.max(PAGE_SIZE).next_multiple_of(PAGE_SIZE);
        loop {
            let candidate = PhysRange { start, end: start + bytes };
            match taken(&candidate) {
                _ if candidate.end > range.end.min(1 << 30) => return None,
                None => return Some(candidate),
                Some(obstacle) => start = obstacle.end.next_multiple_of(PAGE_SIZE),
            }
        }
    };
    let storage = ram.iter().find_map(place).ok_or(too_little)?;
    // SAFETY: the place is RAM, inside boot's map, and overlaps nothing in use; it is never given to the zone.
    let words = unsafe { core::slice::from_raw_parts_mut(direct::pointer(storage.start).cast(), words) };
    frames::init(Buddy::new(frames, words).ok_or(too_little)?);

    for range in ram {
        // Page 0 stays out: a frame number of 0 would look like none.
        let mut start = range.start.max(PAGE_SIZE).next_multiple_of(PAGE_SIZE);
        let end = range.end & !(PAGE_SIZE - 1);
        while start < end {
            // Up to the next obstacle, then behind it. Few obstacles, so the search is short.
            let next = reserved
                .iter()
                .chain([&image, &storage])
                .filter(|other| other.end > start && other.start < end)
                .min_by_key(|other| other.start);
            let stop = next.map_or(end, |other| (other.start & !(PAGE_SIZE - 1)).max(start));
            if stop > start {
                // SAFETY: RAM, and free: no obstacle begins before `stop`.
                unsafe { frames::add(start, stop) };
            }
            start = next.map_or(end, |other| other.end.next_multiple_of(PAGE_SIZE));
        }
    }

    // SAFETY: called once, on boot's tables.
    let mut tables = unsafe { PageTables::current() };
    // SAFETY: nothing beyond RAM is used through the direct map.
    unsafe { tables.extend_direct_map(ram_end)? };
    // SAFETY: the image is mapped as its segments say; nothing else in the low half is in use.
    unsafe { tables.replace_low_half(image::map)? };
    space::init(tables);
    Ok(())
}

/// Gives the ranges that boot had kept back to the zone, page by page, unless the image lies there.
///
/// # Safety
/// As [`frames::add`]; `reserved` is what [`init`] was given.
pub unsafe fn release(reserved: &[PhysRange], ram: &[PhysRange]) {
    for range in reserved {
        let (mut page, end) = (range.start & !(PAGE_SIZE - 1), range.end.next_multiple_of(PAGE_SIZE));
        while page < end {
            let in_ram = ram.iter().any(|ram| ram.start <= page && page + PAGE_SIZE <= ram.end);
            let image = image::range();
            let in_image = page < image.end && page + PAGE_SIZE > image.start;
            let shared = reserved.iter().take_while(|other| *other != range).any(|other| {
                page < other.end.next_multiple_of(PAGE_SIZE) && page >= other.start & !(PAGE_SIZE - 1)
            });
            if in_ram && !in_image && !shared && page != 0 {
                // SAFETY: the caller's promise; each page is added once.
                unsafe { frames::add(page, page + PAGE_SIZE) };
            }
            page += PAGE_SIZE;
        }
    }
}

/// Maps one page of device registers and returns where. `None`: no memory for a table.
pub fn map_device(physical: u64) -> Option<*mut u8> {
    space::map_device(DEVICE_BASE, physical)
}
