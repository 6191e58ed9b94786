//! Page tables: 4 levels, 4 KiB pages for the program, large pages for the direct map (SDM vol. 3 § 5.5).

use core::ops::Range;

use super::{cpu, tlb};
use crate::mm::{direct, frames};

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;

/// PML4 slot of the direct map of all RAM. Not 256: paravirtual page tables keep that for the hypervisor.
pub const DIRECT_SLOT: usize = 273;
/// Start of the direct map: physical address 0.
pub const DIRECT_BASE: u64 = slot_base(DIRECT_SLOT);
/// Kernel stacks, each with a guard page below.
pub const KSTACK_BASE: u64 = slot_base(400);
/// Device registers.
pub const DEVICE_BASE: u64 = slot_base(402);
/// Where CPUs start in real mode: a page below 1 MiB, set aside during boot.
pub const STARTUP_PAGE: u64 = 0x8000;
/// First address behind the program's part. A page short of its half, as on Linux: a `syscall` instruction in the last
/// octets would return to a non-canonical address.
pub const LOW_END: u64 = 0x0000_7fff_ffff_f000;

const fn slot_base(slot: usize) -> u64 {
    0xffff_0000_0000_0000 | (slot as u64) << 39
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Loads. A page that may not be read is not mapped at all: x86 has no other way.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

impl Protection {
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, execute: false };
    /// Loads and stores.
    pub const READ_WRITE: Self = Self { read: true, write: true, execute: false };
}

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const NO_CACHE: u64 = 1 << 4 | 1 << 3;
const LARGE: u64 = 1 << 7;
/// Bits that the CPU leaves to software: the frame is not the mapping's own; it is not written by way of this entry.
const BORROWED: u64 = 1 << 9;
const COPY_ON_WRITE: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Whose a mapped frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The mapping's alone: it is free when it is unmapped.
    Own,
    /// Somebody else's, such as a file's, and written as the mapping's protection says.
    Shared,
    /// Somebody else's, and not written by way of this mapping, whatever its protection says: a store is a page fault.
    CopyOnWrite,
}

impl Sharing {
    fn bits(self) -> u64 {
        match self {
            Self::Own => 0,
            Self::Shared => BORROWED,
            Self::CopyOnWrite => BORROWED | COPY_ON_WRITE,
        }
    }
}

/// The physical address of the page that is mapped at an entry, and whether one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u64);

impl Entry {
    /// Physical address of the mapped frame. `None`: nothing is mapped.
    pub fn frame(self) -> Option<u64> {
        (self.0 & PRESENT != 0).then_some(self.0 & ADDRESS)
    }

    /// An entry that maps `frame`; `user`: [`USER`] for ring 3, or 0; `sharing`: [`Sharing::bits`]. A protection without `read` maps
    /// nothing.
    fn new(frame: u64, protection: Protection, user: u64, sharing: u64) -> Self {
        if !(protection.read || protection.write || protection.execute) {
            // The frame stays recorded, so that its content is kept until it may be read again.
            return Self(frame | sharing | NO_EXECUTE);
        }
        let write = if protection.write && sharing & COPY_ON_WRITE == 0 { WRITE } else { 0 };
        let execute = if protection.execute { 0 } else { NO_EXECUTE };
        Self(frame | sharing | PRESENT | user | write | execute)
    }

    /// The same frame with another protection.
    fn with(self, protection: Protection, user: u64) -> Self {
        Self::new(self.0 & ADDRESS, protection, user, self.0 & (BORROWED | COPY_ON_WRITE))
    }

    /// Whether a store to the page is carried out.
    pub fn is_writable(self) -> bool {
        self.0 & (PRESENT | WRITE) == PRESENT | WRITE
    }

    /// Whether the frame is somebody else's ([`Sharing`]).
    pub fn is_borrowed(self) -> bool {
        self.0 & BORROWED != 0
    }

    /// The frame this entry holds, mapped now or kept under `PROT_NONE`.
    pub fn held_frame(self) -> Option<u64> {
        (self.0 != 0).then_some(self.0 & ADDRESS)
    }
}

/// The tables in use: one set for the whole machine.
pub struct PageTables {
    pml4: u64,
    /// What the entries of the low half get besides: [`USER`] if the program is at ring 3.
    user: u64,
}

/// Forgets translations on this CPU: one by one while they are few.
#[derive(Default)]
struct Flush {
    pages: u32,
}

impl Flush {
    /// More, and forgetting all of them costs less (`tlb_single_page_flush_ceiling` of Linux).
    const MAX_SINGLE: u32 = 33;

    /// The entry of a page was changed.
    fn page(&mut self, address: u64) {
        if self.pages < Self::MAX_SINGLE {
            cpu::invlpg(address);
        }
        self.pages += 1;
    }

