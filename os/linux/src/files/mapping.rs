//! mmap(2) of files: pages are the file's own, and a private mapping copies one when it is written (see [`kernel::mm::file`]).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use kernel::arch::current::paging::{LOW_END, PAGE_SIZE};
use kernel::mm::file::{FileBacking, FilePage, MappedFile, NoPage};
use kernel::mm::{self, Map};
use vfs::MapPage;

use super::opened::Place;
use super::{Node, Outcome, device, now};
use crate::errno::{EACCES, EINVAL, ENODEV, ENOMEM, EOVERFLOW, Result};
use crate::fd::{Description, File};

/// An open file that is mapped. It stays so when its descriptor is closed and its name is removed.
pub struct Mapped {
    file: Arc<dyn File>,
    node: Arc<Node>,
}

/// What tells a node apart from the others that are there.
pub fn id(node: &Node) -> usize {
    core::ptr::from_ref(node).addr()
}

impl Mapped {
    /// What is mapped.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its path, with a note if it has none any more.
    pub fn path(&self) -> Vec<u8> {
        // Linux has this note for the same.
        let path = |place: &Place| place.path(&self.node).unwrap_or_else(|_| b"//toolong".to_vec());
        self.file.place().map(path).unwrap_or_default()
    }
}

impl MappedFile for Mapped {
    fn page(&self, index: u64, write: bool) -> core::result::Result<FilePage, NoPage> {
        match self.node.map_page(index, write, now()) {
            Ok(Some(MapPage::Page(page))) => Ok(FilePage::Shared(page.0)),
            Ok(Some(MapPage::Packed(octets))) => Ok(FilePage::Constant(octets)),
            Ok(None) => Err(NoPage::BehindEnd),
            Err(_) => Err(NoPage::NoSpace),
        }
    }

    fn id(&self) -> usize {
        id(&self.node)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Maps a file; `request` says where and how, and `shared` whether changes are the file's.
pub fn map(description: &Description, offset: u64, request: Map, shared: bool) -> Result {
    let len = request.len.checked_next_multiple_of(PAGE_SIZE).ok_or(ENOMEM)?;
    if len == 0 {
        return Err(EINVAL);
    }
    offset.checked_add(len).ok_or(EOVERFLOW)?;
    if len > LOW_END {
        return Err(ENOMEM);
    }
    description.check_readable().map_err(|_| EACCES)?;
    let may_write = !shared || description.check_writable().is_ok();
    if request.protection.write && !may_write {
        return Err(EACCES);
    }
    if device::is_zero(description) {
        return Ok(mm::map(request, None)?);
    }
    let is_file = |node: &&Arc<Node>| matches!(node.content(), vfs::Content::File(_));
    let node = description.file().node().filter(is_file).ok_or(ENODEV)?;
    let mapped = Mapped { file: description.file().clone(), node: node.clone() };
    let backing = FileBacking { file: Arc::new(mapped), first: offset / PAGE_SIZE, shared, may_write };
    let address = mm::map(request, Some(backing))?;
    node.accessed(now());
    Ok(address)
}

/// Punches a hole into a file that is mapped (madvise(2), `MADV_REMOVE`).
pub fn punch_hole(backing: &FileBacking, offset: u64, len: u64) -> Outcome<()> {
    let mapped = backing.file.as_any().downcast_ref::<Mapped>().ok_or(EINVAL)?;
    Ok(mapped.node.punch_hole(offset, len, now())?)
}
