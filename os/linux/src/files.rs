//! The tree of files: what is mounted where, and the process' view of it (root, working directory, umask).
//!
//! The root is the image's packed tree, read-only, or an empty tmpfs; on it lie /tmp, /dev, /proc and /sys.

pub mod absent;
pub mod attributes;
pub mod device;
pub mod directory;
pub mod etc;
pub mod lock;
pub mod mapping;
pub mod memfd;
pub mod mount;
pub mod names;
pub mod open;
pub mod opened;
pub mod pages;
pub mod proc;
pub mod socket_name;
pub mod stat;
pub mod table_dir;
pub mod transfer;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel::mm::Map;
use kernel::mm::file::FileBacking;
use kernel::{time, uaccess};
use sync::{Once, SpinLock};
use vfs::walk::{self, Parent, Resolve, Start};
use vfs::{PATH_MAX, Time};

use crate::errno::{EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, EOPNOTSUPP, Errno, Result};
use crate::fd::{self, Description};
use crate::pipe::PipeEnd;
use crate::time::NS;
use pages::Frames;

/// What a path leads to.
pub type Node = vfs::Node<Frames>;
type Outcome<T> = core::result::Result<T, Errno>;

/// Instead of a descriptor: the working directory.
pub const AT_FDCWD: i32 = -100;
/// Does not follow a symbolic link at the end.
pub const AT_SYMLINK_NOFOLLOW: i32 = 0x100;
/// Follows one.
pub const AT_SYMLINK_FOLLOW: i32 = 0x400;
/// An empty path is the descriptor itself.
pub const AT_EMPTY_PATH: i32 = 0x1000;
/// Concerns automounts, of which there are none.
pub const AT_NO_AUTOMOUNT: i32 = 0x800;

/// What the core of the system-call layer needs of files, if the image holds them.
pub struct Operations {
    /// The locks of fcntl(2). `None`: it is another operation.
    pub fcntl: fn(&Arc<Description>, i32, u64) -> Option<Result>,
    /// A descriptor was closed; what it stood for is given up.
    pub closed: fn(Arc<Description>),
    /// The last descriptor of a description is gone.
    pub forget: fn(&Description),
    /// mmap(2) of what is behind a descriptor: offset, request, and whether it is shared.
    pub map: fn(&Description, u64, Map, bool) -> Result,
    /// madvise(2), `MADV_REMOVE`: offset and octets.
    pub punch_hole: fn(&FileBacking, u64, u64) -> Outcome<()>,
    /// [`socket_name::bind`].
    pub bind_socket: BindSocket,
    /// [`socket_name::find`].
    pub find_socket: fn(&[u8]) -> Outcome<Arc<socket_name::Object>>,
}

type BindSocket =
    fn(&[u8], Weak<socket_name::Object>, &mut dyn FnMut(socket_name::Keeper) -> Outcome<()>) -> Outcome<()>;

static OPERATIONS: Once<Operations> = Once::new();

/// What files offer to the core. `None`: the image holds none.
pub fn operations() -> Option<&'static Operations> {
    OPERATIONS.get()
}

struct View {
    root: Arc<Node>,
    working_directory: SpinLock<Arc<Node>>,
    umask: AtomicU32,
}

static VIEW: Once<View> = Once::new();

/// Sets the root, which is the working directory, too. Called once, before the program starts.
pub(crate) fn set_root(root: Arc<Node>) {
    let _ = OPERATIONS.set(Operations {
        fcntl: lock::fcntl,
        closed,
        forget: lock::forget,
        map: mapping::map,
        punch_hole: mapping::punch_hole,
        bind_socket: socket_name::make,
        find_socket: socket_name::look_up,
    });
    let working_directory = SpinLock::new(root.clone());
    let _ = VIEW.set(View { root, working_directory, umask: AtomicU32::new(0o022) });
}

fn closed(description: Arc<Description>) {
    lock::closed(&description);
    // Held a little longer: where this was the last reference to a file, its pages go with pauses.
    let node = description.file().node().cloned();
    drop(description);
    if let Some(node) = node {
        node.release();
    }
}

fn view() -> &'static View {
    VIEW.get().expect("set_root ran before the program")
}

/// `/`.
pub fn root() -> &'static Arc<Node> {
    &view().root
}

/// The working directory.
pub fn working_directory() -> Arc<Node> {
    view().working_directory.lock().clone()
}

/// Makes a directory the working directory.
///
/// # Errors
/// `ENOTDIR`.
pub fn set_working_directory(node: Arc<Node>) -> Outcome<()> {
    if !node.is_directory() {
        return Err(ENOTDIR);
    }
    // What it replaces is dropped when the lock is open.
    let _before = core::mem::replace(&mut *view().working_directory.lock(), node);
    Ok(())
}

