//! The registrations of an instance.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Item;
use crate::errno::{ENOMEM, Errno};
use crate::fd::Description;
use crate::readiness::Observer;

/// Registrations by descriptor and description, as Linux keys them. A descriptor that was closed and given out anew, while
/// another one keeps its old description, may have several: the first is found by its number, the others are looked for.
pub(super) struct Items {
    by_fd: Vec<Option<Arc<Item>>>,
    others: Vec<Arc<Item>>,
    len: usize,
}

impl Items {
    pub(super) const fn new() -> Self {
        Self { by_fd: Vec::new(), others: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.by_fd.iter().flatten().chain(&self.others)
    }

    pub(super) fn get(&self, fd: usize, description: *const Description) -> Option<&Arc<Item>> {
        let others = self.others.iter().filter(|item| item.fd == fd);
        self.by_fd.get(fd).into_iter().flatten().chain(others).find(|item| item.is_of(description))
    }

    /// Makes room for a registration of a descriptor.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn reserve(&mut self, fd: usize) -> Result<(), Errno> {
        if let Some(more) = (fd + 1).checked_sub(self.by_fd.len()) {
            self.by_fd.try_reserve(more).map_err(|_| ENOMEM)?;
            self.by_fd.resize(fd + 1, None);
        }
        self.others.try_reserve(1).map_err(|_| ENOMEM)
    }

    /// Adds a registration, for which [`Self::reserve`] made room.
    pub(super) fn insert(&mut self, item: Arc<Item>) {
        match self.by_fd.get_mut(item.fd) {
            Some(slot @ None) => *slot = Some(item),
            _ => self.others.push(item),
        }
        self.len += 1;
    }

    /// Takes the registration of a descriptor out for which `is` holds.
    pub(super) fn remove(&mut self, fd: usize, is: impl Fn(&Item) -> bool) -> Option<Arc<Item>> {
        let first = self.by_fd.get_mut(fd).and_then(|slot| slot.take_if(|item| is(item)));
        let removed = first.or_else(|| {
            let at = self.others.iter().position(|item| item.fd == fd && is(item))?;
            Some(self.others.swap_remove(at))
        })?;
        self.len -= 1;
        Some(removed)
    }
}
