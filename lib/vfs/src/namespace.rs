//! Changes of directories: what mkdir(2), link(2), unlink(2), rename(2) and their kin do with the last part of a path.
//!
//! Which error comes first where several apply is as on Linux, as far as a program can tell.

use alloc::sync::Arc;

use sync::SpinLock;

use crate::dir::Dir;
use crate::node::{Content, FileType, Node, Time};
use crate::walk::{LastKind, Parent};
use crate::{Error, PATH_MAX, PageSource, Result};

/// `RENAME_NOREPLACE` (renameat2(2)).
pub const NO_REPLACE: u32 = 1;
/// `RENAME_EXCHANGE`.
pub const EXCHANGE: u32 = 2;
/// `RENAME_WHITEOUT`.
pub const WHITEOUT: u32 = 4;

/// Makes a node: what mkdir(2), mknod(2) and symlink(2) do.
///
/// # Errors
/// [`Error::Exists`]; [`Error::NotFound`]: a slash behind a name that is no directory's, or the directory was removed;
/// [`Error::ReadOnly`], [`Error::NoSpace`], [`Error::NotPermitted`].
pub fn make<S: PageSource>(
    at: &Parent<S>,
    kind: FileType,
    mode: u32,
    content: Content<S>,
    now: Time,
) -> Result<Arc<Node<S>>> {
    check_new(at, kind == FileType::Directory)?;
    create(at.directory(), &at.name, kind, mode, content, now)
}

/// Finds the file to be opened with `O_CREAT`, or makes it, with these permissions; tells where, and whether it was made.
///
/// `exclusive` (`O_EXCL`): it must not be there. `follow`: through a symbolic link.
///
/// # Errors
/// As of [`make`]; [`Error::IsADirectory`]; [`Error::TooManyLinks`]: a symbolic link, without `follow`.
pub fn open_or_make<S: PageSource>(
    at: Parent<S>,
    exclusive: bool,
    follow: bool,
    mode: u32,
    now: Time,
) -> Result<(Parent<S>, Arc<Node<S>>, bool)> {
    let mut at = at;
    loop {
        let (last, node) = at.last_to_create(follow && !exclusive)?;
        match node {
            Some(_) if exclusive => return Err(Error::Exists),
            Some(node) if node.is_directory() => return Err(Error::IsADirectory),
            Some(node) if node.kind() == FileType::Symlink => return Err(Error::TooManyLinks),
            Some(node) => return Ok((last, node, false)),
            None => {}
        }
        match create(last.directory(), &last.name, FileType::Regular, mode, Content::file(), now) {
            // Another thread was quicker. What it made may be gone again by now.
            Err(Error::Exists) if !exclusive => at = last,
            node => return Ok((last, node?, true)),
        }
    }
}

fn create<S: PageSource>(
    directory: &Arc<Node<S>>,
    name: &[u8],
    kind: FileType,
    mode: u32,
    content: Content<S>,
    now: Time,
) -> Result<Arc<Node<S>>> {
    let block = directory.block();
    let dir = entries(directory)?;
    block.check_writable()?;
    let _tree = block.tree.lock();
    check_free(directory, dir, name)?;
    let content = match content {
        Content::Directory(_) => Content::directory(Arc::downgrade(directory), name),
        content => content,
    };
    let node = Node::create(block, kind, mode, content, now)?;
    // A directory with the set-group-ID bit hands its group on.
    let parent = *directory.attributes.lock();
    if parent.mode & 0o2000 != 0 {
        let mut attributes = node.attributes.lock();
        attributes.gid = parent.gid;
        if kind == FileType::Directory {
            attributes.mode |= 0o2000;
        }
    }
    dir.lock().insert(block, name, node.clone())?;
    if kind == FileType::Directory {
        directory.add_links(1, now);
    }
    directory.modified(now);
    Ok(node)
}

/// symlink(2).
///
/// # Errors
/// As of [`make`]; [`Error::NotFound`]: an empty target; [`Error::NameTooLong`].
pub fn symlink<S: PageSource>(at: &Parent<S>, target: &[u8], now: Time) -> Result<Arc<Node<S>>> {
    if target.is_empty() {
        return Err(Error::NotFound);
    }
    if target.len() >= PATH_MAX {
        return Err(Error::NameTooLong);
    }
    make(at, FileType::Symlink, 0o777, Content::Symlink(target.into()), now)
}

