//! `cargo xtask syscalls`: documentation from the table of system calls.

use crate::metadata::Metadata;
use crate::repo;
use anyhow::{Context, Result, bail};
use std::fs;

/// Write docs/syscalls.md from the table of system calls
#[derive(clap::Args)]
pub struct Syscalls {
    /// Only compare; fail where the file is out of date
    #[arg(long)]
    check: bool,
}

/// The file, relative to the root.
pub const FILE: &str = "docs/syscalls.md";
const PACKAGE: &str = "includeos-linux";

impl Syscalls {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        if !Metadata::read()?.has(PACKAGE) {
            bail!("there is no table yet: the package {PACKAGE} is not in the workspace");
        }
        if self.check {
            check()?;
            println!("syscalls: {FILE} is up to date");
            return Ok(());
        }
        let path = repo::root().join(FILE);
        fs::create_dir_all(path.parent().expect("FILE is in a folder"))?;
        fs::write(&path, generate()?).with_context(|| path.display().to_string())?;
        println!("syscalls: {FILE} written");
        Ok(())
    }
}

/// Compares the file with the table.
pub fn check() -> Result<()> {
    let current = fs::read_to_string(repo::root().join(FILE)).unwrap_or_default();
    if current != generate()? {
        bail!("{FILE} is out of date: run `cargo xtask syscalls`");
    }
    Ok(())
}

/// Whether there is a table to document.
pub fn exists(metadata: &Metadata) -> bool {
    metadata.has(PACKAGE)
}

fn generate() -> Result<String> {
    repo::output(repo::cargo().args(["run", "--quiet", "--package", PACKAGE, "--example", "syscalls"]))
}
