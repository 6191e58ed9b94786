//! `cargo xtask demo`: the main job, start to end.

use crate::{repo, setup, ui};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Build and boot the demonstration
///
/// Installs what is missing, as `setup` does, builds the tool, and lets it boot an ordinary threaded program as a
/// virtual machine.
#[derive(clap::Args)]
pub struct Demo {}

/// The program, a Cargo project of its own that knows nothing of this one.
const EXAMPLE: &str = "examples/hello-threads";
/// The last line it prints.
const LAST_LINE: &str = "all threads joined";

impl Demo {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        setup::ensure()?;
        show()?;
        println!("demo: {EXAMPLE} booted as a virtual machine, ran its threads and ended with status 0");
        Ok(())
    }
}

/// Builds the tool and runs the example with it.
pub fn show() -> Result<()> {
    eprintln!("demo: building the tool");
    ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "cargo-includeos"]))?;
    let tool = repo::target_dir().join("release/cargo-includeos");
    eprintln!("demo: cargo includeos run --release, in {EXAMPLE}");
    let mut run = Command::new(&tool);
    run.args(["includeos", "run", "--release"]).current_dir(repo::root().join(EXAMPLE));
    let mut complete = false;
    let ok = ui::run_watched(&mut run, |line| complete |= line.trim_end() == LAST_LINE)
        .with_context(|| format!("{} could not be started", tool.display()))?;
    if !ok {
        bail!("the demonstration failed, see above");
    }
    if !complete {
        bail!("the demonstration ended without its last line, {LAST_LINE:?}");
    }
    Ok(())
}
