//! [`Bbr`]: version 3 (draft-ietf-ccwg-bbr). It measures the path, its bandwidth and its least round-trip time, and sends
//! as much as that path holds, at that rate.
//!
//! Version 3 and not 1, because 1 does not answer losses: it takes what it likes from flows that do, and fills shallow
//! buffers with retransmissions. Names are those of the draft, in which § numbers are of revision 05.
//!
//! Left out: ECN as a signal of its own (a mark counts as a loss, as in RFC 3168), offload budgets (segments are single).

use core::time::Duration;

use super::{Ack, Controller, Lost, MAX_CWND, initial_window};
use crate::Instant;

/// Tolerated loss in a round trip, in percent (BBR.LossThresh).
const LOSS_THRESH: u64 = 2;
/// What remains of a bound after a loss, in percent (BBR.Beta).
const BETA: u64 = 70;
/// What is left free for others, in percent of the bound (BBR.Headroom).
const HEADROOM: u64 = 15;
/// Paced a little below the bandwidth, so that queues drain (BBR.PacingMarginPercent).
const PACING_MARGIN: u64 = 1;
/// Stretches of loss in a round trip that end Startup (BBRStartupFullLossCnt).
const STARTUP_FULL_LOSSES: u32 = 6;
const MIN_RTT_FILTER: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// Rounds over which aggregated acknowledgments are remembered (BBR.ExtraAckedFilterLen), halved.
const EXTRA_ACKED_ROUNDS: u64 = 5;

/// § 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBwDown,
    ProbeBwCruise,
    ProbeBwRefill,
    ProbeBwUp,
    ProbeRtt,
}

impl State {
    const fn is_probe_bw(self) -> bool {
        matches!(self, Self::ProbeBwDown | Self::ProbeBwCruise | Self::ProbeBwRefill | Self::ProbeBwUp)
    }

    /// Pacing and window gain in percent (§ 5.1.1's table).
    const fn gains(self) -> (u64, u64) {
        match self {
            Self::Startup => (277, 200),
            Self::Drain => (50, 200),
            Self::ProbeBwDown => (90, 200),
            Self::ProbeBwCruise | Self::ProbeBwRefill => (100, 200),
            Self::ProbeBwUp => (125, 225),
            Self::ProbeRtt => (100, 50),
        }
    }
}

/// Where the acknowledgments of a bandwidth probe are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckPhase {
    Init,
    Refilling,
    Starting,
    Feedback,
    Stopping,
}

/// What a spurious loss gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Undo {
    state: Option<State>,
    bw_shortterm: u64,
    inflight_shortterm: u32,
    inflight_longterm: u32,
}

/// The model of the path. Rates are octets a second, sizes octets; the largest value stands for infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bbr {
    mss: u32,
    cwnd: u32,
    prior_cwnd: u32,
    pacing_rate: u64,
    random: u32,

    state: State,
    ack_phase: AckPhase,
    undo: Option<Undo>,
    is_recovering: bool,
    idle_restart: bool,

    /// BBR.max_bw_filter: of the cycle before and of this one.
    max_bw: [u64; 2],
    bw_shortterm: u64,
    bw: u64,
    bw_latest: u64,
    inflight_latest: u32,
    inflight_shortterm: u32,
    inflight_longterm: u32,

    min_rtt: Option<Duration>,
    min_rtt_stamp: Instant,
    probe_rtt_min_delay: Option<Duration>,
    probe_rtt_min_stamp: Instant,
    probe_rtt_expired: bool,
    probe_rtt_done_stamp: Option<Instant>,
    probe_rtt_round_done: bool,

    delivered: u64,
    next_round_delivered: u64,
    round_start: bool,
    round_count: u64,
    drain_start_round: u64,
    rounds_since_probe_up: u32,
    cycle_stamp: Instant,
    bw_probe_wait: Duration,
    bw_probe_up_rounds: u32,
    bw_probe_up_acked: u32,
    probe_up_acked_per_inc: u32,
    is_bw_probe_sample: bool,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,

    loss_round_delivered: u64,
    loss_round_start: bool,
    is_loss_in_round: bool,
    losses_in_round: u32,

    full_bw: u64,
    full_bw_count: u32,
    full_bw_now: bool,
    full_bw_reached: bool,

    extra_acked: [u32; 2],
    extra_acked_round: u64,
    extra_acked_interval_start: Instant,
    extra_acked_delivered: u64,
}

