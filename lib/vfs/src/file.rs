//! [`FileContent`]: the octets of a file, in pages.
//!
//! Pages that were never written are not there (holes), or are the packed tree's. Whoever copies to or from a program takes a page by
//! reference and copies without any lock: a page that is truncated away in the meantime is still a page.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::Range;

use crate::node::{Content, Node, Time};
use crate::page::BREATH;
use crate::{Error, PAGE_SIZE, Page, PageSource, Result, SuperBlock};

const PAGE: u64 = PAGE_SIZE as u64;
/// Most octets of a file: what an offset can tell (`MAX_LFS_FILESIZE`).
const SIZE_MAX: u64 = i64::MAX as u64;

/// Pages by their number in a file.
type Pages<P> = BTreeMap<u64, P>;

/// The octets of a file.
pub struct FileContent<S: PageSource> {
    size: u64,
    pages: Pages<S::Page>,
    /// How many of them are in the place of the packed tree's.
    over_packed: u64,
    /// What the packed tree has of it: from the start, up to where it was truncated.
    packed: &'static [u8],
    /// It was truncated before the end of that: behind it, in the tree, there is more than zeroes.
    packed_is_cut: bool,
    /// Pages may be mapped.
    mapped: bool,
}

/// A page of a file, for a mapping.
#[derive(Clone)]
pub enum MapPage<P> {
    /// A page of its own.
    Page(P),
    /// A page of the packed tree, as far as it has octets; zeroes follow there up to the end of the page. It is not to be written.
    Packed(&'static [u8]),
}

/// A page that can be written to, and what has to be done for it.
struct PageMut<P> {
    page: P,
    /// The packed tree's page was there before.
    replaced: bool,
}

/// A page of a file, for reading.
#[derive(Clone)]
pub enum PageRef<P> {
    /// Zeroes.
    Hole,
    /// Octets of the packed tree; behind them are zeroes.
    Packed(&'static [u8]),
    /// A page.
    Page(P),
}

/// What lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl<P: Page> PageRef<P> {
    /// Copies octets of it out.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        match self {
            Self::Hole => to.fill(0),
            Self::Packed(octets) => {
                let from = octets.get(at..).unwrap_or_default();
                let len = from.len().min(to.len());
                to[..len].copy_from_slice(&from[..len]);
                to[len..].fill(0);
            }
            Self::Page(page) => page.read(at, to),
        }
    }
}

