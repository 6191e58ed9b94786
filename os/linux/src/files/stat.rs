//! What a file is: stat(2), statx(2), access(2), statfs(2).

use kernel::uaccess;
use vfs::{FileType, Stat};

use super::{AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, Found, by_descriptor, find};
use crate::errno::{EACCES, EINVAL, EROFS, Result};
use crate::fd::Description;

/// Octets that are read and written best at once.
const BLOCK_SIZE: u64 = 4096;

/// stat(2).
pub fn stat(path: u64, statbuf: u64) -> Result {
    newfstatat(AT_FDCWD, path, statbuf, 0)
}

/// lstat(2).
pub fn lstat(path: u64, statbuf: u64) -> Result {
    newfstatat(AT_FDCWD, path, statbuf, AT_SYMLINK_NOFOLLOW)
}

/// fstat(2).
pub fn fstat(fd: i32, statbuf: u64) -> Result {
    write_stat(statbuf, &of(&by_descriptor(fd)?))
}

/// newfstatat(2).
pub fn newfstatat(dirfd: i32, path: u64, statbuf: u64, flags: i32) -> Result {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0 {
        return Err(EINVAL);
    }
    write_stat(statbuf, &of(&find(dirfd, path, flags)?))
}

/// What stat(2) tells of a node or an object.
fn of(found: &Found) -> Stat {
    match found {
        Found::Node(node) => node.stat(),
        Found::Object(description) => of_object(description),
    }
}

pub(super) fn of_object(description: &Description) -> Stat {
    let stat = description.file().stat();
    Stat {
        device: 1,
        ino: stat.inode,
        mode: stat.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: stat.device,
        size: stat.size,
        blocks: 0,
        atime: Default::default(),
        mtime: Default::default(),
        ctime: Default::default(),
        btime: Default::default(),
    }
}

fn block_size(stat: &Stat) -> u64 {
    if stat.mode & 0o170_000 == FileType::CharDevice as u32 { 1024 } else { BLOCK_SIZE }
}

pub(super) fn write_stat(to: u64, stat: &Stat) -> Result {
    // struct stat of x86_64: dev, ino, nlink (u64 each), mode, uid, gid, pad (u32 each), rdev, size, blksize, blocks,
    // three times seconds and nanoseconds, and three words that are not used.
    let time = |time: vfs::Time| [time.sec as u64, time.nsec.into()];
    let [[asec, ansec], [msec, mnsec], [csec, cnsec]] =
        [time(stat.atime), time(stat.mtime), time(stat.ctime)];
    let words = [
        stat.device,
        stat.ino,
        stat.nlink.into(),
        u64::from(stat.mode) | u64::from(stat.uid) << 32,
        stat.gid.into(),
        stat.rdev,
        stat.size,
        block_size(stat),
        stat.blocks,
        asec,
        ansec,
        msec,
        mnsec,
        csec,
        cnsec,
        0,
        0,
        0,
    ];
    uaccess::write(to, words)?;
    Ok(0)
}

/// statx(2).
pub fn statx(dirfd: i32, path: u64, flags: i32, mask: u32, to: u64) -> Result {
    const AT_STATX_SYNC_TYPE: i32 = 0x6000;
    const RESERVED: u32 = 0x8000_0000;
    let known = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || mask & RESERVED != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(EINVAL);
    }
    write_statx(to, &of(&find(dirfd, path, flags)?))
}

pub(super) fn write_statx(to: u64, stat: &Stat) -> Result {
    /// STATX_BASIC_STATS and STATX_BTIME.
    const TOLD: u32 = 0xfff;
    // struct statx, as u32: mask, blksize, attributes (2), nlink, uid, gid, mode, ino (2), size (2), blocks (2),
    // attributes_mask (2), four times seconds (2), nanoseconds and padding, and four numbers of devices.
    let mut words = [0u32; 64];
    let mut put = |at: usize, value: u64| {
        words[at] = value as u32;
        words[at + 1] = (value >> 32) as u32;
    };
    put(8, stat.ino);
    put(10, stat.size);
    put(12, stat.blocks);
    for (at, time) in [(16, stat.atime), (20, stat.btime), (24, stat.ctime), (28, stat.mtime)] {
        put(at, time.sec as u64);
        put(at + 2, time.nsec.into());
    }
    let (major, minor) = (|device: u64| (device >> 8) as u32 & 0xfff, |device: u64| device as u32 & 0xff);
    words[0] = TOLD;
    words[1] = block_size(stat) as u32;
    words[4] = stat.nlink;
    words[5] = stat.uid;
    words[6] = stat.gid;
    words[7] = stat.mode;
    words[32] = major(stat.rdev);
    words[33] = minor(stat.rdev);
    words[34] = major(stat.device);
    words[35] = minor(stat.device);
    uaccess::write(to, words)?;
    Ok(0)
}

/// access(2).
pub fn access(path: u64, mode: i32) -> Result {
    faccessat2(AT_FDCWD, path, mode, 0)
}

/// faccessat(2).
pub fn faccessat(dirfd: i32, path: u64, mode: i32) -> Result {
    faccessat2(dirfd, path, mode, 0)
}

/// faccessat2(2): the program is root, and real and effective user are one.
pub fn faccessat2(dirfd: i32, path: u64, mode: i32, flags: i32) -> Result {
    const EXECUTE: i32 = 1;
    const WRITE: i32 = 2;
    const AT_EACCESS: i32 = 0x200;
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let Found::Node(node) = find(dirfd, path, flags)? else { return Ok(0) };
    if mode & EXECUTE != 0 && !node.is_executable() {
        return Err(EACCES);
    }
    let is_stored = matches!(node.kind(), FileType::Regular | FileType::Directory | FileType::Symlink);
    if mode & WRITE != 0 && is_stored && node.block().is_read_only() {
        return Err(EROFS);
    }
    Ok(0)
}

/// statfs(2).
pub fn statfs(path: u64, to: u64) -> Result {
    write_statfs(to, &find(AT_FDCWD, path, 0)?)
}

/// fstatfs(2).
pub fn fstatfs(fd: i32, to: u64) -> Result {
    write_statfs(to, &by_descriptor(fd)?)
}

fn write_statfs(to: u64, found: &Found) -> Result {
    /// `ANON_INODE_FS_MAGIC`.
    const ANON_INODE_MAGIC: u64 = 0x0904_1934;
    const NAME_MAX: u64 = 255;
    const ST_RDONLY: u64 = 1;
    const ST_VALID: u64 = 0x20;
    const ST_RELATIME: u64 = 0x1000;
    let words: [u64; 15] = match found {
        Found::Object(_) => {
            [ANON_INODE_MAGIC, BLOCK_SIZE, 0, 0, 0, 0, 0, 0, NAME_MAX, BLOCK_SIZE, ST_VALID, 0, 0, 0, 0]
        }
        Found::Node(node) => {
            let stat = node.block().stat();
            let flags = ST_VALID | ST_RELATIME | (u64::from(stat.read_only) * ST_RDONLY);
            [
                stat.magic,
                BLOCK_SIZE,
                stat.pages,
                stat.pages_free,
                stat.pages_free,
                stat.nodes,
                stat.nodes_free,
                stat.device,
                NAME_MAX,
                BLOCK_SIZE,
                flags,
                0,
                0,
                0,
                0,
            ]
        }
    };
    uaccess::write(to, words)?;
    Ok(0)
}
