//! A split virtqueue, the driver's side (§ 2.7).
//!
//! What is in shared memory is written here and never read back: the driver works from its own record of which chain is the
//! device's and what it may hold. What the device writes, two indices and the elements of the used ring, is checked against it.
//!
//! Memory is laid out as legacy devices expect it (§ 2.7.2), which newer ones do not mind: descriptor table, available ring,
//! and at the next multiple of 4096 the used ring.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering, fence};

use frame::DmaAddr;
use kernel::mm::dma::DmaRegion;

use super::transport::QueueAddresses;

/// Most pieces of memory in a chain.
pub const MAX_PIECES: usize = 16;

const DESCRIPTOR_LEN: usize = 16;
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
const DESC_INDIRECT: u16 = 4;
/// In `flags` of the available ring: the driver wants no interrupts.
const AVAIL_NO_INTERRUPT: u16 = 1;
/// In `flags` of the used ring: the device wants no notifications.
const USED_NO_NOTIFY: u16 = 1;
/// The bytes of an indirect table.
const TABLE_LEN: usize = MAX_PIECES * DESCRIPTOR_LEN;
const LEGACY_ALIGN: usize = 4096;

/// What was agreed upon that concerns a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFeatures {
    /// `RING_EVENT_IDX`.
    pub event_index: bool,
    /// `RING_INDIRECT_DESC`, and the queue has chains.
    pub indirect: bool,
}

/// A piece of memory for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub dma: DmaAddr,
    /// Octets.
    pub len: u32,
}

/// Which way a chain's memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads it.
    ToDevice,
    /// The device writes it.
    FromDevice,
}

/// A chain that came back.
#[derive(Debug)]
pub struct Used<T> {
    /// What was handed in with it.
    pub token: T,
    /// Octets that the device says it wrote; 0 if it claims more than there was room for.
    pub written: u32,
}

/// What the device did wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFaults {
    /// It gave back a chain that it did not have.
    pub bad_id: u64,
    /// It claims to have written more than there was room for.
    pub bad_length: u64,
    /// Its index claims more chains than it had. Nothing that it says is believed any more.
    pub bad_index: u64,
}

/// A chain that the device has.
struct Record<T> {
    token: T,
    descriptors: u16,
    writable: u32,
    /// Its index in the available ring.
    avail: u16,
}

/// A queue. `T` is what goes along with a chain and comes back with it, such as the owner of its memory.
pub struct Queue<T> {
    index: u16,
    size: u16,
    features: QueueFeatures,
    region: ManuallyDrop<DmaRegion>,
    used_offset: usize,
    tables: Option<DmaRegion>,
    /// By head of the chain.
    records: Vec<Option<Record<T>>>,
    /// Which descriptor follows which: in a chain, or in the list of the free ones.
    next: Vec<u16>,
    first_free: u16,
    free: u16,
    /// Chains that the device has.
    outstanding: u16,
    /// Index in the available ring for the next chain.
    avail: u16,
    /// Up to where the device was told, and up to where it was notified.
    published: u16,
    notified: u16,
    /// Index in the used ring of the next chain to come back.
    last_used: u16,
    faults: QueueFaults,
}

impl<T> Queue<T> {
    /// A queue of `size` entries, a power of two. `None`: no memory.
    pub(crate) fn new(index: u16, size: u16, features: QueueFeatures) -> Option<Self> {
        let entries = usize::from(size);
        let used_offset = (entries * DESCRIPTOR_LEN + 6 + 2 * entries).next_multiple_of(LEGACY_ALIGN);
        let region = DmaRegion::allocate(used_offset + 6 + 8 * entries)?;
        let tables = match features.indirect {
            true => Some(DmaRegion::allocate(entries * TABLE_LEN)?),
            false => None,
        };
        let mut records = Vec::new();
        records.try_reserve_exact(entries).ok()?;
        records.resize_with(entries, || None);
        let mut next = Vec::new();
        next.try_reserve_exact(entries).ok()?;
        next.extend((1..=size).map(|next| next % size));
        let queue = Self {
            index,
            size,
            features,
            region: ManuallyDrop::new(region),
            used_offset,
            tables,
            records,
            next,
            first_free: 0,
            free: size,
            outstanding: 0,
            avail: 0,
            published: 0,
            notified: 0,
            last_used: 0,
            faults: QueueFaults::default(),
        };
        Some(queue)
    }

    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where its parts are.
    pub fn addresses(&self) -> QueueAddresses {
        let dma = self.region.dma();
        QueueAddresses {
            descriptors: dma,
            avail: dma.offset(self.avail_offset()),
            used: dma.offset(self.used_offset),
        }
    }

