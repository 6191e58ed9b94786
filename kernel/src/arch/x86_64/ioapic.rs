//! The I/O APIC: from an interrupt line to a vector (Intel 82093AA).

use core::sync::atomic::Ordering;

use super::percpu;
use crate::machine::acpi;
use crate::mm;

/// Where a PC has its first one, if no table says otherwise.
const DEFAULT_BASE: u64 = 0xfec0_0000;
/// Redirection table: two registers a line.
const REDIRECTION: u32 = 0x10;

/// Sends an ISA interrupt line to a vector of this CPU, edge-triggered and active high as ISA lines are. Returns whether
/// it could.
///
/// The line's number is the I/O APIC's input, except where the firmware says otherwise (ACPI § 5.2.12.5).
pub fn route_isa(irq: u8, vector: u8) -> bool {
    let base = acpi::ioapic_base().unwrap_or(DEFAULT_BASE);
    let Some(registers) = mm::map_device(base) else { return false };
    let registers = registers.cast::<u32>();
    let write = |register: u32, value: u32| {
        // SAFETY: the page of registers was just mapped; the index register is at 0, the data window at 0x10.
        unsafe {
            registers.write_volatile(register);
            registers.byte_add(0x10).write_volatile(value);
        }
    };
    let line = u32::from(acpi::isa_override(irq).unwrap_or(irq));
    write(REDIRECTION + 2 * line + 1, percpu::this().apic_id.load(Ordering::Relaxed) << 24);
    write(REDIRECTION + 2 * line, u32::from(vector));
    true
}
