//! `isolation=on`: the program at ring 3. That programs do the same there as at ring 0 is looked at by all other tests, in both
//! modes.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, linux, report, tool};
use object::{Object, ObjectSection};

const SEGMENTATION: u8 = 128 + 11;

/// What ring 0 does, and the kernel's addresses, are as far away as on Linux.
#[test]
fn what_is_forbidden_is_a_signal_as_on_linux() {
    let image = Image::program("isolation");
    linux::same_by(&Boot::new(&image).isolation(true), linux::run(&image, &[], &[]), &[]);
}

/// Nor do CPUs matter that have none of SMEP, SMAP and UMIP, or one of them.
#[test]
fn on_other_cpus() {
    let image = Image::program("isolation");
    let (expected, status) = linux::run(&image, &[], &[]);
    for cpu in ["qemu64,+rdrand", "max,-smap", "max,-smep,-umip", "Haswell", "EPYC"] {
        let ended = Boot::new(&image).isolation(true).cpu(cpu).expect(status);
        assert_eq!(ended.programs(), expected, "{cpu}");
    }
}

#[test]
fn the_kernels_own_memory_is_out_of_reach() {
    let image = Image::program("isolation");
    let octets = image.read();
    let elf = object::File::parse(octets.as_slice()).expect("an ELF file");
    // The last one may be read.
    let bounds: Vec<String> = ["ktext", "krodata", "kdata", "kbss", "kvdsodata"]
        .into_iter()
        .map(|name| elf.section_by_name(name).unwrap_or_else(|| panic!("no section {name}")))
        .flat_map(|section| [section.address(), section.address() + section.size()])
        .map(|address| format!("{address:x}"))
        .collect();
    let args: Vec<&str> = bounds.iter().map(String::as_str).collect();
    everywhere(&Boot::new(&image).isolation(true).args(&args), 0, |ended| {
        let expected = "5 ranges, 105 attempts, otherwise than expected: []\n\
                        int 0x80: SIGSEGV code 128 at nowhere\n\
                        sysenter: true\n\
                        ring 3, selectors stay: true\n\
                        alignment check: SIGSEGV code 1 at 0x8\n\
                        calls under it: true\n\
                        [0, 1000, 2000, 3000]\n";
        assert_eq!(ended.console, expected);
    });
}

/// Without a handler it is the program that faulted, not the kernel.
#[test]
fn a_fault_is_reported_as_the_programs() {
    for (name, headline) in [
        ("kernel_read", "program fault: page fault: read of 0xffff888000100000, which is not the program's"),
        (
            "kernel_jump",
            "program fault: page fault: execution of 0xffff888000100000, which is not the program's",
        ),
        ("privileged", "program fault: general protection fault"),
        ("software_interrupt", "program fault: general protection fault"),
        ("kernel_stack_overflow", "program fault: page fault: read of 0x0000000000000008, a null pointer"),
    ] {
        let boot = Boot::new(&Image::program("faults")).isolation(true).args(&[name]);
        everywhere(&boot, SEGMENTATION, |ended| {
            assert!(ended.console.starts_with(&format!("{name}:\n")), "{}", ended.console);
            report::expect(ended, headline, &["(thread 1 \"faults\")"]);
            assert_eq!(report::value(&ended.console, "cs ").map(|cs| cs & 3), Some(3));
        });
    }
}

#[test]
fn through_the_tool() {
    let output = Image::run_by_tool_with(&["--isolation"], "faults", &["privileged"]);
    let stdout = tool::text(&output.stdout);
    assert_eq!(output.status.code(), Some(SEGMENTATION.into()), "{stdout}");
    assert!(stdout.contains("faults::privileged") && stdout.contains("faults.rs:"), "{stdout}");
    let output = Image::run_by_tool_with(&["--isolation"], "exit", &["call", "7"]);
    assert_eq!(output.status.code(), Some(7));
}
