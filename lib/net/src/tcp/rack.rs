//! [`Rack`]: losses found by time (RFC 8985 § 6). A segment is lost if one that was sent sufficiently later has arrived.

use core::time::Duration;

use wire::SeqNumber;

use crate::Instant;
use crate::tcp::in_flight::{InFlight, Sent};

/// DupThresh (RFC 5681 § 3.2): without sign of reordering, so many segments beyond a gap are a loss.
pub(crate) const DUP_THRESH: u32 = 3;
/// For how many recoveries a wider window holds (RFC 8985 § 6.2, step 4).
const PERSIST: u8 = 16;
/// Widest window, in quarters of the least round-trip time; the smoothed one bounds it, too.
const MAX_MULT: u8 = 64;

/// What is known of the segment that was sent last among those that arrived, and of reordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rack {
    /// RACK.xmit_ts and RACK.end_seq.
    pub(crate) newest: Option<(Instant, SeqNumber)>,
    /// RACK.rtt: how long it took that segment.
    pub(crate) rtt: Duration,
    /// The highest sequence number that arrived.
    pub(crate) fack: Option<SeqNumber>,
    pub(crate) reordering_seen: bool,
    pub(crate) reo_wnd_mult: u8,
    pub(crate) reo_wnd_persist: u8,
    /// Until this is acknowledged, D-SACKs do not widen the window again.
    pub(crate) dsack_round: Option<SeqNumber>,
}

impl Rack {
    pub(crate) const fn new() -> Self {
        Self {
            newest: None,
            rtt: Duration::ZERO,
            fack: None,
            reordering_seen: false,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            dsack_round: None,
        }
    }

    /// A segment arrived (§ 6.2, steps 2 and 3). `echoes_earlier`: the timestamp that was echoed is from before the
    /// segment was sent for the last time.
    pub(crate) fn note_delivered(
        &mut self,
        now: Instant,
        sent: &Sent,
        echoes_earlier: bool,
        min_rtt: Option<Duration>,
    ) {
        let rtt = now.since(sent.at);
        // It may be the first copy that arrived, late.
        let ambiguous =
            sent.retransmissions > 0 && (echoes_earlier || min_rtt.is_some_and(|min_rtt| rtt < min_rtt));
        if !ambiguous {
            self.rtt = rtt;
            if self.newest.is_none_or(|newest| is_later((sent.at, sent.end()), newest)) {
                self.newest = Some((sent.at, sent.end()));
            }
        }
        match self.fack {
            Some(fack) if sent.end() < fack => self.reordering_seen |= sent.retransmissions == 0,
            _ => self.fack = Some(sent.end()),
        }
    }

    /// The peer reported octets that arrived twice: the window was too small (§ 6.2, step 4).
    pub(crate) fn note_duplicate(&mut self, snd_nxt: SeqNumber) {
        if self.dsack_round.is_none() {
            self.dsack_round = Some(snd_nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1).min(MAX_MULT);
            self.reo_wnd_persist = PERSIST;
        }
    }

