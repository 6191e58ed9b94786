//! The status of the program becomes that of the command.

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, linux, tool};

#[test]
fn every_way_to_end_keeps_the_status() {
    let image = Image::program("exit");
    for way in ["call", "return", "thread"] {
        for status in [0u8, 1, 7, 127, 128, 200, 255] {
            let boot = Boot::new(&image).args(&[way, &status.to_string()]);
            assert_eq!(boot.expect(status).console, "", "{way}");
        }
    }
}

#[test]
fn on_every_machine_type() {
    for status in [7u8, 200] {
        let boot = Boot::new(&Image::program("exit")).args(&["return", &status.to_string()]);
        everywhere(&boot, status, |ended| assert_eq!(ended.console, ""));
    }
}

#[test]
fn as_on_linux() {
    for status in ["7", "200"] {
        linux::same_status(&Image::program("exit"), &["call", status]);
    }
}

#[test]
fn through_the_tool() {
    for status in [0, 7, 200] {
        let output = Image::run_by_tool("exit", &["call", &status.to_string()]);
        assert_eq!(output.status.code(), Some(status), "{}", tool::text(&output.stderr));
        assert_eq!((tool::text(&output.stdout), tool::text(&output.stderr)), Default::default());
    }
}
