//! [`Pacer`]: when the next segment may leave, so that a window is spread over a round trip and does not stand in one
//! queue (RFC 9002 § 7.7 has the reasons).

use core::time::Duration;

use crate::Instant;

/// Least and most octets of a burst: what leaves at once saves timers.
const MIN_BURST_SEGMENTS: u32 = 2;
const MAX_BURST: u64 = 64 * 1024;
/// How much time's worth of octets a burst is between these.
const BURST_TIME_NS: u64 = 1_000_000;

/// A token bucket in terms of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacer {
    /// When the segments that have left would all have left at the exact rate.
    pub(crate) next: Instant,
}

impl Pacer {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// Whether a segment may leave; if not, when.
    pub(crate) fn release(&self, now: Instant) -> Result<(), Instant> {
        if self.next <= now { Ok(()) } else { Err(self.next) }
    }

    /// A segment of `len` octets leaves at `rate` octets a second. After a pause a burst of about a millisecond's worth
    /// may follow it.
    pub(crate) fn on_send(&mut self, now: Instant, len: u32, mss: u32, rate: u64) {
        let rate = rate.max(1);
        let burst = burst(rate, mss);
        let slack = if rate >= 1000 * burst { BURST_TIME_NS } else { time(burst - u64::from(mss), rate) };
        let earliest = now.before(Duration::from_nanos(slack));
        self.next = self.next.max(earliest) + Duration::from_nanos(time(len.into(), rate));
    }
}

/// Octets that may leave at once.
pub(crate) fn burst(rate: u64, mss: u32) -> u64 {
    // The segments of a loopback are longer than the bound.
    (rate / 1000).min(MAX_BURST).max(u64::from(mss) * u64::from(MIN_BURST_SEGMENTS))
}

/// Nanoseconds that `octets` take.
fn time(octets: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(octets) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX)
}

/// The rate for a window that is to be spread over a round trip, as Linux has it: twice the window in slow start, so
/// that it can double, and 1.2 times later, so that the window is what limits. `None`: no round trip is known, or it
/// takes no time.
pub(crate) fn fair_rate(cwnd: u32, srtt: Option<Duration>, is_slow_start: bool) -> Option<u64> {
    let nanos = srtt?.as_nanos();
    let percent = if is_slow_start { 200 } else { 120 };
    let rate = (u128::from(cwnd) * percent * 10_000_000).checked_div(nanos)?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_by_one() {
        // 1 MB/s: a segment of 1000 octets each millisecond, two at once after a pause.
        let mut pacer = Pacer::new(Instant(0));
        let mut left = std::vec::Vec::new();
        let mut now = Instant::from_millis(100);
        while left.len() < 5 {
            match pacer.release(now) {
                Ok(()) => {
                    pacer.on_send(now, 1000, 1000, 1_000_000);
                    left.push(now.as_millis());
                }
                Err(at) => now = at,
            }
        }
        assert_eq!(left, [100, 100, 101, 102, 103]);
    }

    #[test]
    fn fast_paths_get_a_millisecond_at_once() {
        let mut pacer = Pacer::new(Instant(0));
        let now = Instant::from_millis(100);
        let mut burst = 0;
        while pacer.release(now).is_ok() {
            pacer.on_send(now, 1000, 1000, 20_000_000);
            burst += 1;
        }
        assert_eq!(burst, 21);
    }

    #[test]
    fn rates() {
        let rtt = Some(Duration::from_millis(100));
        assert_eq!(fair_rate(10_000, rtt, false), Some(120_000));
        assert_eq!(fair_rate(10_000, rtt, true), Some(200_000));
        assert_eq!(fair_rate(10_000, None, true), None);
        assert_eq!(fair_rate(10_000, Some(Duration::ZERO), true), None);
    }
}
