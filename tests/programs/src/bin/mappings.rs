//! Files that are mapped: what is shared with the file and what is not, the end of the file, and what stays when the descriptor
//! and the name are gone. Works in a folder of its own below /dev/shm, which is a tmpfs, and removes it.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use programs::{Shown, in_folder, number, syscall};

const PAGE: usize = 4096;
const READ: u64 = 1;
const WRITE: u64 = 2;
const SHARED: u64 = 1;
const PRIVATE: u64 = 2;
const FIXED: u64 = 0x10;
const POPULATE: u64 = 0x8000;
const DONTNEED: u64 = 4;
const FREE: u64 = 8;
const REMOVE: u64 = 9;

fn main() -> io::Result<()> {
    in_folder(Path::new("/dev/shm"), "mappings", || {
        catch_faults();
        all()
    })
}

fn all() -> io::Result<()> {
    shared()?;
    private()?;
    end_of_file()?;
    holes()?;
    rights()?;
    moved()?;
    left_behind()?;
    advice()?;
    devices()?;
    anonymous_file();
    threads()?;
    many_times()
}

/// A mapping, at its address.
#[derive(Clone, Copy)]
struct Mapping(usize);

fn try_map(file: &File, offset: usize, pages: usize, protection: u64, flags: u64) -> i64 {
    let arguments =
        [0, (pages * PAGE) as u64, protection, flags, file.as_raw_fd() as u64, (offset * PAGE) as u64];
    // SAFETY: at an address that nothing else has.
    unsafe { syscall(number::MMAP, arguments) }
}

fn map(file: &File, offset: usize, pages: usize, protection: u64, flags: u64) -> Mapping {
    let address = try_map(file, offset, pages, protection, flags);
    assert!(address > 0, "{}", Shown(address));
    Mapping(address as usize)
}

impl Mapping {
    /// The octet there, or `None` for a page fault that is a signal.
    fn get(self, at: usize) -> Option<u8> {
        probe(self.0 + at, None)
    }

    /// Writes an octet; `None` for a page fault that is a signal.
    fn set(self, at: usize, octet: u8) -> Option<u8> {
        probe(self.0 + at, Some(octet))
    }

    fn text(self, at: usize, len: usize) -> String {
        (at..at + len).map(|at| self.get(at).map_or('!', char::from)).collect()
    }

    fn write(self, at: usize, text: &str) {
        text.bytes().enumerate().for_each(|(i, octet)| assert!(self.set(at + i, octet).is_some()));
    }

    fn call(self, number: u64, pages: usize, arguments: [u64; 2]) -> Shown {
        // SAFETY: a mapping that nobody holds a reference into.
        Shown(unsafe {
            syscall(number, [self.0 as u64, (pages * PAGE) as u64, arguments[0], arguments[1], 0, 0])
        })
    }

    fn unmap(self, pages: usize) -> Shown {
        self.call(number::MUNMAP, pages, [0; 2])
    }
}

struct Fault {
    signal: UnsafeCell<i32>,
    code: UnsafeCell<i32>,
}
// SAFETY: one thread at a time provokes faults.
unsafe impl Sync for Fault {}
static FAULT: Fault = Fault { signal: UnsafeCell::new(0), code: UnsafeCell::new(0) };

/// Reads or writes an octet by instructions of three octets, which the signal handler skips.
fn probe(address: usize, write: Option<u8>) -> Option<u8> {
    let (mut value, mut faulted): (u64, u64) = (write.unwrap_or(0).into(), 0);
    // SAFETY: a fault goes on behind the instruction, with `r9` set.
    unsafe {
        if write.is_some() {
            asm!("mov [r8], r10b", in("r8") address, inout("r9") faulted, in("r10") value);
        } else {
            asm!("mov r10b, [r8]", in("r8") address, inout("r9") faulted, inout("r10") value);
        }
    }
    (faulted == 0).then_some(value as u8)
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: what the kernel hands over.
    unsafe {
        FAULT.signal.get().write(signal);
        FAULT.code.get().write((*info).si_code);
        let context = &mut *context.cast::<libc::ucontext_t>();
        context.uc_mcontext.gregs[libc::REG_RIP as usize] += 3;
        context.uc_mcontext.gregs[libc::REG_R9 as usize] = 1;
    }
}

