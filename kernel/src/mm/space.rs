//! The program's address space: mmap(2) and its kin over the areas and the page tables.

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use sync::SpinLock;

use super::file::{FileBacking, FilePage, MappedFile};
use super::vma::{Area, Areas, Backing, TooMany};
use super::{Access, PageInError, direct, frames, image};
use crate::arch::current::paging::{Entry, LOW_END, PAGE_SIZE, PageTables, Protection, Sharing};
use crate::arch::current::percpu;
use crate::arch::current::tlb::{self, Gone};
use crate::sched;

/// Lowest address that mmap may use (`vm.mmap_min_addr` on Linux).
const MMAP_MIN: u64 = 0x1_0000;
/// Top of the main thread's stack; mappings are placed below the stack.
pub const STACK_TOP: u64 = LOW_END;
/// Bytes the main thread's stack may grow to (`RLIMIT_STACK`).
pub const STACK_SIZE: u64 = 8 << 20;
/// Part of RAM that is never promised to the program: for page tables, kernel heap, kernel stacks.
const COMMIT_RESERVE_DIVISOR: u64 = 16;
/// Part of RAM that pages touched without a promise (stacks, `MAP_NORESERVE`) leave to the kernel, and its least frames.
const FRAME_RESERVE_DIVISOR: u64 = 64;
const FRAME_RESERVE_MIN: u64 = 8;
/// Bytes whose pages are taken out of the address space at once, before others may run.
const PIECE: u64 = 512 << 10;

struct Space {
    tables: PageTables,
    areas: Areas,
    brk: Range<u64>,
    /// The GiB above [`LINEAR_GIB`] in which devices are mapped; 0: none yet.
    high_devices: [u64; HIGH_PLACES],
    /// Bytes promised to the program, and how many may be.
    committed: u64,
    commit_limit: u64,
    /// Bytes of frames the program holds, and the most it ever held.
    resident: u64,
    peak_resident: u64,
    /// Frames that the program does not get.
    frame_reserve: u64,
    /// How often pages of files were taken out.
    forgotten: u64,
}

static SPACE: SpinLock<Option<Space>> = SpinLock::new(None);

/// Why a mapping call failed; the Linux edge names the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// A bound is not a page's, a length is zero, a range wraps (EINVAL).
    Invalid,
    /// No gap, or more than RAM can promise (ENOMEM).
    NoMemory,
    /// `MAP_FIXED_NOREPLACE` found something there (EEXIST).
    Exists,
    /// An executable page after boot, the image's own pages, or writing to a file that was not opened for it (EACCES).
    Denied,
    /// The range to be moved is not one mapping (EFAULT).
    NotMapped,
}

impl From<TooMany> for MapError {
    fn from(_: TooMany) -> Self {
        Self::NoMemory
    }
}

/// A request to resize or move a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Remap {
    /// The mapping, or a part of one.
    pub address: u64,
    /// Its bytes.
    pub old_len: u64,
    /// Bytes it shall have.
    pub new_len: u64,
    /// It may go elsewhere if it cannot grow where it is.
    pub may_move: bool,
    /// Where it must go.
    pub to: Option<u64>,
    /// The old place stays mapped, without content (`MREMAP_DONTUNMAP`). It is as long as the new one.
    pub keep: bool,
}

/// A request for memory.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Where: a hint, or the place itself.
    pub address: u64,
    /// Bytes, not zero; rounded up to pages.
    pub len: u64,
    /// What may be done with the pages.
    pub protection: Protection,
    /// `address` is the place; what is there goes.
    pub fixed: bool,
    /// With `fixed`: fail if something is there.
    pub no_replace: bool,
    /// Do not count against RAM until touched.
    pub no_reserve: bool,
}

/// What the address space holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryUsage {
    /// Bytes promised.
    pub committed: u64,
    /// Bytes backed by frames of their own.
    pub resident: u64,
    /// The most there ever were.
    pub peak_resident: u64,
}

pub(super) fn init(tables: PageTables) {
    image::keep_segments();
    let mut areas = Areas::new();
    for (range, protection) in image::areas() {
        areas.insert(range.start, Area::new(range.end, protection, Backing::Image, true));
    }
    let brk = image::range().end;
    *SPACE.lock() = Some(Space {
        tables,
        areas,
        brk: brk..brk,
        high_devices: [0; HIGH_PLACES],
        committed: 0,
        commit_limit: 0,
        resident: 0,
        peak_resident: 0,
        frame_reserve: 0,
        forgotten: 0,
    });
}

