//! The console behind descriptors 0, 1 and 2.

use alloc::sync::Arc;

use kernel::{console, sched, time};

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, ENOMEM, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::readiness::{Readiness, events};
use crate::terminal::{self, ReadWait};

/// Octets that go through the kernel at a step.
const CHUNK: usize = 512;

/// The console.
pub(crate) struct Console;

/// Who waits for it.
static READINESS: Readiness = Readiness::new();

/// Opens descriptors 0, 1 and 2. Called once, before the program starts.
///
/// # Errors
/// `ENOMEM`.
pub fn open_standard() -> Result {
    let console = Description::new(Arc::new(Console), false);
    console::set_listener(|| {
        READINESS.notify(events::IN | events::RDNORM);
    });
    for _ in 0..3 {
        fd::install(console.clone(), false, 0).map_err(|_| ENOMEM)?;
    }
    Ok(0)
}

/// Opens it by a name: /dev/console, /dev/tty.
pub(crate) fn open() -> Arc<dyn File> {
    Arc::new(Console)
}

impl File for Console {
    /// What has arrived, as from a pipe; waits if nothing has.
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> core::result::Result<usize, Errno> {
        let mut chunk = [0; CHUNK];
        let Some((_, len)) = to.front() else { return Ok(0) };
        let len = len.min(CHUNK);
        // Octets that were taken and cannot be delivered would be lost.
        to.prepare(len)?;
        let mut attempt = || console::try_read(&mut chunk[..len]).ok_or(EAGAIN);
        let len = match terminal::read_wait() {
            ReadWait::Octet => READINESS.block_on(events::IN, nonblocking, None, attempt)?,
            ReadWait::AtMost(0) => attempt().unwrap_or(0),
            ReadWait::AtMost(ns) => {
                let deadline = time::now_ns().saturating_add(ns);
                match READINESS.block_on(events::IN, nonblocking, Some(deadline), attempt) {
                    Err(EAGAIN) if !nonblocking => 0,
                    result => result?,
                }
            }
        };
        to.write(&chunk[..len])
    }

    fn write(&self, from: &mut UserBuffers, _nonblocking: bool) -> core::result::Result<usize, Errno> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        while !from.is_empty() {
            let len = match from.read(&mut chunk) {
                Ok(len) => len,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            console::write(&chunk[..len]);
            done += len;
            // A signal ends what is long.
            if sched::breathe() {
                break;
            }
        }
        Ok(done)
    }

    fn events(&self) -> u32 {
        events::OUT | events::WRNORM | if console::readable() { events::IN | events::RDNORM } else { 0 }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&READINESS)
    }

    fn stat(&self) -> Stat {
        const S_IFCHR: u32 = 0o020_000;
        Stat { mode: S_IFCHR | 0o620, inode: 1, size: 0, device: 4 << 8 | 64 } // ttyS0
    }

    fn ioctl(&self, op: u32, arg: u64) -> Result {
        terminal::ioctl(op, arg)
    }
}
