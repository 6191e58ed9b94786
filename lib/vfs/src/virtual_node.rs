//! Nodes whose content is made when it is asked for: what /proc and /dev are made of.

use alloc::sync::Arc;
use alloc::vec::Vec;

#[cfg(doc)]
use crate::Error;
use crate::{FileType, Node, PageSource, Result};

/// A file whose text is made when it is opened.
pub trait TextFile: Send + Sync {
    /// The text.
    fn text(&self) -> Vec<u8>;

    /// Takes what is written to it.
    ///
    /// # Errors
    /// [`Error::NotPermitted`]: it cannot be written to.
    fn write(&self, _octets: &[u8]) -> Result<()> {
        Err(crate::Error::NotPermitted)
    }
}

impl<F: Fn() -> Vec<u8> + Send + Sync> TextFile for F {
    fn text(&self) -> Vec<u8> {
        self()
    }
}

/// An entry of a [`VirtualDir`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileType,
    /// Its number.
    pub ino: u64,
    /// The position behind it.
    pub next: u64,
}

/// A directory whose entries are looked up elsewhere.
pub trait VirtualDir<S: PageSource>: Send + Sync {
    /// The node with this name. `directory` is the one this is the content of.
    fn lookup(&self, directory: &Arc<Node<S>>, name: &[u8]) -> Option<Arc<Node<S>>>;

    /// The first entry at this position or behind it; the first one of all is at 0.
    fn entry(&self, position: u64) -> Option<VirtualEntry>;

    /// The directory it is in; `None` for the root of a file system.
    fn parent(&self) -> Option<Arc<Node<S>>> {
        None
    }
}

/// A symbolic link whose target is told when it is asked for: the node of an open file, for instance.
pub trait MagicLink<S: PageSource>: Send + Sync {
    /// What readlink(2) tells.
    ///
    /// # Errors
    /// [`Error::NotFound`]: it leads to nothing any more.
    fn text(&self) -> Result<Vec<u8>>;

    /// Where it leads.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn follow(&self) -> Result<Jump<S>>;
}

/// Where a [`MagicLink`] leads.
pub enum Jump<S: PageSource> {
    /// To a node, whatever its path may be (a magic link of openat2(2)).
    Node(Arc<Node<S>>),
    /// Along a path, as an ordinary symbolic link does.
    Path(Vec<u8>),
}
