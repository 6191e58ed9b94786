//! The atomics of this crate: loom's under `cfg(loom)`, so that its models run the very code that the kernel runs.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};
