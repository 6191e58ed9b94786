//! Calls on files in an image that holds none: there is no path but the root, and descriptors stand for other objects.
//!
//! libc and std look for a few files on their own (/etc/localtime, /proc/self/maps, the program's own file for a backtrace) and do
//! without where these are missing. A program that makes files, and of which the tool did not see that, is told the remedy.

use abi::service::Service;
use kernel::arch::current::vectors::TrapFrame;
use kernel::uaccess;

use super::{AT_EMPTY_PATH, read_path, stat};
use crate::errno::{EINVAL, ENOENT, ENOTDIR, ERANGE, ESPIPE, Result};
use crate::{fd, service, start, table};

/// What readlink(2) of the program's own file starts with, if that has no absolute path.
const ROOT: &[u8] = b"/";

/// Carries out a call that is [`Service::Files`]'.
pub fn call(frame: &TrapFrame) -> Result {
    const FSTAT: u64 = 5;
    const NEWFSTATAT: u64 = 262;
    const STATX: u64 = 332;
    const GETCWD: u64 = 79;
    const READLINK: u64 = 89;
    const READLINKAT: u64 = 267;
    const OPEN: u64 = 2;
    const OPENAT: u64 = 257;
    let number = table::number_of(frame);
    let [first, second, third, fourth] = [frame.rdi, frame.rsi, frame.rdx, frame.r10];
    match number {
        FSTAT => stat::write_stat(second, &stat::of_object(&*fd::get(first as i32)?)),
        NEWFSTATAT if is_descriptor(second, fourth as i32)? => {
            stat::write_stat(third, &stat::of_object(&*fd::get(first as i32)?))
        }
        STATX if is_descriptor(second, third as i32)? => {
            stat::write_statx(frame.r8, &stat::of_object(&*fd::get(first as i32)?))
        }
        GETCWD if second < 2 => Err(ERANGE),
        GETCWD => {
            uaccess::write_bytes(first, b"/\0")?;
            Ok(2)
        }
        READLINK => readlink(first, second, third as i32),
        READLINKAT => readlink(second, third, fourth as i32),
        OPEN => open(first, second as i32),
        OPENAT => open(second, third as i32),
        // stat, lstat, access, statfs, and those of the calls above that name a path; faccessat, faccessat2.
        4 | 6 | 21 | 137 | NEWFSTATAT | STATX | 269 | 439 => {
            missing(if number < 256 { first } else { second })
        }
        // pread64, pwrite64, preadv, pwritev, preadv2, pwritev2, fadvise64.
        17 | 18 | 221 | 295 | 296 | 327 | 328 => fd::get(first as i32).and(Err(ESPIPE)),
        // fsync, fdatasync, ftruncate, syncfs.
        74 | 75 | 77 | 306 => fd::get(first as i32).and(Err(EINVAL)),
        // fchdir, getdents64.
        81 | 217 => fd::get(first as i32).and(Err(ENOTDIR)),
        _ => service::absent(Service::Files),
    }
}

/// Whether a call is about the descriptor itself.
fn is_descriptor(path: u64, flags: i32) -> super::Outcome<bool> {
    Ok(flags & AT_EMPTY_PATH != 0 && read_path(path)?.is_empty())
}

/// There is no such file, whatever its name is.
fn missing(path: u64) -> Result {
    read_path(path)?;
    Err(ENOENT)
}

fn open(path: u64, flags: i32) -> Result {
    const O_CREAT: i32 = 0o100;
    if flags & O_CREAT == 0 { missing(path) } else { service::absent(Service::Files) }
}

/// The program's own file has a name, though it is nowhere.
fn readlink(path: u64, to: u64, size: i32) -> Result {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(EINVAL)?;
    if read_path(path)? != b"/proc/self/exe" {
        return Err(ENOENT);
    }
    let name = start::name().as_bytes();
    let root: &[u8] = if name.starts_with(ROOT) { b"" } else { ROOT };
    let octets = root.iter().chain(name).take(size);
    let mut len = 0;
    for octet in octets {
        uaccess::write(to + len, *octet)?;
        len += 1;
    }
    Ok(len)
}
