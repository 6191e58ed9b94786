//! What an acknowledgment says of losses, round trip, rate and window (RFC 9293 § 3.10.7.4, fifth check; RFC 5681,
//! RFC 6675 § 2, RFC 8985 § 7.2, RFC 9937 § 6).

use core::time::Duration;

use wire::SeqNumber;
use wire::tcp::{Flags, Repr, SackBlock};

use crate::Instant;
use crate::tcp::congestion::{self, Controller};
use crate::tcp::flow::{Events, Flow};
use crate::tcp::in_flight::{Sent, Status};
use crate::tcp::rack::Rack;
use crate::tcp::rate::{Newest, Rate};
use crate::tcp::recovery::Recovery;
use crate::tcp::sack::duplicate;
use crate::tcp::tlp::{self, ProbeFate};

impl Flow {
    /// Takes an acknowledgment of something in `snd_una..=snd_nxt`.
    pub(crate) fn take_ack(&mut self, now: Instant, repr: &Repr, has_text: bool) {
        let (una, nxt, ack) = (self.snd_una, self.snd_nxt, repr.ack);
        let pipe_before = self.pipe();
        let lost_before = self.rate.lost;
        let advanced = ack > una;
        let mut delivery = Delivery::new(now, repr, &self.config);

        // What has arrived.
        let duplicate = self.duplicate_of(repr);
        if advanced {
            self.advance(now, ack, &mut delivery);
        }
        if self.negotiated.sack {
            for &block in &*repr.options.sack {
                self.take_block(block, &mut delivery);
            }
        }
        let old_window = self.snd_wnd.size;
        self.snd_wnd.update(repr.seq, ack, self.window_of(repr));
        self.note_window(old_window);
        let same_window = self.snd_wnd.size == old_window;
        self.count_duplicates(repr, una, nxt, !has_text && same_window, &mut delivery);
        self.measure(now, repr, delivery.rtt());
        if delivery.mtu_probe && self.path.on_probe_delivered() {
            self.change_mss();
        }

        // What it means.
        let (before, cwnd_before) = (self.recovery, self.congestion.cwnd());
        self.end_recovery(ack);
        if duplicate.is_some() {
            self.tally.duplicates = self.tally.duplicates.saturating_add(1);
            self.note_duplicate(now);
        }
        self.check_tail_loss_probe(now, repr, duplicate, !advanced && !has_text, nxt.since(una));
        let late = delivery.late && (self.negotiated.sack || !delivery.retransmitted);
        let has_more = self.queue_end() > nxt && self.snd_wnd.size > nxt.since(ack);
        self.check_timeout(now, advanced, late, delivery.sacked, has_more);
        if self.negotiated.sack {
            if delivery.octets > 0 {
                self.detect_losses(now);
            }
        } else {
            self.detect_first_loss(now, advanced);
        }
        if self.ecn.is_congested(repr.flags, ack, nxt) && self.recovery == Recovery::Open {
            self.reduce(now, nxt.since(una));
        }
        // Nor does a window grow while nothing is acknowledged for good: there is a gap (RFC 5681 § 3.2).
        let is_reduced = self.congestion.cwnd() < cwnd_before;
        let may_grow = advanced && !is_reduced && !matches!(before, Recovery::Fast { .. });
        let is_after_timeout = matches!(before, Recovery::Loss { .. });
        let is_safe = advanced && self.rate.lost == lost_before;
        let growth = Growth { may_grow, is_after_timeout, pipe_before };
        self.report_to_congestion_control(now, &delivery, is_safe, growth);

        if advanced {
            // RFC 6298 § 5.2, § 5.3.
            self.rto.reset_backoff();
            self.retransmitting_since = None;
            self.timers.retransmit = None;
            if ack != nxt {
                self.arm_retransmit(now);
            }
            self.path.on_progress();
        }
        if advanced || delivery.octets > 0 {
            self.arm_tail_loss(now);
        }
    }

