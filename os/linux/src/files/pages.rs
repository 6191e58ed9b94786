//! [`Frames`]: the pages of files are page frames, and what else files need of memory is promised as the program's is.

use core::ops::Range;

use kernel::mm;
use kernel::mm::pages::{self, SharedPage};
use kernel::{sched, uaccess};
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

    fn breathe(&self) {
        sched::breathe();
    }
}

/// Copies octets of a page to the program; returns how many: all, or those before the first that cannot be written. `at + len` is
/// in the page.
pub fn copy_to_program(page: &PageRef<FilePage>, at: usize, to: u64, len: usize) -> usize {
    match page {
        PageRef::Page(page) => page.0.copy_to_program(at, to, len),
        PageRef::Packed(octets) => {
            let there = octets.get(at..).unwrap_or_default();
            let there = &there[..there.len().min(len)];
            let done = uaccess::write_some(to, there);
            if done < there.len() { done } else { done + zero_program(to + done as u64, len - done) }
        }
        PageRef::Hole => zero_program(to, len),
    }
}

/// Writes zeroes to the program; returns how many.
pub fn zero_program(to: u64, len: usize) -> usize {
    const ZEROES: [u8; 256] = [0; 256];
    debug_assert!(len <= PAGE_SIZE);
    let mut done = 0;
    while done < len {
        let step = (len - done).min(ZEROES.len());
        let written = uaccess::write_some(to + done as u64, &ZEROES[..step]);
        done += written;
        if written < step {
            break;
        }
    }
    done
}
