//! The MP configuration table: CPUs on machines without ACPI (QEMU's microvm, Firecracker).
//!
//! Source: Intel MultiProcessor Specification 1.4, chapter 4.

use alloc::vec::Vec;

use crate::mm::direct;

/// Where the floating pointer may lie (§ 4): the last KiB of base memory, the extended BIOS data area (both end below
/// 640 KiB), the BIOS's ROM.
const SEARCHED: [core::ops::Range<u64>; 2] = [0x9_fc00..0xa_0000, 0xf_0000..0x10_0000];
/// Tables lie below this on every machine that has them.
const MAX_ADDRESS: u64 = 0x10_0000;
const HEADER_LEN: usize = 44;

/// LAPIC numbers of the CPUs that the table marks as usable. Empty: there is no table.
pub fn apic_ids() -> Vec<u32> {
    find().map(|table| processors(table).collect()).unwrap_or_default()
}

/// Octets below 1 MiB.
fn octets(start: u64, len: usize) -> Option<&'static [u8]> {
    if start.checked_add(len as u64)? > MAX_ADDRESS {
        return None;
    }
    // SAFETY: the first MiB is in the direct map (which covers RAM from 0, in steps of 2 MiB); firmware's tables there lie in
    // ROM or in RAM that the memory map does not give away, and are never written.
    Some(unsafe { core::slice::from_raw_parts(direct::pointer(start), len) })
}

fn sum(octets: &[u8]) -> u8 {
    octets.iter().fold(0, |sum, octet| sum.wrapping_add(*octet))
}

fn find() -> Option<&'static [u8]> {
    let areas =
        SEARCHED.into_iter().filter_map(|range| octets(range.start, (range.end - range.start) as usize));
    let pointer = areas.flat_map(|area| area.chunks_exact(16)).find_map(table_address)?;
    let header = octets(pointer, HEADER_LEN)?;
    let len = usize::from(u16::from_le_bytes([header[4], header[5]]));
    octets(pointer, len).filter(|table| table.starts_with(b"PCMP") && len >= HEADER_LEN && sum(table) == 0)
}

/// The table's address, if these octets are the floating pointer (§ 4.1).
fn table_address(pointer: &[u8]) -> Option<u64> {
    let valid = pointer.starts_with(b"_MP_") && pointer.len() >= 16 && sum(&pointer[..16]) == 0;
    let address = u32::from_le_bytes(pointer.get(4..8)?.try_into().ok()?);
    (valid && address != 0).then_some(u64::from(address))
}

/// The usable processors' LAPIC numbers (§ 4.3.1). Processor entries come first and have 20 octets.
fn processors(table: &[u8]) -> impl Iterator<Item = u32> {
    const PROCESSOR: u8 = 0;
    const ENABLED: u8 = 1;
    let entries = table.get(HEADER_LEN..).unwrap_or_default().chunks_exact(20);
    entries
        .take_while(|entry| entry[0] == PROCESSOR)
        .filter(|entry| entry[3] & ENABLED != 0)
        .map(|entry| u32::from(entry[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn usable_processors_are_found() {
        let mut table = vec![0; HEADER_LEN + 3 * 20 + 8];
        for (i, enabled) in [1, 0, 1].into_iter().enumerate() {
            table[HEADER_LEN + 20 * i + 1] = i as u8;
            table[HEADER_LEN + 20 * i + 3] = enabled;
        }
        table[HEADER_LEN + 60] = 1; // a bus
        assert_eq!(processors(&table).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(processors(&table[..HEADER_LEN - 1]).count(), 0);
    }

    #[test]
    fn the_pointer_must_add_up() {
        let mut pointer = *b"_MP_\0\0\x0f\0\x01\x04\0\0\0\0\0\0";
        assert_eq!(table_address(&pointer), None);
        pointer[10] = 0u8.wrapping_sub(sum(&pointer));
        assert_eq!(table_address(&pointer), Some(0xf_0000));
        assert_eq!(table_address(&pointer[..8]), None);
    }
}
