//! [`Tally`]: what a flow has done since it began, for who asks ([`super::Info`]). Nothing is decided by it.

use core::time::Duration;

use wire::tcp::Flags;

use crate::Instant;
use crate::tcp::Segment;
use crate::tcp::rate::RateSample;

/// Counts. Those of segments wrap, as Linux' do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub(crate) segments_out: u32,
    pub(crate) segments_in: u32,
    pub(crate) data_segments_out: u32,
    pub(crate) data_segments_in: u32,
    /// Octets of payload sent, those sent again among them.
    pub(crate) octets_sent: u64,
    pub(crate) octets_retransmitted: u64,
    /// Sequence numbers: SYN and FIN count, as in Linux' `tcpi_bytes_acked`.
    pub(crate) octets_acknowledged: u64,
    /// In order.
    pub(crate) octets_received: u64,
    pub(crate) retransmissions: u32,
    /// Expiries of the retransmission timer.
    pub(crate) timeouts: u32,
    /// Segments of this side that the peer reported as having arrived twice.
    pub(crate) duplicates: u32,
    pub(crate) out_of_order: u32,
    /// The last sample of the delivery rate that says something of the path.
    delivered: (u32, Duration),
    pub(crate) delivered_app_limited: bool,
    pub(crate) last_data_received: Instant,
    pub(crate) last_ack_received: Instant,
}

impl Tally {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            segments_out: 0,
            segments_in: 0,
            data_segments_out: 0,
            data_segments_in: 0,
            octets_sent: 0,
            octets_retransmitted: 0,
            octets_acknowledged: 0,
            octets_received: 0,
            retransmissions: 0,
            timeouts: 0,
            duplicates: 0,
            out_of_order: 0,
            delivered: (0, Duration::ZERO),
            delivered_app_limited: false,
            last_data_received: now,
            last_ack_received: now,
        }
    }

    /// A segment, or several as one, leaves.
    pub(crate) fn note_sent(&mut self, segment: &Segment) {
        let count = count(segment);
        self.segments_out = self.segments_out.wrapping_add(count);
        let octets = segment.payload_len();
        if octets > 0 {
            self.data_segments_out = self.data_segments_out.wrapping_add(count);
            self.octets_sent += u64::from(octets);
        }
    }

    /// A segment of `len` octets is sent again.
    pub(crate) fn note_retransmitted(&mut self, len: u32) {
        self.retransmissions = self.retransmissions.wrapping_add(1);
        self.octets_retransmitted += u64::from(len);
    }

    /// A segment, or several as one, came in.
    pub(crate) fn note_received(&mut self, now: Instant, segment: &Segment) {
        let count = count(segment);
        self.segments_in = self.segments_in.wrapping_add(count);
        if segment.payload.is_some() {
            self.data_segments_in = self.data_segments_in.wrapping_add(count);
            self.last_data_received = now;
        }
        if segment.repr.flags.has(Flags::ACK) {
            self.last_ack_received = now;
        }
    }

    /// What an acknowledgment said of the delivery rate. One that was limited by the program counts where it is more than was known
    /// (as Linux' `tcpi_delivery_rate`).
    pub(crate) fn note_rate(&mut self, sample: &RateSample) {
        let Some(interval) = sample.interval.filter(|interval| !interval.is_zero()) else { return };
        let (delivered, before) = self.delivered;
        let is_more = |delivered: u32| {
            u128::from(sample.delivered) * before.as_nanos() >= u128::from(delivered) * interval.as_nanos()
        };
        if !sample.app_limited || is_more(delivered) {
            self.delivered = (sample.delivered, interval);
            self.delivered_app_limited = sample.app_limited;
        }
    }

    /// The delivery rate in octets a second; 0: not known.
    pub(crate) fn delivery_rate(&self) -> u64 {
        let (delivered, interval) = self.delivered;
        let rate = u128::from(delivered) * 1_000_000_000 / interval.as_nanos().max(1);
        if interval.is_zero() { 0 } else { u64::try_from(rate).unwrap_or(u64::MAX) }
    }

    /// The same, by another clock.
    pub(crate) fn moved(self, from: Instant, to: Instant) -> Self {
        Self {
            last_data_received: self.last_data_received.moved(from, to),
            last_ack_received: self.last_ack_received.moved(from, to),
            ..self
        }
    }
}

/// How many segments it is on the wire.
fn count(segment: &Segment) -> u32 {
    segment.size.map_or(1, |size| segment.payload_len().div_ceil(u32::from(size).max(1)).max(1))
}
