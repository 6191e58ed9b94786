//! [`NewReno`] (RFC 5681, RFC 6582).

use super::{Ack, Controller, Lost, MAX_CWND, initial_window, slow_start};
use crate::Instant;

/// Additive increase, multiplicative decrease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewReno {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Octets acknowledged since the window grew (RFC 3465 § 2.1).
    acked: u32,
    /// Window and threshold before the last reduction.
    before: Option<(u32, u32)>,
}

impl NewReno {
    pub(super) const fn new(mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        Self { mss, cwnd, ssthresh, acked: 0, before: None }
    }

    fn reduce(&mut self, in_flight: u32) {
        self.before = Some((self.cwnd, self.ssthresh));
        self.ssthresh = (in_flight / 2).max(2 * self.mss);
        self.acked = 0;
    }
}

impl Controller for NewReno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    fn is_reduced_proportionally(&self) -> bool {
        true
    }

    fn on_restart(&mut self, _now: Instant, _app_limited: bool) {}

    fn on_ack(&mut self, ack: &Ack) {
        if ack.is_recovering || !ack.is_limited {
            return;
        }
        if self.cwnd < self.ssthresh {
            self.cwnd = slow_start(self.cwnd, self.mss, ack);
            return;
        }
        self.acked = self.acked.saturating_add(ack.delivered);
        if self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd = (self.cwnd + self.mss).min(MAX_CWND);
        }
    }

    fn on_lost(&mut self, _lost: &Lost) {}

    fn on_congestion(&mut self, _now: Instant, in_flight: u32) {
        self.reduce(in_flight);
        self.cwnd = self.ssthresh;
    }

    fn on_timeout(&mut self, _now: Instant, in_flight: u32) {
        self.reduce(in_flight);
        self.cwnd = self.mss;
    }

    fn on_spurious(&mut self, _now: Instant) {
        if let Some((cwnd, ssthresh)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
        }
    }

    fn on_idle(&mut self) {
        self.cwnd = self.cwnd.min(initial_window(self.mss));
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::tests::ack;

    const MSS: u32 = 1000;
    const NOW: Instant = Instant(0);

    #[test]
    fn slow_start_counts_octets() {
        // RFC 3465 § 2.3: an acknowledgment of much counts as eight segments; of little, as little.
        let mut reno = NewReno::new(MSS, 10 * MSS, u32::MAX);
        reno.on_ack(&ack(NOW, 9 * MSS, None));
        assert_eq!(reno.cwnd(), 18 * MSS);
        reno.on_ack(&ack(NOW, 1, None));
        assert_eq!(reno.cwnd(), 18 * MSS + 1);
    }

    #[test]
    fn a_segment_more_for_each_window() {
        let mut reno = NewReno::new(MSS, 10 * MSS, 10 * MSS);
        for _ in 0..10 {
            assert_eq!(reno.cwnd(), 10 * MSS);
            reno.on_ack(&ack(NOW, MSS, None));
        }
        assert_eq!(reno.cwnd(), 11 * MSS);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        // RFC 5681 § 3.1 by way of RFC 7661 § 1: nothing is known of more than was sent.
        let mut reno = NewReno::new(MSS, 10 * MSS, u32::MAX);
        reno.on_ack(&Ack { is_limited: false, ..ack(NOW, MSS, None) });
        reno.on_ack(&Ack { is_recovering: true, ..ack(NOW, MSS, None) });
        assert_eq!(reno.cwnd(), 10 * MSS);
    }

    #[test]
    fn loss_halves_and_timeout_starts_anew() {
        let mut reno = NewReno::new(MSS, 20 * MSS, u32::MAX);
        reno.on_congestion(NOW, 20 * MSS);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10 * MSS, 10 * MSS));
        reno.on_timeout(NOW, 10 * MSS);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (MSS, 5 * MSS));
        reno.on_timeout(NOW, MSS);
        assert_eq!(reno.ssthresh(), 2 * MSS);
    }

    #[test]
    fn what_was_no_loss_is_undone() {
        // RFC 4015 § 3.
        let mut reno = NewReno::new(MSS, 20 * MSS, u32::MAX);
        reno.on_timeout(NOW, 20 * MSS);
        reno.on_spurious(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20 * MSS, u32::MAX));
        reno.on_spurious(NOW);
        assert_eq!(reno.cwnd(), 20 * MSS, "once");
    }
}
