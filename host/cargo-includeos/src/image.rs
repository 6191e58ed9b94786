//! What makes a linked program an image: its notes, and the file without its symbols.

use std::ops::Range;

use abi::note::{IMAGE_ABI, IMAGE_NAME, IMAGE_TYPE, ImageNote, PVH_NAME, PVH_TYPE};
use abi::service::Service;
use anyhow::{Context, Result, bail};

use object::elf::{self, FileHeader64};
use object::endian::LittleEndian;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Object, ObjectSymbol};

type Header = FileHeader64<LittleEndian>;
type Section = elf::SectionHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// Checks that a linked program boots, and returns the note of the kernel in it.
///
/// # Errors
/// One line with cause and remedy.
pub fn check(elf: &[u8]) -> Result<ImageNote> {
    let header = Header::parse(elf).context("the linked program is no 64-bit ELF file")?;
    let segments = header.program_headers(LE, elf).context("the linked program has no segments")?;
    if let Some(interpreter) = segments.iter().find_map(|segment| segment.interpreter(LE, elf).transpose()) {
        bail!(
            "the program is linked dynamically (it asks for {}): an image has nothing to load libraries with; \
             remedy: build without `-Ctarget-feature=-crt-static` and link libraries as static archives",
            String::from_utf8_lossy(interpreter.unwrap_or(b"a loader"))
        );
    }
    if header.e_type(LE) != elf::ET_EXEC {
        bail!(
            "the program is position-independent, which an image cannot be yet; \
             remedy: take `-Crelocation-model` and `-pie` out of the project's rustflags"
        );
    }
    let needed = needed_libraries(elf)?;
    if !needed.is_empty() {
        bail!(
            "the program links the shared library {}, and an image has nothing to load it with; \
             remedy: a static archive of it, by a feature of the crate (often `vendored`, `bundled` or `static`)",
            needed.join(", ")
        );
    }
    let pvh = note(elf, PVH_NAME, PVH_TYPE)?;
    let Some(ours) = note(elf, IMAGE_NAME, IMAGE_TYPE)? else {
        bail!(
            "the program holds no IncludeOS kernel (no image note): the link dropped it; \
             remedy: take linker scripts, `--strip`-like link arguments and linker wrappers out of the project's \
             rustflags, or see them with `cargo includeos build -v`"
        );
    };
    let ours = ImageNote::decode(ours).context("the image note is malformed; remedy: `cargo clean`")?;
    if ours.abi != IMAGE_ABI {
        bail!(
            "the image follows version {} of the image contract, this tool version {IMAGE_ABI}; \
             remedy: `cargo clean`, then build again",
            ours.abi
        );
    }
    if pvh.is_none() {
        bail!("the image has no PVH note, so that no virtual machine finds its entry; remedy: `cargo clean`");
    }
    Ok(ours)
}

/// Whether a linked program, with its symbols, holds a service.
pub fn holds(elf: &[u8], service: Service) -> bool {
    let Ok(file) = object::File::parse(elf) else { return false };
    file.symbols().any(|symbol| symbol.name() == Ok(service.symbol()))
}

/// Names of the shared libraries that a program asks for.
fn needed_libraries(elf: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(elf)?;
    let mut names = Vec::new();
    for library in file.import_libraries()? {
        names.push(String::from_utf8_lossy(library?.name()).into_owned());
    }
    Ok(names)
}

/// First physical address behind what the image occupies when it is loaded.
pub fn load_end(elf: &[u8]) -> Result<u64> {
    let segments = Header::parse(elf)?.program_headers(LE, elf)?;
    let loads = segments.iter().filter(|segment| segment.p_type(LE) == elf::PT_LOAD);
    Ok(loads.map(|segment| segment.p_paddr(LE).saturating_add(segment.p_memsz(LE))).max().unwrap_or(0))
}

/// Descriptor of the first note of that name and type.
fn note<'data>(elf: &'data [u8], name: &[u8], note_type: u32) -> Result<Option<&'data [u8]>> {
    let header = Header::parse(elf)?;
    for segment in header.program_headers(LE, elf)? {
        let Some(mut notes) = segment.notes(LE, elf)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == name && note.n_type(LE).0 == note_type {
                return Ok(Some(note.desc()));
            }
        }
    }
    Ok(None)
}

