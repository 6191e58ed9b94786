//! [`Registers`]: a device's registers in memory.

use crate::arch::current::paging::PAGE_SIZE;

/// A range of device registers, mapped.
#[derive(Debug)]
pub struct Registers {
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is to mapped device registers, which are no CPU's own.
unsafe impl Send for Registers {}

impl Registers {
    /// Maps `len` octets of device registers at a physical address. `None`: no memory for the tables, or no such place.
    pub fn map(physical: u64, len: u64) -> Option<Self> {
        let end = physical.checked_add(len).filter(|_| len > 0)?;
        let start = super::map_device(physical)?;
        let mut page = (physical & !(PAGE_SIZE - 1)) + PAGE_SIZE;
        while page < end {
            // Pages behind one another are mapped behind one another.
            super::map_device(page)?;
            page += PAGE_SIZE;
        }
        Some(Self { start, len: usize::try_from(len).ok()? })
    }

    /// How many octets there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads 8 bits.
    ///
    /// # Panics
    /// Outside of the registers, or not aligned. So do all the others.
    pub fn read8(&self, offset: usize) -> u8 {
        // SAFETY: `at` checks the place; the page is mapped as a device's.
        unsafe { self.at::<u8>(offset).read_volatile() }
    }

    /// Reads 16 bits.
    pub fn read16(&self, offset: usize) -> u16 {
        // SAFETY: as in `read8`.
        unsafe { self.at::<u16>(offset).read_volatile() }
    }

    /// Reads 32 bits.
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: as in `read8`.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }

    /// Writes 8 bits.
    pub fn write8(&self, offset: usize, value: u8) {
        // SAFETY: as in `read8`; what the device then does to memory, its driver answers for.
        unsafe { self.at::<u8>(offset).write_volatile(value) }
    }

    /// Writes 16 bits.
    pub fn write16(&self, offset: usize, value: u16) {
        // SAFETY: as in `write8`.
        unsafe { self.at::<u16>(offset).write_volatile(value) }
    }

    /// Writes 32 bits.
    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as in `write8`.
        unsafe { self.at::<u32>(offset).write_volatile(value) }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        assert!(offset.is_multiple_of(size) && offset <= self.len && size <= self.len - offset);
        // SAFETY: inside of what was mapped (asserted).
        unsafe { self.start.add(offset).cast() }
    }
}
