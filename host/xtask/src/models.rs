//! `cargo xtask models`: checks what tests on one machine cannot show.

use crate::{repo, ui};
use anyhow::Result;
use std::process::{Command, Stdio};

/// Run the lock-free protocols in every order, and unsafe code under Miri
///
/// loom runs the models of `lib/sync` (`test` does that, too); Miri runs the tests of the crates of `lib/` that have unsafe
/// code, if the nightly tool-chain has it. Says what it skipped.
#[derive(clap::Args)]
pub struct Models {}

/// The crates of `lib/` that have unsafe code.
const UNSAFE_PACKAGES: [&str; 3] = ["includeos-frame", "includeos-heap", "includeos-sync"];

impl Models {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let has_miri = has_miri();
        let packages = UNSAFE_PACKAGES.iter().filter(|_| has_miri);
        let mut steps = ui::Steps::new("models", 1 + packages.clone().count());
        steps.run("loom", run_loom);
        for package in packages {
            steps.run(&format!("Miri, {package}"), || ui::run(&mut miri_test(package)));
        }
        let result = steps.close();
        if !has_miri {
            println!(
                "Miri: SKIPPED, it is not installed: rustup toolchain install nightly -c miri -c rust-src"
            );
        }
        Ok(result?)
    }
}

/// Runs the models of `lib/sync`, in a folder of build products of their own, as all crates are built for it.
pub fn run_loom() -> Result<()> {
    let mut cargo = repo::cargo();
    cargo.args(["test", "--quiet", "--release", "--package", "includeos-sync", "--test", "loom"]);
    cargo.arg("--target-dir").arg(repo::target_dir().join("loom"));
    ui::run(cargo.env("RUSTFLAGS", "--cfg=loom"))
}

fn miri_test(package: &str) -> Command {
    let mut command = miri();
    command.args(["test", "--package", package]);
    if package == "includeos-heap" {
        // The storage of a zone of frames is there for ever: its tests leak it.
        command.env("MIRIFLAGS", "-Zmiri-ignore-leaks");
    }
    command
}

fn has_miri() -> bool {
    let mut miri = miri();
    miri.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    miri.status().is_ok_and(|status| status.success())
}

/// Miri, of the nightly tool-chain: there is none for stable.
fn miri() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(repo::root()).args(["run", "nightly", "cargo", "miri"]);
    // Set by the stable cargo that runs this command.
    for name in ["CARGO", "RUSTC", "RUSTFLAGS"] {
        rustup.env_remove(name);
    }
    rustup
}
