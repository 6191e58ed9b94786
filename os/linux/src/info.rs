//! What programs ask about the system.

use kernel::{random, uaccess};

use crate::errno::{EINVAL, EIO, Result};
use crate::table::name_once;

/// The release is the Linux whose calls are the measure: libc refuses to start on what it takes for too old.
pub(crate) const RELEASE: &str = "6.1.0-includeos";
/// The machine's name.
pub(crate) const NODE_NAME: &str = "includeos";

/// uname(2).
pub fn uname(buf: u64) -> Result {
    let fields =
        ["Linux", NODE_NAME, RELEASE, concat!("IncludeOS ", env!("CARGO_PKG_VERSION")), "x86_64", ""];
    let mut utsname = [[0; 65]; 6];
    for (field, text) in utsname.iter_mut().zip(fields) {
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
    uaccess::write(buf, utsname)?;
    Ok(0)
}

/// sysinfo(2).
pub fn sysinfo(info: u64) -> Result {
    use kernel::arch::current::paging::PAGE_SIZE;
    // struct sysinfo: uptime, loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap (u64 each),
    // procs (u16) and padding, totalhigh, freehigh, mem_unit (u32).
    let free = kernel::mm::frames::free_count() * PAGE_SIZE;
    let mut words = [0u64; 14];
    words[0] = kernel::time::now_ns() / 1_000_000_000;
    words[4] = free + kernel::mm::usage().resident;
    words[5] = free;
    words[10] = kernel::sched::count() as u64;
    words[13] = 1;
    uaccess::write(info, words)?;
    Ok(0)
}

/// getrandom(2).
pub fn getrandom(buf: u64, len: usize, flags: u32) -> Result {
    const MAX: usize = 0x7fff_ffff;
    // GRND_NONBLOCK, GRND_RANDOM, GRND_INSECURE; the last two exclude each other.
    if flags & !7 != 0 || flags & 6 == 6 {
        return Err(EINVAL);
    }
    uaccess::check_range(buf, len as u64)?;
    let len = len.min(MAX);
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let part = &mut chunk[..(len - done).min(256)];
        if random::fill(part).is_err() {
            name_once(
                318,
                format_args!("getrandom: the machine has no source of randomness (no RDRAND, no RDSEED)"),
            );
            return Err(EIO);
        }
        if let Err(fault) = uaccess::write_bytes(buf.wrapping_add(done as u64), part) {
            return if done > 0 { Ok(done as u64) } else { Err(fault.into()) };
        }
        done += part.len();
        // A signal ends what is long, after 256 octets (getrandom(2)).
        if kernel::sched::breathe() {
            break;
        }
    }
    Ok(done as u64)
}
