//! [`Files`]: calls on paths, with Linux' numbers as errors; the memory is the host's.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vfs::walk::{self, Resolve, Start};
use vfs::{
    Content, Error, FileType, Limits, Options, PAGE_SIZE, PackedTree, Page, PageSource, SetTime, Stat,
    SuperBlock, TMPFS_MAGIC, Time, namespace,
};

/// A page of the host's memory.
#[derive(Clone)]
pub struct HostPage(Arc<Mutex<[u8; PAGE_SIZE]>>);

impl Page for HostPage {
    fn read(&self, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.lock().unwrap()[at..at + to.len()]);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.0.lock().unwrap()[at..at + from.len()].copy_from_slice(from);
    }

    fn zero(&self, range: Range<usize>) {
        self.0.lock().unwrap()[range].fill(0);
    }
}

/// The host's memory, how much of it was promised, which pages of files were unmapped, and how often others could run.
#[derive(Clone, Default)]
pub struct Host {
    pub charged: Arc<AtomicI64>,
    pub breaths: Arc<AtomicU64>,
    /// Nothing more is promised.
    pub is_short: Arc<AtomicBool>,
    pub unmapped: Arc<Mutex<Vec<Unmapped>>>,
}

/// Pages that were unmapped, and whether their copies were, too.
pub type Unmapped = (Range<u64>, bool);

impl PageSource for Host {
    type Page = HostPage;

    fn alloc(&self) -> Option<HostPage> {
        Some(HostPage(Arc::new(Mutex::new([0; PAGE_SIZE]))))
    }

    fn charge(&self, octets: usize) -> bool {
        if self.is_short.load(Ordering::Relaxed) {
            return false;
        }
        self.charged.fetch_add(octets as i64, Ordering::Relaxed);
        true
    }

    fn uncharge(&self, octets: usize) {
        self.charged.fetch_sub(octets as i64, Ordering::Relaxed);
    }

    fn unmap(&self, _file: &Node, pages: Range<u64>, truncated: bool) {
        self.unmapped.lock().unwrap().push((pages, truncated));
    }

    fn breathe(&self) {
        self.breaths.fetch_add(1, Ordering::Relaxed);
    }
}

pub type Node = vfs::Node<Host>;
pub type Answer<T> = Result<T, u16>;

/// A process' view.
pub struct Files {
    pub root: Arc<Node>,
    pub cwd: Arc<Node>,
    clock: AtomicU64,
}

fn errno(error: Error) -> u16 {
    error.errno()
}

pub const GENEROUS: Limits = Limits { pages: 1 << 20, nodes: 1 << 20 };

/// A file system of its own.
pub fn file_system(packed: Option<PackedTree<'static>>, limits: Limits, source: Host) -> Arc<Node> {
    let options = Options {
        kind: "tmpfs",
        magic: TMPFS_MAGIC,
        device: 7,
        source,
        limits,
        packed,
        key: 0x1234_5678,
        mode: 0o1777,
    };
    SuperBlock::create(options, Time { sec: 1, nsec: 0 }).unwrap()
}

impl Files {
    pub fn new() -> Self {
        Self::over(None)
    }

    pub fn over(packed: Option<PackedTree<'static>>) -> Self {
        Self::on(file_system(packed, GENEROUS, Host::default()))
    }

    pub fn on(root: Arc<Node>) -> Self {
        Self { cwd: root.clone(), root, clock: AtomicU64::new(1000) }
    }

    pub fn now(&self) -> Time {
        Time { sec: self.clock.fetch_add(1, Ordering::Relaxed) as i64, nsec: 0 }
    }

    pub fn start(&self) -> Start<Host> {
        Start { root: self.root.clone(), at: self.cwd.clone(), resolve: Resolve::default() }
    }

    fn parent(&self, path: &str) -> Answer<walk::Parent<Host>> {
        walk::parent(&self.start(), path.as_bytes()).map_err(errno)
    }

    pub fn node(&self, path: &str) -> Answer<Arc<Node>> {
        walk::node(&self.start(), path.as_bytes(), true).map_err(errno)
    }

    pub fn lnode(&self, path: &str) -> Answer<Arc<Node>> {
        walk::node(&self.start(), path.as_bytes(), false).map_err(errno)
    }

    pub fn stat(&self, path: &str) -> Answer<Stat> {
        Ok(self.node(path)?.stat())
    }

    pub fn lstat(&self, path: &str) -> Answer<Stat> {
        Ok(self.lnode(path)?.stat())
    }

    pub fn mkdir(&self, path: &str) -> Answer<()> {
        let content = Content::directory(std::sync::Weak::new(), b"");
        namespace::make(&self.parent(path)?, FileType::Directory, 0o755, content, self.now())
            .map(drop)
            .map_err(errno)
    }

