//! Faults of the program and of the kernel: the report, and the status 128 plus the signal, or 125.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, report, tool};

struct Fault {
    /// The program's argument, and the function that does it.
    name: &'static str,
    status: u8,
    headline: &'static str,
    parts: &'static [&'static str],
}

const fn fault(
    name: &'static str,
    status: u8,
    headline: &'static str,
    parts: &'static [&'static str],
) -> Fault {
    Fault { name, status, headline, parts }
}

const SEGMENTATION: u8 = 128 + 11;
const FLOATING_POINT: u8 = 128 + 8;
const ILLEGAL: u8 = 128 + 4;
const BUS: u8 = 128 + 7;
const ABORTED: u8 = 128 + 6;
const MAIN: &str = "(thread 1 \"faults\")";

const FAULTS: [Fault; 13] = [
    fault(
        "null_read",
        SEGMENTATION,
        "program fault: page fault: read of 0x0000000000000008, a null pointer",
        &[MAIN],
    ),
    fault(
        "null_write",
        SEGMENTATION,
        "program fault: page fault: write to 0x0000000000000010, a null pointer",
        &[MAIN],
    ),
    fault(
        "unmapped_read",
        SEGMENTATION,
        "program fault: page fault: read of 0x0000100000000000, where nothing is mapped",
        &[MAIN],
    ),
    fault(
        "write_text",
        SEGMENTATION,
        "program fault: page fault: write to 0x",
        &["which its mapping does not allow", MAIN],
    ),
    fault("execute_constant", SEGMENTATION, EXECUTION, &["which its mapping does not allow", MAIN]),
    fault("execute_static", SEGMENTATION, EXECUTION, &["which its mapping does not allow", MAIN]),
    fault("execute_heap", SEGMENTATION, EXECUTION, &["which its mapping does not allow", MAIN]),
    fault("divide", FLOATING_POINT, "program fault: divide error (thread 1 \"faults\")", &[]),
    fault("invalid", ILLEGAL, "program fault: invalid instruction (thread 1 \"faults\")", &[]),
    fault(
        "non_canonical",
        SEGMENTATION,
        "program fault: general protection fault (thread 1 \"faults\")",
        &[],
    ),
    fault(
        "behind_end",
        BUS,
        "program fault: page fault: read of 0x",
        &["behind the end of the file that is mapped there", MAIN],
    ),
    fault(
        "bare_stack_overflow",
        SEGMENTATION,
        "program fault: page fault: write to 0x",
        &["below the main thread's stack: stack overflow", MAIN],
    ),
    fault(
        "kernel_stack_overflow",
        125,
        "kernel fault: page fault: write to 0x",
        &["a guard page: kernel stack overflow"],
    ),
];
const EXECUTION: &str = "program fault: page fault: execution of 0x";

#[test]
fn every_fault_is_reported() {
    let image = Image::program("faults");
    for Fault { name, status, headline, parts } in FAULTS {
        let mut boot = Boot::new(&image).args(&[name]);
        if name == "kernel_stack_overflow" {
            // At ring 3 a program cannot do what this one does.
            boot = boot.isolation(false);
        }
        everywhere(&boot, status, |ended| {
            assert!(ended.console.starts_with(&format!("{name}:\n")), "{}", ended.console);
            report::expect(ended, headline, parts);
        });
    }
}

/// Std's own handler recognises the guard page, on its alternate stack; that of the main thread by /proc/self/maps.
#[test]
fn a_stack_overflow_is_named_by_std() {
    for (name, thread) in [("thread_stack_overflow", "deep"), ("main_stack_overflow", "main")] {
        everywhere(&Boot::new(&Image::program("faults")).args(&[name]), ABORTED, |ended| {
            assert!(ended.programs().contains(&format!("thread '{thread}'")), "{}", ended.console);
            assert!(ended.programs().contains("has overflowed its stack"), "{}", ended.console);
            assert_eq!(ended.kernels(), ["the program ended by signal 6 (SIGABRT)"]);
        });
    }
}

#[test]
fn registers_are_those_of_the_fault() {
    let ended = Boot::new(&Image::program("faults")).args(&["divide"]).expect(FLOATING_POINT);
    let value = |name| report::value(&ended.console, name);
    assert_eq!((value("rax"), value("rdx")), (Some(1), Some(0)));
    assert_eq!(value("rip"), report::frames(&ended.console).next(), "the first frame is the instruction");
}

#[test]
fn the_tool_names_the_function_that_faulted() {
    for Fault { name, status, .. } in FAULTS {
        let output = Image::run_by_tool("faults", &[name]);
        let stdout = tool::text(&output.stdout);
        assert_eq!(output.status.code(), Some(status.into()), "{name}: {stdout}");
        let function = match name {
            "bare_stack_overflow" => "faults::recurse",
            // Wherever in the entry the kernel's stack ended.
            "kernel_stack_overflow" => "includeos_syscall_entry",
            name => &format!("faults::{name}"),
        };
        let backtrace = stdout.lines().skip_while(|line| !line.starts_with("  #0 "));
        let names = |line: &&str| line.contains(function);
        let line =
            backtrace.clone().find(names).unwrap_or_else(|| panic!("{function} is not named:\n{stdout}"));
        assert!(line.contains("faults.rs:") || name == "kernel_stack_overflow", "{line}: no place");
    }
}