impl Bbr {
    pub(super) fn new(mss: u32, now: Instant, seed: u32) -> Self {
        let cwnd = initial_window(mss);
        Self {
            mss,
            cwnd,
            prior_cwnd: 0,
            // InitPacingRate, for a round trip of a millisecond.
            pacing_rate: u64::from(cwnd) * 2770,
            random: seed | 1,
            state: State::Startup,
            ack_phase: AckPhase::Init,
            undo: None,
            is_recovering: false,
            idle_restart: false,
            max_bw: [0; 2],
            bw_shortterm: u64::MAX,
            bw: 0,
            bw_latest: 0,
            inflight_latest: 0,
            inflight_shortterm: u32::MAX,
            inflight_longterm: u32::MAX,
            min_rtt: None,
            min_rtt_stamp: now,
            probe_rtt_min_delay: None,
            probe_rtt_min_stamp: now,
            probe_rtt_expired: false,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            delivered: 0,
            next_round_delivered: 0,
            round_start: false,
            round_count: 0,
            drain_start_round: 0,
            rounds_since_probe_up: 0,
            cycle_stamp: now,
            bw_probe_wait: Duration::ZERO,
            bw_probe_up_rounds: 0,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: u32::MAX,
            is_bw_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            loss_round_delivered: 0,
            loss_round_start: false,
            is_loss_in_round: false,
            losses_in_round: 0,
            full_bw: 0,
            full_bw_count: 0,
            full_bw_now: false,
            full_bw_reached: false,
            extra_acked: [0; 2],
            extra_acked_round: 0,
            extra_acked_interval_start: now,
            extra_acked_delivered: 0,
        }
    }

    /// The same, with a clock that says `to` where it said `from`.
    pub(super) fn move_clock(&mut self, from: Instant, to: Instant) {
        for at in [
            &mut self.min_rtt_stamp,
            &mut self.probe_rtt_min_stamp,
            &mut self.cycle_stamp,
            &mut self.extra_acked_interval_start,
        ] {
            *at = at.moved(from, to);
        }
        self.probe_rtt_done_stamp = self.probe_rtt_done_stamp.map(|at| at.moved(from, to));
    }

    // The model (§ 5.5).

