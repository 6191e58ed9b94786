//! mmap(2) of files.
//!
//! A mapping gets the file's octets when it is made: what is written to the file later does not show in it. (Of a private mapping
//! Linux leaves that open.) So a shared one that could be written to is refused.

use kernel::arch::current::paging::Protection;
use kernel::mm::{self, Map};
use kernel::sched;
use vfs::PAGE_SIZE;

use super::opened::{OpenDirectory, OpenFile, OpenPath};
use super::{Node, now, pages};
use crate::errno::{EACCES, EBADF, ENODEV, EOVERFLOW, Result};
use crate::fd::{Description, File};

/// Maps a file; `request` says where and how, and `shared` whether changes are the file's.
pub fn map(description: &Description, offset: u64, request: Map, shared: bool) -> Result {
    let Some(file) = description.downcast::<OpenFile>() else {
        let is_path = description.downcast::<OpenPath>().is_some();
        let is_directory = description.downcast::<OpenDirectory>().is_some();
        return Err(if is_path && !is_directory { EBADF } else { ENODEV });
    };
    file.check_readable().map_err(|_| EACCES)?;
    if shared && request.protection.write {
        file.check_writable().map_err(|_| EACCES)?;
        return Err(ENODEV);
    }
    let Some(node) = file.node().filter(|node| matches!(node.content(), vfs::Content::File(_))) else {
        return Err(ENODEV);
    };
    offset.checked_add(request.len).ok_or(EOVERFLOW)?;
    let protection = request.protection;
    // Executable pages are refused for what they will be, not for what they are at first.
    let filling = Protection { read: true, write: true, execute: protection.execute };
    let address = mm::map(Map { protection: filling, no_reserve: false, populate: false, ..request })?;
    let done = fill(node, offset, address, request.len)
        .and_then(|()| Ok(mm::protect(address, request.len, protection)?));
    if let Err(error) = done {
        // The pages are ours, and unmapping what was just mapped needs no memory.
        let _ = mm::unmap(address, request.len);
        return Err(error);
    }
    node.accessed(now());
    Ok(address)
}

fn fill(node: &Node, mut offset: u64, mut address: u64, len: u64) -> super::Outcome<()> {
    let end = address + len;
    while address < end
        && let Some((page, there)) = node.read_page(offset)?
    {
        let step = there.min((end - address) as usize);
        // What is a hole reads as zeroes as it is.
        if !matches!(page, vfs::PageRef::Hole) {
            pages::copy_to_program(&page, (offset % PAGE_SIZE as u64) as usize, address, step)?;
        }
        offset += step as u64;
        address += step as u64;
        sched::breathe();
    }
    Ok(())
}
