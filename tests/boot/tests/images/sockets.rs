//! Sockets inside one machine: what the calls do beyond moving octets.

use boot_tests::{Image, linux};

/// Options of sockets act as on Linux.
#[test]
fn options_of_sockets() {
    linux::same(&Image::program("options"), &[], &[], &[]);
}

/// Signals are read from descriptors; one of those who wait for a connection is woken.
#[test]
fn signals_as_descriptors() {
    linux::same(&Image::program("signalfd"), &[], &[], &[]);
}

/// Control messages, and several messages with one call.
#[test]
fn what_goes_beside_datagrams() {
    linux::same(&Image::program("ancillary"), &[], &[], &[]);
}
