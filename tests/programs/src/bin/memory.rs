//! Memory by mmap(2) and its kin, by brk(2), and by the allocator.

use programs::{Shown, number, syscall};

const PAGE: u64 = 4096;
const NONE: u64 = 0;
const READ: u64 = 1;
const READ_WRITE: u64 = 3;
const PRIVATE_ANONYMOUS: u64 = 0x22;
const FIXED: u64 = 0x10;
const NORESERVE: u64 = 0x4000;
const POPULATE: u64 = 0x8000;
const FIXED_NOREPLACE: u64 = 0x10_0000;
const DONTNEED: u64 = 4;

fn main() {
    mappings();
    holes();
    reservation();
    brk();
    residence();
    left_behind();
    allocator();
    reuse();
}

fn mmap(address: u64, len: u64, protection: u64, flags: u64) -> i64 {
    // SAFETY: callers name fresh addresses, or such that they got here before.
    unsafe { syscall(number::MMAP, [address, len, protection, PRIVATE_ANONYMOUS | flags, u64::MAX, 0]) }
}

fn call(number: u64, a: u64, b: u64, c: u64) -> Shown {
    // SAFETY: as for `mmap`.
    Shown(unsafe { syscall(number, [a, b, c, 0, 0, 0]) })
}

fn fresh(len: u64, protection: u64, flags: u64) -> u64 {
    mmap(0, len, protection, flags).try_into().expect("there is memory")
}

fn read(address: u64) -> u8 {
    // SAFETY: callers name a page that is mapped and may be read.
    unsafe { (address as *const u8).read_volatile() }
}

fn write(address: u64, value: u8) {
    // SAFETY: callers name a page of their own that may be written.
    unsafe { (address as *mut u8).write_volatile(value) }
}

fn mappings() {
    let start = fresh(16 * PAGE, READ_WRITE, 0);
    println!(
        "aligned: {}, zero: {}",
        start.is_multiple_of(PAGE),
        (0..16 * PAGE).all(|i| read(start + i) == 0)
    );
    (0..16).for_each(|page| write(start + page * PAGE, page as u8 + 1));
    println!("read-only: {}", call(number::MPROTECT, start, 4 * PAGE, READ));
    println!("still there: {} {}", read(start), read(start + 3 * PAGE));
    println!("writable again: {}", call(number::MPROTECT, start, 4 * PAGE, READ_WRITE));
    write(start, 77);
    println!("written: {}", read(start));
    println!("given up: {}", call(number::MADVISE, start, 2 * PAGE, DONTNEED));
    println!(
        "zero again: {} {}, the next one not: {}",
        read(start),
        read(start + PAGE),
        read(start + 2 * PAGE)
    );
    println!(
        "in place of it: {}",
        mmap(start + 2 * PAGE, PAGE, READ_WRITE, FIXED) == (start + 2 * PAGE) as i64
    );
    println!("new there: {}, old beside it: {}", read(start + 2 * PAGE), read(start + 3 * PAGE));
    println!("not in place of it: {}", Shown(mmap(start, PAGE, READ_WRITE, FIXED_NOREPLACE)));
    println!("unmapped: {}", call(number::MUNMAP, start, 16 * PAGE, 0));
    println!("unmapped twice: {}", call(number::MUNMAP, start, 16 * PAGE, 0));
    println!("where nothing was: {}", mmap(start, PAGE, READ_WRITE, FIXED_NOREPLACE) == start as i64);
    println!(
        "a hint is taken: {}",
        mmap(start + 8 * PAGE + 5, PAGE, READ_WRITE, 0) == (start + 8 * PAGE) as i64
    );
    println!("at once: {}", read(fresh(8 * PAGE, READ_WRITE, POPULATE) + 7 * PAGE));
}

fn holes() {
    let start = fresh(8 * PAGE, READ_WRITE, 0);
    write(start + 7 * PAGE, 9);
    println!("a hole: {}", call(number::MUNMAP, start + 2 * PAGE, 2 * PAGE, 0));
    println!("protect over it: {}", call(number::MPROTECT, start, 8 * PAGE, READ));
    println!("give up over it: {}", call(number::MADVISE, start, 8 * PAGE, DONTNEED));
    println!("protect beside it: {}", call(number::MPROTECT, start + 4 * PAGE, 4 * PAGE, READ));
    println!("an odd length: {}", call(number::MPROTECT, start, PAGE + 1, READ));
    println!("over the hole and all: {}", call(number::MUNMAP, start, 8 * PAGE, 0));
}

fn reservation() {
    let start = fresh(64 << 20, NONE, 0);
    println!("a part becomes usable: {}", call(number::MPROTECT, start + (32 << 20), 4 * PAGE, READ_WRITE));
    write(start + (32 << 20) + PAGE, 5);
    println!("used: {}", read(start + (32 << 20) + PAGE));
    println!("and is nothing again: {}", call(number::MPROTECT, start + (32 << 20), 4 * PAGE, NONE));
    println!("gone: {}", call(number::MUNMAP, start, 64 << 20, 0));
    let large = fresh(1 << 40, NONE, NORESERVE);
    println!("a TiB of nothing: {}", call(number::MUNMAP, large, 1 << 40, 0));
}

