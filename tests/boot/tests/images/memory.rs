//! Memory: what mappings do, and what happens where there is no more.

use boot_tests::boot::{MACHINES, everywhere};
use boot_tests::{Boot, Image, Machine, linux};
use qemu::Outcome;

#[test]
fn mappings_behave_as_on_linux() {
    linux::same(&Image::program("memory"), &[], &[], &[]);
}

#[test]
fn more_than_there_is_is_refused() {
    for mib in [32, 64, 300] {
        let mut boot = Boot::new(&Image::program("out_of_memory")).memory_mib(mib);
        if mib == 300 {
            // It takes seconds: one mode will do.
            boot = boot.isolation(false);
        }
        everywhere(&boot, 0, |ended| {
            let expected = "1 TiB: true\nrefused at last: true, several before: true, all right: true\n\
                            there again: true\nnull: true\n";
            assert_eq!(ended.programs(), expected, "{mib} MiB");
        });
    }
}

#[test]
fn what_is_not_asked_for_politely_aborts_the_program() {
    everywhere(&Boot::new(&Image::program("out_of_memory")).args(&["abort"]), 134, |ended| {
        assert!(
            ended.console.contains("memory allocation of 1099511627776 bytes failed"),
            "{}",
            ended.console
        );
    });
}

/// From 2 MiB, with which the firmware gets as far as the image: either the program runs, or one line says what is
/// missing. Never silence.
#[test]
fn too_little_memory_is_one_line() {
    let image = Image::program("hello");
    let (expected, _) = linux::run(&image, &[], &[]);
    for machine in MACHINES {
        let mut enough = None;
        for kib in (2048..3328).step_by(64).chain([4096, 6144, 8192]) {
            let ended = Boot::new(&image).machine(machine).memory_kib(kib).run();
            let place = format!("{machine}, {kib} KiB: {:?}\n{}", ended.outcome, ended.console);
            if ended.outcome == Outcome::Exited(0) {
                assert_eq!(ended.console, expected, "{place}");
                enough = enough.or(Some(kib));
                continue;
            }
            assert_eq!(enough, None, "less was enough: {place}");
            assert_eq!(ended.outcome, Outcome::Exited(125), "{place}");
            let [line] = ended.kernels()[..] else { panic!("not one line: {place}") };
            assert!(line.starts_with("too little memory"), "{place}");
        }
        assert!(enough.is_some(), "hello runs in 8 MiB on {machine}");
    }
}

/// A program that wants more than there is ends by its own refusal or by the kernel's, and says so.
#[test]
fn programs_that_need_more_say_so() {
    for name in ["threads", "memory"] {
        let image = Image::program(name);
        let (expected, _) = linux::run(&image, &[], &[]);
        for kib in (2816..6144).step_by(256) {
            let ended = Boot::new(&image).machine(Machine::Microvm).memory_kib(kib).run();
            let place = format!("{name}, {kib} KiB: {:?}\n{}", ended.outcome, ended.console);
            let Outcome::Exited(status) = ended.outcome else { panic!("{place}") };
            let says_so = ended.console.contains("memory") || ended.console.contains("OutOfMemory");
            assert!(if status == 0 { ended.programs() == expected } else { says_so }, "{place}");
        }
    }
}
