//! getdents64(2).

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use kernel::uaccess;
use vfs::DirEntry;

use super::now;
use super::opened::OpenDirectory;
use crate::errno::{EINVAL, ENOMEM, ENOTDIR, Result};
use crate::fd;

/// getdents64(2).
pub fn getdents64(fd: i32, dirp: u64, count: u32) -> Result {
    /// Octets that go through the kernel at a step.
    const STEP: usize = 32 << 10;
    /// Octets of `struct linux_dirent64` before the name.
    const HEAD: usize = 19;
    let description = fd::get_open(fd)?;
    let directory = description.downcast::<OpenDirectory>().ok_or(ENOTDIR)?;
    let node = fd::File::node(directory).ok_or(ENOTDIR)?;
    let room = (count as usize).min(STEP);
    let mut entries: Vec<u8> = Vec::new();
    entries.try_reserve_exact(room).map_err(|_| ENOMEM)?;
    let _turn = directory.turn().take()?;
    let mut position = directory.position().load(Ordering::Relaxed);
    let mut too_small = false;
    let from = position;
    let mut take = |entry: DirEntry<'_>| {
        let len = (HEAD + entry.name.len() + 1).next_multiple_of(8);
        if len > room - entries.len() {
            too_small = entries.is_empty();
            return false;
        }
        entries.extend_from_slice(&entry.ino.to_le_bytes());
        entries.extend_from_slice(&entry.next.to_le_bytes());
        entries.extend_from_slice(&(len as u16).to_le_bytes());
        entries.push(entry.kind.dirent_type());
        entries.extend_from_slice(entry.name);
        entries.resize(entries.len().next_multiple_of(8).max(entries.len() + 1).next_multiple_of(8), 0);
        position = entry.next;
        true
    };
    node.entries(from, &mut take)?;
    if too_small {
        return Err(EINVAL);
    }
    uaccess::write_bytes(dirp, &entries)?;
    directory.position().store(position, Ordering::Relaxed);
    node.accessed(now());
    Ok(entries.len() as u64)
}
