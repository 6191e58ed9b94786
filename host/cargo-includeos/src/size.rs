//! Shows what an image consists of, by crate and subsystem.

use std::collections::BTreeMap;
use std::fs;

use abi::service::Service;
use anstream::println;
use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, SymbolKind, elf};
use rustc_demangle::try_demangle;

use crate::build::{self, Image, display_path};
use crate::cli::Selection;
use crate::image::holds;

const HEAD: Style = Style::new().bold();
const BAR: Style = AnsiColor::Cyan.on_default();
/// Width of the widest bar.
const BAR_WIDTH: u64 = 24;

/// The parts of an image, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Program,
    Std,
    C,
    Kernel,
    Other,
}

impl Part {
    const ALL: [Self; 5] = [Self::Program, Self::Std, Self::C, Self::Kernel, Self::Other];

    fn title(self) -> &'static str {
        match self {
            Self::Program => "program and its crates",
            Self::Std => "standard library",
            Self::C => "C library",
            Self::Kernel => "kernel",
            Self::Other => "without a name",
        }
    }
}

/// Bytes in memory, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes {
    code: u64,
    data: u64,
    bss: u64,
}

impl Bytes {
    /// Those that are in the file.
    fn file(self) -> u64 {
        self.code + self.data
    }

    fn add(&mut self, other: Self) {
        self.code += other.code;
        self.data += other.data;
        self.bss += other.bss;
    }
}

/// Bytes by part and by name within the part.
type Shares = BTreeMap<(Part, String), Bytes>;

/// `cargo includeos size`
pub fn command(selection: &Selection) -> Result<()> {
    let image = build::one(selection)?;
    let elf = fs::read(&image.with_symbols)
        .with_context(|| format!("cannot read {}", image.with_symbols.display()))?;
    show(&image, &shares(&elf, &image.crates)?);
    println!("services in it: {}", services(&elf));
    Ok(())
}

/// The names of the services that a linked program holds.
fn services(elf: &[u8]) -> String {
    let held = Service::ALL.into_iter().filter(|service| holds(elf, *service));
    let names: Vec<_> = held.map(Service::name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Attributes every loaded byte: by the symbol that covers it, or else by its section.
fn shares(elf: &[u8], crates: &[String]) -> Result<Shares> {
    let file = object::File::parse(elf).context("the linked program is no ELF file")?;
    let mut shares = Shares::new();
    let mut named = BTreeMap::<usize, u64>::new();
    for (section, start, end, name) in symbols(&file) {
        let Ok(section) = file.section_by_index(section) else { continue };
        let section_name = section.name().unwrap_or_default();
        let owner = if is_kernel(section_name) { of_kernel(name) } else { of_program(name, crates) };
        shares.entry(owner).or_default().add(bytes(section.kind(), end - start));
        *named.entry(section.index().0).or_default() += end - start;
    }
    for section in file.sections().filter(is_loaded) {
        let name = section.name().unwrap_or_default();
        let rest = section.size().saturating_sub(named.get(&section.index().0).copied().unwrap_or(0));
        if rest > 0 {
            shares.entry(of_section(name, section.kind())).or_default().add(bytes(section.kind(), rest));
        }
    }
    Ok(shares)
}

/// Section, start, end and name of every symbol that covers bytes. Bytes count once: where symbols overlap, the first
/// has them.
fn symbols<'a>(file: &'a object::File<'_>) -> Vec<(object::SectionIndex, u64, u64, &'a str)> {
    let mut all: Vec<_> = file
        .symbols()
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) && symbol.size() > 0)
        .filter_map(|symbol| {
            Some((symbol.section_index()?, symbol.address(), symbol.size(), symbol.name().ok()?))
        })
        .collect();
    all.sort_by_key(|&(section, address, size, _)| (section.0, address, std::cmp::Reverse(size)));
    let mut end_before = (object::SectionIndex(0), 0);
    let mut covering = Vec::with_capacity(all.len());
    for (section, address, size, name) in all {
        let start = if end_before.0 == section { address.max(end_before.1) } else { address };
        let end = address + size;
        if start < end {
            covering.push((section, start, end, name));
            end_before = (section, end);
        }
    }
    covering
}

