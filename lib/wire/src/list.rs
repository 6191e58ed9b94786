//! [`List`].

use core::fmt;
use core::ops::Deref;

/// Up to `N` values in place. What comes from a packet has a bound, and none of it is worth an allocation.
#[derive(Clone, Copy)]
pub struct List<T, const N: usize> {
    items: [T; N],
    len: u8,
}

impl<T: Copy, const N: usize> List<T, N> {
    /// An empty list. `filler` stands where no item is, and is not seen.
    pub const fn new(filler: T) -> Self {
        const { assert!(N <= u8::MAX as usize) };
        Self { items: [filler; N], len: 0 }
    }

    /// Appends an item. `false`: the list is full and unchanged.
    #[inline]
    pub fn push(&mut self, item: T) -> bool {
        let Some(slot) = self.items.get_mut(self.len as usize) else { return false };
        *slot = item;
        self.len += 1;
        true
    }

    /// Appends the items for which there is room; the others are left out.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            if !self.push(item) {
                return;
            }
        }
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        &self.items[..self.len as usize]
    }
}

impl<T: PartialEq, const N: usize> PartialEq for List<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for List<T, N> {}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