    fn update_model(&mut self, ack: &Ack) {
        self.update_latest_delivery_signals(ack);
        self.update_congestion_signals(ack);
        self.update_ack_aggregation(ack);
        self.check_full_bw_reached(ack);
        self.check_startup_high_loss(ack);
        if self.state == State::Startup && self.full_bw_reached {
            self.state = State::Drain;
            self.drain_start_round = self.round_count;
        }
        if self.state == State::Drain
            && (ack.in_flight <= self.inflight(100) || self.round_count > self.drain_start_round + 3)
        {
            self.start_down(ack.now);
        }
        self.update_probe_bw_cycle(ack);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack);
        if self.loss_round_start {
            self.bw_latest = ack.rate.rate();
            self.inflight_latest = ack.rate.delivered;
            self.losses_in_round = 0;
        }
        self.bw = self.max_bw().min(self.bw_shortterm);
    }

    fn max_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    fn update_latest_delivery_signals(&mut self, ack: &Ack) {
        self.loss_round_start = false;
        self.bw_latest = self.bw_latest.max(ack.rate.rate());
        self.inflight_latest = self.inflight_latest.max(ack.rate.delivered);
        if ack.rate.prior_delivered >= self.loss_round_delivered {
            self.loss_round_delivered = self.delivered;
            self.loss_round_start = true;
        }
    }

    fn update_congestion_signals(&mut self, ack: &Ack) {
        self.round_start = ack.rate.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.start_round();
            self.round_count += 1;
            self.rounds_since_probe_up = self.rounds_since_probe_up.saturating_add(1);
        }
        let rate = ack.rate.rate();
        if rate > 0 && (rate >= self.max_bw() || !ack.rate.app_limited) {
            self.max_bw[1] = self.max_bw[1].max(rate);
        }
        if !self.loss_round_start {
            return;
        }
        let is_probing = matches!(self.state, State::Startup | State::ProbeBwRefill | State::ProbeBwUp);
        if self.is_loss_in_round && !is_probing {
            if self.bw_shortterm == u64::MAX {
                self.bw_shortterm = self.max_bw();
            }
            if self.inflight_shortterm == u32::MAX {
                self.inflight_shortterm = self.cwnd;
            }
            self.bw_shortterm = self.bw_latest.max(percent(self.bw_shortterm, BETA));
            self.inflight_shortterm =
                self.inflight_latest.max(percent(self.inflight_shortterm.into(), BETA) as u32);
        }
        self.is_loss_in_round = false;
    }

    fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    fn update_ack_aggregation(&mut self, ack: &Ack) {
        let interval = ack.now.since(self.extra_acked_interval_start);
        let mut expected = bdp(self.bw, interval);
        if self.extra_acked_delivered <= expected {
            self.extra_acked_delivered = 0;
            self.extra_acked_interval_start = ack.now;
            expected = 0;
        }
        self.extra_acked_delivered += u64::from(ack.delivered);
        let extra = (self.extra_acked_delivered - expected).min(u64::from(self.cwnd)) as u32;
        let rounds = if self.full_bw_reached { EXTRA_ACKED_ROUNDS } else { 1 };
        if self.round_count >= self.extra_acked_round + rounds {
            self.extra_acked_round = self.round_count;
            self.extra_acked = [if self.full_bw_reached { self.extra_acked[1] } else { 0 }, 0];
        }
        self.extra_acked[1] = self.extra_acked[1].max(extra);
    }

    fn reset_full_bw(&mut self, full_bw: u64) {
        (self.full_bw, self.full_bw_count, self.full_bw_now) = (full_bw, 0, false);
    }

    fn check_full_bw_reached(&mut self, ack: &Ack) {
        if self.full_bw_now || !self.round_start || ack.rate.app_limited {
            return;
        }
        let rate = ack.rate.rate();
        if rate >= self.full_bw.saturating_mul(5) / 4 {
            self.reset_full_bw(rate);
            return;
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= 3;
        self.full_bw_reached |= self.full_bw_now;
    }

    fn check_startup_high_loss(&mut self, ack: &Ack) {
        if self.state != State::Startup || !self.loss_round_start || !ack.is_recovering {
            return;
        }
        let losses = if ack.has_sack { STARTUP_FULL_LOSSES } else { 1 };
        if self.losses_in_round >= losses
            && self.is_inflight_too_high(ack.rate.lost, ack.rate.sent_in_flight, ack.has_sack)
        {
            if let Some(undo) = &mut self.undo {
                undo.state = Some(State::Startup);
            }
            self.full_bw_reached = true;
            self.inflight_longterm = self.bdp().max(u64::from(self.inflight_latest)) as u32;
        }
    }

    fn reset_short_term_model(&mut self) {
        (self.bw_shortterm, self.inflight_shortterm) = (u64::MAX, u32::MAX);
    }

    fn reset_congestion_signals(&mut self) {
        self.is_loss_in_round = false;
        (self.bw_latest, self.inflight_latest) = (0, 0);
    }

    fn update_min_rtt(&mut self, ack: &Ack) {
        self.probe_rtt_expired = ack.now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = ack.rtt
            && (self.probe_rtt_expired || self.probe_rtt_min_delay.is_none_or(|least| rtt < least))
        {
            self.probe_rtt_min_delay = Some(rtt);
            self.probe_rtt_min_stamp = ack.now;
        }
        let Some(least) = self.probe_rtt_min_delay else { return };
        if ack.now > self.min_rtt_stamp + MIN_RTT_FILTER || self.min_rtt.is_none_or(|min_rtt| least < min_rtt)
        {
            self.min_rtt = Some(least);
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    // ProbeBW (§ 5.3.3).

    fn start_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = u32::MAX;
        // PickProbeWait.
        self.rounds_since_probe_up = self.next_random() & 1;
        self.bw_probe_wait =
            Duration::from_secs(2) + Duration::from_millis(u64::from(self.next_random() % 1000));
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::Stopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    fn start_refill(&mut self) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    fn start_up(&mut self, ack: &Ack) {
        self.ack_phase = AckPhase::Starting;
        self.start_round();
        self.reset_full_bw(ack.rate.rate());
        self.state = State::ProbeBwUp;
        self.raise_inflight_longterm_slope();
    }

    fn update_probe_bw_cycle(&mut self, ack: &Ack) {
        if !self.full_bw_reached || self.adapt_long_term_model(ack) {
            return;
        }
        let state = self.state;
        match state {
            State::ProbeBwDown | State::ProbeBwCruise if self.is_time_to_probe(ack.now) => {
                self.start_refill()
            }
            State::ProbeBwDown
                if ack.in_flight <= self.inflight_with_headroom() && ack.in_flight <= self.inflight(100) =>
            {
                self.state = State::ProbeBwCruise;
            }
            State::ProbeBwRefill if self.round_start => {
                self.is_bw_probe_sample = true;
                self.start_up(ack);
            }
            State::ProbeBwUp if self.is_time_to_go_down(ack) => {
                self.prev_probe_too_high = false;
                self.start_down(ack.now);
            }
            _ => {}
        }
    }

    /// Also where a flow of NewReno would have grown by as much, so that both get their share.
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let reno_rounds = (self.target_inflight() / self.mss.max(1)).min(63);
        now > self.cycle_stamp + self.bw_probe_wait || self.rounds_since_probe_up >= reno_rounds
    }

    fn is_time_to_go_down(&mut self, ack: &Ack) -> bool {
        if self.prev_probe_too_high && ack.in_flight >= self.inflight_longterm {
            self.prev_probe_precautionary = true;
            return true;
        }
        if ack.is_limited && self.cwnd >= self.inflight_longterm {
            self.reset_full_bw(ack.rate.rate());
        } else if self.full_bw_now {
            return true;
        }
        false
    }

    /// `true`: the state was changed.
    fn adapt_long_term_model(&mut self, ack: &Ack) -> bool {
        if self.ack_phase == AckPhase::Starting && self.round_start {
            self.ack_phase = AckPhase::Feedback;
        }
        if self.ack_phase == AckPhase::Stopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.state.is_probe_bw() {
                if !ack.rate.app_limited {
                    self.max_bw = [self.max_bw[1], 0];
                }
                if self.prev_probe_precautionary && !self.prev_probe_too_high {
                    self.start_refill();
                    return true;
                }
            }
        }
        let is_too_high = self.is_inflight_too_high(ack.rate.lost, ack.rate.sent_in_flight, ack.has_sack);
        if !is_too_high && self.inflight_longterm != u32::MAX {
            self.inflight_longterm = self.inflight_longterm.max(ack.rate.sent_in_flight);
            if self.state == State::ProbeBwUp {
                self.probe_inflight_longterm_upward(ack);
            }
        }
        false
    }

    fn raise_inflight_longterm_slope(&mut self) {
        let growth = 1_u32 << self.bw_probe_up_rounds;
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(30);
        self.probe_up_acked_per_inc = (self.cwnd / growth).max(self.mss).max(1);
    }

    fn probe_inflight_longterm_upward(&mut self, ack: &Ack) {
        if !ack.is_limited || self.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(ack.delivered);
        let delta = self.bw_probe_up_acked / self.probe_up_acked_per_inc;
        self.bw_probe_up_acked -= delta * self.probe_up_acked_per_inc;
        let more = delta.saturating_mul(self.mss);
        self.inflight_longterm = self.inflight_longterm.saturating_add(more).min(MAX_CWND);
        if self.round_start {
            self.raise_inflight_longterm_slope();
        }
    }

    fn is_inflight_too_high(&self, lost: u32, sent_in_flight: u32, has_sack: bool) -> bool {
        u64::from(lost) > percent(sent_in_flight.into(), LOSS_THRESH) || lost > 0 && !has_sack
    }

    fn target_inflight(&self) -> u32 {
        self.bdp().min(u64::from(self.cwnd)) as u32
    }

    // ProbeRTT (§ 5.3.4).

    fn check_probe_rtt(&mut self, ack: &Ack) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.state = State::ProbeRtt;
            self.save_cwnd();
            self.probe_rtt_done_stamp = None;
            self.ack_phase = AckPhase::Stopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            match self.probe_rtt_done_stamp {
                None if ack.in_flight <= self.probe_rtt_cwnd() => {
                    self.probe_rtt_done_stamp = Some(ack.now + PROBE_RTT_DURATION);
                    self.probe_rtt_round_done = false;
                    self.start_round();
                }
                None => {}
                Some(_) => {
                    self.probe_rtt_round_done |= self.round_start;
                    if self.probe_rtt_round_done {
                        self.check_probe_rtt_done(ack.now);
                    }
                }
            }
        }
        if ack.rate.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt_done_stamp.is_some_and(|done| now > done) {
            self.probe_rtt_min_stamp = now;
            self.cwnd = self.cwnd.max(self.prior_cwnd);
            self.reset_short_term_model();
            if self.full_bw_reached {
                self.start_down(now);
                self.state = State::ProbeBwCruise;
            } else {
                self.state = State::Startup;
            }
        }
    }

    fn probe_rtt_cwnd(&self) -> u32 {
        self.bdp_multiple(State::ProbeRtt.gains().1).max(self.min_cwnd())
    }

    // What follows from the model (§ 5.6).

    fn update_control(&mut self, ack: &Ack) {
        self.set_pacing_rate(self.state.gains().0);
        let mut max_inflight = self
            .bdp_multiple(self.state.gains().1)
            .saturating_add(self.extra_acked[0].max(self.extra_acked[1]));
        max_inflight = self.quantized(max_inflight);
        let grown = self.cwnd.saturating_add(ack.delivered);
        if self.full_bw_reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivered < u64::from(initial_window(self.mss)) {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(self.min_cwnd());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        let cap = match self.state {
            State::ProbeBwCruise | State::ProbeRtt => self.inflight_with_headroom(),
            state if state.is_probe_bw() => self.inflight_longterm,
            _ => u32::MAX,
        };
        let cap = cap.min(self.inflight_shortterm).max(self.min_cwnd());
        self.cwnd = self.cwnd.min(cap).min(MAX_CWND);
    }

    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), 100 - PACING_MARGIN);
        if rate > 0 && (self.full_bw_reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// BBR.MinPipeCwnd.
    fn min_cwnd(&self) -> u32 {
        4 * self.mss
    }

    fn bdp(&self) -> u64 {
        self.min_rtt.map_or(0, |min_rtt| bdp(self.bw, min_rtt)).min(MAX_CWND.into())
    }

    fn bdp_multiple(&self, gain: u64) -> u32 {
        if self.min_rtt.is_none() || self.bw == 0 {
            return initial_window(self.mss);
        }
        percent(self.bdp(), gain).min(MAX_CWND.into()) as u32
    }

    fn quantized(&self, inflight: u32) -> u32 {
        let quantum = (self.pacing_rate / 1000).min(64 * 1024).max(2 * u64::from(self.mss)) as u32;
        let up = if self.state == State::ProbeBwUp { 2 * self.mss } else { 0 };
        inflight.max(quantum).max(self.min_cwnd()).saturating_add(up)
    }

    fn inflight(&self, gain: u64) -> u32 {
        self.quantized(self.bdp_multiple(gain))
    }

    fn inflight_with_headroom(&self) -> u32 {
        if self.inflight_longterm == u32::MAX {
            return u32::MAX;
        }
        let headroom = (percent(self.inflight_longterm.into(), HEADROOM) as u32).max(self.mss);
        self.inflight_longterm.saturating_sub(headroom).max(self.min_cwnd())
    }

    fn save_cwnd(&mut self) {
        let is_reduced = self.is_recovering || self.state == State::ProbeRtt;
        self.prior_cwnd = if is_reduced { self.prior_cwnd.max(self.cwnd) } else { self.cwnd };
    }

    /// NoteLoss.
    fn note_loss(&mut self) {
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
            self.save_cwnd();
            self.undo = Some(Undo {
                state: None,
                bw_shortterm: self.bw_shortterm,
                inflight_shortterm: self.inflight_shortterm,
                inflight_longterm: self.inflight_longterm,
            });
        }
        self.is_loss_in_round = true;
    }

    /// Marsaglia's xorshift32: nobody gains by guessing it.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random >> 8
    }
}

