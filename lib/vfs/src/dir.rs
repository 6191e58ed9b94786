//! [`Dir`]: a directory's entries, its own over those of the packed tree.
//!
//! A directory over the packed tree keeps the tree's entries that something has happened to: the node of one that was looked up, and
//! the absence of one that was removed (a whiteout). Its own entries are in order of a hash of the name, which is also the
//! entry's position for getdents64(2): it stays what it is, whatever else comes and goes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use crate::node::{Content, FileType, Node};
use crate::super_block::entry_octets;
use crate::{Error, NAME_MAX, PATH_MAX, PackedTree, PageSource, Result, SuperBlock};

/// Position of the first entry of the packed tree; before it are `.` and `..`.
const FIRST_PACKED: u64 = 2;
/// Position of the first entry of the directory's own.
const FIRST_OWN: u64 = 1 << 62;
/// Names whose hashes agree but for these low bits are told apart by them.
const SAME_HASH: u64 = 0xff;

/// A directory's entries.
pub struct Dir<S: PageSource> {
    own: BTreeMap<u64, Own<S>>,
    /// Octets that were charged for them.
    charged: usize,
    packed: Option<Packed<S>>,
    /// The directory it is in; nobody's: it is a root.
    pub(crate) parent: Weak<Node<S>>,
    /// Its name there.
    pub(crate) name: Box<[u8]>,
    /// It was removed: nothing can be put into it. Where it was is still above it, and stays as long as it does.
    pub(crate) removed_from: Option<Arc<Node<S>>>,
    /// The root of the file system that covers it.
    pub(crate) mounted: Option<Arc<Node<S>>>,
}

struct Own<S: PageSource> {
    name: Box<[u8]>,
    node: Arc<Node<S>>,
}

struct Packed<S: PageSource> {
    tree: PackedTree<'static>,
    number: u32,
    /// One for each entry, from the first time on that something happens to one of them.
    touched: Vec<Touched<S>>,
    gone: u32,
}

/// What has happened to an entry of the packed tree.
enum Touched<S: PageSource> {
    Nothing,
    /// It was looked up.
    Node(Arc<Node<S>>),
    /// It was removed, or something else has its name (a whiteout).
    Gone,
}

impl<S: PageSource> Packed<S> {
    /// An entry's number among the others, and what has happened to it.
    fn find(&mut self, name: &[u8]) -> Result<Option<(u32, &mut Touched<S>)>> {
        let Some(number) = self.tree.lookup(self.number, name) else { return Ok(None) };
        let children = self.tree.children(self.number);
        if self.touched.is_empty() {
            self.touched.try_reserve_exact(children.len()).map_err(|_| Error::NoMemory)?;
            self.touched.resize_with(children.len(), || Touched::Nothing);
        }
        let touched = self.touched.get_mut((number - children.start) as usize);
        Ok(touched.map(|touched| (number, touched)))
    }
}

/// One entry, as getdents64(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its node's number.
    pub ino: u64,
    /// Its node's kind.
    pub kind: FileType,
    /// The position behind it.
    pub next: u64,
}

impl<S: PageSource> Dir<S> {
    pub(crate) fn new(
        parent: Weak<Node<S>>,
        name: Box<[u8]>,
        packed: Option<(PackedTree<'static>, u32)>,
    ) -> Self {
        let packed = packed.map(|(tree, number)| Packed { tree, number, touched: Vec::new(), gone: 0 });
        Self { own: BTreeMap::new(), charged: 0, packed, parent, name, removed_from: None, mounted: None }
    }

    /// Whether it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed_from.is_some()
    }