/// A file without a name (`O_TMPFILE`); `linkable`: it may get one.
///
/// # Errors
/// [`Error::NotADirectory`], [`Error::ReadOnly`], [`Error::NoSpace`]; [`Error::NotSupported`]: the file system has no such files.
pub fn temporary<S: PageSource>(
    directory: &Arc<Node<S>>,
    mode: u32,
    linkable: bool,
    now: Time,
) -> Result<Arc<Node<S>>> {
    let Content::Directory(_) = &directory.content else {
        return Err(if directory.is_directory() { Error::NotSupported } else { Error::NotADirectory });
    };
    directory.block.check_writable()?;
    let node = Node::create(&directory.block, FileType::Regular, mode, Content::file(), now)?;
    {
        let mut attributes = node.attributes.lock();
        attributes.nlink = 0;
        attributes.linkable = linkable;
    }
    Ok(node)
}

/// link(2): one more name for a node.
///
/// # Errors
/// As of [`make`]; [`Error::CrossesFileSystems`]; [`Error::NotPermitted`]: it is a directory; [`Error::NotFound`]: it was removed.
pub fn link<S: PageSource>(node: &Arc<Node<S>>, at: &Parent<S>, now: Time) -> Result<()> {
    check_new(at, false)?;
    let directory = at.directory();
    let block = directory.block();
    if !Arc::ptr_eq(node.block(), block) {
        return Err(Error::CrossesFileSystems);
    }
    let dir = entries(directory)?;
    block.check_writable()?;
    if node.is_directory() {
        return Err(Error::NotPermitted);
    }
    let _tree = block.tree.lock();
    check_free(directory, dir, &at.name)?;
    let (nlink, linkable) = {
        let attributes = node.attributes.lock();
        (attributes.nlink, attributes.linkable)
    };
    if nlink == 0 && !linkable {
        return Err(Error::NotFound);
    }
    // The first name is counted with the node.
    if nlink > 0 {
        block.take_link()?;
    }
    if let Err(error) = dir.lock().insert(block, &at.name, node.clone()) {
        if nlink > 0 {
            block.return_link();
        }
        return Err(error);
    }
    node.attributes.lock().linkable = false;
    node.add_links(1, now);
    directory.modified(now);
    Ok(())
}

/// unlink(2).
///
/// # Errors
/// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::NotADirectory`]: a slash behind a file's name; [`Error::ReadOnly`].
pub fn unlink<S: PageSource>(at: &Parent<S>, now: Time) -> Result<()> {
    if at.kind != LastKind::Name {
        return Err(Error::IsADirectory);
    }
    let directory = at.directory();
    directory.block.check_writable()?;
    let check = |node: &Node<S>| match node.is_directory() {
        true => Err(Error::IsADirectory),
        false if at.trailing_slash => Err(Error::NotADirectory),
        false => Ok(()),
    };
    let Content::Directory(dir) = &directory.content else {
        check(&*directory.lookup(&at.name)?.ok_or(Error::NotFound)?)?;
        return Err(Error::NotPermitted);
    };
    // Dropped after the lock: a file's pages go with it.
    let node;
    {
        let _tree = directory.block.tree.lock();
        node = dir.lock().lookup(directory, &at.name)?.ok_or(Error::NotFound)?;
        check(&node)?;
        dir.lock().remove(&directory.block, &at.name);
        node.remove_link(now);
        directory.modified(now);
    }
    node.release();
    Ok(())
}

