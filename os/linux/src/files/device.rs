//! Devices: what is behind /dev/null and its kin.

use alloc::sync::Arc;
use core::any::Any;

use kernel::random;

use super::open::KEPT;
use super::opened::Place;
use super::table_dir::{Row, What};
use super::{Node, Outcome, mount, pages};
use crate::buffers::UserBuffers;
use crate::console;
use crate::errno::{EIO, ENOSPC, ENXIO, Result};
use crate::fd::{Description, File, Stat};
use crate::file::ALWAYS_READY;
use crate::pace::Pace;
use crate::pipe::{self, PipeEnd};
use crate::readiness::Readiness;

/// /dev.
pub const ROWS: &[Row] = &[
    Row("null", What::Device(1, 3)),
    Row("zero", What::Device(1, 5)),
    Row("full", What::Device(1, 7)),
    Row("random", What::Device(1, 8)),
    Row("urandom", What::Device(1, 9)),
    Row("tty", What::Device(5, 0)),
    Row("console", What::Device(5, 1)),
    Row("fd", What::Link("/proc/self/fd")),
    Row("stdin", What::Link("/proc/self/fd/0")),
    Row("stdout", What::Link("/proc/self/fd/1")),
    Row("stderr", What::Link("/proc/self/fd/2")),
    Row("shm", What::Root(mount::shm)),
];

/// Opens a device by its number.
///
/// # Errors
/// `ENXIO`: there is none.
pub fn open(number: u64, node: Arc<Node>, place: Place, flags: i32) -> Outcome<Arc<dyn File>> {
    let kind = match (number >> 8, number & 0xff) {
        (1, 3) => Kind::Null,
        (1, 5) => Kind::Zero,
        (1, 7) => Kind::Full,
        (1, 8 | 9) => Kind::Random,
        (5, 0 | 1) => return Ok(console::open()),
        _ => return Err(ENXIO),
    };
    Ok(Arc::new(Device { kind, node, place, flags: flags & KEPT }))
}

/// An open object, for nodes that lead to it (/proc/self/fd).
pub struct Object(pub Arc<dyn File>);

/// Opens an object anew, by its node.
///
/// # Errors
/// `ENXIO`: it cannot be opened by a name, as sockets on Linux.
pub fn reopen(object: &Arc<dyn Any + Send + Sync>, flags: i32) -> Outcome<Arc<dyn File>> {
    let object = object.downcast_ref::<Object>().ok_or(ENXIO)?;
    let any: &dyn Any = &*object.0;
    match any.downcast_ref::<PipeEnd>() {
        Some(end) => pipe::open(end.pipe().clone(), None, flags),
        None if any.is::<console::Console>() => Ok(console::open()),
        None => Err(ENXIO),
    }
}

/// Whether it is /dev/zero, of which a mapping is anonymous memory.
pub fn is_zero(description: &Description) -> bool {
    description.downcast::<Device>().is_some_and(|device| device.kind == Kind::Zero)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

struct Device {
    kind: Kind,
    node: Arc<Node>,
    place: Place,
    flags: i32,
}

impl Device {
    /// Writes octets to the program; returns how many.
    fn fill(&self, address: u64, len: usize) -> usize {
        if self.kind != Kind::Random {
            return pages::zero_program(address, len);
        }
        let mut chunk = [0; STEP];
        // Whether there is randomness was seen before.
        let _ = random::fill(&mut chunk[..len]);
        kernel::uaccess::write_some(address, &chunk[..len])
    }
}

/// Octets that are made at once.
const STEP: usize = 256;

impl File for Device {
    fn read(&self, to: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        if self.kind == Kind::Null {
            return Ok(0);
        }
        if self.kind == Kind::Random && random::fill(&mut [0; 1]).is_err() {
            return Err(EIO);
        }
        let (mut done, mut pace) = (0, Pace::new());
        while !to.is_empty() {
            // In steps that do not grow with what is asked for.
            match to.transfer(STEP, &mut |address, _, len| self.fill(address, len)) {
                Ok(moved) => {
                    done += moved;
                    if pace.moved(moved) {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write(&self, from: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        if self.kind == Kind::Full {
            return Err(ENOSPC);
        }
        let len = from.len();
        from.advance(len);
        Ok(len)
    }

    fn events(&self) -> u32 {
        ALWAYS_READY
    }

    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    fn seek(&self, _offset: i64, _whence: i32) -> Result {
        Ok(0)
    }

    fn stat(&self) -> Stat {
        Stat::default()
    }

    fn access_mode(&self) -> u32 {
        self.flags as u32
    }

    fn node(&self) -> Option<&Arc<Node>> {
        Some(&self.node)
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }
}
