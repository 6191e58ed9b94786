//! `cargo xtask suites`: the tests of well-known crates, on Linux and in images.

mod list;
mod outcome;
mod report;
mod sources;

use crate::{repo, ui};
use anyhow::{Context, Result, bail};
use list::Suite;
use outcome::Outcome;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Run the tests of well-known crates in images, and compare with Linux
///
/// The crates, their versions and what is expected of them are in tests/suites/list.toml. Each is fetched from the registry;
/// `cargo includeos test` runs its tests as Linux processes and in images. When there is a result for all, docs/suites.md is written.
#[derive(clap::Args)]
pub struct Suites {
    /// Crates to run; without any, all
    names: Vec<String>,
    /// Run only those of the first tier, in images alone, and compare with the counts of the list
    #[arg(long, conflicts_with = "names")]
    first_tier: bool,
    /// Do not run on Linux again what has a result there
    #[arg(long)]
    keep_linux: bool,
}

impl Suites {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        if self.first_tier {
            run_first_tier()?;
            println!("suites: the first tier passed");
            return Ok(());
        }
        let all = list::read()?;
        let chosen: Vec<_> =
            all.iter().filter(|suite| self.names.is_empty() || self.names.contains(&suite.name)).collect();
        if let Some(unknown) = self.names.iter().find(|name| all.iter().all(|suite| suite.name != **name)) {
            bail!("{} has no crate {unknown:?}", list::FILE);
        }
        let tool = build_tool()?;
        let mut steps = ui::Steps::new("suites", chosen.len());
        for suite in chosen {
            steps.run(&suite.title(), || {
                let folder = sources::fetch(suite)?;
                let kept = Outcome::load(suite, Place::Linux).filter(|_| self.keep_linux);
                let linux = kept.map_or_else(|| run_one(suite, &folder, &tool, Place::Linux), Ok)?;
                let image = run_one(suite, &folder, &tool, Place::Image)?;
                report::compare(suite, &linux, &image)
            });
        }
        report::write(&all)?;
        Ok(steps.close()?)
    }
}

/// Runs the suites of the first tier in images, for `ci` as well.
pub fn run_first_tier() -> Result<()> {
    let tool = build_tool()?;
    let mut failed = Vec::new();
    for suite in list::read()?.iter().filter(|suite| suite.first_tier) {
        eprintln!("suites: {}", suite.title());
        let folder = sources::fetch(suite)?;
        let image = run_one(suite, &folder, &tool, Place::Image)?;
        if let Err(error) = report::compare_with_list(suite, &image) {
            eprintln!("suites: {}: {error}", suite.title());
            failed.push(suite.title());
        }
    }
    if !failed.is_empty() {
        bail!("{} differ from the list", failed.join(", "));
    }
    Ok(())
}

/// Everything of this command, in the folder of build products.
fn folder() -> PathBuf {
    repo::target_dir().join("suites")
}

fn build_tool() -> Result<PathBuf> {
    eprintln!("suites: building the tool");
    ui::run(repo::cargo().args(["build", "--quiet", "--package", "cargo-includeos"]))?;
    Ok(repo::target_dir().join("debug/cargo-includeos"))
}

/// Where tests run: the same programs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// As processes here.
    Linux,
    /// In images.
    Image,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Image => "image",
        }
    }
}

/// Runs a crate's tests; what they write goes to a log.
fn run_one(suite: &Suite, folder_of_it: &Path, tool: &Path, place: Place) -> Result<Outcome> {
    let log = folder().join("logs").join(format!("{}.{}", suite.name, place.name()));
    fs::create_dir_all(log.parent().expect("it is in a folder"))?;
    let file = File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(tool);
    command.args(["includeos", "test"]);
    match place {
        Place::Linux => command.arg("--on-linux"),
        Place::Image => command.args(suite.machine()),
    };
    command.current_dir(folder_of_it).args(["--no-fail-fast", "--locked"]);
    command.arg("--target-dir").arg(folder().join("target")).args(suite.selection());
    let left_out = suite.left_out(place == Place::Image);
    if !left_out.is_empty() {
        command.args(["--", "--exact"]).args(left_out.iter().flat_map(|name| ["--skip", name]));
    }
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUST_BACKTRACE", "RUST_LOG"] {
        command.env_remove(name);
    }
    // Reports name functions without it, and building takes half as long.
    command.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_TEST_DEBUG", "0")]);
    let status = command.stdout(file.try_clone()?).stderr(file).status();
    let status = status.with_context(|| repo::describe(&command))?;
    let text = fs::read(&log).with_context(|| log.display().to_string())?;
    let outcome = Outcome::parse(&String::from_utf8_lossy(&text));
    // Cargo's and the tool's status for tests that failed; another one is theirs.
    if !status.success() && (status.code() != Some(101) || outcome.programs == 0) {
        bail!("the tests were not built or did not start, see {}", log.display());
    }
    outcome.save(suite, place)?;
    Ok(outcome)
}
