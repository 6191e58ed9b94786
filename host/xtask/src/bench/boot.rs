//! `cargo xtask bench boot`: what a boot costs, against the goals.

use super::counts::{Counter, Counts};
use super::hello::{self, Choice, Hello};
use super::program::Image;
use super::symbols::Symbols;
use super::table::{Row, Table, Unit};
use super::timing::{Subject, Summary, in_turns};
use super::{MACHINES, busy_host, machine, memory};
use crate::{repo, setup};
use anyhow::{Context, Result};
use qemu::{Machine, floor};
use std::fs;
use std::path::{Path, PathBuf};

/// Measure what a boot costs: time above the floor, instructions to main, sizes, least memory
///
/// The program is what `cargo new` gives, release profile, under TCG. The floor is a kernel that prints one letter: what
/// the machine itself takes. Times are medians over turns floor, program, floor, program ...; the spread is the
/// middle half.
#[derive(clap::Args)]
pub struct Boot {
    /// Turns for the times
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(9..))]
    runs: u16,
    /// Also write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
}

/// Milliseconds above the floor.
const GOAL_MS: f64 = 10.0;
/// Guest instructions from the PVH entry to `main`.
const GOAL_INSTRUCTIONS: f64 = 600_000.0;
/// Device accesses from the PVH entry to `main`, on microvm.
const GOAL_DEVICE_ACCESSES: f64 = 400.0;
/// Octets that the image has more than the same program as a plain static Linux program.
const GOAL_BYTES: f64 = 60_000.0;
/// Memory of the machine.
const GOAL_MIB: f64 = 3.0;
/// Counts hardly differ from run to run; as many runs show it.
const COUNT_RUNS: usize = 3;

impl Boot {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let mut table = Table::default();
        let image = match self.choice.named() {
            Some(image) => image,
            None => {
                let hello = Hello::prepare()?;
                let image = hello.image()?;
                sizes(&image, &hello.plain()?, &mut table)?;
                image
            }
        };
        times(&image, self.runs.into(), &mut table)?;
        counts(&image, &mut table)?;
        for name in MACHINES {
            eprintln!("bench: least memory on {name}");
            let least = memory::least_mib(&machine(&image.path, name), hello::TEXT)?;
            table.rows.push(Row::new(
                format!("hello: least memory, {name}"),
                Unit::Mib,
                Some(GOAL_MIB),
                least.into(),
            ));
        }
        if let Some((major, minor)) = setup::qemu_version() {
            table
                .notes
                .push(format!("QEMU {major}.{minor}, TCG, one CPU, -cpu max; times: {} turns", self.runs));
        }
        if let Some(load) = busy_host() {
            table.notes.push(format!("{load}: of the times, only the CPU times mean something"));
        }
        table.notes.push("not measured yet: no_std hello".to_owned());

        println!("{table}");
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&table)? + "\n";
            fs::write(path, json).with_context(|| path.display().to_string())?;
        }
        let missed = table.rows.iter().filter(|row| row.met == Some(false)).count();
        let goals = table.rows.iter().filter(|row| row.met.is_some()).count();
        println!("bench boot: {} of {goals} goals met", goals - missed);
        Ok(())
    }
}

fn sizes(image: &Image, plain: &Path, table: &mut Table) -> Result<()> {
    let size = |path: &Path| -> Result<f64> {
        Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len() as f64)
    };
    let (image, plain) = (size(&image.path)?, size(plain)?);
    let more = Row::new("hello: size above the plain program", Unit::Bytes, Some(GOAL_BYTES), image - plain);
    table.rows.push(more);
    table.rows.push(Row::new("hello: size of the image", Unit::Bytes, None, image));
    Ok(())
}

fn times(image: &Image, runs: usize, table: &mut Table) -> Result<()> {
    let floor_image = repo::target_dir().join("bench/floor");
    fs::create_dir_all(floor_image.parent().expect("a file in a folder"))?;
    floor::write(&floor_image)?;
    let letter = char::from(floor::LETTER).to_string();
    for name in MACHINES {
        eprintln!("bench: {runs} turns on {name}");
        let (floor_vm, vm) = (machine(&floor_image, name), machine(&image.path, name));
        let floor = Subject { vm: &floor_vm, text: &letter };
        let (wall, cpu) = in_turns(&floor, &Subject { vm: &vm, text: hello::TEXT }, runs)?;
        let mut row = |what: &str, goal: Option<f64>, summary: Summary| {
            let row = Row::new(format!("{what}, {name}"), Unit::Ms, goal, summary.median);
            table.rows.push(row.with_spread(summary.low, summary.high));
        };
        row("hello: time above the floor", Some(GOAL_MS), wall.above);
        row("hello: CPU time above the floor", None, cpu.above);
        row("the floor: time", None, wall.floor);
    }
    Ok(())
}

fn counts(image: &Image, table: &mut Table) -> Result<()> {
    let counter = Counter::build()?;
    let symbols = Symbols::read(&image.with_symbols)?;
    for name in MACHINES {
        eprintln!("bench: counting from PVH entry to main on {name}");
        let vm = machine(&image.path, name);
        let runs =
            (0..COUNT_RUNS).map(|_| counter.entry_to_main(&vm, &symbols)).collect::<Result<Vec<_>>>()?;
        let mut row = |column: &str, goal: Option<f64>, value: fn(&Counts) -> u64| {
            let summary = Summary::of(runs.iter().map(|counts| value(counts) as f64).collect());
            let row = Row::new(format!("entry to main: {column}, {name}"), Unit::Count, goal, summary.median);
            table.rows.push(row.with_spread(summary.low, summary.high));
        };
        let device_goal = (name == Machine::Microvm).then_some(GOAL_DEVICE_ACCESSES);
        row("instructions", Some(GOAL_INSTRUCTIONS), |counts| counts.instructions);
        row("string bytes", None, |counts| counts.string_bytes);
        row("device accesses", device_goal, |counts| counts.device_accesses);
        row("blocks translated", None, |counts| counts.blocks);
    }
    Ok(())
}
