//! [`Pace`]: long work in a call lets others run now and then.

use kernel::sched;

/// Octets after which others may run.
const STEP: usize = 64 << 10;

/// Counts octets that a call has moved. For code that holds no spin lock.
#[derive(Default)]
pub struct Pace(usize);

impl Pace {
    /// None yet.
    pub const fn new() -> Self {
        Self(0)
    }

    /// So many more were moved. Lets others run if it is time; returns whether the call should come to an end, for a signal.
    pub fn moved(&mut self, octets: usize) -> bool {
        self.0 += octets;
        if self.0 < STEP {
            return false;
        }
        self.0 = 0;
        sched::breathe()
    }
}
