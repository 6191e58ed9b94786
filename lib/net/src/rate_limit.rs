//! [`TokenBucket`]: so many of something in a time, and a few at once.

use core::time::Duration;

use crate::Instant;

/// A bucket that holds up to `burst` tokens and gets a new one each `interval`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    interval: Duration,
    burst: u32,
    tokens: u32,
    /// When the last token came.
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket. `interval` is not zero.
    pub(crate) const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, tokens: burst, filled: Instant(0) }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let interval = self.interval.as_nanos().max(1);
        let new = now.since(self.filled).as_nanos() / interval;
        if new >= u128::from(self.burst - self.tokens) {
            self.tokens = self.burst;
            self.filled = now;
        } else {
            self.tokens += new as u32;
            self.filled += self.interval * new as u32;
        }
        let taken = self.tokens > 0;
        self.tokens -= u32::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(Duration::from_millis(10), 5);
        let mut count =
            |from: u64, to: u64| (from..to).filter(|ms| bucket.take(Instant::from_millis(*ms))).count();
        assert_eq!(count(1000, 1005), 5);
        assert_eq!(count(1005, 1105), 10);
        assert_eq!(count(1105, 1205), 10);
        assert_eq!(count(5000, 5005), 5, "no more than a burst is saved up");
    }
}
