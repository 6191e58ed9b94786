//! Mappings of files: what the address space asks of a file, and what a file tells the address space.
//!
//! A page of a file belongs to the file, and mappings borrow its frame: no entry of a page table counts as a reference. What
//! makes that right:
//!
//! 1. A mapping holds the file ([`FileBacking::file`]), and gives it up only when its pages are unmapped.
//! 2. While the file is there, a page leaves it (it is truncated, a hole is punched, a page of the image's tree is replaced by
//!    one that can be written) in this order: out of the file, then [`forget`], which takes it from the address space of all
//!    CPUs, then the last reference goes.
//! 3. A page fault asks the file without the address space's lock, and maps what it got only if no [`forget`] came in between:
//!    one that comes later finds the page and takes it out.
//!
//! So locks of a file may be held while the address space's lock is taken (a page is promised), never the other way round.

use alloc::sync::Arc;
use core::any::Any;

use super::pages::SharedPage;
use super::{PageInError, image};
use crate::arch::current::paging::PAGE_SIZE;

/// A file, as the address space sees it.
///
/// It is dropped with the address space's lock held: its drop takes no lock under which memory is promised, mapped or copied to
/// the program.
pub trait MappedFile: Send + Sync {
    /// A page of it. `write`: the program writes to it, and the file changes; it is a [`FilePage::Shared`] then. Called
    /// in a kernel section, without locks.
    ///
    /// # Errors
    /// [`NoPage`].
    fn page(&self, index: u64, write: bool) -> Result<FilePage, NoPage>;

    /// Tells files apart that are there at the same time.
    fn id(&self) -> usize;

    /// The file as what it is.
    fn as_any(&self) -> &dyn Any;
}

/// A page of a file.
pub enum FilePage {
    /// A page that may be written.
    Shared(SharedPage),
    /// A page of the image that nobody writes: its first octets, and what follows in the page.
    Constant(&'static [u8]),
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPage {
    /// The file ends before it.
    BehindEnd,
    /// No memory, or no space in its file system, for a page that was a hole.
    NoSpace,
}

impl From<NoPage> for PageInError {
    fn from(error: NoPage) -> Self {
        match error {
            NoPage::BehindEnd => Self::BehindEnd,
            NoPage::NoSpace => Self::NoSpace,
        }
    }
}

impl FilePage {
    /// The frame's physical address. `None`: the octets are not a page of what the image carries.
    pub(super) fn frame(&self) -> Option<u64> {
        match self {
            Self::Shared(page) => Some(page.frame()),
            Self::Constant(octets) => image::attached_page(octets),
        }
    }

    /// What may be written by way of a shared mapping.
    pub(super) fn writable_frame(&self) -> Option<u64> {
        match self {
            Self::Shared(page) => Some(page.frame()),
            Self::Constant(_) => None,
        }
    }
}

/// A part of a file that backs an area.
#[derive(Clone)]
pub struct FileBacking {
    /// The file.
    pub file: Arc<dyn MappedFile>,
    /// Number of the file's page at the area's start.
    pub first: u64,
    /// What is written is the file's (`MAP_SHARED`); otherwise a page is copied when it is written.
    pub shared: bool,
    /// The area may be made writable (the file was opened for that, or what is written stays with the mapping).
    pub may_write: bool,
}

impl FileBacking {
    /// The part from so many bytes behind the start on.
    pub(super) fn from(&self, bytes: u64) -> Self {
        Self { first: self.first + bytes / PAGE_SIZE, ..self.clone() }
    }
}

impl PartialEq for FileBacking {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
            && (self.first, self.shared, self.may_write) == (other.first, other.shared, other.may_write)
    }
}

impl Eq for FileBacking {}
