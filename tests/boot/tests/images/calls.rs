//! System calls that are wrong, hostile, or not there.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, Machine, compatibility, linux};
use object::{Object, ObjectSection};
use qemu::Outcome;

/// The answers are those of Linux but for the differences in docs/compatibility.md, and all of these occur.
#[test]
fn wrong_arguments_get_the_answers_of_linux() {
    let image = Image::program("arguments");
    let (linux, status) = linux::run(&image, &[], &[]);
    let meant = compatibility::differences();
    everywhere(&Boot::new(&image), status, |ended| {
        let ours = ended.programs();
        let found = compatibility::compare(&linux, &ours);
        assert_eq!(found, meant, "left: what occurs; right: what docs/compatibility.md says");
        assert!(ended.kernels().is_empty(), "{:?}", ended.kernels());
    });
}

#[test]
fn the_kernels_own_memory_is_refused() {
    let image = Image::program("kernel_pointers");
    let octets = image.read();
    let elf = object::File::parse(octets.as_slice()).expect("an ELF file");
    let ranges: Vec<String> = ["ktext", "krodata", "kdata", "kbss"]
        .into_iter()
        .map(|name| elf.section_by_name(name).unwrap_or_else(|| panic!("no section {name}")))
        .flat_map(|section| [section.address(), section.address() + section.size()])
        .map(|address| format!("{address:x}"))
        .collect();
    let args: Vec<&str> = ranges.iter().map(String::as_str).collect();
    everywhere(&Boot::new(&image).args(&args), 0, |ended| {
        assert_eq!(ended.console, "4 ranges, accepted: []\n100 entries\n");
    });
}

#[test]
fn what_is_missing_is_named_once() {
    everywhere(&Boot::new(&Image::program("unimplemented")), 0, |ended| {
        let twice = "500: ENOSYS\n425: ENOSYS\n202: ENOSYS\n".repeat(2);
        assert_eq!(ended.programs(), format!("{twice}-1: ENOSYS\n"));
        assert_eq!(
            ended.kernels(),
            [
                "system call 500 is not implemented (ENOSYS)",
                "system call 425 is not implemented (ENOSYS)",
                "futex operation 77 is not implemented (ENOSYS)",
                "system call -1 is not implemented (ENOSYS)",
            ]
        );
    });
}

/// Random arguments to every call of the table: the program may come to harm, the kernel may not.
#[test]
fn random_calls_do_not_end_the_kernel() {
    let table = std::fs::read_to_string(boot_tests::tool::repository().join("docs/syscalls.md"));
    let table = table.expect("the table is in the repository");
    let number = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse().ok();
    let numbers: Vec<u64> = table.lines().filter_map(number).collect();
    assert!(numbers.len() > 100, "the table was not understood");
    let image = Image::program("fuzzcalls");
    for (seed, machine, cpus) in
        [(1, Machine::Q35, 1), (2, Machine::Microvm, 2), (3, Machine::Q35, 4), (4, Machine::Microvm, 1)]
    {
        let isolation = seed % 2 == 0;
        let args: Vec<String> = [seed, 20_000].iter().chain(&numbers).map(u64::to_string).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = Boot::new(&image).args(&args).machine(machine).cpus(cpus).isolation(isolation).run();
        let Outcome::Exited(status) = ended.outcome else {
            panic!("{:?}:\n{}", ended.outcome, ended.console)
        };
        assert!(ended.console.contains("seed "), "{}", ended.console);
        assert_ne!(status, 125, "seed {seed}, {cpus} CPUs:\n{}", ended.console);
        // The seeds are such that the program gets to its end: most of the calls are made.
        assert_eq!(status, 0, "seed {seed}, {cpus} CPUs:\n{}", ended.console);
    }
}
