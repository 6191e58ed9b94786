//! Names: which symbols the object shows, which it may ask for, and what its sections are called.

use std::fmt;

use abi::note::{IMAGE_NAME, ImageNote};
use object::build::elf::{Builder, SectionData};
use object::elf;

use crate::got::remove_table;

/// The boot entry. It stays global: two kernels in one program then are a duplicate symbol, a good guard.
const ENTRY: &str = "__includeos_pvh_start";
/// What else stays global: libc's weak symbols that bring a service in, and the names by which one is forced in.
const HOOKS: [&str; 10] = [
    "socket",
    "socketpair",
    "includeos_net",
    "includeos_local",
    "includeos_files",
    "includeos_pipes",
    "includeos_events",
    "includeos_timers",
    "includeos_scheduling",
    "includeos_futexes",
];

/// What the object may refer to: all of it is defined by the linker, but for what a hook, which is libc's code in all but its
/// author, needs of libc.
const UNDEFINED: [&str; 13] = [
    "__start_inc_services",
    "__stop_inc_services",
    "__errno_location",
    "_end",
    "__ehdr_start",
    "__start_ktext",
    "__stop_ktext",
    "__start_krodata",
    "__stop_krodata",
    "__start_kdata",
    "__stop_kdata",
    "__start_kbss",
    "__stop_kbss",
];

/// Sections by the start of their names, and what they become. The first that fits counts.
const SECTIONS: [(&str, &str, Kind); 7] = [
    (".vdso.bss", "kvdsodata", Kind::Zeroed),
    (".vdso", "kvdso", Kind::Code),
    (".text", "ktext", Kind::Code),
    // Addresses in it are known when the program is linked: it need not be writable.
    (".data.rel.ro", "krodata", Kind::Constants),
    (".rodata", "krodata", Kind::Constants),
    (".data", "kdata", Kind::Data),
    (".bss", "kbss", Kind::Zeroed),
];

/// What the unwinder's tables name.
const PERSONALITY: &str = "rust_eh_personality";
/// Hooks are the program's code: they lie in its sections, not in the kernel's.
const HOOK_SECTION: &str = ".hook.";
/// The records of services, which live as long as their hooks.
const RECORDS: &str = "inc_services";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Constants,
    Data,
    Zeroed,
}

/// The page size: the kernel's sections share no page with the program's.
const PAGE: u64 = 4096;

/// A rule that the object breaks.
#[derive(Debug, PartialEq, Eq)]
pub enum GateError {
    /// Not an ELF object that can be rewritten.
    Elf(String),
    /// It refers to a symbol outside.
    Undefined(String),
    /// The boot entry is missing.
    NoEntry,
    /// It holds a section that must not be there (thread-locals, constructors, groups).
    Section(String),
    /// It holds no image note.
    NoNote,
    /// It reads an address from a table of the program's, by an instruction that cannot do without.
    Table(String),
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(error) => write!(f, "{error}"),
            Self::Undefined(name) => write!(f, "it refers to {name}, which only the program has"),
            Self::NoEntry => write!(f, "it has no boot entry"),
            Self::Section(name) => write!(f, "it has a section {name}"),
            Self::NoNote => write!(f, "it has no image note"),
            Self::Table(place) => write!(f, "it needs a global offset table ({place})"),
        }
    }
}

impl std::error::Error for GateError {}

/// Makes symbols local, renames sections, removes the offset table, fills in the build id and checks the rules. Returns the object and its id.
///
/// # Errors
/// [`GateError`]: the first rule that is broken.
pub fn localise(object: &[u8]) -> Result<(Vec<u8>, [u8; 16]), GateError> {
    let mut builder = read(object)?;
    rename_sections(&mut builder)?;
    localise_symbols(&mut builder)?;
    remove_table(&mut builder)?;
    // The id is that of the result, but for the id.
    let without_id = write(builder)?;
    let build_id = fnv1a_128(&without_id).to_le_bytes();
    let mut builder = read(&without_id)?;
    set_build_id(&mut builder, build_id)?;
    Ok((write(builder)?, build_id))
}

fn read(object: &[u8]) -> Result<Builder<'_>, GateError> {
    Builder::read(object).map_err(|error| GateError::Elf(error.to_string()))
}

fn write(builder: Builder<'_>) -> Result<Vec<u8>, GateError> {
    let mut bytes = Vec::new();
    builder.write(&mut bytes).map_err(|error| GateError::Elf(error.to_string()))?;
    Ok(bytes)
}

