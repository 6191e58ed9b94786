#![no_main]

use libfuzzer_sys::fuzz_target;

// The device's side of the virtio network driver: used ring, lengths, packet headers, configuration.
fuzz_target!(|octets: &[u8]| drivers::virtio::fake::play(octets));
