//! `cargo xtask bench scaling`: what a second CPU gives a program that computes.

use super::busy_host;
use super::linux::Linux;
use super::program::Tool;
use super::table::{aligned, thousands};
use super::timing::Summary;
use crate::repo;
use anyhow::{Context, Result, bail};
use qemu::{Machine, Vm};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Measure what a second CPU gives a program that computes: rayon's sort, one CPU against two
///
/// Times by the host's clock from one line on the console to another, under TCG, one and two CPUs in turns, in the image and
/// for the same file in a Linux guest. Each CPU is a thread of QEMU, so the host needs two free ones.
#[derive(clap::Args)]
pub struct Scaling {
    /// Turns
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Numbers to sort
    #[arg(long, default_value_t = 2 << 20)]
    numbers: u32,
    /// Measure in the image alone
    #[arg(long)]
    no_linux: bool,
}

const PROGRAM: &str = "parallel-sort";
/// Lines of the program at which the clock starts and stops.
const START: &str = "sorting\n";
const END: &str = "sorted, ";
const GOAL: f64 = 1.8;

impl Scaling {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let folder = repo::root().join("examples").join(PROGRAM);
        let image =
            Tool::build()?.image(&folder, PROGRAM, &repo::target_dir().join("bench").join(PROGRAM))?;
        let args = vec![self.numbers.to_string()];
        let mut in_image = Vm::new(&image.path);
        in_image.settings.args = args.clone();
        let mut systems = vec![("the image", in_image)];
        if !self.no_linux {
            systems.push(("Linux", Linux::prepare()?.guest(&image.path, &args)?));
        }
        // Read before our own load shows in it.
        let busy = busy_host();
        let mut times = vec![[Vec::new(), Vec::new()]; systems.len()];
        for turn in 1..=self.runs {
            eprintln!("bench: turn {turn} of {}", self.runs);
            for ((name, vm), times) in systems.iter().zip(&mut times) {
                for (cpus, times) in [1, 2].into_iter().zip(times) {
                    times.push(time(vm, cpus).with_context(|| format!("{name}, CPUs: {cpus}"))?);
                }
            }
        }
        let header = ["system", "1 CPU", "2 CPUs", "ratio", "goal", "met", "spread"];
        let rows = systems.iter().zip(&times).map(|((name, _), times)| row(name, times));
        println!("{}", aligned(header.map(str::to_owned), rows));
        println!(
            "TCG, q35, {} numbers; medians of {} turns; spread: the middle half of the turns' ratios",
            thousands(self.numbers.into()),
            self.runs
        );
        if let Some(load) = busy {
            println!("{load}: the ratios say little, two CPUs have no host CPU each");
        }
        Ok(())
    }
}

fn row(name: &str, [one, two]: &[Vec<f64>; 2]) -> [String; 7] {
    let ratios = Summary::of(one.iter().zip(two).map(|(one, two)| one / two).collect());
    let ms = |times: &[f64]| format!("{} ms", thousands(Summary::of(times.to_vec()).median));
    [
        name.to_owned(),
        ms(one),
        ms(two),
        format!("{:.2}", ratios.median),
        format!(">= {GOAL}"),
        (if ratios.median >= GOAL { "yes" } else { "NO" }).to_owned(),
        format!("{:.2} .. {:.2}", ratios.low, ratios.high),
    ]
}

/// Milliseconds that the program computes.
fn time(vm: &Vm, cpus: u32) -> Result<f64> {
    let mut vm = vm.clone();
    vm.machine = Machine::Q35;
    vm.cpus = cpus;
    vm.memory_mib = 256;
    vm.timeout = Some(Duration::from_secs(120));
    let (mut console, mut started, mut ended) = (String::new(), None, None);
    let outcome = vm.start()?.pump(|octets| {
        console += &String::from_utf8_lossy(octets).replace('\r', "");
        let now = Instant::now();
        if started.is_none() && console.contains(START) {
            started = Some(now);
        }
        if console.contains(END) {
            ended = Some(now);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    match (started, ended) {
        (Some(started), Some(ended)) => Ok((ended - started).as_secs_f64() * 1e3),
        _ => bail!("the program did not get to its end: {outcome}\nits console:\n{console}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_turns() {
        let cells = row("x", &[vec![100.0, 300.0, 200.0], vec![50.0, 100.0, 100.0]]);
        assert_eq!(cells, ["x", "200 ms", "100 ms", "2.00", ">= 1.8", "yes", "2.00 .. 2.50"]);
    }
}