fn catch_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the handler changes the interrupted thread's registers alone.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// What the last fault was.
fn fault() -> String {
    // SAFETY: no fault happens now.
    let (signal, code) = unsafe { (FAULT.signal.get().replace(0), FAULT.code.get().replace(0)) };
    let name = match signal {
        0 => "none",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        _ => "another",
    };
    format!("{name}, code {code}")
}

fn open(name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name)
}

/// A file with pages of a letter each.
fn letters(name: &str, pages: usize) -> io::Result<File> {
    let file = open(name)?;
    for page in 0..pages {
        file.write_all_at(&[b'a' + page as u8; PAGE], (page * PAGE) as u64)?;
    }
    Ok(file)
}

fn octets(file: &File, at: usize, len: usize) -> io::Result<String> {
    let mut octets = vec![0; len];
    let done = file.read_at(&mut octets, at as u64)?;
    Ok(octets[..done].iter().map(|octet| char::from(*octet)).collect())
}

/// Two mappings, read and write see each other at once.
fn shared() -> io::Result<()> {
    let file = letters("shared", 3)?;
    let (one, two) = (map(&file, 0, 3, READ | WRITE, SHARED), map(&file, 1, 2, READ | WRITE, SHARED));
    one.write(PAGE, "by the one");
    println!("the other: {}, read: {}", two.text(0, 12), octets(&file, PAGE, 12)?);
    two.write(3, "TWO");
    println!("the one: {}, read: {}", one.text(PAGE, 12), octets(&file, PAGE, 12)?);
    file.write_all_at(b"WRITTEN", (PAGE + 4) as u64)?;
    println!("both: {} {}", one.text(PAGE, 12), two.text(0, 12));
    println!("in step: {} {}", one.call(number::MSYNC, 3, [4, 0]), one.call(number::MSYNC, 3, [3, 0]));
    println!("across a page: {}", one.text(2 * PAGE - 2, 4));
    file.set_len(0)?;
    file.set_len(3 * PAGE as u64)?;
    println!("anew: {:?} {:?}", one.get(PAGE), two.get(0));
    one.set(2 * PAGE, b'n');
    println!("and shared again: {:?} {:?} {:?}", two.get(PAGE), octets(&file, 2 * PAGE, 1)?, fault());
    println!("unmapped: {} {}", one.unmap(3), two.unmap(2));
    println!("in the file: {:?}", octets(&file, 2 * PAGE, 2)?);
    Ok(())
}

fn private() -> io::Result<()> {
    let file = letters("private", 3)?;
    let (one, two) = (map(&file, 0, 3, READ | WRITE, PRIVATE), map(&file, 0, 3, READ, SHARED));
    println!("as the file: {} {}", one.text(0, 2), one.text(PAGE, 2));
    one.write(1, "MINE");
    println!("mine: {}, the file: {}, shared: {}", one.text(0, 6), octets(&file, 0, 6)?, two.text(0, 6));
    file.write_all_at(b"later", 0)?;
    file.write_all_at(b"later", PAGE as u64)?;
    println!("a copy stays: {}, a page that is none changes: {}", one.text(0, 6), one.text(PAGE, 6));
    println!("written without a look: {:?} {}", one.set(2 * PAGE, b'X'), one.text(2 * PAGE, 3));
    println!("given up: {}", one.call(number::MADVISE, 3, [DONTNEED, 0]));
    println!("the file again: {} {} {}", one.text(0, 6), one.text(PAGE, 6), one.text(2 * PAGE, 3));
    println!("copied by the kernel: {}", {
        // SAFETY: the mapping has room for it.
        Shown(unsafe {
            syscall(number::PREAD64, [file.as_raw_fd() as u64, one.0 as u64 + 2, 3, PAGE as u64, 0, 0])
        })
    });
    println!("{} {}", one.text(0, 6), octets(&file, 0, 6)?);
    println!("at once: {}", map(&file, 0, 3, READ | WRITE, PRIVATE | POPULATE).text(PAGE, 5));
    println!("unmapped: {} {}", one.unmap(3), two.unmap(3));
    Ok(())
}