fn is_loaded(section: &object::Section<'_, '_>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return false };
    let is_tbss = section.kind() == SectionKind::UninitializedTls;
    sh_flags.contains(elf::SHF_ALLOC) && !is_tbss
}

fn bytes(kind: SectionKind, len: u64) -> Bytes {
    match kind {
        SectionKind::Text => Bytes { code: len, ..Bytes::default() },
        SectionKind::UninitializedData | SectionKind::UninitializedTls => {
            Bytes { bss: len, ..Bytes::default() }
        }
        _ => Bytes { data: len, ..Bytes::default() },
    }
}

/// Whether a section is the kernel's own.
fn is_kernel(section: &str) -> bool {
    ["ktext", "krodata", "kdata", "kbss", "kvdso", "kvdsodata"].contains(&section)
}

/// Owner of a symbol of the kernel: crate and module.
fn of_kernel(symbol: &str) -> (Part, String) {
    let name = match rust_path(symbol) {
        Some(path) => match &path[..] {
            [first, module, _, ..] if is_kernel_crate(first) => format!("{first}::{module}"),
            [first, ..] => first.clone(),
            [] => "assembly".to_owned(),
        },
        None => "assembly, mem* and vDSO".to_owned(),
    };
    (Part::Kernel, name)
}

/// Whether a crate is large enough to be shown by module.
fn is_kernel_crate(name: &str) -> bool {
    ["kernel", "drivers", "linux"].contains(&name)
}

/// Owner of a symbol of the program: the crate, or what is known of C by its name. Crates that Cargo did not build
/// came with the standard library.
fn of_program(symbol: &str, crates: &[String]) -> (Part, String) {
    match rust_path(symbol).and_then(|path| path.into_iter().next()) {
        Some(name) if name == "__rustc" => (Part::Std, "std".to_owned()),
        Some(name) if crates.contains(&name) => (Part::Program, name),
        Some(name) => (Part::Std, name),
        None if is_unwinder(symbol) => (Part::C, "libgcc (unwinding)".to_owned()),
        None => (Part::C, "libc, C code and assembly".to_owned()),
    }
}

/// Owner of what no symbol covers.
fn of_section(section: &str, kind: SectionKind) -> (Part, String) {
    match section {
        ".eh_frame" | ".eh_frame_hdr" | ".gcc_except_table" => (Part::Other, "unwind tables".to_owned()),
        _ if is_kernel(section) => (Part::Kernel, "constants and padding".to_owned()),
        _ if kind == SectionKind::Note => (Part::Other, "notes".to_owned()),
        _ if kind == SectionKind::Text => (Part::Other, "code and padding".to_owned()),
        _ if kind == SectionKind::UninitializedData => (Part::Other, "zeroed data".to_owned()),
        _ => (Part::Other, "strings and constants".to_owned()),
    }
}

fn is_unwinder(symbol: &str) -> bool {
    let prefixes = [
        "_Unwind_",
        "uw_",
        "__gcc_",
        "__register_frame",
        "__deregister_frame",
        "execute_",
        "read_encoded",
        "fde_",
    ];
    prefixes.iter().any(|prefix| symbol.starts_with(prefix))
        || symbol.contains("_fde")
        || symbol.contains("unwind")
}

/// The path that a Rust symbol starts with; of `<a::B as c::D>::e` that of the type, or of the trait where the type is
/// the language's. `None`: no Rust symbol.
fn rust_path(symbol: &str) -> Option<Vec<String>> {
    let demangled = format!("{:#}", try_demangle(symbol).ok()?);
    let path = |text: &str| -> Option<Vec<String>> {
        let text = text.trim_start_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
        let text =
            ["mut ", "const ", "dyn ", "impl "].iter().fold(text, |text, word| text.trim_start_matches(word));
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        let names: Vec<_> =
            text[..end].split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        (names.len() > 1).then_some(names)
    };
    path(&demangled)
        .or_else(|| path(demangled.split_once(" as ")?.1))
        .or_else(|| Some(vec!["core".to_owned()]).filter(|_| demangled.starts_with('<')))
}

