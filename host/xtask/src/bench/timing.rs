//! Times to the first output, two images in turns.

use anyhow::{Context, Result};
use qemu::Vm;
use std::fs;
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

/// One of the times, over several runs.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Of the first machine.
    pub floor: Summary,
    /// Of the second machine above the first, turn by turn.
    pub above: Summary,
}

/// Milliseconds to the first output.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// By the clock.
    wall_ms: f64,
    /// That QEMU's threads spent on a CPU: what is left of the above where the host has other work.
    cpu_ms: f64,
}

/// Starts both `runs` times, in turns, after one turn that does not count. Returns the times by the clock, and on a
/// CPU.
pub fn in_turns(floor: &Subject<'_>, subject: &Subject<'_>, runs: usize) -> Result<(Times, Times)> {
    floor.first_output()?;
    subject.first_output()?;
    let turns = (0..runs)
        .map(|_| Ok((floor.first_output()?, subject.first_output()?)))
        .collect::<Result<Vec<_>>>()?;
    let times = |ms: fn(&Run) -> f64| Times {
        floor: Summary::of(turns.iter().map(|(floor, _)| ms(floor)).collect()),
        above: Summary::of(turns.iter().map(|(floor, subject)| ms(subject) - ms(floor)).collect()),
    };
    Ok((times(|run| run.wall_ms), times(|run| run.cpu_ms)))
}

impl Subject<'_> {
    /// Runs from before QEMU is started to the text on its console.
    fn first_output(&self) -> Result<Run> {
        let mut console = Vec::new();
        let mut seen = None;
        let started = Instant::now();
        let running = self.vm.start()?;
        let pid = running.pid();
        let outcome = running.pump(|bytes| {
            console.extend_from_slice(bytes);
            if console.windows(self.text.len()).any(|window| window == self.text.as_bytes()) {
                seen = Some(Run { wall_ms: started.elapsed().as_secs_f64() * 1e3, cpu_ms: cpu_ms(pid) });
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        seen.with_context(|| {
            format!(
                "{} on {} did not write {:?}: {outcome}\nits console:\n{}",
                self.vm.kernel.display(),
                self.vm.machine,
                self.text,
                String::from_utf8_lossy(&console)
            )
        })
    }
}

/// Milliseconds that the threads of a process have spent on a CPU (`schedstat` of proc(5)); 0 if it has ended.
fn cpu_ms(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let on_cpu_ns = tasks.filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    on_cpu_ns.sum::<u64>() as f64 / 1e6
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
