//! Gives what libFuzzer makes up to the target that the environment names.
#![no_main]

use std::sync::OnceLock;

use fuzz_targets::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET is not set: start with fuzz/run");
    fuzz_targets::target(&name).unwrap_or_else(|| panic!("no such target: {name}"))
}

fuzz_target!(|octets: &[u8]| TARGET.get_or_init(chosen)(octets));