    pub fn rmdir(&self, path: &str) -> Answer<()> {
        namespace::rmdir(&self.parent(path)?, self.now()).map_err(errno)
    }

    pub fn unlink(&self, path: &str) -> Answer<()> {
        namespace::unlink(&self.parent(path)?, self.now()).map_err(errno)
    }

    pub fn symlink(&self, target: &str, path: &str) -> Answer<()> {
        if target.is_empty() {
            return Err(2);
        }
        namespace::symlink(&self.parent(path)?, target.as_bytes(), self.now()).map(drop).map_err(errno)
    }

    pub fn readlink(&self, path: &str) -> Answer<String> {
        match self.lnode(path)?.content() {
            Content::Symlink(target) => Ok(String::from_utf8(target.to_vec()).unwrap()),
            Content::PackedSymlink(target) => Ok(String::from_utf8(target.to_vec()).unwrap()),
            _ => Err(22),
        }
    }

    pub fn link(&self, from: &str, to: &str) -> Answer<()> {
        let node = self.lnode(from)?;
        namespace::link(&node, &self.parent(to)?, self.now()).map_err(errno)
    }

    pub fn rename(&self, from: &str, to: &str, flags: u32) -> Answer<()> {
        namespace::check_flags(flags).map_err(errno)?;
        let (from, to) = (self.parent(from)?, self.parent(to)?);
        namespace::rename(&from, &to, flags, self.now()).map_err(errno)
    }

    /// open(2) with `O_CREAT | O_RDWR`, and closed again.
    pub fn create(&self, path: &str, exclusive: bool) -> Answer<Arc<Node>> {
        let opened = namespace::open_or_make(self.parent(path)?, exclusive, true, 0o644, self.now());
        match opened.map_err(errno)?.1 {
            // There is no such device.
            node if node.kind() == FileType::CharDevice => Err(6),
            node => Ok(node),
        }
    }

    pub fn write_at(&self, node: &Node, mut offset: u64, mut octets: &[u8]) -> Answer<usize> {
        let all = octets.len();
        while !octets.is_empty() {
            let at = (offset % PAGE_SIZE as u64) as usize;
            let len = octets.len().min(PAGE_SIZE - at);
            node.block().check_writable().map_err(errno)?;
            node.write_page(offset / PAGE_SIZE as u64).map_err(errno)?.write(at, &octets[..len]);
            offset += len as u64;
            node.wrote(offset, self.now());
            octets = &octets[len..];
        }
        Ok(all)
    }

    pub fn read_at(&self, node: &Node, mut offset: u64, len: usize) -> Answer<Vec<u8>> {
        let mut octets = Vec::new();
        while octets.len() < len
            && let Some((page, there)) = node.read_page(offset).map_err(errno)?
        {
            let there = there.min(len - octets.len());
            let from = octets.len();
            octets.resize(from + there, 0xee);
            page.read((offset % PAGE_SIZE as u64) as usize, &mut octets[from..]);
            offset += there as u64;
        }
        Ok(octets)
    }

    pub fn write(&self, path: &str, octets: &[u8]) -> Answer<()> {
        let node = self.create(path, false)?;
        node.truncate(0, self.now()).map_err(errno)?;
        self.write_at(&node, 0, octets).map(drop)
    }

    pub fn read(&self, path: &str) -> Answer<Vec<u8>> {
        self.read_at(&*self.node(path)?, 0, usize::MAX)
    }

    pub fn chmod(&self, path: &str, mode: u32) -> Answer<()> {
        self.node(path)?.set_mode(mode, self.now()).map_err(errno)
    }

    pub fn utimens(&self, path: &str, atime: i64, mtime: i64) -> Answer<()> {
        let time = |sec| SetTime::To(Time { sec, nsec: 5 });
        self.lnode(path)?.set_times(time(atime), time(mtime), self.now()).map_err(errno)
    }

    /// Names in a directory, sorted, with kinds, read some at a time.
    pub fn list(&self, path: &str) -> Answer<Vec<(String, u8)>> {
        let node = self.node(path)?;
        let (mut names, mut position) = (Vec::new(), 0);
        loop {
            let (before, from) = (names.len(), position);
            let mut take = |entry: vfs::DirEntry<'_>| {
                if names.len() == before + 3 {
                    return false;
                }
                names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind.dirent_type()));
                position = entry.next;
                true
            };
            node.entries(from, &mut take).map_err(errno)?;
            if names.len() == before {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        self.list(path)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name != "." && name != "..")
            .collect()
    }
}
