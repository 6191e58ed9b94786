//! The text that the plugin writes.
//!
//! `out=` receives one JSON object a line: first the whole run (`"window":"total"`), then each window in the order
//! of the arguments, then each section between two marks of the program (`"window":"section"`) in the order of their
//! starts. `hist=` receives lines of three words: what was counted (`insn`, `port` or `mmio`), the
//! address of the block or instruction, the count.

use std::fmt;
use std::ops::Sub;

/// The window's name in the line of a section.
pub const SECTION: &str = "section";

/// The columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Guest instructions executed.
    pub instructions: u64,
    /// Octets moved by string instructions.
    pub string_bytes: u64,
    /// Port instructions executed.
    pub ports: u64,
    /// Loads and stores that reached a device.
    pub mmio: u64,
    /// Blocks that QEMU translated.
    pub blocks: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            instructions: self.instructions.wrapping_sub(earlier.instructions),
            string_bytes: self.string_bytes.wrapping_sub(earlier.string_bytes),
            ports: self.ports.wrapping_sub(earlier.ports),
            mmio: self.mmio.wrapping_sub(earlier.mmio),
            blocks: self.blocks.wrapping_sub(earlier.blocks),
        }
    }
}

/// How far a window got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its start was never executed; the counts are 0.
    Unopened,
    /// Its end was not executed; the counts go to the end of the run.
    Open,
    /// Counted from start to end.
    Closed,
}

/// One line of the output.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The window's name.
    pub window: &'a str,
    /// How far it got.
    pub progress: Progress,
    /// What was counted in it.
    pub counts: Counts,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = match self.progress {
            Progress::Unopened => "unopened",
            Progress::Open => "open",
            Progress::Closed => "closed",
        };
        let Counts { instructions, string_bytes, ports, mmio, blocks } = self.counts;
        let device_accesses = ports + mmio;
        writeln!(
            f,
            "{{\"window\":\"{}\",\"progress\":\"{progress}\",\"instructions\":{instructions},\
             \"string_bytes\":{string_bytes},\"device_accesses\":{device_accesses},\"ports\":{ports},\"mmio\":{mmio},\
             \"blocks\":{blocks}}}",
            self.window
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let counts = Counts { instructions: 10, string_bytes: 4096, ports: 2, mmio: 3, blocks: 7 };
        let line = Line { window: "boot", progress: Progress::Closed, counts };
        assert_eq!(
            line.to_string(),
            "{\"window\":\"boot\",\"progress\":\"closed\",\"instructions\":10,\"string_bytes\":4096,\
             \"device_accesses\":5,\"ports\":2,\"mmio\":3,\"blocks\":7}\n"
        );
    }
}
