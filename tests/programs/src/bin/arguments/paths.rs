//! Calls on paths: each with paths of every kind, and with flags that are none.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;

use programs::number::*;
use programs::syscall;

use super::{KERNEL_HALF, MAX, UNMAPPED, show, show_outcome};

pub const CWD: u64 = -100i64 as u64;

/// What the paths lead to, made anew for each call that may change it, in a folder that is otherwise empty.
fn fixture() {
    let folder = super::folder();
    std::env::set_current_dir(&folder).expect("the folder is there");
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.expect("what is in the folder can be removed");
    }
    let made = || {
        fs::create_dir_all("dir/full")?;
        fs::write("dir/full/x", "")?;
        fs::create_dir("dir/empty")?;
        fs::write("file", "content")?;
        symlink("file", "link")?;
        symlink("missing", "dangling")?;
        symlink("loop", "loop")?;
        symlink("dir", "to-dir")
    };
    made().expect("the files can be made");
    // SAFETY: makes a name.
    unsafe { syscall(MKNOD, [c"fifo".as_ptr() as u64, 0o010_644, 0, 0, 0, 0]) };
}

/// Paths that leave the folder: for calls that change nothing, whoever makes them.
const OUTSIDE: [&str; 3] = ["/", "//", "/missing"];

/// Paths, in words and as they are.
fn paths(number: u64) -> Vec<(String, CString)> {
    let long = "x".repeat(256);
    let endless = "./".repeat(3000);
    let names = [
        "",
        "missing",
        "missing/",
        "missing/x",
        "file",
        "file/",
        "file/.",
        "file/..",
        "file/x",
        "dir",
        "dir/",
        "dir/.",
        "dir/..",
        "dir/empty",
        "dir/empty/",
        "dir/full",
        "dir/full/x",
        "dir/new",
        "dir/new/",
        "link",
        "link/",
        "dangling",
        "dangling/",
        "loop",
        "loop/x",
        "to-dir",
        "to-dir/",
        "to-dir/empty",
        "fifo",
        "fifo/x",
        ".",
        "..",
        "dir/../file",
        "missing/../file",
    ];
    let outside: &[&str] = if matches!(number, STAT | LSTAT | NEWFSTATAT | STATX | ACCESS | STATFS | READLINK)
    {
        &OUTSIDE
    } else {
        &[]
    };
    let short = names.iter().chain(outside).copied().map(|name| (format!("{name:?}"), name.to_owned()));
    let made = [
        ("a long name".to_owned(), long.clone()),
        ("below a long name".to_owned(), format!("{long}/x")),
        ("an endless path".to_owned(), endless),
    ];
    short.chain(made).map(|(words, path)| (words, CString::new(path).expect("no zero in it"))).collect()
}

/// Makes a call with each path, a fixture each time. `at` says which argument the path is.
fn each(call: &str, number: u64, at: usize, arguments: &[u64]) {
    let arguments = |path: u64| {
        let mut arguments = arguments.to_vec();
        arguments[at] = path;
        arguments
    };
    // Flags that are none are refused whatever the path is: a few will do.
    let most = if call.ends_with("unknown flags") { 6 } else { usize::MAX };
    fixture();
    for (words, path) in paths(number).into_iter().take(most) {
        if !changes_nothing(number, &arguments(0)) {
            fixture();
        }
        shown(&format!("{call}, {words}"), number, &arguments(path.as_ptr() as u64));
    }
    for (words, address) in [("nowhere", 0), ("unmapped", UNMAPPED), ("in the kernel's half", KERNEL_HALF)] {
        if number == NEWFSTATAT && address == 0 {
            // Of late, Linux takes that for an empty path.
            continue;
        }
        shown(&format!("{call}, {words}"), number, &arguments(address));
    }
}

/// Whether a call leaves the files as they are.
fn changes_nothing(number: u64, arguments: &[u64]) -> bool {
    const O_CREAT_TRUNC_TMPFILE: u64 = 0o20_001_100;
    match number {
        STAT | LSTAT | NEWFSTATAT | STATX | ACCESS | FACCESSAT2 | STATFS | READLINK | GETXATTR => true,
        OPENAT => arguments[2] & O_CREAT_TRUNC_TMPFILE == 0,
        _ => false,
    }
}

/// Makes a call, and closes what it opened.
fn shown(name: &str, number: u64, arguments: &[u64]) {
    if matches!(number, OPEN | OPENAT | CREAT | OPENAT2) {
        let mut six = [0; 6];
        six[..arguments.len()].copy_from_slice(arguments);
        // SAFETY: opens a file, which is closed again.
        let fd = unsafe { syscall(number, six) };
        println!("{name}: {}", programs::Shown(fd.min(0)));
        if fd >= 0 {
            // SAFETY: as above.
            unsafe { syscall(CLOSE, [fd as u64, 0, 0, 0, 0, 0]) };
        }
    } else {
        show(name, number, arguments);
    }
}

