//! [`TimerQueue`]: deadlines, the earliest first.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Names an entry of a [`TimerQueue`]; of no use once that entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey {
    slot: u32,
    /// Tells the entry from an earlier one in the same slot.
    generation: u32,
}

/// A binary heap of deadlines whose entries know their places, so that one in the middle can be taken out. Exact to the
/// nanosecond; inserting, removing and expiring take O(log n).
///
/// A timer wheel would be O(1), but coarse: with one-shot timers and no tick a thread's deadline is met as it was asked for.
pub struct TimerQueue<T> {
    slots: Vec<Slot<T>>,
    /// First free slot, chained through `place`; `NONE`: none.
    free: u32,
    /// Slots by deadline, a heap.
    heap: Vec<u32>,
}

struct Slot<T> {
    deadline: u64,
    generation: u32,
    /// Place in the heap, or the next free slot.
    place: u32,
    value: Option<T>,
}

const NONE: u32 = u32::MAX;

impl<T> TimerQueue<T> {
    /// No deadlines.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, heap: Vec::new() }
    }

    /// Makes room for `total` entries, so that [`Self::insert`] does not allocate up to there.
    ///
    /// # Errors
    /// No memory.
    pub fn try_reserve(&mut self, total: usize) -> Result<(), TryReserveError> {
        self.slots.try_reserve(total.saturating_sub(self.slots.len()))?;
        self.heap.try_reserve(total.saturating_sub(self.heap.len()))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds an entry. Entries with equal deadlines expire in no particular order.
    pub fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let place = self.heap.len() as u32;
        let slot = if self.free == NONE {
            self.slots.push(Slot { deadline, generation: 0, place, value: Some(value) });
            self.slots.len() as u32 - 1
        } else {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            self.free = slot.place;
            *slot = Slot { deadline, place, value: Some(value), ..*slot };
            index
        };
        self.heap.push(slot);
        self.sift_up(place as usize);
        TimerKey { slot, generation: self.slots[slot as usize].generation }
    }

    /// Takes an entry out. `None`: it is not there any more.
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.generation != key.generation || slot.value.is_none() {
            return None;
        }
        let place = slot.place as usize;
        self.take(place).map(|(_, value)| value)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<u64> {
        self.heap.first().map(|&slot| self.slots[slot as usize].deadline)
    }

    /// Takes out the earliest entry if its deadline is `now` or before.
    pub fn pop_expired(&mut self, now: u64) -> Option<(u64, T)> {
        if self.next()? <= now { self.take(0) } else { None }
    }

    /// Takes the entry at a place of the heap.
    fn take(&mut self, place: usize) -> Option<(u64, T)> {
        let index = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.slots[self.heap[place] as usize].place = place as u32;
            self.sift_up(place);
            self.sift_down(place);
        }
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.place = self.free;
        self.free = index;
        slot.value.take().map(|value| (slot.deadline, value))
    }

    fn deadline_at(&self, place: usize) -> u64 {
        self.slots[self.heap[place] as usize].deadline
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.slots[self.heap[a] as usize].place = a as u32;
        self.slots[self.heap[b] as usize].place = b as u32;
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.deadline_at(parent) <= self.deadline_at(place) {
                return;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let Some(child) = children.min_by_key(|&child| self.deadline_at(child)) else { return };
            if self.deadline_at(place) <= self.deadline_at(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn expire_in_order() {
        let mut queue = TimerQueue::new();
        for deadline in [5, 1, 4, 2, 3] {
            queue.insert(deadline, deadline * 10);
        }
        assert_eq!(queue.next(), Some(1));
        assert_eq!(queue.pop_expired(0), None);
        let order: Vec<_> = core::iter::from_fn(|| queue.pop_expired(4)).collect();
        assert_eq!(order, [(1, 10), (2, 20), (3, 30), (4, 40)]);
        assert_eq!(queue.next(), Some(5));
    }

    #[test]
    fn a_key_names_one_entry_for_ever() {
        let mut queue = TimerQueue::new();
        let first = queue.insert(1, 'a');
        assert_eq!(queue.remove(first), Some('a'));
        assert_eq!(queue.remove(first), None);
        let second = queue.insert(2, 'b');
        assert_eq!(queue.remove(first), None);
        assert_eq!(queue.pop_expired(9), Some((2, 'b')));
        assert_eq!(queue.remove(second), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn behaves_as_a_sorted_map() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut queue, mut model, mut keys) = (TimerQueue::new(), BTreeMap::new(), Vec::new());
        for id in 0..if cfg!(miri) { 300 } else { 4_000u64 } {
            match next(3) {
                0 | 1 => {
                    let deadline = next(1_000) << 20 | id;
                    keys.push((queue.insert(deadline, id), deadline));
                    model.insert(deadline, id);
                }
                _ if next(2) == 0 && !keys.is_empty() => {
                    let (key, deadline) = keys.swap_remove(next(keys.len() as u64) as usize);
                    assert_eq!(queue.remove(key), model.remove(&deadline));
                }
                _ => assert_eq!(queue.pop_expired(u64::MAX), model.pop_first()),
            }
            assert_eq!(queue.next(), model.first_key_value().map(|(&deadline, _)| deadline));
            assert_eq!(queue.len(), model.len());
        }
    }
}
