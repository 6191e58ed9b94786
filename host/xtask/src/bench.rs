//! `cargo xtask bench`: measures. Nothing here is a test; what a machine was busy with shows in the times.

mod boot;
mod counts;
mod cpio;
mod hello;
mod linux;
mod memory;
mod micro;
mod profile;
mod program;
mod soak;
mod symbols;
mod table;
mod timing;

use anyhow::Result;
use clap::Subcommand;
use qemu::{Machine, Vm};
use std::path::Path;
use std::time::Duration;

/// Measure, and compare with the goals
#[derive(clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Boot(boot::Boot),
    Micro(micro::Micro),
    SoakBoot(soak::SoakBoot),
    Profile(profile::Profile),
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        crate::setup::ensure()?;
        match self.command {
            Command::Boot(command) => command.run(),
            Command::Micro(command) => command.run(),
            Command::SoakBoot(command) => command.run(),
            Command::Profile(command) => command.run(),
        }
    }
}

/// The machine types that have goals.
const MACHINES: [Machine; 2] = [Machine::Q35, Machine::Microvm];

/// A machine for measurements: TCG everywhere, so that figures compare, and never for ever.
fn machine(image: &Path, machine: Machine) -> Vm {
    let mut vm = Vm::new(image);
    vm.machine = machine;
    vm.timeout = Some(Duration::from_secs(60));
    vm
}
