//! open(2) and openat2(2).

use alloc::sync::Arc;

use kernel::uaccess;
use vfs::walk::{self, Parent, Resolve};
use vfs::{Content, FileType, PAGE_SIZE, namespace};

use super::opened::{OpenDirectory, OpenFile, OpenPath, Place};
use super::pages::Frames;
use super::{AT_FDCWD, Node, Outcome, device, masked, now, read_path, start};
use crate::errno::{E2BIG, EAGAIN, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, Result};
use crate::fd::{self, Description, File};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::pipe;

/// How the descriptor is used: reading, writing, or both.
pub const O_ACCMODE: i32 = 3;
/// Writing only.
pub const O_WRONLY: i32 = 1;
/// Reading and writing.
pub const O_RDWR: i32 = 2;
const O_CREAT: i32 = 0o100;
const O_EXCL: i32 = 0o200;
const O_TRUNC: i32 = 0o1000;
/// Each write goes to the end.
pub const O_APPEND: i32 = 0o2000;
const O_DIRECT: i32 = 0o40_000;
/// Offsets have 64 bits; always so.
pub const O_LARGEFILE: i32 = 0o100_000;
const O_DIRECTORY: i32 = 0o200_000;
const O_NOFOLLOW: i32 = 0o400_000;
const O_NOATIME: i32 = 0o1_000_000;
const O_SYNC: i32 = 0o4_010_000;
/// The descriptor stands for the path alone.
pub const O_PATH: i32 = 0o10_000_000;
/// The bit of `O_TMPFILE` that is its own.
const O_TMPFILE: i32 = 0o20_000_000;
/// What `F_GETFL` tells of the flags that a file was opened with.
pub const KEPT: i32 =
    O_ACCMODE | O_APPEND | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_SYNC | O_PATH;

/// open(2).
pub fn open(path: u64, flags: i32, mode: u32) -> Result {
    openat(AT_FDCWD, path, flags, mode)
}

/// creat(2).
pub fn creat(path: u64, mode: u32) -> Result {
    openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

/// openat(2). Unknown flags are not looked at, as on Linux.
pub fn openat(dirfd: i32, path: u64, flags: i32, mode: u32) -> Result {
    install(dirfd, path, flags | O_LARGEFILE, mode & 0o7777, Resolve::default())
}

/// openat2(2).
pub fn openat2(dirfd: i32, path: u64, how: u64, size: usize) -> Result {
    /// sizeof(struct open_how).
    const SIZE: usize = 24;
    const KNOWN: u64 = 0o37_777_777 & !0o70;
    const NO_XDEV: u64 = 1;
    const NO_MAGICLINKS: u64 = 2;
    const NO_SYMLINKS: u64 = 4;
    const BENEATH: u64 = 8;
    const IN_ROOT: u64 = 16;
    const CACHED: u64 = 32;
    const KNOWN_RESOLVE: u64 = NO_XDEV | NO_MAGICLINKS | NO_SYMLINKS | BENEATH | IN_ROOT | CACHED;
    if size < SIZE {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }
    let [flags, mode, resolve] = uaccess::read::<[u64; 3]>(how)?;
    for at in SIZE..size {
        if uaccess::read::<u8>(how.wrapping_add(at as u64))? != 0 {
            return Err(E2BIG);
        }
    }
    let creates = flags as i32 & (O_CREAT | O_TMPFILE) != 0;
    if flags & !KNOWN != 0
        || resolve & !KNOWN_RESOLVE != 0
        || resolve & (BENEATH | IN_ROOT) == BENEATH | IN_ROOT
        || mode & !0o7777 != 0
        || mode != 0 && !creates
    {
        return Err(EINVAL);
    }
    // Everything is in memory, but what changes something may have to wait.
    if resolve & CACHED != 0 && flags as i32 & (O_TRUNC | O_CREAT | O_TMPFILE) != 0 {
        return Err(EAGAIN);
    }
    let resolve = Resolve {
        no_xdev: resolve & NO_XDEV != 0,
        no_magic_links: resolve & NO_MAGICLINKS != 0,
        no_symlinks: resolve & NO_SYMLINKS != 0,
        beneath: resolve & BENEATH != 0,
        in_root: resolve & IN_ROOT != 0,
    };
    install(dirfd, path, flags as i32 | O_LARGEFILE, mode as u32, resolve)
}

fn install(dirfd: i32, path: u64, mut flags: i32, mode: u32, resolve: Resolve) -> Result {
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    }
    if flags & O_TMPFILE != 0 && (flags & O_DIRECTORY == 0 || flags & O_ACCMODE == 0 || flags & O_CREAT != 0)
        || flags & O_TMPFILE == 0 && flags & (O_CREAT | O_DIRECTORY) == O_CREAT | O_DIRECTORY
    {
        return Err(EINVAL);
    }
    let path = read_path(path)?;
    let number = fd::reserve(0)?;
    let at = walk::parent(&start(dirfd, &path, resolve)?, &path)?;
    let file = open_at(at, flags, mode)?;
    let description = Description::new(file, flags & O_NONBLOCK != 0);
    Ok(number.install(description, flags & O_CLOEXEC != 0))
}

