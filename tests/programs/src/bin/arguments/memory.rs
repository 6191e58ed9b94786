//! Ranges of memory that are none, for the calls beside mmap(2).

use programs::number::*;
use programs::syscall;

use super::{END, KERNEL_HALF, MAX, PAGE, PRIVATE_ANONYMOUS, UNMAPPED, show, show_outcome};

pub fn wrong() {
    // Three pages with a gap in the middle, and one that may not be touched.
    // SAFETY: fresh memory that only the calls below see.
    let page = unsafe { syscall(MMAP, [0, 3 * PAGE, 3, PRIVATE_ANONYMOUS, MAX, 0]) } as u64;
    // SAFETY: as above.
    let closed = unsafe { syscall(MMAP, [0, PAGE, 0, PRIVATE_ANONYMOUS, MAX, 0]) } as u64;
    show("a gap for the calls on ranges", MUNMAP, &[page + PAGE, PAGE]);
    let vector = [0u8; 16];
    let vector = vector.as_ptr() as u64;
    let ranges = [
        ("odd address", page + 1, PAGE),
        ("length 0", page, 0),
        ("length 1", page, 1),
        ("length -1", page, MAX),
        ("length wraps", page, MAX - PAGE + 1),
        ("unmapped", UNMAPPED, PAGE),
        ("unmapped, length 0", UNMAPPED, 0),
        ("over a gap", page, 3 * PAGE),
        ("closed", closed, PAGE),
        ("over the end", END - PAGE, 2 * PAGE),
        ("kernel half", KERNEL_HALF, PAGE),
        ("last page", 0xffff_ffff_ffff_f000, PAGE),
        ("last page and on", 0xffff_ffff_ffff_f000, 2 * PAGE),
    ];
    for (name, address, len) in ranges {
        let show = |call: &str, number, more: &[u64]| {
            show(&format!("{call}, {name}"), number, &[&[address, len], more].concat());
        };
        show("mincore", MINCORE, &[vector]);
        show("msync", MSYNC, &[4]);
        show("mlock", MLOCK, &[]);
        show("mlock2 on fault", MLOCK2, &[1]);
        show("munlock", MUNLOCK, &[]);
        for advice in [0, 9, 10, 18, 20, 22, 23, 24] {
            show(&format!("madvise {advice}"), MADVISE, &[advice]);
        }
        show("mprotect without a key", PKEY_MPROTECT, &[3, MAX]);
        show("mremap to nothing", MREMAP, &[0, 0]);
        // What is said of a length that wraps has changed with Linux.
        if len < END {
            show_outcome(&format!("mremap to two pages, {name}"), MREMAP, &[address, len, 2 * PAGE, 0]);
        }
    }
    for flags in [0, 1, 2, 3, 5, 7, 8, MAX] {
        show(&format!("msync, flags {flags}"), MSYNC, &[page, PAGE, flags]);
    }
    show("mlock2, unknown flags", MLOCK2, &[page, PAGE, 2]);
    for flags in [0, 4, 8, MAX] {
        show(&format!("mlockall, flags {flags}"), MLOCKALL, &[flags]);
    }
    show("munlockall", MUNLOCKALL, &[]);
    show("mremap, left behind without moving", MREMAP, &[page, PAGE, PAGE, 4, 0]);
    show("mremap, left behind and larger", MREMAP, &[page, PAGE, 2 * PAGE, 5, 0]);
    show("mremap, unknown flags", MREMAP, &[page, PAGE, PAGE, 8, 0]);
    show("mremap, fixed without moving", MREMAP, &[page, PAGE, PAGE, 2, page + PAGE]);
    show("mremap, fixed at an odd address", MREMAP, &[page, PAGE, PAGE, 3, page + 1]);
    show("mremap, fixed onto itself", MREMAP, &[page, PAGE, PAGE, 3, page]);
    show("mremap, fixed in the kernel's half", MREMAP, &[page, PAGE, PAGE, 3, KERNEL_HALF]);
    show("pkey_alloc, flags", PKEY_ALLOC, &[1, 0]);
    show("pkey_alloc, unknown rights", PKEY_ALLOC, &[0, 4]);
    show("pkey_free, no such key", PKEY_FREE, &[99]);
    show("pkey_mprotect, no such key", PKEY_MPROTECT, &[page, PAGE, 3, 99]);
    show("the closed page goes", MUNMAP, &[closed, PAGE]);
    show("the pages go", MUNMAP, &[page, 3 * PAGE]);
}
