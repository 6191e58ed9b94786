//! [`Frames`]: the pages of files are page frames, and what else files need of memory is promised as the program's is.

use core::ops::Range;

use kernel::mm;
use kernel::mm::pages::{self, SharedPage};
use kernel::uaccess::{self, Fault};
use vfs::{PAGE_SIZE, Page, PageRef, PageSource};

use super::{Node, mapping};

/// Where files get their memory.
pub struct Frames;

/// A page of a file.
#[derive(Clone)]
pub struct FilePage(pub SharedPage);

impl Page for FilePage {
    fn read(&self, at: usize, to: &mut [u8]) {
        self.0.read(at, to);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.0.write(at, from);
    }

    fn zero(&self, range: Range<usize>) {
        self.0.zero(range);
    }
}

impl PageSource for Frames {
    type Page = FilePage;

    fn alloc(&self) -> Option<FilePage> {
        SharedPage::alloc().map(FilePage)
    }

    fn charge(&self, octets: usize) -> bool {
        pages::promise(octets)
    }

    fn uncharge(&self, octets: usize) {
        pages::take_back(octets);
    }

    fn unmap(&self, file: &Node, pages: Range<u64>, truncated: bool) {
        mm::forget(mapping::id(file), pages, truncated);
    }
}

/// Copies octets of a page to the program. `at + len` is in the page.
///
/// # Errors
/// [`Fault`].
pub fn copy_to_program(page: &PageRef<FilePage>, at: usize, to: u64, len: usize) -> Result<(), Fault> {
    match page {
        PageRef::Page(page) => page.0.copy_to_program(at, to, len),
        PageRef::Packed(octets) => {
            let there = octets.get(at..).unwrap_or_default();
            let there = &there[..there.len().min(len)];
            uaccess::write_bytes(to, there)?;
            zero_program(to + there.len() as u64, len - there.len())
        }
        PageRef::Hole => zero_program(to, len),
    }
}

/// Writes zeroes to the program.
///
/// # Errors
/// [`Fault`].
pub fn zero_program(to: u64, len: usize) -> Result<(), Fault> {
    const ZEROES: [u8; 256] = [0; 256];
    debug_assert!(len <= PAGE_SIZE);
    let mut done = 0;
    while done < len {
        let step = (len - done).min(ZEROES.len());
        uaccess::write_bytes(to + done as u64, &ZEROES[..step])?;
        done += step;
    }
    Ok(())
}
