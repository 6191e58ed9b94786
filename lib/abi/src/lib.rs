//! What the kernel, the image and the host tool agree on.
//!
//! Everything here is plain data or a pure function: both sides compile the same source, so that neither can
//! drift. The kernel reads what the tool writes (the command line) and the tool reads what the kernel writes (the
//! image note, the status record, the fault report).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod attached;
pub mod boot_info;
pub mod cmdline;
pub mod exit;
pub mod note;
pub mod report;
pub mod seed;
pub mod service;