    /// A recovery is over.
    pub(crate) fn note_recovered(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// RACK.reo_wnd: for how long a segment may be later than one that was sent after it (§ 6.2, step 4).
    pub(crate) fn reo_wnd(
        &mut self,
        una: SeqNumber,
        is_recovering: bool,
        sacked_segments: u32,
        min_rtt: Option<Duration>,
        srtt: Option<Duration>,
    ) -> Duration {
        self.dsack_round.take_if(|round| una >= *round);
        if !self.reordering_seen && (is_recovering || sacked_segments >= DUP_THRESH) {
            return Duration::ZERO;
        }
        let window = min_rtt.unwrap_or_default() / 4 * u32::from(self.reo_wnd_mult);
        window.min(srtt.unwrap_or(window))
    }

    /// Marks what is lost (§ 6.2, step 5) and hands each segment to `lost`; returns when to look again.
    ///
    /// The RFC looks again when the last suspect is due; here it is the first one, so that an acknowledgment costs work
    /// for the segments that are lost and one more.
    pub(crate) fn detect(
        &self,
        now: Instant,
        reo_wnd: Duration,
        in_flight: &mut InFlight,
        mut lost: impl FnMut(&Sent),
    ) -> Option<Instant> {
        let newest = self.newest?;
        while let Some((id, sent)) = in_flight.first_flying() {
            let sent = *sent;
            if !is_later(newest, (sent.at, sent.end())) {
                return None;
            }
            let due = sent.at + self.rtt + reo_wnd;
            if due > now {
                return Some(due);
            }
            in_flight.mark_lost(id);
            lost(&sent);
        }
        None
    }
}

/// RACK_sent_after: of two segments sent at once, that with the higher number counts as the later.
fn is_later(this: (Instant, SeqNumber), other: (Instant, SeqNumber)) -> bool {
    this.0 > other.0 || this.0 == other.0 && this.1 > other.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::in_flight::Status;
    use crate::tcp::rate::SentRate;

    const UNA: SeqNumber = SeqNumber(u32::MAX - 20);
    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    fn sent(n: u32, at: u64) -> Sent {
        Sent {
            seq: UNA + 10 * n,
            len: 10,
            at: Instant::from_millis(at),
            status: Status::Flying,
            retransmissions: 0,
            mtu_probe: false,
            rate: SentRate::default(),
        }
    }

    fn flight(count: u32) -> InFlight {
        let mut in_flight = InFlight::new();
        (0..count).for_each(|n| in_flight.push(sent(n, n.into())));
        in_flight
    }

    fn lost(rack: &Rack, in_flight: &mut InFlight, now: u64, reo_wnd: Duration) -> (u32, Option<u64>) {
        let mut lost = 0;
        let again = rack.detect(Instant::from_millis(now), reo_wnd, in_flight, |_| lost += 1);
        (lost, again.map(Instant::as_millis))
    }

    #[test]
    fn what_was_sent_before_an_arrival_is_lost_after_the_window() {
        let (mut rack, mut in_flight) = (Rack::new(), flight(5));
        rack.note_delivered(Instant::from_millis(103), &sent(3, 3), false, RTT);
        in_flight.sack(UNA + 30, UNA + 40, |_| ());
        let reo_wnd = rack.reo_wnd(UNA, false, 1, RTT, RTT);
        assert_eq!(reo_wnd, Duration::from_millis(25));
        assert_eq!(lost(&rack, &mut in_flight, 103, reo_wnd), (0, Some(125)));
        assert_eq!(lost(&rack, &mut in_flight, 126, reo_wnd), (2, Some(127)));
        assert_eq!(lost(&rack, &mut in_flight, 127, reo_wnd), (1, None));
    }

    #[test]
    fn three_beyond_a_gap_need_no_window() {
        let mut rack = Rack::new();
        assert_eq!(rack.reo_wnd(UNA, false, 3, RTT, RTT), Duration::ZERO);
        assert_eq!(rack.reo_wnd(UNA, true, 0, RTT, RTT), Duration::ZERO);
        rack.note_delivered(Instant::from_millis(103), &sent(3, 3), false, RTT);
        rack.note_delivered(Instant::from_millis(103), &sent(2, 2), false, RTT);
        assert!(rack.reordering_seen);
        assert_eq!(rack.reo_wnd(UNA, true, 3, RTT, RTT), Duration::from_millis(25));
    }

    #[test]
    fn duplicates_widen_the_window_once_a_round_trip() {
        let mut rack = Rack::new();
        rack.note_duplicate(UNA + 100);
        rack.note_duplicate(UNA + 100);
        assert_eq!(rack.reo_wnd(UNA, false, 0, RTT, RTT), Duration::from_millis(50));
        assert_eq!(rack.reo_wnd(UNA + 100, false, 0, RTT, RTT), Duration::from_millis(50));
        for _ in 0..9 {
            rack.note_duplicate(UNA + 200);
            rack.reo_wnd(UNA + 200, false, 0, RTT, RTT);
        }
        assert_eq!(rack.reo_wnd(UNA + 200, false, 0, RTT, RTT), Duration::from_millis(100), "SRTT");
        for _ in 0..16 {
            rack.note_recovered();
        }
        assert_eq!(rack.reo_wnd(UNA + 200, false, 0, RTT, RTT), Duration::from_millis(25));
    }

    #[test]
    fn a_repeated_segment_says_nothing_if_it_may_have_been_the_first_copy() {
        let mut rack = Rack::new();
        let again = Sent { retransmissions: 1, ..sent(0, 100) };
        rack.note_delivered(Instant::from_millis(110), &again, false, RTT);
        assert_eq!(rack.newest, None, "faster than the path");
        rack.note_delivered(Instant::from_millis(250), &again, true, RTT);
        assert_eq!(rack.newest, None, "the echo is of the first copy");
        rack.note_delivered(Instant::from_millis(250), &again, false, RTT);
        assert_eq!(rack.rtt, Duration::from_millis(150));
    }
}
