//! How an image tells the host how it ended.
//!
//! Two ports, both optional on the machine. The *status port* takes one text record; it carries all eight bits of
//! the exit status. The *debug-exit port* then ends the machine; QEMU's own exit status keeps only seven bits of it
//! (`(value << 1) | 1`), so it alone cannot tell 200 from 72.
//!
//! The status port also carries [`INPUT_RECORD`], when the image begins to read its console: a UART that is being set up
//! loses what arrives in that moment, so the host holds input back until then.

use core::fmt;

/// I/O port of QEMU's `isa-debug-exit` device (`-device isa-debug-exit,iobase=0xf4,iosize=0x04`).
pub const DEBUG_EXIT_PORT: u16 = 0xf4;
/// I/O port of QEMU's `isa-debugcon` device that carries the status record. Reads as [`STATUS_PORT`]'s low octet
/// (`readback`'s default) when the device is there.
pub const STATUS_PORT: u16 = 0xe9;

/// The record, a line of its own, that says that the console takes input from now on.
pub const INPUT_RECORD: &str = "input";

/// Status when the kernel itself ends the image: it panicked, or the machine lacks what the image needs.
pub const STATUS_KERNEL: u8 = 125;
/// Added to the signal number when a fault ends the program, as shells show a process ended by a signal.
pub const STATUS_SIGNAL_BASE: u8 = 128;

/// How an image ended. Its text form is the status record, one line: `exit 7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// The status that becomes that of `cargo includeos run`.
    pub status: u8,
}

impl fmt::Display for ExitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit {}", self.status)
    }
}

impl ExitRecord {
    /// Finds the record in what the status port received; the last one counts. `None` if there is none: the
    /// machine ended without the kernel's say (killed, triple fault, another kernel).
    pub fn find(text: &str) -> Option<Self> {
        text.lines().rev().find_map(|line| Some(Self { status: line.strip_prefix("exit ")?.parse().ok()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn every_status_survives_the_record() {
        for status in 0..=255 {
            let record = ExitRecord { status };
            assert_eq!(ExitRecord::find(&format!("{record}")), Some(record));
        }
    }

    #[test]
    fn no_record_is_none() {
        assert_eq!(ExitRecord::find(""), None);
        assert_eq!(ExitRecord::find("exit 256\nexit\nbye"), None);
    }
}
