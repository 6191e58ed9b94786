//! `cargo xtask bench net`: what the network stack costs on this host, and smoltcp on the same work.

use super::counts::Counter;
use super::micro::{self, Cost};
use super::program::{Image, Tool};
use super::table::{aligned, thousands};
use super::timing::Summary;
use super::{busy_host, machine, profile};
use crate::repo;
use anyhow::{Context, Result, ensure};
use qemu::{Machine, Vm};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Measure what the network stack costs for each segment and connection, and smoltcp on the same work
///
/// Times are of the program as a Linux process. What is counted (instructions, octets moved by string instructions, device accesses) is the
/// same file as an image without a network: the stack takes frames from memory, and gives them there. Medians of nine stretches.
#[derive(clap::Args)]
pub struct Net {
    /// Instead, show which functions the instructions of one case of tests/netbench belong to
    #[arg(long, value_name = "CASE")]
    profile: Option<String>,
    /// With --profile, functions to show, the most expensive first
    #[arg(long, default_value_t = 40)]
    top: usize,
}

/// A row: what is done once, and the cases whose costs make it up.
struct Operation {
    what: &'static str,
    ours: &'static [&'static str],
    smol: &'static [&'static str],
}

const fn operation(
    what: &'static str,
    ours: &'static [&'static str],
    smol: &'static [&'static str],
) -> Operation {
    Operation { what, ours, smol }
}

const OPERATIONS: [Operation; 16] = [
    operation("segment of 1460 octets in", &["ours-in"], &["smol-in"]),
    operation("the same, no checksum by the device", &["ours-in-checksum"], &["smol-in-checksum"]),
    operation("segment of 1460 octets out", &["ours-out"], &["smol-out"]),
    operation("the same, no checksum by the device", &["ours-out-checksum"], &["smol-out-checksum"]),
    operation("connection: opened", &["ours-connection-open"], &["smol-connection-open"]),
    operation("connection: request, answer", &["ours-connection-request"], &["smol-connection-request"]),
    operation("connection: closed by both", &["ours-connection-close"], &["smol-connection-close"]),
    operation("connection: last acknowledgment", &["ours-connection-end"], &["smol-connection-end"]),
    operation(
        "connection, all of it",
        &["ours-connection-open", "ours-connection-request", "ours-connection-close", "ours-connection-end"],
        &["smol-connection-open", "smol-connection-request", "smol-connection-close", "smol-connection-end"],
    ),
    operation("flow found among 1", &["lookup-1"], &[]),
    operation("flow found among 1,000", &["lookup-1000"], &[]),
    operation("flow found among 100,000", &["lookup-100000"], &[]),
    operation("request, answer among 1 connection", &["ours-among-1"], &["smol-among-1"]),
    operation("request, answer among 1,000", &["ours-among-1000"], &["smol-among-1000"]),
    operation("request, answer among 10,000", &["ours-among-10000"], &["smol-among-10000"]),
    operation("request, answer among 100,000", &["ours-among-100000"], &[]),
];

/// What the program is asked for, in its words.
const CASES: [&str; 21] = [
    "empty",
    "ours-in",
    "smol-in",
    "ours-in-checksum",
    "smol-in-checksum",
    "ours-out",
    "smol-out",
    "ours-out-checksum",
    "smol-out-checksum",
    "ours-connection",
    "smol-connection",
    "lookup-1",
    "lookup-1000",
    "lookup-100000",
    "ours-among-1",
    "smol-among-1",
    "ours-among-1000",
    "smol-among-1000",
    "ours-among-10000",
    "smol-among-10000",
    "ours-among-100000",
];
/// For a hundred thousand connections.
const MEMORY_MIB: u32 = 1024;
const TIMEOUT: Duration = Duration::from_secs(600);

impl Net {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let folder = repo::target_dir().join("bench/netbench");
        let image = Tool::build()?.image(&repo::root().join("tests/netbench"), "netbench", &folder)?;
        let counter = Counter::build()?;
        if let Some(case) = &self.profile {
            return profile_of(&counter, &image, case, self.top);
        }
        let busy = busy_host();
        eprintln!("bench: the times");
        let told = native(&image)?;
        let times = times(&told)?;
        eprintln!("bench: counting in an image");
        let vm = vm(&image, &CASES);
        let (counts, console) = counter.sections(&vm)?;
        let costs = micro::costs(&console, &counts).context(console)?;
        let rows = OPERATIONS.iter().map(|operation| cells(operation, &times, &costs));
        let header = [
            "of one operation",
            "ns",
            "smoltcp",
            "instructions",
            "smoltcp",
            "ratio",
            "string bytes",
            "smoltcp",
            "device accesses",
        ];
        println!("{}", aligned(header.map(str::to_owned), rows));
        for line in told.lines().filter_map(|line| line.strip_prefix("memory ")) {
            let (who, octets) = line.split_once(' ').context("memory of nobody")?;
            println!("memory of a connection without traffic, {who}: {octets} octets");
        }
        println!("smoltcp's buffers are 4 KiB each there; ours are made when there is something in them");
        println!("among many, smoltcp has listening sockets beside the connection: it looks at each");
        if let Some(busy) = busy {
            println!("note: {busy}");
        }
        Ok(())
    }
}