fn brk() {
    // SAFETY: asks for the end of the heap.
    let end = unsafe { syscall(number::BRK, [0; 6]) } as u64;
    // The allocator may use what lies below `end`; everything here is above it, and goes again.
    // SAFETY: as above.
    let moved = unsafe { syscall(number::BRK, [end + 5 * PAGE, 0, 0, 0, 0, 0]) } as u64;
    println!("moved by {}", moved - end);
    write(end + 4 * PAGE, 3);
    println!("written: {}, zero beside it: {}", read(end + 4 * PAGE), read(end + 3 * PAGE));
    // SAFETY: as above.
    unsafe { syscall(number::BRK, [end, 0, 0, 0, 0, 0]) };
    // SAFETY: as above.
    unsafe { syscall(number::BRK, [end + 5 * PAGE, 0, 0, 0, 0, 0]) };
    println!("zero after back and forth: {}", read(end + 4 * PAGE));
    // SAFETY: as above. Below its start, and far too high: it stays.
    let refused =
        unsafe { [syscall(number::BRK, [1, 0, 0, 0, 0, 0]), syscall(number::BRK, [1 << 62, 0, 0, 0, 0, 0])] };
    println!("refused: {}", refused.iter().all(|&at| at as u64 == end + 5 * PAGE));
    // SAFETY: as above.
    println!("back: {}", unsafe { syscall(number::BRK, [end, 0, 0, 0, 0, 0]) } as u64 == end);
}

/// Which of a mapping's pages have memory behind them.
fn resident(start: u64, pages: u64) -> Vec<u8> {
    let vector = vec![0xffu8; pages as usize];
    println!("asked: {}", call(number::MINCORE, start, pages * PAGE, vector.as_ptr() as u64));
    // SAFETY: the call has written it, behind the compiler's back.
    vector.iter().map(|page| unsafe { std::ptr::read_volatile(page) } & 1).collect()
}

fn residence() {
    const POPULATE_WRITE: u64 = 23;
    let start = fresh(6 * PAGE, READ_WRITE, 0);
    println!("untouched: {:?}", resident(start, 6));
    write(start + PAGE, 1);
    println!("locked: {}", call(number::MLOCK, start + 3 * PAGE + 5, 10, 0));
    println!("touched and locked: {:?}", resident(start, 6));
    println!("populated: {}", call(number::MADVISE, start + 4 * PAGE, 2 * PAGE, POPULATE_WRITE));
    println!("by now: {:?}", resident(start, 6));
    println!("unlocked: {}", call(number::MUNLOCK, start, 6 * PAGE, 0));
    println!("given up: {}", call(number::MADVISE, start, 6 * PAGE, DONTNEED));
    println!("nothing: {:?}", resident(start, 6));
    println!("in step: {}", call(number::MSYNC, start, 6 * PAGE, 4));
    println!("gone: {}", call(number::MUNMAP, start, 6 * PAGE, 0));
}

/// Moved, and the old place stays mapped, empty.
fn left_behind() {
    const MAYMOVE_DONTUNMAP: u64 = 5;
    let start = fresh(2 * PAGE, READ_WRITE, 0);
    write(start, 7);
    write(start + PAGE, 8);
    // SAFETY: a mapping of our own.
    let moved =
        unsafe { syscall(number::MREMAP, [start, 2 * PAGE, 2 * PAGE, MAYMOVE_DONTUNMAP, 0, 0]) } as u64;
    println!("moved elsewhere: {}", moved != start);
    println!("there: {} {}, here: {} {}", read(moved), read(moved + PAGE), read(start), read(start + PAGE));
    write(start, 9);
    println!("two places: {} {}", read(start), read(moved));
    println!(
        "gone: {} {}",
        call(number::MUNMAP, start, 2 * PAGE, 0),
        call(number::MUNMAP, moved, 2 * PAGE, 0)
    );
}

fn allocator() {
    let mut large: Vec<u32> = (0..2_000_000).collect();
    large.extend_from_within(..500_000);
    println!("{} numbers, sum {}", large.len(), large.iter().map(|&n| u64::from(n)).sum::<u64>());
    let small: Vec<Box<[u8]>> = (0..5000usize).map(|n| vec![n as u8; n % 700].into()).collect();
    let octets: usize = small.iter().map(|piece| piece.len()).sum();
    println!(
        "{} pieces, {octets} octets, right: {}",
        small.len(),
        (0..5000).all(|n| { small[n].iter().all(|&octet| octet == n as u8) })
    );
}

/// More than the machine has, a part at a time: what is unmapped must come back.
fn reuse() {
    let len = 8 << 20;
    for round in 0..40u64 {
        let start = fresh(len, READ_WRITE, 0);
        (0..len / PAGE).for_each(|page| write(start + page * PAGE, round as u8));
        assert_eq!(read(start + len - PAGE), round as u8);
        assert_eq!(call(number::MUNMAP, start, len, 0).0, 0);
    }
    println!("320 MiB in 40 parts");
}
