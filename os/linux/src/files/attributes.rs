//! What a file is made to be: chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2), fsync(2) and their kin.

use alloc::sync::Arc;

use kernel::uaccess;
use vfs::{Content, SetTime, Time};

use super::opened::OpenFile;
use super::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Node, Outcome, find, node_of, now};
use crate::errno::{EBADF, EINVAL, EISDIR, ENODEV, EOPNOTSUPP, ESPIPE, Result};
use crate::fd;
use crate::pipe::PipeEnd;
use crate::time::NS;

/// chmod(2).
pub fn chmod(path: u64, mode: u32) -> Result {
    fchmodat2(AT_FDCWD, path, mode, 0)
}

/// fchmod(2).
pub fn fchmod(fd: i32, mode: u32) -> Result {
    node_of(fd)?.set_mode(mode, now())?;
    Ok(0)
}

/// fchmodat(2).
pub fn fchmodat(dirfd: i32, path: u64, mode: u32) -> Result {
    fchmodat2(dirfd, path, mode, 0)
}

/// fchmodat2(2).
pub fn fchmodat2(dirfd: i32, path: u64, mode: u32, flags: i32) -> Result {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    find(dirfd, path, flags)?.into_node()?.set_mode(mode, now())?;
    Ok(0)
}

/// chown(2).
pub fn chown(path: u64, uid: u32, gid: u32) -> Result {
    fchownat(AT_FDCWD, path, uid, gid, 0)
}

