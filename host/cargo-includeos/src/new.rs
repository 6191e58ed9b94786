//! Makes a new project.

use std::fs;

use anyhow::{Context, Result};

use crate::cli::New;
use crate::{toolchain, ui};

/// The program of a new project. It names nothing of ours: it is an ordinary program.
const HELLO: &str = include_str!("new/hello.rs");

/// `cargo includeos new`: `cargo new`, with a program that shows where it runs.
pub fn command(new: &New) -> Result<()> {
    let mut cargo = toolchain::cargo();
    cargo.args(["new", "--quiet", "--bin"]).arg(&new.path);
    if let Some(name) = &new.name {
        cargo.args(["--name", name]);
    }
    if let Some(vcs) = &new.vcs {
        cargo.args(["--vcs", vcs]);
    }
    toolchain::output(&mut cargo)?;
    let main = new.path.join("src").join("main.rs");
    fs::write(&main, HELLO).with_context(|| format!("cannot write {}", main.display()))?;
    ui::status("Created", format!("{}; next: `cd {0} && cargo includeos run`", new.path.display()));
    Ok(())
}
