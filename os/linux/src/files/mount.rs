//! What is mounted where, at the program's start.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use abi::attached;
use kernel::arch::current::paging::PAGE_SIZE;
use kernel::entry::Booted;
use kernel::exit::refuse;
use kernel::mm::{self, frames};
use kernel::random;
use sync::Once;
use vfs::walk::{self, Resolve, Start};
use vfs::{Content, FileType, Limits, Options, PackedTree, SuperBlock, TMPFS_MAGIC, Time, namespace};

use super::pages::Frames;
use super::table_dir::{Row, TableDir};
use super::{Node, device, etc, now, proc, set_root};

const PROC_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// A mounted file system, as /proc/mounts tells it.
pub struct Mounted {
    /// Where.
    pub path: &'static str,
    /// Its root.
    pub root: Arc<Node>,
}

static MOUNTED: Once<Vec<Mounted>> = Once::new();

/// The directory that /dev/shm covers.
static UNDER_SHM: Once<Arc<Node>> = Once::new();

/// What is mounted.
pub fn mounted() -> &'static [Mounted] {
    MOUNTED.get().map(Vec::as_slice).unwrap_or_default()
}

/// The root of /dev/shm.
pub fn shm() -> Option<Arc<Node>> {
    mounted().iter().find(|mounted| mounted.path == "/dev/shm").map(|mounted| mounted.root.clone())
}

/// Mounts everything, before the program starts. Ends the image with one line if it cannot.
pub fn start(booted: &Booted) {
    let tree = mm::image::attached().and_then(|segment| attached::find(segment, attached::Kind::Tree));
    let tree = tree.map(|octets| match PackedTree::new(octets) {
        Ok(tree) => tree,
        Err(damage) => refuse(format_args!("the image's tree of files is damaged: {damage}; build it again")),
    });
    match mount_all(tree, booted.settings.root_writable.unwrap_or_default()) {
        Ok(()) => {}
        Err(Failure::Memory) => refuse(format_args!("too little memory for the tree of files (-m)")),
        Err(Failure::InTheWay(path)) => refuse(format_args!(
            "the image's tree of files has something else where {path} is to be mounted: leave it out, or make it a directory"
        )),
    }
    if let Some(path) = &booted.settings.cwd
        && super::change_directory(path.as_bytes()).is_err()
    {
        refuse(format_args!("cwd={path}: the image has no such directory"));
    }
}

/// Why the tree of files cannot be put together.
enum Failure {
    /// Memory is short.
    Memory,
    /// There is no directory with this path, and there cannot be one.
    InTheWay(&'static str),
}

impl From<vfs::Error> for Failure {
    /// Of a file system of its own: there is nothing else that could fail.
    fn from(_: vfs::Error) -> Self {
        Self::Memory
    }
}

/// Puts the tree of files together: `packed`, read-only or with a tmpfs above, or an empty tmpfs, and on it what every program
/// finds. Called once, before the program starts.
fn mount_all(packed: Option<PackedTree<'static>>, writable: bool) -> Result<(), Failure> {
    let now = now();
    let root = file_system("tmpfs", TMPFS_MAGIC, packed, 0o755, now)?;
    let mut mounted = Vec::new();
    let mut mount = |path: &'static str, root_of_it: Arc<Node>| -> Result<(), Failure> {
        directory(&root, path, 0o755, now)?.mount(&root_of_it).map_err(|_| Failure::InTheWay(path))?;
        mounted.push(Mounted { path, root: root_of_it });
        Ok(())
    };
    let dev = table("devtmpfs", TMPFS_MAGIC, device::ROWS, now)?;
    mount("/dev", dev.clone())?;
    mount("/proc", table("proc", PROC_MAGIC, proc::ROWS, now)?)?;
    mount("/sys", table("sysfs", SYSFS_MAGIC, proc::SYS_ROWS, now)?)?;
    // Where a tree can be changed, its own /tmp is memory already, and what it has there is seen.
    if packed.is_some() && writable {
        directory(&root, "/tmp", 0o1777, now)?;
    } else {
        mount("/tmp", file_system("tmpfs", TMPFS_MAGIC, None, 0o1777, now)?)?;
    }
    let shm = file_system("tmpfs", TMPFS_MAGIC, None, 0o1777, now)?;
    // /dev is a table, which has no directory that could be covered.
    let under = Content::directory(Arc::downgrade(&dev), b"shm");
    let under = Node::create_virtual(dev.block(), 2, FileType::Directory, 0o755, under, now);
    let _ = under.mount(&shm);
    let _ = UNDER_SHM.set(under);
    match directory(&root, "/etc", 0o755, now) {
        // What the tree has instead is the tree's.
        Ok(_) | Err(Failure::InTheWay(_)) => etc::make(&root, now)?,
        Err(failure) => return Err(failure),
    }
    // A tree is what the image was built with, and stays so, unless the image was made to have it otherwise.
    root.block().set_read_only(packed.is_some() && !writable);
    mounted.push(Mounted { path: "/dev/shm", root: shm });
    mounted.insert(0, Mounted { path: "/", root: root.clone() });
    let _ = MOUNTED.set(mounted);
    set_root(root);
    Ok(())
}

/// The directory with this path, made with these permissions if it is not there.
fn directory(root: &Arc<Node>, path: &'static str, mode: u32, now: Time) -> Result<Arc<Node>, Failure> {
    let start = Start { root: root.clone(), at: root.clone(), resolve: Resolve::default() };
    let content = Content::directory(Weak::new(), b"");
    let made = walk::parent(&start, path.as_bytes())
        .and_then(|at| namespace::make(&at, FileType::Directory, mode, content, now));
    let found = match made {
        Err(vfs::Error::Exists) => walk::node(&start, path.as_bytes(), true),
        made => made,
    };
    match found {
        Ok(node) if node.is_directory() => Ok(node),
        Err(vfs::Error::NoSpace | vfs::Error::NoMemory) => Err(Failure::Memory),
        _ => Err(Failure::InTheWay(path)),
    }
}

fn file_system(
    kind: &'static str,
    magic: u64,
    packed: Option<PackedTree<'static>>,
    mode: u32,
    now: Time,
) -> vfs::Result<Arc<Node>> {
    /// The part of free memory that the files of one may take, as on Linux.
    const PAGES_DIVISOR: u64 = 2;
    /// Octets of free memory for a node: with a long name and its directory's share it takes less than a tenth of it.
    const OCTETS_PER_NODE: u64 = 8192;
    let free = frames::free_count();
    let limits = Limits {
        pages: free / PAGES_DIVISOR,
        nodes: free * PAGE_SIZE / OCTETS_PER_NODE + packed.map_or(0, |tree| tree.len().into()),
    };
    let mut key = [0; 8];
    // Without randomness the image has not started.
    let _ = random::fill(&mut key);
    let key = u64::from_le_bytes(key);
    SuperBlock::create(
        Options { kind, magic, device: next_device(), source: Frames, limits, packed, key, mode },
        now,
    )
}

/// A file system that is a table.
fn table(kind: &'static str, magic: u64, rows: &'static [Row], now: Time) -> vfs::Result<Arc<Node>> {
    let root = file_system(kind, magic, None, 0o755, now)?;
    let content = Content::VirtualDir(TableDir::root(rows));
    Ok(Node::create_virtual(root.block(), 1, FileType::Directory, 0o555, content, now))
}

/// A number for `st_dev`.
fn next_device() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
