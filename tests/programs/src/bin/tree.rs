//! What a tree of files in the image is to a program: read as it was packed, and not to be changed. /tmp can be.

use std::fs;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn main() -> Result<()> {
    let mut names: Vec<_> =
        fs::read_dir("/data")?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    println!("{names:?}");
    println!("{:?}", fs::read_to_string("/data/link")?);
    let large = fs::read("/data/large")?;
    println!("{} {}", large.len(), large.iter().enumerate().all(|(at, octet)| *octet == (at % 251) as u8));
    println!("{:o} {}", fs::metadata("/data/text")?.mode(), fs::metadata("/data/text")?.blocks());
    println!("{:?}", fs::read_to_string("/etc/hosts")?);
    let refused = |result: Result<()>| result.map_err(|error: Error| error.raw_os_error());
    println!("{:?}", refused(fs::write("/data/text", "x")));
    println!("{:?}", refused(fs::write("/data/new", "x")));
    println!("{:?}", refused(fs::remove_file("/data/text")));
    println!("{:?}", refused(fs::create_dir("/new")));
    println!("{:?}", refused(fs::rename("/data/text", "/data/other")));
    println!("{:?}", refused(fs::set_permissions("/data/text", fs::Permissions::from_mode(0o400))));
    // SAFETY: a string with its end.
    let made = |kind| unsafe { libc::mknod(c"/data/new".as_ptr(), kind | 0o600, 0) };
    let made = |kind| if made(kind) == 0 { Ok(()) } else { Err(Error::last_os_error()) };
    println!("{:?} {:?}", refused(made(libc::S_IFIFO)), refused(made(libc::S_IFREG)));
    fs::copy("/data/large", "/tmp/copy")?;
    println!("{}", fs::read("/tmp/copy")? == large);
    mapped(&large)
}

/// Pages of the tree are mapped as they are; a private mapping copies what it writes.
fn mapped(large: &[u8]) -> Result<()> {
    let file = fs::File::open("/data/large")?;
    let map = |protection, flags| {
        // SAFETY: a new mapping.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), large.len(), protection, flags, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(address.cast::<u8>()) }
    };
    let shared = map(libc::PROT_READ, libc::MAP_SHARED)?;
    let private = map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)?;
    let refused =
        map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED).map_err(|error| error.raw_os_error());
    // SAFETY: mapped above, as long as this; what is written is written here alone, and the shared mapping shows the tree.
    let (shared, private) = unsafe {
        (
            std::slice::from_raw_parts(shared, large.len()),
            std::slice::from_raw_parts_mut(private, large.len()),
        )
    };
    println!("{} {} {:?}", shared == large, *private == *large, refused.map(drop));
    private[5000..5003].copy_from_slice(b"own");
    println!("{:?} {}", &private[4999..5004], shared == large && fs::read("/data/large")? == large);
    Ok(())
}
