//! Attaches parts to a finished image ([`abi::attached`]), as a segment behind its others.

use abi::attached::{self, Kind, PF_ATTACHED};
use anyhow::{Context, Result, ensure};
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::endian::LittleEndian;
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader};

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// The image with these parts; as it is, if there are none.
///
/// The program headers stay where they are and as many as they are: the new segment takes the place of one that says nothing in
/// a program that is linked to its addresses (`PT_PHDR`, which lld writes, or GNU ld's `PT_GNU_PROPERTY`).
///
/// # Errors
/// There is no such header.
pub fn attach(mut image: Vec<u8>, parts: &[(Kind, &[u8])]) -> Result<Vec<u8>> {
    if parts.is_empty() {
        return Ok(image);
    }
    let header = Header::parse(&*image)?;
    let start = usize::try_from(header.e_phoff(LE))?;
    let mut segments = header.program_headers(LE, &*image)?.to_vec();
    let spare = [elf::PT_PHDR, elf::PT_GNU_PROPERTY]
        .into_iter()
        .find_map(|spare| segments.iter().position(|segment| segment.p_type(LE) == spare));
    let spare = spare.context(
        "the linker left no room in the image for its settings; remedy: link with lld, the tool-chain's own",
    )?;
    segments.remove(spare);
    let loads = segments.iter().filter(|segment| segment.p_type(LE) == elf::PT_LOAD);
    ensure!(
        loads.clone().all(|segment| segment.p_vaddr(LE) == segment.p_paddr(LE)),
        "the image's segments are not loaded where they run"
    );
    let end = loads.map(|segment| segment.p_vaddr(LE) + segment.p_memsz(LE)).max().unwrap_or(0);
    let address = end.next_multiple_of(attached::ALIGN as u64);
    let behind_last = segments
        .iter()
        .rposition(|segment| segment.p_type(LE) == elf::PT_LOAD)
        .map_or(segments.len(), |last| last + 1);

    let content = attached::encode(parts);
    image.resize(image.len().next_multiple_of(attached::ALIGN), 0);
    let offset = image.len() as u64;
    let len = content.len() as u64;
    image.extend(content);
    // In the order of their addresses, as the ELF specification asks for.
    segments.insert(behind_last, segment(offset, address, len));
    let table = pod::bytes_of_slice(&segments);
    image
        .get_mut(start..start + table.len())
        .context("the program headers lie outside the file")?
        .copy_from_slice(table);
    Ok(image)
}

fn segment(offset: u64, address: u64, len: u64) -> Segment {
    use object::endian::{U32, U64};
    Segment {
        p_type: U32::new(LE, elf::PT_LOAD),
        p_flags: U32::new(LE, elf::PF_R | elf::ProgramFlags(PF_ATTACHED)),
        p_offset: U64::new(LE, offset),
        p_vaddr: U64::new(LE, address),
        p_paddr: U64::new(LE, address),
        p_filesz: U64::new(LE, len),
        p_memsz: U64::new(LE, len),
        p_align: U64::new(LE, attached::ALIGN as u64),
    }
}
