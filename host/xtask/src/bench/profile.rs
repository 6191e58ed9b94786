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
        for (kind, name) in KINDS {
            let functions =
                by_function(&histogram, kind, |address| symbols.function(address).map(str::to_owned))?;
            let total = functions.iter().map(|(_, count)| count).sum::<u64>();
            if total == 0 {
                continue;
            }
            println!("{} {name} from PVH entry to main, {}", thousands(total as f64), self.machine);
            for (function, count) in functions.iter().take(self.top) {
                let share = 100.0 * *count as f64 / total as f64;
                println!("{:>12} {share:>5.1} %  {function}", thousands(*count as f64));
            }
            println!();
        }
        println!("profile: {} string bytes beside them", thousands(counts.string_bytes as f64));
        Ok(())
    }
}

/// Sums one kind of count by function, the largest first. What is in no function is summed by page.
fn by_function(
    histogram: &str,
    kind: &str,
    function: impl Fn(u64) -> Option<String>,
) -> Result<Vec<(String, u64)>> {
    let mut sums = HashMap::<String, u64>::new();
    for line in histogram.lines() {
        let malformed = || format!("the plugin wrote {line:?}");
        let mut words = line.split(' ');
        let line_kind = words.next().with_context(malformed)?;
        let address = words.next().and_then(|word| word.strip_prefix("0x")).with_context(malformed)?;
        let address = u64::from_str_radix(address, 16).with_context(malformed)?;
        let count = words.next().with_context(malformed)?.parse::<u64>().with_context(malformed)?;
        if line_kind == kind {
            let name = function(address).unwrap_or_else(|| format!("[page {:#x}]", address & !0xfff));
            *sums.entry(name).or_default() += count;
        }
    }
    let mut sums = sums.into_iter().collect::<Vec<_>>();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_by_function() {
        let histogram = "insn 0x1000 5\ninsn 0x1008 7\ninsn 0x2345 3\nport 0x1002 1\n";
        let function = |address| (address < 0x2000).then(|| "boot".to_owned());
        assert_eq!(
            by_function(histogram, "insn", function).unwrap(),
            [("boot".to_owned(), 12), ("[page 0x2000]".to_owned(), 3)]
        );
        assert_eq!(by_function(histogram, "port", function).unwrap(), [("boot".to_owned(), 1)]);
        assert!(by_function("insn 12", "insn", function).is_err());
    }
}
