//! Shows arguments and environment so that no octet is ambiguous.

use std::os::unix::ffi::OsStrExt;

fn main() {
    for argument in std::env::args_os().skip(1) {
        println!("argument {}", argument.as_bytes().escape_ascii());
    }
    let mut variables: Vec<_> = std::env::vars_os().collect();
    variables.sort();
    for (name, value) in variables {
        println!("variable {} = {}", name.as_bytes().escape_ascii(), value.as_bytes().escape_ascii());
    }
}
