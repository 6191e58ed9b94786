//! How a machine ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use abi::exit::ExitRecord;

/// How a machine ended. Only [`Self::Exited`] is the image's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image ended with this status (the status record).
    Exited(u8),
    /// A value arrived at the debug-exit port without a status record: the floor kernel, another kernel.
    DebugExit(u8),
    /// The machine reset or switched off without a word: a triple fault, or a kernel without our record.
    Reset,
    /// It ran longer than it was given, and was killed.
    TimedOut(Duration),
    /// Our side ended it: [`crate::Running::kill`], or the reader of the console had enough.
    Stopped,
    /// QEMU was killed by somebody else, or gave itself up.
    Killed {
        /// The signal.
        signal: i32,
        /// What QEMU said, without trailing blanks.
        stderr: String,
    },
    /// QEMU itself failed.
    QemuFailed {
        /// Its exit status.
        status: i32,
        /// What it said, without trailing blanks.
        stderr: String,
    },
}

/// Status of a command that was ended by a timeout, as timeout(1) has it.
pub const STATUS_TIMEOUT: u8 = 124;
/// Status of a command that could not do its work for a reason outside the image.
pub const STATUS_TOOL: u8 = 125;

impl Outcome {
    /// Works out how a machine ended from what the status port received and how QEMU ended.
    pub(crate) fn decode(record: &str, qemu: ExitStatus, stderr: &str) -> Self {
        if let Some(record) = ExitRecord::find(record) {
            return Self::Exited(record.status);
        }
        match (qemu.code(), qemu.signal()) {
            (Some(0), _) => Self::Reset,
            // `isa-debug-exit` gives `(value << 1) | 1`. 1 is QEMU's own failure: nobody writes 0 there without a record.
            (Some(code), _) if code & 1 == 1 && code > 1 => Self::DebugExit((code >> 1) as u8),
            (Some(status), _) => Self::QemuFailed { status, stderr: stderr.trim_end().to_owned() },
            (None, signal) => {
                Self::Killed { signal: signal.unwrap_or(0), stderr: stderr.trim_end().to_owned() }
            }
        }
    }

    /// The status with which a command that ran the machine should end.
    pub fn status(&self) -> u8 {
        match self {
            Self::Exited(status) => *status,
            Self::TimedOut(_) => STATUS_TIMEOUT,
            Self::Killed { signal, .. } => abi::exit::STATUS_SIGNAL_BASE.wrapping_add(*signal as u8),
            Self::DebugExit(_) | Self::Reset | Self::Stopped | Self::QemuFailed { .. } => STATUS_TOOL,
        }
    }
}

/// One clear line, with the remedy where there is one.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the image ended with status {status}"),
            Self::DebugExit(value) => {
                write!(f, "the machine ended with {value:#x} at the debug-exit port and no status record")
            }
            Self::Reset => write!(
                f,
                "the machine reset without a report (a triple fault, or out of reach of the fault handlers); \
                 to see where: `cargo includeos debug`, or `run` with `--qemu '-d int,cpu_reset'`"
            ),
            Self::TimedOut(limit) => write!(f, "ended by the timeout of {limit:?}"),
            Self::Stopped => write!(f, "the machine was stopped"),
            Self::Killed { signal, stderr } if stderr.is_empty() => {
                write!(f, "QEMU was killed by signal {signal}")
            }
            Self::Killed { signal, stderr } => write!(f, "QEMU was killed by signal {signal}: {stderr}"),
            Self::QemuFailed { status, stderr } if stderr.is_empty() => {
                write!(f, "QEMU failed with status {status}")
            }
            Self::QemuFailed { status, stderr } => write!(f, "QEMU failed with status {status}: {stderr}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn killed(signal: i32) -> Outcome {
        Outcome::Killed { signal, stderr: String::new() }
    }

    #[test]
    fn the_record_decides_whatever_qemu_says() {
        for qemu in [exited(0), exited(1), exited(17), ExitStatus::from_raw(9)] {
            assert_eq!(Outcome::decode("exit 200\n", qemu, "warning"), Outcome::Exited(200));
        }
    }

    #[test]
    fn without_a_record_qemu_tells() {
        assert_eq!(Outcome::decode("", exited(0), ""), Outcome::Reset);
        assert_eq!(Outcome::decode("", exited(0x55), ""), Outcome::DebugExit(0x2a));
        assert_eq!(
            Outcome::decode("", exited(1), ""),
            Outcome::QemuFailed { status: 1, stderr: String::new() }
        );
        assert_eq!(Outcome::decode("", ExitStatus::from_raw(9), ""), killed(9));
        assert_eq!(
            Outcome::decode("", exited(1), "qemu: no such cpu\n"),
            Outcome::QemuFailed { status: 1, stderr: "qemu: no such cpu".to_owned() }
        );
    }

    #[test]
    fn only_an_image_that_says_so_succeeds() {
        let others = [
            Outcome::DebugExit(0),
            Outcome::Reset,
            Outcome::TimedOut(Duration::ZERO),
            Outcome::Stopped,
            killed(9),
            Outcome::QemuFailed { status: 1, stderr: String::new() },
        ];
        assert_eq!(Outcome::Exited(0).status(), 0);
        assert!(others.iter().all(|outcome| outcome.status() != 0));
    }
}
