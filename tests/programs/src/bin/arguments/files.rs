//! Calls on descriptors: each with descriptors of every kind, and with numbers that are none.

use std::ffi::CStr;
use std::fs;

use programs::number::*;
use programs::{Shown, syscall};

use super::paths::CWD;
use super::{KERNEL_HALF, MAX, PAGE, UNMAPPED, show};

/// Descriptors, in words and as they are.
fn open_all() -> Vec<(&'static str, u64)> {
    std::env::set_current_dir(super::folder()).expect("the folder is there");
    fs::write("content", "0123456789").expect("a file can be made");
    let open = |path: &CStr, flags: u64| call(OPENAT, [CWD, path.as_ptr() as u64, flags, 0, 0, 0]);
    let mut pipe = [0i32; 2];
    call(PIPE2, [pipe.as_mut_ptr() as u64, 0o4000, 0, 0, 0, 0]);
    let pipe = std::hint::black_box(pipe);
    vec![
        ("negative", MAX),
        ("not open", 99),
        ("file to read", open(c"content", 0)),
        ("file to write", open(c"content", 1)),
        ("file for both", open(c"content", 2)),
        ("file to append", open(c"content", 0o2002)),
        ("file as a path", open(c"content", 0o10_000_000)),
        ("folder", open(c".", 0)),
        ("folder as a path", open(c".", 0o10_000_000)),
        ("pipe to read", pipe[0] as u64),
        ("pipe to write", pipe[1] as u64),
        ("null", open(c"/dev/null", 2)),
        ("null to read", open(c"/dev/null", 0)),
        ("zero", open(c"/dev/zero", 2)),
        ("full", open(c"/dev/full", 2)),
        ("text", open(c"/proc/self/cmdline", 0)),
        ("counter", call(290, [0, 0o4000, 0, 0, 0, 0])),
    ]
}

fn call(number: u64, arguments: [u64; 6]) -> u64 {
    // SAFETY: calls that open something, or work on what is ours.
    let result = unsafe { syscall(number, arguments) };
    assert!(result >= 0, "{number}: {}", Shown(result));
    result as u64
}

