//! What every program does: the same output and status as of the same file as a Linux process.

use std::time::{SystemTime, UNIX_EPOCH};

use boot_tests::boot::{ISOLATION, everywhere, on_any_number_of_cpus};
use boot_tests::{Boot, Image, linux};

#[test]
fn hello() {
    linux::same(&Image::program("hello"), &["a", "b c"], &["HELLO=world"], &[]);
}

#[test]
fn arguments_and_environment_arrive_octet_by_octet() {
    let args = [
        "",
        " ",
        "two words",
        "\"quoted\"",
        "back\\slash",
        "\\\"",
        "--",
        "-v",
        "ünïcödé 漢字 🦀",
        "a=b",
        "*",
        "$HOME",
        "tab\there",
        "line\nbreak",
        "'",
        "tsc_hz=1",
    ];
    let env = [
        "EMPTY=",
        "BLANKS= two  words ",
        "QUOTES=\"a\" 'b' \\",
        "UNICODE=größe 漢",
        "EQUALS=a=b=c",
        "LINES=1\n2",
    ];
    linux::same(&Image::program("env_args"), &args, &env, &[]);
}

#[test]
fn no_arguments_and_no_environment() {
    everywhere(&Boot::new(&Image::program("env_args")), 0, |ended| assert_eq!(ended.console, ""));
}

#[test]
fn many_arguments() {
    let args: Vec<String> = (0..400).map(|n| format!("argument{n}")).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // QEMU hands over at most 2047 octets on some machines, so not everywhere.
    let image = Image::program("env_args");
    let (expected, _) = linux::run(&image, &args[..100], &[]);
    assert_eq!(Boot::new(&image).args(&args[..100]).expect(0).console, expected);
}

#[test]
fn threads() {
    linux::same(&Image::program("threads"), &[], &[], &[]);
}

/// The state of vector registers is kept by FXSAVE where the CPU has no XSAVE.
#[test]
fn threads_without_xsave() {
    let image = Image::program("threads");
    let (expected, status) = linux::run(&image, &[], &[]);
    for cpu in ["qemu64,+rdrand", "qemu64", "max,-xsave", "max,-avx"] {
        for isolation in ISOLATION {
            let ended = Boot::new(&image).cpu(cpu).isolation(isolation).expect(status);
            assert_eq!(ended.console, expected, "{cpu} isolation={isolation}");
        }
    }
}

#[test]
fn time() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the host's clock is set").as_secs();
    linux::same(&Image::program("time"), &[&now.to_string()], &[], &[]);
}

#[test]
fn console_input() {
    let input = b"one\n\xc3\xbcber\n\nend\nnever read\n";
    everywhere(&Boot::new(&Image::program("echo")).input(input), 0, |ended| {
        assert_eq!(
            ended.console,
            "ready\nheard \"one\"\nheard \"über\"\nheard \"\"\nheard \"end\"\ngoodbye\n"
        );
    });
}

#[test]
fn the_end_of_console_input() {
    everywhere(&Boot::new(&Image::program("echo")).input(b"last\n\x04"), 0, |ended| {
        assert_eq!(ended.console, "ready\nheard \"last\"\nend of input\n");
    });
}

#[test]
fn more_input_than_any_queue_holds() {
    let mut input = "x".repeat(20_000);
    input.push_str("\nend\n");
    everywhere(&Boot::new(&Image::program("echo")).input(input.as_bytes()), 0, |ended| {
        let line = ended.console.lines().find(|line| line.starts_with("heard \"x")).unwrap_or_default();
        assert_eq!(line.len(), "heard \"\"".len() + 20_000, "octets are lost");
        assert!(ended.console.ends_with("goodbye\n"));
    });
}

#[test]
fn signals() {
    linux::same(&Image::program("signals"), &[], &[], &[]);
}

#[test]
fn signal_frames() {
    let image = Image::program("signal_frames");
    linux::same(&image, &["registers"], &[], &[]);
    for refused in ["header", "unaligned", "nowhere"] {
        everywhere(&Boot::new(&image).args(&[refused]), 139, |ended| {
            // What Linux does, too; then SIGSEGV ends it.
            assert!(ended.programs().starts_with(&format!("{refused}:\nthe state is a new one: true\n")));
        });
    }
    for cpu in ["qemu64,+rdrand", "max,-xsave"] {
        for isolation in ISOLATION {
            let boot = Boot::new(&image).cpu(cpu).isolation(isolation);
            boot.clone().args(&["registers"]).expect(0);
            let ended = boot.args(&["unaligned"]).expect(139);
            assert!(ended.programs().starts_with("unaligned:\nthe state is a new one: true\n"), "{cpu}");
        }
    }
}

#[test]
fn vectors_grow_and_shrink_without_losing_a_word() {
    linux::same(&Image::program("growth"), &[], &[], &[]);
}

#[test]
fn files() {
    linux::same(&Image::program("files"), &[], &[], &[]);
}

#[test]
fn locks_of_parts_of_files() {
    linux::same(&Image::program("record_locks"), &[], &[], &[]);
}

/// With so little memory that what a mapping left behind would be missed.
#[test]
fn mappings_of_files() {
    let image = Image::program("mappings");
    linux::same_by(&Boot::new(&image).memory_mib(48), linux::run(&image, &[], &[]), &[]);
}

#[test]
fn pipes() {
    linux::same(&Image::program("pipes"), &[], &[], &[]);
}

#[test]
fn pipes_with_a_name() {
    linux::same(&Image::program("fifos"), &[], &[], &[]);
}

#[test]
fn transfers() {
    linux::same(&Image::program("transfers"), &[], &[], &[]);
}

#[test]
fn what_proc_tells_of_the_process() {
    linux::same(&Image::program("process_files"), &["an argument"], &["ONE=1", "TWO=a b"], &[]);
}

/// Not compared: as a Linux process it has no terminal here.
#[test]
fn the_console_is_a_terminal() {
    everywhere(&Boot::new(&Image::program("terminal")).input(b"a\x04\rb"), 0, |ended| {
        let expected = "true true true\ntrue false\ncanonical: true\nset: 0\ngot: 0\n24 80 1 2\ngroup: true 0\n\
                        drained: 0\nraw: true\nready\n[97, 4, 13, 98]\nnothing comes: 0\ncooked: true\n";
        assert_eq!(ended.console, expected);
    });
}

#[test]
fn timers() {
    linux::same(&Image::program("timers"), &[], &[], &[]);
}

#[test]
fn usage() {
    linux::same(&Image::program("usage"), &[], &[], &[]);
}

/// With so little memory that what registrations left behind would be missed.
#[test]
fn epoll() {
    let image = Image::program("epoll");
    linux::same_by(&Boot::new(&image).memory_mib(10), linux::run(&image, &[], &[]), &[]);
}

#[test]
fn locks() {
    linux::same(&Image::program("locks"), &[], &[], &[]);
}

/// Not compared: as a Linux process it takes a right that not every user has.
#[test]
fn the_owner_of_a_lock_inherits_the_priority_of_those_that_wait() {
    on_any_number_of_cpus(&Boot::new(&Image::program("inversion")), 0, |ended| {
        let expected = "the medium one runs, and nobody else: true\nthe high one had the lock\n\
                        the low one kept its own policy: true\n";
        assert_eq!(ended.console, expected);
    });
}
