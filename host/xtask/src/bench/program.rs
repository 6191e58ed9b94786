//! Programs built as images by the tool of this repository.

use crate::{repo, ui};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What programs are built for.
pub const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// An image to be measured. The file is a static Linux program as well.
#[derive(Clone, Debug)]
pub struct Image {
    /// What boots: stripped, as the tool makes it.
    pub path: PathBuf,
    /// The same with symbols.
    pub with_symbols: PathBuf,
}

/// The tool, built.
pub struct Tool(PathBuf);

impl Tool {
    /// Builds the tool.
    pub fn build() -> Result<Self> {
        eprintln!("bench: building the tool");
        ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "cargo-includeos"]))?;
        Ok(Self(repo::target_dir().join("release/cargo-includeos")))
    }

    /// Builds one program of the project in `folder`, release profile, in the folder `target`.
    pub fn image(&self, folder: &Path, program: &str, target: &Path) -> Result<Image> {
        eprintln!("bench: building {program}");
        let mut tool = Command::new(&self.0);
        tool.args(["includeos", "build", "--release", "--bin", program]).current_dir(folder);
        repo::output(tool.env("CARGO_TARGET_DIR", target))?;
        Ok(Image {
            path: target.join("includeos/release").join(program),
            with_symbols: target.join(TRIPLE).join("release").join(program),
        })
    }
}
