//! The crates: tests/suites/list.toml.

use crate::repo;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;

/// The file, relative to the root.
pub const FILE: &str = "tests/suites/list.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    suite: Vec<Suite>,
}

/// A crate whose tests are run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// Name in the registry.
    pub name: String,
    /// The one version.
    pub version: String,
    /// What of the operating system it tries, in a few words.
    pub about: String,
    /// Features beside the default ones.
    #[serde(default)]
    pub features: Vec<String>,
    /// Which tests, as options of `cargo test`. Default: all but those in documentation.
    pub targets: Option<Vec<String>>,
    /// Whether it is built with optimisations.
    #[serde(default)]
    pub release: bool,
    /// Whether it is run for each change.
    #[serde(default)]
    pub first_tier: bool,
    /// Options for the machine.
    #[serde(default)]
    pub machine: Vec<String>,
    /// Tests that pass on Linux.
    pub passed: u64,
    /// Tests that are left out.
    #[serde(default)]
    pub skip: Vec<Skip>,
}

/// A test that is left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Its name.
    pub test: String,
    /// Why.
    pub reason: String,
    /// Whether it is left out on Linux, too.
    #[serde(default)]
    pub everywhere: bool,
}

/// Reads the list.
///
/// # Errors
/// The file is not there or malformed.
pub fn read() -> Result<Vec<Suite>> {
    let text = fs::read_to_string(repo::root().join(FILE)).context(FILE)?;
    let list: List = toml::from_str(&text).context(FILE)?;
    Ok(list.suite)
}

impl Suite {
    /// Name and version.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Options for Cargo: which tests, and how they are built.
    pub fn selection(&self) -> Vec<String> {
        let mut options = self.targets.clone().unwrap_or_else(|| vec!["--tests".to_owned()]);
        options.extend(self.features.iter().flat_map(|name| ["--features".to_owned(), name.clone()]));
        options.extend(self.release.then(|| "--release".to_owned()));
        options
    }

    /// Options for the machine. An image that hangs ends after three minutes.
    pub fn machine(&self) -> Vec<String> {
        [&["--timeout".to_owned(), "180".to_owned()], self.machine.as_slice()].concat()
    }

    /// Names of the tests that are left out in images, or on Linux.
    pub fn left_out(&self, in_image: bool) -> Vec<&str> {
        let here = self.skip.iter().filter(|skip| in_image || skip.everywhere);
        here.map(|skip| skip.test.as_str()).collect()
    }

    /// Number of tests that Linux runs and images do not.
    pub fn left_out_in_images_alone(&self) -> u64 {
        self.skip.iter().filter(|skip| !skip.everywhere).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sound() {
        let list = read().unwrap();
        assert!(!list.is_empty());
        assert_eq!(list.iter().filter(|suite| suite.first_tier).count(), 6);
        let mut names: Vec<_> = list.iter().map(|suite| &suite.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), list.len(), "each crate once");
        for suite in &list {
            assert!(suite.skip.iter().all(|skip| !skip.reason.is_empty()), "{}", suite.name);
        }
    }
}
