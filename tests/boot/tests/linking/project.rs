//! A Cargo project in a temporary folder.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, linux, tool};
use tempfile::TempDir;

/// A project with one program. Its folder goes with it.
pub struct Project {
    folder: TempDir,
    name: &'static str,
}

impl Project {
    /// `cargo init`, then `manifest` at the end of Cargo.toml, and `main` as src/main.rs.
    #[track_caller]
    pub fn new(name: &'static str, manifest: &str, main: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut init = Command::new(env!("CARGO"));
        init.args(["init", "--quiet", "--vcs", "none", "--name", name]).current_dir(folder.path());
        assert!(init.status().expect("Cargo runs this test").success());
        let project = Self { folder, name };
        let path = project.folder.path().join("Cargo.toml");
        let mut text = fs::read_to_string(&path).expect("Cargo wrote it");
        // Cargo's own ends with an empty table of dependencies.
        if manifest.starts_with("[dependencies]") {
            text = text.replace("[dependencies]\n", "");
        }
        project.write("Cargo.toml", &format!("{text}\n{manifest}"));
        project.write("src/main.rs", main);
        project
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }

    /// Builds the project, boots it, runs it on Linux: both print `stdout` and end with `status`.
    #[track_caller]
    pub fn same_as_on_linux(&self, profile: &str, args: &[&str], status: u8, stdout: &str) {
        let image = self.image(profile);
        assert_eq!(linux::run(&image, args, &[]), (stdout.to_owned(), status));
        everywhere(&Boot::new(&image).args(args), status, |ended| assert_eq!(ended.programs(), stdout));
    }

    /// Builds the project.
    #[track_caller]
    pub fn image(&self, profile: &str) -> Image {
        let folder = self.folder.path();
        tool::succeed(folder, &["build", "--quiet", "--profile", profile]);
        let profile = if profile == "dev" { "debug" } else { profile };
        Image::at(&folder.join("target"), profile, self.name)
    }
}

impl Project {
    /// Builds the project as a static Linux program without symbols, by Cargo alone.
    #[track_caller]
    pub fn plain(&self, profile: &str) -> PathBuf {
        const TARGET: &str = "x86_64-unknown-linux-gnu";
        let target = self.folder.path().join("plain");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--profile", profile, "--target", TARGET, "--target-dir"])
            .arg(&target);
        cargo.current_dir(self.folder.path()).env_remove("CARGO_ENCODED_RUSTFLAGS");
        let flags = "-Ctarget-feature=+crt-static -Crelocation-model=static -Cforce-frame-pointers=yes -Cstrip=symbols";
        assert!(cargo.env("RUSTFLAGS", flags).status().expect("Cargo runs this test").success());
        target.join(TARGET).join(profile).join(self.name)
    }
}

/// The name by which rustup knows the tool-chain that runs this test; without rustup the file is not read.
pub fn channel() -> String {
    let named = std::env::var("RUSTUP_TOOLCHAIN").ok();
    named.unwrap_or_else(|| "stable".to_owned())
}