/// Opens what a path leads to.
fn open_at(at: Parent<Frames>, flags: i32, mode: u32) -> Outcome<Arc<dyn File>> {
    let follow = flags & O_NOFOLLOW == 0;
    if flags & O_TMPFILE != 0 {
        let (_, directory) = at.last(follow)?;
        let directory = directory.ok_or(ENOENT)?;
        let linkable = flags & O_EXCL == 0;
        let node = namespace::temporary(&directory, masked(mode), linkable, now())?;
        let place = Place::new(&directory, b"#tmpfile");
        return Ok(Arc::new(OpenFile::new(node, place, flags)));
    }
    if flags & O_CREAT != 0 {
        let (at, node, made) = namespace::open_or_make(at, flags & O_EXCL != 0, follow, masked(mode), now())?;
        let place = Place::new(at.directory(), &at.name);
        return open_node(node, place, if made { flags & !O_TRUNC } else { flags });
    }
    let (at, node) = at.last(follow)?;
    let node = node.ok_or(ENOENT)?;
    let place = Place::new(at.directory(), &at.name);
    if flags & O_DIRECTORY != 0 && !node.is_directory() {
        return Err(ENOTDIR);
    }
    if flags & O_PATH != 0 {
        return Ok(Arc::new(OpenPath { node, found: place, flags }));
    }
    open_node(node, place, flags)
}

/// Opens a node.
fn open_node(node: Arc<Node>, place: Place, flags: i32) -> Outcome<Arc<dyn File>> {
    let writes = flags & O_ACCMODE != 0 || flags & O_TRUNC != 0;
    match node.content() {
        Content::Directory(_) | Content::VirtualDir(_) if writes => Err(EISDIR),
        Content::Directory(_) | Content::VirtualDir(_) => Ok(Arc::new(OpenDirectory::new(node, flags))),
        Content::File(_) => {
            if writes {
                node.block().check_writable()?;
            }
            if flags & O_TRUNC != 0 {
                node.truncate(0, now())?;
            }
            Ok(Arc::new(OpenFile::new(node, place, flags)))
        }
        Content::Text(_) => Ok(Arc::new(OpenFile::new(node, place, flags))),
        Content::Device(number) if node.kind() == FileType::CharDevice => {
            device::open(*number, node.clone(), place, flags)
        }
        Content::Object(object) => device::reopen(object, flags),
        Content::Symlink(_) | Content::PackedSymlink(_) | Content::MagicLink(_) => Err(ELOOP),
        Content::Endpoint(object) if node.kind() == FileType::Fifo => {
            let pipe = pipe::behind(object)?;
            pipe::open(pipe, Some((node.clone(), place)), flags)
        }
        Content::Device(_) | Content::Endpoint(_) => Err(ENXIO),
    }
}
