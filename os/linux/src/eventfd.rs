//! eventfd(2): a counter that can be waited for.

use alloc::sync::Arc;

use sync::SpinLock;

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, EINVAL, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::readiness::{Readiness, events};

const EFD_SEMAPHORE: i32 = 1;

struct EventFd {
    count: SpinLock<u64>,
    semaphore: bool,
    readiness: Readiness,
    inode: u64,
}

/// eventfd2(2).
pub fn eventfd2(initial: u32, flags: i32) -> Result {
    if flags & !(EFD_SEMAPHORE | O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(EINVAL);
    }
    let file = EventFd {
        count: SpinLock::new(u64::from(initial)),
        semaphore: flags & EFD_SEMAPHORE != 0,
        readiness: Readiness::new(),
        inode: fd::next_inode(),
    };
    let description = Description::new(Arc::new(file), flags & O_NONBLOCK != 0);
    fd::install(description, flags & O_CLOEXEC != 0, 0)
}

/// eventfd(2).
pub fn eventfd(initial: u32) -> Result {
    eventfd2(initial, 0)
}

impl EventFd {
    fn take(&self) -> core::result::Result<u64, Errno> {
        let mut count = self.count.lock();
        let taken = match (*count, self.semaphore) {
            (0, _) => return Err(EAGAIN),
            (_, true) => 1,
            (all, false) => all,
        };
        *count -= taken;
        Ok(taken)
    }

    fn add(&self, more: u64) -> core::result::Result<(), Errno> {
        let mut count = self.count.lock();
        // The largest value that can be stored is one less than the largest number.
        let sum = count.checked_add(more).filter(|&sum| sum < u64::MAX).ok_or(EAGAIN)?;
        *count = sum;
        Ok(())
    }
}

impl File for EventFd {
    /// It has no offset, and no objection.
    fn seek(&self, _offset: i64, _whence: i32) -> Result {
        Ok(0)
    }

    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> core::result::Result<usize, Errno> {
        if to.len() < 8 {
            return Err(EINVAL);
        }
        let taken = self.readiness.block_on(events::IN, nonblocking, None, || self.take())?;
        self.readiness.notify(events::OUT | events::WRNORM);
        to.write(&taken.to_le_bytes())
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> core::result::Result<usize, Errno> {
        let mut octets = [0; 8];
        if from.len() < 8 || from.read(&mut octets)? < 8 {
            return Err(EINVAL);
        }
        let more = u64::from_le_bytes(octets);
        if more == u64::MAX {
            return Err(EINVAL);
        }
        self.readiness.block_on(events::OUT, nonblocking, None, || self.add(more))?;
        // Also by 0: who waits for edges counts writes.
        self.readiness.notify(events::IN | events::RDNORM);
        Ok(8)
    }

    fn events(&self) -> u32 {
        let count = *self.count.lock();
        let readable = if count > 0 { events::IN | events::RDNORM } else { 0 };
        let writable = if count < u64::MAX - 1 { events::OUT | events::WRNORM } else { 0 };
        readable | writable
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, inode: self.inode, size: 0, device: 0 }
    }
}