    fn finish(self) {
        if self.pages > Self::MAX_SINGLE {
            cpu::reload_cr3();
        }
    }
}

/// A page-table page could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

impl PageTables {
    /// The tables that CR3 points to.
    ///
    /// # Safety
    /// Called once: the value is what owns the tables.
    pub unsafe fn current() -> Self {
        Self { pml4: cpu::cr3(), user: 0 }
    }

    /// Has ring 3 use what is mapped in the low half from now on.
    pub fn open_to_ring_3(&mut self) {
        self.user = USER;
    }

    /// What an entry for `address` gets besides its protection.
    fn user(&self, address: u64) -> u64 {
        if address < LOW_END { self.user } else { 0 }
    }

    fn table(physical: u64) -> *mut [u64; 512] {
        direct::pointer(physical).cast()
    }

    /// The last-level entry for `address`; tables on the way are made if `make`.
    fn entry(&mut self, address: u64, make: bool) -> Result<Option<*mut u64>, NoFrame> {
        let mut table = self.pml4;
        for level in (1..4).rev() {
            let index = (address >> (12 + 9 * level) & 511) as usize;
            // SAFETY: `table` is a page-table page, reached through the direct map; only `&mut self` writes it.
            let entry = unsafe { &mut (*Self::table(table))[index] };
            if *entry & PRESENT == 0 {
                if !make {
                    return Ok(None);
                }
                // The last level decides; the others let the low half's pages be ring 3's.
                let user = if address < LOW_END { USER } else { 0 };
                *entry = frames::alloc_zeroed().ok_or(NoFrame)? | PRESENT | WRITE | user;
            }
            debug_assert!(*entry & LARGE == 0, "a large page has no table below it");
            table = *entry & ADDRESS;
        }
        let index = (address >> 12 & 511) as usize;
        // SAFETY: as above; the pointer stays inside the table.
        Ok(Some(unsafe { &raw mut (*Self::table(table))[index] }))
    }

    /// What is mapped at `address`.
    pub fn get(&mut self, address: u64) -> Option<Entry> {
        let entry = self.entry(address, false).ok()??;
        // SAFETY: `entry` points into a live table.
        Some(Entry(unsafe { entry.read() })).filter(|entry| entry.0 != 0)
    }

    /// Maps a frame at `address`, in place of whatever was there.
    ///
    /// # Errors
    /// [`NoFrame`]: no memory for a table.
    ///
    /// # Safety
    /// Nothing relies on the page's former content, and the frame may be used as `protection` and `sharing` say, until it is
    /// unmapped.
    pub unsafe fn map(
        &mut self,
        address: u64,
        frame: u64,
        protection: Protection,
        sharing: Sharing,
    ) -> Result<(), NoFrame> {
        let entry = Entry::new(frame, protection, self.user(address), sharing.bits());
        // SAFETY: the caller's promise.
        unsafe { self.place(address, entry) }
    }

    /// Maps at `address` what was mapped elsewhere, with another protection, in place of whatever was there.
    ///
    /// # Errors
    /// [`NoFrame`]: no memory for a table.
    ///
    /// # Safety
    /// As [`Self::map`].
    pub unsafe fn move_to(
        &mut self,
        address: u64,
        entry: Entry,
        protection: Protection,
    ) -> Result<(), NoFrame> {
        // SAFETY: the caller's promise.
        unsafe { self.place(address, entry.with(protection, self.user(address))) }
    }

    /// # Safety
    /// As [`Self::map`].
    unsafe fn place(&mut self, address: u64, new: Entry) -> Result<(), NoFrame> {
        let entry = self.entry(address, true)?.ok_or(NoFrame)?;
        // SAFETY: `entry` points into a live table.
        let before = unsafe { entry.replace(new.0) };
        if before & PRESENT != 0 {
            cpu::invlpg(address);
        }
        Ok(())
    }

