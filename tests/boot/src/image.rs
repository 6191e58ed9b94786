//! Programs as images.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::tool;

/// A program that was built as an image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The file that boots, and runs on Linux.
    pub path: PathBuf,
    /// The same with symbols.
    pub with_symbols: PathBuf,
}

impl Image {
    /// A program of `tests/programs`. The first call builds all of them.
    #[track_caller]
    pub fn program(name: &str) -> Self {
        static TARGET_DIR: OnceLock<PathBuf> = OnceLock::new();
        let target_dir = TARGET_DIR.get_or_init(|| {
            let target_dir = tool::target_dir().join("boot-tests");
            let folder = target_dir.to_str().expect("a path of text");
            tool::succeed(&programs(), &["build", "--release", "--target-dir", folder]);
            target_dir
        });
        Self::at(target_dir, "release", name)
    }

    /// What the tool built in a target folder.
    #[track_caller]
    pub fn at(target_dir: &Path, profile: &str, name: &str) -> Self {
        let path = target_dir.join("includeos").join(profile).join(name);
        let with_symbols = target_dir.join("x86_64-unknown-linux-gnu").join(profile).join(name);
        assert!(path.is_file(), "{} was not built", path.display());
        Self { path, with_symbols }
    }

    /// The file's octets, with symbols.
    pub fn read(&self) -> Vec<u8> {
        std::fs::read(&self.with_symbols).expect("Cargo linked it")
    }
}

/// The folder of the programs.
pub fn programs() -> PathBuf {
    tool::repository().join("tests/programs")
}
