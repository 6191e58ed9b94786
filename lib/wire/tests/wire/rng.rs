//! Random numbers: small, seeded, the same on every host.

/// Marsaglia's xorshift64*.
pub struct Rng(u64);

impl Rng {
    /// A generator; different seeds give unrelated sequences.
    pub fn new(seed: u64) -> Self {
        Rng((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Runs `test` for each seed in `0..seeds` and names the seed that failed.
pub fn for_seeds(seeds: u64, test: impl Fn(&mut Rng)) {
    for seed in 0..seeds {
        let guard = NameSeed(seed);
        test(&mut Rng::new(seed));
        std::mem::forget(guard);
    }
}

struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        eprintln!("failed with seed {}", self.0);
    }
}