    /// Maps pages at their own physical addresses, where nothing is mapped.
    ///
    /// # Errors
    /// [`NoFrame`]: no memory for a table.
    ///
    /// # Safety
    /// As [`Self::map`], for each page.
    pub unsafe fn map_identity(&mut self, pages: Range<u64>, protection: Protection) -> Result<(), NoFrame> {
        let mut page = pages.start;
        while page < pages.end {
            // One walk for all pages of a last-level table.
            let mut entry = self.entry(page, true)?.ok_or(NoFrame)?;
            let table_end = (page | 0x1f_ffff).saturating_add(1).min(pages.end);
            while page < table_end {
                // SAFETY: `entry` stays inside the table, which ends with `table_end` or after.
                unsafe {
                    entry.write(Entry::new(page, protection, self.user(page), 0).0);
                    entry = entry.add(1);
                }
                page += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// Maps a page of device registers: uncached, not executable.
    ///
    /// # Errors
    /// [`NoFrame`]: no memory for a table.
    ///
    /// # Safety
    /// As [`Self::map`]; `frame` is a device's.
    pub unsafe fn map_device(&mut self, address: u64, frame: u64) -> Result<(), NoFrame> {
        let entry = self.entry(address, true)?.ok_or(NoFrame)?;
        // SAFETY: `entry` points into a live table.
        unsafe { entry.write(frame | PRESENT | WRITE | NO_CACHE | NO_EXECUTE) };
        Ok(())
    }

    /// Makes the tables for the page at `address`, so that mapping it cannot fail.
    ///
    /// # Errors
    /// [`NoFrame`].
    pub fn prepare(&mut self, address: u64) -> Result<(), NoFrame> {
        self.entry(address, true)?.map(drop).ok_or(NoFrame)
    }

    /// Changes what may be done with the pages of a range that are there. Returns whether something was taken away that another
    /// CPU may still believe to have.
    ///
    /// # Safety
    /// Nothing relies on what is taken away.
    pub unsafe fn protect(&mut self, range: Range<u64>, protection: Protection) -> bool {
        let user = self.user(range.start);
        let (mut lost, mut flush) = (false, Flush::default());
        self.find_held(range, |page, entry| {
            let before = *entry;
            let after = Entry(before).with(protection, user).0;
            *entry = after;
            if before & PRESENT != 0 {
                flush.page(page);
                // What both bits stand for is a right, but for the last one, which forbids.
                lost |= before & !after & (PRESENT | WRITE) != 0 || !before & after & NO_EXECUTE != 0;
            }
            false
        });
        flush.finish();
        lost
    }

    /// Removes those pages of a range that `goes` says; it is asked for each. Returns whether another CPU may still believe to have
    /// one of them.
    ///
    /// # Safety
    /// Nothing relies on the pages. On this CPU, too, nothing may use them before the return.
    pub unsafe fn unmap(&mut self, range: Range<u64>, mut goes: impl FnMut(Entry) -> bool) -> bool {
        let (mut lost, mut flush) = (false, Flush::default());
        self.find_held(range, |page, entry| {
            let before = Entry(*entry);
            if goes(before) {
                *entry = 0;
                if before.frame().is_some() {
                    flush.page(page);
                    lost = true;
                }
            }
            false
        });
        flush.finish();
        lost
    }

    /// The first page of a range that holds a frame, mapped or not, and its entry.
    pub fn next_held(&mut self, range: Range<u64>) -> Option<(u64, Entry)> {
        let mut found = None;
        self.find_held(range, |page, entry| {
            found = Some((page, Entry(*entry)));
            true
        });
        found
    }

    /// Calls `f` for the pages of a range that hold a frame, and their entries, until it returns true. One walk for a last-level
    /// table (2 MiB), and where there is none one for as much as there are none for, up to 512 GiB.
    fn find_held(&mut self, range: Range<u64>, mut f: impl FnMut(u64, &mut u64) -> bool) {
        let mut page = range.start;
        while page < range.end {
            let table = match self.last_table(page) {
                Ok(table) => table,
                Err(next) => {
                    page = next;
                    continue;
                }
            };
            let end = (page | 0x1f_ffff).saturating_add(1).min(range.end);
            let first = (page / PAGE_SIZE % 512) as usize;
            let entries = &mut table[first..first + ((end - page) / PAGE_SIZE) as usize];
            let mut look = |entries: &mut [u64], first: u64| {
                let mut pages = (first..).step_by(PAGE_SIZE as usize).zip(entries);
                pages.any(|(page, entry)| *entry != 0 && f(page, entry))
            };
            // Tables are mostly empty: eight entries in a step.
            let (eights, rest) = entries.as_chunks_mut::<8>();
            for eight in eights {
                let [a, b, c, d, e, f, g, h] = *eight;
                if a | b | c | d | e | f | g | h != 0 && look(eight, page) {
                    return;
                }
                page += 8 * PAGE_SIZE;
            }
            if look(rest, page) {
                return;
            }
            page = end;
        }
    }

    /// The last-level table for `address`. `Err`: there is none, and the first address above for which there may be one.
    fn last_table(&mut self, address: u64) -> Result<&mut [u64; 512], u64> {
        let mut table = self.pml4;
        for level in (1..4).rev() {
            let shift = 12 + 9 * level;
            // SAFETY: `table` is a page-table page, reached through the direct map; only `&mut self` writes it.
            let entry = unsafe { (*Self::table(table))[(address >> shift & 511) as usize] };
            if entry & PRESENT == 0 {
                return Err((address | ((1 << shift) - 1)).saturating_add(1));
            }
            table = entry & ADDRESS;
        }
        // SAFETY: as above.
        Ok(unsafe { &mut *Self::table(table) })
    }

    /// Gives back the tables of the low half that map nothing; returns how many. For when memory is short: it looks at every
    /// table.
    pub fn collect_empty(&mut self) -> usize {
        let mut chain = 0;
        Self::unlink_empty(self.pml4, 3, 256, &mut chain);
        if chain == 0 {
            return 0;
        }
        // CPUs may have kept pointers to them.
        tlb::shoot_down(tlb::Gone::Tables);
        let mut freed = 0;
        while chain != 0 {
            // SAFETY: `unlink_empty` chained tables that nothing points to, and no CPU remembers them any more.
            unsafe {
                let next = (*Self::table(chain))[0];
                frames::free(chain, 0);
                chain = next;
            }
            freed += 1;
        }
        freed
    }

    /// Takes the empty tables below the first `count` entries of `table`, which is `level` levels above the last, out of it, and
    /// puts them into a chain through their first entries. (A chain's word is no present entry: addresses of tables are even.)
    fn unlink_empty(table: u64, level: u32, count: usize, chain: &mut u64) {
        for i in 0..count {
            // SAFETY: a live table, reached through the direct map; the caller has `&mut self`.
            let entry = unsafe { &mut (*Self::table(table))[i] };
            if *entry & PRESENT == 0 {
                continue;
            }
            let below = *entry & ADDRESS;
            if level > 1 {
                Self::unlink_empty(below, level - 1, 512, chain);
            }
            // SAFETY: as above.
            if unsafe { &*Self::table(below) }.iter().all(|&entry| entry == 0) {
                *entry = 0;
                // SAFETY: as above; the table is out of use.
                unsafe { (*Self::table(below))[0] = *chain };
                *chain = below;
            }
        }
    }

    /// Makes the direct map cover `ram_end` bytes from 0 and no more (2 MiB steps); boot mapped the first GiB.
    ///
    /// # Errors
    /// [`NoFrame`]: no memory for a table.
    ///
    /// # Safety
    /// Nothing above `ram_end` is in use through the direct map.
    pub unsafe fn extend_direct_map(&mut self, ram_end: u64) -> Result<(), NoFrame> {
        const PD_SPAN: u64 = 1 << 30;
        // Not executable by its PML4 entry; the lower tables are boot's identity map's, too.
        let writable = PRESENT | WRITE | LARGE;
        // SAFETY: the boot tables are live and only this function changes the direct map's.
        unsafe {
            let pdpt = (*Self::table(self.pml4))[DIRECT_SLOT] & ADDRESS;
            let gibs = ram_end.div_ceil(PD_SPAN).clamp(1, 512);
            for gib in 0..gibs {
                let slot = &raw mut (*Self::table(pdpt))[gib as usize];
                if slot.read() & PRESENT == 0 {
                    slot.write(frames::alloc_zeroed().ok_or(NoFrame)? | PRESENT | WRITE);
                }
                let pd = Self::table(slot.read() & ADDRESS);
                for (i, entry) in (*pd).iter_mut().enumerate() {
                    let address = gib * PD_SPAN + i as u64 * 0x20_0000;
                    let before = *entry;
                    *entry = if address < ram_end { address | writable } else { 0 };
                    if before != 0 && *entry == 0 {
                        cpu::invlpg(DIRECT_BASE + address);
                    }
                }
            }
        }
        Ok(())
    }

    /// Empties the low half: boot's identity map ends. The caller maps the image in the same breath.
    ///
    /// # Safety
    /// Tables for everything that is used in the low half are put in place by `install` before it returns.
    pub unsafe fn replace_low_half(
        &mut self,
        install: impl FnOnce(&mut Self) -> Result<(), NoFrame>,
    ) -> Result<(), NoFrame> {
        // A second PML4 with the same upper half; the low half is filled while the first is still in force.
        let fresh = frames::alloc_pml4().ok_or(NoFrame)?;
        let old = self.pml4;
        // SAFETY: `fresh` is a frame of our own; the old table is only read.
        unsafe {
            let from = &*Self::table(old);
            let to = &mut *Self::table(fresh);
            to[..256].fill(0);
            to[256..].copy_from_slice(&from[256..]);
        }
        self.pml4 = fresh;
        install(self)?;
        // SAFETY: the new tables map the image (by `install`) and the whole upper half as before.
        unsafe { core::arch::asm!("mov cr3, {}", in(reg) fresh, options(nostack, preserves_flags)) };
        Ok(())
    }
}
