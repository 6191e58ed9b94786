//! [`MinRtt`]: the least round-trip time of late, which is the path without queues.

use core::time::Duration;

use crate::Instant;

/// A least value holds for one to two of these: paths change.
const HALF_WINDOW: Duration = Duration::from_secs(150);

/// The minimum over a sliding window, in two halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinRtt {
    /// The minimum of the half window before, and of this one with its beginning.
    pub(crate) before: Option<Duration>,
    pub(crate) current: Option<(Duration, Instant)>,
}

impl MinRtt {
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.current = Some(match self.current {
            None => (rtt, now),
            Some((least, since)) if now.since(since) >= HALF_WINDOW => {
                // After a long silence nothing of before holds.
                self.before = (now.since(since) < HALF_WINDOW * 2).then_some(least);
                (rtt, now)
            }
            Some((least, since)) => (least.min(rtt), since),
        });
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        let current = self.current.map(|(least, _)| least);
        self.before.into_iter().chain(current).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_minima_go() {
        let mut min = MinRtt::default();
        let ms = Duration::from_millis;
        assert_eq!(min.get(), None);
        for (at, rtt, least) in
            [(0, 50, 50), (1, 70, 50), (150, 60, 50), (299, 80, 50), (300, 80, 60), (900, 90, 90)]
        {
            min.sample(Instant(0) + Duration::from_secs(at), ms(rtt));
            assert_eq!(min.get(), Some(ms(least)), "at {at} s");
        }
    }
}
