//! `cargo xtask ci`: what has to hold before a change is merged.

use crate::{demo, repo, setup, test, ui};
use anyhow::Result;

/// Run what has to hold before a change is merged
///
/// Everything of `test`; also that Cargo.lock is complete and that `demo` works.
#[derive(clap::Args)]
pub struct Ci {}

impl Ci {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        setup::ensure()?;
        let mut steps = ui::Steps::new("ci", test::STEPS + 2);
        let lock = steps.run("lock file", || {
            let mut cargo = repo::cargo();
            repo::output(cargo.args(["metadata", "--locked", "--format-version", "1"]))
        });
        let mut tally = test::run_steps(&mut steps);
        tally.count(lock);
        tally.count(steps.run("demo", demo::show));
        let result = steps.close();
        println!("{tally}");
        Ok(result?)
    }
}
