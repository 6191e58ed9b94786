//! The text form of fault and panic reports, as far as the tool reads it.
//!
//! A report is written to the console. Each of its lines starts with [`PREFIX`] or two blanks. A backtrace line is
//! [`Frame`]; the tool replaces it by function, file and line.

use core::fmt;

/// Starts each line that the kernel itself writes to the console.
pub const PREFIX: &str = "includeos: ";

/// One line of a backtrace: `  #3 0x0000000000201234`.
///
/// Frame 0 is the instruction that faulted; the others are return addresses, so that the call is at the address
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Position, 0 being the innermost.
    pub index: u32,
    /// Instruction address.
    pub address: u64,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  #{} {:#018x}", self.index, self.address)
    }
}

impl Frame {
    /// Reads a backtrace line, without its line end. `None` if it is another kind of line.
    pub fn parse(line: &str) -> Option<Self> {
        let (index, address) = line.strip_prefix("  #")?.split_once(' ')?;
        let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
        Some(Self { index: index.parse().ok()?, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_line_survives() {
        let frame = Frame { index: 12, address: 0x20_1234 };
        assert_eq!(frame.to_string(), "  #12 0x0000000000201234");
        assert_eq!(Frame::parse(&frame.to_string()), Some(frame));
    }

    #[test]
    fn other_lines_are_left_alone() {
        for line in ["", "  #", "  #1", "  #x 0x1", "  #1 1234", "#1 0x12", "  #1 0x"] {
            assert_eq!(Frame::parse(line), None, "{line:?}");
        }
    }
}
