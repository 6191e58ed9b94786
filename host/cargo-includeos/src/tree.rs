//! The tree of files that an image carries: a folder of the project, packed; for tests, the package's own folder where it is.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

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
    for name in MOUNTED {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok_and(|data| data.is_file()) {
            bail!("{} is a file, and images mount /{name} there; remedy: leave it out", path.display());
        }
    }
    packed(folder, &directory(folder, &Files::All)?)
}

/// Where an image mounts what every program finds.
const MOUNTED: [&str; 4] = ["dev", "proc", "sys", "tmp"];

/// Packs a package's folder so that it lies in the tree where it lies here, over what is in `root`; left out is what is not the
/// package's own: what `left_out` names, folders that say that they are caches (`CACHEDIR.TAG`, as Cargo's target folders do), `.git`, and
/// what is neither file nor folder nor link. The folders `empty` are there, too, with nothing in them.
///
/// # Errors
/// One line that names the file.
pub fn of_package(
    root: Option<&Path>,
    package: &Path,
    left_out: &[PathBuf],
    empty: &[PathBuf],
) -> Result<Vec<u8>> {
    let mut tree = match root {
        Some(root) => directory(root, &Files::All)?,
        None => Directory::new(0o755, Time::default()),
    };
    let content = directory(package, &Files::OfPackage { left_out })?;
    let cannot = || format!("{} cannot be packed", package.display());
    match (package.parent(), package.file_name()) {
        (Some(parent), Some(name)) => {
            let at = descend(&mut tree, parent)?;
            at.add(name.as_bytes(), Packable::Directory(content)).with_context(cannot)?;
        }
        _ => bail!("{}: the root folder cannot be a package", package.display()),
    }
    for folder in empty {
        descend(&mut tree, folder)?;
    }
    packed(package, &tree)
}

/// The directory of the tree with the path of `folder`, made as far as it is not there.
fn descend<'a>(tree: &'a mut Directory, folder: &Path) -> Result<&'a mut Directory> {
    let mut at = tree;
    for part in folder.components() {
        let Component::Normal(name) = part else { continue };
        at = at
            .directory(name.as_bytes(), 0o755, Time::default())
            .with_context(|| format!("{} cannot be packed", folder.display()))?;
    }
    Ok(at)
}

/// Packs it, and reads back what was packed.
fn packed(folder: &Path, root: &Directory) -> Result<Vec<u8>> {
    let octets = pack(root)?;
    let checked = PackedTree::new(&octets).and_then(|tree| tree.check_hash());
    if let Err(damage) = checked {
        bail!("the packed tree of {} is faulty: {damage}", folder.display());
    }
    Ok(octets)
}

/// Which files of a folder are packed.
enum Files<'a> {
    /// All; what cannot be packed is an error.
    All,
    /// The package's own.
    OfPackage {
        /// Folders that are not.
        left_out: &'a [PathBuf],
    },
}

impl Files<'_> {
    fn is_wanted(&self, path: &Path, kind: fs::FileType) -> bool {
        let Self::OfPackage { left_out } = self else { return true };
        match () {
            () if kind.is_dir() => {
                let is_left_out = left_out.iter().any(|folder| folder == path);
                !is_left_out && !path.ends_with(".git") && !path.join("CACHEDIR.TAG").is_file()
            }
            () => kind.is_file() || kind.is_symlink(),
        }
    }
}

fn directory(folder: &Path, files: &Files<'_>) -> Result<Directory> {
    let named = || format!("cannot read {}", folder.display());
    let data = fs::metadata(folder).with_context(named)?;
    let mut directory = Directory::new(data.mode(), time(&data));
    for entry in fs::read_dir(folder).with_context(named)? {
        let entry = entry.with_context(named)?;
        let path = entry.path();
        if files.is_wanted(&path, entry.file_type().with_context(named)?) {
            let what = packable(&path, files)?;
            let added = directory.add(entry.file_name().as_bytes(), what);
            added.with_context(|| format!("{} cannot be packed", path.display()))?;
        }
    }
    Ok(directory)
}

fn packable(path: &Path, files: &Files<'_>) -> Result<Packable> {
    let named = || format!("cannot read {}", path.display());
    let data = fs::symlink_metadata(path).with_context(named)?;
    let mtime = time(&data);
    let kind = data.file_type();
    if kind.is_dir() {
        return Ok(Packable::Directory(directory(path, files)?));
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
        fs::write(root.join("tmp"), "").unwrap();
        assert!(of_folder(root).unwrap_err().to_string().contains("images mount /tmp there"));
    }

    #[test]
    fn a_package_lies_where_it_lies_here() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let package = folder.join("some/package");
        for (path, content) in [
            ("src/lib.rs", "code"),
            (".git/HEAD", "ref"),
            ("target/debug/x", "built"),
            ("fuzz/target/CACHEDIR.TAG", "Signature"),
            ("tests/target/data", "not Cargo's"),
        ] {
            fs::create_dir_all(package.join(path).parent().unwrap()).unwrap();
            fs::write(package.join(path), content).unwrap();
        }
        let _listener = std::os::unix::net::UnixListener::bind(package.join("socket")).unwrap();
        let left_out = [package.join("target")];
        let empty = [package.join("target/tmp")];
        let octets = of_package(None, &package, &left_out, &empty).unwrap();
        let tree = PackedTree::new(&octets).unwrap();
        let find = |path: &str| {
            let parts = package.join(path);
            let names = parts.components().skip(1);
            names.into_iter().try_fold(0, |at, name| tree.lookup(at, name.as_os_str().as_bytes()))
        };
        assert_eq!(tree.content(find("src/lib.rs").unwrap()), b"code");
        assert_eq!(tree.content(find("tests/target/data").unwrap()), b"not Cargo's");
        assert!(find("target/tmp").is_some() && find("fuzz").is_some());
        for gone in [".git", "target/debug", "fuzz/target", "socket"] {
            assert_eq!(find(gone), None, "{gone}");
        }
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