fn show(image: &Image, shares: &Shares) {
    let widest = shares.values().map(|bytes| bytes.file()).max().unwrap_or(0).max(1);
    let mut total = Bytes::default();
    println!("{HEAD}{:<34}{:>10}{:>10}{:>10}{:>10}{HEAD:#}", "", "code", "data", "bss", "in file");
    for part in Part::ALL {
        let mut rows: Vec<_> =
            shares.iter().filter(|((p, _), _)| *p == part).map(|((_, n), b)| (n, *b)).collect();
        rows.sort_by_key(|(_, bytes)| std::cmp::Reverse((bytes.file(), bytes.bss)));
        let mut sum = Bytes::default();
        rows.iter().for_each(|(_, bytes)| sum.add(*bytes));
        total.add(sum);
        println!("{HEAD}{}{HEAD:#}", row(part.title(), sum));
        for (name, bytes) in rows {
            let bar = "#".repeat((bytes.file() * BAR_WIDTH).div_ceil(widest) as usize);
            println!("{}  {BAR}{bar}{BAR:#}", row(&format!("  {name}"), bytes));
        }
    }
    println!("{HEAD}{}{HEAD:#}", row("all", total));
    let kernel: u64 = shares.iter().filter(|((p, _), _)| *p == Part::Kernel).map(|(_, b)| b.file()).sum();
    println!(
        "\n{}: {} bytes in the file; the kernel's part is {kernel} bytes ({} %)",
        display_path(&image.path),
        image.len,
        kernel * 100 / image.len.max(1)
    );
}

fn row(name: &str, bytes: Bytes) -> String {
    let Bytes { code, data, bss } = bytes;
    format!("{name:<34.34}{code:>10}{data:>10}{bss:>10}{:>10}", bytes.file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(path: &[&str]) -> String {
        let parts: String = path.iter().map(|part| format!("{}{part}", part.len())).collect();
        format!("_ZN{parts}17h0123456789abcdefE")
    }

    #[test]
    fn rust_symbols_belong_to_their_crate() {
        let crates = ["hello".to_owned(), "serde".to_owned()];
        let of_program = |symbol: &str| of_program(symbol, &crates);
        assert_eq!(of_program(&legacy(&["hello", "main"])), (Part::Program, "hello".to_owned()));
        assert_eq!(of_program(&legacy(&["core", "fmt", "write"])), (Part::Std, "core".to_owned()));
        assert_eq!(of_program(&legacy(&["memchr", "find"])), (Part::Std, "memchr".to_owned()));
        let of_trait = legacy(&["_$LT$u8$u20$as$u20$serde..Serialize$GT$", "serialize"]);
        assert_eq!(of_program(&of_trait), (Part::Program, "serde".to_owned()));
        let of_type = legacy(&["_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$serde..Serialize$GT$", "serialize"]);
        assert_eq!(of_program(&of_type), (Part::Std, "alloc".to_owned()));
    }

    #[test]
    fn c_symbols_are_told_apart_by_name() {
        assert_eq!(of_program("malloc", &[]).0, Part::C);
        assert_eq!(of_program("_Unwind_Resume", &[]).1, "libgcc (unwinding)");
    }

    #[test]
    fn the_kernel_is_shown_by_module() {
        assert_eq!(of_kernel(&legacy(&["kernel", "mm", "space", "map"])).1, "kernel::mm");
        assert_eq!(of_kernel(&legacy(&["linux", "table", "call"])).1, "linux::table");
        assert_eq!(of_kernel(&legacy(&["core", "fmt", "write"])).1, "core");
        assert_eq!(of_kernel("memcpy").0, Part::Kernel);
    }

    #[test]
    fn every_loaded_byte_of_this_test_counts_once() {
        let elf = fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let loaded: u64 = file.sections().filter(is_loaded).map(|section| section.size()).sum();
        let shown: u64 = shares(&elf, &[]).unwrap().values().map(|bytes| bytes.file() + bytes.bss).sum();
        assert_eq!(shown, loaded);
    }
}
