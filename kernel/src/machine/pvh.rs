//! The PVH hand-over (xen `include/public/arch-x86/hvm/start_info.h`).

use abi::boot_info::PhysRange;

use crate::arch::current::paging::{PAGE_SIZE, STARTUP_PAGE};
use crate::mm::direct;

/// Most RAM ranges that are used; further ones are left alone. PCs have two or three.
pub const MAX_RANGES: usize = 32;

/// First word of a start info.
pub(crate) const MAGIC: u32 = 0x336e_c578;
/// Kind of a memory map entry: RAM to be used.
pub(crate) const MEMMAP_RAM: u32 = 1;

#[repr(C)]
pub(crate) struct RawStartInfo {
    magic: u32,
    pub(crate) version: u32,
    flags: u32,
    nr_modules: u32,
    modlist: u64,
    cmdline: u64,
    rsdp: u64,
    // From version 1.
    pub(crate) memmap: u64,
    pub(crate) memmap_entries: u32,
    reserved: u32,
}

#[repr(C)]
pub(crate) struct RawMemmapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// What the monitor handed over.
pub struct StartInfo {
    ram: [PhysRange; MAX_RANGES],
    ram_len: usize,
    /// The command line, in RAM that is still reserved.
    pub cmdline: &'static [u8],
    /// Physical address of the ACPI root pointer.
    pub rsdp: Option<u64>,
    /// RAM that is needed until boot is over: the hand-over itself (start info, memory map, command line), and the page where
    /// other CPUs start.
    pub reserved: [PhysRange; 4],
}

/// The hand-over is not to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvhError {
    /// Not at an address, or with other magic: this was no PVH boot.
    NotPvh,
    /// Version 0 carries no memory map.
    NoMemoryMap,
}

impl core::fmt::Display for PvhError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotPvh => "not started by PVH: use a monitor that boots PVH kernels",
            Self::NoMemoryMap => {
                "the monitor passed no memory map: use one that speaks PVH start info version 1"
            }
        })
    }
}

impl StartInfo {
    /// Reads the start info at a physical address.
    ///
    /// # Errors
    /// [`PvhError`].
    ///
    /// # Safety
    /// `address` is what the monitor passed in `ebx`; the first GiB is in the direct map, and nothing was written to
    /// RAM outside the image.
    pub unsafe fn read(address: u64) -> Result<Self, PvhError> {
        const FIRST_GIB: u64 = 1 << 30;
        if address == 0 || address >= FIRST_GIB {
            return Err(PvhError::NotPvh);
        }
        // SAFETY: by the PVH protocol the structure lies there; alignment is not promised, hence the unaligned read.
        let info = unsafe { direct::pointer(address).cast::<RawStartInfo>().read_unaligned() };
        if info.magic != MAGIC {
            return Err(PvhError::NotPvh);
        }
        if info.version < 1 || info.memmap == 0 || info.memmap >= FIRST_GIB {
            return Err(PvhError::NoMemoryMap);
        }
        let mut ram = [PhysRange { start: 0, end: 0 }; MAX_RANGES];
        let mut ram_len = 0;
        let entries: *const RawMemmapEntry = direct::pointer(info.memmap).cast_const().cast();
        for i in 0..info.memmap_entries as usize {
            // SAFETY: the monitor says that so many entries lie there.
            let entry = unsafe { entries.add(i).read_unaligned() };
            if entry.kind == MEMMAP_RAM && entry.size > 0 && ram_len < MAX_RANGES {
                let end = entry.address.saturating_add(entry.size);
                ram[ram_len] = PhysRange { start: entry.address, end };
                ram_len += 1;
            }
        }
        let cmdline: &[u8] = if info.cmdline == 0 || info.cmdline >= FIRST_GIB {
            &[]
        } else {
            // SAFETY: a string that ends with a zero octet, by the protocol.
            unsafe { core::ffi::CStr::from_ptr(direct::pointer(info.cmdline).cast()) }.to_bytes()
        };
        let range = |start: u64, len: u64| PhysRange { start, end: start + len };
        let reserved = [
            range(address, size_of::<RawStartInfo>() as u64),
            range(info.memmap, u64::from(info.memmap_entries) * size_of::<RawMemmapEntry>() as u64),
            range(info.cmdline, cmdline.len() as u64 + 1),
            range(STARTUP_PAGE, PAGE_SIZE),
        ];
        Ok(Self { ram, ram_len, cmdline, rsdp: (info.rsdp != 0).then_some(info.rsdp), reserved })
    }

    /// Usable RAM.
    pub fn ram(&self) -> &[PhysRange] {
        &self.ram[..self.ram_len]
    }
}