    /// Octets that were charged for entries.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        let packed = self
            .packed
            .as_ref()
            .map_or(0, |packed| packed.tree.children(packed.number).len() as u64 - u64::from(packed.gone));
        self.own.len() as u64 + packed
    }

    /// The node with this name. `this` is the directory's own node.
    ///
    /// # Errors
    /// [`Error::NoMemory`]: a node of the packed tree could not be made.
    pub(crate) fn lookup(&mut self, this: &Arc<Node<S>>, name: &[u8]) -> Result<Option<Arc<Node<S>>>> {
        if let Some((_, own)) = self.find_own(this.block.key, name) {
            return Ok(Some(own.node.clone()));
        }
        let Some(packed) = &mut self.packed else { return Ok(None) };
        let tree = packed.tree;
        let Some((number, touched)) = packed.find(name)? else { return Ok(None) };
        match touched {
            Touched::Node(node) => Ok(Some(node.clone())),
            Touched::Gone => Ok(None),
            Touched::Nothing => {
                let node = Node::from_packed(&this.block, &tree, number, Arc::downgrade(this))?;
                *touched = Touched::Node(node.clone());
                Ok(Some(node))
            }
        }
    }

    /// Puts a node under a name, in place of what may be there.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: no memory, or too many names with the same hash; nothing is changed. It does not happen where the name is
    /// one of the directory's own.
    pub(crate) fn insert(&mut self, block: &SuperBlock<S>, name: &[u8], node: Arc<Node<S>>) -> Result<()> {
        if let Some((position, _)) = self.find_own(block.key, name) {
            self.own.insert(position, Own { name: name.into(), node });
            return Ok(());
        }
        let first = position_of(block.key, name);
        let free = (first..=first | SAME_HASH).find(|position| !self.own.contains_key(position));
        let free = free.ok_or(Error::NoSpace)?;
        self.charged += block.take_entry(name)?;
        self.own.insert(free, Own { name: name.into(), node });
        self.remove_packed(name);
        Ok(())
    }

    /// Takes a name away.
    pub(crate) fn remove(&mut self, block: &SuperBlock<S>, name: &[u8]) {
        match self.find_own(block.key, name).map(|(position, _)| position) {
            Some(position) => {
                self.own.remove(&position);
                let octets = entry_octets(name);
                self.charged -= octets;
                block.return_entries(octets);
            }
            None => self.remove_packed(name),
        }
    }

    fn remove_packed(&mut self, name: &[u8]) {
        // What is removed was looked up before, so that there is room for it.
        if let Some(packed) = &mut self.packed
            && let Ok(Some((_, touched))) = packed.find(name)
            && !matches!(touched, Touched::Gone)
        {
            *touched = Touched::Gone;
            packed.gone += 1;
        }
    }

    fn find_own(&self, key: u64, name: &[u8]) -> Option<(u64, &Own<S>)> {
        let first = position_of(key, name);
        let mut same_hash = self.own.range(first..=first | SAME_HASH);
        same_hash.find(|(_, own)| *own.name == *name).map(|(position, own)| (*position, own))
    }

    /// Gives the entries from a position on to `take`, until it refuses one.
    fn entries(&self, this: &Node<S>, position: u64, take: &mut dyn FnMut(DirEntry<'_>) -> bool) {
        if position == 0
            && !take(DirEntry { name: b".", ino: this.ino(), kind: FileType::Directory, next: 1 })
        {
            return;
        }
        if position <= 1 {
            let ino = self.parent.upgrade().map_or(this.ino(), |parent| parent.ino());
            if !take(DirEntry { name: b"..", ino, kind: FileType::Directory, next: FIRST_PACKED }) {
                return;
            }
        }
        if let Some(packed) = &self.packed
            && position < FIRST_OWN
        {
            let children = packed.tree.children(packed.number);
            let skip = position.saturating_sub(FIRST_PACKED).min(children.len() as u64) as u32;
            for number in children.start + skip..children.end {
                if matches!(packed.touched.get((number - children.start) as usize), Some(Touched::Gone)) {
                    continue;
                }
                let entry = packed.tree.entry(number);
                let next = FIRST_PACKED + u64::from(number - children.start) + 1;
                if !take(DirEntry { name: entry.name, ino: u64::from(number) + 1, kind: entry.kind, next }) {
                    return;
                }
            }
        }
        for (at, own) in self.own.range(position.max(FIRST_OWN)..) {
            let entry =
                DirEntry { name: &own.name, ino: own.node.ino(), kind: own.node.kind(), next: at + 1 };
            if !take(entry) {
                return;
            }
        }
    }
}

/// The first of the positions that an entry with this name may have.
fn position_of(key: u64, name: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(key | 1);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut hash = mix(key, name.len() as u64);
    for piece in name.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    FIRST_OWN | mix(hash, key) >> 2 & !SAME_HASH
}

impl<S: PageSource> Node<S> {
    /// The node with this name in a directory, whatever may be mounted there.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::NameTooLong`], [`Error::NoMemory`].
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Self>>> {
        match &self.content {
            Content::Directory(_) | Content::VirtualDir(_) if name.len() > NAME_MAX => {
                Err(Error::NameTooLong)
            }
            Content::Directory(dir) => dir.lock().lookup(self, name),
            Content::VirtualDir(dir) => Ok(dir.lookup(self, name)),
            _ => Err(Error::NotADirectory),
        }
    }

    /// Gives the entries of a directory from a position on to `take`, until it refuses one. The first is `.`, at 0; further
    /// positions are what the entries say. `take` runs under the directory's lock.
    ///
    /// # Errors
    /// [`Error::NotADirectory`]; [`Error::NotFound`]: the directory was removed.
    pub fn entries(
        self: &Arc<Self>,
        position: u64,
        take: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        match &self.content {
            Content::Directory(dir) => {
                let dir = dir.lock();
                if dir.is_removed() {
                    return Err(Error::NotFound);
                }
                dir.entries(self, position, take);
                Ok(())
            }
            Content::VirtualDir(dir) => {
                self.virtual_entries(&**dir, position, take);
                Ok(())
            }
            _ => Err(Error::NotADirectory),
        }
    }

