//! The kernel's reports of faults, as the console shows them.

use crate::boot::Ended;

/// The names of the registers, each followed by its value in every report.
const REGISTERS: [&str; 20] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14",
    "r15", "rip", "flg", "cs ", "err",
];

/// Expects one report: a headline that starts with `headline` and holds `parts`, then all registers, then at least
/// one frame.
#[track_caller]
pub fn expect(ended: &Ended, headline: &str, parts: &[&str]) {
    let console = &ended.console;
    let lines = ended.kernels();
    let [line] = lines.as_slice() else { panic!("one line of the kernel's is expected:\n{console}") };
    assert!(line.starts_with(headline), "{headline:?} is expected:\n{console}");
    assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} are expected:\n{console}");
    for register in REGISTERS {
        assert!(value(console, register).is_some(), "{register} is missing:\n{console}");
    }
    assert!(frames(console).next().is_some(), "the backtrace is missing:\n{console}");
}

/// The addresses of the backtrace.
pub fn frames(console: &str) -> impl Iterator<Item = u64> {
    console.lines().filter_map(abi::report::Frame::parse).map(|frame| frame.address)
}

/// A register's value in a report.
pub fn value(console: &str, register: &str) -> Option<u64> {
    let (_, rest) = console.split_once(&format!("  {register} "))?;
    u64::from_str_radix(rest.get(..16)?, 16).ok()
}
