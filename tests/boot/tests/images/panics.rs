//! Panics and aborts of the program.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, linux, tool};

#[test]
fn a_panic_ends_with_101_and_its_message() {
    let image = Image::program("panics");
    assert_eq!(linux::run(&image, &[], &[]), ("before\n".to_owned(), 101));
    everywhere(&Boot::new(&image), 101, |ended| {
        let console = &ended.console;
        assert!(console.starts_with("before\n") && !console.contains("never printed"), "{console}");
        assert!(
            console.contains("thread 'main'") && console.contains("panicked at src/bin/panics.rs:"),
            "{console}"
        );
        assert!(console.contains("index out of bounds: the len is 3 but the index is 3"), "{console}");
        assert_eq!(ended.kernels(), [""; 0], "the kernel has nothing to add");
    });
}

#[test]
fn the_tool_names_the_functions_of_a_panic() {
    let output = Image::run_by_tool("panics", &[]);
    let stdout = tool::text(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{stdout}");
    assert!(stdout.contains("panics::falls_over") && stdout.contains("src/bin/panics.rs:"), "{stdout}");
}

#[test]
fn an_abort_ends_with_134() {
    everywhere(&Boot::new(&Image::program("panics")).args(&["abort"]), 134, |ended| {
        assert_eq!(ended.programs(), "before\n");
        assert_eq!(ended.kernels(), ["the program ended by signal 6 (SIGABRT)"]);
    });
}