impl Controller for Bbr {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.cwnd
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn is_reduced_proportionally(&self) -> bool {
        false
    }

    fn on_restart(&mut self, now: Instant, app_limited: bool) {
        if app_limited {
            self.idle_restart = true;
            self.extra_acked_interval_start = now;
            if self.state.is_probe_bw() {
                self.set_pacing_rate(100);
            } else if self.state == State::ProbeRtt {
                self.check_probe_rtt_done(now);
            }
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.delivered = ack.total_delivered;
        if self.min_rtt.is_none()
            && self.bw == 0
            && let Some(nanos) = ack.srtt.map(|srtt| srtt.as_nanos() as u64).filter(|nanos| *nanos > 0)
        {
            // InitPacingRate, as soon as there is a round-trip time.
            self.pacing_rate = (u64::from(initial_window(self.mss)) * 2_770_000_000 / nanos).max(1);
        }
        if !ack.is_recovering && core::mem::take(&mut self.is_recovering) {
            self.cwnd = self.cwnd.max(self.prior_cwnd);
        }
        self.update_model(ack);
        self.update_control(ack);
    }

    /// HandleLostPacket.
    fn on_lost(&mut self, lost: &Lost) {
        self.delivered = lost.total_delivered;
        self.note_loss();
        self.losses_in_round = self.losses_in_round.saturating_add(1);
        if !self.is_bw_probe_sample
            || !self.is_inflight_too_high(lost.lost_since, lost.sent_in_flight, lost.has_sack)
        {
            return;
        }
        // InflightAtLoss: what was in flight when the losses reached the threshold.
        let in_flight_before = lost.sent_in_flight.saturating_sub(lost.len);
        let lost_before = lost.lost_since.saturating_sub(lost.len);
        let prefix = percent(in_flight_before.into(), LOSS_THRESH).saturating_sub(lost_before.into()) * 100
            / (100 - LOSS_THRESH);
        let at_loss = in_flight_before.saturating_add(prefix as u32);
        // HandleInflightTooHigh.
        self.prev_probe_too_high = true;
        self.is_bw_probe_sample = false;
        if !lost.app_limited {
            self.inflight_longterm = at_loss.max(percent(self.target_inflight().into(), BETA) as u32);
        }
        if self.state == State::ProbeBwUp {
            if let Some(undo) = &mut self.undo {
                undo.state = Some(State::ProbeBwUp);
            }
            let began = self.cycle_stamp;
            self.start_down(began);
        }
    }

    fn on_congestion(&mut self, _now: Instant, _in_flight: u32) {
        self.note_loss();
        self.save_cwnd();
        self.is_recovering = true;
    }

    fn on_timeout(&mut self, _now: Instant, _in_flight: u32) {
        self.note_loss();
        self.save_cwnd();
        // What it may grow from; the model says how far.
        self.cwnd = self.mss;
    }

    fn on_spurious(&mut self, _now: Instant) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        self.is_loss_in_round = false;
        self.reset_full_bw(0);
        let Some(undo) = self.undo.take() else { return };
        self.bw_shortterm = self.bw_shortterm.max(undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(undo.inflight_longterm);
        match undo.state {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_bw_reached = false;
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::ProbeBwUp) if !matches!(self.state, State::ProbeBwUp | State::ProbeRtt) => {
                self.start_refill();
            }
            _ => {}
        }
    }

