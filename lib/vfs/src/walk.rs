//! From a path to a node: path_resolution(7), and the `RESOLVE_*` flags of openat2(2).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use crate::node::{Content, Node};
use crate::page::BREATH;
use crate::virtual_node::Jump;
use crate::{Error, NAME_MAX, PATH_MAX, PageSource, Result};

/// Most symbolic links in a path (`MAXSYMLINKS`).
pub const LINKS_MAX: u32 = 40;

/// Where a walk starts, and what it must not do.
pub struct Start<S: PageSource> {
    /// `/`.
    pub root: Arc<Node<S>>,
    /// Where a relative path starts.
    pub at: Arc<Node<S>>,
    /// What it must not do.
    pub resolve: Resolve,
}

/// `struct open_how.resolve` (openat2(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolve {
    /// No border of file systems (`RESOLVE_NO_XDEV`).
    pub no_xdev: bool,
    /// No [`crate::MagicLink`] (`RESOLVE_NO_MAGICLINKS`).
    pub no_magic_links: bool,
    /// No symbolic link (`RESOLVE_NO_SYMLINKS`).
    pub no_symlinks: bool,
    /// Nothing that leads out of where it starts (`RESOLVE_BENEATH`).
    pub beneath: bool,
    /// Where it starts is `/` (`RESOLVE_IN_ROOT`).
    pub in_root: bool,
}

/// The last part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKind {
    /// A name.
    Name,
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
    /// None: the path is `/`.
    Root,
}

/// A path walked up to its last part.
pub struct Parent<S: PageSource> {
    walk: Walk<S>,
    /// What the last part is.
    pub kind: LastKind,
    /// The last part.
    pub name: Vec<u8>,
    /// Whether slashes are behind it.
    pub trailing_slash: bool,
}

struct Walk<S: PageSource> {
    start: Start<S>,
    at: Arc<Node<S>>,
    /// What is still to be walked, from `next` on.
    path: Vec<u8>,
    next: usize,
    links: u32,
    /// Parts of paths that were walked.
    steps: usize,
}