/// The program as a process, all cases; what it wrote.
fn native(image: &Image) -> Result<String> {
    repo::output(Command::new(&image.path).args(CASES).arg("memory"))
}

fn vm(image: &Image, cases: &[&str]) -> Vm {
    let mut vm = machine(&image.path, Machine::Q35);
    vm.settings.args = cases.iter().map(|case| (*case).to_owned()).collect();
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm
}

fn profile_of(counter: &Counter, image: &Image, case: &str, top: usize) -> Result<()> {
    let symbols = super::symbols::Symbols::read(&image.with_symbols)?;
    let section = counter.section_histogram(&vm(image, &[case]))?;
    let line = section.told.lines().find_map(|line| line.trim_end().strip_prefix("section "));
    let operations = line.and_then(|line| line.split(' ').nth(1)).and_then(|count| count.parse().ok());
    let operations = operations.with_context(|| format!("no section of {case}: {}", section.told))?;
    profile::show(&section.histogram, &symbols, &format!("of one operation of {case}"), operations, top)
}

/// Nanoseconds of one operation by case, from lines `time CASE OPERATIONS NANOSECONDS`.
fn times(told: &str) -> Result<BTreeMap<String, f64>> {
    let mut by_case = BTreeMap::<String, Vec<f64>>::new();
    for line in told.lines().filter_map(|line| line.strip_prefix("time ")) {
        let words = line.split(' ').collect::<Vec<_>>();
        ensure!(words.len() == 3, "the program wrote {line:?}");
        let (operations, nanos) = (words[1].parse::<f64>()?, words[2].parse::<f64>()?);
        by_case.entry(words[0].to_owned()).or_default().push(nanos / operations);
    }
    Ok(by_case.into_iter().map(|(case, nanos)| (case, Summary::of(nanos).median)).collect())
}

fn cells(
    operation: &Operation,
    times: &BTreeMap<String, f64>,
    costs: &BTreeMap<String, Cost>,
) -> [String; 9] {
    let time = |cases: &[&str]| cases.iter().map(|case| times.get(*case)).sum::<Option<f64>>();
    let cost = |cases: &[&str], column: fn(&Cost) -> f64| {
        cases.iter().map(|case| costs.get(*case).map(column)).sum::<Option<f64>>()
    };
    let show = |value: Option<f64>, cases: &[&str]| {
        value.filter(|_| !cases.is_empty()).map(thousands).unwrap_or_default()
    };
    let Operation { what, ours, smol } = operation;
    let instructions = |cases| cost(cases, |cost| cost.instructions);
    let ratio = instructions(smol).zip(instructions(ours)).filter(|_| !smol.is_empty());
    let accesses = cost(ours, |cost| cost.device_accesses).unwrap_or_default();
    [
        (*what).to_owned(),
        show(time(ours), ours),
        show(time(smol), smol),
        show(instructions(ours), ours),
        show(instructions(smol), smol),
        ratio.map(|(smol, ours)| format!("{:.2}", smol / ours)).unwrap_or_default(),
        show(cost(ours, |cost| cost.string_bytes), ours),
        show(cost(smol, |cost| cost.string_bytes), smol),
        format!("{accesses:.1}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_medians_of_one_operation() {
        let told = "section a 2 0\ntime a 2 20\ntime a 2 60\ntime a 2 40\nmemory ours 5\nend\n";
        assert_eq!(times(told).unwrap(), BTreeMap::from([("a".to_owned(), 20.0)]));
        assert!(times("time a 2\n").is_err());
    }

    #[test]
    fn an_operation_is_the_sum_of_its_steps() {
        let cost = |instructions| Cost { instructions, string_bytes: 1.0, device_accesses: 0.0 };
        let costs = BTreeMap::from([("a".to_owned(), cost(10.0)), ("b".to_owned(), cost(30.0))]);
        let times = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
        let cells = cells(&operation("both", &["a", "b"], &["a"]), &times, &costs);
        assert_eq!(cells, ["both", "3", "1", "40", "10", "0.25", "2", "1", "0.0"].map(str::to_owned));
        let cells = super::cells(&operation("one", &["a"], &[]), &times, &costs);
        assert_eq!(cells[2..6], ["", "10", "", ""].map(str::to_owned));
    }
}
