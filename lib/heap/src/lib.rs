//! Memory in two layers: page frames ([`Buddy`]) and objects on top of them ([`Heap`]).
//!
//! Neither knows the machine. [`Buddy`] deals in frame numbers and never touches the frames; [`Heap`] takes its
//! pages from whatever implements [`PageSource`]. The kernel's glue is the few lines that turn a frame number into
//! an address and back.
//!
//! Neither locks. Each is owned by one lock or one CPU, and a call never waits.
#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

mod buddy;
mod heap;
mod size_class;
mod slab;
#[cfg(test)]
mod test_rng;

pub use buddy::{Buddy, FreeError, MAX_ORDER};
pub use heap::{Heap, HeapStats, PageSource};
pub use size_class::SizeClass;

/// Bytes in a page frame, on every architecture supported.
pub const PAGE_SIZE: usize = 4096;
