//! The floor kernel: the least that can boot by PVH and be heard.
//!
//! It writes one letter to the console and ends the machine. What it takes is what the machine itself takes, so
//! boot times are quoted above it; and whether it runs at all tells if an accelerator works.

use std::io;
use std::path::Path;

/// The letter it writes to COM1.
pub const LETTER: u8 = b'F';
/// The value it writes to the debug-exit port; QEMU ends with status `(EXIT_VALUE << 1) | 1`.
pub const EXIT_VALUE: u8 = 0x2a;

/// Where it is loaded: physical and virtual.
const BASE: u32 = 0x10_0000;
const EHDR_LEN: u32 = 64;
const PHDR_LEN: u32 = 56;
/// ELF header, then a `PT_LOAD` and a `PT_NOTE`; then the note, then the code.
const NOTE_OFFSET: u32 = EHDR_LEN + 2 * PHDR_LEN;
const NOTE_LEN: u32 = 12 + 4 + 8;
const CODE_OFFSET: u32 = NOTE_OFFSET + NOTE_LEN;
const ENTRY: u32 = BASE + CODE_OFFSET;

/// 32-bit protected mode, paging off, flat segments: the state at a PVH entry.
const CODE: [u8; 14] = [
    0x66,
    0xba,
    0xf8,
    0x03, // mov dx, 0x3f8
    0xb0,
    LETTER, // mov al, 'F'
    0xee,   // out dx, al
    0xb0,
    EXIT_VALUE, // mov al, EXIT_VALUE
    0xe6,
    abi::exit::DEBUG_EXIT_PORT as u8, // out 0xf4, al
    0xf4,                             // hlt, for machines without the port
    0xeb,
    0xfd, // jmp to the hlt
];

/// The ELF file.
pub fn image() -> Vec<u8> {
    let len = u64::from(CODE_OFFSET) + CODE.len() as u64;
    let mut elf = Vec::with_capacity(len as usize);
    // e_ident: ELF64, little endian, version 1; then ET_EXEC, x86-64, version 1.
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    u64s(&mut elf, &[ENTRY.into(), EHDR_LEN.into(), 0]);
    elf.extend(0u32.to_le_bytes());
    u16s(&mut elf, &[EHDR_LEN as u16, PHDR_LEN as u16, 2, 64, 0, 0]);

    let (base, note) = (u64::from(BASE), u64::from(NOTE_OFFSET));
    u32s(&mut elf, &[1, 5]); // PT_LOAD, R+X
    u64s(&mut elf, &[0, base, base, len, len, 0x1000]);
    u32s(&mut elf, &[4, 4]); // PT_NOTE, R. QEMU misreads the note at any alignment but 4.
    u64s(&mut elf, &[note, base + note, base + note, NOTE_LEN.into(), NOTE_LEN.into(), 4]);

    u32s(&mut elf, &[abi::note::PVH_NAME.len() as u32 + 1, 8, abi::note::PVH_TYPE]);
    elf.extend(abi::note::PVH_NAME);
    elf.push(0);
    u64s(&mut elf, &[ENTRY.into()]);
    elf.extend(CODE);
    elf
}

/// Writes the ELF file.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path) -> io::Result<()> {
    std::fs::write(path, image())
}

fn u16s(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn u32s(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn u64s(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_where_the_headers_say() {
        let elf = image();
        assert_eq!(elf.len(), CODE_OFFSET as usize + CODE.len());
        assert_eq!(&elf[24..32], &u64::from(ENTRY).to_le_bytes());
        let note = NOTE_OFFSET as usize;
        assert_eq!(&elf[note + 12..note + 16], b"Xen\0");
        assert_eq!(&elf[note + 16..note + 24], &u64::from(ENTRY).to_le_bytes());
        assert_eq!(&elf[CODE_OFFSET as usize..], &CODE);
    }
}
