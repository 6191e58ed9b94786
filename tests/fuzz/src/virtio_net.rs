//! The device's side of the virtio network driver: used ring, lengths, packet headers, configuration.

/// Plays the octets.
pub fn run(octets: &[u8]) {
    drivers::virtio::fake::play(octets);
}
