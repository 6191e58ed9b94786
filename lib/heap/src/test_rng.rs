//! Random numbers for the model tests: small, seeded, the same on every host.

/// Marsaglia's xorshift64*.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator; different seeds give unrelated sequences.
    pub(crate) fn new(seed: u64) -> Self {
        // The state must not be 0; the multiplication spreads small seeds over all bits.
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize) % bound
    }
}

/// Runs `test` for each seed in `0..seeds` and names the seed that failed.
pub(crate) fn for_seeds(seeds: u64, test: impl Fn(Rng)) {
    for seed in 0..seeds {
        let guard = NameSeed(seed);
        test(Rng::new(seed));
        core::mem::forget(guard);
    }
}

struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        std::eprintln!("failed with seed {}", self.0);
    }
}