pub fn wrong() {
    const O_CREAT: u64 = 0o100;
    const O_EXCL: u64 = 0o200;
    const O_NONBLOCK: u64 = 0o4000;
    const O_DIRECTORY: u64 = 0o200_000;
    const O_NOFOLLOW: u64 = 0o400_000;
    const O_PATH: u64 = 0o10_000_000;
    const O_TMPFILE: u64 = 0o20_200_000;
    let buffer = [0u8; 512];
    let to = buffer.as_ptr() as u64;
    let opens = [
        ("reading", O_NONBLOCK),
        ("both", 2 | O_NONBLOCK),
        ("neither", 3 | O_NONBLOCK),
        ("create", 1 | O_CREAT | O_NONBLOCK),
        ("create anew", 1 | O_CREAT | O_EXCL | O_NONBLOCK),
        ("cut", 1 | 0o1000 | O_NONBLOCK),
        ("cut by a reader", 0o1000 | O_NONBLOCK),
        ("a folder", O_DIRECTORY),
        ("create a folder", O_DIRECTORY | O_CREAT),
        ("no link", O_NOFOLLOW | O_NONBLOCK),
        ("create and no link", O_NOFOLLOW | O_CREAT | O_NONBLOCK),
        ("the path", O_PATH),
        ("the path of a link", O_PATH | O_NOFOLLOW),
        ("a folder's path", O_PATH | O_DIRECTORY),
        ("without a name", O_TMPFILE | 2),
        ("without a name to read", O_TMPFILE),
    ];
    for (words, flags) in opens {
        each(&format!("openat, {words}"), OPENAT, 1, &[CWD, 0, flags, 0o600]);
    }
    each("open", OPEN, 0, &[0, O_NONBLOCK, 0]);
    each("stat", STAT, 0, &[0, to]);
    each("lstat", LSTAT, 0, &[0, to]);
    for (words, flags) in
        [("", 0), (" or empty", 0x1000), (" of a link", 0x100), (" unknown flags", 0x8000_0000)]
    {
        each(&format!("newfstatat{words}"), NEWFSTATAT, 1, &[CWD, 0, to, flags]);
    }
    each("statx", STATX, 1, &[CWD, 0, 0, 0x7ff, to]);
    each("statx, unknown flags", STATX, 1, &[CWD, 0, 0x8000, 0x7ff, to]);
    each("statx, reserved mask", STATX, 1, &[CWD, 0, 0, 0x8000_0000, to]);
    each("access", ACCESS, 0, &[0, 0]);
    each("access to execute", ACCESS, 0, &[0, 1]);
    each("access, no such mode", ACCESS, 0, &[0, 8]);
    each("faccessat2 of a link", FACCESSAT2, 1, &[CWD, 0, 4, 0x100]);
    each("faccessat2, unknown flags", FACCESSAT2, 1, &[CWD, 0, 4, 0x8000]);
    each("statfs", STATFS, 0, &[0, to]);
    each("readlink", READLINK, 0, &[0, to, 100]);
    each("chdir", CHDIR, 0, &[0]);
    each("truncate", TRUNCATE, 0, &[0, 3]);
    each("truncate to less than nothing", TRUNCATE, 0, &[0, MAX]);
    each("chmod", CHMOD, 0, &[0, 0o700]);
    each("fchmodat2 of a link", FCHMODAT2, 1, &[CWD, 0, 0o700, 0x100]);
    each("fchmodat2, unknown flags", FCHMODAT2, 1, &[CWD, 0, 0o700, 0x8000]);
    each("chown", CHOWN, 0, &[0, MAX, MAX]);
    each("lchown", LCHOWN, 0, &[0, MAX, MAX]);
    each("fchownat, unknown flags", FCHOWNAT, 1, &[CWD, 0, MAX, MAX, 0x8000]);
    each("utimensat", UTIMENSAT, 1, &[CWD, 0, 0, 0]);
    each("utimensat of a link", UTIMENSAT, 1, &[CWD, 0, 0, 0x100]);
    each("utimensat, unknown flags", UTIMENSAT, 1, &[CWD, 0, 0, 0x8000]);
    let wrong = [0u64, 1_000_000_000, 0, 0];
    each("utimensat, too many nanoseconds", UTIMENSAT, 1, &[CWD, 0, wrong.as_ptr() as u64, 0]);
    let omit = [0u64, 0x3fff_fffe, 0, 0x3fff_fffe];
    each("utimensat of nothing", UTIMENSAT, 1, &[CWD, 0, omit.as_ptr() as u64, 0]);
    each("utimes", UTIMES, 0, &[0, 0]);
    each("utime", UTIME, 0, &[0, 0]);
    each("getxattr", GETXATTR, 0, &[0, c"nothing.x".as_ptr() as u64, to, 10]);
    each("mkdir", MKDIR, 0, &[0, 0o777]);
    each("mknod", MKNOD, 0, &[0, 0o100_644, 0]);
    each("mknod of a pipe", MKNOD, 0, &[0, 0o010_644, 0]);
    each("mknod of a folder", MKNOD, 0, &[0, 0o040_644, 0]);
    each("mknod of what is nothing", MKNOD, 0, &[0, 0o070_644, 0]);
    each("rmdir", RMDIR, 0, &[0]);
    each("unlink", UNLINK, 0, &[0]);
    each("unlinkat of a folder", UNLINKAT, 1, &[CWD, 0, 0x200]);
    each("unlinkat, unknown flags", UNLINKAT, 1, &[CWD, 0, 1]);
    let path = |path: &std::ffi::CStr| path.as_ptr() as u64;
    each("symlink to it", SYMLINK, 0, &[0, path(c"new")]);
    each("symlink", SYMLINK, 1, &[path(c"target"), 0]);
    each("link from", LINK, 0, &[0, path(c"new")]);
    each("link to", LINK, 1, &[path(c"file"), 0]);
    each("linkat through a link", LINKAT, 1, &[CWD, 0, CWD, path(c"new"), 0x400]);
    each("linkat, unknown flags", LINKAT, 1, &[CWD, 0, CWD, path(c"new"), 1]);
    each("rename from", RENAME, 0, &[0, path(c"new")]);
    each("rename over a file", RENAME, 0, &[0, path(c"file")]);
    each("rename over a folder", RENAME, 0, &[0, path(c"dir/empty")]);
    each("rename of a file", RENAME, 1, &[path(c"file"), 0]);
    each("rename of a folder", RENAME, 1, &[path(c"dir"), 0]);
    each("rename of a link", RENAME, 1, &[path(c"link"), 0]);
    for flags in [1, 2, 4] {
        each(&format!("renameat2 {flags} from"), RENAMEAT2, 1, &[CWD, 0, CWD, path(c"new"), flags]);
        each(&format!("renameat2 {flags} of a file"), RENAMEAT2, 3, &[CWD, path(c"file"), CWD, 0, flags]);
    }
    fixture();
    how();
    buffers();
}

