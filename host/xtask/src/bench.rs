//! `cargo xtask bench`: measures. Nothing here is a test; what a machine was busy with shows in the times.

mod boot;
mod bulk;
mod counts;
mod cpio;
mod hello;
mod http;
mod linux;
mod memory;
mod micro;
mod net;
mod profile;
mod program;
mod scaling;
mod soak;
mod symbols;
mod table;
mod tap;
mod timing;
mod torture;

use anyhow::Result;
use clap::Subcommand;
use qemu::{Machine, Vm};
use std::fs;
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
    Bulk(bulk::Bulk),
    Http(http::Http),
    Micro(micro::Micro),
    Net(net::Net),
    Scaling(scaling::Scaling),
    SoakBoot(soak::SoakBoot),
    SoakTorture(torture::SoakTorture),
    Profile(profile::Profile),
    Tap(tap::TapBench),
    #[command(hide = true)]
    TapPeer(tap::TapPeer),
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        if let Command::TapPeer(command) = self.command {
            return command.run();
        }
        crate::setup::ensure()?;
        match self.command {
            Command::Boot(command) => command.run(),
            Command::Bulk(command) => command.run(),
            Command::Http(command) => command.run(),
            Command::Micro(command) => command.run(),
            Command::Net(command) => command.run(),
            Command::Scaling(command) => command.run(),
            Command::SoakBoot(command) => command.run(),
            Command::SoakTorture(command) => command.run(),
            Command::Profile(command) => command.run(),
            Command::Tap(command) => command.run(),
            Command::TapPeer(_) => unreachable!("above"),
        }
    }
}

/// The machine types that have goals.
const MACHINES: [Machine; 2] = [Machine::Q35, Machine::Microvm];

/// Says so where the host has more to do than it should have for times to mean something.
fn busy_host() -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse::<f64>().ok()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (load > 0.75 * cpus as f64).then(|| format!("the host is busy (load {load} on {cpus} CPUs)"))
}

/// A machine for measurements: TCG everywhere, so that figures compare, and never for ever.
fn machine(image: &Path, machine: Machine) -> Vm {
    let mut vm = Vm::new(image);
    vm.machine = machine;
    vm.timeout = Some(Duration::from_secs(60));
    vm
}
