//! /proc/self/maps (proc_pid_maps(5)): what is mapped where.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use kernel::mm::{self, MappedArea, STACK_TOP, image};

use crate::files::mapping::Mapped;

/// The text. Each area is told as it is when it is its turn.
pub fn maps() -> Vec<u8> {
    let mut text = String::new();
    let mut at = 0;
    while let Some(area) = mm::area_at_or_above(at) {
        at = area.range.end;
        // A string takes all.
        let _ = line(&mut text, &area);
    }
    text.into_bytes()
}

fn line(to: &mut String, area: &MappedArea) -> fmt::Result {
    /// Where names begin.
    const NAME_COLUMN: usize = 73;
    let start = to.len();
    let may = |may: bool, letter: char| if may { letter } else { '-' };
    let (protection, range) = (area.protection, &area.range);
    let shared = area.file.as_ref().is_some_and(|file| file.shared);
    write!(to, "{:08x}-{:08x} ", range.start, range.end)?;
    to.push(may(protection.read, 'r'));
    to.push(may(protection.write, 'w'));
    to.push(may(protection.execute, 'x'));
    to.push(if shared { 's' } else { 'p' });
    let mapped =
        area.file.as_ref().and_then(|file| Some((file, file.file.as_any().downcast_ref::<Mapped>()?)));
    let (offset, device, ino) = match &mapped {
        Some((backing, mapped)) => (backing.first << 12, mapped.node().block().device, mapped.node().ino()),
        None if area.is_image => (image::file_offset(range.start), 0, 0),
        None => (0, 0, 0),
    };
    write!(to, " {offset:08x} {:02x}:{:02x} {ino} ", device >> 8, device & 0xff)?;
    let name = match mapped {
        Some((_, mapped)) => mapped.path(),
        None if area.is_image => super::executable(),
        None if mm::heap().contains(&range.start) => b"[heap]".to_vec(),
        None if range.end == STACK_TOP => b"[stack]".to_vec(),
        None => Vec::new(),
    };
    if !name.is_empty() {
        while to.len() - start < NAME_COLUMN {
            to.push(' ');
        }
        to.push_str(&escaped(&name));
    }
    to.push('\n');
    Ok(())
}

/// A path with its line breaks as `\012`.
fn escaped(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\n', "\\012")
}