/// The file without symbols, debug information and whatever else is not loaded. Sections that are loaded keep their
/// headers, so that tools still see them.
pub fn strip(elf: &[u8]) -> Result<Vec<u8>> {
    let header = Header::parse(elf)?;
    let sections = header.section_headers(LE, elf)?;
    let strings = header.section_strings(LE, elf, sections)?;
    let loaded_end = header
        .program_headers(LE, elf)?
        .iter()
        .filter(|segment| segment.p_type(LE) != elf::PT_NULL)
        .map(|segment| segment.p_offset(LE) + segment.p_filesz(LE))
        .max()
        .unwrap_or(0);
    let headers_end = header.e_phoff(LE) + u64::from(header.e_phnum(LE)) * u64::from(header.e_phentsize(LE));
    let end = usize::try_from(loaded_end.max(headers_end))?;
    let mut out = elf.get(..end).context("a segment lies outside the file")?.to_vec();

    // Section 0 is the empty one; links between sections are renumbered, and dropped with their target.
    let is_kept = |(index, section): (usize, &Section)| {
        let range = section.sh_offset(LE)..section.sh_offset(LE) + section.sh_size(LE);
        let inside = section.sh_type(LE) == elf::SHT_NOBITS || range.end <= end as u64;
        index == 0 || (section.sh_flags(LE).contains(elf::SHF_ALLOC) && inside)
    };
    let kept: Vec<usize> =
        sections.iter().enumerate().filter(|&section| is_kept(section)).map(|(index, _)| index).collect();
    let renumber = |old: u32| kept.iter().position(|&index| index == old as usize).unwrap_or(0) as u32;

    let mut names = vec![0];
    let mut table = Vec::new();
    for &index in &kept {
        let old = &sections[index];
        let name = if index == 0 { &[][..] } else { old.name(LE, strings)? };
        let name_offset = append_name(&mut names, name);
        let mut bytes = object::pod::bytes_of(old).to_vec();
        put_u32(&mut bytes, 0, name_offset);
        put_u32(&mut bytes, 40, renumber(old.sh_link(LE)));
        table.extend(bytes);
    }
    let names_name = append_name(&mut names, b".shstrtab");

    let names_range = append(&mut out, &names, 1);
    table.extend(string_table_header(names_name, &names_range));
    let table_range = append(&mut out, &table, 8);
    out[40..48].copy_from_slice(&(table_range.start as u64).to_le_bytes()); // e_shoff
    let count = kept.len() as u16 + 1;
    out[60..62].copy_from_slice(&count.to_le_bytes()); // e_shnum
    out[62..64].copy_from_slice(&(count - 1).to_le_bytes()); // e_shstrndx
    Ok(out)
}

/// Header of a `SHT_STRTAB` section.
fn string_table_header(name: u32, range: &Range<usize>) -> Vec<u8> {
    let mut header = vec![0; size_of::<Section>()];
    put_u32(&mut header, 0, name);
    put_u32(&mut header, 4, elf::SHT_STRTAB.0);
    header[24..32].copy_from_slice(&(range.start as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(range.len() as u64).to_le_bytes());
    header[48..56].copy_from_slice(&1u64.to_le_bytes());
    header
}

fn append_name(names: &mut Vec<u8>, name: &[u8]) -> u32 {
    if name.is_empty() {
        return 0;
    }
    let offset = names.len() as u32;
    names.extend(name);
    names.push(0);
    offset
}

fn append(out: &mut Vec<u8>, bytes: &[u8], align: usize) -> Range<usize> {
    out.resize(out.len().next_multiple_of(align), 0);
    let start = out.len();
    out.extend(bytes);
    start..out.len()
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_our_note_is_refused_with_a_remedy() {
        let error = check(&qemu::floor::image()).unwrap_err().to_string();
        assert!(error.contains("no image note") && error.contains("remedy"), "{error}");
    }

    #[test]
    fn the_floor_kernel_ends_in_the_second_mib() {
        let end = load_end(&qemu::floor::image()).unwrap();
        assert_eq!(end, 0x10_0000 + qemu::floor::image().len() as u64);
    }

    #[test]
    fn what_is_no_elf_is_refused() {
        assert!(check(b"").is_err());
        assert!(check(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn this_very_test_loses_its_symbols_and_keeps_its_segments() {
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let small = strip(&elf).unwrap();
        assert!(small.len() < elf.len());
        let (old, new) = (Header::parse(&*elf).unwrap(), Header::parse(&*small).unwrap());
        for (a, b) in
            old.program_headers(LE, &*elf).unwrap().iter().zip(new.program_headers(LE, &*small).unwrap())
        {
            // The first segment holds the ELF header, which names the section table.
            let skip = if a.p_offset(LE) == 0 { 64 } else { 0 };
            assert_eq!(a.data(LE, &*elf).unwrap().get(skip..), b.data(LE, &*small).unwrap().get(skip..));
        }
        let names = |header: &Header, elf: &[u8]| -> Vec<String> {
            let sections = header.section_headers(LE, elf).unwrap();
            let strings = header.section_strings(LE, elf, sections).unwrap();
            sections
                .iter()
                .map(|s| String::from_utf8_lossy(s.name(LE, strings).unwrap()).into_owned())
                .collect()
        };
        let left = names(new, &small);
        assert!(left.contains(&".text".to_owned()) && !left.contains(&".symtab".to_owned()), "{left:?}");
        assert_eq!(strip(&small).unwrap(), small, "stripping again changes nothing");
    }
}
