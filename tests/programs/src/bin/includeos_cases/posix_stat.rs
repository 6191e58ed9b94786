//! `posix/stat`: attributes, the working directory, calls on what is not open, and the order in which nftw(3) walks.
//!
//! What fails there because its disk is read-only is the program `tree`'s: on Linux the folder can be written to.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

use super::{cstr, error, show};

pub fn cases(folder: &str) {
    println!("# posix/stat");
    attributes();
    working_directory(folder);
    of_what_is_not_open();
    walks();
}

fn attributes() {
    // SAFETY: a string with its end; nowhere is refused.
    show("stat to nowhere", unsafe { libc::stat(c"folder1".as_ptr(), std::ptr::null_mut()) }.into());
    for path in ["folder1", "file1", "folder666", "file666"] {
        show_stat(path);
    }
}

fn show_stat(path: &str) {
    let Some(stat) = stat(path) else { return println!("stat of {path}: {}", error()) };
    let is_folder = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    println!(
        "stat of {path}: mode {:o}, a number, and a time: {}",
        stat.st_mode,
        stat.st_ino > 0 && stat.st_mtime > 0
    );
    if !is_folder {
        println!(
            "  {} octets, {} links, space for them: {}",
            stat.st_size,
            stat.st_nlink,
            stat.st_blocks > 0
        );
    }
}

fn stat(path: &str) -> Option<libc::stat> {
    // SAFETY: a structure of numbers, and a string with its end.
    unsafe {
        let mut stat = std::mem::zeroed();
        (libc::fstatat(libc::AT_FDCWD, cstr(path).as_ptr(), &mut stat, 0) == 0).then_some(stat)
    }
}

fn working_directory(folder: &str) {
    // SAFETY: a string with its end, or null, which is refused.
    let change = |path: *const c_char| i64::from(unsafe { libc::chdir(path) });
    show("chdir to nowhere", change(null()));
    show("chdir to nothing", change(c"".as_ptr()));
    show("chdir to a file", change(c"file2".as_ptr()));
    show("chdir", change(c"folder1".as_ptr()));
    show_stat("file1");
    let absolute = cstr(&format!("{folder}/folder1"));
    show("chdir, absolute", change(absolute.as_ptr()));
    show("chdir to where it is", change(c".".as_ptr()));
    show("chdir below", change(c"foldera".as_ptr()));
    let mut buffer = [0u8; 1024];
    // SAFETY: the buffers are as long as they are said to be; without one libc makes it, which is given back.
    unsafe {
        let made = libc::getcwd(std::ptr::null_mut(), 0);
        println!("getcwd to what libc makes: {}", below(folder, made));
        libc::free(made.cast());
        println!("getcwd, no room: {}", below(folder, libc::getcwd(buffer.as_mut_ptr().cast(), 4)));
        println!("getcwd: {}", below(folder, libc::getcwd(buffer.as_mut_ptr().cast(), buffer.len())));
    }
    let folder = cstr(folder);
    show("chdir back", change(folder.as_ptr()));
}

/// The part of a path that is below the folder.
fn below(folder: &str, path: *const c_char) -> String {
    if path.is_null() {
        return error();
    }
    // SAFETY: a string of libc's with its end.
    let path = unsafe { CStr::from_ptr(path) }.to_str().expect("a path of text");
    path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/').to_owned()
}

fn of_what_is_not_open() {
    let name = c"test".as_ptr();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: strings with their ends, and a structure of numbers; the descriptor is this function's, and closed once.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let fd = libc::open(c"file1".as_ptr(), libc::O_RDONLY);
        libc::close(fd);
        show("fchmod", libc::fchmod(fd, libc::S_IWUSR).into());
        show("fchmodat", libc::fchmodat(fd, name, libc::S_IRUSR, 0).into());
        show("fstat", libc::fstat(fd, &mut stat).into());
        show("fstatat", libc::fstatat(fd, name, &mut stat, flags).into());
        show("futimens", libc::futimens(fd, null()).into());
        show("utimensat", libc::utimensat(fd, name, null(), flags).into());
        show("mkdirat", libc::mkdirat(fd, name, libc::S_IWUSR).into());
        show("mkfifoat", libc::mkfifoat(fd, name, libc::S_IWUSR).into());
        show("mknodat", libc::mknodat(fd, name, libc::S_IWUSR, 0).into());
        libc::umask(0o27);
        println!("umask: {:o}", libc::umask(0o22));
    }
}

#[repr(C)]
struct Ftw {
    base: c_int,
    level: c_int,
}

type Visit = extern "C" fn(*const c_char, *const libc::stat, c_int, *const Ftw) -> c_int;

unsafe extern "C" {
    /// nftw(3).
    fn nftw(path: *const c_char, visit: Visit, descriptors: c_int, flags: c_int) -> c_int;
}

const FTW_PHYS: c_int = 1;
const FTW_DEPTH: c_int = 8;

thread_local! {
    /// What was visited: path, kind, level, and octets of a file.
    static VISITED: RefCell<Vec<(String, c_int, c_int, i64)>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn visit(path: *const c_char, stat: *const libc::stat, kind: c_int, ftw: *const Ftw) -> c_int {
    const FTW_F: c_int = 0;
    // SAFETY: nftw(3) passes a string and two structures that are alive for the call.
    let (path, size, level) = unsafe { (CStr::from_ptr(path), (*stat).st_size, (*ftw).level) };
    let size = if kind == FTW_F { size } else { 0 };
    VISITED.with_borrow_mut(|all| all.push((path.to_string_lossy().into_owned(), kind, level, size)));
    0
}

/// Walks, and returns what was visited, in order.
fn walk(path: &CStr, flags: c_int) -> Vec<(String, c_int, c_int, i64)> {
    // SAFETY: a string with its end, and a function with the arguments that nftw(3) passes.
    show(&format!("nftw of {path:?}"), unsafe { nftw(path.as_ptr(), visit, 20, flags) }.into());
    VISITED.take()
}

fn walks() {
    let position = |all: &[(String, c_int, c_int, i64)], path: &str| all.iter().position(|one| one.0 == path);
    for (flags, what) in
        [(FTW_PHYS, "a folder comes before"), (FTW_PHYS | FTW_DEPTH, "a folder comes behind")]
    {
        let all = walk(c".", flags);
        let (outer, inner) = (position(&all, "./folder1"), position(&all, "./folder1/foldera"));
        println!("{what} what is in it: {}", (flags == FTW_PHYS) == (outer < inner));
    }
    for path in [c"missing", c"file1", c"folder1", c"folder2", c"folder3", c"."] {
        // The order in a folder is the file system's own.
        let mut all = walk(path, FTW_PHYS);
        all.sort();
        println!("  {all:?}\n  {} octets", all.iter().map(|one| one.3).sum::<i64>());
    }
}
