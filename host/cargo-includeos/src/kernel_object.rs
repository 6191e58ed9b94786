//! The prelinked kernel object that travels inside the tool.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

/// The object that every image is linked with.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.o"));
/// Its identity, as it stands in the note of every image linked with it.
pub const BUILD_ID: [u8; 16] = *include_bytes!(concat!(env!("OUT_DIR"), "/kernel.id"));

/// Lays the object into `folder` and returns its path. A file of the same content is left alone: Cargo's freshness
/// hangs on the path, never on the content, so that the path must not change from version to version.
pub fn place(folder: &Path) -> Result<PathBuf> {
    if OBJECT.is_empty() {
        bail!("this tool was built without a kernel object; build it from the whole repository");
    }
    let path = folder.join("kernel.o");
    if fs::read(&path).is_ok_and(|there| there == OBJECT) {
        return Ok(path);
    }
    write_whole(&path, OBJECT).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Writes a file so that nobody ever sees a part of it.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_added_extension(format!("{}.new", std::process::id()));
    fs::write(&new, content)?;
    fs::rename(&new, path)
}
