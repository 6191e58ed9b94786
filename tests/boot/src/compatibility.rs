//! Where the answers differ from those of Linux: what docs/compatibility.md says, and what is found.

use std::collections::BTreeMap;
use std::fs;

use crate::tool;

/// A call with its arguments in words, and the answers of Linux and of the image.
pub type Differences = BTreeMap<String, [String; 2]>;

/// The rows of the tables in docs/compatibility.md whose first three columns are code: call, Linux' answer, ours.
pub fn differences() -> Differences {
    let path = tool::repository().join("docs/compatibility.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, [String; 2])> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let mut code = || cells.next()?.strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
    Some((code()?, [code()?, code()?]))
}

/// Compares two outputs line by line, each `call: answer`.
#[track_caller]
pub fn compare(linux: &str, ours: &str) -> Differences {
    assert_eq!(linux.lines().count(), ours.lines().count(), "lines are missing:\n{ours}");
    let differing = linux.lines().zip(ours.lines()).filter(|(linux, ours)| linux != ours);
    let split = |(linux, ours): (&str, &str)| {
        let [(call, linux), (other, ours)] =
            [linux, ours].map(|line| line.rsplit_once(": ").unwrap_or((line, "")));
        assert_eq!(call, other, "another line");
        (call.to_owned(), [linux.to_owned(), ours.to_owned()])
    };
    differing.map(split).collect()
}
