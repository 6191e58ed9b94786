//! What the tests of a crate said.

use super::list::Suite;
use super::{Place, folder};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// Tests of a crate, over all its test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The crate's version.
    #[serde(default)]
    pub version: String,
    /// Test programs that were started.
    pub programs: u64,
    /// Test programs that ended with a summary.
    pub ended: u64,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Their names.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Reads what `cargo includeos test` wrote.
    pub fn parse(text: &str) -> Self {
        let mut outcome = Self::default();
        for line in text.lines() {
            if line.trim_start().starts_with("Running ") && line.ends_with(')') {
                outcome.programs += 1;
            } else if let Some(name) =
                line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
            {
                outcome.failures.push(name.to_owned());
            } else if let Some((_, summary)) =
                line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
            {
                outcome.ended += 1;
                for part in summary.split("; ") {
                    match part.trim().split_once(' ') {
                        Some((count, "passed")) => outcome.passed += count.parse::<u64>().unwrap_or(0),
                        Some((count, "failed")) => outcome.failed += count.parse::<u64>().unwrap_or(0),
                        _ => {}
                    }
                }
            }
        }
        outcome
    }

    /// Keeps it for the report.
    pub fn save(&self, suite: &Suite, place: Place) -> Result<()> {
        let path = path(suite, place);
        fs::create_dir_all(path.parent().expect("it is in a folder"))?;
        let text = serde_json::to_string(&Self { version: suite.version.clone(), ..self.clone() })?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// What was kept for this version.
    pub fn load(suite: &Suite, place: Place) -> Option<Self> {
        let text = fs::read_to_string(path(suite, place)).ok()?;
        let outcome: Self = serde_json::from_str(&text).ok()?;
        (outcome.version == suite.version).then_some(outcome)
    }
}

fn path(suite: &Suite, place: Place) -> PathBuf {
    folder().join("results").join(format!("{}.{}.json", suite.name, place.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_are_counted() {
        let text = "     Running unittests src/lib.rs (target/debug/deps/x-1)\nrunning 3 tests\n\
            test a ... ok\ntest b ... FAILED\n---- b stdout ----\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            \x20    Running tests/t.rs (target/debug/deps/t-1)\ntest c ... \n";
        let expected = Outcome {
            programs: 2,
            ended: 1,
            passed: 1,
            failed: 1,
            failures: vec!["b".to_owned()],
            ..Outcome::default()
        };
        assert_eq!(Outcome::parse(text), expected);
    }
}