    /// What this acknowledgment reports as having arrived twice, if that was ever sent.
    fn duplicate_of(&self, repr: &Repr) -> Option<SackBlock> {
        let block = duplicate(repr.ack, &repr.options.sack).filter(|_| self.negotiated.sack)?;
        let oldest = self.snd_una - self.snd_wnd.max.min(1 << 30);
        (block.left >= oldest && block.right <= self.snd_nxt).then_some(block)
    }

    /// SND.UNA moves.
    fn advance(&mut self, now: Instant, ack: SeqNumber, delivery: &mut Delivery) {
        let fin_acked = self.is_fin_sent() && ack > self.queue_end();
        let start = self.queue_start();
        let data = if ack > start { ack.since(start) - u32::from(fin_acked) } else { 0 };
        self.queue.acknowledge(data);
        self.fin_acknowledged |= fin_acked;
        self.tally.octets_acknowledged += u64::from(ack.since(self.snd_una));
        self.snd_una = ack;
        self.small = self.small.filter(|end| *end > ack);
        self.scoreboard.acknowledge(ack);
        let min_rtt = self.min_rtt.get();
        self.in_flight.acknowledge(ack, |sent| {
            delivery.note(sent, false, &mut self.rate, &mut self.rack, min_rtt);
        });
        if data > 0 || fin_acked {
            self.events.0 |= Events::WRITABLE.0;
        }
        self.waiting_since = (ack != self.snd_nxt).then_some(now);
    }

    /// Takes a block of a report, as far as it covers whole segments (RFC 2018 § 5).
    fn take_block(&mut self, block: SackBlock, delivery: &mut Delivery) {
        let left = block.left.latest(self.snd_una);
        if left >= block.right || block.right > self.snd_nxt {
            return;
        }
        let Some((left, right)) = self.in_flight.whole(left, block.right) else { return };
        let min_rtt = self.min_rtt.get();
        self.scoreboard.insert(SackBlock { left, right }, |left, right| {
            self.in_flight.sack(left, right, |sent| {
                delivery.note(sent, true, &mut self.rate, &mut self.rack, min_rtt);
            });
        });
    }

    fn note_window(&mut self, old_window: u32) {
        if self.snd_wnd.size == 0 {
            // A peer that answers may keep its window closed as long as it likes (RFC 9293 § 3.8.6.1).
            self.retransmitting_since = None;
        } else if self.timers.persist.is_some() && self.snd_wnd.size > old_window {
            self.timers.persist = None;
            self.rto.reset_backoff();
            if self.in_flight.is_empty() {
                self.waiting_since = None;
            }
        }
    }

    /// Without selective acknowledgments: duplicates stand for segments that arrived (RFC 5681 § 2, RFC 9937 § 6).
    fn count_duplicates(
        &mut self,
        repr: &Repr,
        una: SeqNumber,
        nxt: SeqNumber,
        unchanged: bool,
        delivery: &mut Delivery,
    ) {
        if self.negotiated.sack {
            return;
        }
        let mss = self.path.mss;
        if repr.ack == una {
            let is_duplicate = unchanged && una < nxt && !repr.flags.has(Flags::FIN);
            let segments = self.in_flight.segments() as u32;
            if is_duplicate && self.duplicate_acks < segments {
                self.duplicate_acks += 1;
                delivery.octets = mss;
            }
            return;
        }
        // What duplicates stood for is not delivered again; the first segment was not among them.
        let acked = repr.ack.since(una);
        let counted = self.duplicate_acks.saturating_mul(mss);
        delivery.octets = acked.saturating_sub(counted).max(1);
        self.duplicate_acks = match self.recovery {
            Recovery::Fast { recover, .. } if repr.ack < recover => {
                self.duplicate_acks.saturating_sub(acked.div_ceil(mss.max(1)).saturating_sub(1))
            }
            _ => 0,
        };
    }

