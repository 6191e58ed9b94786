//! Which descriptor numbers are taken.

use alloc::vec::Vec;

use crate::errno::{EMFILE, Errno};

const WORD: usize = u64::BITS as usize;

/// The numbers that are taken, a bit each. A second row of bits tells the words that are full, so that the lowest free number is
/// found in steps of 4096.
pub(super) struct Numbers {
    taken: Vec<u64>,
    full: Vec<u64>,
}

impl Numbers {
    pub(super) const fn new() -> Self {
        Self { taken: Vec::new(), full: Vec::new() }
    }

    /// The lowest free number from `from` on.
    pub(super) fn first_free(&self, from: usize) -> usize {
        let word = from / WORD;
        let Some(taken) = self.taken.get(word) else { return from };
        let here = taken | ((1 << (from % WORD)) - 1);
        if here != u64::MAX {
            return word * WORD + here.trailing_ones() as usize;
        }
        let word = first_zero(&self.full, word + 1);
        word * WORD + self.taken.get(word).map_or(0, |taken| taken.trailing_ones() as usize)
    }

    /// Makes room for numbers up to `number`.
    ///
    /// # Errors
    /// `EMFILE`: no memory.
    pub(super) fn reserve(&mut self, number: usize) -> Result<(), Errno> {
        grow(&mut self.taken, number / WORD + 1)?;
        grow(&mut self.full, number / WORD / WORD + 1)
    }

    /// Takes a number, for which there is room.
    pub(super) fn take(&mut self, number: usize) {
        let word = number / WORD;
        self.taken[word] |= 1 << (number % WORD);
        if self.taken[word] == u64::MAX {
            self.full[word / WORD] |= 1 << (word % WORD);
        }
    }

    /// Gives a number back.
    pub(super) fn give_back(&mut self, number: usize) {
        let word = number / WORD;
        self.taken[word] &= !(1 << (number % WORD));
        self.full[word / WORD] &= !(1 << (word % WORD));
    }
}

fn grow(words: &mut Vec<u64>, len: usize) -> Result<(), Errno> {
    if let Some(more) = len.checked_sub(words.len()) {
        words.try_reserve(more).map_err(|_| EMFILE)?;
        words.resize(len, 0);
    }
    Ok(())
}

/// The first bit from `from` on that is zero; those behind the words are.
fn first_zero(words: &[u64], from: usize) -> usize {
    // The bits below `from` count as ones.
    let mut below = (1 << (from % WORD)) - 1;
    for (i, word) in words.iter().enumerate().skip(from / WORD) {
        let word = word | below;
        if word != u64::MAX {
            return i * WORD + word.trailing_ones() as usize;
        }
        below = 0;
    }
    from.max(words.len() * WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_given_out() {
        let mut numbers = Numbers::new();
        let take = |numbers: &mut Numbers, from| {
            let free = numbers.first_free(from);
            numbers.reserve(free).unwrap();
            numbers.take(free);
            free
        };
        assert!((0..10_000).all(|number| take(&mut numbers, 0) == number));
        for number in [9_999, 4_096, 4_095, 64, 63, 0] {
            numbers.give_back(number);
        }
        assert_eq!(take(&mut numbers, 65), 4_095);
        assert_eq!(take(&mut numbers, 4_097), 9_999);
        assert_eq!(take(&mut numbers, 0), 0);
        assert_eq!([(); 4].map(|()| take(&mut numbers, 0)), [63, 64, 4_096, 10_000]);
        assert_eq!(take(&mut numbers, 20_000), 20_000);
        assert_eq!(take(&mut numbers, 20_000), 20_001);
        assert_eq!(take(&mut numbers, 0), 10_001);
    }

    #[test]
    fn agrees_with_looking_at_each() {
        const SEED: u64 = 7;
        let (mut numbers, mut model, mut random) = (Numbers::new(), alloc::vec![false; 9000], SEED);
        numbers.reserve(8999).unwrap();
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) as usize % 9000;
            if model[number] && step % 3 == 0 {
                numbers.give_back(number);
                model[number] = false;
            } else if !model[number] {
                numbers.take(number);
                model[number] = true;
            }
            let free = (number..).find(|&free| model.get(free) != Some(&true));
            assert_eq!(Some(numbers.first_free(number)), free, "seed {SEED}, step {step}");
        }
    }
}
