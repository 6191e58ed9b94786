//! [`Recovery`]: how a loss is found and repaired (RFC 8985, RFC 9937, RFC 6582, RFC 5682, RFC 2883).
//!
//! With selective acknowledgments losses are found by time ([`super::rack`]); without them nothing is known of single
//! segments, and three duplicate acknowledgments are a loss (RFC 5681 § 3.2, RFC 6582). What is lost stands in a list of
//! [`super::in_flight`]; `output` sends it again.

use wire::SeqNumber;

use crate::Instant;
use crate::tcp::congestion::{Congestion, Controller, Lost};
use crate::tcp::flow::Flow;
use crate::tcp::in_flight::{Sent, Status};
use crate::tcp::path_mtu::PathMtu;
use crate::tcp::prr::Prr;
use crate::tcp::rate::Rate;

/// What is being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing is known to be lost.
    Open,
    /// Found by acknowledgments; over when `recover` is acknowledged. The window comes down as `prr` says.
    Fast { recover: SeqNumber, prr: Option<Prr> },
    /// Found by the retransmission timer; over when `recover` is acknowledged.
    Loss { recover: SeqNumber, frto: Frto },
}

/// Forward RTO-recovery (RFC 5682 § 3.1): whether the timeout was spurious. Only the first segment was sent again yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frto {
    /// Decided, or not to be found out.
    Off,
    /// Step 2: the retransmission is to be acknowledged.
    Retransmitted,
    /// Step 3: new data was sent, which tells.
    SentNew,
}

impl Flow {
    /// Octets in the network.
    pub(crate) fn pipe(&self) -> u32 {
        // Without reports each duplicate acknowledgment says that a segment has arrived (RFC 5681 § 3.2, RFC 3042).
        let arrived = self.duplicate_acks.saturating_mul(self.path.mss);
        self.in_flight.flying_octets().saturating_sub(arrived)
    }

    /// Looks for segments that are lost by now (RFC 8985 § 6.2), and begins to repair them.
    pub(crate) fn detect_losses(&mut self, now: Instant) {
        if !self.negotiated.sack {
            return;
        }
        let is_recovering = self.recovery != Recovery::Open;
        let sacked = self.in_flight.sacked_segments();
        let reo_wnd =
            self.rack.reo_wnd(self.snd_una, is_recovering, sacked, self.min_rtt.get(), self.rto.srtt());
        let mut signs = Signs::default();
        self.timers.reorder = self.rack.detect(now, reo_wnd, &mut self.in_flight, |sent| {
            signs.note(sent, &mut self.rate, &mut self.congestion, &mut self.path, true);
        });
        self.answer_losses(now, signs);
    }

    /// Without selective acknowledgments: the first segment is lost if three duplicates say so, or if a partial
    /// acknowledgment shows a second loss in the same window (RFC 6582 § 3.2).
    pub(crate) fn detect_first_loss(&mut self, now: Instant, is_partial: bool) {
        let Some((id, &sent)) = self.in_flight.first() else { return };
        let is_lost = match self.recovery {
            Recovery::Open => self.duplicate_acks >= crate::tcp::rack::DUP_THRESH,
            Recovery::Fast { .. } => is_partial,
            Recovery::Loss { .. } => false,
        };
        if is_lost && sent.status == Status::Flying {
            self.in_flight.mark_lost(id);
            let mut signs = Signs::default();
            signs.note(&sent, &mut self.rate, &mut self.congestion, &mut self.path, false);
            self.answer_losses(now, signs);
            self.retransmit_now = true;
        }
    }

    fn answer_losses(&mut self, now: Instant, signs: Signs) {
        if signs.mtu_probe {
            self.in_flight.cut(self.path.mss);
        }
        if signs.congestion && self.recovery == Recovery::Open {
            self.begin_fast_recovery(now);
        }
    }

    /// RFC 5681 § 3.2, RFC 9937 § 6.
    fn begin_fast_recovery(&mut self, now: Instant) {
        self.reduce(now, self.snd_nxt.since(self.snd_una));
        let in_flight = self.in_flight.flying_octets() + self.in_flight.lost_octets();
        let mut prr = self.congestion.is_reduced_proportionally().then(|| Prr::new(in_flight));
        if let Some(prr) = &mut prr {
            // The first retransmission does not wait for an acknowledgment, if a timer found the loss.
            prr.on_ack(0, self.pipe(), self.congestion.ssthresh(), self.path.mss, false);
        }
        self.recovery = Recovery::Fast { recover: self.snd_nxt, prr };
        self.undo = Some(0);
        self.retransmit_now = true;
        self.tail_loss_probe = None;
        self.timers.tail_loss = None;
    }

    /// Fewer octets from now on, as `in_flight` were too many. Once for what is in flight.
    pub(crate) fn reduce(&mut self, now: Instant, in_flight: u32) {
        self.congestion.on_congestion(now, in_flight);
        self.ecn.reduce(self.snd_nxt);
    }

