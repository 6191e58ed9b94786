//! Where the memory of files comes from: [`PageSource`].

use core::ops::Range;

use crate::Node;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// Pages, or parts of a path, after which others may run ([`PageSource::breathe`]).
pub(crate) const BREATH: usize = 64;

/// A page of a file. Clones are references to the same page; the memory is free again when the last one goes.
///
/// Several CPUs may read and write a page at once, and a program that has mapped it too: what is read then is some mixture.
pub trait Page: Clone + Send + Sync + 'static {
    /// Copies octets out. `at + to.len()` is at most [`PAGE_SIZE`].
    fn read(&self, at: usize, to: &mut [u8]);
    /// Copies octets in. `at + from.len()` is at most [`PAGE_SIZE`].
    fn write(&self, at: usize, from: &[u8]);
    /// Writes zeroes.
    fn zero(&self, range: Range<usize>);
}

/// Where pages come from, and what else files may take of memory.
pub trait PageSource: Send + Sync + 'static {
    /// A page.
    type Page: Page;

    /// A page of zeroes. `None`: there is none.
    fn alloc(&self) -> Option<Self::Page>;
    /// Asks whether so many octets of the heap may be taken, and takes note of it. `false`: not now.
    fn charge(&self, octets: usize) -> bool;
    /// Gives octets that were charged back.
    fn uncharge(&self, octets: usize);

    /// Pages of a file that was mapped ([`Node::map_page`]) are other ones now, or are gone: when this returns, no mapping leads to
    /// what was there before. `truncated`: the file ends before them, so that copies of them, which private mappings have, go,
    /// too. Called without locks, while there are still references to what is gone.
    fn unmap(&self, file: &Node<Self>, pages: Range<u64>, truncated: bool)
    where
        Self: Sized;

    /// Long work is at a place where it holds no lock: others may run.
    fn breathe(&self);
}
