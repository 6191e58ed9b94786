//! Which CPUs the machine has: by ACPI, or by the MP table where there is none.

use alloc::vec::Vec;

use super::{acpi, mp_table};

/// The LAPIC numbers of all CPUs that may be used, the boot CPU's among them, in the firmware's order. Empty: no table says.
pub fn apic_ids() -> Vec<u32> {
    let by_acpi: Vec<u32> = acpi::apic_ids().collect();
    if by_acpi.is_empty() { mp_table::apic_ids() } else { by_acpi }
}
