//! What a QEMU process needs that `std::process` cannot say.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the child end with the *thread* that starts it, however that ends, and lets it inherit `keep`.
pub(crate) fn prepare(command: &mut Command, keep: Vec<RawFd>) {
    let parent = getpid();
    let setup = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for &fd in &keep {
            // SAFETY: `keep` is open in the parent until after `spawn`, hence in the child between fork and exec.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, `setup` makes a few system calls and does not allocate: the error kinds it
    // returns are plain values.
    unsafe { command.pre_exec(setup) };
}

/// A file in memory, closed on exec, and the path by which a child that inherits it can open it.
pub(crate) fn memory_file(name: &str) -> io::Result<(File, String)> {
    let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, path))
}
