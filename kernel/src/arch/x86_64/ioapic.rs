//! The I/O APIC: from an interrupt line to a vector (Intel 82093AA). The first one only: its inputs are the lines from 0.

use core::sync::atomic::Ordering;

use sync::SpinLock;

use super::percpu;
use crate::irq::Trigger;
use crate::machine::acpi;
use crate::mm;

/// Where a PC has its first one, if no table says otherwise.
const DEFAULT_BASE: u64 = 0xfec0_0000;
/// Version; bits 16 to 23 are the number of the last input.
const VERSION: u32 = 1;
/// Redirection table: two registers a line.
const REDIRECTION: u32 = 0x10;
const LEVEL: u32 = 1 << 15;

/// Registers are reached through an index, by one CPU at a time.
static ACCESS: SpinLock<()> = SpinLock::new(());

/// The first one's registers.
struct Registers(*mut u32);

impl Registers {
    /// `None`: no memory to map them.
    fn map() -> Option<Self> {
        mm::map_device(acpi::ioapic_base().unwrap_or(DEFAULT_BASE)).map(|page| Self(page.cast()))
    }

    /// Selects a register and returns the window to it; `ACCESS` is held.
    fn select(&self, register: u32) -> *mut u32 {
        // SAFETY: the page of registers is mapped; the index register is at 0, the window at 0x10.
        unsafe {
            self.0.write_volatile(register);
            self.0.byte_add(0x10)
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as in `select`.
        unsafe { self.select(register).write_volatile(value) }
    }

    fn read(&self, register: u32) -> u32 {
        // SAFETY: as in `select`.
        unsafe { self.select(register).read_volatile() }
    }
}

/// Whether there is such an input. Where there is no I/O APIC all registers read as ones or zeroes.
pub fn has_input(line: u32) -> bool {
    let Some(registers) = Registers::map() else { return false };
    let _guard = ACCESS.lock();
    let version = registers.read(VERSION);
    version != u32::MAX && version != 0 && line <= version >> 16 & 0xff
}

/// Sends a line to a vector of the CPU with this LAPIC, active high. Returns whether it could.
pub fn route(line: u32, vector: u8, trigger: Trigger, apic_id: u8) -> bool {
    let Some(registers) = Registers::map() else { return false };
    let _guard = ACCESS.lock();
    let mode = if trigger == Trigger::Level { LEVEL } else { 0 };
    registers.write(REDIRECTION + 2 * line + 1, u32::from(apic_id) << 24);
    registers.write(REDIRECTION + 2 * line, u32::from(vector) | mode);
    true
}

/// Sends a line that is routed to the CPU with this LAPIC from now on. Returns whether it could.
pub fn redirect(line: u32, apic_id: u8) -> bool {
    let Some(registers) = Registers::map() else { return false };
    let _guard = ACCESS.lock();
    registers.write(REDIRECTION + 2 * line + 1, u32::from(apic_id) << 24);
    true
}

/// Sends an ISA interrupt line to a vector of this CPU, edge-triggered and active high as ISA lines are. Returns whether
/// it could.
///
/// The line's number is the I/O APIC's input, except where the firmware says otherwise (ACPI § 5.2.12.5).
pub fn route_isa(irq: u8, vector: u8) -> bool {
    let line = u32::from(acpi::isa_override(irq).unwrap_or(irq));
    route(line, vector, Trigger::Edge, percpu::this().apic_id.load(Ordering::Relaxed) as u8)
}