    /// Takes a round-trip time: of a segment that was sent once, or else from the echoed timestamp (RFC 6298 § 3,
    /// RFC 7323 § 4.1).
    pub(crate) fn measure(&mut self, now: Instant, repr: &Repr, direct: Rtts) {
        let samples = self.snd_nxt.since(self.snd_una).div_ceil(2 * self.path.mss.max(1));
        if let Some(newest) = direct.newest {
            self.min_rtt.sample(now, newest);
        }
        if let Some(oldest) = direct.oldest {
            self.echoes_from = None;
            return self.rto.sample(oldest, samples);
        }
        if direct.is_stale {
            return;
        }
        let Some(timestamps) = repr.options.timestamps.filter(|_| self.negotiated.timestamps.is_some())
        else {
            return;
        };
        if self.echoes_from.is_some_and(|from| SeqNumber(timestamps.ecr) < SeqNumber(from)) {
            return;
        }
        self.echoes_from = None;
        let millis = self.config.timestamp(now).wrapping_sub(timestamps.ecr);
        // An echo from the future or of long ago is no echo of ours.
        if millis < 120_000 {
            self.rto.sample(Duration::from_millis(millis.into()), samples);
        }
    }

    /// RFC 8985 § 7.4.2.
    fn check_tail_loss_probe(
        &mut self,
        now: Instant,
        repr: &Repr,
        dsack: Option<SackBlock>,
        is_bare: bool,
        in_flight: u32,
    ) {
        let Some(probe) = self.tail_loss_probe else { return };
        let is_duplicate = is_bare && repr.options.sack.is_empty() && repr.ack == probe.end;
        let duplicate = is_duplicate || dsack.is_some_and(|block| block.right == probe.end);
        match probe.fate(repr.ack, duplicate) {
            ProbeFate::Unknown => {}
            ProbeFate::Harmless => self.tail_loss_probe = None,
            ProbeFate::Repaired => {
                self.tail_loss_probe = None;
                if self.recovery == Recovery::Open {
                    self.reduce(now, in_flight);
                }
            }
        }
    }

    fn report_to_congestion_control(
        &mut self,
        now: Instant,
        delivery: &Delivery,
        is_safe: bool,
        growth: Growth,
    ) {
        let Growth { may_grow, is_after_timeout, pipe_before } = growth;
        let pipe = self.pipe();
        let min_rtt = self.min_rtt.get();
        let rate = self.rate.sample(now, delivery.newest, min_rtt);
        let (mss, ssthresh) = (self.path.mss, self.congestion.ssthresh());
        if delivery.octets == 0 {
            return;
        }
        self.tally.note_rate(&rate);
        if let Recovery::Fast { prr: Some(prr), .. } = &mut self.recovery {
            prr.on_ack(delivery.octets, pipe, ssthresh, mss, is_safe);
        }
        // Whether the window was what limits (RFC 7661 § 4.1 has the reasons): in slow start half of it is enough, as what
        // is sent doubles.
        let cwnd = self.congestion.cwnd();
        let is_limited = if cwnd < ssthresh {
            pipe_before.saturating_mul(2) >= cwnd
        } else {
            pipe_before + 3 * mss >= cwnd
        };
        let is_recovering = matches!(self.recovery, Recovery::Fast { .. })
            || self.ecn.reduced_until.is_some() && self.recovery == Recovery::Open
            || !may_grow;
        self.congestion.on_ack(&congestion::Ack {
            now,
            delivered: delivery.octets,
            total_delivered: self.rate.delivered,
            in_flight: pipe,
            rtt: delivery.rtts.newest,
            srtt: self.rto.srtt(),
            is_limited,
            is_recovering,
            is_after_timeout,
            has_sack: self.negotiated.sack,
            rate,
        });
    }

    /// Sets the retransmission timer (RFC 6298 § 5); no later than the program's own timeout (RFC 5482).
    pub(crate) fn arm_retransmit(&mut self, now: Instant) {
        self.timers.retransmit = Some(self.by_user_timeout(now, now + self.rto.timeout()));
    }

