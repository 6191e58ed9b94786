//! [`Pool`]: where the memory comes from.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::block::{Block, Link};

/// What a block's memory is aligned to, in bytes: a cache line, so that no device writes into one that holds
/// something else.
pub const BLOCK_ALIGN: usize = 64;
/// Bytes of a block's memory that are not for octets.
pub const BLOCK_OVERHEAD: usize = size_of::<Block>();
/// What [`Pool::allocate_link`] is for.
pub const LINK_LAYOUT: Layout = Layout::new::<Link>();

/// An address as a device sees it on its bus. Equal to the physical address only where no IOMMU is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaAddr(pub u64);

impl DmaAddr {
    /// The address this many octets further on, in the same block.
    pub const fn offset(self, octets: usize) -> Self {
        Self(self.0.wrapping_add(octets as u64))
    }
}

/// A block's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Its first byte.
    pub start: NonNull<u8>,
    /// Bytes, more than [`BLOCK_OVERHEAD`] and at most 2^31.
    pub len: usize,
    /// Its first byte as devices see it. The block is contiguous for them, too.
    pub dma: DmaAddr,
}

/// Where frames get their memory, and where they give it back.
///
/// # Safety
/// What `allocate_block` and `allocate_link` return is valid for reads and writes, initialised, aligned
/// ([`BLOCK_ALIGN`], [`LINK_LAYOUT`]), and nobody else's until it is freed by the function of the same kind.
/// [`Memory`] keeps what its fields promise.
pub unsafe trait Pool: Sync {
    /// Memory for a block with room for `octets` beside [`BLOCK_OVERHEAD`]. `None`: the budget or the memory is used
    /// up, or no block is as long; the caller drops a packet and counts it.
    fn allocate_block(&self, octets: usize) -> Option<Memory>;

    /// Takes a block's memory back, on whatever CPU its last user was.
    ///
    /// # Safety
    /// `memory` came from this pool's `allocate_block`, was not given back since, and nobody uses it.
    unsafe fn free_block(&self, memory: Memory);

    /// Memory for a link of a chain. Seldom asked for: blocks bring one each.
    fn allocate_link(&self) -> Option<NonNull<u8>>;

    /// Takes a link's memory back.
    ///
    /// # Safety
    /// `link` came from this pool's `allocate_link`, was not given back since, and nobody uses it.
    unsafe fn free_link(&self, link: NonNull<u8>);
}
