//! What was found out about the machine at boot, as one value.
//!
//! `kernel::machine` fills it from whatever the machine offers (PVH start info, ACPI, CPUID, the command line);
//! everything after it works from this value and never asks which machine it is.

use alloc::string::String;
use alloc::vec::Vec;

/// A range of physical addresses: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysRange {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
}

impl PhysRange {
    /// Bytes in the range.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds nothing.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// The machine, as found at boot.
#[derive(Clone, Debug, Default)]
pub struct BootInfo {
    /// Usable RAM, ascending, not overlapping.
    pub ram: Vec<PhysRange>,
    /// The kernel command line, as given.
    pub cmdline: String,
    /// Physical address of the ACPI root pointer, where there is one.
    pub rsdp: Option<u64>,
    /// Rate of the time-stamp counter in Hz.
    pub tsc_hz: u64,
    /// UNIX time in nanoseconds when the time-stamp counter was 0; `None`: the machine has no clock.
    pub wall_ns_at_tsc_0: Option<u64>,
}
