//! Open files: [`OpenFile`], [`OpenDirectory`], and [`OpenPath`], which stands for a path alone.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use kernel::{sched, uaccess};
use vfs::{Content, PAGE_SIZE, PATH_MAX, Seek};

use super::open::{KEPT, O_ACCMODE, O_APPEND, O_RDWR, O_WRONLY};
use super::{Node, Outcome, now, pages, root};
use crate::buffers::UserBuffers;
use crate::errno::{EBADF, EINVAL, EISDIR, ENOMEM, ENOTTY, Errno, Result};
use crate::fd::{File, Stat};
use crate::file::ALWAYS_READY;
use crate::pace::Pace;
use crate::readiness::Readiness;
use crate::turn::Turn;

const PAGE: u64 = PAGE_SIZE as u64;
/// Largest offset.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Where a file was found: what /proc/self/fd tells.
pub struct Place {
    directory: Arc<Node>,
    name: Box<[u8]>,
}

impl Place {
    /// A name in a directory.
    pub fn new(directory: &Arc<Node>, name: &[u8]) -> Self {
        Self { directory: directory.clone(), name: name.into() }
    }

    /// The path of `node`, which was found there.
    ///
    /// # Errors
    /// [`vfs::Error::NameTooLong`].
    pub fn path(&self, node: &Arc<Node>) -> vfs::Result<Vec<u8>> {
        if node.is_directory() {
            return directory_path(node);
        }
        let mut path = directory_path(&self.directory)?;
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(&self.name);
        let is_there = |found: Arc<Node>| Arc::ptr_eq(&found, node) || found.ino() == node.ino();
        if !self.directory.lookup(&self.name).ok().flatten().is_some_and(is_there) {
            path.extend_from_slice(b" (deleted)");
        }
        if path.len() < PATH_MAX { Ok(path) } else { Err(vfs::Error::NameTooLong) }
    }
}

/// The path of a directory, with Linux' note if it was removed.
///
/// # Errors
/// [`vfs::Error::NameTooLong`].
pub fn directory_path(node: &Arc<Node>) -> vfs::Result<Vec<u8>> {
    match node.directory_path(root()) {
        Err(vfs::Error::NotFound) => Ok(b"/ (deleted)".to_vec()),
        path => path,
    }
}

/// A file, with the offset at which it is read and written.
pub struct OpenFile {
    node: Arc<Node>,
    place: Place,
    flags: AtomicI32,
    offset: AtomicU64,
    /// Of calls that go by the offset and move it.
    turn: Turn,
    /// What it says, if that was made when it was opened.
    text: Option<Vec<u8>>,
}

impl OpenFile {
    /// Opens a file.
    pub fn new(node: Arc<Node>, place: Place, flags: i32) -> Self {
        let text = match node.content() {
            Content::Text(text) => Some(text.text()),
            _ => None,
        };
        Self {
            node,
            place,
            flags: AtomicI32::new(flags & KEPT),
            offset: AtomicU64::new(0),
            turn: Turn::new(),
            text,
        }
    }

    /// `F_SETFL`: sets or takes away `O_APPEND`.
    pub fn set_flags(&self, flags: i32) {
        let kept = self.flags.load(Ordering::Relaxed) & !O_APPEND;
        self.flags.store(kept | flags & O_APPEND, Ordering::Relaxed);
    }

    fn flags(&self) -> i32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Whether it was opened for reading.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_readable(&self) -> Outcome<()> {
        if matches!(self.flags() & O_ACCMODE, 0 | O_RDWR) { Ok(()) } else { Err(EBADF) }
    }