fn end_of_file() -> io::Result<()> {
    let file = letters("end", 2)?;
    file.set_len(PAGE as u64 + 10)?;
    let (one, own) = (map(&file, 0, 4, READ | WRITE, SHARED), map(&file, 0, 4, READ | WRITE, PRIVATE));
    println!("the last octets: {:?} {:?}", one.text(PAGE + 8, 2), one.get(PAGE + 10));
    println!("behind the end, in the page: {:?}, not in it: {:?}", one.get(2 * PAGE - 1), one.get(2 * PAGE));
    println!("{}", fault());
    println!("private: {:?} {:?} {}", own.get(2 * PAGE), own.set(3 * PAGE, 1), fault());
    println!("written behind the end: {:?}, octets {}", one.set(PAGE + 20, b'x'), file.metadata()?.len());
    println!("a call behind the end: {}", {
        // SAFETY: the kernel fails to read there.
        Shown(unsafe {
            syscall(number::PWRITE64, [file.as_raw_fd() as u64, (one.0 + 3 * PAGE) as u64, 10, 0, 0, 0])
        })
    });
    own.write(0, "copy");
    own.write(PAGE, "copy");
    file.set_len(5)?;
    println!("cut: {:?} {:?} {}", one.text(0, 6), one.get(PAGE), fault());
    println!("the copies: {:?} {:?} {}", own.text(0, 6), own.get(PAGE), fault());
    file.set_len(4 * PAGE as u64)?;
    println!("longer: {:?} {:?} {:?} {}", one.get(0), one.get(PAGE), own.get(PAGE), fault());
    println!("written: {:?} {:?}", one.set(3 * PAGE, b'z'), octets(&file, 3 * PAGE, 1)?);
    file.set_len(0)?;
    println!("nothing: {:?} {:?} {}", one.get(0), own.get(0), fault());
    println!("unmapped: {} {}", one.unmap(4), own.unmap(4));
    println!("beyond from the start: {:?}", map(&file, 7, 1, READ, SHARED).get(0));
    println!("{}", fault());
    Ok(())
}

fn holes() -> io::Result<()> {
    let file = open("holes")?;
    file.set_len(4 * PAGE as u64)?;
    println!("blocks: {}", file.metadata()?.blocks());
    let one = map(&file, 0, 4, READ | WRITE, SHARED);
    println!("zero: {:?}", one.get(PAGE));
    one.write(2 * PAGE, "data");
    println!("blocks: {}", file.metadata()?.blocks());
    const PUNCH_HOLE: u64 = 3;
    // SAFETY: touches the file alone.
    let punched = unsafe {
        syscall(number::FALLOCATE, [file.as_raw_fd() as u64, PUNCH_HOLE, 2 * PAGE as u64, PAGE as u64, 0, 0])
    };
    println!("punched: {}, {:?}, blocks: {}", Shown(punched), one.get(2 * PAGE), file.metadata()?.blocks());
    one.write(2 * PAGE, "again");
    println!("again: {}", octets(&file, 2 * PAGE, 5)?);
    println!("removed: {}, {:?}", one.call(number::MADVISE, 4, [REMOVE, 0]), octets(&file, 2 * PAGE, 2)?);
    println!("unmapped: {}", one.unmap(4));
    Ok(())
}

fn rights() -> io::Result<()> {
    letters("rights", 1)?;
    let (read, write) = (File::open("rights")?, OpenOptions::new().write(true).open("rights")?);
    println!("writable by a reader: {}", Shown(try_map(&read, 0, 1, READ | WRITE, SHARED)));
    println!("by a writer: {}", Shown(try_map(&write, 0, 1, WRITE, SHARED)));
    println!("private by a writer: {}", Shown(try_map(&write, 0, 1, READ, PRIVATE)));
    let (one, own) = (map(&read, 0, 1, READ, SHARED), map(&read, 0, 1, READ, PRIVATE));
    println!(
        "writable later: {} {}",
        one.call(number::MPROTECT, 1, [3, 0]),
        own.call(number::MPROTECT, 1, [3, 0])
    );
    println!("written: {:?} {}, {:?} {}", one.set(0, b'x'), fault(), own.set(0, b'x'), fault());
    println!("closed: {}", own.call(number::MPROTECT, 1, [0, 0]));
    println!("{:?} {}", own.get(0), fault());
    println!("open again: {} {}", own.call(number::MPROTECT, 1, [1, 0]), own.text(0, 3));
    println!("odd offset: {}", {
        // SAFETY: fails.
        Shown(unsafe { syscall(number::MMAP, [0, PAGE as u64, READ, SHARED, read.as_raw_fd() as u64, 5]) })
    });
    println!(
        "beyond all offsets: {}",
        Shown(try_map(&read, (u64::MAX / PAGE as u64) as usize, 2, READ, SHARED))
    );
    println!("a folder: {}", Shown(try_map(&File::open(".")?, 0, 1, READ, PRIVATE)));
    println!("unmapped: {} {}", one.unmap(1), own.unmap(1));
    Ok(())
}

