//! `cargo xtask bench micro`: what single operations cost, in an image and in a Linux guest.

use super::counts::{Counter, Counts};
use super::linux::Linux;
use super::program::{Image, Tool};
use super::symbols::Symbols;
use super::table::{aligned, thousands};
use super::timing::Summary;
use super::{machine, profile};
use crate::{repo, setup};
use anyhow::{Context, Result, bail};
use qemu::{Machine, Vm};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Count what single operations cost, in an image and, for the same file, in a Linux guest
///
/// Guest instructions, octets moved by string instructions, and device accesses of one operation, all executed by all
/// CPUs, an empty loop subtracted: medians over seven stretches of many operations each. Both run on the same QEMU
/// machine. The Linux kernel is Debian's for clouds, downloaded by apt-get into the folder of build products.
#[derive(clap::Args)]
#[command(after_help = help())]
pub struct Micro {
    /// Cases to run; all of them without
    #[arg(value_name = "CASE", value_parser = CASES.map(|case| case.name))]
    cases: Vec<String>,
    /// Count in the image alone
    #[arg(long)]
    no_linux: bool,
    /// Instead, show which functions of the image the case's instructions belong to
    #[arg(long, requires = "cases")]
    profile: bool,
    /// With --profile, functions to show, the most expensive first
    #[arg(long, default_value_t = 30)]
    top: usize,
    /// Also write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// An operation of `tests/programs/src/bin/micro.rs`.
struct Case {
    name: &'static str,
    what: &'static str,
    cpus: u32,
    /// Instructions in the prototype that this system was designed by, where it was measured.
    prototype: Option<u32>,
}

const fn case(name: &'static str, what: &'static str, prototype: Option<u32>) -> Case {
    Case { name, what, cpus: 1, prototype }
}

const CASES: [Case; 23] = [
    case("getpid", "system call getpid", Some(11)),
    case("getppid", "system call getppid", Some(133)),
    case("clock-call", "system call clock_gettime", None),
    case("instant", "Instant::now", Some(54)),
    case("box", "Box of 64 octets, made and dropped", Some(251)),
    case("vec", "Vec pushed to 1024 numbers", None),
    case("mutex", "Mutex, locked and unlocked", None),
    case("mutex-contended", "Mutex that another thread waits for", None),
    case("switch", "thread switch, there and back", Some(2_310)),
    case("condvar", "Condvar, there and back", None),
    case("channel", "channel, there and back", Some(5_580)),
    case("futex-wake", "futex wake, nobody waits", None),
    case("spawn", "thread, spawned and joined", Some(13_600)),
    case("sleep-0", "nanosleep 0", None),
    case("sleep-1us", "nanosleep 1 us", None),
    case("map-page", "mmap, touch, munmap 1 page", None),
    case("map-mib", "mmap, touch, munmap 1 MiB", None),
    case("page-fault", "first touch of a page", None),
    case("mprotect", "mprotect of a page, there and back", None),
    case("signal", "signal to oneself, with handler", None),
    case("sigprocmask", "system call rt_sigprocmask", None),
    Case { name: "wake-across", what: "2 CPUs: futex wake, there and back", cpus: 2, prototype: None },
    Case { name: "shoot-down", what: "2 CPUs: map-page, the other CPU runs", cpus: 2, prototype: None },
];

/// What the others are measured above.
const EMPTY: &str = "empty";
/// Copies by `rep movsb` are far slower than others under TCG, and the first two bits advertise them. Without x2APIC the interrupt
/// controller is in memory for both, where its accesses are counted: Linux would not use the MSRs here.
const CPU: &str = "max,-erms,-fsrm,-x2apic";
/// Enough for the Linux guest.
const MEMORY_MIB: u32 = 256;
/// Booting Linux takes most of it: each memory access is looked at.
const TIMEOUT: Duration = Duration::from_secs(300);

fn help() -> String {
    let case = |case: &Case| format!("  {:<16} {}\n", case.name, case.what);
    format!("Cases:\n{}", CASES.iter().map(case).collect::<String>())
}

/// The columns, for one operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    pub(super) string_bytes: f64,
    pub(super) device_accesses: f64,
}

