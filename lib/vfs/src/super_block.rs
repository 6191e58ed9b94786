//! [`SuperBlock`]: what the nodes of one file system have in common.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sync::SpinLock;

use crate::node::{Content, FileType, Node, Time};
use crate::{Error, PackedTree, PageSource, Result};

/// Octets of the heap that a node is taken to cost, beside its name.
const NODE_COST: usize = 320;
/// Octets of the heap that an entry of a directory is taken to cost, beside its name.
const ENTRY_COST: usize = 64;
/// Octets of the heap that a page is taken to cost.
pub(crate) const PAGE_COST: usize = 48;

/// How much a file system may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages of content.
    pub pages: u64,
    /// Nodes.
    pub nodes: u64,
}

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// The kind's number (`f_type`).
    pub magic: u64,
    /// Pages there may be, and how many are free.
    pub pages: u64,
    /// Free pages.
    pub pages_free: u64,
    /// Nodes there may be.
    pub nodes: u64,
    /// Free nodes.
    pub nodes_free: u64,
    /// Whether nothing can be changed.
    pub read_only: bool,
    /// The device's number, which `st_dev` tells too.
    pub device: u64,
}

/// One file system.
pub struct SuperBlock<S: PageSource> {
    /// Its kind, as /proc/mounts tells it.
    pub kind: &'static str,
    /// The kind's number (statfs(2)).
    pub magic: u64,
    /// `st_dev`.
    pub device: u64,
    pub(crate) source: S,
    /// Changes of names, one after the other.
    pub(crate) tree: SpinLock<()>,
    /// The directory that this file system covers.
    pub(crate) mounted_on: SpinLock<Option<Weak<Node<S>>>>,
    /// Key of the hashes of names.
    pub(crate) key: u64,
    read_only: AtomicBool,
    next_ino: AtomicU64,
    limits: Limits,
    pages: AtomicU64,
    nodes: AtomicU64,
}

/// A file system to be made.
pub struct Options<S: PageSource> {
    /// Its kind, as /proc/mounts tells it.
    pub kind: &'static str,
    /// The kind's number (statfs(2)).
    pub magic: u64,
    /// `st_dev`.
    pub device: u64,
    /// Where memory comes from.
    pub source: S,
    /// How much it may hold.
    pub limits: Limits,
    /// The tree that it lies over.
    pub packed: Option<PackedTree<'static>>,
    /// A secret, so that nobody can choose names whose hashes are the same.
    pub key: u64,
    /// Permissions of the root, if it is not the packed tree's.
    pub mode: u32,
}

/// `TMPFS_MAGIC`.
pub const TMPFS_MAGIC: u64 = 0x0102_1994;

impl<S: PageSource> SuperBlock<S> {
    /// A file system; returns its root. It is there as long as one of its nodes is.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn create(options: Options<S>, now: Time) -> Result<Arc<Node<S>>> {
        let Options { kind, magic, device, source, limits, packed, key, mode } = options;
        let block = Arc::new(Self {
            kind,
            magic,
            device,
            source,
            tree: SpinLock::new(()),
            mounted_on: SpinLock::new(None),
            key,
            read_only: AtomicBool::new(false),
            // Those of the packed tree are below.
            next_ino: AtomicU64::new(1 + packed.map_or(0, |tree| u64::from(tree.len()))),
            limits,
            pages: AtomicU64::new(0),
            nodes: AtomicU64::new(0),
        });
        match packed {
            Some(tree) => Node::from_packed(&block, &tree, 0, Weak::new()),
            None => {
                Node::create(&block, FileType::Directory, mode, Content::directory(Weak::new(), b""), now)
            }
        }
    }

    /// Refuses changes from now on, or takes them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// Whether it refuses changes.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Refuses a change to a file system that takes none.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn check_writable(&self) -> Result<()> {
        if self.is_read_only() { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// What statfs(2) tells.
    pub fn stat(&self) -> StatFs {
        StatFs {
            magic: self.magic,
            pages: self.limits.pages,
            pages_free: self.limits.pages.saturating_sub(self.pages.load(Ordering::Relaxed)),
            nodes: self.limits.nodes,
            nodes_free: self.limits.nodes.saturating_sub(self.nodes.load(Ordering::Relaxed)),
            read_only: self.is_read_only(),
            device: self.device,
        }
    }

    /// A number for a node.
    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a node with so many octets of content in the heap.
    pub(crate) fn take_node(&self, octets: usize) -> Result<()> {
        take(&self.nodes, self.limits.nodes)?;
        if self.source.charge(NODE_COST + octets) {
            return Ok(());
        }
        self.nodes.fetch_sub(1, Ordering::Relaxed);
        Err(Error::NoSpace)
    }

    pub(crate) fn return_node(&self, octets: usize) {
        self.nodes.fetch_sub(1, Ordering::Relaxed);
        self.source.uncharge(NODE_COST + octets);
    }

    /// Counts a further name of a node: as on Linux it counts as one more node.
    pub(crate) fn take_link(&self) -> Result<()> {
        take(&self.nodes, self.limits.nodes)
    }

    pub(crate) fn return_link(&self) {
        self.nodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Charges an entry of a directory; returns how much.
    pub(crate) fn take_entry(&self, name: &[u8]) -> Result<usize> {
        let octets = entry_octets(name);
        if self.source.charge(octets) { Ok(octets) } else { Err(Error::NoSpace) }
    }

    /// Gives octets of entries back.
    pub(crate) fn return_entries(&self, octets: usize) {
        self.source.uncharge(octets);
    }

    /// A page of zeroes.
    pub(crate) fn take_page(&self) -> Result<S::Page> {
        take(&self.pages, self.limits.pages)?;
        if self.source.charge(PAGE_COST) {
            if let Some(page) = self.source.alloc() {
                return Ok(page);
            }
            self.source.uncharge(PAGE_COST);
        }
        self.pages.fetch_sub(1, Ordering::Relaxed);
        Err(Error::NoSpace)
    }

    pub(crate) fn return_pages(&self, count: usize) {
        self.pages.fetch_sub(count as u64, Ordering::Relaxed);
        self.source.uncharge(count * PAGE_COST);
    }
}

/// Octets of the heap that an entry with this name is taken to cost.
pub(crate) fn entry_octets(name: &[u8]) -> usize {
    ENTRY_COST + name.len()
}

/// Counts one more, up to a limit.
fn take(counter: &AtomicU64, limit: u64) -> Result<()> {
    let more = |count| if count < limit { Some(count + 1) } else { None };
    match counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::NoSpace),
    }
}
