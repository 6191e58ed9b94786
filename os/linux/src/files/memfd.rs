//! memfd_create(2): a file without a name, in the tmpfs of /dev/shm.

use alloc::sync::Arc;

use kernel::uaccess;
use vfs::{NAME_MAX, namespace};

use super::open::{O_LARGEFILE, O_RDWR};
use super::opened::{OpenFile, Place};
use super::{mount, now, root};
use crate::errno::{EINVAL, ENOENT, Result};
use crate::fd::{self, Description};

/// memfd_create(2). Seals, large pages and `MFD_NOEXEC_SEAL` are refused; nothing can be executed anyway.
pub fn memfd_create(name: u64, flags: u32) -> Result {
    const CLOEXEC: u32 = 1;
    const EXEC: u32 = 0x10;
    const PREFIX: &[u8] = b"memfd:";
    if flags & !(CLOEXEC | EXEC) != 0 {
        return Err(EINVAL);
    }
    // With the zero octet behind it.
    let mut octets = [0; NAME_MAX - PREFIX.len() + 1];
    let len = uaccess::read_cstr(name, &mut octets).map_err(|fault| fault.map_or(EINVAL, Into::into))?;
    let number = fd::reserve(0)?;
    let node = namespace::temporary(&mount::shm().ok_or(ENOENT)?, 0o777, false, now())?;
    let place = Place::new(root(), &[PREFIX, &octets[..len]].concat());
    let file = Arc::new(OpenFile::new(node, place, O_RDWR | O_LARGEFILE));
    Ok(number.install(Description::new(file, false), flags & CLOEXEC != 0))
}
