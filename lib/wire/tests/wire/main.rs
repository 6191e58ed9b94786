//! Tests of the wire formats as a whole: against other implementations, and against everything that is no packet.

mod differential;
mod no_panic;
mod rng;

use rng::Rng;

/// Any octets.
fn octets<const N: usize>(rng: &mut Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.next() as u8)
}

/// Up to `max` octets.
fn up_to(rng: &mut Rng, max: usize) -> Vec<u8> {
    let len = rng.below(max + 1);
    (0..len).map(|_| rng.next() as u8).collect()
}
