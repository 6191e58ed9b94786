//! The cases of IncludeOS' own tests of files and POSIX, each in a module with the name of its test.
//!
//! `includeos_cases FOLDER` makes all of them but `posix/main`, on the files in a folder, which it does not change. What they
//! say is the same on Linux and in an image, wherever the folder is.

mod fs_vfs;
mod posix_conf;
mod posix_file_fd;
mod posix_main;
mod posix_pthread;
mod posix_stat;
mod posix_utsname;
mod util_tar;

use std::ffi::{CStr, CString};
use std::io::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, folder] = &arguments[..] else { return posix_main::main(&arguments) };
    std::env::set_current_dir(folder).expect("the folder is there");
    posix_file_fd::cases();
    posix_stat::cases(folder);
    posix_conf::cases();
    posix_utsname::cases();
    posix_pthread::cases();
    fs_vfs::cases();
    util_tar::cases();
    ExitCode::SUCCESS
}

/// Prints what a call of libc returned, or the error that it set.
fn show(what: &str, result: i64) {
    match result {
        -1 => println!("{what}: {}", error()),
        result => println!("{what}: {result}"),
    }
}

/// The error of the last call of libc, in words.
fn error() -> String {
    let number = Error::last_os_error().raw_os_error().unwrap_or_default();
    // SAFETY: strerror(3) returns a string that lives until its next call.
    unsafe { CStr::from_ptr(libc::strerror(number)) }.to_string_lossy().into_owned()
}

fn cstr(text: &str) -> CString {
    CString::new(text).expect("no zero octet")
}
