//! [`Deadlines`]: many timers, the earliest first.

use alloc::vec::Vec;

use crate::Instant;

/// Not in the heap.
const NOWHERE: u32 = u32::MAX;

/// A deadline for each slot number, or none: a binary heap that knows where each slot stands. Setting and clearing takes
/// a number of steps that is logarithmic in the count of deadlines.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// By slot: its place in `heap`.
    places: Vec<u32>,
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new() }
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Instant> {
        Some(self.heap.first()?.0)
    }

    /// The slot of the earliest.
    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.heap.first()?.1)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<Instant> {
        Some(self.heap.get(self.place(slot)?)?.0)
    }

    /// Sets a slot's deadline in place of the one it had.
    pub(crate) fn set(&mut self, slot: u32, at: Instant) {
        match self.place(slot) {
            Some(place) => {
                self.heap[place].0 = at;
                self.down(place);
                self.up(place);
            }
            None => {
                if self.places.len() <= slot as usize {
                    self.places.resize(slot as usize + 1, NOWHERE);
                }
                self.places[slot as usize] = self.heap.len() as u32;
                self.heap.push((at, slot));
                self.up(self.heap.len() - 1);
            }
        }
    }

    pub(crate) fn clear(&mut self, slot: u32) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot as usize] = NOWHERE;
        self.heap.swap_remove(place);
        if let Some(&(_, moved)) = self.heap.get(place) {
            self.places[moved as usize] = place as u32;
            self.down(place);
            self.up(place);
        }
    }

    /// Takes the earliest deadline out, if it has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let &(_, slot) = self.heap.first().filter(|(at, _)| *at <= now)?;
        self.clear(slot);
        Some(slot)
    }

    fn place(&self, slot: u32) -> Option<usize> {
        self.places.get(slot as usize).filter(|place| **place != NOWHERE).map(|place| *place as usize)
    }

    fn up(&mut self, mut place: usize) {
        while place > 0 && self.heap[place].0 < self.heap[(place - 1) / 2].0 {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn down(&mut self, mut place: usize) {
        loop {
            let child = 2 * place + 1;
            let Some(first) = self.heap.get(child) else { return };
            let child = match self.heap.get(child + 1) {
                Some(second) if second.0 < first.0 => child + 1,
                _ => child,
            };
            if self.heap[place].0 <= self.heap[child].0 {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.places[self.heap[place].1 as usize] = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn as_a_sorted_set() {
        let mut rng = Rng::new(crate::Key([1, 2]));
        let (mut deadlines, mut model) = (Deadlines::new(), BTreeSet::new());
        for _ in 0..20_000 {
            let slot = rng.below(50);
            let old = deadlines.get(slot);
            assert_eq!(old, model.iter().find(|(_, s)| *s == slot).map(|(at, _)| *at));
            match rng.below(5) {
                0 => {
                    deadlines.clear(slot);
                    old.inspect(|at| assert!(model.remove(&(*at, slot))));
                }
                1 => {
                    let now = Instant(rng.below(1000).into());
                    match deadlines.pop_due(now) {
                        Some(slot) => {
                            let at = model.first().unwrap().0;
                            assert!(at <= now && model.remove(&(at, slot)));
                        }
                        None => assert!(model.first().is_none_or(|(at, _)| *at > now)),
                    }
                }
                _ => {
                    let at = Instant(rng.below(1000).into());
                    deadlines.set(slot, at);
                    old.inspect(|at| assert!(model.remove(&(*at, slot))));
                    model.insert((at, slot));
                }
            }
            assert_eq!(deadlines.next(), model.first().map(|(at, _)| *at));
        }
    }
}
