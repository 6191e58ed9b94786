//! `cargo xtask tidy`: what no lint can check. One check, one function, one file below this one.

mod changelog;
mod crates;
mod layers;
mod links;
mod text;

use crate::metadata::Metadata;
use crate::{repo, syscalls};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Check what no lint can: dependency direction, crate headers, text files, links, generated documents
#[derive(clap::Args)]
pub struct Tidy {}

impl Tidy {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        check()?;
        println!("tidy: {} checks passed", CHECKS.len());
        Ok(())
    }
}

/// What the checks look at.
struct Tree {
    metadata: Metadata,
    /// Text files, relative to the root, with their content.
    files: Vec<(PathBuf, String)>,
}

/// A check adds a line for each fault, and starts it with the file's name.
type Check = fn(&Tree, &mut Vec<String>);

/// All checks by name.
const CHECKS: &[(&str, Check)] = &[
    ("dependencies follow the layers", layers::check),
    ("crates forbid unsafe code where they must", crates::check_unsafe),
    ("crates inherit the workspace's lints", crates::check_lints),
    ("no debugging left-overs", text::check_leftovers),
    ("text files are clean", text::check_blanks),
    ("links lead to files", links::check),
    ("the changelog has a place for changes", changelog::check),
    ("docs/syscalls.md is up to date", check_syscalls),
];

/// Runs all checks.
pub fn check() -> Result<()> {
    let tree = Tree::read()?;
    let mut faulty = 0;
    for (name, check) in CHECKS {
        let mut faults = Vec::new();
        check(&tree, &mut faults);
        if !faults.is_empty() {
            faulty += 1;
            eprintln!("tidy: {name}:");
            for fault in faults {
                eprintln!("  {fault}");
            }
        }
    }
    if faulty != 0 {
        bail!("{faulty} of {} checks found faults", CHECKS.len());
    }
    Ok(())
}

impl Tree {
    fn read() -> Result<Self> {
        let mut files = Vec::new();
        for path in repo::files()? {
            // What is not text is not for these checks, nor what looks like it by chance.
            if path.starts_with("tests/fuzz/corpus") {
                continue;
            }
            if let Ok(text) = String::from_utf8(fs::read(repo::root().join(&path))?) {
                files.push((path, text));
            }
        }
        Ok(Self { metadata: Metadata::read()?, files })
    }

    /// The content of a text file.
    fn file(&self, path: &Path) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }
}

fn check_syscalls(tree: &Tree, faults: &mut Vec<String>) {
    if syscalls::exists(&tree.metadata) {
        faults.extend(syscalls::check().err().map(|error| format!("{error:#}")));
    }
}