    /// `at`, or the end of the user timeout if that comes before.
    pub(crate) fn by_user_timeout(&self, now: Instant, at: Instant) -> Instant {
        let limit = self.waiting_since.zip(self.config.user_timeout).map(|(since, limit)| since + limit);
        limit.map_or(at, |limit| at.min(limit.max(now)))
    }

    /// Sets the probe timer where a lost tail would be found by a timeout only (RFC 8985 § 7.2).
    pub(crate) fn arm_tail_loss(&mut self, now: Instant) {
        let is_possible = self.negotiated.sack
            && self.recovery == Recovery::Open
            && self.tail_loss_probe.is_none()
            && self.in_flight.sacked_segments() == 0
            && !self.in_flight.is_empty()
            && self.snd_wnd.size > 0;
        let at = now + tlp::timeout(self.rto.srtt(), self.in_flight.segments() == 1);
        let is_first = self.timers.retransmit.is_some_and(|retransmit| at < retransmit);
        self.timers.tail_loss = (is_possible && is_first).then_some(at);
    }
}

/// What bears on the growth of the window.
#[derive(Clone, Copy, Debug)]
struct Growth {
    may_grow: bool,
    is_after_timeout: bool,
    pipe_before: u32,
}

/// Round-trip times that segments show which were sent once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtts {
    /// Of the segment that waited longest, any delay of the acknowledgment in it: for the timeout.
    pub(crate) oldest: Option<Duration>,
    /// Of the newest: the path.
    pub(crate) newest: Option<Duration>,
    /// Nothing new was acknowledged: an echoed timestamp is of old.
    pub(crate) is_stale: bool,
}

impl Rtts {
    /// That of one segment.
    pub(crate) fn single(rtt: Option<Duration>) -> Self {
        Self { oldest: rtt, newest: rtt, is_stale: false }
    }
}

/// What one acknowledgment delivered.
#[derive(Debug)]
struct Delivery {
    now: Instant,
    octets: u32,
    newest: Newest,
    rtts: Rtts,
    /// The timestamp it echoes, and what the clock of timestamps adds to the time.
    echo: Option<(u32, u32)>,
    /// A segment was acknowledged for good that was sent more than once.
    retransmitted: bool,
    /// A segment arrived that counted as lost and was sent once.
    late: bool,
    /// Something was reported beyond what is acknowledged.
    sacked: bool,
    mtu_probe: bool,
}

impl Delivery {
    fn new(now: Instant, repr: &Repr, config: &crate::tcp::Config) -> Self {
        Self {
            now,
            octets: 0,
            newest: Newest::default(),
            rtts: Rtts::default(),
            echo: repr.options.timestamps.map(|timestamps| (timestamps.ecr, config.timestamp_offset)),
            retransmitted: false,
            late: false,
            sacked: false,
            mtu_probe: false,
        }
    }

    fn note(
        &mut self,
        sent: &Sent,
        is_sack: bool,
        rate: &mut Rate,
        rack: &mut Rack,
        min_rtt: Option<Duration>,
    ) {
        self.octets += sent.len;
        rate.on_delivered(self.now, sent, &mut self.newest);
        let echoes_earlier = self.echo.is_some_and(|(echo, offset)| {
            SeqNumber(echo) < SeqNumber((sent.at.as_millis() as u32).wrapping_add(offset))
        });
        rack.note_delivered(self.now, sent, echoes_earlier, min_rtt);
        let rtt = self.now.since(sent.at);
        if sent.retransmissions == 0 {
            self.rtts.oldest = self.rtts.oldest.max(Some(rtt));
            self.rtts.newest = Some(self.rtts.newest.map_or(rtt, |newest| newest.min(rtt)));
            self.late |= sent.status == Status::Lost;
        } else {
            self.retransmitted |= !is_sack;
        }
        self.sacked |= is_sack;
        self.mtu_probe |= sent.mtu_probe;
    }

    fn rtt(&self) -> Rtts {
        let oldest = self.rtts.oldest.filter(|_| !self.retransmitted);
        Rtts { oldest, is_stale: self.octets == 0, ..self.rtts }
    }
}
