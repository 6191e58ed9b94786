//! From instruction addresses to functions, files and lines.

use std::path::{Path, PathBuf};

use addr2line::Loader;
use rustc_demangle::{demangle, try_demangle};

/// Where an instruction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Function, demangled.
    pub function: String,
    /// `src/main.rs:7:5`, where the debug information says so.
    pub at: Option<String>,
}

/// Something that knows where instructions come from.
pub trait Symbolise {
    /// The function at `address`, and what it is inlined into, innermost first. Empty: not known.
    fn places(&mut self, address: u64) -> Vec<Place>;
}

/// The symbols and debug information of a linked program, read when they are first needed.
pub struct Symbols {
    path: PathBuf,
    loader: Option<Option<Loader>>,
    here: PathBuf,
}

impl Symbols {
    /// The symbols of the program at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), loader: None, here: std::env::current_dir().unwrap_or_default() }
    }
}

impl Symbolise for Symbols {
    fn places(&mut self, address: u64) -> Vec<Place> {
        let Some(loader) = self.loader.get_or_insert_with(|| Loader::new(&self.path).ok()) else {
            return Vec::new();
        };
        // An address behind the program is in no function, though its last symbol is the nearest before.
        let symbol = loader.find_symbol(address).filter(|name| !matches!(*name, "_end" | "end"));
        let symbol = symbol.map(|name| format!("{:#}", demangle(name)));
        let mut places = Vec::new();
        if let Ok(mut frames) = loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
                let at = frame.location.as_ref().and_then(|location| {
                    let file = shorten(location.file?, &self.here);
                    Some(match (location.line, location.column) {
                        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
                        (Some(line), None) => format!("{file}:{line}"),
                        _ => file,
                    })
                });
                places.push((name.map(|name| readable(&name)), at));
            }
        }
        if places.is_empty() {
            places.extend(symbol.clone().map(|name| (Some(name), None)));
        }
        // The symbol is the outermost function's, and says more than a line table does: the whole path.
        let outermost = places.len().saturating_sub(1);
        let name_of = |(index, (name, at)): (usize, (Option<String>, Option<String>))| {
            let symbol = symbol.clone().filter(|_| index == outermost);
            Place { function: symbol.or(name).unwrap_or_else(|| "<unknown>".to_owned()), at }
        };
        places.into_iter().enumerate().map(name_of).collect()
    }
}

/// The symbol, as linked, of the function with this path. `None`: inlined everywhere, or not there.
pub fn linked_name(elf: &[u8], path: &str) -> Option<String> {
    use object::{Object, ObjectSymbol};
    let file = object::File::parse(elf).ok()?;
    let mut names = file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    names.find(|name| try_demangle(name).is_ok_and(|demangled| format!("{demangled:#}") == path))
}

/// A symbol as people write it, without hash.
fn readable(name: &str) -> String {
    try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}

/// A file as short as it stays clear: relative to the working folder, the standard library from `library/` on,
/// dependencies from the registry's folder on.
fn shorten(file: &str, here: &Path) -> String {
    if let Ok(relative) = Path::new(file).strip_prefix(here) {
        return relative.display().to_string();
    }
    if let Some(rest) = file.strip_prefix("/rustc/") {
        return rest.split_once('/').map_or(file, |(_hash, path)| path).to_owned();
    }
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        return rest.split_once('/').map_or(file, |(_registry, path)| path).to_owned();
    }
    file.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_function_is_found() {
        let address = this_very_function_is_found as fn() as usize as u64;
        let mut symbols = Symbols::new(&std::env::current_exe().unwrap());
        let base = Loader::new(std::env::current_exe().unwrap()).unwrap().relative_address_base();
        // A test program is position-independent: take the difference to a symbol of known address.
        let own = object_address("this_very_function_is_found");
        let places = symbols.places(own + base);
        assert!(address.is_multiple_of(4096) == own.is_multiple_of(4096));
        let outermost = places.last().expect("a symbol");
        assert!(outermost.function.contains("this_very_function_is_found"), "{places:?}");
        assert!(outermost.at.as_ref().is_some_and(|at| at.contains("symbols.rs:")), "{places:?}");
    }

    /// Address, as linked, of the test function of that name.
    fn object_address(name: &str) -> u64 {
        use object::{Object, ObjectSymbol};
        let data = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*data).unwrap();
        let mut symbols = file.symbols();
        let wanted = |symbol: &object::Symbol<'_, '_>| {
            symbol.name().is_ok_and(|s| s.contains(name) && s.contains("symbols") && !s.contains("closure"))
        };
        symbols.find(wanted).expect("the symbol table has it").address()
    }

    #[test]
    fn files_are_shortened() {
        let here = Path::new("/home/u/hello");
        assert_eq!(shorten("/home/u/hello/src/main.rs", here), "src/main.rs");
        assert_eq!(
            shorten("/rustc/59807616e1/library/core/src/option.rs", here),
            "library/core/src/option.rs"
        );
        let registry = "/home/u/.cargo/registry/src/index-1949cf8c/serde-1.0.0/src/lib.rs";
        assert_eq!(shorten(registry, here), "serde-1.0.0/src/lib.rs");
        assert_eq!(shorten("/usr/src/x.c", here), "/usr/src/x.c");
    }
}
