//! The Linux system-call ABI: what libc, and with it every program, stands on.
//!
//! A call arrives in [`table`], which is data and documentation at once, goes to the handler in its family's file, and
//! from there to a kernel object. Handlers read like the man page: convert arguments, call one thing, return. What is
//! not implemented returns `ENOSYS` and is named once in the log. Nothing here assumes ring 0: registers in, result out,
//! memory by `kernel::uaccess`.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod buffers;
pub mod console;
pub mod epoll;
pub mod errno;
pub mod eventfd;
pub mod fd;
pub mod file;
pub mod files;
pub mod futex;
pub mod info;
pub mod limits;
pub mod memory;
pub mod pace;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod readiness;
pub mod scheduling;
pub mod service;
pub mod signal;
pub mod signalfd;
pub mod socket;
pub mod start;
pub mod table;
pub mod terminal;
pub mod thread;
pub mod time;
pub mod timer;
pub mod timerfd;
pub mod turn;
pub mod usage;