/// A row of the result.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    what: &'static str,
    image: Cost,
    linux: Option<Cost>,
    prototype_instructions: Option<u32>,
}

impl Micro {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let folder = repo::target_dir().join("bench/programs");
        let image = Tool::build()?.image(&repo::root().join("tests/programs"), "micro", &folder)?;
        let counter = Counter::build()?;
        if self.profile {
            return self.show_profile(&counter, &image);
        }
        let linux = if self.no_linux { None } else { Some(Linux::prepare()?) };
        let mut rows = Vec::new();
        for cpus in [1, 2] {
            let cases =
                CASES.iter().filter(|case| case.cpus == cpus && self.is_chosen(case)).collect::<Vec<_>>();
            if cases.is_empty() {
                continue;
            }
            let names = [EMPTY].into_iter().chain(cases.iter().map(|case| case.name));
            let args = names.map(str::to_owned).collect::<Vec<_>>();
            let in_image = run(&counter, image_vm(&image, &args), cpus, "the image")?;
            let in_linux = match &linux {
                Some(linux) => {
                    Some(run(&counter, linux.guest(&image.path, &args)?, cpus, "the Linux guest")?)
                }
                None => None,
            };
            rows.extend(cases.into_iter().map(|case| Row {
                case: case.name,
                what: case.what,
                image: in_image[case.name],
                linux: in_linux.as_ref().map(|costs| costs[case.name]),
                prototype_instructions: case.prototype,
            }));
        }
        self.report(&rows, linux.as_ref())
    }

    fn is_chosen(&self, case: &Case) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case.name)
    }

    fn show_profile(&self, counter: &Counter, image: &Image) -> Result<()> {
        let symbols = Symbols::read(&image.with_symbols)?;
        for case in CASES.iter().filter(|case| self.is_chosen(case)) {
            let mut vm = image_vm(image, &[case.name.to_owned()]);
            vm.cpus = case.cpus;
            let section = counter.section_histogram(&vm)?;
            let operations = section.told.lines().find_map(|line| Section::parse(line)?.operations.into());
            let operations = operations.with_context(|| format!("no section of {}", case.name))?;
            profile::show(&section.histogram, &symbols, &format!("of {}", case.what), operations, self.top)?;
        }
        Ok(())
    }

    fn report(&self, rows: &[Row], linux: Option<&Linux>) -> Result<()> {
        let header = [
            "of one operation",
            "instructions",
            "Linux",
            "ratio",
            "prototype",
            "string bytes",
            "Linux",
            "device accesses",
            "Linux",
        ];
        println!("{}", aligned(header.map(str::to_owned), rows.iter().map(cells)));
        let version =
            setup::qemu_version().map_or_else(String::new, |(major, minor)| format!(" {major}.{minor}"));
        println!(
            "QEMU{version}, TCG, q35, -cpu {CPU}, {MEMORY_MIB} MiB; ratio: Linux's instructions to ours"
        );
        if let Some(linux) = linux {
            println!(
                "Linux {}, clearcpuid=rep_good mitigations=off tsc=reliable, the same file as init",
                linux.name
            );
        }
        println!("prototype: getpid by a path in assembly; Box is glibc's share alone");
        println!(
            "2 CPUs: they wait for each other by the clock, so instructions of waiting are in the counts"
        );
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(rows)? + "\n";
            fs::write(path, json).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn image_vm(image: &Image, args: &[String]) -> Vm {
    let mut vm = machine(&image.path, Machine::Q35);
    vm.settings.args = args.to_vec();
    vm.cpu = CPU.to_owned();
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm
}

/// Counts all sections on one machine; the costs by case, those of the empty loop subtracted.
fn run(counter: &Counter, mut vm: Vm, cpus: u32, who: &str) -> Result<BTreeMap<String, Cost>> {
    vm.cpus = cpus;
    vm.cpu = CPU.to_owned();
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    eprintln!("bench: counting in {who}, CPUs: {cpus}");
    let (counts, told) = counter.sections(&vm)?;
    for note in told.lines().filter_map(|line| line.strip_prefix("note ")) {
        eprintln!("bench: {who}: {}", note.trim_end());
    }
    costs(&told, &counts).with_context(|| format!("{who}: {told}"))
}

/// A line of the program: `section CASE OPERATIONS DISCOUNT`.
#[derive(Debug, PartialEq, Eq)]
struct Section<'a> {
    case: &'a str,
    operations: u64,
    /// Instructions that do not belong to the operations.
    discount: u64,
}

