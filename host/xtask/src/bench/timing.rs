//! Times to the first output, two images in turns.

use anyhow::{Result, bail};
use qemu::Vm;
use std::ops::ControlFlow;
use std::time::Instant;

/// A machine, and the text on its console at which the clock stops.
pub struct Subject<'a> {
    /// How it is started.
    pub vm: &'a Vm,
    /// What it must write.
    pub text: &'a str,
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Half of the values are below.
    pub median: f64,
    /// A quarter of the values is below.
    pub low: f64,
    /// A quarter of the values is above.
    pub high: f64,
}

/// Starts both `runs` times, in turns, after one turn that does not count. Returns milliseconds of the first, and of
/// the second above the first, turn by turn.
pub fn in_turns(floor: &Subject<'_>, subject: &Subject<'_>, runs: usize) -> Result<(Summary, Summary)> {
    floor.first_output_ms()?;
    subject.first_output_ms()?;
    let mut floors = Vec::new();
    let mut above = Vec::new();
    for _ in 0..runs {
        let base = floor.first_output_ms()?;
        floors.push(base);
        above.push(subject.first_output_ms()? - base);
    }
    Ok((Summary::of(floors), Summary::of(above)))
}

impl Subject<'_> {
    /// Milliseconds from before QEMU is started to the text on its console.
    fn first_output_ms(&self) -> Result<f64> {
        let mut console = Vec::new();
        let mut seen = None;
        let started = Instant::now();
        let outcome = self.vm.start()?.pump(|bytes| {
            console.extend_from_slice(bytes);
            if console.windows(self.text.len()).any(|window| window == self.text.as_bytes()) {
                seen = Some(started.elapsed());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match seen {
            Some(elapsed) => Ok(elapsed.as_secs_f64() * 1e3),
            None => bail!(
                "{} on {} did not write {:?}: {outcome}\nits console:\n{}",
                self.vm.kernel.display(),
                self.vm.machine,
                self.text,
                String::from_utf8_lossy(&console)
            ),
        }
    }
}

impl Summary {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let position = part * (values.len() - 1) as f64;
            let (below, above) = (values[position.floor() as usize], values[position.ceil() as usize]);
            below + (above - below) * position.fract()
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles() {
        let summary = Summary::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(summary, Summary { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(Summary::of(vec![1.0, 2.0]), Summary { median: 1.5, low: 1.25, high: 1.75 });
        assert_eq!(Summary::of(vec![7.0]), Summary { median: 7.0, low: 7.0, high: 7.0 });
    }
}
