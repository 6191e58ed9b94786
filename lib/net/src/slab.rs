//! [`Slab`]: values that are named by small handles; and [`HandleMap`], what others keep for each of them.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// Names something of a stack: a connection, a listener, an endpoint. It is good until that is removed; later it names
/// nothing. `K` tells handles of different kinds apart.
pub struct Handle<K> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K> Handle<K> {
    /// The slot: unique among the values that exist now, and smaller than the slab's bound.
    pub const fn index(self) -> u32 {
        self.index
    }
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Handle<K> {}

impl<K> PartialEq for Handle<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<K> Eq for Handle<K> {}

impl<K> fmt::Debug for Handle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

/// Up to `max` values. Insertion allocates when more values exist than ever before; nothing else does.
#[derive(Debug)]
pub(crate) struct Slab<T, K> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    max: usize,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T, K> Slab<T, K> {
    pub(crate) const fn new(max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), max, kind: PhantomData }
    }

    /// Puts a value in. `Err`: there are `max` already.
    pub(crate) fn insert(&mut self, value: T) -> Result<Handle<K>, T> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.max.min(u32::MAX as usize) => {
                self.slots.push(Slot { generation: 0, value: None });
                (self.slots.len() - 1) as u32
            }
            None => return Err(value),
        };
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Ok(Handle { index, generation: slot.generation, kind: PhantomData })
    }

    pub(crate) fn get(&self, handle: Handle<K>) -> Option<&T> {
        let slot = self.slots.get(handle.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == handle.generation)
    }

    pub(crate) fn get_mut(&mut self, handle: Handle<K>) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == handle.generation)
    }

    pub(crate) fn remove(&mut self, handle: Handle<K>) -> Option<T> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        if slot.generation != handle.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.index);
        Some(value)
    }

    /// The handle of the value in a slot.
    pub(crate) fn handle_at(&self, index: u32) -> Option<Handle<K>> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref()?;
        Some(Handle { index, generation: slot.generation, kind: PhantomData })
    }

    /// All values, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle<K>, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let handle = Handle { index: index as u32, generation: slot.generation, kind: PhantomData };
            Some((handle, slot.value.as_ref()?))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// What a caller keeps for each thing that a stack names. A handle of something that is gone finds nothing, though its slot may
/// be another one's by now. As large as the most things there ever were at a time.
#[derive(Debug)]
pub struct HandleMap<V, K> {
    /// By slot, with the generation of the handle.
    slots: Vec<Option<(u32, V)>>,
    kind: PhantomData<fn() -> K>,
}

impl<V, K> HandleMap<V, K> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), kind: PhantomData }
    }

    /// Enters a value. Returns what stood in its place: the handle's own, or that of something that is gone.
    pub fn insert(&mut self, handle: Handle<K>, value: V) -> Option<V> {
        let index = handle.index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        Some(self.slots.get_mut(index)?.replace((handle.generation, value))?.1)
    }

    /// The handle's value.
    pub fn get(&self, handle: Handle<K>) -> Option<&V> {
        let (generation, value) = self.slots.get(handle.index as usize)?.as_ref()?;
        (*generation == handle.generation).then_some(value)
    }

    /// Takes the handle's value out.
    pub fn remove(&mut self, handle: Handle<K>) -> Option<V> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        Some(slot.take_if(|(generation, _)| *generation == handle.generation)?.1)
    }

    /// All values, in the order of their slots.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }
}

impl<V, K> Default for HandleMap<V, K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_names_nothing() {
        let mut slab: Slab<char, ()> = Slab::new(2);
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'));
        assert_eq!((slab.remove(a), slab.remove(a), slab.len()), (Some('a'), None, 1));
        let c = slab.insert('c').unwrap();
        assert_eq!(c.index(), a.index());
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(slab.handle_at(0), Some(c));
    }

    #[test]
    fn what_is_kept_for_an_old_handle_is_not_found_by_a_new_one() {
        let mut slab: Slab<(), ()> = Slab::new(2);
        let mut map = HandleMap::new();
        let old = slab.insert(()).unwrap();
        assert_eq!(map.insert(old, 'a'), None);
        assert_eq!(map.get(old), Some(&'a'));
        slab.remove(old);
        let new = slab.insert(()).unwrap();
        assert_eq!(new.index(), old.index());
        assert_eq!(map.get(new), None);
        assert_eq!(map.remove(new), None);
        assert_eq!(map.insert(new, 'b'), Some('a'), "the old one's is not kept");
        assert_eq!(map.remove(old), None);
        assert_eq!((map.get(old), map.get(new)), (None, Some(&'b')));
        assert_eq!((map.values().count(), map.remove(new)), (1, Some('b')));
    }
}
