//! Device drivers. Each implements a trait of `kernel::device` and knows nothing of who uses it.

#![no_std]

pub mod uart;
