//! ACPI tables, as far as the kernel needs them: interrupt lines and powering off. Read only when they are wanted.
//!
//! Source: ACPI specification 6.5, § 5.2 (tables), § 4.8.3 (PM1 and sleep control registers), § 7.4.2 (`_S5`).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::current::port;
use crate::mm::direct;

/// Physical address of the root pointer; 0: none.
static RSDP: AtomicU64 = AtomicU64::new(0);

/// Remembers where the root pointer is.
pub fn set_rsdp(address: Option<u64>) {
    RSDP.store(address.unwrap_or(0), Ordering::Relaxed);
}

/// Tables larger than this are not looked through: a wrong length must not lead astray.
const MAX_TABLE: usize = 1 << 20;
/// Tables lie in the first GiB on every machine that is known; boot maps no more for certain.
const MAX_ADDRESS: u64 = 1 << 30;

/// The octets of the table at a physical address. `None`: no table is there.
fn table(address: u64) -> Option<&'static [u8]> {
    if address == 0 || address >= MAX_ADDRESS {
        return None;
    }
    let start = direct::pointer(address);
    // SAFETY: the firmware's tables lie in RAM or ROM of the first GiB; the direct map covers it up to the end of RAM,
    // and tables lie in RAM. They are never written.
    let len = unsafe { start.add(4).cast::<u32>().read_unaligned() } as usize;
    if !(36..=MAX_TABLE).contains(&len) || address + len as u64 > MAX_ADDRESS {
        return None;
    }
    // SAFETY: as above.
    Some(unsafe { core::slice::from_raw_parts(start, len) })
}

fn u32_at(table: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(table.get(offset..offset + 4)?.try_into().ok()?))
}

fn u64_at(table: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(table.get(offset..offset + 8)?.try_into().ok()?))
}

/// Finds a table by its signature.
fn find(signature: &[u8; 4]) -> Option<&'static [u8]> {
    let address = RSDP.load(Ordering::Relaxed);
    if address == 0 || address >= MAX_ADDRESS {
        return None;
    }
    // SAFETY: the root pointer is 36 octets (20 before ACPI 2.0, followed by other firmware data) in mapped memory.
    let root = unsafe { core::slice::from_raw_parts(direct::pointer(address), 36) };
    if !root.starts_with(b"RSD PTR ") {
        return None;
    }
    let (list, width) = match (root[15] >= 2, u64_at(root, 24)?) {
        (true, xsdt) if xsdt != 0 => (table(xsdt)?, 8),
        _ => (table(u64::from(u32_at(root, 16)?))?, 4),
    };
    list.get(36..)?.chunks_exact(width).find_map(|entry| {
        let address = if width == 8 { u64_at(entry, 0)? } else { u64::from(u32_at(entry, 0)?) };
        table(address).filter(|table| table.starts_with(signature))
    })
}

/// The structures of the MADT: type, then everything behind type and length (§ 5.2.12).
fn madt_entries() -> impl Iterator<Item = (u8, &'static [u8])> {
    let mut rest = find(b"APIC").and_then(|madt| madt.get(44..)).unwrap_or_default();
    core::iter::from_fn(move || {
        let (kind, len) = (*rest.first()?, usize::from(*rest.get(1)?));
        let body = rest.get(2..len)?;
        rest = &rest[len..];
        Some((kind, body))
    })
}

/// LAPIC numbers of the CPUs that the MADT marks as enabled (§ 5.2.12.2, § 5.2.12.12). Empty: there is no table.
pub fn apic_ids() -> impl Iterator<Item = u32> {
    const LOCAL_APIC: u8 = 0;
    const LOCAL_X2APIC: u8 = 9;
    const ENABLED: u32 = 1;
    madt_entries().filter_map(|(kind, body)| {
        let (id, flags) = match kind {
            LOCAL_APIC => (u32::from(*body.get(1)?), u32_at(body, 2)?),
            LOCAL_X2APIC => (u32_at(body, 2)?, u32_at(body, 6)?),
            _ => return None,
        };
        (flags & ENABLED != 0).then_some(id)
    })
}

