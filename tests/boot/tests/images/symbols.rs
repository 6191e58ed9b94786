//! What is not used is not in the image.

use std::collections::BTreeSet;

use boot_tests::Image;
use object::{Object, ObjectSection, ObjectSymbol};

/// The sections that are the kernel's.
const KERNEL_SECTIONS: [&str; 6] = ["ktext", "krodata", "kdata", "kbss", "kvdso", "kvdsodata"];
/// Crates whose modules are looked at one by one: those of this repository.
const OURS: [&str; 7] = ["abi", "drivers", "heap", "kernel", "linux", "sync", "vfs"];
/// What an image without services may hold.
const ALLOWED: [&str; 60] = [
    // What the compiler brings.
    "__rustc",
    "alloc",
    "core",
    // The generator behind `getrandom`.
    "chacha20",
    "rand_core",
    "abi::attached",
    "abi::boot_info",
    "abi::cmdline",
    "abi::exit",
    "abi::report",
    "abi::seed",
    "drivers::uart",
    "heap::bitmap",
    "heap::buddy",
    "heap::heap",
    "heap::size_class",
    "heap::slab",
    "kernel::arch",
    "kernel::console",
    "kernel::device",
    "kernel::entry",
    "kernel::exit",
    "kernel::log",
    "kernel::machine",
    "kernel::mm",
    "kernel::random",
    "kernel::report",
    "kernel::sched",
    "kernel::smp",
    "kernel::time",
    "kernel::uaccess",
    "linux::buffers",
    "linux::console",
    "linux::errno",
    "linux::fd",
    "linux::file",
    "linux::files",
    "linux::futex",
    "linux::info",
    "linux::limits",
    "linux::memory",
    "linux::poll",
    "linux::process",
    "linux::readiness",
    "linux::scheduling",
    "linux::service",
    "linux::signal",
    "linux::start",
    "linux::table",
    "linux::terminal",
    "linux::thread",
    "linux::time",
    "linux::usage",
    "sync::once",
    "sync::park",
    "sync::run_queue",
    "sync::spin",
    "sync::timer_queue",
    "sync::wait_list",
    "kernel::irq",
];
/// Names without a path, or their starts: assembly, what compilers call, the way from the kernel to `os/linux`.
const ALLOWED_NAMES: [&str; 11] = [
    "includeos_",
    "__includeos_",
    "boot_",
    "__start_k",
    "__stop_k",
    "linux_",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "bcmp",
];
/// Crates of which an image without services holds nothing. (`linux::socket` is what looks for the service.)
const SERVICES: [&str; 5] = ["net", "sockets", "wire", "frame", "virtio"];

#[test]
fn hello_holds_no_service() {
    let image = Image::program("hello");
    let octets = image.read();
    let elf = object::File::parse(octets.as_slice()).expect("an ELF file");
    let sections: Vec<_> = elf
        .sections()
        .filter(|section| section.name().is_ok_and(|name| KERNEL_SECTIONS.contains(&name)))
        .map(|section| section.index())
        .collect();
    assert_eq!(sections.len(), KERNEL_SECTIONS.len(), "each of the kernel's sections is there once");

    let mut found = BTreeSet::new();
    let mut bare = BTreeSet::new();
    for symbol in elf.symbols().filter(|s| s.section_index().is_some_and(|index| sections.contains(&index))) {
        let name = format!("{:#}", rustc_demangle::demangle(symbol.name().expect("text")));
        let modules = modules(&name);
        if modules.is_empty() && !name.contains("::") && !name.starts_with(".L") && !name.is_empty() {
            bare.insert(name.clone());
        }
        let mut parts = name.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(parts.all(|part| !SERVICES.contains(&part)), "a service is in hello: {name}");
        found.extend(modules);
    }
    let expected =
        ["kernel::sched", "kernel::arch", "linux::table", "linux::memory", "drivers::uart", "heap::buddy"];
    assert!(
        expected.iter().all(|module| found.contains(*module)),
        "the kernel is not found at all: {found:#?}"
    );

    let strangers: Vec<_> = found.iter().filter(|module| !ALLOWED.contains(&module.as_str())).collect();
    assert!(
        strangers.is_empty(),
        "hello holds what it does not use, or the list is out of date: {strangers:?}"
    );
    let allowed = |name: &str| {
        ALLOWED_NAMES.iter().any(|start| name.starts_with(start)) || ["strlen", "_end"].contains(&name)
    };
    let strangers: Vec<_> = bare.iter().filter(|name| !allowed(name)).collect();
    assert!(
        strangers.is_empty(),
        "hello holds what it does not use, or the list is out of date: {strangers:?}"
    );
}

/// The crates that a demangled name speaks of, those of this repository with their first module.
fn modules(name: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut modules = Vec::new();
    let mut before = ' ';
    for (at, c) in name.char_indices() {
        // A path starts with a word that follows neither a word nor `::`.
        if is_word(c) && !is_word(before) && before != ':' {
            let path = name[at..].split(|c: char| !is_word(c) && c != ':').next().unwrap_or_default();
            let mut parts = path.split("::");
            match (parts.next(), parts.next()) {
                (Some(first), Some(module)) if OURS.contains(&first) => {
                    modules.push(format!("{first}::{module}"))
                }
                (Some(first), Some(_)) => modules.push(first.to_owned()),
                _ => {}
            }
        }
        before = c;
    }
    modules
}

#[test]
fn modules_of_names() {
    assert_eq!(
        modules("<drivers::uart::Uart as kernel::device::Console>::read"),
        ["drivers::uart", "kernel::device"]
    );
    assert_eq!(modules("core::ptr::drop_in_place<net::tcp::Flow>"), ["core", "net"]);
    assert_eq!(modules("memcpy"), [""; 0]);
}
