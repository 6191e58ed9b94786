//! [`Inbox`]: what was sent to a socket and not received.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use kernel::mm::pages::Promise;
use linux::buffers::UserBuffers;
use linux::errno::{ENOBUFS, ENOMEM, Errno};
use linux::fd::Description;
use linux::socket::Credentials;

use super::rights::Rights;
use super::{MESSAGE_OVERHEAD, UnixSocket, WRITABLE};

/// What was sent at once, or a part of a stream. It counts among what its sender has sent until it is dropped.
pub struct Message {
    pub octets: Vec<u8>,
    pub sender: Arc<UnixSocket>,
    charge: usize,
    _memory: Promise,
}

impl Message {
    /// A message with the front octets of these buffers, so many at most, and with room for descriptions.
    ///
    /// # Errors
    /// `ENOBUFS`; `EFAULT`, if not one octet can be read.
    pub fn read(
        sender: Arc<UnixSocket>,
        from: &mut UserBuffers,
        len: usize,
        rights: &Rights,
    ) -> Result<Self, Errno> {
        let charge = len + MESSAGE_OVERHEAD;
        let (mut octets, mut memory) = (Vec::new(), Promise::none());
        let promised = memory.grow(charge + rights.len() * size_of::<Arc<Description>>());
        if !promised || octets.try_reserve_exact(len).is_err() {
            return Err(ENOBUFS);
        }
        octets.resize(len, 0);
        if len > 0 {
            let read = from.read(&mut octets)?;
            octets.truncate(read);
        }
        sender.sent.fetch_add(charge, Ordering::AcqRel);
        Ok(Self { octets, sender, charge, _memory: memory })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.sender.sent.fetch_sub(self.charge, Ordering::AcqRel);
        if self.sender.is_writable() {
            self.sender.readiness.notify(WRITABLE);
        }
    }
}

/// A message in a queue.
pub struct Queued {
    pub message: Arc<Message>,
    /// Octets that were received.
    pub start: usize,
    pub rights: Rights,
    /// The sender's; `None`: nobody asked for them when it was sent.
    pub credentials: Option<Credentials>,
}

impl Queued {
    pub fn len(&self) -> usize {
        self.message.octets.len().saturating_sub(self.start)
    }
}

#[derive(Default)]
pub struct Inbox {
    messages: VecDeque<Queued>,
    octets: usize,
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Octets in it.
    pub fn octets(&self) -> usize {
        self.octets
    }

    pub fn first_len(&self) -> usize {
        self.messages.front().map_or(0, Queued::len)
    }

    /// Puts a message behind the others.
    ///
    /// # Errors
    /// `ENOMEM`; the message stays with the caller.
    pub fn push(&mut self, message: &mut Option<Queued>) -> Result<(), Errno> {
        self.messages.try_reserve(1).map_err(|_| ENOMEM)?;
        if let Some(message) = message.take() {
            self.octets += message.len();
            self.messages.push_back(message);
        }
        Ok(())
    }

    pub fn pop(&mut self) -> Option<Queued> {
        let first = self.messages.pop_front()?;
        self.octets -= first.len();
        Some(first)
    }

    /// So many octets of the first message were received; gives it when that was all.
    pub fn consume(&mut self, octets: usize) -> Option<Queued> {
        let first = self.messages.front_mut()?;
        let octets = octets.min(first.len());
        first.start += octets;
        self.octets -= octets;
        if first.len() == 0 { self.messages.pop_front() } else { None }
    }

    /// The message in which the octet after `skip` others is, and how many of these are in it. An empty message is found if it was
    /// not passed over: with `skip` 0.
    pub fn find(&self, mut skip: usize) -> Option<(&Queued, usize)> {
        for queued in &self.messages {
            if skip < queued.len() || skip == 0 {
                return Some((queued, skip));
            }
            skip -= queued.len();
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.messages.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queued> {
        self.messages.iter_mut()
    }

    /// Drops all of it, but for the descriptions.
    pub fn into_descriptions(self) -> Vec<Arc<Description>> {
        let mut all = Vec::new();
        for queued in self.messages {
            all.append(&mut queued.rights.into_descriptions());
        }
        all
    }
}