fn with<R>(f: impl FnOnce(&mut Space) -> R) -> R {
    percpu::assert_in_section();
    f(SPACE.lock().as_mut().expect("mm::init ran before anything maps memory"))
}

/// Frames that the kernel may take later, whatever was promised to the program.
static SET_ASIDE: AtomicU64 = AtomicU64::new(0);

/// Keeps as many frames from being promised to the program. Before [`set_program`].
pub(super) fn set_aside(frames: u64) {
    SET_ASIDE.fetch_add(frames, Ordering::Relaxed);
}

/// Bytes promised to files: they lie in memory, and neither they nor the program's pages may be short of it later.
static FILES: AtomicU64 = AtomicU64::new(0);

/// Promises bytes to files. `false`: so many are not left.
pub(super) fn promise_to_files(bytes: u64) -> bool {
    with(|space| {
        // Also for what is less than a page: many of them are pages.
        let promised = space.check_commit(bytes).is_ok() && space.has_frames(bytes.div_ceil(PAGE_SIZE));
        if promised {
            FILES.fetch_add(bytes, Ordering::Relaxed);
        }
        promised
    })
}

/// Takes a promise back. Takes no lock.
pub(super) fn take_back_from_files(bytes: u64) {
    FILES.fetch_sub(bytes, Ordering::Relaxed);
}

/// Gives ring 3 what is the program's: its pages of the image now, and whatever is mapped for it from now on. Without this, all
/// pages are ring 0's.
pub fn isolate() {
    with(|space| {
        space.tables.open_to_ring_3();
        image::isolate(&mut space.tables);
    });
}

/// Prepares the address space for the program: its stack, and the limit of what may be promised, now that the kernel
/// has taken what it needs to start.
pub fn set_program() {
    with(|space| {
        let free = frames::free_count().saturating_sub(SET_ASIDE.load(Ordering::Relaxed));
        space.commit_limit = (free - free / COMMIT_RESERVE_DIVISOR) * PAGE_SIZE;
        space.frame_reserve = (free / FRAME_RESERVE_DIVISOR).max(FRAME_RESERVE_MIN);
        let protection = Protection::READ_WRITE;
        let stack = Area::new(STACK_TOP, protection, Backing::Anonymous, true);
        space.areas.insert(STACK_TOP - STACK_SIZE, stack);
    });
}

/// Puts a frame behind `address` if the program may touch it in this way.
///
/// # Errors
/// [`PageInError`]; nothing is changed.
pub fn page_in(address: u64, access: Access) -> Result<(), PageInError> {
    match with(|space| space.page_in(address, access))? {
        None => Ok(()),
        Some(missing) => page_in_file(address, access, missing),
    }
}

/// A page of a file that is missing in the address space.
struct Missing {
    file: Arc<dyn MappedFile>,
    index: u64,
    /// The file's own page is written.
    write: bool,
    /// [`Space::forgotten`] when it was found missing.
    forgotten: u64,
}

impl Missing {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
            && (self.index, self.write, self.forgotten) == (other.index, other.write, other.forgotten)
    }
}

/// Asks the file for a page, again if pages were taken from files meanwhile.
#[cold]
#[inline(never)]
fn page_in_file(address: u64, access: Access, mut missing: Missing) -> Result<(), PageInError> {
    loop {
        let page = missing.file.page(missing.index, missing.write)?;
        match with(|space| space.map_file_page(address, access, &missing, &page))? {
            None => return Ok(()),
            Some(other) => missing = other,
        }
    }
}

/// Takes pages of a file out of the address space, as they are no longer the file's; `copies`: also those that private mappings
/// have made of them. The caller drops the pages afterwards. Looks at all areas. Where there are many pages, others run meanwhile.
pub fn forget(file: usize, pages: Range<u64>, copies: bool) {
    // From here on no page is mapped that the file gave before.
    with(|space| space.forgotten += 1);
    let mut from = 0;
    while let Some(next) = with(|space| space.forget_some(file, pages.clone(), copies, from)) {
        from = next;
        sched::breathe();
    }
}

/// Maps memory (mmap(2)), anonymous or a file's; returns its address.
///
/// # Errors
/// [`MapError`].
pub fn map(request: Map, file: Option<FileBacking>) -> Result<u64, MapError> {
    with(|space| space.map(request, file.map_or(Backing::Anonymous, Backing::File)))
}

