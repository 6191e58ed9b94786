//! Device drivers. Each implements a trait of `kernel::device` and knows nothing of who uses it.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "fake"))]
extern crate std;

pub mod uart;
pub mod virtio;
