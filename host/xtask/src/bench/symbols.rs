//! An image's symbols: where it is entered, where its program starts, which function an address is in.

use anyhow::{Context, Result, bail};
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the bench needs to know of an image. The image must not be stripped.
pub struct Symbols {
    image: PathBuf,
    /// Address of the PVH entry; the same physical and virtual.
    pub pvh_entry: u64,
    functions: BTreeMap<u64, Function>,
}

struct Function {
    name: String,
    size: u64,
}

impl Symbols {
    /// Reads an image.
    pub fn read(image: &Path) -> Result<Self> {
        let name = || image.display().to_string();
        let data = std::fs::read(image).with_context(name)?;
        let elf = ElfFile64::<Endianness>::parse(&*data).with_context(name)?;
        let Some(pvh_entry) = pvh_entry(&data)? else {
            bail!("{} has no PVH note: it is no image; build it by `cargo includeos build`", name());
        };
        let mut functions = BTreeMap::new();
        for symbol in elf.symbols() {
            // Assembly's labels have no type: what they are shows in their section.
            let is_code = || {
                let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
                section.is_some_and(|section| section.kind() == SectionKind::Text)
            };
            let is_label = matches!(symbol.kind(), SymbolKind::Unknown | SymbolKind::Label);
            if symbol.kind() == SymbolKind::Text && symbol.is_definition() || is_label && is_code() {
                let name = format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or("?")));
                let function = Function { name, size: symbol.size() };
                // Of several names the one with a size is kept: labels of assembly often have none.
                let known =
                    functions.entry(symbol.address()).or_insert(Function { name: String::new(), size: 0 });
                if known.name.is_empty() || known.size == 0 {
                    *known = function;
                }
            }
        }
        Ok(Self { image: image.to_owned(), pvh_entry, functions })
    }

    /// Address of the C function `main`, which rustc makes for a std program.
    pub fn main(&self) -> Result<u64> {
        let main = self.functions.iter().find(|(_, function)| function.name == "main");
        let image = self.image.display();
        main.map(|(&address, _)| address)
            .with_context(|| format!("{image} has no symbol main; was it stripped?"))
    }

    /// The function that an address is in. `None`: it is outside of the image's functions (firmware, a mapping).
    pub fn function(&self, address: u64) -> Option<&str> {
        let (&start, function) = self.functions.range(..=address).next_back()?;
        // A label without a size reaches to the next symbol, but not far.
        let size = if function.size == 0 { 0x1000 } else { function.size };
        (address - start < size).then_some(function.name.as_str())
    }
}

/// The descriptor of the note `Xen`, type 18, 32 or 64 bits wide.
fn pvh_entry(data: &[u8]) -> Result<Option<u64>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Some(mut notes) = segment.notes(endian, data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == abi::note::PVH_NAME && note.n_type(endian).0 == abi::note::PVH_TYPE {
                let mut octets = [0; 8];
                let desc = note.desc();
                let len = desc.len().min(8);
                octets[..len].copy_from_slice(&desc[..len]);
                return Ok(Some(u64::from_le_bytes(octets)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let function = |name: &str, size| Function { name: name.into(), size };
        let functions = BTreeMap::from([
            (0x1000, function("a", 0x10)),
            (0x1010, function("main", 0x20)),
            (0x2000, function("b", 0)),
        ]);
        let symbols = Symbols { image: "image".into(), pvh_entry: 0, functions };
        assert_eq!(symbols.function(0xfff), None);
        assert_eq!(symbols.function(0x1000), Some("a"));
        assert_eq!(symbols.function(0x101f), Some("main"));
        assert_eq!(symbols.function(0x1030), None);
        assert_eq!(symbols.function(0x2fff), Some("b"));
        assert_eq!(symbols.function(0x3000), None);
        assert_eq!(symbols.main().unwrap(), 0x1010);
    }

    #[test]
    fn the_floor_kernel_has_a_pvh_note() {
        let elf = qemu::floor::image();
        let entry = pvh_entry(&elf).unwrap().unwrap();
        assert_eq!(entry.to_le_bytes(), elf[24..32]);
    }
}