/// What is mapped somewhere.
pub struct MappedArea {
    /// Where.
    pub range: Range<u64>,
    /// What may be done with the pages.
    pub protection: Protection,
    /// The file behind it.
    pub file: Option<FileBacking>,
    /// It is the image's own.
    pub is_image: bool,
}

/// The first area that ends above `address`.
pub fn area_at_or_above(address: u64) -> Option<MappedArea> {
    with(|space| {
        let (start, area) = space.areas.overlapping(address..LOW_END).next()?;
        let file = if let Backing::File(file) = &area.backing { Some(file.clone()) } else { None };
        let is_image = area.backing == Backing::Image;
        Some(MappedArea { range: start..area.end, protection: area.protection, file, is_image })
    })
}

/// Removes all mappings in a range (munmap(2)), from its start to its end; where there are many pages, others run meanwhile. A range
/// without any is no error.
///
/// # Errors
/// [`MapError::Invalid`]; [`MapError::Denied`] for the image's pages; [`MapError::NoMemory`]: too many areas.
pub fn unmap(address: u64, len: u64) -> Result<(), MapError> {
    let mut range = page_range(address, len)?;
    loop {
        range.start = with(|space| {
            if space.areas.overlapping(range.clone()).any(|(_, area)| area.backing == Backing::Image) {
                return Err(MapError::Denied);
            }
            // Of the whole: what comes after the first piece needs no more room than it.
            space.areas.reserve(range.clone(), 0)?;
            let piece = space.piece(range.clone());
            let end = piece.end;
            space.clear(piece);
            Ok(end)
        })?;
        if range.is_empty() {
            return Ok(());
        }
        sched::breathe();
    }
}

/// Changes what may be done with a range (mprotect(2)).
///
/// # Errors
/// [`MapError::NoMemory`] if the range has a gap or cannot be promised; [`MapError::Denied`] for new executable pages, and
/// for the kernel's own.
pub fn protect(address: u64, len: u64, protection: Protection) -> Result<(), MapError> {
    with(|space| space.protect(address, len, protection))
}

/// Gives the content of a range up: its pages read as zeroes again, or as the file has them (madvise(2), `MADV_DONTNEED`). The
/// image's pages keep theirs. Where there are many pages, others run meanwhile.
///
/// # Errors
/// [`MapError::Invalid`]; [`MapError::NoMemory`] if the range has a gap (as on Linux, after the rest was done).
pub fn discard(address: u64, len: u64) -> Result<(), MapError> {
    let range = match page_range(address, len) {
        // Nothing is mapped behind the program's part.
        Err(MapError::Invalid) if address.checked_add(len).is_some() => return Err(MapError::NoMemory),
        range => range?,
    };
    let mut at = range.start;
    while at < range.end {
        at = with(|space| {
            let Some((start, area)) = space.areas.overlapping(at..range.end).next() else { return range.end };
            let part = start.max(at)..area.end.min(range.end);
            if area.backing == Backing::Image {
                return part.end;
            }
            let piece = space.piece(part);
            let end = piece.end;
            space.drop_frames(piece);
            end
        });
        if at < range.end {
            sched::breathe();
        }
    }
    if with(|space| space.areas.covers(range)) { Ok(()) } else { Err(MapError::NoMemory) }
}

/// Resizes or moves a mapping with its content (mremap(2)); returns where it is.
///
/// # Errors
/// [`MapError`].
pub fn remap(request: Remap) -> Result<u64, MapError> {
    with(|space| space.remap(request))
}

/// Whether a range is mapped without a gap.
///
/// # Errors
/// [`MapError::Invalid`]; [`MapError::NoMemory`] if it has one.
pub fn check_mapped(address: u64, len: u64) -> Result<(), MapError> {
    let range = page_range(address, len)?;
    with(|space| if space.areas.covers(range) { Ok(()) } else { Err(MapError::NoMemory) })
}

/// Writes to `pages`, an element a page from `address` on, whether a frame is behind it (mincore(2)). The image's own pages
/// always have one.
///
/// # Errors
/// [`MapError::NoMemory`] if the range has a gap.
pub fn residency(address: u64, pages: &mut [u8]) -> Result<(), MapError> {
    let range = page_range(address, pages.len() as u64 * PAGE_SIZE).map_err(|_| MapError::NoMemory)?;
    with(|space| {
        if !space.areas.covers(range.clone()) {
            return Err(MapError::NoMemory);
        }
        pages.fill(0);
        let mut at = range.start;
        while let Some((page, entry)) = space.tables.next_held(at..range.end) {
            let index = ((page - range.start) / PAGE_SIZE) as usize;
            pages[index] = u8::from(entry.frame().is_some());
            at = page + PAGE_SIZE;
        }
        Ok(())
    })
}

