//! [`Frame`]: the one packet buffer, from the driver to the socket without a copy.
//!
//! Its memory comes in blocks from a [`Pool`], which the kernel implements: memory that devices can reach, in sizes
//! that fit packets, counted against a [`Budget`]. A frame is a view of a block, or a chain of such views. Views
//! share blocks: a clone or a part of a frame costs a count, not a copy, and what is shared is read-only.
//!
//! No call waits. A call works as long as the chain it is given, unless it says otherwise.
#![no_std]

#[cfg(any(test, feature = "alloc"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod block;
mod budget;
mod frame;
#[cfg(any(test, feature = "alloc"))]
mod heap_pool;
mod lent;
mod offload;
mod pool;

pub use budget::{Budget, Pressure};
pub use frame::{Frame, Segment, Segments};
#[cfg(any(test, feature = "alloc"))]
pub use heap_pool::HeapPool;
pub use lent::Lent;
pub use offload::{ChecksumOffload, RxFrame, Segmentation, TxFrame};
pub use pool::{BLOCK_ALIGN, BLOCK_OVERHEAD, DmaAddr, LINK_LAYOUT, Memory, Pool};
