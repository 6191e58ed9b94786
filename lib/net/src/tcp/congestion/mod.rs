//! Congestion control: how much may be in the network at a time, and how fast it may get there.
//!
//! What is in flight and what is lost is the flow's business; a controller is told what happened and answers with a
//! window and perhaps a rate.

mod bbr;
mod cubic;
mod newreno;

use alloc::boxed::Box;
use core::time::Duration;

pub use bbr::Bbr;
pub use cubic::Cubic;
pub use newreno::NewReno;

use crate::Instant;
use crate::tcp::rate::RateSample;

/// What an acknowledgment tells. Sizes are octets.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// What it delivered, cumulatively or selectively, at least 1.
    pub delivered: u32,
    /// What was delivered since the connection began.
    pub total_delivered: u64,
    /// What is in flight after it.
    pub in_flight: u32,
    /// The round-trip time of the newest segment it delivered, if that was sent only once.
    pub rtt: Option<Duration>,
    /// The smoothed round-trip time, if one is known.
    pub srtt: Option<Duration>,
    /// The window was used to the full.
    pub is_limited: bool,
    /// A loss is being repaired or a mark answered: the window was reduced less than a round trip ago.
    pub is_recovering: bool,
    /// What a timeout declared lost is being sent again: not all that is acknowledged was sent lately.
    pub is_after_timeout: bool,
    /// Losses are known by number, not only that there are some.
    pub has_sack: bool,
    /// The delivery rate.
    pub rate: RateSample,
}

/// A segment that was found lost. Sizes are octets.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Its length.
    pub len: u32,
    /// What was in flight when it was sent, itself among it.
    pub sent_in_flight: u32,
    /// What was lost since it was sent, itself among it.
    pub lost_since: u32,
    /// What was delivered since the connection began.
    pub total_delivered: u64,
    /// The program had too little to send then.
    pub app_limited: bool,
    /// Losses are known by number.
    pub has_sack: bool,
}

/// A congestion control algorithm. All sizes are octets.
pub trait Controller {
    /// How much may be in flight.
    fn cwnd(&self) -> u32;
    /// Where slow start ends; while a loss is repaired, what the window comes down to.
    fn ssthresh(&self) -> u32;
    /// Octets a second at which segments are to leave; `None`: what fits the window.
    fn pacing_rate(&self) -> Option<u64>;
    /// Whether proportional rate reduction (RFC 9937) leads from the old window to the new one.
    fn is_reduced_proportionally(&self) -> bool;
    /// A segment is sent after nothing was in flight. `app_limited`: for lack of data.
    fn on_restart(&mut self, now: Instant, app_limited: bool);
    /// Something was delivered.
    fn on_ack(&mut self, ack: &Ack);
    /// A segment was lost. For each of them, before [`Self::on_congestion`].
    fn on_lost(&mut self, lost: &Lost);
    /// A loss or a mark (RFC 3168) asks for less. Once for each window.
    fn on_congestion(&mut self, now: Instant, in_flight: u32);
    /// The retransmission timer expired, for the first time in a row (RFC 5681 § 3.1, equation 4).
    fn on_timeout(&mut self, now: Instant, in_flight: u32);
    /// The last reduction answered a loss that was none (RFC 4015 § 3).
    fn on_spurious(&mut self, now: Instant);
    /// Nothing was sent for longer than the retransmission timeout (RFC 5681 § 4.1).
    fn on_idle(&mut self);
    /// Segments have another length from now on (RFC 4821 § 7.8).
    fn set_mss(&mut self, mss: u32);
}

/// Which algorithm to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// RFC 5681, RFC 6582.
    NewReno,
    /// RFC 9438.
    #[default]
    Cubic,
    /// draft-ietf-ccwg-bbr: version 3.
    Bbr,
}

/// A controller of one of the algorithms. An enum, so that a flow holds it in place, but for the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 5681, RFC 6582.
    NewReno(NewReno),
    /// RFC 9438.
    Cubic(Cubic),
    /// draft-ietf-ccwg-bbr.
    Bbr(Box<Bbr>),
}

