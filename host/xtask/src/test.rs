//! `cargo xtask test`: passes all tests.

use crate::{models, repo, setup, suites, tidy, ui};
use anyhow::{Result, bail};
use std::fmt;
use std::path::PathBuf;

/// Run all checks and tests
///
/// Formatting, lints, the checks of `tidy`, the models of loom, the tests of all crates, those that boot images under QEMU among
/// them, then the first tier of `suites`. Installs first what is missing, as `setup` does. A failed step does not keep the next from running.
#[derive(clap::Args)]
pub struct Test {}

impl Test {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        setup::ensure()?;
        let mut steps = ui::Steps::new("test", STEPS);
        let tally = run_steps(&mut steps);
        let result = steps.close();
        println!("{tally}");
        Ok(result?)
    }
}

/// Number of steps of [`run_steps`].
pub const STEPS: usize = 7;

/// Runs the steps, for `ci` as well. The sum, to be printed last, counts each check as one test.
pub fn run_steps(steps: &mut ui::Steps) -> Tally {
    let mut tally = Tally::default();
    tally.count(steps.run("format", check_format));
    tally.count(steps.run("lints", || {
        let mut cargo = repo::cargo();
        ui::run(cargo.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    }));
    tally.count(steps.run("lints of the object", || {
        let mut cargo = repo::cargo();
        cargo.args(["clippy", "--quiet", "--package", "includeos-object", "--profile", "object"]);
        cargo.arg("--target-dir").arg(repo::target_dir().join("lints-object"));
        ui::run(cargo.args(["--", "-D", "warnings"]).env("RUSTFLAGS", "--cfg=includeos_metal"))
    }));
    tally.count(steps.run("tidy", tidy::check));
    tally.count(steps.run("models", models::run_loom));
    let mut tests = Tally::default();
    let result = steps.run("tests", || {
        let mut cargo = repo::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        let ok = ui::run_watched(&mut cargo, |line| tests.add(line))?;
        match (ok, tests.failed) {
            (true, _) => Ok(()),
            (false, 0) => bail!("a test program was not built or did not run to its end, see above"),
            (false, 1) => bail!("a test failed, see above"),
            (false, n) => bail!("{n} tests failed, see above"),
        }
    });
    if result.is_none() && tests.failed == 0 {
        tests.failed = 1;
    }
    tally.count(steps.run("suites", suites::run_first_tier));
    Tally { passed: tally.passed + tests.passed, failed: tally.failed + tests.failed }
}

/// The workspace, and the examples and test programs, which are projects of their own.
fn check_format() -> Result<()> {
    let mut folders = vec![repo::root()];
    let is_apart = |path: &&PathBuf| {
        (path.starts_with("examples") || path.starts_with("tests/programs")) && path.ends_with("Cargo.toml")
    };
    folders.extend(
        repo::files()?.iter().filter(is_apart).map(|path| repo::root().join(path).with_file_name("")),
    );
    for folder in folders {
        ui::run(repo::cargo().args(["fmt", "--all", "--check"]).current_dir(folder))?;
    }
    Ok(())
}

/// Tests that ran, summed over test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Tally {
    /// Adds a check that passed, or failed.
    pub fn count<T>(&mut self, result: Option<T>) {
        match result {
            Some(_) => self.passed += 1,
            None => self.failed += 1,
        }
    }

    /// Adds what a line of `cargo test` says, if it is a summary.
    fn add(&mut self, line: &str) {
        let Some((_, summary)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in summary.split("; ") {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse::<u64>().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests\n",
            "test a ... ok\n",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
            "a program prints: test result: none\n",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 4, failed: 2 });
    }
}
