//! [`Instant`].

use core::ops::{Add, AddAssign};
use core::time::Duration;

/// A moment, in nanoseconds since one that the caller chose. Never steps back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment this many milliseconds after the caller's first.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Whole milliseconds since the caller's first moment.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The moment this long ago, or the caller's first.
    pub(crate) fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The same moment where a clock says `to` that said `from` before: moments of a saved connection are moved when it is
    /// restored. Not before the first moment there is.
    pub(crate) fn moved(self, from: Self, to: Self) -> Self {
        let moved = i128::from(self.0) - i128::from(from.0) + i128::from(to.0);
        Self(moved.clamp(0, u64::MAX.into()) as u64)
    }

    /// Time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}
