//! [`TableDir`]: a directory of /proc, /dev or /sys, whose entries are a table. A node is made when it is looked up.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs::{Content, FileType, MagicLink, VirtualDir, VirtualEntry};

use super::pages::Frames;
use super::{Node, now};

/// An entry.
pub struct Row(pub &'static str, pub What);

/// What an entry is.
pub enum What {
    /// A file whose text is made when it is opened.
    Text(fn() -> Vec<u8>),
    /// A directory with a table of its own.
    Directory(&'static [Row]),
    /// A symbolic link.
    Link(&'static str),
    /// A symbolic link that leads where it says at the moment.
    Magic(fn() -> Box<dyn MagicLink<Frames>>),
    /// A character device: major and minor number.
    Device(u64, u64),
    /// A directory whose entries are looked up elsewhere.
    Virtual(fn(Arc<Node>) -> Box<dyn VirtualDir<Frames>>),
    /// The root of another file system.
    Root(fn() -> Option<Arc<Node>>),
}

/// A directory.
pub struct TableDir {
    rows: &'static [Row],
    parent: Option<Arc<Node>>,
    ino: u64,
}

impl TableDir {
    /// The root of a file system.
    pub fn root(rows: &'static [Row]) -> Box<dyn VirtualDir<Frames>> {
        Box::new(Self { rows, parent: None, ino: 1 })
    }

    /// Numbers are by place: each directory has room for 64.
    fn ino_of(&self, at: usize) -> u64 {
        self.ino * 64 + at as u64
    }
}

fn kind(what: &What) -> FileType {
    match what {
        What::Text(_) => FileType::Regular,
        What::Directory(_) | What::Virtual(_) | What::Root(_) => FileType::Directory,
        What::Link(_) | What::Magic(_) => FileType::Symlink,
        What::Device(..) => FileType::CharDevice,
    }
}

impl VirtualDir<Frames> for TableDir {
    fn lookup(&self, directory: &Arc<Node>, name: &[u8]) -> Option<Arc<Node>> {
        let at = self.rows.iter().position(|row| row.0.as_bytes() == name)?;
        let (what, ino) = (&self.rows[at].1, self.ino_of(at));
        let (mode, content) = match what {
            What::Text(text) => (0o444, Content::Text(Box::new(*text))),
            What::Directory(rows) => {
                let dir = Self { rows, parent: Some(directory.clone()), ino };
                (0o555, Content::VirtualDir(Box::new(dir)))
            }
            What::Link(target) => (0o777, Content::Symlink(target.as_bytes().into())),
            What::Magic(link) => (0o777, Content::MagicLink(link())),
            What::Device(major, minor) => (0o666, Content::Device(major << 8 | minor)),
            What::Virtual(dir) => (0o555, Content::VirtualDir(dir(directory.clone()))),
            What::Root(root) => return root(),
        };
        Some(Node::create_virtual(directory.block(), ino, kind(what), mode, content, now()))
    }

    fn entry(&self, position: u64) -> Option<VirtualEntry> {
        let at = usize::try_from(position).ok()?;
        let row = self.rows.get(at)?;
        Some(VirtualEntry {
            name: row.0.as_bytes().to_vec(),
            kind: kind(&row.1),
            ino: self.ino_of(at),
            next: position + 1,
        })
    }

    fn parent(&self) -> Option<Arc<Node>> {
        self.parent.clone()
    }
}
