//! What the tool says on standard error, in Cargo's manner.

use anstream::eprintln;
use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default().bold();

/// `     Running hello`: a verb right-aligned as Cargo aligns its own.
pub fn status(verb: &str, message: impl std::fmt::Display) {
    eprintln!("{GOOD}{verb:>12}{GOOD:#} {message}");
}

/// `error: ...`
pub fn error(message: impl std::fmt::Display) {
    eprintln!("{BAD}error{BAD:#}: {message}");
}

/// `warning: ...`
pub fn warning(message: impl std::fmt::Display) {
    eprintln!("{DOUBT}warning{DOUBT:#}: {message}");
}