/// What may be done with the page at `address`. `None`: nothing is mapped there.
pub fn protection_at(address: u64) -> Option<Protection> {
    with(|space| space.areas.find(address).map(|(_, area)| area.protection))
}

/// Has all CPUs that run threads pass a full memory barrier (membarrier(2)): those of idle CPUs pass one when they come.
pub fn barrier_on_all_cpus() {
    core::sync::atomic::fence(Ordering::SeqCst);
    with(|_| tlb::shoot_down(Gone::Pages));
}

/// Moves the end of the heap (brk(2)) and returns where it is now: unmoved if it cannot be. A heap that becomes much smaller does so
/// in pieces, and others run meanwhile.
pub fn brk(end: u64) -> u64 {
    loop {
        let (target, now) = with(|space| {
            let above = space.brk.end.saturating_sub(PIECE);
            let target = if (space.brk.start..above).contains(&end) { above } else { end };
            (target, space.set_brk(target))
        });
        if target == end || now != target {
            return now;
        }
        sched::breathe();
    }
}

/// Where the heap is (brk(2)), in whole pages.
pub fn heap() -> Range<u64> {
    with(|space| space.brk.start..space.brk.end.next_multiple_of(PAGE_SIZE))
}

/// What the address space holds.
pub fn usage() -> MemoryUsage {
    with(|space| MemoryUsage {
        committed: space.committed,
        resident: space.resident,
        peak_resident: space.peak_resident,
    })
}

pub(super) fn map_kernel_page(address: u64) -> Option<()> {
    with(|space| {
        let frame = frames::alloc_zeroed()?;
        // SAFETY: a fresh frame at an address that nothing else uses.
        unsafe { space.tables.map(address, frame, Protection::READ_WRITE, Sharing::Own) }.ok()
    })
}

/// # Safety
/// The page was mapped by [`map_kernel_page`], and nobody uses it.
pub(super) unsafe fn unmap_kernel_page(address: u64) {
    with(|space| {
        // SAFETY: the caller's promise.
        unsafe { free_pages(&mut space.tables, address..address + PAGE_SIZE) };
    });
}

/// GiB of physical addresses that have a place in the device window at the distance of their number; those above, where
/// firmware may put devices of 64-bit addresses, get one of the places behind as they come.
const LINEAR_GIB: u64 = 512;
const HIGH_PLACES: usize = 16;

pub(super) fn map_device(base: u64, physical: u64) -> Option<*mut u8> {
    with(|space| {
        let (gib, within) = (physical >> 30, physical & 0x3fff_f000);
        let place = match gib < LINEAR_GIB {
            true => gib,
            false => {
                let high = &mut space.high_devices;
                let known = high.iter().position(|other| *other == gib || *other == 0)?;
                high[known] = gib;
                LINEAR_GIB + known as u64
            }
        };
        let address = base + (place << 30 | within);
        // SAFETY: the caller names a device's page; it is outside RAM, so that nothing else maps it.
        unsafe { space.tables.map_device(address, physical & !(PAGE_SIZE - 1)) }.ok()?;
        Some((address + (physical & (PAGE_SIZE - 1))) as *mut u8)
    })
}

/// Where mmap places what has no place of its own: below the main thread's stack and a gap.
fn window() -> Range<u64> {
    MMAP_MIN..STACK_TOP - STACK_SIZE - PAGE_SIZE
}

/// Whether `address` is where the main thread's stack would go on if it were larger.
pub fn is_below_stack(address: u64) -> bool {
    const FRAMES: u64 = 1 << 20;
    let bottom = STACK_TOP - STACK_SIZE;
    (bottom - FRAMES..bottom).contains(&address)
}

/// The pages of a range. Empty, unaligned and wrapping ranges are invalid.
fn page_range(address: u64, len: u64) -> Result<Range<u64>, MapError> {
    if !address.is_multiple_of(PAGE_SIZE) || len == 0 {
        return Err(MapError::Invalid);
    }
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(MapError::Invalid)?;
    let end = address.checked_add(len).filter(|&end| end <= LOW_END).ok_or(MapError::Invalid)?;
    Ok(address..end)
}

