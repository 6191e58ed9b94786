//! Names: mkdir(2), unlink(2), rename(2), link(2), symlink(2), readlink(2), chdir(2) and their kin.

use alloc::sync::Weak;
use alloc::vec::Vec;

use kernel::uaccess;
use vfs::{Content, FileType, namespace};

use super::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, Found, by_descriptor, change_directory,
    find, masked, now, parent, read_path, root, set_working_directory, working_directory,
};
use crate::errno::{EINVAL, ENOENT, ENOTDIR, EPERM, ERANGE, Result};

/// mkdir(2).
pub fn mkdir(path: u64, mode: u32) -> Result {
    mkdirat(AT_FDCWD, path, mode)
}

/// mkdirat(2).
pub fn mkdirat(dirfd: i32, path: u64, mode: u32) -> Result {
    let content = Content::directory(Weak::new(), b"");
    let at = parent(dirfd, path)?;
    namespace::make(&at, FileType::Directory, masked(mode & 0o1777), content, now())?;
    Ok(0)
}

/// mknod(2).
pub fn mknod(path: u64, mode: u32, device: u64) -> Result {
    mknodat(AT_FDCWD, path, mode, device)
}

/// mknodat(2): files, pipes, and names for what cannot be opened (sockets, devices that are not there).
pub fn mknodat(dirfd: i32, path: u64, mode: u32, device: u64) -> Result {
    let kind = if mode & 0o170_000 == 0 { Some(FileType::Regular) } else { FileType::from_mode(mode) };
    let (kind, content) = match kind {
        Some(FileType::Regular) => (FileType::Regular, Content::file()),
        Some(kind @ (FileType::CharDevice | FileType::BlockDevice)) => (kind, Content::Device(device)),
        Some(kind @ (FileType::Fifo | FileType::Socket)) => (kind, Content::endpoint()),
        Some(FileType::Directory) => return Err(EPERM),
        _ => return Err(EINVAL),
    };
    namespace::make(&parent(dirfd, path)?, kind, masked(mode & 0o7777), content, now())?;
    Ok(0)
}

/// rmdir(2).
pub fn rmdir(path: u64) -> Result {
    namespace::rmdir(&parent(AT_FDCWD, path)?, now())?;
    Ok(0)
}

/// unlink(2).
pub fn unlink(path: u64) -> Result {
    unlinkat(AT_FDCWD, path, 0)
}

/// unlinkat(2).
pub fn unlinkat(dirfd: i32, path: u64, flags: i32) -> Result {
    const AT_REMOVEDIR: i32 = 0x200;
    if flags & !AT_REMOVEDIR != 0 {
        return Err(EINVAL);
    }
    let at = parent(dirfd, path)?;
    if flags & AT_REMOVEDIR != 0 {
        namespace::rmdir(&at, now())?
    } else {
        namespace::unlink(&at, now())?
    }
    Ok(0)
}

/// rename(2).
pub fn rename(from: u64, to: u64) -> Result {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, 0)
}

/// renameat(2).
pub fn renameat(from_fd: i32, from: u64, to_fd: i32, to: u64) -> Result {
    renameat2(from_fd, from, to_fd, to, 0)
}

/// renameat2(2).
pub fn renameat2(from_fd: i32, from: u64, to_fd: i32, to: u64, flags: u32) -> Result {
    namespace::check_flags(flags)?;
    let (from, to) = (parent(from_fd, from)?, parent(to_fd, to)?);
    namespace::rename(&from, &to, flags, now())?;
    Ok(0)
}

/// link(2).
pub fn link(from: u64, to: u64) -> Result {
    linkat(AT_FDCWD, from, AT_FDCWD, to, 0)
}

/// linkat(2).
pub fn linkat(from_fd: i32, from: u64, to_fd: i32, to: u64, flags: i32) -> Result {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(EINVAL);
    }
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let node = find(from_fd, from, flags & AT_EMPTY_PATH | follow)?.into_node()?;
    namespace::link(&node, &parent(to_fd, to)?, now())?;
    Ok(0)
}

/// symlink(2).
pub fn symlink(target: u64, path: u64) -> Result {
    symlinkat(target, AT_FDCWD, path)
}

/// symlinkat(2).
pub fn symlinkat(target: u64, dirfd: i32, path: u64) -> Result {
    let target = read_path(target)?;
    if target.is_empty() {
        return Err(ENOENT);
    }
    namespace::symlink(&parent(dirfd, path)?, &target, now())?;
    Ok(0)
}

/// readlink(2).
pub fn readlink(path: u64, buf: u64, size: i32) -> Result {
    readlinkat(AT_FDCWD, path, buf, size)
}

/// readlinkat(2).
pub fn readlinkat(dirfd: i32, path: u64, buf: u64, size: i32) -> Result {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(EINVAL)?;
    // An empty path is the link that the descriptor was opened for with O_PATH.
    let is_empty = uaccess::read::<u8>(path)? == 0;
    let node = match find(dirfd, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)? {
        Found::Node(node) => node,
        Found::Object(_) => return Err(ENOENT),
    };
    let made;
    let target: &[u8] = match node.content() {
        Content::Symlink(target) => target,
        Content::PackedSymlink(target) => target,
        Content::MagicLink(link) => {
            made = link.text()?;
            &made
        }
        _ => return Err(if is_empty { ENOENT } else { EINVAL }),
    };
    let len = target.len().min(size);
    uaccess::write_bytes(buf, &target[..len])?;
    Ok(len as u64)
}

/// chdir(2).
pub fn chdir(path: u64) -> Result {
    change_directory(&read_path(path)?)?;
    Ok(0)
}

/// fchdir(2).
pub fn fchdir(fd: i32) -> Result {
    let node = by_descriptor(fd)?.into_node().map_err(|_| ENOTDIR)?;
    set_working_directory(node)?;
    Ok(0)
}

/// getcwd(2).
pub fn getcwd(buf: u64, size: u64) -> Result {
    let mut path: Vec<u8> = working_directory().directory_path(root())?;
    path.push(0);
    if size < path.len() as u64 {
        return Err(ERANGE);
    }
    uaccess::write_bytes(buf, &path)?;
    Ok(path.len() as u64)
}
