//! What the kernel's parts share data by: locks, and the scheduler's queues and waiting.
//!
//! Kernel data is touched only inside a kernel section, where no thread is preempted and no handler takes a lock;
//! so a lock is only ever contended by another CPU, and for a bounded time.

#![no_std]

extern crate alloc;

mod atomic;
mod once;
pub mod park;
pub mod run_queue;
mod spin;
mod timer_queue;

pub use once::Once;
pub use spin::{SpinGuard, SpinLock};
pub use timer_queue::{TimerKey, TimerQueue};