impl Space {
    /// Returns what a file has to be asked for.
    fn page_in(&mut self, address: u64, access: Access) -> Result<Option<Missing>, PageInError> {
        if address >= LOW_END {
            return Err(PageInError::Kernel);
        }
        let (start, area) = self.areas.find(address).ok_or(PageInError::NotMapped)?;
        let page = address & !(PAGE_SIZE - 1);
        if area.backing == Backing::Image && image::holds_closed(page..page + PAGE_SIZE) {
            return Err(PageInError::Kernel);
        }
        let protection = area.protection;
        let allowed = match access {
            Access::Read => protection.read,
            Access::Write => protection.write,
            Access::Execute => protection.execute,
        };
        if !allowed {
            return Err(PageInError::Protected);
        }
        let entry = self.tables.get(page).filter(|entry| entry.frame().is_some());
        if entry.is_some_and(|entry| access != Access::Write || entry.is_writable()) {
            // The tables allow it (a right was added, or another thread was quicker): the retry will find it.
            return Ok(None);
        }
        if let Backing::File(backing) = &area.backing {
            let index = backing.first + (page - start) / PAGE_SIZE;
            let write = backing.shared && access == Access::Write;
            return Ok(Some(Missing { file: backing.file.clone(), index, write, forgotten: self.forgotten }));
        }
        self.map_own(page, protection, |frame| {
            // SAFETY: the frame was just allocated, and all RAM is in the direct map.
            unsafe { direct::pointer(frame).write_bytes(0, PAGE_SIZE as usize) }
        })?;
        Ok(None)
    }

    /// Maps a frame of the mapping's own, which `fill` fills, in place of one that is not, or none.
    fn map_own(
        &mut self,
        page: u64,
        protection: Protection,
        fill: impl FnOnce(u64),
    ) -> Result<(), PageInError> {
        if !self.has_frames(1) {
            return Err(PageInError::NoMemory);
        }
        let frame = frames::alloc(0).ok_or(PageInError::NoMemory)?;
        fill(frame);
        // SAFETY: a fresh frame, with what was there.
        if unsafe { self.tables.map(page, frame, protection, Sharing::Own) }.is_err() {
            // SAFETY: the frame was just allocated and is not mapped.
            unsafe { frames::free(frame, 0) };
            return Err(PageInError::NoMemory);
        }
        self.resident += PAGE_SIZE;
        self.peak_resident = self.peak_resident.max(self.resident);
        Ok(())
    }

    /// Maps what a file gave, if that is still what is missing; otherwise returns what is.
    fn map_file_page(
        &mut self,
        address: u64,
        access: Access,
        missing: &Missing,
        page: &FilePage,
    ) -> Result<Option<Missing>, PageInError> {
        let Some(now) = self.page_in(address, access)? else { return Ok(None) };
        if !now.is(missing) {
            return Ok(Some(now));
        }
        let Some((_, Area { protection, backing: Backing::File(backing), .. })) = self.areas.find(address)
        else {
            return Err(PageInError::NotMapped);
        };
        let (protection, shared) = (*protection, backing.shared);
        let place = address & !(PAGE_SIZE - 1);
        let frame = page.frame().ok_or(PageInError::NoSpace)?;
        if access == Access::Write && !shared {
            // No CPU reads the file's page here any more when the first writes to the copy.
            self.withdraw(place..place + PAGE_SIZE);
            self.map_own(place, protection, |copy| {
                // SAFETY: the page is the caller's, the copy was just allocated, and all RAM is in the direct map. Others may write
                // to the page meanwhile; what is copied then is some mixture.
                unsafe {
                    direct::pointer(copy)
                        .copy_from_nonoverlapping(direct::pointer(frame), PAGE_SIZE as usize);
                }
            })?;
            return Ok(None);
        }
        let sharing = match page.writable_frame() {
            Some(_) if shared => Sharing::Shared,
            _ if access == Access::Write => return Err(PageInError::Protected),
            _ => Sharing::CopyOnWrite,
        };
        // SAFETY: the file keeps the page until it is unmapped here (see `mm::file`), and nobody writes to one that is constant.
        unsafe { self.tables.map(place, frame, protection, sharing) }.map_err(|_| PageInError::NoMemory)?;
        Ok(None)
    }

    /// The first part of a range, up to where so many of its pages are held as are taken out at once.
    fn piece(&mut self, range: Range<u64>) -> Range<u64> {
        if range.end - range.start <= PIECE {
            return range;
        }
        match self.tables.next_held(range.clone()) {
            Some((first, _)) => range.start..first.saturating_add(PIECE).min(range.end),
            None => range,
        }
    }

