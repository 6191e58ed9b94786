//! The program that is measured: what `cargo new` gives, as an image and as a plain static Linux program.

use super::program::{Image, TRIPLE, Tool};
use crate::{repo, ui};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What it prints.
pub const TEXT: &str = "Hello, world!";
const NAME: &str = "hello";

/// Which image is measured.
#[derive(clap::Args)]
pub struct Choice {
    /// Take this image, that prints "Hello, world!", instead of building one
    #[arg(long, value_name = "ELF")]
    image: Option<PathBuf>,
    /// The same image with symbols, where it has none
    #[arg(long, value_name = "ELF", requires = "image")]
    symbols: Option<PathBuf>,
}

impl Choice {
    /// The image that was named, or that of the project, built.
    pub fn image(&self) -> Result<Image> {
        match self.named() {
            Some(image) => Ok(image),
            None => Hello::prepare()?.image(),
        }
    }

    /// The image that was named.
    pub fn named(&self) -> Option<Image> {
        let path = self.image.clone()?;
        let with_symbols = self.symbols.clone().unwrap_or_else(|| path.clone());
        Some(Image { path, with_symbols })
    }
}

/// The project, in a folder of the build products.
pub struct Hello {
    folder: PathBuf,
    tool: Tool,
}

impl Hello {
    /// Writes the project and builds the tool.
    pub fn prepare() -> Result<Self> {
        let tool = Tool::build()?;
        let folder = repo::target_dir().join("bench").join(NAME);
        let manifest = format!(
            "[package]\nname = \"{NAME}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\n[workspace]\n"
        );
        write(&folder.join("Cargo.toml"), &manifest)?;
        write(&folder.join("src/main.rs"), &format!("fn main() {{\n    println!(\"{TEXT}\");\n}}\n"))?;
        Ok(Self { folder, tool })
    }

    /// Builds the image by the tool, release profile.
    pub fn image(&self) -> Result<Image> {
        self.tool.image(&self.folder, NAME, &self.folder.join("target"))
    }

    /// Builds the same program as a plain static Linux program, stripped.
    pub fn plain(&self) -> Result<PathBuf> {
        let target = self.folder.join("target/plain");
        let mut cargo = repo::cargo();
        cargo.current_dir(&self.folder).args(["build", "--quiet", "--release", "--target", TRIPLE]);
        cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static");
        ui::run(&mut cargo)?;
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
