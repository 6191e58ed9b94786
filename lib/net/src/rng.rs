//! [`Rng`]: numbers that nobody outside guesses.

use crate::{Key, siphash};

/// A keyed hash of a counter: good enough for identifiers and delays that an attacker off the path must not guess.
/// Not for keys.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    key: Key,
    count: u64,
}

impl Rng {
    /// `key` is used for nothing else.
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, count: 0 }
    }

    /// A number of 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        siphash(&self.key, &self.count.to_le_bytes())
    }

    /// A number in `0..bound`; 0 if that is empty.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A key for something else.
    pub(crate) fn key(&mut self) -> Key {
        Key([self.next(), self.next()])
    }
}