    fn on_idle(&mut self) {}

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.cwnd = self.cwnd.max(mss);
    }
}

fn percent(n: u64, percent: u64) -> u64 {
    (u128::from(n) * u128::from(percent) / 100).min(u128::from(u64::MAX)) as u64
}

/// Octets that fit a path of this rate and length.
fn bdp(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_nanos() / 1_000_000_000).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::tests::ack;
    use crate::tcp::rate::RateSample;

    const MSS: u32 = 1000;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A path of 10 MB/s and 50 ms, whose queue is endless: each call is a round trip.
    struct Path {
        bbr: Bbr,
        now: Instant,
        delivered: u64,
    }

    impl Path {
        const RATE: u64 = 10_000_000;

        fn round(&mut self, lost: u32) {
            let window = u64::from(self.bbr.cwnd);
            let took = MS(50).max(Duration::from_nanos(window * 1_000_000_000 / Self::RATE));
            let prior_delivered = self.delivered;
            if lost > 0 {
                self.bbr.on_lost(&Lost {
                    len: lost,
                    sent_in_flight: window as u32,
                    lost_since: lost,
                    total_delivered: self.delivered,
                    app_limited: false,
                    has_sack: true,
                });
            }
            self.now += took;
            self.delivered += window - u64::from(lost);
            let rate = RateSample {
                delivered: window as u32 - lost,
                interval: Some(took),
                prior_delivered,
                sent_in_flight: window as u32,
                lost,
                app_limited: false,
            };
            let ack = Ack {
                total_delivered: self.delivered,
                rtt: Some(took),
                rate,
                in_flight: self.bbr.cwnd / 2,
                ..ack(self.now, window as u32 - lost, Some(took))
            };
            self.bbr.on_ack(&ack);
        }
    }

    fn path() -> Path {
        Path { bbr: Bbr::new(MSS, Instant(0), 7), now: Instant(0), delivered: 0 }
    }

    #[test]
    fn startup_finds_the_bandwidth_then_cruises() {
        // § 5.3.1: three rounds without a quarter more end Startup.
        let mut path = path();
        let mut states = std::vec![State::Startup];
        for _ in 0..16 {
            path.round(0);
            if states.last() != Some(&path.bbr.state) {
                states.push(path.bbr.state);
            }
        }
        assert_eq!(states[..2], [State::Startup, State::Drain]);
        assert!(states[2].is_probe_bw(), "{states:?}");
        let bw = path.bbr.bw;
        assert!((9_900_000..=10_000_000).contains(&bw), "{bw}");
        assert_eq!(path.bbr.min_rtt, Some(MS(50)));
    }

    #[test]
    fn the_round_trip_is_probed_with_half_a_window() {
        // § 5.3.4.3.
        let mut path = path();
        let mut least = u32::MAX;
        for _ in 0..100 {
            path.round(0);
            if path.bbr.state == State::ProbeRtt {
                least = least.min(path.bbr.cwnd());
            }
        }
        assert!((200_000..=260_000).contains(&least), "{least}");
    }

    #[test]
    fn a_little_loss_is_tolerated_and_much_is_not() {
        // § 5.5.10: 2 % in a round trip.
        let mut path = path();
        for _ in 0..20 {
            path.round(0);
        }
        path.bbr.is_bw_probe_sample = true;
        path.round(path.bbr.cwnd() / 100);
        assert_eq!(path.bbr.inflight_longterm, u32::MAX);
        path.bbr.is_bw_probe_sample = true;
        let window = path.bbr.cwnd();
        path.round(window / 20);
        assert!(path.bbr.inflight_longterm < window, "{}", path.bbr.inflight_longterm);
        let bounded = path.bbr.inflight_longterm;
        path.bbr.on_spurious(path.now);
        assert!(path.bbr.inflight_longterm > bounded);
    }

    #[test]
    fn the_window_has_a_floor() {
        // BBR.MinPipeCwnd.
        let mut path = path();
        path.bbr.on_timeout(Instant(0), 0);
        path.round(0);
        assert!(path.bbr.cwnd() >= 4 * MSS);
    }
}