    /// Whether it was opened for writing.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_writable(&self) -> Outcome<()> {
        if matches!(self.flags() & O_ACCMODE, O_WRONLY | O_RDWR) { Ok(()) } else { Err(EBADF) }
    }

    /// Whether each write goes to the end.
    pub fn appends(&self) -> bool {
        self.flags() & O_APPEND != 0
    }

    /// Octets of it.
    pub fn size(&self) -> u64 {
        self.text.as_ref().map_or_else(|| self.node.size(), |text| text.len() as u64)
    }

    /// The offset.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Moves the offset by what was read or written.
    pub fn advance(&self, octets: usize) {
        self.offset.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Octets of it, for the kernel: as many as there are, and up to so many.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn octets(&self, mut offset: u64, most: usize) -> Outcome<Vec<u8>> {
        let there = self.size().saturating_sub(offset).min(most as u64) as usize;
        let mut octets = Vec::new();
        octets.try_reserve_exact(there).map_err(|_| ENOMEM)?;
        if let Some(text) = &self.text {
            octets.extend_from_slice(
                text.get(offset as usize..).unwrap_or_default().get(..there).unwrap_or_default(),
            );
            return Ok(octets);
        }
        while octets.len() < there
            && let Some((page, len)) = self.node.read_page(offset)?
        {
            let done = octets.len();
            let len = len.min(there - done);
            octets.resize(done + len, 0);
            page.read((offset % PAGE) as usize, &mut octets[done..]);
            offset += len as u64;
        }
        self.node.accessed(now());
        Ok(octets)
    }

    /// pread(2).
    ///
    /// # Errors
    /// `EBADF`, `EFAULT`.
    pub fn read_at(&self, to: &mut UserBuffers, mut offset: u64) -> Outcome<usize> {
        self.check_readable()?;
        if let Some(text) = &self.text {
            return to.write(text.get(offset as usize..).unwrap_or_default());
        }
        let (mut done, mut pace) = (0, Pace::new());
        while !to.is_empty()
            && let Some((page, there)) = self.node.read_page(offset)?
        {
            let (at, len) = ((offset % PAGE) as usize, there.min(to.len()));
            let mut copy = |address, from, len| pages::copy_to_program(&page, at + from, address, len);
            match to.transfer(len, &mut copy) {
                Ok(moved) => {
                    done += moved;
                    offset += moved as u64;
                    if moved < len || pace.moved(moved) {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if done > 0 {
            self.node.accessed(now());
        }
        Ok(done)
    }

    /// pwrite(2); at the end, if the file was opened so. Returns where it ended, too.
    ///
    /// # Errors
    /// `EBADF`, `EFAULT`, `EFBIG`, `ENOSPC`, `EROFS`.
    pub fn write_at(&self, from: &mut UserBuffers, mut offset: u64) -> Outcome<(usize, u64)> {
        self.check_writable()?;
        if let Content::Text(text) = self.node.content() {
            let octets = take(from, PAGE_SIZE)?;
            text.write(&octets)?;
            return Ok((octets.len(), offset + octets.len() as u64));
        }
        if from.is_empty() {
            return Ok((0, offset));
        }
        self.node.block().check_writable()?;
        if self.appends() {
            return self.append(from);
        }
        let (mut done, mut pace) = (0, Pace::new());
        while !from.is_empty() {
            let at = (offset % PAGE) as usize;
            let len = from.len().min(PAGE_SIZE - at);
            let moved = match self.node.write_page(offset / PAGE) {
                Ok(page) => {
                    let mut copy = |address, to, len| page.0.copy_from_program(at + to, address, len);
                    from.transfer(len, &mut copy)
                }
                Err(error) => Err(error.into()),
            };
            let moved = match moved {
                Ok(moved) => moved,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            done += moved;
            offset += moved as u64;
            self.node.wrote(offset, now());
            if moved < len || pace.moved(moved) {
                break;
            }
        }
        Ok((done, offset))
    }

    /// Writes to the end. A write of up to 64 KiB is in one piece whoever else appends.
    fn append(&self, from: &mut UserBuffers) -> Outcome<(usize, u64)> {
        const PIECE: usize = 64 << 10;
        let (mut done, mut end) = (0, self.node.size());
        while !from.is_empty() {
            let octets = match take(from, PIECE) {
                Ok(octets) => octets,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            match self.node.append(&octets, now()) {
                Ok((appended, size)) => {
                    done += appended;
                    end = size;
                    if appended < octets.len() {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error.into()),
            }
            if sched::breathe() {
                break;
            }
        }
        Ok((done, end))
    }

    /// Where lseek(2) would go.
    fn sought(&self, offset: i64, whence: i32) -> Outcome<u64> {
        const SET: i32 = 0;
        const CUR: i32 = 1;
        const END: i32 = 2;
        const DATA: i32 = 3;
        const HOLE: i32 = 4;
        let base = match whence {
            SET => 0,
            CUR => self.offset(),
            END => self.size(),
            DATA | HOLE => {
                let what = if whence == DATA { Seek::Data } else { Seek::Hole };
                let from = u64::try_from(offset).map_err(|_| crate::errno::ENXIO)?;
                return Ok(self.node.seek(what, from)?);
            }
            _ => return Err(EINVAL),
        };
        // Of what is not on a disk, such as /proc, as Linux has it.
        let most = if self.text.is_some() { i32::MAX as u64 } else { OFFSET_MAX };
        base.checked_add_signed(offset).filter(|offset| *offset <= most).ok_or(EINVAL)
    }
}

/// No octet may be behind the last offset there is, whatever there is to be read, and also of what goes to the end.
///
/// # Errors
/// `EINVAL`.
pub fn check_end(offset: u64, len: usize) -> Outcome<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= OFFSET_MAX => Ok(()),
        _ => Err(EINVAL),
    }
}

/// Octets of the program, up to so many.
fn take(from: &mut UserBuffers, most: usize) -> Outcome<Vec<u8>> {
    let len = from.len().min(most);
    let mut octets = Vec::new();
    octets.try_reserve_exact(len).map_err(|_| ENOMEM)?;
    octets.resize(len, 0);
    let done = from.read(&mut octets)?;
    octets.truncate(done);
    Ok(octets)
}

impl File for OpenFile {
    fn read(&self, to: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        let _turn = self.turn.take()?;
        check_end(self.offset(), to.len())?;
        let done = self.read_at(to, self.offset())?;
        self.advance(done);
        Ok(done)
    }

    fn write(&self, from: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        let _turn = self.turn.take()?;
        let offset = self.offset();
        check_end(offset, from.len())?;
        let (done, end) = self.write_at(from, offset)?;
        if self.appends() {
            self.offset.store(end, Ordering::Relaxed);
        } else {
            self.advance(done);
        }
        Ok(done)
    }

    fn events(&self) -> u32 {
        ALWAYS_READY
    }

    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    fn seek(&self, offset: i64, whence: i32) -> Result {
        let _turn = self.turn.take()?;
        let offset = self.sought(offset, whence)?;
        self.offset.store(offset, Ordering::Relaxed);
        Ok(offset)
    }

    fn stat(&self) -> Stat {
        Stat::default()
    }

    fn ioctl(&self, op: u32, arg: u64) -> Result {
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(ENOTTY);
        }
        uaccess::write(arg, self.size().saturating_sub(self.offset()) as i32)?;
        Ok(0)
    }

    fn access_mode(&self) -> u32 {
        self.flags() as u32
    }

    fn node(&self) -> Option<&Arc<Node>> {
        Some(&self.node)
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }
}

/// A directory, with the position at which its entries are read.
pub struct OpenDirectory {
    node: Arc<Node>,
    flags: i32,
    position: AtomicU64,
    turn: Turn,
}

impl OpenDirectory {
    /// Opens a directory.
    pub fn new(node: Arc<Node>, flags: i32) -> Self {
        Self { node, flags: flags & KEPT, position: AtomicU64::new(0), turn: Turn::new() }
    }

    /// The position.
    pub fn position(&self) -> &AtomicU64 {
        &self.position
    }

    /// Of calls that go by the position and move it.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }
}

impl File for OpenDirectory {
    fn read(&self, to: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        check_end(self.position.load(Ordering::Relaxed), to.len())?;
        Err(EISDIR)
    }

    fn write(&self, _from: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        Err(EBADF)
    }

    fn events(&self) -> u32 {
        ALWAYS_READY
    }

    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    fn seek(&self, offset: i64, whence: i32) -> Result {
        let _turn = self.turn.take()?;
        let position = match whence {
            0 => u64::try_from(offset).map_err(|_| EINVAL)?,
            1 => self.position.load(Ordering::Relaxed).checked_add_signed(offset).ok_or(EINVAL)?,
            _ => return Err(EINVAL),
        };
        if position > OFFSET_MAX {
            return Err(EINVAL);
        }
        self.position.store(position, Ordering::Relaxed);
        Ok(position)
    }

    fn stat(&self) -> Stat {
        Stat::default()
    }

    fn access_mode(&self) -> u32 {
        self.flags as u32
    }

    fn node(&self) -> Option<&Arc<Node>> {
        Some(&self.node)
    }
}

/// A path (`O_PATH`): nothing can be read or written.
pub struct OpenPath {
    /// Where it leads.
    pub node: Arc<Node>,
    /// Where it was found.
    pub found: Place,
    /// The flags of open(2).
    pub flags: i32,
}

impl File for OpenPath {
    fn read(&self, _to: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        Err(EBADF)
    }

    fn write(&self, _from: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        Err(EBADF)
    }

    fn events(&self) -> u32 {
        crate::readiness::events::NVAL
    }

    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    fn seek(&self, _offset: i64, _whence: i32) -> Result {
        Err(EBADF)
    }

    fn stat(&self) -> Stat {
        Stat::default()
    }

    fn ioctl(&self, _op: u32, _arg: u64) -> Result {
        Err::<u64, Errno>(EBADF)
    }

    fn access_mode(&self) -> u32 {
        (self.flags & KEPT) as u32
    }

    fn node(&self) -> Option<&Arc<Node>> {
        Some(&self.node)
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.found)
    }
}
