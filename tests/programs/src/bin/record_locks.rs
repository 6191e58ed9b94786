//! Locks of parts of files (fcntl(2)): the process' own, those of descriptions, and how they meet. Works in a file below /tmp.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;

use libc::{F_OFD_SETLK, F_RDLCK, F_SETLK, F_UNLCK, F_WRLCK, c_int, c_short, flock};

fn main() -> Result<()> {
    let path = std::env::temp_dir().join(format!("includeos-locks-{}", std::process::id()));
    let result = all(&path);
    std::fs::remove_file(&path)?;
    result
}

fn all(path: &Path) -> Result<()> {
    let [first, second] = [open(path)?, open(path)?];
    println!("the process locks: {:?}", set(&first, F_SETLK, F_WRLCK, 0, 10));
    println!("it is not in its own way: {:?}", set(&second, F_SETLK, F_WRLCK, 5, 10));
    println!("nor does it see its own: {:?}", get(&second, libc::F_GETLK, 0, 0));
    println!("but in that of a description: {:?}", set(&second, F_OFD_SETLK, F_RDLCK, 9, 1));
    println!("which sees all of it: {:?}", get(&second, libc::F_OFD_GETLK, 0, 0));
    println!("the same: {:?}", get(&first, libc::F_OFD_GETLK, 12, 1));
    println!("some is given up: {:?}", set(&first, F_SETLK, F_UNLCK, 5, 5));
    println!("there is room: {:?}", set(&second, F_OFD_SETLK, F_WRLCK, 6, 2));
    println!("which is taken: {:?}", set(&first, F_SETLK, F_RDLCK, 7, 100));
    println!("and seen: {:?}", get(&first, libc::F_GETLK, 0, 0));
    println!("shared with all: {:?}", set(&first, F_SETLK, F_RDLCK, 20, 5));
    println!("also with a description: {:?}", set(&second, F_OFD_SETLK, F_RDLCK, 20, 5));
    drop(open(path)?);
    println!("a descriptor was closed, the process has none: {:?}", get(&second, libc::F_OFD_GETLK, 0, 0));
    println!("the description has its own: {:?}", get(&first, libc::F_OFD_GETLK, 0, 0));
    drop(second);
    println!("it was closed: {:?}", get(&first, libc::F_OFD_GETLK, 0, 0));
    many(&first, &open(path)?)
}

/// Locks of each second octet, far more than anybody looks through one by one.
fn many(first: &File, second: &File) -> Result<()> {
    const PIECES: i64 = 20_000;
    for at in 0..PIECES {
        set(first, F_OFD_SETLK, F_WRLCK, 2 * at, 1)?;
    }
    println!("between them: {:?}", set(second, F_OFD_SETLK, F_WRLCK, PIECES - 1, 1));
    println!("on one: {:?}", set(second, F_OFD_SETLK, F_WRLCK, PIECES, 1));
    println!("seen: {:?}", get(second, libc::F_OFD_GETLK, PIECES, 3));
    println!("given up: {:?}", set(first, F_OFD_SETLK, F_UNLCK, 0, 0));
    println!("none: {:?}", get(second, libc::F_OFD_GETLK, 0, 0));
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn request(kind: c_int, start: i64, len: i64) -> flock {
    flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn set(file: &File, operation: c_int, kind: c_int, start: i64, len: i64) -> Result<()> {
    // SAFETY: the structure is alive for the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), operation, &request(kind, start, len)) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error().kind().into()),
    }
}

/// What is in the way of an exclusive lock: kind, start, length, whose it is.
fn get(
    file: &File,
    operation: c_int,
    start: i64,
    len: i64,
) -> Result<Option<(&'static str, i64, i64, &'static str)>> {
    let mut found = request(F_WRLCK, start, len);
    // SAFETY: the structure is alive for the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), operation, &mut found) } != 0 {
        return Err(Error::last_os_error());
    }
    let kind = match c_int::from(found.l_type) {
        F_UNLCK => return Ok(None),
        F_RDLCK => "shared",
        _ => "exclusive",
    };
    let owner = match found.l_pid {
        -1 => "a description",
        pid if pid == std::process::id() as i32 => "the process",
        _ => "another process",
    };
    Ok(Some((kind, found.l_start, found.l_len, owner)))
}
