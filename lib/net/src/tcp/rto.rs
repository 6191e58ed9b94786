//! [`Rto`]: the retransmission timeout (RFC 6298).

use core::time::Duration;

/// Before the first sample (RFC 6298 § 2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// Where the timer of a SYN expired (RFC 6298 § 5.7).
const INITIAL_AFTER_LOSS: Duration = Duration::from_secs(3);
/// RFC 6298 § 2.4 says one second; that was for coarse clocks. Linux has used 200 ms since 2003.
const MIN: Duration = Duration::from_millis(200);
/// RFC 6298 § 2.5 wants at least 60 s.
const MAX: Duration = Duration::from_secs(60);
/// Tick of the timestamp clock: the G of § 2.
const GRANULARITY: Duration = Duration::from_millis(1);

/// Round-trip time estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rto {
    /// SRTT and RTTVAR; `None` before the first sample.
    estimate: Option<(Duration, Duration)>,
    /// The timeout before the first sample.
    initial: Duration,
    /// How often the timeout was doubled.
    backoff: u32,
}

impl Rto {
    /// No sample yet.
    pub const fn new() -> Self {
        Self { estimate: None, initial: INITIAL, backoff: 0 }
    }

    /// The smoothed round-trip time.
    pub fn srtt(&self) -> Option<Duration> {
        self.estimate.map(|(srtt, _)| srtt)
    }

    /// SRTT and RTTVAR, if anything was measured.
    pub(crate) fn estimate(&self) -> Option<(Duration, Duration)> {
        self.estimate
    }

    /// How often the timeout was doubled.
    pub(crate) fn backoff(&self) -> u32 {
        self.backoff
    }

    /// The timeout, within 200 ms to 60 s. 1 s before the first sample; doubled by each expiry (§ 5.5) until the next
    /// acknowledgment of new data.
    pub fn timeout(&self) -> Duration {
        let base = match self.estimate {
            None => self.initial,
            Some((srtt, rttvar)) => (srtt + (rttvar * 4).max(GRANULARITY)).max(MIN),
        };
        base.saturating_mul(1 << self.backoff.min(16)).min(MAX)
    }

    /// Takes a measured round-trip time (§ 2.2, § 2.3). `samples_per_rtt`: how many to expect in a round trip, at
    /// least 1; where there are many, each counts less (RFC 7323 appendix G).
    pub fn sample(&mut self, rtt: Duration, samples_per_rtt: u32) {
        let samples = samples_per_rtt.clamp(1, 1 << 16);
        self.estimate = Some(match self.estimate {
            None => (rtt, rtt / 2),
            Some((srtt, rttvar)) => {
                let deviation = srtt.abs_diff(rtt);
                let (alpha, beta) = (8 * samples, 4 * samples);
                (srtt - srtt / alpha + rtt / alpha, rttvar - rttvar / beta + deviation / beta)
            }
        });
    }

    /// The handshake is over; the timer expired in it (§ 5.7).
    pub fn begin_after_loss(&mut self) {
        self.initial = INITIAL_AFTER_LOSS;
    }

    /// The timer expired (§ 5.5).
    pub fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// New data was acknowledged: the doubling ends.
    pub fn reset_backoff(&mut self) {
        self.backoff = 0;
    }
}

impl Default for Rto {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn first_sample() {
        // § 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR.
        let mut rto = Rto::new();
        assert_eq!(rto.timeout(), ms(1000));
        rto.sample(ms(100), 1);
        assert_eq!((rto.srtt(), rto.timeout()), (Some(ms(100)), ms(300)));
    }

    #[test]
    fn later_samples() {
        // § 2.3: RTTVAR = 3/4 * 50 + 1/4 * |100 - 180| = 57.5, SRTT = 7/8 * 100 + 1/8 * 180 = 110.
        let mut rto = Rto::new();
        rto.sample(ms(100), 1);
        rto.sample(ms(180), 1);
        assert_eq!((rto.srtt(), rto.timeout()), (Some(ms(110)), ms(340)));
    }

    #[test]
    fn a_steady_path_has_the_least_timeout() {
        let mut rto = Rto::new();
        for _ in 0..100 {
            rto.sample(ms(5), 1);
        }
        assert_eq!(rto.timeout(), ms(200));
    }

    #[test]
    fn doubles_up_to_a_minute() {
        let mut rto = Rto::new();
        let timeouts: std::vec::Vec<_> = (0..8)
            .map(|_| {
                rto.back_off();
                rto.timeout().as_secs()
            })
            .collect();
        assert_eq!(timeouts, [2, 4, 8, 16, 32, 60, 60, 60]);
        rto.reset_backoff();
        assert_eq!(rto.timeout(), ms(1000));
    }
}