/// openat2(2).
fn how() {
    let show = |name: &str, how: &[u64], size: u64| {
        shown(
            &format!("openat2, {name}"),
            OPENAT2,
            &[CWD, c"dir/../file".as_ptr() as u64, how.as_ptr() as u64, size],
        );
    };
    show("reading", &[0, 0, 0], 24);
    show("small", &[0, 0, 0], 16);
    show("large", &[0, 0, 0, 0], 32);
    show("large, with what is not known", &[0, 0, 0, 1], 32);
    show("of two pages", &[0; 1024], 8192);
    show("unknown flags", &[1 << 40, 0, 0], 24);
    show("a mode for nothing", &[0, 0o600, 0], 24);
    show("a mode that is none", &[0o102, 0o10_000, 0], 24);
    for resolve in [1, 2, 4, 8, 16, 24, 32, 1 << 40] {
        show(&format!("resolve {resolve}"), &[0, 0, resolve], 24);
    }
    // SAFETY: opens a directory.
    let proc = unsafe { syscall(OPENAT, [CWD, c"/proc".as_ptr() as u64, 0, 0, 0, 0]) } as u64;
    for (at, path, name) in [
        (CWD, c"link", "a link"),
        (CWD, c"../x", "above"),
        (CWD, c"/", "the root"),
        (CWD, c"/proc/self/fd/1", "a magic link"),
        (proc, c"self/cwd", "the working folder"),
        (proc, c"self/cwd/file", "below the working folder"),
        (proc, c"self/root", "the root by a magic link"),
        (proc, c"thread-self/comm", "the thread itself"),
        (proc, c"self/fd/0", "a descriptor"),
        (proc, c"self/fd/+0", "a number with a sign"),
        (proc, c"self/fd/00", "a number with a zero"),
        (proc, c"self/task/+1", "a thread with a sign"),
    ] {
        for resolve in [0u64, 1, 2, 4, 8, 16] {
            let how = [0o10_000_000, 0, resolve];
            shown(
                &format!("openat2, {name}, resolve {resolve}"),
                OPENAT2,
                &[at, path.as_ptr() as u64, how.as_ptr() as u64, 24],
            );
        }
    }
    // SAFETY: opened above.
    unsafe { syscall(CLOSE, [proc, 0, 0, 0, 0, 0]) };
}

/// Where results are to go, and how much room there is.
fn buffers() {
    let buffer = [0u8; 512];
    let (to, file, link) = (buffer.as_ptr() as u64, c"file".as_ptr() as u64, c"link".as_ptr() as u64);
    for (words, at) in [("nowhere", 0), ("unmapped", UNMAPPED), ("in the kernel's half", KERNEL_HALF)] {
        show(&format!("stat to {words}"), STAT, &[file, at]);
        show(&format!("statfs to {words}"), STATFS, &[file, at]);
        show(&format!("statx to {words}"), STATX, &[CWD, file, 0, 0x7ff, at]);
        show(&format!("readlink to {words}"), READLINK, &[link, at, 10]);
        show(&format!("utimensat from {words}"), UTIMENSAT, &[CWD, file, at.max(8), 0]);
        show(&format!("getcwd to {words}"), GETCWD, &[at, 100]);
    }
    for size in [0, 1, 4, 100, 1 << 31, MAX] {
        show(&format!("readlink, size {size}"), READLINK, &[link, to, size]);
    }
    show("readlink of no link", READLINK, &[file, to, 10]);
    show_outcome("umask", 95, &[0o22]);
}
