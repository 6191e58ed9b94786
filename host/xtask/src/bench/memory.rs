//! The least memory that an image boots in.

use anyhow::{Result, bail};
use qemu::{Outcome, Vm};
use std::time::Duration;

/// With this much memory everything must boot.
const ENOUGH_MIB: u32 = 64;

/// The least memory in MiB in which the image writes `text` and ends with status 0.
pub fn least_mib(vm: &Vm, text: &str) -> Result<u32> {
    let boots = |memory_mib| -> Result<bool> {
        let mut vm = vm.clone();
        vm.memory_mib = memory_mib;
        vm.timeout = Some(Duration::from_secs(20));
        let finished = vm.run()?;
        Ok(finished.outcome == Outcome::Exited(0) && finished.text().contains(text))
    };
    if !boots(ENOUGH_MIB)? {
        bail!("{} does not boot on {} with {ENOUGH_MIB} MiB", vm.kernel.display(), vm.machine);
    }
    bisect(1, ENOUGH_MIB, boots)
}

/// The least number in `low..=high` that is good, where all above a good one are good and `high` is.
fn bisect(mut low: u32, mut high: u32, mut good: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    while low < high {
        let middle = low + (high - low) / 2;
        if good(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_is_found() {
        for edge in 1..=64 {
            assert_eq!(bisect(1, 64, |n| Ok(n >= edge)).unwrap(), edge);
        }
    }
}
