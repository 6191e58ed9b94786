//! [`Turn`]: calls on one object, one after the other.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::sched;

use crate::errno::Errno;
use crate::readiness::{Readiness, events};

/// A lock that is held across what a spin lock is not: while program memory is touched, while others run, while a call waits.
#[derive(Default)]
pub struct Turn {
    taken: AtomicBool,
    given_back: Readiness,
}

/// Gives the turn back when dropped.
pub struct Taken<'a>(&'a Turn);

impl Turn {
    /// Nobody's.
    pub const fn new() -> Self {
        Self { taken: AtomicBool::new(false), given_back: Readiness::new() }
    }

    /// Waits until nobody has it. No signal ends that: whoever has it gives it back.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn take(&self) -> Result<Taken<'_>, Errno> {
        use crate::errno::{EAGAIN, ERESTARTSYS};
        let attempt = || match self.taken.swap(true, Ordering::Acquire) {
            false => Ok(Taken(self)),
            true => Err(EAGAIN),
        };
        loop {
            match self.given_back.block_on(events::OUT, false, None, attempt) {
                // It waits already: others run, so that whoever has it gets on.
                Err(ERESTARTSYS) => sched::yield_now(),
                result => return result,
            }
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        self.0.given_back.notify(events::OUT);
    }
}
