//! Linux and images beside each other: the verdict, and docs/suites.md.

use super::Place;
use super::list::{self, Suite};
use super::outcome::Outcome;
use crate::repo;
use anyhow::{Result, ensure};
use std::fmt::Write;
use std::fs;

/// The file, relative to the root.
const FILE: &str = "docs/suites.md";

/// Whether images do as Linux does, and Linux as the list says.
///
/// # Errors
/// What differs.
pub fn compare(suite: &Suite, linux: &Outcome, image: &Outcome) -> Result<()> {
    eprintln!(
        "    Linux: {} passed, {} failed; image: {} passed, {} failed",
        linux.passed, linux.failed, image.passed, image.failed
    );
    ensure!(
        linux.passed == suite.passed && linux.failed == 0,
        "on Linux {} passed and {} failed, {} says {} and 0: {}",
        linux.passed,
        linux.failed,
        list::FILE,
        suite.passed,
        linux.failures.join(", ")
    );
    compare_with_list(suite, image)
}

/// Whether images do as the list says.
///
/// # Errors
/// What differs.
pub fn compare_with_list(suite: &Suite, image: &Outcome) -> Result<()> {
    let expected = suite.passed - suite.left_out_in_images_alone();
    ensure!(
        image.failed == 0 && image.passed == expected,
        "in images {} of {} test programs came to their end, {} tests passed and {} failed, expected {expected} and 0: {}",
        image.ended,
        image.programs,
        image.passed,
        image.failed,
        image.failures.join(", ")
    );
    Ok(())
}

/// Writes docs/suites.md, if there is a result for each suite.
pub fn write(suites: &[Suite]) -> Result<()> {
    let mut rows = String::new();
    let mut left_out = String::new();
    let (mut linux_sum, mut image_sum) = (0, 0);
    for suite in suites {
        let (Some(linux), Some(image)) =
            (Outcome::load(suite, Place::Linux), Outcome::load(suite, Place::Image))
        else {
            eprintln!("suites: no result of {} yet; {FILE} is left as it is", suite.title());
            return Ok(());
        };
        linux_sum += linux.passed;
        image_sum += image.passed;
        let verdict = match compare_with_list(suite, &image) {
            Ok(()) if suite.left_out_in_images_alone() == 0 => "the same".to_owned(),
            Ok(()) => format!("the same but for {} left out", suite.left_out_in_images_alone()),
            Err(_) => format!("**different**: {} failed", linux.passed.saturating_sub(image.passed)),
        };
        writeln!(
            rows,
            "| {} | {} | {} | {} | {} | {verdict} |",
            suite.name, suite.version, suite.about, linux.passed, image.passed
        )?;
        for skip in &suite.skip {
            let place = if skip.everywhere { "also on Linux" } else { "in images" };
            writeln!(left_out, "| {} | `{}` | {place} | {} |", suite.name, skip.test, skip.reason)?;
        }
    }
    let text = format!(
        "# Other people's tests\n\n\
         `cargo xtask suites` runs the tests of well-known crates in images, and the very same test programs as Linux processes\n\
         (`cargo includeos test`, and with `--on-linux`), and writes this page. The crates come from the registry, at these versions, with the lock files they ship; what is expected is\n\
         in [{0}](../{0}). Tests in documentation are not run.\n\n\
         | crate | version | tries | pass on Linux | pass in images | |\n| --- | --- | --- | ---: | ---: | --- |\n{rows}\
         | **{1} crates** | | | **{linux_sum}** | **{image_sum}** | |\n\n\
         Left out, and why:\n\n| crate | test | where | why |\n| --- | --- | --- | --- |\n{left_out}",
        list::FILE,
        suites.len()
    );
    fs::write(repo::root().join(FILE), text)?;
    println!("suites: {FILE} written");
    Ok(())
}
