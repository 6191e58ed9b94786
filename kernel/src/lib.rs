//! The kernel: CPU, memory, threads and time. What every image holds.
//!
//! Code here runs in one of three contexts (ARCHITECTURE.md, "Three contexts"): a *handler* records a bit and
//! leaves; a *kernel section* is entered at each trap or call from the program and is not preempted; everything
//! else is the *program*. All functions of this crate are called inside a kernel section unless they say otherwise.
//!
//! `cfg(includeos_metal)` is set when the object that boots is built. Without it the crate is an ordinary host
//! library, for unit tests and for `os/linux`'s.

#![no_std]

extern crate alloc;

pub mod arch;
pub mod console;
pub mod device;
pub mod entry;
pub mod exit;
pub mod log;
pub mod machine;
pub mod mm;
pub mod random;
pub mod report;
pub mod sched;
#[cfg(includeos_metal)]
pub mod smp;
pub mod time;
pub mod uaccess;
