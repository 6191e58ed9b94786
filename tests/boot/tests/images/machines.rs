//! Machines that lack something, and what the tool refuses before any machine starts.

use boot_tests::boot::{ISOLATION, everywhere};
use boot_tests::{Boot, Image, linux, tool};
use qemu::Machine;

#[test]
fn every_machine_type_and_cpu_model_that_has_what_it_takes() {
    let image = Image::program("hello");
    let (expected, _) = linux::run(&image, &[], &[]);
    for machine in Machine::ALL {
        for cpu in ["max", "qemu64,+rdrand", "qemu64", "Nehalem", "Skylake-Client,-rdrand", "EPYC"] {
            for isolation in ISOLATION {
                let ended = Boot::new(&image).machine(machine).cpu(cpu).isolation(isolation).expect(0);
                assert_eq!(ended.programs(), expected, "{machine} {cpu} isolation={isolation}");
            }
        }
    }
}

/// The kernel's first stub speaks for itself: nothing else runs on such a CPU.
#[test]
fn a_cpu_without_64_bit_mode_is_one_line() {
    for cpu in ["qemu32", "max,-lm", "max,-nx"] {
        everywhere(&Boot::new(&Image::program("hello")).cpu(cpu), 125, |ended| {
            let expected =
                "includeos: this CPU lacks 64-bit mode or no-execute pages; choose another (--cpu max)\n";
            assert_eq!(ended.console, expected, "{cpu}");
        });
    }
}

/// The host hands over a seed as a file of the firmware configuration device. Without that and without a CPU that
/// has randomness the image does not start.
#[test]
fn no_source_of_randomness_is_one_line() {
    let boot = Boot::new(&Image::program("hello")).without_seed();
    everywhere(&boot.clone().cpu("qemu64"), 125, |ended| {
        assert_eq!(ended.kernels().len(), 1, "{}", ended.console);
        assert!(ended.kernels()[0].contains("no source of randomness"), "{}", ended.console);
    });
    everywhere(&boot.cpu("qemu64,+rdrand"), 0, |ended| assert_eq!(ended.kernels(), [""; 0]));
}

/// An image that drives virtio devices takes a seed from one, where there is nothing else.
#[test]
fn an_entropy_device_is_a_source_of_randomness() {
    let image = Image::program("loopback");
    for machine in [Machine::Q35, Machine::Pc] {
        let boot = Boot::new(&image).machine(machine).cpu("qemu64").without_seed();
        let refused = boot.clone().expect(125);
        assert!(refused.console.contains("no source of randomness"), "{}", refused.console);
        boot.qemu(&["-device", "virtio-rng-pci,disable-legacy=on"]).expect(0);
    }
}

#[test]
fn a_setting_that_is_wrong_is_named() {
    let image = Image::program("hello");
    for (line, parts) in [
        ("nonsense=1", ["\"nonsense=1\" is no setting", "tsc_hz"]),
        ("tsc_hz=fast", ["\"tsc_hz=fast\"", "expected a rate in Hz"]),
        ("env=X", ["\"env=X\"", "expected env=NAME=VALUE"]),
        ("isolation=yes", ["\"isolation=yes\"", "isolation=on or off"]),
        ("log=loud", ["\"log=loud\"", "log=error, warn, info or debug"]),
        ("env=A=\"b", ["double quote", "not closed"]),
    ] {
        // The last `-append` counts.
        everywhere(&Boot::new(&image).qemu(&["-append", line]), 125, |ended| {
            let [said] = ended.kernels()[..] else { panic!("not one line:\n{}", ended.console) };
            assert!(said.starts_with("command line: "), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        });
    }
}

#[test]
fn the_tool_refuses_a_program_without_a_kernel() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("Cargo.toml", "[package]\nname = \"bare\"\nedition = \"2024\"\n\n[workspace]\n"),
        // A linker script of the project's own drops the notes.
        (
            "build.rs",
            "fn main() { println!(\"cargo::rustc-link-arg=-Wl,--script={}\", std::path::Path::new(\
                      &std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()).join(\"drop.ld\").display()); }",
        ),
        ("drop.ld", "SECTIONS { /DISCARD/ : { *(.note.includeos) } } INSERT AFTER .text;\n"),
        ("src/main.rs", "fn main() {}\n"),
    ];
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        std::fs::write(path, content).expect("a file can be written");
    }
    let output = tool::command(folder.path(), &["run", "--quiet"]).output().expect("the tool was built");
    let stderr = tool::text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert!(
        matches!(errors[..], [line] if line.contains("no image note") && line.contains("remedy")),
        "{stderr}"
    );
}
