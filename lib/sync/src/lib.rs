//! What the kernel's parts share data by: locks, the scheduler's queues, and how CPUs and threads wait, wake and are asked.
//!
//! Kernel data is touched only inside a kernel section, where no thread is preempted and no handler takes a lock;
//! so a lock is only ever contended by another CPU, and for a bounded time.
//!
//! A protocol without a lock is numbered rules at the top of its file, which `tests/loom.rs` checks in every order of
//! accesses that the memory model allows.

#![no_std]

extern crate alloc;

mod atomic;
mod flush;
mod idle;
mod notice;
mod once;
pub mod park;
mod pending;
pub mod run_queue;
mod spin;
mod timer_queue;
mod wait_list;

pub use flush::FlushTickets;
pub use idle::IdleSet;
pub use notice::Notice;
pub use once::Once;
pub use pending::{PendingWork, Vectors};
pub use spin::{SpinGuard, SpinLock};
pub use timer_queue::{TimerKey, TimerQueue};
pub use wait_list::{Requeued, WaitList, Waiters};