    /// Takes some of the pages of a file out, from an address on; returns from where on there may be more.
    fn forget_some(&mut self, file: usize, pages: Range<u64>, copies: bool, from: u64) -> Option<u64> {
        let Self { tables, areas, resident, .. } = self;
        let (mut lost, mut left, mut more) = (false, PIECE, None);
        for range in areas.of_file(file, pages.clone()) {
            let range = range.start.max(from)..range.end;
            let Some((first, _)) = tables.next_held(range.clone()) else { continue };
            let range = first..first.saturating_add(left).min(range.end);
            left -= range.end - range.start;
            let end = range.end;
            // SAFETY: the file's pages are the caller's, who drops them later; copies are only closed.
            lost |= unsafe {
                if copies && tlb::has_others() {
                    tables.protect(range, Protection::NONE)
                } else {
                    tables.unmap(range, Entry::is_borrowed)
                }
            };
            if left == 0 {
                more = Some(end);
                break;
            }
        }
        if lost && tlb::has_others() {
            tlb::shoot_down(Gone::Pages);
        }
        if copies {
            for range in areas.of_file(file, pages) {
                let range = range.start.max(from)..range.end.min(more.unwrap_or(range.end));
                if !range.is_empty() {
                    // SAFETY: nobody has the pages any more, here or on other CPUs.
                    *resident -= unsafe { free_pages(tables, range) };
                }
            }
        }
        more
    }

    /// Whether the program may have so many frames more; looks for empty tables if they are short.
    fn has_frames(&mut self, count: u64) -> bool {
        let needed = self.frame_reserve + count;
        frames::free_count() >= needed || self.tables.collect_empty() > 0 && frames::free_count() >= needed
    }

    /// Refuses memory that may be written and is not promised if hardly a frame is left for it: a thread whose stack could not
    /// be touched should not start.
    fn check_unpromised(&mut self, no_reserve: bool, protection: Protection) -> Result<(), MapError> {
        const ENOUGH: u64 = 8;
        if no_reserve && protection.write && !self.has_frames(ENOUGH) {
            Err(MapError::NoMemory)
        } else {
            Ok(())
        }
    }

    fn map(&mut self, request: Map, backing: Backing) -> Result<u64, MapError> {
        let len = request.len.checked_next_multiple_of(PAGE_SIZE).ok_or(MapError::NoMemory)?;
        if len == 0 {
            return Err(MapError::Invalid);
        }
        if request.protection.execute {
            return Err(MapError::Denied);
        }
        let window = window();
        let range = if request.fixed {
            let range = page_range(request.address, len).map_err(|error| match error {
                MapError::Invalid if request.address.is_multiple_of(PAGE_SIZE) => MapError::NoMemory,
                error => error,
            })?;
            let free = self.areas.is_free(range.clone());
            if request.no_replace && !free {
                return Err(MapError::Exists);
            }
            if range.start < MMAP_MIN
                || self.areas.overlapping(range.clone()).any(|(_, area)| area.backing == Backing::Image)
            {
                return Err(MapError::Denied);
            }
            range
        } else {
            let hint = request.address & !(PAGE_SIZE - 1);
            let hinted = hint..hint.saturating_add(len);
            if hint >= window.start && hinted.end <= window.end && self.areas.is_free(hinted.clone()) {
                hinted
            } else {
                let start = self.areas.find_gap(len, window).ok_or(MapError::NoMemory)?;
                start..start + len
            }
        };
        self.areas.reserve(range.clone(), 1)?;
        let area = Area::new(range.end, request.protection, backing, request.no_reserve);
        let promised = if area.promised { len } else { 0 };
        let given_up = self.areas.committed(range.clone());
        self.check_commit(promised.saturating_sub(given_up))?;
        self.check_unpromised(request.no_reserve, request.protection)?;
        self.clear(range.clone());
        self.committed += promised;
        self.areas.insert(range.start, area);
        Ok(range.start)
    }

