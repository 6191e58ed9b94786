//! [`Lent`].

use core::mem::ManuallyDrop;

use crate::Frame;
use crate::pool::DmaAddr;

/// A frame into which a device may write at any moment. It comes back by [`Self::returned`] when the device has said
/// that it is done; dropped before, its memory is never used again, since the device might still write to it.
#[derive(Debug)]
#[must_use = "its memory is lost if it is dropped"]
pub struct Lent {
    frame: ManuallyDrop<Frame>,
    dma: DmaAddr,
    capacity: u32,
}

impl Frame {
    /// Hands the space behind the headroom to a device, to be filled with a packet. `Err`: the block is shared or the
    /// frame is a chain. What the frame held is forgotten.
    pub fn lend(mut self) -> Result<Lent, Frame> {
        self.truncate(0);
        if !self.block.is_sole() {
            return Err(self);
        }
        let dma = self.block.dma().offset(self.start as usize);
        let capacity = self.block.capacity() as u32 - self.start;
        Ok(Lent { frame: ManuallyDrop::new(self), dma, capacity })
    }
}

impl Lent {
    /// Where the device writes.
    pub fn dma(&self) -> DmaAddr {
        self.dma
    }

    /// How many octets it may write.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The frame with the `len` octets that the device says it wrote: a claim, cut to what it could have written.
    ///
    /// # Safety
    /// The device is done with the memory: the used ring returned the descriptor, or the device was reset. What it
    /// wrote is visible to this CPU.
    pub unsafe fn returned(self, len: usize) -> Frame {
        let mut frame = ManuallyDrop::into_inner(self.frame);
        frame.head_len = len.min(self.capacity as usize) as u32;
        frame
    }
}