impl<'a> Section<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.trim_end().strip_prefix("section ")?.split(' ');
        let case = words.next()?;
        let mut number = || words.next()?.parse().ok();
        Some(Self { case, operations: number()?, discount: number()? })
    }
}

/// Joins what the program wrote with what the plugin counted: the same sections in the same order.
pub(super) fn costs(console: &str, counts: &[Counts]) -> Result<BTreeMap<String, Cost>> {
    if !console.lines().any(|line| line.trim_end() == "end") {
        bail!("the program did not get to its end");
    }
    let sections = console.lines().filter_map(Section::parse).collect::<Vec<_>>();
    if sections.len() != counts.len() {
        bail!("the program named {} sections, the plugin counted {}", sections.len(), counts.len());
    }
    let mut by_case = BTreeMap::<&str, Vec<Cost>>::new();
    for (section, counts) in sections.iter().zip(counts) {
        let one = |count: u64| count as f64 / section.operations as f64;
        by_case.entry(section.case).or_default().push(Cost {
            instructions: one(counts.instructions.saturating_sub(section.discount)),
            string_bytes: one(counts.string_bytes),
            device_accesses: one(counts.device_accesses),
        });
    }
    let median =
        |costs: &[Cost], column: fn(&Cost) -> f64| Summary::of(costs.iter().map(column).collect()).median;
    let empty = by_case.get(EMPTY).map_or(0.0, |costs| median(costs, |cost| cost.instructions));
    let case = |(case, costs): (&str, Vec<Cost>)| {
        let cost = Cost {
            instructions: median(&costs, |cost| cost.instructions) - empty,
            string_bytes: median(&costs, |cost| cost.string_bytes),
            device_accesses: median(&costs, |cost| cost.device_accesses),
        };
        (case.to_owned(), cost)
    };
    Ok(by_case.into_iter().map(case).collect())
}

fn cells(row: &Row) -> [String; 9] {
    let linux = |column: fn(&Cost) -> f64, show: fn(f64) -> String| {
        row.linux.as_ref().map(column).map(show).unwrap_or_default()
    };
    let ratio = row.linux.map(|linux| format!("{:.1}", linux.instructions / row.image.instructions));
    [
        row.what.to_owned(),
        thousands(row.image.instructions),
        linux(|cost| cost.instructions, thousands),
        ratio.unwrap_or_default(),
        row.prototype_instructions.map(|count| thousands(count.into())).unwrap_or_default(),
        thousands(row.image.string_bytes),
        linux(|cost| cost.string_bytes, thousands),
        accesses(row.image.device_accesses),
        linux(|cost| cost.device_accesses, accesses),
    ]
}

/// Accesses are few: one in several operations shows.
fn accesses(count: f64) -> String {
    format!("{count:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: u64, string_bytes: u64) -> Counts {
        let line = format!(
            "{{\"window\":\"section\",\"progress\":\"closed\",\"instructions\":{instructions},\
             \"string_bytes\":{string_bytes},\"device_accesses\":10,\"ports\":1,\"mmio\":9,\"blocks\":0}}"
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn the_cost_is_a_median_without_loop_and_discount() {
        let console = "Hello\r\nsection empty 10 0\r\nsection a 10 0\nsection a 10 0\nsection a 5 30\nend\n";
        let counts = [counts(30, 0), counts(130, 40), counts(1000, 40), counts(95, 10)];
        let costs = costs(console, &counts).unwrap();
        assert_eq!(costs["a"], Cost { instructions: 10.0, string_bytes: 4.0, device_accesses: 1.0 });
    }

    #[test]
    fn what_is_missing_is_an_error() {
        assert!(costs("section a 10 0\n", &[counts(1, 0)]).is_err());
        assert!(costs("section a 10 0\nend\n", &[]).is_err());
        assert!(costs("end\n", &[]).unwrap().is_empty());
    }
}
