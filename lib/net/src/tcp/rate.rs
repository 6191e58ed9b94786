//! [`Rate`]: how fast octets are delivered (draft-ietf-ccwg-bbr § 4.1, draft-cheng-iccrg-delivery-rate-estimation).

use core::time::Duration;

use crate::Instant;
use crate::tcp::in_flight::Sent;

/// What a segment remembers of the connection when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRate {
    /// Octets delivered in all.
    pub(crate) delivered: u64,
    /// When the last of them was.
    pub(crate) delivered_at: Instant,
    /// When the first segment of this flight was sent.
    pub(crate) first_sent_at: Instant,
    /// Octets in flight, this segment among them.
    pub(crate) in_flight: u32,
    /// Octets lost in all.
    pub(crate) lost: u64,
    /// The program had too little to send.
    pub(crate) app_limited: bool,
}

impl Default for SentRate {
    fn default() -> Self {
        let at = Instant(0);
        Self { delivered: 0, delivered_at: at, first_sent_at: at, in_flight: 0, lost: 0, app_limited: false }
    }
}

/// The estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
    pub(crate) lost: u64,
    /// Until so much is delivered, samples say more of the program than of the path; 0: they do not.
    pub(crate) app_limited: u64,
}

/// What an acknowledgment says of the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Octets delivered between sending the newest segment that was acknowledged and now.
    pub delivered: u32,
    /// How long that took; `None`: no sample.
    pub interval: Option<Duration>,
    /// Octets delivered in all when that segment was sent.
    pub prior_delivered: u64,
    /// Octets in flight when it was sent.
    pub sent_in_flight: u32,
    /// Octets lost since it was sent.
    pub lost: u32,
    /// The program had too little to send: the rate is a lower bound.
    pub app_limited: bool,
}

impl RateSample {
    /// Octets a second; 0 without a sample.
    pub fn rate(&self) -> u64 {
        let Some(interval) = self.interval.filter(|interval| !interval.is_zero()) else { return 0 };
        let rate = u128::from(self.delivered) * 1_000_000_000 / interval.as_nanos();
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// The newest segment among those that one acknowledgment delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newest(Option<Sent>);

impl Rate {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { delivered: 0, delivered_at: now, first_sent_at: now, lost: 0, app_limited: 0 }
    }

    /// A segment of `len` octets is sent; `in_flight` are before it.
    pub(crate) fn on_send(&mut self, now: Instant, in_flight: u32, len: u32) -> SentRate {
        if in_flight == 0 {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        SentRate {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: in_flight.saturating_add(len),
            lost: self.lost,
            app_limited: self.app_limited != 0,
        }
    }

    /// A segment is delivered now.
    pub(crate) fn on_delivered(&mut self, now: Instant, sent: &Sent, newest: &mut Newest) {
        self.delivered += u64::from(sent.len);
        self.delivered_at = now;
        let is_newer = |other: &Sent| (sent.at, sent.rate.delivered) >= (other.at, other.rate.delivered);
        if newest.0.as_ref().is_none_or(is_newer) {
            newest.0 = Some(*sent);
            self.first_sent_at = sent.at;
        }
    }

    /// The program has nothing more to send, though it might.
    pub(crate) fn limit_by_app(&mut self, in_flight: u32) {
        self.app_limited = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// What the acknowledgment said.
    pub(crate) fn sample(&mut self, now: Instant, newest: Newest, min_rtt: Option<Duration>) -> RateSample {
        if self.app_limited != 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let Some(sent) = newest.0 else { return RateSample::default() };
        let took = sent.at.since(sent.rate.first_sent_at).max(now.since(sent.rate.delivered_at));
        RateSample {
            delivered: (self.delivered - sent.rate.delivered.min(self.delivered)) as u32,
            // Shorter than the path is long: a segment that was sent again in vain.
            interval: Some(took).filter(|took| Some(*took) >= min_rtt),
            prior_delivered: sent.rate.delivered,
            sent_in_flight: sent.rate.in_flight,
            lost: (self.lost - sent.rate.lost.min(self.lost)) as u32,
            app_limited: sent.rate.app_limited,
        }
    }
}
