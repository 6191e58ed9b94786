//! `posix/utsname`: all fields say something, and nowhere is no place for them.

use std::ffi::{CStr, c_char};

use super::show;

pub fn cases() {
    println!("# posix/utsname");
    // SAFETY: a structure of arrays of numbers.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is as large as the call takes it to be.
    show("uname", unsafe { libc::uname(&mut name) }.into());
    println!("{} on {}", text(&name.sysname), text(&name.machine));
    for (what, field) in [("node", &name.nodename), ("release", &name.release), ("version", &name.version)] {
        println!("{what} is told: {}", !text(field).is_empty());
    }
    // SAFETY: it is refused.
    show("uname to nowhere", unsafe { libc::uname(std::ptr::null_mut()) }.into());
}

fn text(field: &[c_char; 65]) -> &str {
    // SAFETY: the kernel ends each field with a zero.
    unsafe { CStr::from_ptr(field.as_ptr()) }.to_str().unwrap_or("?")
}