fn moved() -> io::Result<()> {
    let file = letters("moved", 8)?;
    let one = map(&file, 0, 4, READ | WRITE, SHARED);
    one.write(0, "first");
    println!("a hole: {}", Mapping(one.0 + PAGE).unmap(1));
    println!("{:?} {} {:?}", one.get(PAGE), fault(), one.text(2 * PAGE, 2));
    // SAFETY: mappings of our own.
    let remap = |from: usize, old: usize, new: usize| unsafe {
        syscall(number::MREMAP, [from as u64, (old * PAGE) as u64, (new * PAGE) as u64, 1, 0, 0])
    };
    let larger = remap(one.0 + 2 * PAGE, 2, 5);
    let larger = Mapping(larger as usize);
    println!("larger: {} {} {}", larger.text(0, 2), larger.text(2 * PAGE, 2), larger.text(4 * PAGE, 2));
    larger.write(4 * PAGE, "far");
    println!("in the file: {}", octets(&file, 6 * PAGE, 4)?);
    println!("smaller: {}", remap(larger.0, 5, 1) == larger.0 as i64);
    println!("{:?} {} {}", larger.get(PAGE), fault(), larger.text(0, 2));
    let own = map(&file, 0, 2, READ | WRITE, PRIVATE);
    own.write(0, "private");
    let own = Mapping(remap(own.0, 2, 6) as usize);
    println!("a copy moves: {} {}", own.text(0, 8), own.text(5 * PAGE, 2));
    // In place of another one.
    // SAFETY: a mapping of our own.
    let fixed = unsafe {
        syscall(
            number::MMAP,
            [own.0 as u64, PAGE as u64, READ, SHARED | FIXED, file.as_raw_fd() as u64, PAGE as u64],
        )
    };
    println!("in place of it: {} {} {}", fixed == own.0 as i64, own.text(0, 2), own.text(PAGE, 2));
    println!("unmapped: {} {} {}", one.unmap(1), larger.unmap(1), own.unmap(6));
    Ok(())
}

/// A mapping is there when descriptor and name are gone.
fn left_behind() -> io::Result<()> {
    let file = letters("behind", 2)?;
    let (one, two) = (map(&file, 0, 2, READ | WRITE, SHARED), map(&file, 0, 2, READ, SHARED));
    drop(file);
    fs::remove_file("behind")?;
    letters("behind", 1)?;
    one.write(0, "still here");
    println!("{} {}", two.text(0, 10), two.text(PAGE, 2));
    println!("another: {}", fs::read("behind")?[0] as char);
    println!("unmapped: {} {} {}", one.unmap(2), two.text(0, 5), two.unmap(2));
    Ok(())
}

fn advice() -> io::Result<()> {
    let file = letters("advice", 2)?;
    let (one, own) = (map(&file, 0, 2, READ | WRITE, SHARED), map(&file, 0, 2, READ | WRITE, PRIVATE));
    one.write(0, "kept");
    println!("given up: {} {}", one.call(number::MADVISE, 2, [DONTNEED, 0]), one.text(0, 4));
    println!("free: {} {}", one.call(number::MADVISE, 2, [FREE, 0]), own.call(number::MADVISE, 2, [FREE, 0]));
    println!("removed: {}", own.call(number::MADVISE, 2, [REMOVE, 0]));
    for advice in [0, 1, 2, 3, 20, 22, 23] {
        println!("advice {advice}: {}", one.call(number::MADVISE, 2, [advice, 0]));
    }
    file.set_len(PAGE as u64)?;
    println!("populated behind the end: {}", one.call(number::MADVISE, 2, [22, 0]));
    println!("locked: {} {}", one.call(number::MLOCK, 1, [0; 2]), one.call(number::MUNLOCK, 1, [0; 2]));
    println!("unmapped: {} {}", one.unmap(2), own.unmap(2));
    Ok(())
}