/// Makes the directory with this path the working directory.
///
/// # Errors
/// As of chdir(2).
pub fn change_directory(path: &[u8]) -> Outcome<()> {
    set_working_directory(walk::node(&start(AT_FDCWD, path, Resolve::default())?, path, true)?)
}

/// umask(2).
pub fn umask(mask: u32) -> Result {
    Ok(view().umask.swap(mask & 0o777, Ordering::Relaxed).into())
}

/// Permissions without those that the umask takes away.
pub fn masked(mode: u32) -> u32 {
    mode & !view().umask.load(Ordering::Relaxed)
}

/// The time of day, as files keep it.
pub fn now() -> Time {
    let ns = time::realtime_ns();
    Time { sec: (ns / NS) as i64, nsec: (ns % NS) as u32 }
}

/// A path, checked as Linux does before it looks anything up. It may be empty.
#[inline(never)]
pub fn read_path(path: u64) -> Outcome<Vec<u8>> {
    let mut buffer = [0; PATH_MAX];
    match uaccess::read_cstr(path, &mut buffer) {
        Ok(len) => Ok(buffer[..len].to_vec()),
        Err(None) => Err(ENAMETOOLONG),
        Err(Some(fault)) => Err(fault.into()),
    }
}

/// Where a path starts.
///
/// # Errors
/// `EBADF`, `ENOTDIR`.
pub fn start(dirfd: i32, path: &[u8], resolve: Resolve) -> Outcome<Start<Frames>> {
    let at = match path.first() {
        Some(b'/') if !resolve.beneath && !resolve.in_root => root().clone(),
        _ if dirfd == AT_FDCWD => working_directory(),
        _ => {
            let description = fd::get(dirfd)?;
            description.file().node().filter(|node| node.is_directory()).ok_or(ENOTDIR)?.clone()
        }
    };
    Ok(Start { root: root().clone(), at, resolve })
}

/// A path of the program, walked to its last part.
pub fn parent(dirfd: i32, path: u64) -> Outcome<Parent<Frames>> {
    let path = read_path(path)?;
    Ok(walk::parent(&start(dirfd, &path, Resolve::default())?, &path)?)
}

/// What a call with a descriptor, a path and `AT_*` flags is about.
pub enum Found {
    /// A node.
    Node(Arc<Node>),
    /// An object without a node, by its descriptor.
    Object(Arc<Description>),
}

impl Found {
    /// The node, for a change that needs one.
    ///
    /// # Errors
    /// `EOPNOTSUPP`; `EINVAL` for pipes, whose attributes nobody keeps.
    pub fn into_node(self) -> Outcome<Arc<Node>> {
        match self {
            Self::Node(node) => Ok(node),
            Self::Object(object) if object.downcast::<PipeEnd>().is_some() => Err(EINVAL),
            Self::Object(_) => Err(EOPNOTSUPP),
        }
    }
}

/// Finds what a descriptor, a path and flags say: [`AT_EMPTY_PATH`] and [`AT_SYMLINK_NOFOLLOW`].
///
/// # Errors
/// As of path_resolution(7).
pub fn find(dirfd: i32, path: u64, flags: i32) -> Outcome<Found> {
    let path = read_path(path)?;
    if !path.is_empty() {
        let start = start(dirfd, &path, Resolve::default())?;
        return Ok(Found::Node(walk::node(&start, &path, flags & AT_SYMLINK_NOFOLLOW == 0)?));
    }
    if flags & AT_EMPTY_PATH == 0 {
        return Err(ENOENT);
    }
    if dirfd == AT_FDCWD { Ok(Found::Node(working_directory())) } else { by_descriptor(dirfd) }
}

/// What is behind a descriptor.
///
/// # Errors
/// `EBADF`.
pub fn by_descriptor(fd: i32) -> Outcome<Found> {
    let description = fd::get(fd)?;
    Ok(match description.file().node() {
        Some(node) => Found::Node(node.clone()),
        None => Found::Object(description),
    })
}

/// The node behind a descriptor that was not opened with `O_PATH`.
///
/// # Errors
/// `EBADF`; `EOPNOTSUPP`, `EINVAL`: an object without a node.
pub fn node_of(fd: i32) -> Outcome<Arc<Node>> {
    let description = fd::get_open(fd)?;
    let none = || if description.downcast::<PipeEnd>().is_some() { EINVAL } else { EOPNOTSUPP };
    description.file().node().cloned().ok_or_else(none)
}