    fn virtual_entries(
        self: &Arc<Self>,
        dir: &dyn crate::VirtualDir<S>,
        mut position: u64,
        take: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) {
        let dots: [(&[u8], u64); 2] =
            [(b".", self.ino()), (b"..", dir.parent().map_or(self.ino(), |parent| parent.ino()))];
        for (at, (name, ino)) in dots.into_iter().enumerate() {
            if position > at as u64 {
                continue;
            }
            position = at as u64 + 1;
            if !take(DirEntry { name, ino, kind: FileType::Directory, next: position }) {
                return;
            }
        }
        while let Some(entry) = dir.entry(position.saturating_sub(FIRST_PACKED)) {
            position = entry.next.saturating_add(FIRST_PACKED);
            if !take(DirEntry { name: &entry.name, ino: entry.ino, kind: entry.kind, next: position }) {
                return;
            }
        }
    }

    /// The directory that a directory is in, across the borders of file systems; the root of all is in itself.
    pub fn parent(self: &Arc<Self>) -> Arc<Self> {
        let mut at = self.clone();
        loop {
            let parent = match &at.content {
                Content::Directory(dir) => dir.lock().parent.upgrade(),
                Content::VirtualDir(dir) => dir.parent(),
                _ => None,
            };
            if let Some(parent) = parent {
                return parent;
            }
            // A root: what it covers is in its directory.
            let covered = at.block.mounted_on.lock().as_ref().and_then(Weak::upgrade);
            match covered {
                Some(covered) => at = covered,
                None => return at.covering(),
            }
        }
    }

    /// The root of what is mounted on a directory, or the directory itself.
    pub fn covering(self: &Arc<Self>) -> Arc<Self> {
        let mut at = self.clone();
        while let Content::Directory(dir) = &at.content {
            let Some(mounted) = dir.lock().mounted.clone() else { break };
            at = mounted;
        }
        at
    }

    /// Whether something is mounted on it.
    pub(crate) fn is_covered(&self) -> bool {
        matches!(&self.content, Content::Directory(dir) if dir.lock().mounted.is_some())
    }

    /// Mounts the root of a file system on this directory.
    ///
    /// # Errors
    /// [`Error::NotADirectory`]; [`Error::Busy`]: something is mounted here, or the file system elsewhere.
    pub fn mount(self: &Arc<Self>, root: &Arc<Self>) -> Result<()> {
        let Content::Directory(dir) = &self.content else { return Err(Error::NotADirectory) };
        let mut covered = root.block.mounted_on.lock();
        let mut dir = dir.lock();
        if covered.is_some() || dir.mounted.is_some() {
            return Err(Error::Busy);
        }
        *covered = Some(Arc::downgrade(self));
        dir.mounted = Some(root.clone());
        Ok(())
    }

    /// The path of a directory, as getcwd(2) tells it.
    ///
    /// # Errors
    /// [`Error::NotFound`]: it was removed, or it is not below `root`; [`Error::NameTooLong`]: it is not shorter than [`PATH_MAX`].
    pub fn directory_path(self: &Arc<Self>, root: &Arc<Self>) -> Result<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut at = self.clone();
        let mut len = 0;
        while !Arc::ptr_eq(&at, root) {
            let name: Vec<u8> = match &at.content {
                Content::Directory(dir) => {
                    let dir = dir.lock();
                    if dir.is_removed() {
                        return Err(Error::NotFound);
                    }
                    dir.name.to_vec()
                }
                Content::VirtualDir(dir) => {
                    // Found among its parent's entries: there are few.
                    dir.parent().and_then(|parent| name_of(&parent, at.ino())).unwrap_or_default()
                }
                _ => return Err(Error::NotFound),
            };
            let covered = at.block.mounted_on.lock().as_ref().and_then(Weak::upgrade);
            let is_root = match &at.content {
                Content::Directory(dir) => dir.lock().parent.strong_count() == 0,
                Content::VirtualDir(dir) => dir.parent().is_none(),
                _ => false,
            };
            match (is_root, covered) {
                // Its name is that of the directory it covers.
                (true, Some(covered)) => at = covered,
                (true, None) => return Err(Error::NotFound),
                (false, _) => {
                    len += 1 + name.len();
                    // The rest of a path that is too long is not looked at: it may be as long as memory is large.
                    if len >= PATH_MAX {
                        return Err(Error::NameTooLong);
                    }
                    names.push(name);
                    at = at.parent();
                }
            }
        }
        if names.is_empty() {
            return Ok(b"/".to_vec());
        }
        let mut path = Vec::with_capacity(len);
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Ok(path)
    }
}

fn name_of<S: PageSource>(directory: &Arc<Node<S>>, ino: u64) -> Option<Vec<u8>> {
    let mut found = None;
    let mut take = |entry: DirEntry<'_>| {
        if entry.ino == ino && entry.name != b"." && entry.name != b".." {
            found = Some(entry.name.to_vec());
        }
        found.is_none()
    };
    directory.entries(0, &mut take).ok()?;
    found
}