impl<S: PageSource> FileContent<S> {
    pub(crate) fn new(packed: &'static [u8]) -> Self {
        Self {
            size: packed.len() as u64,
            pages: BTreeMap::new(),
            over_packed: 0,
            packed,
            packed_is_cut: false,
            mapped: false,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Pages of its own.
    pub(crate) fn page_count(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages of its own and of the packed tree: no hole is there.
    pub(crate) fn stored_pages(&self) -> u64 {
        self.page_count() - self.over_packed + self.packed_pages()
    }

    fn packed_pages(&self) -> u64 {
        (self.packed.len() as u64).div_ceil(PAGE)
    }

    fn page(&self, index: u64) -> PageRef<S::Page> {
        if let Some(page) = self.pages.get(&index) {
            return PageRef::Page(page.clone());
        }
        match index.checked_mul(PAGE).map(|start| start as usize) {
            Some(start) if start < self.packed.len() => {
                PageRef::Packed(&self.packed[start..self.packed.len().min(start + PAGE_SIZE)])
            }
            _ => PageRef::Hole,
        }
    }

    /// A page that can be written to: a new one if there is none, with what the packed tree has of it.
    fn page_mut(&mut self, block: &SuperBlock<S>, index: u64) -> Result<PageMut<S::Page>> {
        let packed: &[u8] = match self.page(index) {
            PageRef::Page(page) => return Ok(PageMut { page, replaced: false }),
            PageRef::Packed(octets) => octets,
            PageRef::Hole => &[],
        };
        let page = block.take_page()?;
        page.write(0, packed);
        self.pages.insert(index, page.clone());
        self.over_packed += u64::from(!packed.is_empty());
        Ok(PageMut { page, replaced: self.mapped && !packed.is_empty() })
    }

    /// Cuts off what is behind `size`; returns what has to be dropped without the lock.
    fn truncate(&mut self, size: u64) -> Pages<S::Page> {
        let gone = self.pages.split_off(&size.div_ceil(PAGE));
        self.over_packed -= gone.range(..self.packed_pages()).count() as u64;
        let kept = self.packed.len().min(size.min(usize::MAX as u64) as usize);
        self.packed_is_cut |= kept < self.packed.len();
        self.packed = &self.packed[..kept];
        let rest = (size % PAGE) as usize;
        if rest != 0
            && let Some(page) = self.pages.get(&(size / PAGE))
        {
            page.zero(rest..PAGE_SIZE);
        }
        gone
    }

    /// The first page from `index` on that has data or has none; up to `end`.
    fn find(&self, what: Seek, index: u64, end: u64) -> u64 {
        let packed_end = self.packed_pages();
        match what {
            Seek::Data if index < packed_end && !self.pages.contains_key(&index) => index,
            Seek::Data => self.pages.range(index..).next().map_or(end, |(at, _)| *at).min(end),
            Seek::Hole => {
                let mut at = index.max(packed_end.min(end));
                for (page, _) in self.pages.range(at..) {
                    if *page != at {
                        break;
                    }
                    at += 1;
                }
                at.min(end)
            }
        }
    }
}

impl<S: PageSource> Node<S> {
    fn file(&self) -> Result<&sync::SpinLock<FileContent<S>>> {
        match &self.content {
            Content::File(file) => Ok(file),
            Content::Directory(_) | Content::VirtualDir(_) => Err(Error::IsADirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// Octets of a file; of anything else none.
    pub fn size(&self) -> u64 {
        self.file().map_or(0, |file| file.lock().size)
    }

    /// The page of a file that holds the octet at `offset`, and how many octets of the file it holds from there on. `None`: the
    /// end is before it.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file.
    pub fn read_page(&self, offset: u64) -> Result<Option<(PageRef<S::Page>, usize)>> {
        let file = self.file()?.lock();
        let len = file.size.saturating_sub(offset).min(PAGE - offset % PAGE);
        if len == 0 {
            return Ok(None);
        }
        Ok(Some((file.page(offset / PAGE), len as usize)))
    }

    /// The page with this number, for writing to it; it may be behind the end. What was written there is told to
    /// [`Self::wrote`].
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file; [`Error::NoSpace`]; [`Error::TooLarge`].
    pub fn write_page(&self, index: u64) -> Result<S::Page> {
        let file = self.file()?;
        if index > SIZE_MAX / PAGE {
            return Err(Error::TooLarge);
        }
        let made = file.lock().page_mut(&self.block, index)?;
        if made.replaced {
            self.block.source.unmap(self, index..index + 1, false);
        }
        Ok(made.page)
    }

    /// The page with this number, for a mapping; `write`: it is written to by way of it, which is a change of the file. A hole
    /// becomes a page. `None`: the end is before it.
    ///
    /// The page may be mapped until [`PageSource::unmap`] says otherwise, or, without that, as long as the node is held.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file; [`Error::NoSpace`].
    pub fn map_page(&self, index: u64, write: bool, now: Time) -> Result<Option<MapPage<S::Page>>> {
        let mut file = self.file()?.lock();
        if index >= file.size.div_ceil(PAGE) {
            return Ok(None);
        }
        file.mapped = true;
        if let PageRef::Packed(octets) = file.page(index)
            && !write
            && (octets.len() == PAGE_SIZE || !file.packed_is_cut)
        {
            return Ok(Some(MapPage::Packed(octets)));
        }
        let made = file.page_mut(&self.block, index)?;
        drop(file);
        if made.replaced {
            self.block.source.unmap(self, index..index + 1, false);
        }
        if write {
            self.modified(now);
        }
        Ok(Some(MapPage::Page(made.page)))
    }

    /// What follows a change of the pages of a file that may be mapped.
    fn unmap(&self, mapped: bool, pages: Range<u64>, truncated: bool) {
        if mapped && !pages.is_empty() {
            self.block.source.unmap(self, pages, truncated);
        }
    }

    /// Octets up to `end` were written: the file is at least as long.
    pub fn wrote(&self, end: u64, now: Time) {
        if let Ok(file) = self.file() {
            let mut file = file.lock();
            file.size = file.size.max(end.min(SIZE_MAX));
        }
        self.modified(now);
    }

    /// Writes octets behind the end, in one step; returns how many, and where the end is then. It is fewer only if there is no
    /// space for all.
    ///
    /// # Errors
    /// As of [`Self::write_page`].
    pub fn append(&self, octets: &[u8], now: Time) -> Result<(usize, u64)> {
        let mut file = self.file()?.lock();
        let first = file.size / PAGE;
        let (mut done, mut replaced) = (0, false);
        while done < octets.len() {
            let (index, at) = (file.size / PAGE, (file.size % PAGE) as usize);
            let len = (PAGE_SIZE - at).min(octets.len() - done);
            let page = if file.size >= SIZE_MAX - PAGE {
                Err(Error::TooLarge)
            } else {
                file.page_mut(&self.block, index)
            };
            match page {
                Ok(made) => {
                    replaced |= made.replaced;
                    made.page.write(at, &octets[done..done + len]);
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
            file.size += len as u64;
            done += len;
        }
        let size = file.size;
        drop(file);
        // Only the page with the old end in it can have been the packed tree's.
        self.unmap(replaced, first..first + 1, false);
        self.modified(now);
        Ok((done, size))
    }

    /// truncate(2): cuts off what is behind, or makes the file longer by a hole.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file; [`Error::TooLarge`]; [`Error::ReadOnly`].
    pub fn truncate(&self, size: u64, now: Time) -> Result<()> {
        let file = self.file()?;
        self.block.check_writable()?;
        if size > SIZE_MAX {
            return Err(Error::TooLarge);
        }
        let (gone, mapped) = {
            let mut file = file.lock();
            let kept = size.min(file.size);
            let gone = file.truncate(kept);
            let mapped = file.mapped && size < file.size;
            file.size = size;
            (gone, mapped)
        };
        // From the page with the new end on: it may be the packed tree's, which has the old octets behind that.
        self.unmap(mapped, size / PAGE..size.div_ceil(PAGE), false);
        self.unmap(mapped, size.div_ceil(PAGE)..u64::MAX, true);
        self.drop_pages(gone);
        self.modified(now);
        Ok(())
    }

    /// Gives back pages that are no longer the file's. Holds no lock.
    fn drop_pages(&self, gone: Pages<S::Page>) {
        let mut gone = gone.into_iter();
        loop {
            let count = gone.by_ref().take(BREATH).count();
            self.block.return_pages(count);
            if count < BREATH {
                break;
            }
            self.block.source.breathe();
        }
    }

    /// Drops a reference to a node, for a caller that holds no lock: a file that goes with it may have many pages, and others run
    /// meanwhile.
    pub fn release(self: Arc<Self>) {
        if let Some(node) = Arc::into_inner(self)
            && let Content::File(file) = &node.content
        {
            let pages = core::mem::take(&mut file.lock().pages);
            node.drop_pages(pages);
        }
    }

    /// fallocate(2): there will be space for these octets. `keep_size`: the file does not become longer.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file, or no octets; [`Error::TooLarge`]; [`Error::NoSpace`]: nothing is
    /// changed; [`Error::ReadOnly`].
    pub fn allocate(&self, offset: u64, len: u64, keep_size: bool, now: Time) -> Result<()> {
        let file = self.file()?;
        self.block.check_writable()?;
        let end = offset.checked_add(len).filter(|end| *end <= SIZE_MAX).ok_or(Error::TooLarge)?;
        // Said before a step for each page is made.
        let stat = self.block.stat();
        if len.div_ceil(PAGE) > stat.pages_free + file.lock().page_count() {
            return Err(Error::NoSpace);
        }
        // All are taken before the first is the file's: so a failure has nothing to take out of it, where others may have written.
        let mut new = Pages::new();
        for index in offset / PAGE..end.div_ceil(PAGE) {
            if index.is_multiple_of(BREATH as u64) {
                self.block.source.breathe();
            }
            if !matches!(file.lock().page(index), PageRef::Hole) {
                continue;
            }
            match self.block.take_page() {
                Ok(page) => new.insert(index, page),
                Err(error) => {
                    self.drop_pages(new);
                    return Err(error);
                }
            };
        }
        for (index, page) in new {
            if index.is_multiple_of(BREATH as u64) {
                self.block.source.breathe();
            }
            let unused = {
                let mut file = file.lock();
                let hole = matches!(file.page(index), PageRef::Hole);
                if hole { file.pages.insert(index, page) } else { Some(page) }
            };
            // Another thread was quicker.
            self.block.return_pages(usize::from(unused.is_some()));
        }
        if !keep_size {
            let mut file = file.lock();
            file.size = file.size.max(end);
        }
        self.modified(now);
        Ok(())
    }

    /// fallocate(2) with `FALLOC_FL_PUNCH_HOLE`: these octets become zeroes, and whole pages of them a hole.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::Invalid`]: no file; [`Error::NoSpace`]: a page of the packed tree had to be copied;
    /// [`Error::ReadOnly`].
    pub fn punch_hole(&self, offset: u64, len: u64, now: Time) -> Result<()> {
        self.file()?;
        self.block.check_writable()?;
        let (mut at, end) = (offset, offset.saturating_add(len));
        let mut punched = Ok(());
        while at < end && punched.is_ok() {
            let (next, result) = self.punch_some(at, end)?;
            (at, punched) = (next, result);
            self.block.source.breathe();
        }
        self.modified(now);
        punched
    }

    /// Punches a hole from `at` on, up to `end` at most; returns how far it came.
    fn punch_some(&self, from: u64, end: u64) -> Result<(u64, Result<()>)> {
        let mut gone = Pages::new();
        let mut punched = Ok(());
        let mut at = from;
        let mapped = {
            let mut file = self.file()?.lock();
            let stored =
                file.size.max(file.pages.last_key_value().map_or(0, |(index, _)| (index + 1) * PAGE));
            let packed_end = file.packed_pages();
            for _ in 0..BREATH {
                if at >= end.min(stored) {
                    at = end;
                    break;
                }
                let index = at / PAGE;
                let stop = end.min(stored).min((index + 1) * PAGE);
                let whole = at.is_multiple_of(PAGE) && stop.is_multiple_of(PAGE);
                match file.page(index) {
                    PageRef::Hole => {}
                    _ if whole && index >= packed_end => {
                        gone.extend(file.pages.remove(&index).map(|page| (index, page)));
                    }
                    // What is the packed tree's would show through.
                    _ => match file.page_mut(&self.block, index) {
                        Ok(made) => made.page.zero((at % PAGE) as usize..(stop - index * PAGE) as usize),
                        Err(error) => {
                            punched = Err(error);
                            break;
                        }
                    },
                }
                at = match file.pages.range(index + 1..).next() {
                    // Nothing is to be done in between.
                    Some((next, _)) if stop >= packed_end * PAGE => (next * PAGE).max(stop),
                    None if stop >= packed_end * PAGE => end,
                    _ => stop,
                };
            }
            file.mapped
        };
        self.unmap(mapped, from / PAGE..at.min(end).div_ceil(PAGE), false);
        self.drop_pages(gone);
        Ok((at, punched))
    }

    /// Where data, or a hole, is next: lseek(2). Behind the last data there is a hole.
    ///
    /// # Errors
    /// [`Error::NoDevice`] (ENXIO): the offset is not before the end, or there is no more data.
    pub fn seek(&self, what: Seek, offset: u64) -> Result<u64> {
        let file = self.file()?.lock();
        if offset >= file.size {
            return Err(Error::NoDevice);
        }
        let found = file.find(what, offset / PAGE, file.size.div_ceil(PAGE)) * PAGE;
        match what {
            Seek::Data if found >= file.size => Err(Error::NoDevice),
            Seek::Data => Ok(found.max(offset)),
            Seek::Hole => Ok(found.clamp(offset, file.size)),
        }
    }
}
