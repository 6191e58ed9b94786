//! Files: what lies behind a path, without hardware, clock or globals.
//!
//! A [`Node`] is what Linux calls an inode. All nodes of one file system share its [`SuperBlock`], which has the limits. There is
//! one kind of writable file system, tmpfs, and its directories and files may lie over a [`PackedTree`], the read-only tree of an
//! image: what was not changed is read where the tree lies, a page that is written is copied first (*copy-up*), a name that is
//! removed is remembered as gone (*whiteout*). Nodes whose content is made when it is asked for ([`TextFile`], [`VirtualDir`],
//! [`MagicLink`]) are for what is beside files on disk: /proc and its kin.
//!
//! [`walk`] finds nodes by paths with Linux' rules (path_resolution(7), openat2(2)); [`namespace`] changes directories. The program is
//! root: permissions to read and write are never refused.
//!
//! **Locks.** All methods take `&self` and may be called by several CPUs. A directory's entries, a file's pages and a node's
//! attributes each have a spin lock that is held for one step: a look-up, a page. Changes to the names of a file system are in
//! line behind its `tree` lock; order: tree, directories, a node's content, its attributes, the limits. No lock is held while
//! content is copied to or from a program: [`FileContent`] hands pages out by reference, and what is removed in the meantime
//! goes when the last reference does. A page may be mapped, too ([`Node::map_page`]); a mapping is no reference, so what leaves a file
//! is unmapped first ([`PageSource::unmap`]).
//!
//! **Memory.** Pages and promises of memory come from the caller's [`PageSource`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod dir;
mod error;
mod file;
pub mod namespace;
mod node;
pub mod pack;
mod packed;
mod page;
mod super_block;
mod virtual_node;
pub mod walk;

pub use dir::DirEntry;
pub use error::{Error, Result};
pub use file::{FileContent, MapPage, PageRef, Seek};
pub use node::{Content, FileType, Node, SetTime, Stat, Time};
pub use packed::{Damage, PackedTree};
pub use page::{PAGE_SIZE, Page, PageSource};
pub use super_block::{Limits, Options, StatFs, SuperBlock, TMPFS_MAGIC};
pub use virtual_node::{Jump, MagicLink, TextFile, VirtualDir, VirtualEntry};

/// Most octets of a name (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Most octets of a path with the zero behind it (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