    fn remap(&mut self, request: Remap) -> Result<u64, MapError> {
        let old = page_range(request.address, request.old_len).map_err(|error| match error {
            // A length of nothing, also one that wraps, is invalid only where something is mapped.
            MapError::Invalid
                if request.address.checked_add(request.old_len).is_some_and(|end| end > LOW_END) =>
            {
                MapError::NotMapped
            }
            MapError::Invalid if self.areas.find(request.address).is_none() => MapError::NotMapped,
            error => error,
        })?;
        let new_len = request.new_len.checked_next_multiple_of(PAGE_SIZE).ok_or(MapError::NoMemory)?;
        if new_len == 0 {
            return Err(MapError::Invalid);
        }
        let (start, area) = self.areas.find(old.start).ok_or(MapError::NotMapped)?;
        let area = area.from(start, old.start);
        // Also what lies behind the mapping: the rest of the range is unmapped.
        if self.areas.overlapping(old.clone()).any(|(_, area)| area.backing == Backing::Image) {
            return Err(MapError::Denied);
        }
        self.areas.reserve(old.clone(), 1)?;
        let old_len = old.end - old.start;
        if request.to.is_none() && new_len <= old_len && !request.keep {
            if new_len < old_len {
                let tail = old.start + new_len..old.end;
                self.areas.reserve(tail.clone(), 0)?;
                self.clear(tail);
            }
            return Ok(old.start);
        }
        if area.end < old.end {
            return Err(MapError::NotMapped);
        }
        let commit = |bytes: u64| if area.promised { bytes } else { 0 };
        // What is promised in the place it goes to is given up with it, and not counted here: a little too strict.
        self.check_commit(commit(if request.keep { new_len } else { new_len.saturating_sub(old_len) }))?;
        if request.to.is_none() && !request.keep {
            let grown = old.end..old.start.checked_add(new_len).ok_or(MapError::NoMemory)?;
            if area.end == old.end && grown.end <= window().end && self.areas.is_free(grown.clone()) {
                let end = grown.end;
                self.areas.insert(grown.start, Area { end, ..area.from(old.start, grown.start) });
                self.committed += commit(grown.end - grown.start);
                return Ok(old.start);
            }
            if !request.may_move {
                return Err(MapError::NoMemory);
            }
        }
        let start = match request.to {
            Some(to) => {
                let target = page_range(to, new_len)?;
                if target.start < old.end && old.start < target.end {
                    return Err(MapError::Invalid);
                }
                if target.start < MMAP_MIN
                    || self.areas.overlapping(target.clone()).any(|(_, area)| area.backing == Backing::Image)
                {
                    return Err(MapError::Denied);
                }
                // Two for what follows: the old place may be split, and the new one is added.
                self.areas.reserve(target.clone(), 3)?;
                self.clear(target);
                to
            }
            None => self.areas.find_gap(new_len, window()).ok_or(MapError::NoMemory)?,
        };
        self.move_pages(old.start..old.start + old_len.min(new_len), start, area.protection)?;
        if !request.keep {
            self.clear(old);
        }
        self.committed += commit(new_len);
        self.areas.insert(start, Area { end: start + new_len, ..area });
        Ok(start)
    }

    /// Moves the frames of a range. On an error nothing was moved.
    fn move_pages(&mut self, from: Range<u64>, to: u64, protection: Protection) -> Result<(), MapError> {
        let mut at = from.start;
        while let Some((page, _)) = self.tables.next_held(at..from.end) {
            self.tables.prepare(to + (page - from.start)).map_err(|_| MapError::NoMemory)?;
            at = page + PAGE_SIZE;
        }
        self.withdraw(from.clone());
        let mut at = from.start;
        while let Some((page, entry)) = self.tables.next_held(at..from.end) {
            at = page + PAGE_SIZE;
            // SAFETY: the program's own page, at its own request, to a place where nothing is mapped.
            unsafe { self.tables.unmap(page..page + PAGE_SIZE, |_| true) };
            // SAFETY: as above. The tables were made, so that this cannot fail.
            let _ = unsafe { self.tables.move_to(to + (page - from.start), entry, protection) };
        }
        Ok(())
    }

    fn check_commit(&self, more: u64) -> Result<(), MapError> {
        let promised = self.committed + FILES.load(Ordering::Relaxed);
        match promised.checked_add(more) {
            Some(total) if total <= self.commit_limit => Ok(()),
            _ if more == 0 => Ok(()),
            _ => Err(MapError::NoMemory),
        }
    }

