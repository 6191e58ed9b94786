//! The tree of files that an image carries: a folder of the project, packed.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vfs::pack::{Directory, Packable, pack};
use vfs::{PackedTree, Time};

/// Packs a folder.
///
/// # Errors
/// One line that names the file.
pub fn of_folder(folder: &Path) -> Result<Vec<u8>> {
    if !folder.is_dir() {
        bail!(
            "{} is no folder; remedy: `--root FOLDER`, or `root` in [package.metadata.includeos]",
            folder.display()
        );
    }
    let octets = pack(&directory(folder)?)?;
    let checked = PackedTree::new(&octets).and_then(|tree| tree.check_hash());
    if let Err(damage) = checked {
        bail!("the packed tree of {} is faulty: {damage}", folder.display());
    }
    Ok(octets)
}

fn directory(folder: &Path) -> Result<Directory> {
    let named = || format!("cannot read {}", folder.display());
    let data = fs::metadata(folder).with_context(named)?;
    let mut directory = Directory::new(data.mode(), time(&data));
    for entry in fs::read_dir(folder).with_context(named)? {
        let entry = entry.with_context(named)?;
        let path = entry.path();
        let what = packable(&path)?;
        let added = directory.add(entry.file_name().as_bytes(), what);
        added.with_context(|| format!("{} cannot be packed", path.display()))?;
    }
    Ok(directory)
}

fn packable(path: &Path) -> Result<Packable> {
    let named = || format!("cannot read {}", path.display());
    let data = fs::symlink_metadata(path).with_context(named)?;
    let mtime = time(&data);
    let kind = data.file_type();
    if kind.is_dir() {
        return Ok(Packable::Directory(directory(path)?));
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).with_context(named)?.into_os_string().into_vec();
        return Ok(Packable::Symlink { mtime, target });
    }
    if !kind.is_file() {
        bail!("{} is neither a file, nor a folder, nor a symbolic link; remedy: remove it", path.display());
    }
    Ok(Packable::File { mode: data.mode(), mtime, content: fs::read(path).with_context(named)? })
}

fn time(data: &fs::Metadata) -> Time {
    Time { sec: data.mtime(), nsec: data.mtime_nsec() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_packed_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("etc/sub")).unwrap();
        fs::write(root.join("etc/hosts"), "127.0.0.1 here\n").unwrap();
        std::os::unix::fs::symlink("etc/hosts", root.join("link")).unwrap();
        let octets = of_folder(root).unwrap();
        let tree = PackedTree::new(&octets).unwrap();
        let etc = tree.lookup(0, b"etc").unwrap();
        assert_eq!(tree.content(tree.lookup(etc, b"hosts").unwrap()), b"127.0.0.1 here\n");
        assert_eq!(tree.content(tree.lookup(0, b"link").unwrap()), b"etc/hosts");
        assert!(tree.lookup(etc, b"sub").is_some());
        assert_eq!(of_folder(root).unwrap(), octets, "the same folder is the same tree");
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("socket is neither"), "{error}");
        let error = of_folder(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none is no folder"), "{error}");
    }
}
