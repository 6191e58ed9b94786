//! [`Owners`]: whose a flow, a listener or an endpoint is.

use alloc::sync::Arc;
use alloc::vec::Vec;

use net::Handle;

/// Sockets by the handles of what the stack has for them. A handle that is out of date names nobody.
pub struct Owners<K, S> {
    slots: Vec<Option<(Handle<K>, Arc<S>)>>,
}

impl<K, S> Owners<K, S> {
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Notes whose it is.
    pub fn insert(&mut self, handle: Handle<K>, socket: Arc<S>) {
        let index = handle.index() as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some((handle, socket));
    }

    /// Whose it is.
    pub fn get(&self, handle: Handle<K>) -> Option<Arc<S>> {
        let (of, socket) = self.slots.get(handle.index() as usize)?.as_ref()?;
        (*of == handle).then(|| socket.clone())
    }

    /// It is nobody's any more.
    pub fn remove(&mut self, handle: Handle<K>) -> Option<Arc<S>> {
        let slot = self.slots.get_mut(handle.index() as usize)?;
        slot.take_if(|(of, _)| *of == handle).map(|(_, socket)| socket)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<S>> {
        self.slots.iter().flatten().map(|(_, socket)| socket)
    }
}