    fn protect(&mut self, address: u64, len: u64, protection: Protection) -> Result<(), MapError> {
        if len == 0 && address.is_multiple_of(PAGE_SIZE) {
            return Ok(());
        }
        let range = match page_range(address, len) {
            // Nothing is mapped behind the program's part.
            Err(MapError::Invalid) if address.is_multiple_of(PAGE_SIZE) => return Err(MapError::NoMemory),
            range => range?,
        };
        if !self.areas.covers(range.clone()) {
            return Err(MapError::NoMemory);
        }
        if image::holds_closed(range.clone()) {
            return Err(MapError::Denied);
        }
        if protection.execute
            && self.areas.overlapping(range.clone()).any(|(_, area)| !area.protection.execute)
        {
            return Err(MapError::Denied);
        }
        if protection.write && self.areas.overlapping(range.clone()).any(|(_, area)| area.protection.execute)
        {
            return Err(MapError::Denied);
        }
        let may_write = |area: &Area| !matches!(&area.backing, Backing::File(file) if !file.may_write);
        if protection.write && !self.areas.overlapping(range.clone()).all(|(_, area)| may_write(area)) {
            return Err(MapError::Denied);
        }
        self.areas.reserve(range.clone(), 0)?;
        let no_reserve = self.areas.overlapping(range.clone()).any(|(_, area)| area.no_reserve);
        self.check_unpromised(
            no_reserve && !self.areas.overlapping(range.clone()).all(|(_, a)| a.protection.write),
            protection,
        )?;
        let before = self.areas.committed(range.clone());
        let after = self.areas.committed_if(range.clone(), protection);
        self.check_commit(after.saturating_sub(before))?;
        self.committed = self.committed + after - before;
        self.areas.protect(range.clone(), protection);
        // SAFETY: the program's own pages, at its own request.
        let lost = unsafe { self.tables.protect(range, protection) };
        if lost && tlb::has_others() {
            tlb::shoot_down(Gone::Pages);
        }
        Ok(())
    }

    fn set_brk(&mut self, end: u64) -> u64 {
        let (start, old) = (self.brk.start, self.brk.end);
        let old_page = old.next_multiple_of(PAGE_SIZE);
        let Some(new_page) = end.checked_next_multiple_of(PAGE_SIZE) else { return old };
        if end < start || new_page > STACK_TOP - STACK_SIZE {
            return old;
        }
        if new_page > old_page {
            let len = new_page - old_page;
            if !self.areas.is_free(old_page..new_page) || self.check_commit(len).is_err() {
                return old;
            }
            let protection = Protection::READ_WRITE;
            let area = Area::new(new_page, protection, Backing::Anonymous, false);
            if self.areas.reserve(old_page..new_page, 1).is_err() {
                return old;
            }
            self.areas.insert(old_page, area);
            self.committed += len;
        } else if new_page < old_page {
            if self.areas.reserve(new_page..old_page, 0).is_err() {
                return old;
            }
            self.clear(new_page..old_page);
        }
        self.brk.end = end;
        end
    }

    /// Takes areas and frames out of a range.
    fn clear(&mut self, range: Range<u64>) {
        if self.areas.is_free(range.clone()) {
            return;
        }
        self.committed -= self.areas.committed(range.clone());
        // The frames first: a file may go with its area.
        self.drop_frames(range.clone());
        self.areas.remove(range);
    }

    fn drop_frames(&mut self, range: Range<u64>) {
        let Some((first, _)) = self.tables.next_held(range.clone()) else { return };
        let range = first..range.end;
        self.withdraw(range.clone());
        // SAFETY: the program gives the pages up, and no other CPU remembers them.
        self.resident -= unsafe { free_pages(&mut self.tables, range) };
    }

    /// Takes the pages of a range, whose frames are about to go elsewhere, from all other CPUs: first all of them in the tables,
    /// then one interruption of the others.
    fn withdraw(&mut self, range: Range<u64>) {
        if !tlb::has_others() {
            return;
        }
        // SAFETY: the program has given the pages up, or is about to find them elsewhere.
        if unsafe { self.tables.protect(range, Protection::NONE) } {
            tlb::shoot_down(Gone::Pages);
        }
    }
}

/// Unmaps a range and frees what is the mapping's own; returns how many bytes.
///
/// # Safety
/// As [`PageTables::unmap`], and no other CPU remembers the pages.
unsafe fn free_pages(tables: &mut PageTables, range: Range<u64>) -> u64 {
    let mut freed = 0;
    // SAFETY: the caller's promise; frames that are not borrowed are mapped once.
    unsafe {
        tables.unmap(range, |entry| {
            if let Some(frame) = entry.held_frame().filter(|_| !entry.is_borrowed()) {
                frames::free(frame, 0);
                freed += PAGE_SIZE;
            }
            true
        });
    }
    freed
}
