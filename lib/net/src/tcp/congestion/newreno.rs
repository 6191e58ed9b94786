//! [`NewReno`] (RFC 5681, RFC 6582).

use super::{Ack, Controller, MAX_CWND, initial_window, slow_start};
use crate::Instant;

/// Additive increase, multiplicative decrease.
#[derive(Clone, Copy, Debug)]
pub struct NewReno {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Octets acknowledged since the window grew (RFC 3465 § 2.1).
    acked: u32,
}

impl NewReno {
    pub(super) const fn new(mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        Self { mss, cwnd, ssthresh, acked: 0 }
    }
}

impl Controller for NewReno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: Ack) {
        if self.cwnd < self.ssthresh {
            self.cwnd = slow_start(self.cwnd, self.mss, ack.acked);
            return;
        }
        self.acked = self.acked.saturating_add(ack.acked);
        if self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd = (self.cwnd + self.mss).min(MAX_CWND);
        }
    }

    fn on_loss(&mut self, _now: Instant, in_flight: u32) {
        self.ssthresh = (in_flight / 2).max(2 * self.mss);
        self.cwnd = self.ssthresh;
        self.acked = 0;
    }

    fn on_timeout(&mut self, now: Instant, in_flight: u32) {
        self.on_loss(now, in_flight);
        self.cwnd = self.mss;
    }

    fn on_idle(&mut self) {
        self.cwnd = self.cwnd.min(initial_window(self.mss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn ack(acked: u32) -> Ack {
        Ack { now: Instant(0), acked, srtt: None }
    }

    #[test]
    fn slow_start_counts_octets() {
        // RFC 3465 § 2.3: an acknowledgment of much counts as eight segments; of little, as little.
        let mut reno = NewReno::new(MSS, 10 * MSS, u32::MAX);
        reno.on_ack(ack(9 * MSS));
        assert_eq!(reno.cwnd(), 18 * MSS);
        reno.on_ack(ack(1));
        assert_eq!(reno.cwnd(), 18 * MSS + 1);
    }

    #[test]
    fn a_segment_more_for_each_window() {
        let mut reno = NewReno::new(MSS, 10 * MSS, 10 * MSS);
        for _ in 0..10 {
            assert_eq!(reno.cwnd(), 10 * MSS);
            reno.on_ack(ack(MSS));
        }
        assert_eq!(reno.cwnd(), 11 * MSS);
    }

    #[test]
    fn loss_halves_and_timeout_starts_anew() {
        let mut reno = NewReno::new(MSS, 20 * MSS, u32::MAX);
        reno.on_loss(Instant(0), 20 * MSS);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10 * MSS, 10 * MSS));
        reno.on_timeout(Instant(0), 10 * MSS);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (MSS, 5 * MSS));
        reno.on_timeout(Instant(0), MSS);
        assert_eq!(reno.ssthresh(), 2 * MSS);
    }
}