impl Congestion {
    /// A controller for segments of at most `mss` octets, with the initial window of RFC 6928. `seed`: any number, for
    /// what is to differ between connections.
    pub fn new(algorithm: Algorithm, mss: u32, now: Instant, seed: u32) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(mss, initial_window(mss), u32::MAX)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(mss, initial_window(mss), u32::MAX)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::new(mss, now, seed))),
        }
    }

    /// A controller of another algorithm that goes on where this one is. BBR has a model of its own of the path, and begins anew.
    pub(super) fn succeed(&self, algorithm: Algorithm, mss: u32, now: Instant, seed: u32) -> Self {
        let (cwnd, ssthresh) = (self.cwnd(), self.ssthresh());
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(mss, cwnd, ssthresh)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(mss, cwnd, ssthresh)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::new(mss, now, seed))),
        }
    }

    /// Which algorithm this is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::NewReno(_) => Algorithm::NewReno,
            Self::Cubic(_) => Algorithm::Cubic,
            Self::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// The same, with a clock that says `to` where it said `from`.
    pub(super) fn move_clock(&mut self, from: Instant, to: Instant) {
        match self {
            Self::NewReno(_) => {}
            Self::Cubic(controller) => controller.move_clock(from, to),
            Self::Bbr(controller) => controller.move_clock(from, to),
        }
    }

    fn controller(&self) -> &dyn Controller {
        match self {
            Self::NewReno(controller) => controller,
            Self::Cubic(controller) => controller,
            Self::Bbr(controller) => &**controller,
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match self {
            Self::NewReno(controller) => controller,
            Self::Cubic(controller) => controller,
            Self::Bbr(controller) => &mut **controller,
        }
    }
}

impl Controller for Congestion {
    fn cwnd(&self) -> u32 {
        self.controller().cwnd()
    }
    fn ssthresh(&self) -> u32 {
        self.controller().ssthresh()
    }
    fn pacing_rate(&self) -> Option<u64> {
        self.controller().pacing_rate()
    }
    fn is_reduced_proportionally(&self) -> bool {
        self.controller().is_reduced_proportionally()
    }
    fn on_restart(&mut self, now: Instant, app_limited: bool) {
        self.controller_mut().on_restart(now, app_limited);
    }
    fn on_ack(&mut self, ack: &Ack) {
        self.controller_mut().on_ack(ack);
    }
    fn on_lost(&mut self, lost: &Lost) {
        self.controller_mut().on_lost(lost);
    }
    fn on_congestion(&mut self, now: Instant, in_flight: u32) {
        self.controller_mut().on_congestion(now, in_flight);
    }
    fn on_timeout(&mut self, now: Instant, in_flight: u32) {
        self.controller_mut().on_timeout(now, in_flight);
    }
    fn on_spurious(&mut self, now: Instant) {
        self.controller_mut().on_spurious(now);
    }
    fn on_idle(&mut self) {
        self.controller_mut().on_idle();
    }
    fn set_mss(&mut self, mss: u32) {
        self.controller_mut().set_mss(mss);
    }
}

/// RFC 6928 § 2: ten segments, no more than 14600 octets unless two segments are more.
pub fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// Largest window: more than the largest receive window is of no use.
pub(super) const MAX_CWND: u32 = 1 << 30;

/// Slow start with appropriate byte counting (RFC 5681 § 3.1, RFC 3465 § 2.3): the window after an acknowledgment. L is
/// 8, as RFC 9406 § 4.3 has it: segments that arrive in one burst are acknowledged at once. After a timeout it is 1. An
/// acknowledgment that is split into many counts no more than the whole.
fn slow_start(cwnd: u32, mss: u32, ack: &Ack) -> u32 {
    let limit = if ack.is_after_timeout { 1 } else { 8 };
    cwnd.saturating_add(ack.delivered.min(limit * mss)).min(MAX_CWND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgment that lets a window grow.
    pub(super) fn ack(now: Instant, delivered: u32, srtt: Option<Duration>) -> Ack {
        Ack {
            now,
            delivered,
            total_delivered: 0,
            in_flight: 0,
            rtt: srtt,
            srtt,
            is_limited: true,
            is_recovering: false,
            is_after_timeout: false,
            has_sack: true,
            rate: RateSample::default(),
        }
    }

    #[test]
    fn initial_windows() {
        // RFC 6928 § 2.
        assert_eq!([536, 1460, 2190, 8960].map(initial_window), [5360, 14_600, 14_600, 17_920]);
    }
}
