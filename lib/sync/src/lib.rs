//! Locks for kernel data.
//!
//! Kernel data is touched only inside a kernel section, where no thread is preempted and no handler takes a lock;
//! so a lock is only ever contended by another CPU, and for a bounded time.

#![no_std]

mod once;
mod spin;

pub use once::Once;
pub use spin::{SpinGuard, SpinLock};