/// lchown(2).
pub fn lchown(path: u64, uid: u32, gid: u32) -> Result {
    fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
pub fn fchown(fd: i32, uid: u32, gid: u32) -> Result {
    let node = node_of(fd)?;
    set_owner(&node, uid, gid)
}

/// fchownat(2).
pub fn fchownat(dirfd: i32, path: u64, uid: u32, gid: u32, flags: i32) -> Result {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let node = find(dirfd, path, flags)?.into_node()?;
    set_owner(&node, uid, gid)
}

fn set_owner(node: &Node, uid: u32, gid: u32) -> Result {
    let or_keep = |id: u32| Some(id).filter(|id| *id != u32::MAX);
    node.set_owner(or_keep(uid), or_keep(gid), now())?;
    Ok(0)
}

/// utimensat(2); without a path it is futimens(3).
pub fn utimensat(dirfd: i32, path: u64, times: u64, flags: i32) -> Result {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let now = now();
    let (atime, mtime) = match times {
        0 => (Ok(SetTime::To(now)), Ok(SetTime::To(now))),
        times => {
            let [asec, ansec, msec, mnsec] = uaccess::read::<[u64; 4]>(times)?.map(|word| word as i64);
            let set = |sec, nsec: i64| match nsec {
                NOW => Ok(SetTime::To(now)),
                OMIT => Ok(SetTime::Keep),
                0..1_000_000_000 => Ok(SetTime::To(Time { sec, nsec: nsec as u32 })),
                _ => Err(EINVAL),
            };
            (set(asec, ansec), set(msec, mnsec))
        }
    };
    if (atime, mtime) == (Ok(SetTime::Keep), Ok(SetTime::Keep)) {
        return Ok(0);
    }
    let node = match path {
        0 if dirfd == AT_FDCWD => return Err(crate::errno::EFAULT),
        0 if flags != 0 => return Err(EINVAL),
        0 => node_of(dirfd)?,
        path => find(dirfd, path, flags)?.into_node()?,
    };
    // A time that is none is told only when there is something to set it of.
    node.set_times(atime?, mtime?, now)?;
    Ok(0)
}

/// utimes(2).
pub fn utimes(path: u64, times: u64) -> Result {
    futimesat(AT_FDCWD, path, times)
}

/// futimesat(2).
pub fn futimesat(dirfd: i32, path: u64, times: u64) -> Result {
    let now = now();
    let (atime, mtime) = match times {
        0 => (now, now),
        times => {
            let [asec, aus, msec, mus] = uaccess::read::<[u64; 4]>(times)?;
            if aus >= 1_000_000 || mus >= 1_000_000 {
                return Err(EINVAL);
            }
            let time = |sec: u64, us: u64| Time { sec: sec as i64, nsec: (us * (NS / 1_000_000)) as u32 };
            (time(asec, aus), time(msec, mus))
        }
    };
    find(dirfd, path, 0)?.into_node()?.set_times(SetTime::To(atime), SetTime::To(mtime), now)?;
    Ok(0)
}

/// utime(2).
pub fn utime(path: u64, times: u64) -> Result {
    let now = now();
    let (atime, mtime) = match times {
        0 => (now, now),
        times => {
            let [atime, mtime] = uaccess::read::<[u64; 2]>(times)?;
            (Time { sec: atime as i64, nsec: 0 }, Time { sec: mtime as i64, nsec: 0 })
        }
    };
    find(AT_FDCWD, path, 0)?.into_node()?.set_times(SetTime::To(atime), SetTime::To(mtime), now)?;
    Ok(0)
}

/// truncate(2).
pub fn truncate(path: u64, len: i64) -> Result {
    let len = u64::try_from(len).map_err(|_| EINVAL)?;
    find(AT_FDCWD, path, 0)?.into_node()?.truncate(len, now())?;
    Ok(0)
}

/// ftruncate(2).
pub fn ftruncate(fd: i32, len: i64) -> Result {
    let len = u64::try_from(len).map_err(|_| EINVAL)?;
    let description = fd::get(fd)?;
    let Some(file) = description.downcast::<OpenFile>() else {
        return Err(if description.downcast::<super::opened::OpenPath>().is_some() { EBADF } else { EINVAL });
    };
    file.check_writable().map_err(|_| EINVAL)?;
    written(file)?.truncate(len, now())?;
    Ok(0)
}

fn written(file: &OpenFile) -> Outcome<&Arc<Node>> {
    fd::File::node(file).ok_or(EINVAL)
}

/// fallocate(2).
pub fn fallocate(fd: i32, mode: i32, offset: i64, len: i64) -> Result {
    const KEEP_SIZE: i32 = 1;
    const PUNCH_HOLE: i32 = 2;
    let description = fd::get_open(fd)?;
    if offset < 0 || len <= 0 {
        return Err(EINVAL);
    }
    if mode & !(KEEP_SIZE | PUNCH_HOLE) != 0 || mode & (KEEP_SIZE | PUNCH_HOLE) == PUNCH_HOLE {
        return Err(EOPNOTSUPP);
    }
    description.check_writable()?;
    let Some(file) = description.downcast::<OpenFile>() else {
        return Err(if description.downcast::<PipeEnd>().is_some() { ESPIPE } else { ENODEV });
    };
    let (node, offset, len) = (written(file)?, offset as u64, len as u64);
    if node.is_directory() {
        return Err(EISDIR);
    }
    if mode & PUNCH_HOLE != 0 {
        node.punch_hole(offset, len, now())?;
    } else {
        node.allocate(offset, len, mode & KEEP_SIZE != 0, now())?;
    }
    Ok(0)
}

/// fsync(2), fdatasync(2), syncfs(2): there is nothing that is more lasting than memory.
pub fn fsync(fd: i32) -> Result {
    let description = fd::get_open(fd)?;
    match description.file().node().map(|node| node.content()) {
        Some(Content::File(_) | Content::Directory(_) | Content::VirtualDir(_)) => Ok(0),
        _ => Err(EINVAL),
    }
}

/// sync(2).
pub fn sync() -> Result {
    Ok(0)
}

/// fadvise64(2): advice is taken and not followed.
pub fn fadvise64(fd: i32, _offset: i64, len: i64, advice: i32) -> Result {
    match fd::get_open(fd)? {
        pipe if pipe.downcast::<PipeEnd>().is_some() => Err(ESPIPE),
        _ if len < 0 || !(0..=5).contains(&advice) => Err(EINVAL),
        _ => Ok(0),
    }
}

/// setxattr(2), getxattr(2), listxattr(2), removexattr(2): no file has any.
pub fn xattr(path: u64) -> Result {
    find(AT_FDCWD, path, 0)?;
    Err(EOPNOTSUPP)
}

/// lsetxattr(2) and its kin.
pub fn lxattr(path: u64) -> Result {
    find(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)?;
    Err(EOPNOTSUPP)
}

/// fsetxattr(2) and its kin.
pub fn fxattr(fd: i32) -> Result {
    fd::get_open(fd)?;
    Err(EOPNOTSUPP)
}
