//! A set of small numbers, as a bitmap with summary levels above it.
//!
//! Level 0 has a bit per number; a bit of each level above says whether a word of the level below has any bit
//! set, up to a level of one word. So every operation looks at no more than one word per level. The words live in
//! storage that the owner passes to each call.
#![forbid(unsafe_code)]

use core::ops::Range;

/// Bits in a word, as a power of two.
pub(crate) const WORD_ORDER: usize = 6;
/// A set can hold numbers below `64^5`, about 10^9.
pub(crate) const MAX_LEVELS: usize = 5;

/// Where a set lies in the storage.
#[derive(Clone, Copy)]
pub(crate) struct Bitmap {
    /// First word of each level.
    start: [u32; MAX_LEVELS],
    /// Levels in use. 0: the set can hold nothing.
    levels: u8,
    /// The numbers are below this.
    bound: u32,
}

impl Bitmap {
    /// A set of numbers below `bound`, in the words from `*end` on; moves `*end` behind it. The words are not touched.
    pub(crate) const fn new(bound: usize, end: &mut usize) -> Self {
        let mut bitmap = Self { start: [0; MAX_LEVELS], levels: 0, bound: bound as u32 };
        let mut bits = bound;
        while bits > 0 {
            let words = bits.div_ceil(64);
            bitmap.start[bitmap.levels as usize] = *end as u32;
            bitmap.levels += 1;
            *end += words;
            bits = if words > 1 { words } else { 0 };
        }
        bitmap
    }

    /// The numbers are below this.
    pub(crate) fn bound(&self) -> usize {
        self.bound as usize
    }

    /// The words of each level, from level 0 upwards.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Range<usize>> {
        let mut words = self.bound();
        self.start[..self.levels as usize].iter().map(move |&start| {
            words = words.div_ceil(64);
            start as usize..start as usize + words
        })
    }

    /// Whether `number` is in the set. It may exceed the bound up to the end of its word.
    #[inline]
    pub(crate) fn contains(&self, words: &[u64], number: usize) -> bool {
        words[self.start[0] as usize + number / 64] & (1 << (number % 64)) != 0
    }

    /// Whether any of `first..first + (1 << order)` is in the set; `first` is a multiple of that many.
    pub(crate) fn contains_any(&self, words: &[u64], mut first: usize, mut order: usize) -> bool {
        let mut level = 0;
        while order > WORD_ORDER {
            first /= 64;
            order -= WORD_ORDER;
            level += 1;
        }
        let bits = u64::MAX >> (64 - (1 << order));
        words[self.start[level] as usize + first / 64] & (bits << (first % 64)) != 0
    }

    /// The smallest number of a set that is not empty.
    #[inline]
    pub(crate) fn first(&self, words: &[u64]) -> usize {
        let mut number = 0;
        for &start in self.start[..self.levels as usize].iter().rev() {
            number = number * 64 + words[start as usize + number].trailing_zeros() as usize;
        }
        number
    }

    /// Puts a number in. `true`: the set was empty.
    #[inline]
    pub(crate) fn insert(&self, words: &mut [u64], mut number: usize) -> bool {
        for &start in &self.start[..self.levels as usize] {
            let word = &mut words[start as usize + number / 64];
            let before = *word;
            *word = before | 1 << (number % 64);
            if before != 0 {
                return false;
            }
            number /= 64;
        }
        true
    }

    /// Takes a number out. `true`: the set is now empty.
    #[inline]
    pub(crate) fn remove(&self, words: &mut [u64], mut number: usize) -> bool {
        for &start in &self.start[..self.levels as usize] {
            let word = &mut words[start as usize + number / 64];
            *word &= !(1 << (number % 64));
            if *word != 0 {
                return false;
            }
            number /= 64;
        }
        true
    }

    /// The numbers of a set that is not empty, ascending.
    pub(crate) fn iter<'a>(&'a self, words: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
        let mut next = Some(self.first(words));
        core::iter::from_fn(move || {
            let number = next?;
            next = self.after(words, number);
            Some(number)
        })
    }

    /// The smallest member above `number`.
    fn after(&self, words: &[u64], mut number: usize) -> Option<usize> {
        let levels = &self.start[..self.levels as usize];
        for (level, &start) in levels.iter().enumerate() {
            let above = words[start as usize + number / 64] & (u64::MAX << 1 << (number % 64));
            if above != 0 {
                number = number / 64 * 64 + above.trailing_zeros() as usize;
                for &start in levels[..level].iter().rev() {
                    number = number * 64 + words[start as usize + number].trailing_zeros() as usize;
                }
                return Some(number);
            }
            number /= 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::for_seeds;
    use std::collections::BTreeSet;
    use std::vec;

    #[test]
    fn agrees_with_a_sorted_set() {
        for_seeds(if cfg!(miri) { 2 } else { 100 }, |mut rng| {
            let magnitude = [64, 70, 5000, 300_000][rng.below(4)];
            let bound = 1 + rng.below(magnitude);
            let mut end = 3;
            let bitmap = Bitmap::new(bound, &mut end);
            assert_eq!(bitmap.levels().last().unwrap().end, end);
            assert_eq!(bitmap.levels().last().unwrap().len(), 1);
            let mut words = vec![0; end];
            let mut model = BTreeSet::new();
            for _ in 0..if cfg!(miri) { 40 } else { 300 } {
                let number = rng.below(bound);
                if model.contains(&number) {
                    model.remove(&number);
                    assert_eq!(bitmap.remove(&mut words, number), model.is_empty());
                } else {
                    assert_eq!(bitmap.insert(&mut words, number), model.is_empty());
                    model.insert(number);
                }
                assert_eq!(bitmap.contains(&words, number), model.contains(&number));
                let order = rng.below(bound.ilog2() as usize + 1);
                let range = (number >> order << order)..(number >> order << order) + (1 << order);
                if range.end <= bound {
                    let any = model.range(range.clone()).next().is_some();
                    assert_eq!(bitmap.contains_any(&words, range.start, order), any);
                }
                if let Some(&first) = model.first() {
                    assert_eq!(bitmap.first(&words), first);
                    assert!(bitmap.iter(&words).eq(model.iter().copied()));
                }
            }
        });
    }
}