pub fn wrong() {
    let mut buffer = [0u8; 4096];
    let at = buffer.as_mut_ptr() as u64;
    let small = [at, 4];
    let iov = small.as_ptr() as u64;
    let lock = [0u64; 4];
    let opened = open_all();
    let get = |name: &str| opened.iter().find(|(other, _)| *other == name).map_or(MAX, |(_, fd)| *fd);
    let (both, pipe_out) = (get("file for both"), get("pipe to write"));
    for &(name, fd) in &opened {
        let show = |call: &str, number: u64, more: &[u64]| {
            show(&format!("{call}, {name}"), number, &[&[fd], more].concat());
        };
        // An octet in the pipe, so that nothing waits and results are the same.
        show("lseek to the start", LSEEK, &[0, 0]);
        for (words, whence, offset) in [
            ("before the start", 0, MAX),
            ("far", 0, i64::MAX as u64),
            ("from here", 1, 5),
            ("back from here", 1, -100i64 as u64),
            ("from the end", 2, 5),
            ("before the start from the end", 2, -100i64 as u64),
            ("to data", 3, 3),
            ("to a hole", 4, 3),
            ("to data behind the end", 3, 100),
            ("to a hole before the start", 4, MAX),
            ("no such way", 5, 0),
        ] {
            if name != "text" || !matches!(whence, 2..=4) {
                show(&format!("lseek {words}"), LSEEK, &[offset, whence]);
            }
        }
        show("lseek far again", LSEEK, &[i64::MAX as u64, 0]);
        show("read far", READ, &[at, 4]);
        show("write far", WRITE, &[at, 4]);
        show("lseek to the start again", LSEEK, &[0, 0]);
        show("read of nothing", READ, &[at, 0]);
        show("read to nowhere", READ, &[UNMAPPED, 4]);
        show("read to the kernel's half", READ, &[KERNEL_HALF, 4]);
        show("write of nothing", WRITE, &[at, 0]);
        show("write from nowhere", WRITE, &[UNMAPPED, 4]);
        show("write from the kernel's half", WRITE, &[KERNEL_HALF, 4]);
        show("read", READ, &[at, 4]);
        show("write", WRITE, &[at, 4]);
        show("read again", READ, &[at, 4]);
        show("lseek before readv", LSEEK, &[0, 0]);
        show("readv", READV, &[iov, 1]);
        show("writev", WRITEV, &[iov, 1]);
        show("readv, count -1", READV, &[iov, MAX]);
        show("readv of nothing", READV, &[iov, 0]);
        for offset in [0, 2, 100, MAX, i64::MAX as u64] {
            show(&format!("pread64 at {offset}"), PREAD64, &[at, 4, offset]);
            show(&format!("preadv at {offset}"), PREADV, &[iov, 1, offset, 0]);
            show(&format!("pwrite64 at {offset}"), PWRITE64, &[at, 4, offset]);
            show(&format!("pwritev at {offset}"), PWRITEV, &[iov, 1, offset, 0]);
        }
        // Up to behind the last octet, though nobody would move so many.
        let (much, far) = (1 << 40, i64::MAX as u64 - (1 << 39));
        show("pread64 of too much", PREAD64, &[at, much, far]);
        show("pwrite64 of too much", PWRITE64, &[at, much, far]);
        show("pread64 to nowhere", PREAD64, &[UNMAPPED, 4, 0]);
        show("pwrite64 from nowhere", PWRITE64, &[UNMAPPED, 4, 0]);
        show("lseek before preadv2", LSEEK, &[0, 0]);
        show("preadv2 here", PREADV2, &[iov, 1, MAX, 0, 0]);
        show("preadv2, unknown flags", PREADV2, &[iov, 1, 0, 0, 0x8000]);
        show("pwritev2, unknown flags", PWRITEV2, &[iov, 1, 0, 0, 0x8000]);
        show("ftruncate", FTRUNCATE, &[10]);
        show("ftruncate to less than nothing", FTRUNCATE, &[MAX]);
        for (words, mode, offset, len) in [
            ("", 0, 0, 20),
            (" of nothing", 0, 0, 0),
            (" before the start", 0, MAX, 10),
            (" of less than nothing", 0, 0, MAX),
            (" too far", 0, i64::MAX as u64, 10),
            (" without growing", 1, 0, 8192),
            (" of a hole", 3, 2, 3),
            (" of a hole that grows", 2, 2, 3),
            (" that no file system knows", 0x1000, 0, 10),
        ] {
            show(&format!("fallocate{words}"), FALLOCATE, &[mode, offset, len]);
        }
        show("ftruncate back", FTRUNCATE, &[10]);
        show("fstat", FSTAT, &[at]);
        show("fstat to nowhere", FSTAT, &[UNMAPPED]);
        show("newfstatat of it", NEWFSTATAT, &[c"".as_ptr() as u64, at, 0x1000]);
        show("newfstatat below it", NEWFSTATAT, &[c"content".as_ptr() as u64, at, 0]);
        show("openat below it", OPENAT, &[c"missing".as_ptr() as u64, 0, 0]);
        show("openat of what is absolute", OPENAT, &[c"/missing".as_ptr() as u64, 0, 0]);
        show("mkdirat below it", MKDIRAT, &[c"content".as_ptr() as u64, 0o777]);
        show("readlinkat of it", READLINKAT, &[c"".as_ptr() as u64, at, 10]);
        show("fstatfs to nowhere", FSTATFS, &[UNMAPPED]);
        show("fstatfs", FSTATFS, &[at]);
        show("fchdir", FCHDIR, &[]);
        std::env::set_current_dir(super::folder()).expect("the folder is there");
        // Not of the devices: on Linux they are everybody's.
        if !["null", "null to read", "zero", "full"].contains(&name) {
            show("fchmod", FCHMOD, &[0o644]);
            show("fchown", FCHOWN, &[MAX, MAX]);
            show("utimensat of it", UTIMENSAT, &[0, 0, 0]);
            show("utimensat of it or empty", UTIMENSAT, &[c"".as_ptr() as u64, 0, 0x1000]);
        }
        show("fgetxattr", FGETXATTR, &[c"nothing.x".as_ptr() as u64, at, 10]);
        show("getdents64, no room", GETDENTS64, &[at, 10]);
        show("getdents64 to nowhere", GETDENTS64, &[UNMAPPED, 4096]);
        show("fsync", FSYNC, &[]);
        show("fdatasync", FDATASYNC, &[]);
        for advice in [0, 4, 6] {
            show(&format!("fadvise64 {advice}"), FADVISE64, &[0, 0, advice]);
        }
        show("fadvise64 of less than nothing", FADVISE64, &[0, MAX, 0]);
        for operation in [0, 1, 2, 5, 8, 16] {
            show(&format!("flock {operation}"), FLOCK, &[operation]);
        }
        for (words, operation, argument) in [
            ("F_DUPFD from -1", 0, MAX),
            ("F_DUPFD from far", 0, 1 << 30),
            ("F_GETFD", 1, 0),
            ("F_GETFL", 3, 0),
            ("F_GETLK of nowhere", 5, UNMAPPED),
            ("F_GETLK of no kind", 5, lock.as_ptr() as u64),
            ("F_SETLK of nowhere", 6, UNMAPPED),
            ("F_GETPIPE_SZ", 1032, 0),
            ("what no operation is", 9999, 0),
        ] {
            show(&format!("fcntl {words}"), FCNTL, &[operation, argument]);
        }
        let mut wrong = [0u64; 4];
        for (words, kind, whence, start, len) in [
            ("F_RDLCK", 0u64, 0u64, 0u64, 0u64),
            ("F_WRLCK", 1, 0, 0, 10),
            ("F_UNLCK", 2, 0, 0, 0),
            ("no kind", 9, 0, 0, 0),
            ("no such way", 0, 9, 0, 0),
            ("before the start", 0, 0, MAX, 0),
            ("of less than nothing", 0, 0, 5, MAX),
            ("too far", 0, 0, i64::MAX as u64, 10),
        ] {
            wrong[..3].copy_from_slice(&[kind | whence << 16, start, len]);
            show(&format!("fcntl F_SETLK, {words}"), FCNTL, &[6, wrong.as_mut_ptr() as u64]);
        }
        show("ioctl TCGETS", IOCTL, &[0x5401, at]);
        show("ioctl TIOCGWINSZ", IOCTL, &[0x5413, at]);
        show("ioctl FIONREAD to nowhere", IOCTL, &[0x541b, UNMAPPED]);
        show("ioctl FIONBIO from nowhere", IOCTL, &[0x5421, UNMAPPED]);
        show("ioctl of nothing", IOCTL, &[0x1234_5678, 0]);
        show("dup2 to -1", DUP2, &[MAX]);
        show("dup2 to far", DUP2, &[1 << 30]);
        show("dup3 to itself", DUP3, &[fd, 0]);
        show("dup3, unknown flags", DUP3, &[50, 1]);
        mappings(name, fd);
    }
    for &(name, fd) in &opened {
        buffer[..16].fill(0);
        let offsets = [0u64, 2, MAX];
        let (zero, two, minus) =
            (offsets.as_ptr() as u64, offsets[1..].as_ptr() as u64, offsets[2..].as_ptr() as u64);
        let zero = std::hint::black_box(zero);
        show(&format!("sendfile to, {name}"), SENDFILE, &[fd, both, zero, 3]);
        show(&format!("sendfile to it from before the start, {name}"), SENDFILE, &[fd, both, minus, 3]);
        show(&format!("sendfile to it from nowhere, {name}"), SENDFILE, &[fd, both, UNMAPPED, 3]);
        show(&format!("copy_file_range from, {name}"), COPY_FILE_RANGE, &[fd, zero, both, two, 3, 0]);
        show(&format!("copy_file_range to, {name}"), COPY_FILE_RANGE, &[both, zero, fd, two, 3, 0]);
        show(
            &format!("copy_file_range, unknown flags, {name}"),
            COPY_FILE_RANGE,
            &[fd, zero, both, zero, 3, 1],
        );
        show(&format!("copy_file_range to a pipe, {name}"), COPY_FILE_RANGE, &[fd, 0, pipe_out, 0, 3, 0]);
    }
    for (_, fd) in opened.into_iter().filter(|(_, fd)| *fd != MAX && *fd != 99) {
        call(CLOSE, [fd, 0, 0, 0, 0, 0]);
    }
    pipes();
}

