//! Congestion control: how much may be in the network at a time.
//!
//! What is in flight and what is lost is the flow's business ([`super::sack`]); a controller is told what happened
//! and answers with a window.

mod cubic;
mod newreno;

use core::time::Duration;

pub use cubic::Cubic;
pub use newreno::NewReno;

use crate::Instant;

/// What an acknowledgment of new data tells.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// Octets it acknowledged, at least 1.
    pub acked: u32,
    /// The smoothed round-trip time, if one is known.
    pub srtt: Option<Duration>,
}

/// A congestion control algorithm. All sizes are octets.
pub trait Controller {
    /// How much may be in flight.
    fn cwnd(&self) -> u32;
    /// Where slow start ends.
    fn ssthresh(&self) -> u32;
    /// New data was acknowledged while the window was used to the full and nothing was being repaired.
    fn on_ack(&mut self, ack: Ack);
    /// A loss was found by duplicate or selective acknowledgments. Once for each window.
    fn on_loss(&mut self, now: Instant, in_flight: u32);
    /// The retransmission timer expired, for the first time in a row (RFC 5681 § 3.1, equation 4).
    fn on_timeout(&mut self, now: Instant, in_flight: u32);
    /// Nothing was sent for longer than the retransmission timeout (RFC 5681 § 4.1).
    fn on_idle(&mut self);
}

/// Which algorithm to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// RFC 5681, RFC 6582.
    NewReno,
    /// RFC 9438.
    #[default]
    Cubic,
}

/// A controller of one of the algorithms. An enum, so that a flow holds it in place.
#[derive(Clone, Copy, Debug)]
pub enum Congestion {
    /// RFC 5681, RFC 6582.
    NewReno(NewReno),
    /// RFC 9438.
    Cubic(Cubic),
}

impl Congestion {
    /// A controller for segments of at most `mss` octets, with the initial window of RFC 6928.
    pub fn new(algorithm: Algorithm, mss: u32) -> Self {
        Self::restore(algorithm, mss, initial_window(mss), u32::MAX)
    }

    /// A controller that goes on from saved windows.
    pub fn restore(algorithm: Algorithm, mss: u32, cwnd: u32, ssthresh: u32) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(mss, cwnd, ssthresh)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(mss, cwnd, ssthresh)),
        }
    }

    /// Which algorithm this is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::NewReno(_) => Algorithm::NewReno,
            Self::Cubic(_) => Algorithm::Cubic,
        }
    }

    fn controller(&self) -> &dyn Controller {
        match self {
            Self::NewReno(controller) => controller,
            Self::Cubic(controller) => controller,
        }
    }

    fn controller_mut(&mut self) -> &mut dyn Controller {
        match self {
            Self::NewReno(controller) => controller,
            Self::Cubic(controller) => controller,
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
    fn on_ack(&mut self, ack: Ack) {
        self.controller_mut().on_ack(ack);
    }
    fn on_loss(&mut self, now: Instant, in_flight: u32) {
        self.controller_mut().on_loss(now, in_flight);
    }
    fn on_timeout(&mut self, now: Instant, in_flight: u32) {
        self.controller_mut().on_timeout(now, in_flight);
    }
    fn on_idle(&mut self) {
        self.controller_mut().on_idle();
    }
}

/// RFC 6928 § 2: ten segments, no more than 14600 octets unless two segments are more.
pub fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// Largest window: more than the largest receive window is of no use.
const MAX_CWND: u32 = 1 << 30;

/// Slow start with appropriate byte counting (RFC 5681 § 3.1, RFC 3465 § 2.3): the window after an acknowledgment. L is
/// 8, as RFC 9406 § 4.3 has it: segments that arrive in one burst are acknowledged at once.
fn slow_start(cwnd: u32, mss: u32, acked: u32) -> u32 {
    (cwnd + acked.min(8 * mss)).min(MAX_CWND)
}
