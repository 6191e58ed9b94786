//! The part of `cargo metadata` that the checks read.

use crate::repo;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The workspace.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Its packages; no others, for it is read with `--no-deps`.
    pub packages: Vec<Package>,
    /// Its root.
    pub workspace_root: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// What its manifest asks for.
    pub dependencies: Vec<Dependency>,
    /// What is built from it.
    pub targets: Vec<Target>,
}

/// What a package asks for.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// Name of the package asked for.
    pub name: String,
    /// Its folder, for a package of ours.
    pub path: Option<PathBuf>,
}

/// What is built from a package.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, ...
    pub kind: Vec<String>,
    /// Its first source file.
    pub src_path: PathBuf,
}

impl Metadata {
    /// Asks cargo.
    pub fn read() -> Result<Self> {
        let mut cargo = repo::cargo();
        let json = repo::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_str(&json).context("cargo metadata has another form than expected")
    }

    /// The folder of a package, relative to the root.
    pub fn folder<'a>(&self, package: &'a Package) -> &'a Path {
        let folder = package.manifest_path.parent().unwrap_or(Path::new(""));
        folder.strip_prefix(&self.workspace_root).unwrap_or(folder)
    }

    /// Whether the workspace has a package of this name.
    pub fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }
}
