//! `fs/vfs`, as far as a tree of files has it: one tree of several file systems, and what is below a directory that was looked up once.
//!
//! IncludeOS mounts objects of the program under names, too, each with its type. That is not what a Unix tree is.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Result};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub fn cases() {
    println!("# fs/vfs");
    paths();
    below_a_directory().expect("the files are there");
    file_systems().expect("they are there");
}

fn paths() {
    let path = Path::new("/usr/local/bin");
    println!("{path:?} {:?}", path.iter().collect::<Vec<_>>());
    println!("{:?} {:?}", path.parent(), path.strip_prefix("/usr").ok());
}

/// Two directories of the tree, held by descriptors: the same path below each is another file.
fn below_a_directory() -> Result<()> {
    for user in ["users/alfred/etc", "users/ingve/etc"] {
        let etc = File::open(user)?;
        let mut text = String::new();
        open_at(&etc, c"ip4/config.txt")?.read_to_string(&mut text)?;
        println!("{user}: {text:?} {}", text == fs::read_to_string(format!("{user}/ip4/config.txt"))?);
        println!(
            "nothing there: {:?}",
            open_at(&etc, c"ip6/config.txt").map(drop).map_err(|error| error.kind())
        );
    }
    Ok(())
}

fn open_at(directory: &File, path: &CStr) -> Result<File> {
    // SAFETY: a string with its end; a descriptor that is returned is nobody else's.
    unsafe {
        match libc::openat(directory.as_raw_fd(), path.as_ptr(), libc::O_RDONLY) {
            -1 => Err(std::io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// What is mounted is in the tree by its path, is another file system, and cannot be removed.
fn file_systems() -> Result<()> {
    let here = fs::metadata(".")?.dev();
    for mounted in ["/proc", "/dev", "/dev/shm"] {
        println!("{mounted} is another file system: {}", fs::metadata(mounted)?.dev() != here);
    }
    println!("and not to be removed: {:?}", fs::remove_dir("/proc").is_err());
    println!(
        "a directory above a mounted one is found: {}",
        fs::metadata("/proc/..")?.ino() == fs::metadata("/")?.ino()
    );
    println!(
        "link to another: {:?}",
        fs::hard_link("file1", "/dev/shm/includeos-file1").map_err(|error| error.kind())
    );
    Ok(())
}
