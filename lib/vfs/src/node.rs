//! [`Node`]: what a name stands for (an inode).

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::any::Any;

use sync::SpinLock;

use crate::dir::Dir;
use crate::file::FileContent;
use crate::{Error, MagicLink, PAGE_SIZE, PackedTree, PageSource, Result, SuperBlock, TextFile, VirtualDir};

/// The kinds of nodes; the discriminant is the kind in `st_mode` (inode(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileType {
    /// A pipe with a name.
    Fifo = 0o010_000,
    /// A device of characters.
    CharDevice = 0o020_000,
    /// A directory.
    Directory = 0o040_000,
    /// A device of blocks.
    BlockDevice = 0o060_000,
    /// A file.
    Regular = 0o100_000,
    /// A symbolic link.
    Symlink = 0o120_000,
    /// A socket.
    Socket = 0o140_000,
}

impl FileType {
    /// The kind in an `st_mode`. `None`: there is no such kind.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// `d_type` of getdents64(2).
    pub fn dirent_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// A point in time, since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

/// What happens to a time in utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Nothing (`UTIME_OMIT`).
    Keep,
    /// It becomes this.
    To(Time),
}

/// What stat(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of struct stat (stat(3type)) and stx_btime")]
pub struct Stat {
    pub device: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    /// Of 512 octets.
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
}

/// What a node holds.
pub enum Content<S: PageSource> {
    /// A file's octets.
    File(SpinLock<FileContent<S>>),
    /// A directory's entries.
    Directory(SpinLock<Dir<S>>),
    /// A symbolic link's target.
    Symlink(Box<[u8]>),
    /// A symbolic link's target in the packed tree.
    PackedSymlink(&'static [u8]),
    /// A device's number.
    Device(u64),
    /// A pipe or a socket, and the caller's object behind it as long as somebody has it open.
    Endpoint(SpinLock<Option<Weak<dyn Any + Send + Sync>>>),
    /// Text that is made when the file is opened.
    Text(Box<dyn TextFile>),
    /// A directory whose entries are looked up elsewhere.
    VirtualDir(Box<dyn VirtualDir<S>>),
    /// A symbolic link that leads to a node, not to a path.
    MagicLink(Box<dyn MagicLink<S>>),
    /// An object that is the caller's.
    Object(Arc<dyn Any + Send + Sync>),
}

impl<S: PageSource> Content<S> {
    /// An empty file.
    pub fn file() -> Self {
        Self::File(SpinLock::new(FileContent::new(&[])))
    }

    /// A pipe or a socket that nobody has open.
    pub fn endpoint() -> Self {
        Self::Endpoint(SpinLock::new(None))
    }

    /// Octets of the heap that it takes for good.
    fn octets(&self) -> usize {
        if let Self::Symlink(target) = self { target.len() } else { 0 }
    }

    /// An empty directory in `parent`; one without is its own.
    pub fn directory(parent: Weak<Node<S>>, name: &[u8]) -> Self {
        Self::Directory(SpinLock::new(Dir::new(parent, name.into(), None)))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    /// Permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    /// Has no name and may get one (`O_TMPFILE`).
    pub linkable: bool,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
}

/// What a name stands for.
pub struct Node<S: PageSource> {
    pub(crate) block: Arc<SuperBlock<S>>,
    ino: u64,
    kind: FileType,
    pub(crate) attributes: SpinLock<Attributes>,
    pub(crate) content: Content<S>,
    /// Whether the file system's limits count it.
    counted: bool,
}

impl<S: PageSource> Node<S> {
    /// A node that no name stands for yet, with one link, or, of a directory, two.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn create(
        block: &Arc<SuperBlock<S>>,
        kind: FileType,
        mode: u32,
        content: Content<S>,
        now: Time,
    ) -> Result<Arc<Self>> {
        block.take_node(content.octets())?;
        let nlink = if kind == FileType::Directory { 2 } else { 1 };
        let ino = block.next_ino();
        Ok(Self::assemble(block, ino, kind, mode, nlink, content, now, true))
    }