/// rmdir(2).
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::NotEmpty`], [`Error::Invalid`]: it is `.`; [`Error::Busy`]: it is `/`, or
/// something is mounted on it; [`Error::ReadOnly`].
pub fn rmdir<S: PageSource>(at: &Parent<S>, now: Time) -> Result<()> {
    match at.kind {
        LastKind::Name => {}
        LastKind::Dot => return Err(Error::Invalid),
        LastKind::DotDot => return Err(Error::NotEmpty),
        LastKind::Root => return Err(Error::Busy),
    }
    let directory = at.directory();
    directory.block.check_writable()?;
    let Content::Directory(dir) = &directory.content else {
        directory.lookup(&at.name)?.ok_or(Error::NotFound)?;
        return Err(Error::NotPermitted);
    };
    let node;
    let _tree = directory.block.tree.lock();
    node = dir.lock().lookup(directory, &at.name)?.ok_or(Error::NotFound)?;
    if !node.is_directory() {
        return Err(Error::NotADirectory);
    }
    if node.is_covered() {
        return Err(Error::Busy);
    }
    bury(&node, directory)?;
    dir.lock().remove(&directory.block, &at.name);
    node.add_links(-2, now);
    directory.add_links(-1, now);
    directory.modified(now);
    Ok(())
}

/// renameat2(2): `flags` are [`NO_REPLACE`], [`EXCHANGE`] and [`WHITEOUT`].
///
/// # Errors
/// [`Error::Invalid`]: flags that exclude each other or are none, or a directory would be put into itself;
/// [`Error::CrossesFileSystems`], [`Error::Busy`], [`Error::NotFound`], [`Error::Exists`], [`Error::NotADirectory`],
/// [`Error::IsADirectory`], [`Error::NotEmpty`], [`Error::ReadOnly`], [`Error::NoSpace`].
pub fn rename<S: PageSource>(from: &Parent<S>, to: &Parent<S>, flags: u32, now: Time) -> Result<()> {
    if let Some(replaced) = rename_in_tree(from, to, flags, now)? {
        replaced.release();
    }
    Ok(())
}

/// As [`rename`]; returns the node that was replaced.
fn rename_in_tree<S: PageSource>(
    from: &Parent<S>,
    to: &Parent<S>,
    flags: u32,
    now: Time,
) -> Result<Option<Arc<Node<S>>>> {
    check_flags(flags)?;
    let (old_dir, new_dir) = (from.directory(), to.directory());
    let block = old_dir.block();
    if !Arc::ptr_eq(block, new_dir.block()) {
        return Err(Error::CrossesFileSystems);
    }
    if from.kind != LastKind::Name {
        return Err(Error::Busy);
    }
    if to.kind != LastKind::Name {
        return Err(if flags & NO_REPLACE != 0 { Error::Exists } else { Error::Busy });
    }
    block.check_writable()?;
    let (old_entries, new_entries) = (entries(old_dir)?, entries(new_dir)?);
    // Dropped after the lock.
    let (old, new);
    let _tree = block.tree.lock();
    old = old_entries.lock().lookup(old_dir, &from.name)?.ok_or(Error::NotFound)?;
    new = new_entries.lock().lookup(new_dir, &to.name)?;
    let exchange = flags & EXCHANGE != 0;
    match &new {
        Some(_) if flags & NO_REPLACE != 0 => return Err(Error::Exists),
        None if exchange => return Err(Error::NotFound),
        Some(new) if exchange && !new.is_directory() && to.trailing_slash => {
            return Err(Error::NotADirectory);
        }
        _ => {}
    }
    if !old.is_directory() && (from.trailing_slash || !exchange && to.trailing_slash) {
        return Err(Error::NotADirectory);
    }
    if is_in(new_dir, &old) {
        return Err(Error::Invalid);
    }
    if let Some(new) = &new
        && is_in(old_dir, new)
    {
        return Err(if exchange { Error::Invalid } else { Error::NotEmpty });
    }
    if new.as_ref().is_some_and(|new| Arc::ptr_eq(new, &old)) {
        return Ok(None);
    }
    if new_entries.lock().is_removed() {
        return Err(Error::NotFound);
    }
    if let Some(new) = &new
        && !exchange
    {
        match (old.is_directory(), new.is_directory()) {
            (true, false) => return Err(Error::NotADirectory),
            (false, true) => return Err(Error::IsADirectory),
            _ => {}
        }
    }
    if old.is_covered() || new.as_ref().is_some_and(|new| new.is_covered()) {
        return Err(Error::Busy);
    }
    let whiteout = match flags & WHITEOUT != 0 {
        true => Some(Node::create(block, FileType::CharDevice, 0, Content::Device(0), now)?),
        false => None,
    };
    if let Some(new) = &new
        && !exchange
        && new.is_directory()
    {
        bury(new, new_dir)?;
    }

    let replacement = if exchange { new.clone() } else { whiteout };
    let was_there = if exchange { None } else { new.as_ref() };
    if let Err(error) = swap(from, to, &old, replacement) {
        if let Some(still_there) = was_there {
            unbury(still_there);
        }
        return Err(error);
    }

    let moved_links = |node: &Arc<Node<S>>| i32::from(node.is_directory());
    if let Some(gone) = was_there {
        match gone.is_directory() {
            true => gone.add_links(-2, now),
            false => gone.remove_link(now),
        }
    }
    let back = if exchange { new.as_ref().map_or(0, moved_links) } else { 0 };
    let gone = was_there.map_or(0, moved_links);
    old_dir.add_links(back - moved_links(&old), now);
    new_dir.add_links(moved_links(&old) - back - gone, now);
    old.add_links(0, now);
    if let Some(new) = &new {
        new.add_links(0, now);
    }
    old_dir.modified(now);
    new_dir.modified(now);
    Ok(was_there.cloned())
}

/// The flags of renameat2(2), before anything is looked up.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_flags(flags: u32) -> Result<()> {
    let unknown = flags & !(NO_REPLACE | EXCHANGE | WHITEOUT) != 0;
    if unknown || flags & EXCHANGE != 0 && flags & (NO_REPLACE | WHITEOUT) != 0 {
        return Err(Error::Invalid);
    }
    Ok(())
}

/// Puts `old` under the new name, and `replacement`, or nothing, under the old one: whoever looks sees all of it or nothing.
fn swap<S: PageSource>(
    from: &Parent<S>,
    to: &Parent<S>,
    old: &Arc<Node<S>>,
    replacement: Option<Arc<Node<S>>>,
) -> Result<()> {
    let (old_dir, new_dir) = (from.directory(), to.directory());
    let (old_entries, new_entries) = (entries(old_dir)?, entries(new_dir)?);
    if Arc::ptr_eq(old_dir, new_dir) {
        swap_entries(from, to, old, replacement.as_ref(), &mut new_entries.lock(), None)?;
    } else {
        // Two directories are locked in the order of their numbers.
        let (mut first, mut second);
        if old_dir.ino() < new_dir.ino() {
            first = old_entries.lock();
            second = new_entries.lock();
        } else {
            second = new_entries.lock();
            first = old_entries.lock();
        }
        swap_entries(from, to, old, replacement.as_ref(), &mut second, Some(&mut first))?;
    }
    settle(old, new_dir, &to.name);
    if let Some(node) = &replacement {
        settle(node, old_dir, &from.name);
    }
    Ok(())
}

/// As [`swap`], in the two directories; `old_dir` is `None` if they are the same. If it fails, nothing is changed.
fn swap_entries<S: PageSource>(
    from: &Parent<S>,
    to: &Parent<S>,
    old: &Arc<Node<S>>,
    replacement: Option<&Arc<Node<S>>>,
    new_dir: &mut Dir<S>,
    mut old_dir: Option<&mut Dir<S>>,
) -> Result<()> {
    let block = old.block();
    if let Some(node) = replacement {
        old_dir.as_deref_mut().unwrap_or(new_dir).insert(block, &from.name, node.clone())?;
    }
    let inserted = new_dir.insert(block, &to.name, old.clone());
    let old_dir = old_dir.unwrap_or(new_dir);
    match (inserted, replacement) {
        (Ok(()), None) => old_dir.remove(block, &from.name),
        // The name is one of the directory's own by now, so that this one does not fail.
        (Err(error), Some(_)) => return old_dir.insert(block, &from.name, old.clone()).and(Err(error)),
        (inserted, _) => return inserted,
    }
    Ok(())
}

/// A directory is told where it is now.
fn settle<S: PageSource>(node: &Node<S>, parent: &Arc<Node<S>>, name: &[u8]) {
    if let Content::Directory(dir) = &node.content {
        let mut dir = dir.lock();
        dir.parent = Arc::downgrade(parent);
        dir.name = name.into();
    }
}

/// Whether a directory is `ancestor` or below it, in their file system. Under the tree's lock.
fn is_in<S: PageSource>(directory: &Arc<Node<S>>, ancestor: &Arc<Node<S>>) -> bool {
    let mut at = Some(directory.clone());
    while let Some(node) = at {
        if Arc::ptr_eq(&node, ancestor) {
            return true;
        }
        at = match &node.content {
            Content::Directory(dir) => dir.lock().parent.upgrade(),
            _ => None,
        };
    }
    false
}

/// Makes a directory one that is removed from `parent`, if it is empty.
fn bury<S: PageSource>(node: &Node<S>, parent: &Arc<Node<S>>) -> Result<()> {
    let mut dir = entries(node)?.lock();
    if dir.len() != 0 {
        return Err(Error::NotEmpty);
    }
    dir.removed_from = Some(parent.clone());
    Ok(())
}

/// Takes [`bury`] back.
fn unbury<S: PageSource>(node: &Node<S>) {
    if let Content::Directory(dir) = &node.content {
        dir.lock().removed_from = None;
    }
}

/// The last part of a path as a new name.
fn check_new<S: PageSource>(at: &Parent<S>, is_directory: bool) -> Result<()> {
    if at.kind != LastKind::Name {
        return Err(Error::Exists);
    }
    match at.directory().lookup(&at.name)? {
        Some(_) => Err(Error::Exists),
        None if at.trailing_slash && !is_directory => Err(Error::NotFound),
        None => Ok(()),
    }
}

fn check_free<S: PageSource>(directory: &Arc<Node<S>>, dir: &SpinLock<Dir<S>>, name: &[u8]) -> Result<()> {
    let mut dir = dir.lock();
    if dir.is_removed() {
        return Err(Error::NotFound);
    }
    if dir.lookup(directory, name)?.is_some() { Err(Error::Exists) } else { Ok(()) }
}

/// The entries of a directory that can be changed.
fn entries<S: PageSource>(directory: &Node<S>) -> Result<&SpinLock<Dir<S>>> {
    match &directory.content {
        Content::Directory(dir) => Ok(dir),
        Content::VirtualDir(_) => Err(Error::NotPermitted),
        _ => Err(Error::NotADirectory),
    }
}