fn devices() -> io::Result<()> {
    let zero = open("/dev/zero")?;
    let one = map(&zero, 0, 2, READ | WRITE, PRIVATE);
    println!("zero: {:?} {:?} {:?}", one.get(5), one.set(5, 1), one.get(5));
    println!("unmapped: {}", one.unmap(2));
    println!("null: {}", Shown(try_map(&open("/dev/null")?, 0, 1, READ, PRIVATE)));
    Ok(())
}

/// memfd_create(2).
fn anonymous_file() {
    use std::os::fd::FromRawFd;
    let make = |name: &std::ffi::CStr, flags: u64| {
        // SAFETY: makes a descriptor.
        unsafe { syscall(number::MEMFD_CREATE, [name.as_ptr() as u64, flags, 0, 0, 0, 0]) }
    };
    let fd = make(c"some name", 1);
    assert!(fd >= 0, "{}", Shown(fd));
    // SAFETY: ours.
    let file = unsafe { File::from_raw_fd(fd as i32) };
    println!("empty: {:?}", file.metadata().map(|it| (it.len(), it.nlink(), it.mode() & 0o170_777)));
    println!("{:?}", fs::read_link(format!("/proc/self/fd/{fd}")));
    println!("{:?}", file.set_len(PAGE as u64));
    let (one, two) = (map(&file, 0, 1, READ | WRITE, SHARED), map(&file, 0, 1, READ | WRITE, SHARED));
    one.write(0, "shared");
    println!("{}", two.text(0, 6));
    println!("unmapped: {} {}", one.unmap(1), two.unmap(1));
    println!("unknown flags: {}", Shown(make(c"x", 0x8000_0000)));
    let long = std::ffi::CString::new(vec![b'x'; 250]).expect("no zero in it");
    println!("a long name: {}", Shown(make(&long, 0)));
}

/// One thread truncates, others read and write by way of mappings.
fn threads() -> io::Result<()> {
    const PAGES: usize = 16;
    let file = open("threads")?;
    file.set_len((PAGES * PAGE) as u64)?;
    // Not touched behind what stays: a fault of another thread is another test's.
    let (one, two) = (map(&file, 0, PAGES, READ | WRITE, SHARED), map(&file, 0, PAGES, READ | WRITE, SHARED));
    let done = AtomicBool::new(false);
    // SAFETY: atomics in a page that stays mapped, each in two places.
    let at = |mapping: Mapping, n: usize| unsafe { &*((mapping.0 + 8 * n) as *const AtomicU64) };
    std::thread::scope(|scope| {
        for n in 0..3 {
            let done = &done;
            let (one, two) = (one, two);
            scope.spawn(move || {
                for _ in 0..2000 {
                    at(one, n).fetch_add(1, Ordering::Relaxed);
                    at(two, n).fetch_add(1, Ordering::Relaxed);
                }
                while !done.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            });
        }
        for round in 0..200usize {
            let cut = 1 + round % PAGES;
            file.set_len((cut * PAGE) as u64).expect("it can be cut");
            file.set_len((PAGES * PAGE) as u64).expect("it can grow");
            for page in cut..PAGES {
                assert_eq!(one.get(page * PAGE), Some(0), "what was cut off came back");
                two.set(page * PAGE, 1);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    println!(
        "counted: {} {} {}",
        at(one, 0).load(Ordering::Relaxed),
        at(two, 1).load(Ordering::Relaxed),
        at(one, 2).load(Ordering::Relaxed)
    );
    println!("unmapped: {} {}", one.unmap(PAGES), two.unmap(PAGES));
    Ok(())
}

/// What mappings take comes back: more in all than the machine has.
fn many_times() -> io::Result<()> {
    const PAGES: usize = 1024;
    for round in 0..40u8 {
        let file = open("many")?;
        file.set_len((PAGES * PAGE) as u64)?;
        let (one, own) =
            (map(&file, 0, PAGES, READ | WRITE, SHARED), map(&file, 0, PAGES, READ | WRITE, PRIVATE));
        for page in 0..PAGES {
            one.set(page * PAGE, round);
            assert_eq!(own.get(page * PAGE), Some(round));
            own.set(page * PAGE, round + 1);
            assert_eq!(one.get(page * PAGE), Some(round));
        }
        if round % 2 == 0 {
            fs::remove_file("many")?;
        } else {
            file.set_len(0)?;
        }
        assert_eq!((own.unmap(PAGES).0, one.unmap(PAGES).0), (0, 0));
    }
    println!("320 MiB in 40 parts");
    Ok(())
}
