//! The plugin's arguments.

use std::fmt;
use std::path::PathBuf;

/// What was asked for on QEMU's command line, behind `-plugin FILE,`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// `out=PATH`: where the counts go. Written when a window ends and when QEMU exits.
    pub out: PathBuf,
    /// `hist=PATH`: where the counts by address go, those of the first window; without one, of the first
    /// section between marks; without that, of the whole run.
    pub hist: Option<PathBuf>,
    /// `window=NAME:FROM:TO`, any number of times; addresses are virtual and hexadecimal with `0x` or decimal.
    pub windows: Vec<Window>,
    /// `mmio=on|off`: whether loads and stores that reach a device are counted. They cost a call for each memory
    /// access of the guest, so a run for instructions alone is faster without. Default: on.
    pub mmio: bool,
}

/// A stretch of the run that is counted by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How the report calls it: letters, digits, `-` and `_`.
    pub name: String,
    /// Counting starts when this address is first executed.
    pub from: u64,
    /// Counting ends when this address is first executed after that.
    pub to: u64,
}

/// An argument that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgsError {
    argument: String,
    expected: &'static str,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: expected {}", self.argument, self.expected)
    }
}

impl std::error::Error for ArgsError {}

impl Args {
    /// Reads the arguments, each of the form `key=value`.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, ArgsError> {
        let mut out = None;
        let mut hist = None;
        let mut windows = Vec::new();
        let mut mmio = true;
        for argument in arguments {
            let wrong = |expected| ArgsError { argument: argument.to_owned(), expected };
            match argument.split_once('=') {
                Some(("out", path)) => out = Some(PathBuf::from(path)),
                Some(("hist", path)) => hist = Some(PathBuf::from(path)),
                Some(("window", text)) => {
                    windows.push(Window::parse(text).ok_or_else(|| wrong("window=NAME:FROM:TO"))?);
                }
                Some(("mmio", "on")) => mmio = true,
                Some(("mmio", "off")) => mmio = false,
                Some(("mmio", _)) => return Err(wrong("mmio=on or mmio=off")),
                _ => return Err(wrong("out=, hist=, window= or mmio=")),
            }
        }
        let missing = || ArgsError { argument: String::new(), expected: "out=PATH" };
        Ok(Self { out: out.ok_or_else(missing)?, hist, windows, mmio })
    }
}

impl Window {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (name, from, to) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if parts.next().is_some() || name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        Some(Self { name: name.to_owned(), from: address(from)?, to: address(to)? })
    }
}

fn address(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_given() {
        let args = Args::parse(["out=/tmp/o", "window=boot:0x100000:4096", "hist=h", "mmio=off"]).unwrap();
        let window = Window { name: "boot".into(), from: 0x10_0000, to: 4096 };
        assert_eq!(
            args,
            Args { out: "/tmp/o".into(), hist: Some("h".into()), windows: vec![window], mmio: false }
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (argument, expected) in [
            ("from=1", "out=, hist=, window= or mmio="),
            ("out", "out=, hist=, window= or mmio="),
            ("window=a:1", "window=NAME:FROM:TO"),
            ("window=a:1:2:3", "window=NAME:FROM:TO"),
            ("window=:1:2", "window=NAME:FROM:TO"),
            ("window=a\":1:2", "window=NAME:FROM:TO"),
            ("window=a:0xg:2", "window=NAME:FROM:TO"),
            ("mmio=yes", "mmio=on or mmio=off"),
        ] {
            let error = Args::parse(["out=x", argument]).unwrap_err();
            assert_eq!(error, ArgsError { argument: argument.into(), expected });
        }
        assert_eq!(Args::parse([]).unwrap_err().to_string(), "\"\": expected out=PATH");
    }
}
