//! The image itself: program and kernel in one ELF file, loaded where it was linked.

use abi::attached::PF_ATTACHED;
use abi::boot_info::PhysRange;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sync::Once;

use super::direct;
use crate::arch::current::paging::{NoFrame, PAGE_SIZE, PageTables, Protection};
use crate::arch::current::vdso;

/// An ELF64 program header (gABI, "Program Header").
#[derive(Clone, Copy)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

/// The fields of an ELF64 header that the kernel reads.
#[repr(C)]
struct Header {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
}

const PT_LOAD: u32 = 1;

unsafe extern "C" {
    /// Defined by the linker: the image's ELF header, where it is loaded.
    #[link_name = "__ehdr_start"]
    static HEADER: Header;
}

/// What the program's start needs to know of the image.
#[derive(Clone, Copy, Debug)]
pub struct ImageInfo {
    /// Address of libc's `_start`.
    pub entry: u64,
    /// Address of the program headers, for `AT_PHDR`.
    pub phdr: u64,
    /// Their number.
    pub phnum: u64,
}

fn header() -> &'static Header {
    // SAFETY: the linker places the header in the image's first loaded page; it is never written. The page is the program's, so
    // the kernel goes there by its own map.
    unsafe { &*direct::of_image(&raw const HEADER) }
}

fn program_headers() -> &'static [ProgramHeader] {
    let header = header();
    let first = (&raw const *header).wrapping_byte_add(header.phoff as usize).cast();
    // SAFETY: the linker wrote `phnum` headers at `phoff`, inside the first loaded page.
    unsafe { core::slice::from_raw_parts(first, usize::from(header.phnum)) }
}

/// The headers of what is loaded. Under isolation the program cannot change what the kernel goes by, so that they are copied at
/// boot: those in the image are in a page that it may make writable.
static SEGMENTS: Once<Vec<ProgramHeader>> = Once::new();

/// Copies the headers, as soon as there is memory for it, and keeps where the kernel's sections end.
pub(super) fn keep_segments() {
    let _ = SEGMENTS.set(program_headers().to_vec());
    let end = kernel_sections().into_iter().map(|(_, stop)| stop).max();
    KERNEL_END.store(end.unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn segments() -> impl Iterator<Item = &'static ProgramHeader> {
    let headers = SEGMENTS.get().map_or_else(program_headers, Vec::as_slice);
    headers.iter().filter(|header| header.kind == PT_LOAD)
}

/// What the program's start needs.
pub fn info() -> ImageInfo {
    let phdr = (&raw const HEADER) as u64 + header().phoff;
    ImageInfo { entry: header().entry, phdr, phnum: header().phnum.into() }
}

/// What the tool attached to the image ([`abi::attached`]). `None`: nothing.
pub fn attached() -> Option<&'static [u8]> {
    let segment = segments().find(|s| s.flags & PF_ATTACHED != 0)?;
    // SAFETY: the monitor loaded the segment where its header says; nobody writes to it (`holds_closed`). The page is the
    // program's, so the kernel goes there by its own map.
    Some(unsafe {
        core::slice::from_raw_parts(direct::of_image(segment.vaddr as *const u8), segment.memsz as usize)
    })
}

/// The physical address of the page that `octets`, a part of what is [`attached`], begin. `None`: they are not that, or do not
/// begin a page.
pub(super) fn attached_page(octets: &[u8]) -> Option<u64> {
    let all = attached()?.as_ptr_range();
    let inside = all.contains(&octets.as_ptr());
    let physical = direct::physical(octets.as_ptr());
    (inside && physical.is_multiple_of(PAGE_SIZE)).then_some(physical)
}

/// The pages the image occupies: virtual and physical addresses are the same.
pub fn range() -> PhysRange {
    let start = segments().map(|s| s.vaddr).min().unwrap_or(0) & !(PAGE_SIZE - 1);
    let end = segments().map(|s| s.vaddr + s.memsz).max().unwrap_or(0).next_multiple_of(PAGE_SIZE);
    PhysRange { start, end }
}

/// Whether `address` is in a segment that may be executed.
pub fn is_code(address: u64) -> bool {
    segments().any(|s| s.flags & 1 != 0 && (s.vaddr..s.vaddr + s.memsz).contains(&address))
}

