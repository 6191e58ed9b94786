//! `posix/file_fd`: sixteen cases of opening, reading, seeking and closing, by descriptors, by streams of libc and by std.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::ptr::{null, null_mut};

use super::{error, show};

const FILE1: &CStr = c"file1";
const FILE3: &CStr = c"file3";
const MISSING: &CStr = c"file666";

pub fn cases() {
    println!("# posix/file_fd");
    println!("of a file that is there: {}", open(FILE1) >= 0);
    show("open of a file that is missing", open(MISSING).into());
    show("open of nowhere", open_at(null()).into());
    show("open of nothing", open(c"").into());
    seeking();
    reading();
    closing();
    two_descriptors();
    streams();
    let mut text = String::new();
    let read = File::open("file1").and_then(|mut file| file.read_to_string(&mut text));
    println!("by std: {read:?} {text:?}");
}

fn open(path: &CStr) -> c_int {
    open_at(path.as_ptr())
}

fn open_at(path: *const c_char) -> c_int {
    // SAFETY: a string with its end, or null, which is refused.
    unsafe { libc::open(path, libc::O_RDONLY) }
}

fn close(fd: c_int) -> c_int {
    // SAFETY: one of this module's own descriptors, or a number that is none.
    unsafe { libc::close(fd) }
}

fn seek(fd: c_int, offset: i64, whence: c_int) -> i64 {
    // SAFETY: numbers.
    unsafe { libc::lseek(fd, offset, whence) }
}

/// Reads so many octets; returns what read(2) did, and them.
fn read(fd: c_int, len: usize) -> (i64, Vec<u8>) {
    let mut octets = vec![0; len];
    // SAFETY: the buffer is as long as it is said to be.
    let done = unsafe { libc::read(fd, octets.as_mut_ptr().cast(), len) };
    octets.truncate(usize::try_from(done).unwrap_or(0));
    (done as i64, octets)
}

fn show_read(what: &str, fd: c_int, len: usize) {
    let (done, octets) = read(fd, len);
    show(what, done);
    if done >= 0 {
        println!("  {:?}", String::from_utf8_lossy(&octets));
    }
}

fn seeking() {
    let fd = open(FILE1);
    show("lseek, here", seek(fd, 0, libc::SEEK_CUR));
    show("lseek, the end", seek(fd, 0, libc::SEEK_END));
    show("lseek, behind the end", seek(fd, 100, libc::SEEK_END));
    show("lseek, the start", seek(fd, 0, libc::SEEK_SET));
    show("lseek, before the start", seek(fd, -100, libc::SEEK_CUR));
    show("lseek, where it is then", seek(fd, 0, libc::SEEK_CUR));
    show("lseek, no such way", seek(fd, 0, 42));
    show("close", close(fd).into());
    show("lseek of what is not open", seek(open(MISSING), 0, libc::SEEK_SET));
}

fn reading() {
    let fd = open(FILE1);
    show_read("read", fd, 1024);
    show("lseek", seek(fd, 0, libc::SEEK_SET));
    show_read("read of a part", fd, 4);
    // SAFETY: it is refused.
    show("read to nowhere", unsafe { libc::read(fd, null_mut::<c_void>(), 404) } as i64);
    show("close", close(fd).into());
}

fn closing() {
    let fd = open(FILE1);
    show("close", close(fd).into());
    show_read("read of what is closed", fd, 1024);
    show("close of what is closed", close(fd).into());
}

fn two_descriptors() {
    let (first, second) = (open(FILE3), open(FILE3));
    show("lseek of one", seek(first, 2, libc::SEEK_SET));
    show("lseek of the other", seek(second, 4, libc::SEEK_SET));
    show_read("read of one", first, 4);
    show_read("read of the other", second, 4);
    show("close of the other", close(second).into());
    show("lseek of the other", seek(second, 0, libc::SEEK_SET));
    show_read("read of the other", second, 4);
    show_read("read of one", first, 4);
    show("close of one", close(first).into());
}

fn streams() {
    let mut line = [0u8; 256];
    // SAFETY: the streams are open from fopen(3) to fclose(3), and the buffers as long as they are said to be.
    unsafe {
        let stream = libc::fopen(FILE1.as_ptr(), c"r".as_ptr());
        assert!(!stream.is_null(), "fopen: {}", error());
        println!("fgetc: {:?}", libc::fgetc(stream) as u8 as char);
        show("fclose", libc::fclose(stream).into());
        let stream = libc::fopen(FILE3.as_ptr(), c"r".as_ptr());
        let read = libc::fgets(line.as_mut_ptr().cast(), line.len() as c_int, stream);
        println!("fgets: {:?}", (!read.is_null()).then(|| CStr::from_ptr(read)));
        show("fclose", libc::fclose(stream).into());
        let stream = libc::fopen(FILE1.as_ptr(), c"r".as_ptr());
        let count = libc::fread(line.as_mut_ptr().cast(), 1, 7, stream);
        println!("fread: {:?}", String::from_utf8_lossy(&line[..count]));
        show("fclose", libc::fclose(stream).into());
        println!(
            "fopen of a file that is missing: {}",
            libc::fopen(MISSING.as_ptr(), c"r".as_ptr()).is_null()
        );
    }
}