    /// Chains that the device has, or that wait to come back.
    pub fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// Gives the queue's own memory back, and returns what the device had.
    ///
    /// # Safety
    /// The device was reset, and nothing follows but that the queue is dropped.
    pub unsafe fn take_apart(&mut self) -> impl Iterator<Item = T> + '_ {
        // SAFETY: it is not used again, nor does the device know of it any more (caller).
        unsafe { ManuallyDrop::take(&mut self.region).free() };
        if let Some(tables) = self.tables.take() {
            // SAFETY: as above.
            unsafe { tables.free() };
        }
        self.records.iter_mut().filter_map(Option::take).map(|record| record.token)
    }

    /// What the device did wrong.
    pub fn faults(&self) -> QueueFaults {
        self.faults
    }

    /// Whether a chain of so many pieces can be added now.
    pub fn has_room(&self, pieces: usize) -> bool {
        let needed = if self.tables.is_some() { 1 } else { pieces };
        (1..=MAX_PIECES).contains(&pieces) && needed <= usize::from(self.free)
    }

    /// The number that [`Self::add`] would give to the next chain, below [`Self::size`].
    pub fn next_id(&self) -> u16 {
        self.first_free
    }

    /// Adds a chain for the device, which hears of it by [`Self::publish`]. The memory is the device's until the chain comes
    /// back; `token` should own it.
    ///
    /// # Errors
    /// There is no room ([`Self::has_room`]); `token` comes back.
    pub fn add(&mut self, pieces: &[Piece], direction: Direction, token: T) -> Result<(), T> {
        if !self.has_room(pieces.len()) {
            return Err(token);
        }
        let head = self.first_free;
        let write = if direction == Direction::FromDevice { DESC_WRITE } else { 0 };
        let descriptors = match &self.tables {
            Some(tables) if pieces.len() > 1 => {
                let table = usize::from(head) * TABLE_LEN;
                for (at, piece) in pieces.iter().enumerate() {
                    let last = at + 1 == pieces.len();
                    let flags = write | if last { 0 } else { DESC_NEXT };
                    write_descriptor(tables, table + at * DESCRIPTOR_LEN, *piece, flags, at as u16 + 1);
                }
                let len = (pieces.len() * DESCRIPTOR_LEN) as u32;
                let piece = Piece { dma: tables.dma().offset(table), len };
                write_descriptor(&self.region, usize::from(head) * DESCRIPTOR_LEN, piece, DESC_INDIRECT, 0);
                1
            }
            _ => {
                let mut id = head;
                for (at, piece) in pieces.iter().enumerate() {
                    let next = self.next[usize::from(id)];
                    let last = at + 1 == pieces.len();
                    let flags = write | if last { 0 } else { DESC_NEXT };
                    write_descriptor(&self.region, usize::from(id) * DESCRIPTOR_LEN, *piece, flags, next);
                    id = next;
                }
                pieces.len() as u16
            }
        };
        for _ in 0..descriptors {
            self.first_free = self.next[usize::from(self.first_free)];
        }
        self.free -= descriptors;
        self.outstanding += 1;
        let sum = pieces.iter().fold(0_u32, |sum, piece| sum.saturating_add(piece.len));
        let writable = if write != 0 { sum } else { 0 };
        self.records[usize::from(head)] = Some(Record { token, descriptors, writable, avail: self.avail });
        let slot = usize::from(self.avail & (self.size - 1));
        self.region.u16(self.avail_offset() + 4 + 2 * slot).store(head, Ordering::Relaxed);
        self.avail = self.avail.wrapping_add(1);
        Ok(())
    }

    /// Shows the device the chains that were added. Returns whether it wants to be notified of them.
    pub fn publish(&mut self) -> bool {
        if self.published != self.avail {
            self.published = self.avail;
            // Release: who sees the index sees the chains (§ 2.7.13.3).
            self.region.u16(self.avail_offset() + 2).store(self.avail, Ordering::Release);
        }
        if self.notified == self.avail {
            return false;
        }
        // The device writes its wish and looks at the index; we the other way round (§ 2.7.13.4.1).
        fence(Ordering::SeqCst);
        let old = core::mem::replace(&mut self.notified, self.avail);
        match self.features.event_index {
            true => {
                let event = self.region.u16(self.used_offset + 4 + 8 * usize::from(self.size));
                passes(event.load(Ordering::Relaxed), self.avail, old)
            }
            false => self.region.u16(self.used_offset).load(Ordering::Relaxed) & USED_NO_NOTIFY == 0,
        }
    }

    /// The next chain that the device is done with. Looks at no more elements than the queue has.
    pub fn pop(&mut self) -> Option<Used<T>> {
        if self.faults.bad_index > 0 {
            return None;
        }
        // Acquire pairs with the device's release of the index: what it wrote before is seen.
        let end = self.region.u16(self.used_offset + 2).load(Ordering::Acquire);
        if end.wrapping_sub(self.last_used) > self.outstanding {
            self.faults.bad_index += 1;
            return None;
        }
        while self.last_used != end {
            let slot = self.used_offset + 4 + 8 * usize::from(self.last_used & (self.size - 1));
            let id = self.region.u32(slot).load(Ordering::Relaxed);
            let written = self.region.u32(slot + 4).load(Ordering::Relaxed);
            self.last_used = self.last_used.wrapping_add(1);
            let record = usize::try_from(id).ok().and_then(|id| self.records.get_mut(id));
            // Published: the device has seen it.
            let seen = |record: &mut Record<T>| {
                self.published.wrapping_sub(record.avail).wrapping_sub(1) < self.size
            };
            let Some(Record { token, descriptors, writable, .. }) =
                record.and_then(|record| record.take_if(seen))
            else {
                self.faults.bad_id += 1;
                continue;
            };
            let written = if written > writable {
                self.faults.bad_length += 1;
                0
            } else {
                written
            };
            self.release(id as u16, descriptors);
            return Some(Used { token, written });
        }
        None
    }

    /// Puts a chain's descriptors in front of the free ones.
    fn release(&mut self, head: u16, descriptors: u16) {
        let mut last = head;
        for _ in 1..descriptors {
            last = self.next[usize::from(last)];
        }
        self.next[usize::from(last)] = self.first_free;
        self.first_free = head;
        self.free += descriptors;
        self.outstanding -= 1;
    }

    /// Has the device interrupt when `more` further chains have come back, at least one. True: so many have already, and it
    /// may not interrupt for them.
    pub fn enable_interrupts(&mut self, more: u16) -> bool {
        let wanted = more.max(1);
        match self.features.event_index {
            true => self.used_event(self.last_used.wrapping_add(wanted - 1)),
            false => self.region.u16(self.avail_offset()).store(0, Ordering::Relaxed),
        }
        // The other way round than the device (§ 2.7.7.2).
        fence(Ordering::SeqCst);
        let end = self.region.u16(self.used_offset + 2).load(Ordering::Acquire);
        self.faults.bad_index == 0 && end.wrapping_sub(self.last_used) >= wanted
    }

    /// Asks the device not to interrupt.
    pub fn disable_interrupts(&mut self) {
        match self.features.event_index {
            // As far away as an index can be.
            true => self.used_event(self.last_used.wrapping_add(1 << 15)),
            false => self.region.u16(self.avail_offset()).store(AVAIL_NO_INTERRUPT, Ordering::Relaxed),
        }
    }

    fn used_event(&self, index: u16) {
        self.region.u16(self.avail_offset() + 4 + 2 * usize::from(self.size)).store(index, Ordering::Relaxed);
    }

    fn avail_offset(&self) -> usize {
        usize::from(self.size) * DESCRIPTOR_LEN
    }
}

fn write_descriptor(region: &DmaRegion, offset: usize, piece: Piece, flags: u16, next: u16) {
    region.u64(offset).store(piece.dma.0, Ordering::Relaxed);
    region.u32(offset + 8).store(piece.len, Ordering::Relaxed);
    region.u16(offset + 12).store(flags, Ordering::Relaxed);
    region.u16(offset + 14).store(next, Ordering::Relaxed);
}

/// Whether an index that goes from `old` to `new` passes `event` (§ 2.7.7.1, `vring_need_event`).
pub(crate) fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests;