fn rename_sections(builder: &mut Builder<'_>) -> Result<(), GateError> {
    let mut dropped = Vec::new();
    for section in builder.sections.iter_mut() {
        let name = String::from_utf8_lossy(&section.name).into_owned();
        let forbidden = section.sh_flags & elf::SHF_TLS != Default::default()
            || section.sh_type == elf::SHT_GROUP
            || name.starts_with(".init_array")
            || name.starts_with(".ctors");
        if forbidden {
            return Err(GateError::Section(name));
        }
        // The program's unwinder has no business in the kernel, and its tables are smaller without. The kernel does not unwind;
        // library functions that were inlined bring what they would do if it did.
        let unwinds = |name: &str| name == ".eh_frame" || name.starts_with(".gcc_except_table");
        if unwinds(&name) || name.strip_prefix(".rela").is_some_and(unwinds) {
            section.delete = true;
            dropped.push(section.id());
            continue;
        }
        if section.sh_flags & elf::SHF_ALLOC == Default::default() {
            continue;
        }
        if let Some(hook) = name.strip_prefix(HOOK_SECTION) {
            section.name = format!(".text.{hook}").into_bytes().into();
            continue;
        }
        if name == RECORDS {
            continue;
        }
        let fits = |(prefix, ..): &&(&str, &str, Kind)| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some((_, new_name, kind)) = SECTIONS.iter().find(fits) {
            section.name = new_name.as_bytes().into();
            if *kind == Kind::Zeroed && section.sh_type == elf::SHT_PROGBITS {
                // The compiler does not know that a section of ours is zeroed: it must be, and takes no room in the file.
                let SectionData::Data(data) = &section.data else { return Err(GateError::Section(name)) };
                if data.iter().any(|&octet| octet != 0) {
                    return Err(GateError::Section(name));
                }
                section.sh_type = elf::SHT_NOBITS;
                section.data = SectionData::UninitializedData(data.len() as u64);
            }
            if *kind == Kind::Constants {
                section.sh_flags = elf::SectionFlags(section.sh_flags.0 & !elf::SHF_WRITE.0);
            }
        } else if section.sh_type != elf::SHT_NOTE {
            return Err(GateError::Section(name));
        }
    }
    for symbol in builder.symbols.iter_mut() {
        if symbol.section.is_some_and(|section| dropped.contains(&section)) {
            symbol.delete = true;
        }
    }
    // An empty, page-aligned section at the end of each: the next section begins on a page of its own. And at the
    // front, for the alignment of the whole.
    for (_, name, kind) in SECTIONS {
        let section = builder.sections.add();
        section.name = name.as_bytes().into();
        section.sh_addralign = PAGE;
        section.sh_flags = elf::SHF_ALLOC
            | elf::SHF_GNU_RETAIN
            | match kind {
                Kind::Code => elf::SHF_EXECINSTR,
                Kind::Constants => Default::default(),
                Kind::Data | Kind::Zeroed => elf::SHF_WRITE,
            };
        if kind == Kind::Zeroed {
            section.sh_type = elf::SHT_NOBITS;
            section.data = SectionData::UninitializedData(0);
        } else {
            section.sh_type = elf::SHT_PROGBITS;
            section.data = SectionData::Data(Vec::new().into());
        }
    }
    Ok(())
}

fn localise_symbols(builder: &mut Builder<'_>) -> Result<(), GateError> {
    let mut entry = false;
    for symbol in builder.symbols.iter_mut() {
        let name = String::from_utf8_lossy(&symbol.name).into_owned();
        let defined = symbol.section.is_some() || symbol.st_shndx != elf::SHN_UNDEF;
        if !defined {
            if name.is_empty() || UNDEFINED.contains(&name.as_str()) {
                continue;
            }
            // Only the tables that were dropped refer to it.
            if name == PERSONALITY {
                symbol.delete = true;
                continue;
            }
            return Err(GateError::Undefined(name));
        }
        entry |= name == ENTRY;
        let stays = name == ENTRY || HOOKS.contains(&name.as_str());
        if !stays && symbol.st_bind() != elf::STB_LOCAL {
            symbol.set_st_info(elf::STB_LOCAL, symbol.st_type());
        }
    }
    if entry { Ok(()) } else { Err(GateError::NoEntry) }
}

/// Writes the id into the image note's descriptor.
fn set_build_id(builder: &mut Builder<'_>, build_id: [u8; 16]) -> Result<(), GateError> {
    for section in builder.sections.iter_mut() {
        if let SectionData::Note(data) | SectionData::Data(data) = &mut section.data
            && &*section.name == b".note.includeos"
            && let Some(at) = data.windows(IMAGE_NAME.len()).position(|window| window == IMAGE_NAME)
        {
            // The name is padded to 12 octets; the descriptor is the ABI version, then the id.
            let mut octets = data.to_vec();
            let descriptor = at + IMAGE_NAME.len().next_multiple_of(4);
            let id = descriptor + ImageNote::LEN - build_id.len()..descriptor + ImageNote::LEN;
            octets.get_mut(id).ok_or(GateError::NoNote)?.copy_from_slice(&build_id);
            *data = octets.into();
            return Ok(());
        }
    }
    Err(GateError::NoNote)
}

/// FNV-1a with 128 bits (draft-eastlake-fnv): an identity, no defence against anybody.
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const PRIME: u128 = (1 << 88) + 0x13b;
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, &octet| {
        (hash ^ u128::from(octet)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(fnv1a_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(localise(b"not an object"), Err(GateError::Elf(_))));
    }
}
