//! The program that is measured: what `cargo new` gives, as an image and as a plain static Linux program.

use crate::{repo, ui};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it prints.
pub const TEXT: &str = "Hello, world!";
const NAME: &str = "hello";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The project, in a folder of the build products.
pub struct Hello {
    folder: PathBuf,
    tool: PathBuf,
}

impl Hello {
    /// Writes the project and builds the tool.
    pub fn prepare() -> Result<Self> {
        ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "cargo-includeos"]))?;
        let folder = repo::target_dir().join("bench").join(NAME);
        let manifest = format!(
            "[package]\nname = \"{NAME}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\n[workspace]\n"
        );
        write(&folder.join("Cargo.toml"), &manifest)?;
        write(&folder.join("src/main.rs"), &format!("fn main() {{\n    println!(\"{TEXT}\");\n}}\n"))?;
        Ok(Self { folder, tool: repo::target_dir().join("release/cargo-includeos") })
    }

    /// Builds the image, release profile, with its symbols.
    pub fn image(&self) -> Result<PathBuf> {
        self.build_image("symbols", &[])
    }

    /// Sizes in octets of the stripped image, and of the same program as a plain static Linux program, stripped.
    pub fn stripped_sizes(&self) -> Result<(u64, u64)> {
        let strip = ("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        let image = self.build_image("stripped", &[strip])?;
        let target = self.folder.join("target/plain");
        let mut cargo = repo::cargo();
        cargo.current_dir(&self.folder).args(["build", "--quiet", "--release", "--target", TRIPLE]);
        cargo.env("CARGO_TARGET_DIR", &target).env(strip.0, strip.1);
        cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static");
        ui::run(&mut cargo)?;
        let plain = target.join(TRIPLE).join("release").join(NAME);
        Ok((size(&image)?, size(&plain)?))
    }

    /// Builds by the tool, into a folder of its own so that settings do not rebuild each other's products.
    fn build_image(&self, folder: &str, env: &[(&str, &str)]) -> Result<PathBuf> {
        let target = self.folder.join("target").join(folder);
        let mut tool = Command::new(&self.tool);
        tool.args(["includeos", "build", "--release"]).current_dir(&self.folder);
        tool.env("CARGO_TARGET_DIR", &target).envs(env.iter().copied());
        repo::output(&mut tool)?;
        Ok(target.join(TRIPLE).join("release").join(NAME))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    // What is there already keeps its time, so that cargo has nothing to do.
    if fs::read_to_string(path).is_ok_and(|current| current == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().expect("a file in a folder"))?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}
