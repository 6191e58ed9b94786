//! The prelinked kernel object, and what the linker makes of it.

use std::collections::BTreeSet;

use boot_tests::Image;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf};

/// All that the object may ask for: the linker itself defines it.
const UNDEFINED: [&str; 13] = [
    "__start_inc_services",
    "__stop_inc_services",
    "__errno_location",
    "__ehdr_start",
    "__start_kbss",
    "__start_kdata",
    "__start_krodata",
    "__start_ktext",
    "__stop_kbss",
    "__stop_kdata",
    "__stop_krodata",
    "__stop_ktext",
    "_end",
];
const SECTIONS: [&str; 6] = ["ktext", "krodata", "kdata", "kbss", "kvdso", "kvdsodata"];
/// What is the program's: the symbols that bring services in, libc's function or a name of the kernel's own, and the services'
/// records, which live as long as these.
const HOOKS: [&str; 3] = [".text.socket", ".text.socketpair", "inc_services"];
const SERVICES: [&str; 6] = [
    "includeos_events",
    "includeos_files",
    "includeos_futexes",
    "includeos_pipes",
    "includeos_scheduling",
    "includeos_timers",
];
const PAGE: u64 = 4096;

/// The object as the tool laid it beside the images.
fn kernel_object() -> Vec<u8> {
    let image = Image::program("hello");
    let folder = image.path.ancestors().nth(2).expect("the profile's folder is in the tool's");
    std::fs::read(folder.join("kernel.o")).expect("the tool lays the object beside the images")
}

#[test]
fn the_object_shows_its_entry_and_asks_for_nothing() {
    let octets = kernel_object();
    let object = object::File::parse(octets.as_slice()).expect("an ELF file");
    let names = |wanted: fn(&object::Symbol<'_, '_>) -> bool| -> BTreeSet<String> {
        let symbols = object.symbols().filter(wanted);
        symbols
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
            .filter(|name| !name.is_empty())
            .collect()
    };
    let undefined = names(|symbol| symbol.is_undefined());
    assert_eq!(undefined, UNDEFINED.map(str::to_owned).into());
    let global = names(|symbol| symbol.is_global() && !symbol.is_undefined());
    let expected = ["__includeos_pvh_start", "includeos_local", "includeos_net", "socket", "socketpair"]
        .into_iter()
        .chain(SERVICES);
    assert_eq!(global, expected.map(str::to_owned).collect());
}

#[test]
fn the_object_has_sections_of_its_own_alone() {
    let octets = kernel_object();
    let object = object::File::parse(octets.as_slice()).expect("an ELF file");
    let is_service = |name: &str| name.strip_prefix(".text.").is_some_and(|name| SERVICES.contains(&name));
    for section in object.sections() {
        let name = section.name().expect("text");
        assert!(!name.contains("eh_frame"), "the program's unwinder would find {name}");
        assert!(
            !name.starts_with(".init_array") && !name.starts_with(".ctors"),
            "{name} would run before main"
        );
        assert_ne!(section.kind(), SectionKind::Tls, "{name}");
        assert_ne!(section.kind(), SectionKind::UninitializedTls, "{name}");
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            panic!("an ELF section has ELF flags")
        };
        assert_eq!(sh_flags.0 & elf::SHF_TLS.0, 0, "{name}");
        assert_eq!(sh_flags.0 & elf::SHF_GROUP.0, 0, "{name}");
        let is_loaded = sh_flags.0 & elf::SHF_ALLOC.0 != 0;
        let is_known = SECTIONS.contains(&name)
            || HOOKS.contains(&name)
            || is_service(name)
            || name.starts_with(".note.");
        assert!(!is_loaded || is_known, "{name} is loaded and would be mixed with the program's");
    }
    assert_eq!(object.comdats().count(), 0);
}

#[test]
fn the_kernels_sections_share_no_page_with_the_programs() {
    for name in ["hello", "threads", "arguments"] {
        let octets = Image::program(name).read();
        let image = object::File::parse(octets.as_slice()).expect("an ELF file");
        let ranges: Vec<(&str, u64, u64)> = image
            .sections()
            .filter(|section| section.address() != 0 && section.size() != 0 && !is_thread_bss(section))
            .map(|section| {
                let range = section.address()..section.address() + section.size();
                // The object's octets outlive the closure; the name is taken from them.
                (section.name().expect("text"), range.start, range.end)
            })
            .map(|(name, start, end)| {
                (SECTIONS.iter().find(|ours| **ours == name).copied().unwrap_or(""), start, end)
            })
            .collect();
        for ours in SECTIONS {
            let (_, start, end) =
                *ranges.iter().find(|range| range.0 == ours).unwrap_or_else(|| panic!("no {ours}"));
            assert!(
                start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE),
                "{name}: {ours} {start:#x}..{end:#x}"
            );
            for (other, other_start, other_end) in &ranges {
                let apart = *other == ours || *other_end <= start || *other_start >= end;
                assert!(apart, "{name}: {other:?} {other_start:#x}..{other_end:#x} is in {ours}");
            }
        }
    }
}

/// `.tbss` has addresses, but takes none.
fn is_thread_bss(section: &object::Section<'_, '_>) -> bool {
    section.kind() == SectionKind::UninitializedTls
}