/// The node that a path leads to.
///
/// `follow`: also through a symbolic link that is the last part. (One with a slash behind it is always followed.)
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::NameTooLong`], [`Error::TooManyLinks`],
/// [`Error::CrossesFileSystems`] (`Resolve`), [`Error::NoMemory`].
pub fn node<S: PageSource>(start: &Start<S>, path: &[u8], follow: bool) -> Result<Arc<Node<S>>> {
    parent(start, path)?.last(follow)?.1.ok_or(Error::NotFound)
}

/// Walks to the last part of a path.
///
/// # Errors
/// As of [`node`].
pub fn parent<S: PageSource>(start: &Start<S>, path: &[u8]) -> Result<Parent<S>> {
    if path.is_empty() {
        return Err(Error::NotFound);
    }
    if path.len() >= PATH_MAX {
        return Err(Error::NameTooLong);
    }
    let at = start.at.clone();
    let root = if start.resolve.in_root { at.clone() } else { start.root.clone() };
    let start = Start { root, at: at.clone(), resolve: start.resolve };
    let mut walk = Walk { start, at, path: path.to_vec(), next: 0, links: 0, steps: 0 };
    walk.enter_path()?;
    walk.up_to_last()
}

impl<S: PageSource> Parent<S> {
    /// The directory of the last part. Of `/`, `.` and `..` it is where the path led before it.
    pub fn directory(&self) -> &Arc<Node<S>> {
        &self.walk.at
    }

    /// The node behind the last part, if there is one, and where it is: after symbolic links that were followed, that is another
    /// directory and name. What is mounted on it is in its place.
    ///
    /// # Errors
    /// As of [`node`], but for [`Error::NotFound`] of the last part.
    pub fn last(self, follow: bool) -> Result<(Self, Option<Arc<Node<S>>>)> {
        self.find_last(follow, false)
    }

    /// As [`Self::last`], for `O_CREAT`: a name with a slash behind it is refused.
    ///
    /// # Errors
    /// As of [`Self::last`]; [`Error::IsADirectory`].
    pub fn last_to_create(self, follow: bool) -> Result<(Self, Option<Arc<Node<S>>>)> {
        self.find_last(follow, true)
    }

    fn find_last(mut self, follow: bool, create: bool) -> Result<(Self, Option<Arc<Node<S>>>)> {
        loop {
            if create && self.kind == LastKind::Name && self.trailing_slash {
                return Err(Error::IsADirectory);
            }
            let node = match self.kind {
                LastKind::Root | LastKind::Dot => Some(self.walk.at.clone()),
                LastKind::DotDot => Some(self.walk.above()?),
                LastKind::Name => self.walk.at.lookup(&self.name)?,
            };
            let Some(node) = node else { return Ok((self, None)) };
            let is_link = self.kind == LastKind::Name && (follow || self.trailing_slash);
            if is_link && self.walk.is_link(&node) {
                let rest: &[u8] = if self.trailing_slash { b"/" } else { b"" };
                let rest = rest.to_vec();
                match self.walk.follow(&node, rest)? {
                    Some(node) if self.trailing_slash && !node.is_directory() => {
                        return Err(Error::NotADirectory);
                    }
                    Some(node) => return Ok((self, Some(node))),
                    None => self = self.walk.up_to_last()?,
                }
                continue;
            }
            let node = self.walk.cross(&node)?;
            if self.trailing_slash && !node.is_directory() && !self.walk.is_link(&node) {
                return Err(Error::NotADirectory);
            }
            return Ok((self, Some(node)));
        }
    }
}

impl<S: PageSource> Walk<S> {
    /// At the start of a path, the one given or a symbolic link's.
    fn enter_path(&mut self) -> Result<()> {
        if self.path.first() == Some(&b'/') {
            if self.start.resolve.beneath {
                return Err(Error::CrossesFileSystems);
            }
            if self.start.resolve.no_xdev && !Arc::ptr_eq(self.at.block(), self.start.root.block()) {
                return Err(Error::CrossesFileSystems);
            }
            self.at = self.start.root.clone();
        }
        Ok(())
    }

    fn up_to_last(mut self) -> Result<Parent<S>> {
        loop {
            // Forty links of 4095 octets each are a long way.
            self.steps += 1;
            if self.steps.is_multiple_of(BREATH) {
                self.at.block().source.breathe();
            }
            self.skip_slashes();
            let from = self.next;
            while self.path.get(self.next).is_some_and(|octet| *octet != b'/') {
                self.next += 1;
            }
            let part = from..self.next;
            self.skip_slashes();
            let name = &self.path[part.clone()];
            let kind = match name {
                b"" => LastKind::Root,
                b"." => LastKind::Dot,
                b".." => LastKind::DotDot,
                _ => LastKind::Name,
            };
            if kind != LastKind::Root && !self.at.is_directory() {
                return Err(Error::NotADirectory);
            }
            if name.len() > NAME_MAX {
                return Err(Error::NameTooLong);
            }
            if self.next == self.path.len() {
                let trailing_slash = part.end < self.next;
                return Ok(Parent { name: name.to_vec(), walk: self, kind, trailing_slash });
            }
            match kind {
                LastKind::Root | LastKind::Dot => {}
                LastKind::DotDot => self.at = self.above()?,
                LastKind::Name => self.step(part)?,
            }
        }
    }

    fn skip_slashes(&mut self) {
        while self.path.get(self.next) == Some(&b'/') {
            self.next += 1;
        }
    }

    /// Into a directory on the way.
    fn step(&mut self, part: Range<usize>) -> Result<()> {
        let node = self.at.lookup(&self.path[part])?.ok_or(Error::NotFound)?;
        if self.is_link(&node) {
            let mut rest = Vec::with_capacity(self.path.len() - self.next + 1);
            rest.push(b'/');
            rest.extend_from_slice(&self.path[self.next..]);
            if let Some(node) = self.follow(&node, rest)? {
                self.at = node;
            }
        } else {
            self.at = self.cross(&node)?;
        }
        if self.at.is_directory() { Ok(()) } else { Err(Error::NotADirectory) }
    }

    fn is_link(&self, node: &Node<S>) -> bool {
        node.target().is_some() || matches!(node.content(), Content::MagicLink(_))
    }

    /// Goes through a symbolic link: its target with `rest` behind it is what is walked next, or, of a magic link, the node is
    /// known, and the path stays.
    fn follow(&mut self, link: &Arc<Node<S>>, rest: Vec<u8>) -> Result<Option<Arc<Node<S>>>> {
        let resolve = self.start.resolve;
        self.links += 1;
        if self.links > LINKS_MAX || resolve.no_symlinks {
            return Err(Error::TooManyLinks);
        }
        let mut path = match link.content() {
            Content::MagicLink(magic) => {
                match magic.follow()? {
                    Jump::Node(_) if resolve.no_magic_links => return Err(Error::TooManyLinks),
                    Jump::Node(_) if resolve.beneath || resolve.in_root => {
                        return Err(Error::CrossesFileSystems);
                    }
                    // The caller's objects are in no file system of the tree.
                    Jump::Node(node) if resolve.no_xdev && matches!(node.content(), Content::Object(_)) => {
                        return Err(Error::CrossesFileSystems);
                    }
                    Jump::Node(node) => {
                        self.check_border(&node)?;
                        return Ok(Some(node));
                    }
                    Jump::Path(path) => path,
                }
            }
            _ => link.target().unwrap_or_default().to_vec(),
        };
        path.extend_from_slice(&rest);
        self.path = path;
        self.next = 0;
        self.enter_path()?;
        Ok(None)
    }

    /// The directory above, but not above `/`.
    fn above(&self) -> Result<Arc<Node<S>>> {
        if self.start.resolve.beneath && Arc::ptr_eq(&self.at, &self.start.at) {
            return Err(Error::CrossesFileSystems);
        }
        if Arc::ptr_eq(&self.at, &self.start.root) {
            return Ok(self.at.clone());
        }
        let parent = self.at.parent();
        self.check_border(&parent)?;
        Ok(parent)
    }

    /// What is mounted on a node, or itself.
    fn cross(&self, node: &Arc<Node<S>>) -> Result<Arc<Node<S>>> {
        let node = node.covering();
        self.check_border(&node)?;
        Ok(node)
    }

    fn check_border(&self, node: &Node<S>) -> Result<()> {
        if self.start.resolve.no_xdev && !Arc::ptr_eq(node.block(), self.at.block()) {
            return Err(Error::CrossesFileSystems);
        }
        Ok(())
    }
}