fn mappings(name: &str, fd: u64) {
    for (words, len, protection, flags, offset) in [
        ("shared, to read", PAGE, 1, 1, 0),
        ("shared, to write", PAGE, 3, 1, 0),
        ("private, to read", PAGE, 1, 2, 0),
        ("private, to write", PAGE, 3, 2, 0),
        ("closed", PAGE, 0, 2, 0),
        ("of no type", PAGE, 1, 0, 0),
        ("of nothing", 0, 1, 2, 0),
        ("at an odd offset", PAGE, 1, 2, 5),
        ("too far", PAGE, 1, 2, MAX & !(PAGE - 1)),
        ("of all there is", 1 << 47, 1, 1, 0),
        ("at a fixed odd address", PAGE, 1, 0x12, 0),
    ] {
        let address = if flags & 0x10 != 0 { UNMAPPED + 1 } else { 0 };
        // SAFETY: a new mapping, which goes again.
        let result = unsafe { syscall(MMAP, [address, len, protection, flags, fd, offset]) };
        println!("mmap {words}, {name}: {}", Shown(result.min(0)));
        if result > 0 {
            // SAFETY: as above.
            unsafe { syscall(MUNMAP, [result as u64, len, 0, 0, 0, 0]) };
        }
    }
}

fn pipes() {
    let mut fds = [0i32; 2];
    show("pipe2 to nowhere", PIPE2, &[UNMAPPED, 0]);
    show("pipe2 to the kernel's half", PIPE2, &[KERNEL_HALF, 0]);
    show("pipe2, unknown flags", PIPE2, &[fds.as_mut_ptr() as u64, 1]);
    show("pipe to nowhere", PIPE, &[UNMAPPED]);
    show("dup of nothing", DUP, &[MAX]);
    show("dup2 of nothing to itself", DUP2, &[99, 99]);
}
