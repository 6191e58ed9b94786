//! [`Cubic`] (RFC 9438).

use core::time::Duration;

use super::{Ack, Controller, Lost, MAX_CWND, initial_window, slow_start};
use crate::Instant;

/// The window is a cubic function of the time since the last loss. In whole octets and milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cubic {
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// W_max: the window at the last loss; 0 before the first.
    w_max: u32,
    epoch: Option<Epoch>,
    /// Window, threshold and W_max before the last reduction.
    before: Option<(u32, u32, u32)>,
}

/// A stretch of congestion avoidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Epoch {
    start: Instant,
    /// K: milliseconds until the window is at W_max again.
    k_ms: u64,
    /// W_est: the window that NewReno would have, in 1/1000 octets.
    w_est: u64,
}

impl Cubic {
    pub(super) const fn new(mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        Self { mss, cwnd, ssthresh, w_max: 0, epoch: None, before: None }
    }

    /// The same, with a clock that says `to` where it said `from`.
    pub(super) fn move_clock(&mut self, from: Instant, to: Instant) {
        if let Some(epoch) = &mut self.epoch {
            epoch.start = epoch.start.moved(from, to);
        }
    }

    /// § 4.2: W_cubic(t) = C * (t - K)^3 + W_max, with C = 0.4 segments/s^3.
    fn w_cubic(&self, epoch: &Epoch, elapsed: Duration) -> u64 {
        // An hour is more than enough, and its cube fits.
        let t = elapsed.as_millis().min(3_600_000) as i128 - i128::from(epoch.k_ms);
        // The magnitude: signed 128-bit division would be a library routine that unwinds.
        let offset = (t * t * t).unsigned_abs() * u128::from(self.mss) * 4 / 10_000_000_000;
        let w_max = u128::from(self.w_max);
        let window = if t < 0 { w_max.saturating_sub(offset) } else { w_max + offset };
        window.min(u128::from(MAX_CWND)) as u64
    }

    fn begin_epoch(&mut self, now: Instant) -> Epoch {
        // § 4.2: if the window is above W_max already, the function starts at its plateau.
        self.w_max = self.w_max.max(self.cwnd);
        // K = cbrt((W_max - cwnd_epoch) / C).
        let distance = u64::from(self.w_max - self.cwnd);
        let k_ms = cube_root(distance * 10_000_000_000 / (4 * u64::from(self.mss)));
        Epoch { start: now, k_ms, w_est: u64::from(self.cwnd) * 1000 }
    }

    /// § 4.6, § 4.7: multiplicative decrease by 0.7, with fast convergence.
    fn decrease(&mut self, in_flight: u32) {
        self.before = Some((self.cwnd, self.ssthresh, self.w_max));
        self.w_max = if self.cwnd < self.w_max { (u64::from(self.cwnd) * 17 / 20) as u32 } else { self.cwnd };
        self.ssthresh = ((u64::from(in_flight) * 7 / 10) as u32).max(2 * self.mss);
        self.epoch = None;
    }
}

impl Controller for Cubic {
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
        let mut epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin_epoch(ack.now),
        };
        let cwnd = u64::from(self.cwnd);
        // § 4.3: alpha is 3 * (1 - 0.7) / (1 + 0.7) = 0.529 until the window is where it was, then 1.
        let alpha = if epoch.w_est / 1000 >= u64::from(self.w_max) { 1000 } else { 529 };
        epoch.w_est += alpha * u64::from(ack.delivered) * u64::from(self.mss) / cwnd;
        let elapsed = ack.now.since(epoch.start);
        let w_est = epoch.w_est / 1000;
        let new = if self.w_cubic(&epoch, elapsed) < w_est {
            w_est
        } else {
            // § 4.4, § 4.5: towards where the function will be in a round trip, by no more than a half in one.
            let target =
                self.w_cubic(&epoch, elapsed + ack.srtt.unwrap_or_default()).clamp(cwnd, cwnd * 3 / 2);
            cwnd + (target - cwnd) * u64::from(ack.delivered.min(self.cwnd)) / cwnd
        };
        self.cwnd = new.clamp(cwnd, u64::from(MAX_CWND)) as u32;
        self.epoch = Some(epoch);
    }

    fn on_lost(&mut self, _lost: &Lost) {}

    fn on_congestion(&mut self, _now: Instant, in_flight: u32) {
        self.decrease(in_flight);
        self.cwnd = self.ssthresh;
    }

    fn on_timeout(&mut self, _now: Instant, in_flight: u32) {
        self.decrease(in_flight);
        self.cwnd = self.mss;
    }

    fn on_spurious(&mut self, _now: Instant) {
        // § 4.9.
        if let Some((cwnd, ssthresh, w_max)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
            self.w_max = self.w_max.max(w_max);
            self.epoch = None;
        }
    }

    fn on_idle(&mut self) {
        self.cwnd = self.cwnd.min(initial_window(self.mss));
        // § 4.2: time in which nothing was sent does not count.
        self.epoch = None;
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }
}

