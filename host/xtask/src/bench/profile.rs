//! `cargo xtask bench profile`: where the instructions of a boot go.

use super::counts::Counter;
use super::hello::Choice;
use super::machine;
use super::symbols::Symbols;
use super::table::thousands;
use anyhow::{Context, Result};
use qemu::Machine;
use std::collections::HashMap;

/// Show which functions the instructions and device accesses from PVH entry to main belong to
///
/// Beside each count, the places it was counted at: blocks of instructions, single port instructions and accesses.
#[derive(clap::Args)]
pub struct Profile {
    /// Machine type: q35, pc or microvm
    #[arg(long, default_value_t = Machine::Microvm)]
    machine: Machine,
    /// Functions to show, the most expensive first
    #[arg(long, default_value_t = 30)]
    top: usize,
    #[command(flatten)]
    choice: Choice,
}

/// The plugin's kinds of counts, and what they are called here.
const KINDS: [(&str, &str); 3] = [
    ("insn", "instructions"),
    ("port", "port instructions"),
    ("mmio", "memory accesses that reached a device"),
];

impl Profile {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let image = self.choice.image()?;
        let symbols = Symbols::read(&image.with_symbols)?;
        let vm = machine(&image.path, self.machine);
        let (counts, histogram) = Counter::build()?.histogram(&vm, &symbols)?;
        show(&histogram, &symbols, &format!("from PVH entry to main, {}", self.machine), 1, self.top)?;
        let (string_bytes, blocks) = (thousands(counts.string_bytes as f64), thousands(counts.blocks as f64));
        println!("profile: beside them, {string_bytes} string bytes; QEMU translated {blocks} blocks");
        Ok(())
    }
}

/// Prints the functions that a histogram's counts belong to, the `top` most expensive ones of each kind, counts
/// divided by `operations`. `span` says what was counted.
pub fn show(histogram: &str, symbols: &Symbols, span: &str, operations: u64, top: usize) -> Result<()> {
    let share_of = |count: u64| thousands(count as f64 / operations as f64);
    for (kind, name) in KINDS {
        let functions = by_function(histogram, kind, |address| symbols.function(address).map(str::to_owned))?;
        let total = functions.iter().map(|function| function.count).sum::<u64>();
        if total == 0 {
            continue;
        }
        println!("{} {name} {span}", share_of(total));
        for Function { name, count, places } in functions.iter().take(top) {
            let share = 100.0 * *count as f64 / total as f64;
            println!("{:>12} {share:>5.1} %  {places:>4} places  {name}", share_of(*count));
        }
        println!();
    }
    Ok(())
}

/// A function's share.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    count: u64,
    /// Blocks or instructions that were counted.
    places: usize,
}

/// Sums one kind of count by function, the largest first. What is in no function is summed by page.
fn by_function(
    histogram: &str,
    kind: &str,
    function: impl Fn(u64) -> Option<String>,
) -> Result<Vec<Function>> {
    let mut sums = HashMap::<String, (u64, usize)>::new();
    for line in histogram.lines() {
        let malformed = || format!("the plugin wrote {line:?}");
        let mut words = line.split(' ');
        let line_kind = words.next().with_context(malformed)?;
        let address = words.next().and_then(|word| word.strip_prefix("0x")).with_context(malformed)?;
        let address = u64::from_str_radix(address, 16).with_context(malformed)?;
        let count = words.next().with_context(malformed)?.parse::<u64>().with_context(malformed)?;
        if line_kind == kind {
            let name = function(address).unwrap_or_else(|| format!("[page {:#x}]", address & !0xfff));
            let sum = sums.entry(name).or_default();
            sum.0 += count;
            sum.1 += 1;
        }
    }
    let mut functions =
        sums.into_iter().map(|(name, (count, places))| Function { name, count, places }).collect::<Vec<_>>();
    functions.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_by_function() {
        let histogram = "insn 0x1000 5\ninsn 0x1008 7\ninsn 0x2345 3\nport 0x1002 1\n";
        let function = |address| (address < 0x2000).then(|| "boot".to_owned());
        let row = |name: &str, count, places| Function { name: name.to_owned(), count, places };
        let instructions = by_function(histogram, "insn", function).unwrap();
        assert_eq!(instructions, [row("boot", 12, 2), row("[page 0x2000]", 3, 1)]);
        assert_eq!(by_function(histogram, "port", function).unwrap(), [row("boot", 1, 1)]);
        assert!(by_function("insn 12", "insn", function).is_err());
    }
}