    /// A node of a virtual file system: made when it is looked up, so that no limit counts it.
    pub fn create_virtual(
        block: &Arc<SuperBlock<S>>,
        ino: u64,
        kind: FileType,
        mode: u32,
        content: Content<S>,
        now: Time,
    ) -> Arc<Self> {
        let nlink = if kind == FileType::Directory { 2 } else { 1 };
        Self::assemble(block, ino, kind, mode, nlink, content, now, false)
    }

    /// The node of an entry of the packed tree.
    pub(crate) fn from_packed(
        block: &Arc<SuperBlock<S>>,
        tree: &PackedTree<'static>,
        number: u32,
        parent: Weak<Self>,
    ) -> Result<Arc<Self>> {
        let entry = tree.entry(number);
        let mut nlink = 1;
        let content = match entry.kind {
            FileType::Directory => {
                nlink = 2 + tree
                    .children(number)
                    .filter(|child| tree.entry(*child).kind == FileType::Directory)
                    .count() as u32;
                Content::Directory(SpinLock::new(Dir::new(parent, entry.name.into(), Some((*tree, number)))))
            }
            FileType::Symlink => Content::PackedSymlink(tree.content(number)),
            _ => Content::File(SpinLock::new(FileContent::new(tree.content(number)))),
        };
        // It takes nothing of the file system that was not there before.
        block.take_node(0).map_err(|_| Error::NoMemory)?;
        let ino = u64::from(number) + 1;
        Ok(Self::assemble(block, ino, entry.kind, entry.mode, nlink, content, entry.mtime, true))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields, for the three functions above")]
    fn assemble(
        block: &Arc<SuperBlock<S>>,
        ino: u64,
        kind: FileType,
        mode: u32,
        nlink: u32,
        content: Content<S>,
        now: Time,
        counted: bool,
    ) -> Arc<Self> {
        let attributes = Attributes {
            mode: mode & 0o7777,
            uid: 0,
            gid: 0,
            nlink,
            linkable: false,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        Arc::new(Self {
            block: block.clone(),
            ino,
            kind,
            attributes: SpinLock::new(attributes),
            content,
            counted,
        })
    }

    /// Its file system.
    pub fn block(&self) -> &Arc<SuperBlock<S>> {
        &self.block
    }

    /// Its number in its file system.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// What it is.
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// What it holds.
    pub fn content(&self) -> &Content<S> {
        &self.content
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// What stat(2) tells.
    pub fn stat(&self) -> Stat {
        let (size, blocks) = match &self.content {
            Content::File(file) => {
                let file = file.lock();
                (file.size(), file.stored_pages() * (PAGE_SIZE as u64 / 512))
            }
            // As tmpfs has it: 20 octets for each entry, `.` and `..` too.
            Content::Directory(dir) => ((dir.lock().len() + 2) * 20, 0),
            Content::Symlink(target) => (target.len() as u64, 0),
            Content::PackedSymlink(target) => (target.len() as u64, 0),
            _ => (0, 0),
        };
        let rdev = if let Content::Device(rdev) = self.content { rdev } else { 0 };
        let attributes = *self.attributes.lock();
        Stat {
            device: self.block.device,
            ino: self.ino,
            mode: self.kind as u32 | attributes.mode,
            nlink: attributes.nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev,
            size,
            blocks,
            atime: attributes.atime,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
            btime: attributes.btime,
        }
    }

    /// chmod(2).
    ///
    /// # Errors
    /// [`Error::NotSupported`] for symbolic links; [`Error::NotPermitted`] for what is made when it is opened; [`Error::ReadOnly`].
    pub fn set_mode(&self, mode: u32, now: Time) -> Result<()> {
        self.block.check_writable()?;
        if self.kind == FileType::Symlink {
            return Err(Error::NotSupported);
        }
        if matches!(self.content, Content::Text(_)) {
            return Err(Error::NotPermitted);
        }
        let mut attributes = self.attributes.lock();
        attributes.mode = mode & 0o7777;
        attributes.ctime = now;
        Ok(())
    }

    /// chown(2); `None` leaves one as it is. Files lose their set-user-ID and set-group-ID bits, as on Linux.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>, now: Time) -> Result<()> {
        const SET_UID: u32 = 0o4000;
        const SET_GID_OF_PROGRAM: u32 = 0o2010;
        self.block.check_writable()?;
        let mut attributes = self.attributes.lock();
        attributes.uid = uid.unwrap_or(attributes.uid);
        attributes.gid = gid.unwrap_or(attributes.gid);
        if self.kind != FileType::Directory {
            attributes.mode &= !SET_UID;
            if attributes.mode & SET_GID_OF_PROGRAM == SET_GID_OF_PROGRAM {
                attributes.mode &= !0o2000;
            }
        }
        attributes.ctime = now;
        Ok(())
    }

    /// utimensat(2).
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn set_times(&self, atime: SetTime, mtime: SetTime, now: Time) -> Result<()> {
        self.block.check_writable()?;
        let mut attributes = self.attributes.lock();
        if let SetTime::To(time) = atime {
            attributes.atime = time;
        }
        if let SetTime::To(time) = mtime {
            attributes.mtime = time;
        }
        attributes.ctime = now;
        Ok(())
    }

    /// It was read: the time of access follows as on Linux by default (`relatime`: if it would otherwise not be later than that of
    /// the last change, or is older than a day).
    pub fn accessed(&self, now: Time) {
        const DAY_SECONDS: i64 = 24 * 60 * 60;
        if self.block.is_read_only() {
            return;
        }
        let mut attributes = self.attributes.lock();
        if attributes.atime <= attributes.mtime.max(attributes.ctime)
            || now.sec.saturating_sub(attributes.atime.sec) >= DAY_SECONDS
        {
            attributes.atime = now;
        }
    }

    /// Its content was changed.
    pub(crate) fn modified(&self, now: Time) {
        let mut attributes = self.attributes.lock();
        attributes.mtime = now;
        attributes.ctime = now;
    }

    /// Changes the number of its names.
    pub(crate) fn add_links(&self, more: i32, now: Time) {
        let mut attributes = self.attributes.lock();
        attributes.nlink = attributes.nlink.saturating_add_signed(more);
        attributes.ctime = now;
    }

    /// One of its names is gone; it is no directory.
    pub(crate) fn remove_link(&self, now: Time) {
        // The last one is counted with the node.
        if self.nlink() > 1 && self.counted {
            self.block.return_link();
        }
        self.add_links(-1, now);
    }

    /// The number of its names.
    pub fn nlink(&self) -> u32 {
        self.attributes.lock().nlink
    }

    /// Whether it may be executed at all (access(2): root needs one of the three bits).
    pub fn is_executable(&self) -> bool {
        self.is_directory() || self.attributes.lock().mode & 0o111 != 0
    }

    /// A symbolic link's target.
    pub(crate) fn target(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Symlink(target) => Some(target),
            Content::PackedSymlink(target) => Some(target),
            _ => None,
        }
    }
}

impl<S: PageSource> Drop for Node<S> {
    fn drop(&mut self) {
        match &self.content {
            Content::File(file) => self.block.return_pages(file.lock().page_count() as usize),
            Content::Directory(dir) => {
                self.block.return_entries(dir.lock().charged());
                // One after the other, not each from within the one below it: there may be thousands.
                let mut above = dir.lock().removed_from.take();
                while let Some(node) = above.and_then(Arc::into_inner) {
                    above = match &node.content {
                        Content::Directory(dir) => dir.lock().removed_from.take(),
                        _ => None,
                    };
                }
            }
            _ => {}
        }
        if self.counted {
            self.block.return_node(self.content.octets());
        }
    }
}