/// First address above the kernel's own sections, as [`keep_segments`] found it.
static KERNEL_END: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whether any of `range` is the kernel's own memory: its code, constants and data inside the image.
pub fn holds_kernel(range: core::ops::Range<u64>) -> bool {
    // Every copy to and from the program asks, mostly for its heap and stacks, which are above the image.
    if range.start >= KERNEL_END.load(Ordering::Relaxed) {
        return false;
    }
    // Spelled out: the compiler would make a table of it.
    let [text, rodata, data, bss] = kernel_sections();
    let overlaps = |(start, stop)| range.start < stop && start < range.end;
    overlaps(text) || overlaps(rodata) || overlaps(data) || overlaps(bss)
}

/// Whether any of `range` is not the program's to change: the kernel's own memory, the page that the vDSO reads, or what the tool
/// attached.
pub fn holds_closed(range: core::ops::Range<u64>) -> bool {
    let data = vdso::data_address();
    let overlaps = |start: u64, end: u64| range.start < end && start < range.end;
    overlaps(data, data + PAGE_SIZE)
        || segments().any(|s| s.flags & PF_ATTACHED != 0 && overlaps(s.vaddr, s.vaddr + s.memsz))
        || holds_kernel(range)
}

/// Whether the kernel's sections have pages of their own. GNU ld, other than lld, drops the empty sections that see to it.
pub fn kernel_has_own_pages() -> bool {
    let aligned = |address: u64| address.is_multiple_of(PAGE_SIZE);
    kernel_sections().into_iter().all(|(start, stop)| aligned(start) && aligned(stop))
}

#[cfg(includeos_metal)]
fn kernel_sections() -> [(u64, u64); 4] {
    // The linker defines these for output sections whose names are C identifiers.
    unsafe extern "C" {
        static __start_ktext: u8;
        static __stop_ktext: u8;
        static __start_krodata: u8;
        static __stop_krodata: u8;
        static __start_kdata: u8;
        static __stop_kdata: u8;
        static __start_kbss: u8;
        static __stop_kbss: u8;
    }
    [
        ((&raw const __start_ktext) as u64, (&raw const __stop_ktext) as u64),
        ((&raw const __start_krodata) as u64, (&raw const __stop_krodata) as u64),
        ((&raw const __start_kdata) as u64, (&raw const __stop_kdata) as u64),
        ((&raw const __start_kbss) as u64, (&raw const __stop_kbss) as u64),
    ]
}

#[cfg(not(includeos_metal))]
fn kernel_sections() -> [(u64, u64); 4] {
    [(0, 0); 4]
}

/// The image's page ranges with their rights.
pub fn areas() -> impl Iterator<Item = (core::ops::Range<u64>, Protection)> {
    segments().filter(|s| s.memsz > 0).map(|s| {
        let range = s.vaddr & !(PAGE_SIZE - 1)..(s.vaddr + s.memsz).next_multiple_of(PAGE_SIZE);
        let protection =
            Protection { read: s.flags & 4 != 0, write: s.flags & 2 != 0, execute: s.flags & 1 != 0 };
        (range, protection)
    })
}

/// Where in the image's file the page at `address`, the start of one of [`areas`], is.
pub fn file_offset(address: u64) -> u64 {
    let segment = segments().find(|s| s.vaddr & !(PAGE_SIZE - 1) <= address && address < s.vaddr + s.memsz);
    segment.map_or(0, |s| (s.offset + address).saturating_sub(s.vaddr) & !(PAGE_SIZE - 1))
}

/// Gives ring 3 the program's pages of the image.
pub(super) fn isolate(tables: &mut PageTables) {
    let data = vdso::data_address();
    for (range, protection) in areas() {
        for page in range.step_by(PAGE_SIZE as usize) {
            let protection = match () {
                () if page == data => Protection { write: false, ..protection },
                () if holds_kernel(page..page + PAGE_SIZE) => continue,
                () => protection,
            };
            // SAFETY: the kernel reaches its own data in these pages, the vDSO's, through the direct map.
            unsafe { tables.protect(page..page + PAGE_SIZE, protection) };
        }
    }
}

/// Maps the image's pages by the rights of their segments.
pub(super) fn map(tables: &mut PageTables) -> Result<(), NoFrame> {
    for (range, protection) in areas() {
        // SAFETY: the image's pages, in tables that are not in use yet; the linker gives each segment pages of its own.
        unsafe { tables.map_identity(range, protection)? };
    }
    Ok(())
}