    /// The retransmission timer expired (RFC 5681 § 3.1, RFC 8985 § 6.3). `again`: it did before, and nothing was
    /// acknowledged since. Looks at the segments that are lost; if `again`, at all.
    pub(crate) fn begin_loss_recovery(&mut self, now: Instant, again: bool) {
        // Twice in vain: the peer may have dropped what it reported; and if it reported what it does not acknowledge, it
        // certainly has (RFC 2018 § 8).
        let is_taken_back = self.in_flight.first().is_some_and(|(_, sent)| sent.status == Status::Sacked);
        if again || is_taken_back {
            self.scoreboard.clear();
            self.in_flight.renege();
        }
        let Some((first, &sent)) = self.in_flight.first() else { return };
        // A closed window is no congestion, nor a hole for large segments.
        let is_open = self.snd_wnd.size > 0;
        if is_open && self.path.on_timeout(now, sent.len) {
            self.change_mss();
        }
        let was_open = !matches!(self.recovery, Recovery::Loss { .. });
        if !again && is_open {
            self.congestion.on_timeout(now, self.snd_nxt.since(self.snd_una));
            self.ecn.reduce(self.snd_nxt);
        }
        let mut signs = Signs::default();
        let has_sack = self.negotiated.sack;
        if self.in_flight.get(first).is_some_and(|sent| sent.status == Status::Flying) {
            self.in_flight.mark_lost(first);
            signs.note(&sent, &mut self.rate, &mut self.congestion, &mut self.path, has_sack);
        }
        let reo_wnd = self.rack.reo_wnd(self.snd_una, true, 0, self.min_rtt.get(), self.rto.srtt());
        // Without reports, without a round-trip time, or for the second time in vain: all.
        let is_all = again || !has_sack || self.rack.newest.is_none();
        while let Some((id, &sent)) = self.in_flight.first_flying()
            && (is_all || sent.at + self.rack.rtt + reo_wnd <= now)
        {
            self.in_flight.mark_lost(id);
            signs.note(&sent, &mut self.rate, &mut self.congestion, &mut self.path, has_sack);
        }
        if signs.mtu_probe {
            self.in_flight.cut(self.path.mss);
        }
        self.duplicate_acks = 0;
        self.tail_loss_probe = None;
        self.timers.reorder = None;
        self.undo = None;
        let frto = if was_open && !again && is_open { Frto::Retransmitted } else { Frto::Off };
        self.recovery = Recovery::Loss { recover: self.snd_nxt, frto };
        self.retransmit_now = true;
    }

    /// An acknowledgment came while a timeout is being repaired: whether it was none (RFC 5682 § 3.1). `late`: a segment
    /// that counted as lost has arrived and was not sent again. `has_more`: new data may be sent.
    pub(crate) fn check_timeout(
        &mut self,
        now: Instant,
        advanced: bool,
        late: bool,
        reported: bool,
        has_more: bool,
    ) {
        let Recovery::Loss { recover, frto } = self.recovery else { return };
        let frto = match frto {
            Frto::Off => return,
            _ if late => return self.undo_reduction(now),
            Frto::Retransmitted if advanced && has_more => Frto::SentNew,
            Frto::Retransmitted if advanced => Frto::Off,
            Frto::Retransmitted if !self.negotiated.sack => Frto::Off,
            // Acknowledgments of what was sent before the timeout are still on their way.
            Frto::Retransmitted => Frto::Retransmitted,
            // The new data arrived, and what is before it did not.
            Frto::SentNew if reported || !advanced => Frto::Off,
            Frto::SentNew => Frto::SentNew,
        };
        self.recovery = Recovery::Loss { recover, frto };
    }

    /// The peer reported octets that arrived twice (RFC 2883): if they all did that were sent again, nothing was lost.
    pub(crate) fn note_duplicate(&mut self, now: Instant) {
        self.rack.note_duplicate(self.snd_nxt);
        if let Some(undo) = &mut self.undo {
            *undo = undo.saturating_sub(1);
            if *undo == 0 {
                self.undo_reduction(now);
            }
        }
    }

    /// There was no loss (RFC 4015 § 3, RFC 3708). What was not sent again flies after all.
    fn undo_reduction(&mut self, now: Instant) {
        self.congestion.on_spurious(now);
        self.in_flight.unmark_lost();
        self.undo = None;
        if self.in_flight.first_lost().is_none() {
            self.recovery = Recovery::Open;
        } else if let Recovery::Loss { frto, .. } = &mut self.recovery {
            *frto = Frto::Off;
        }
    }

    /// Whether all is acknowledged that was in flight when the loss was found.
    pub(crate) fn end_recovery(&mut self, ack: SeqNumber) {
        match self.recovery {
            Recovery::Fast { recover, .. } if ack >= recover => {
                self.rack.note_recovered();
                self.recovery = Recovery::Open;
            }
            Recovery::Loss { recover, .. } if ack >= recover => self.recovery = Recovery::Open,
            _ => {}
        }
    }

    /// Segments have another size from now on; what flies and is larger is sent again in pieces.
    pub(crate) fn change_mss(&mut self) {
        self.in_flight.cut(self.path.mss);
        self.congestion.set_mss(self.path.mss);
    }
}

/// What losses mean.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    congestion: bool,
    mtu_probe: bool,
}

impl Signs {
    fn note(
        &mut self,
        sent: &Sent,
        rate: &mut Rate,
        congestion: &mut Congestion,
        path: &mut PathMtu,
        has_sack: bool,
    ) {
        if sent.mtu_probe {
            // That it was too large says nothing of congestion (RFC 4821 § 7.6.2).
            self.mtu_probe = true;
            path.on_probe_lost();
            return;
        }
        self.congestion = true;
        rate.lost += u64::from(sent.len);
        congestion.on_lost(&Lost {
            len: sent.len,
            sent_in_flight: sent.rate.in_flight,
            lost_since: (rate.lost - sent.rate.lost.min(rate.lost)) as u32,
            total_delivered: rate.delivered,
            app_limited: sent.rate.app_limited,
            has_sack,
        });
    }
}
