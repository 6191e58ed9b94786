//! `cargo xtask bench soak-boot`: many boots in a row without a failure.

use super::hello::{self, Choice};
use super::{MACHINES, machine};
use crate::ui::Reported;
use anyhow::Result;
use qemu::{Outcome, Vm};
use std::time::Instant;

/// Boot many times in a row; show the console of each boot that fails
///
/// The machine types take turns. A boot is good when the program's output is there and its status is 0.
#[derive(clap::Args)]
pub struct SoakBoot {
    /// Boots in all
    #[arg(long, default_value_t = 300)]
    count: u32,
    #[command(flatten)]
    choice: Choice,
}

/// Boots between two lines of progress.
const PROGRESS_EVERY: u32 = 50;

impl SoakBoot {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let image = self.choice.image()?;
        let started = Instant::now();
        let mut failures = 0;
        for (boot, name) in (1..=self.count).zip(MACHINES.into_iter().cycle()) {
            if let Err(report) = boot_once(&machine(&image.path, name)) {
                failures += 1;
                eprintln!("soak-boot: boot {boot}, on {name}: {report}");
            }
            if boot % PROGRESS_EVERY == 0 {
                eprintln!("soak-boot: {boot} of {} boots, {failures} failures", self.count);
            }
        }
        let seconds = started.elapsed().as_secs();
        println!("soak-boot: {} boots in {seconds} s, {failures} failures", self.count);
        if failures == 0 { Ok(()) } else { Err(Reported.into()) }
    }
}

fn boot_once(vm: &Vm) -> Result<(), String> {
    let finished = vm.run().map_err(|error| error.to_string())?;
    let text = finished.text();
    if finished.outcome == Outcome::Exited(0) && text.contains(hello::TEXT) {
        return Ok(());
    }
    Err(format!("{}\nits console:\n{text}", finished.outcome))
}
