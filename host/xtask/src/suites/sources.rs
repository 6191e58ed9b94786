//! The crates' sources, as the registry has them.

use super::list::Suite;
use crate::repo;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder with a crate's sources; fetched if it is not there.
///
/// # Errors
/// The registry cannot be reached, or does not have that version.
pub fn fetch(suite: &Suite) -> Result<PathBuf> {
    let folder = super::folder().join("sources").join(format!("{}-{}", suite.name, suite.version));
    let complete = folder.join(".complete");
    if complete.is_file() {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    copy(&from_registry(suite)?, &folder).with_context(|| folder.display().to_string())?;
    // It is a project of its own, wherever it lies.
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    if !text.lines().any(|line| line.trim() == "[workspace]") {
        text += "\n[workspace]\n";
        fs::write(&manifest, text)?;
    }
    fs::write(complete, "")?;
    Ok(folder)
}

/// Has Cargo fetch a crate, as a dependency, and returns where it keeps it.
fn from_registry(suite: &Suite) -> Result<PathBuf> {
    let project = super::folder().join("fetch").join(&suite.name);
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/lib.rs"), "")?;
    let Suite { name, version, .. } = suite;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{name} = \"={version}\"\n"
    );
    fs::write(project.join("Cargo.toml"), manifest)?;
    let mut cargo = repo::cargo();
    let text = repo::output(cargo.args(["metadata", "--format-version", "1"]).current_dir(&project))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let found = packages.iter().find(|package| package["name"] == **name && package["version"] == **version);
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.with_context(|| format!("Cargo did not fetch {}", suite.title()))?;
    Ok(Path::new(manifest).with_file_name(""))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