/// Physical address of the first I/O APIC. `None`: no table names one.
pub fn ioapic_base() -> Option<u64> {
    madt_entries().find_map(|(kind, body)| if kind == 1 { u32_at(body, 2).map(u64::from) } else { None })
}

/// The I/O APIC input that an ISA line is connected to, where it is not the one of its number.
pub fn isa_override(irq: u8) -> Option<u8> {
    let input = |(kind, body): (u8, &[u8])| {
        (kind == 2 && body.get(1) == Some(&irq)).then(|| u32_at(body, 2)).flatten()
    };
    madt_entries().find_map(input).and_then(|input| u8::try_from(input).ok())
}

/// The two sleep types of `_S5` in a definition block: a package of small integers right behind the name.
fn s5_types(aml: &[u8]) -> Option<(u8, u8)> {
    let at = aml.windows(4).position(|name| name == b"_S5_")?;
    // NameOp's argument: PackageOp, package length (1 to 4 octets), element count, elements.
    let package = aml.get(at + 4..)?;
    if *package.first()? != 0x12 {
        return None;
    }
    let length_octets = usize::from(package.get(1)? >> 6) + 1;
    let mut elements = package.get(2 + length_octets..)?.iter().copied();
    let mut integer = || match elements.next()? {
        0x0a => elements.next(), // BytePrefix
        0x00 => Some(0),         // ZeroOp
        0x01 => Some(1),         // OneOp
        _ => None,
    };
    Some((integer()?, integer()?))
}

/// Powers the machine off if ACPI tells how; returns if it does not, or if nothing happens.
pub fn power_off() {
    const SLEEP_ENABLE: u16 = 1 << 13;
    const HW_REDUCED: u32 = 1 << 20;
    let Some(fadt) = find(b"FACP") else { return };
    let dsdt = u64_at(fadt, 140).filter(|&x| x != 0).or_else(|| u32_at(fadt, 40).map(u64::from));
    let types = dsdt.and_then(table).and_then(s5_types).unwrap_or((5, 0));
    if u32_at(fadt, 112).is_some_and(|flags| flags & HW_REDUCED != 0) {
        // SLEEP_CONTROL_REG: a generic address; space 0 is memory, 1 is I/O.
        let value = 1 << 5 | types.0 << 2;
        match (fadt.get(244), u64_at(fadt, 248)) {
            (Some(0), Some(address)) => {
                if let Some(register) = crate::mm::map_device(address) {
                    // SAFETY: the register the firmware names; the image has ended.
                    unsafe { register.write_volatile(value) };
                }
            }
            // SAFETY: as above.
            (Some(1), Some(address)) => unsafe { port::outb(address as u16, value) },
            _ => {}
        }
        return;
    }
    for (offset, sleep_type) in [(64, types.0), (68, types.1)] {
        if let Some(register) = u32_at(fadt, offset).filter(|&register| register != 0) {
            // SAFETY: PM1 control registers are I/O ports (ACPI § 4.8.3.2.1); the image has ended.
            unsafe { port::outw(register as u16, u16::from(sleep_type) << 10 | SLEEP_ENABLE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_types_are_found_in_a_definition_block() {
        // Name (_S5, Package () { 0x05, Zero, Zero, Zero }), as iasl compiles it.
        let aml = b"\x08_S5_\x12\x07\x04\x0a\x05\x00\x00\x00";
        assert_eq!(s5_types(aml), Some((5, 0)));
        assert_eq!(s5_types(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), Some((0, 0)));
    }

    #[test]
    fn cut_short_is_none() {
        let aml = b"\x08_S5_\x12\x07\x04\x0a\x05\x00";
        for len in 0..10 {
            assert_eq!(s5_types(&aml[..len]), None, "{len}");
        }
    }
}