/// The largest number whose cube is not above `n`.
fn cube_root(n: u64) -> u64 {
    let mut root = 0_u64;
    for bit in (0..22).rev() {
        let larger = root | 1 << bit;
        if larger.checked_pow(3).is_some_and(|cube| cube <= n) {
            root = larger;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::tests::ack;

    const MSS: u32 = 1000;

    #[test]
    fn cube_roots() {
        for n in 0..2_000 {
            let cube = n * n * n;
            assert_eq!(cube_root(cube), n);
            assert_eq!(cube_root(cube + 3 * n * n), n);
        }
        assert_eq!(cube_root(u64::MAX), 2_642_245);
    }

    /// Runs for a while on a path of 100 ms, a whole window acknowledged in each round trip.
    fn run(cubic: &mut Cubic, from_ms: u64, round_trips: u64) -> std::vec::Vec<u32> {
        (0..round_trips)
            .map(|n| {
                let now = Instant::from_millis(from_ms + n * 100);
                let srtt = Some(Duration::from_millis(100));
                for _ in 0..cubic.cwnd() / MSS {
                    cubic.on_ack(&ack(now, MSS, srtt));
                }
                cubic.cwnd()
            })
            .collect()
    }

    #[test]
    fn concave_to_where_it_was_then_convex() {
        let mut cubic = Cubic::new(MSS, 200 * MSS, 100 * MSS);
        cubic.on_congestion(Instant(0), 200 * MSS);
        assert_eq!(cubic.cwnd(), 140 * MSS);
        // K = cbrt(60 / 0.4) = 5.3 s.
        let windows = run(&mut cubic, 0, 120);
        assert!((185..=200).contains(&(windows[40] / MSS)), "{}", windows[40]);
        assert!((195..=203).contains(&(windows[53] / MSS)), "{}", windows[53]);
        assert!(windows[119] > 300 * MSS, "{}", windows[119]);
        let growth = |n: usize| windows[n + 5] - windows[n];
        assert!(growth(5) > growth(45) && growth(100) > growth(60));
    }

    #[test]
    fn as_fast_as_newreno_where_that_is_faster() {
        // § 4.3: on a short path the cubic function is slower than a segment for each window.
        let mut cubic = Cubic::new(MSS, 10 * MSS, 5 * MSS);
        cubic.on_congestion(Instant(0), 10 * MSS);
        for n in 0..20_000_u64 {
            let srtt = Some(Duration::from_millis(1));
            cubic.on_ack(&ack(Instant(n * 100_000), MSS, srtt));
        }
        assert!(cubic.cwnd() > 100 * MSS, "{}", cubic.cwnd());
    }

    #[test]
    fn fast_convergence_gives_way() {
        let mut cubic = Cubic::new(MSS, 100 * MSS, 50 * MSS);
        cubic.on_congestion(Instant(0), 100 * MSS);
        assert_eq!(cubic.w_max, 100 * MSS);
        cubic.on_congestion(Instant(0), 70 * MSS);
        assert_eq!(cubic.w_max, 70 * MSS * 17 / 20);
    }
}
