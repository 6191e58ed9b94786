//! QEMU's firmware configuration device (`docs/specs/fw_cfg.rst`): named files that the host hands to the machine.

use crate::arch::current::port;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const KEY_SIGNATURE: u16 = 0;
const KEY_DIRECTORY: u16 = 0x19;
/// Most directory entries that are looked through.
const MAX_FILES: u32 = 1024;

fn select(key: u16) {
    // SAFETY: the device only changes what its data port reads next.
    unsafe { port::outw(SELECTOR, key) };
}

fn read<const N: usize>() -> [u8; N] {
    // SAFETY: reading the data port moves the device's own position and nothing else.
    core::array::from_fn(|_| unsafe { port::inb(DATA) })
}

/// Reads the first `N` octets of a file. `None`: no such device, no such file, or a shorter one.
///
/// Each octet is an exit; meant for a few of them at boot.
pub fn read_file<const N: usize>(name: &str) -> Option<[u8; N]> {
    select(KEY_SIGNATURE);
    if read() != *b"QEMU" {
        return None;
    }
    select(KEY_DIRECTORY);
    let count = u32::from_be_bytes(read()).min(MAX_FILES);
    let mut found = None;
    for _ in 0..count {
        // struct FWCfgFile: size, key, reserved, name; numbers big-endian.
        let size = u32::from_be_bytes(read());
        let key = u16::from_be_bytes(read());
        let _reserved: [u8; 2] = read();
        let file_name: [u8; 56] = read();
        let is_it = file_name.starts_with(name.as_bytes()) && file_name.get(name.len()) == Some(&0);
        if is_it && size as usize >= N {
            found = Some(key);
            break;
        }
    }
    select(found?);
    Some(read())
}
