//! `cargo xtask bench soak-torture`: the program that does everything at once, for long.

use crate::repo;
use crate::ui::{self, Reported};
use anyhow::Result;
use std::process::Command;

/// Run tests/programs' `torture` as an image on several numbers of CPUs, one after the other
///
/// Threads lock, wait, send, map and unmap, raise signals, sleep, come, go and panic, and check what they see.
#[derive(clap::Args)]
pub struct SoakTorture {
    /// Seconds for each run
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Numbers of CPUs
    #[arg(long, value_delimiter = ',', default_value = "1,2,8")]
    cpus: Vec<u32>,
    /// Threads of the program
    #[arg(long, default_value_t = 64)]
    threads: u32,
    /// More options for `cargo includeos run`, as one word
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    run: String,
}

impl SoakTorture {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "cargo-includeos"]))?;
        let mut failures = 0;
        for &cpus in &self.cpus {
            eprintln!("soak-torture: {cpus} CPUs for {} s", self.seconds);
            if !self.run_on(cpus)? {
                failures += 1;
                eprintln!("soak-torture: failed on {cpus} CPUs");
            }
        }
        println!("soak-torture: {} runs of {} s, {failures} failures", self.cpus.len(), self.seconds);
        if failures == 0 { Ok(()) } else { Err(Reported.into()) }
    }

    fn run_on(&self, cpus: u32) -> Result<bool> {
        let (cpus, timeout) = (cpus.to_string(), (self.seconds + 300).to_string());
        let mut tool = Command::new(repo::target_dir().join("release/cargo-includeos"));
        tool.args(["includeos", "run", "--quiet", "--release", "--bin", "torture", "-m", "256M"]);
        tool.args(["--cpus", &cpus, "--timeout", &timeout]).args(self.run.split_whitespace());
        tool.args(["--", &self.seconds.to_string(), &self.threads.to_string()]);
        tool.current_dir(repo::root().join("tests/programs"));
        Ok(tool.env("CARGO_TARGET_DIR", repo::target_dir().join("boot-tests")).status()?.success())
    }
}
