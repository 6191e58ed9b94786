//! System calls that are wrong, hostile, or not there.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, compatibility, linux};
use object::{Object, ObjectSection};

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
