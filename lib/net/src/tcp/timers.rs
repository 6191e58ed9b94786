//! [`Timers`]: a flow's deadlines, and what happens when they have come.

use core::time::Duration;

use wire::tcp::Flags;

use crate::Instant;
use crate::tcp::flow::{Error, Flow};
use crate::tcp::state::State;

/// Maximum segment lifetime (RFC 9293 § 3.4.2 says two minutes; nobody has waited as long for decades).
pub(crate) const MSL: Duration = Duration::from_secs(30);
/// How long a peer may leave a closed connection half open.
pub(crate) const FIN_WAIT_2: Duration = Duration::from_secs(60);

/// What a flow waits for. Each is set or not; the earliest is the flow's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// The retransmission timer (RFC 6298 § 5).
    pub(crate) retransmit: Option<Instant>,
    /// A segment that is late is lost when this expires (RFC 8985 § 6.3).
    pub(crate) reorder: Option<Instant>,
    /// The probe timeout (RFC 8985 § 7.2).
    pub(crate) tail_loss: Option<Instant>,
    /// The next segment may leave.
    pub(crate) pacing: Option<Instant>,
    /// What is less than a segment has waited under the cork for long enough.
    pub(crate) cork: Option<Instant>,
    /// The persist timer: a window is closed and there is something to send (RFC 9293 § 3.8.6.1).
    pub(crate) persist: Option<Instant>,
    /// An acknowledgment is delayed (RFC 9293 § 3.8.6.3).
    pub(crate) delayed_ack: Option<Instant>,
    /// 2 MSL in TIME-WAIT.
    pub(crate) time_wait: Option<Instant>,
    /// Nothing was heard for long (RFC 9293 § 3.8.4).
    pub(crate) keep_alive: Option<Instant>,
}

impl Timers {
    /// The earliest.
    pub(crate) fn next(&self) -> Option<Instant> {
        // Without branches: it is asked for after every segment.
        let next = self.all().into_iter().fold(u64::MAX, |next, at| next.min(at.map_or(u64::MAX, |at| at.0)));
        Some(Instant(next)).filter(|next| next.0 != u64::MAX)
    }

    /// The same deadlines by a clock that says `to` where it said `from`.
    pub(crate) fn move_clock(&mut self, from: Instant, to: Instant) {
        let move_one = |at: Option<Instant>| at.map(|at| at.moved(from, to));
        let [retransmit, reorder, tail_loss, pacing, cork, persist, delayed_ack, time_wait, keep_alive] =
            self.all().map(move_one);
        *self = Self {
            retransmit,
            reorder,
            tail_loss,
            pacing,
            cork,
            persist,
            delayed_ack,
            time_wait,
            keep_alive,
        };
    }

    fn all(&self) -> [Option<Instant>; 9] {
        [
            self.retransmit,
            self.reorder,
            self.tail_loss,
            self.pacing,
            self.cork,
            self.persist,
            self.delayed_ack,
            self.time_wait,
            self.keep_alive,
        ]
    }
}

/// Takes a deadline that has come.
pub(crate) fn expired(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|deadline| *deadline <= now).is_some()
}

impl Flow {
    /// When [`Self::handle_timeout`] has work. `None`: nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due; [`Self::poll_transmit`] follows.
    pub fn handle_timeout(&mut self, now: Instant) {
        if expired(&mut self.timers.time_wait, now) {
            return self.end(None);
        }
        if expired(&mut self.timers.delayed_ack, now) {
            self.ack.now = true;
        }
        // The segment that waited is there for the asking.
        expired(&mut self.timers.pacing, now);
        if expired(&mut self.timers.cork, now) {
            self.uncork_now = true;
        }
        if expired(&mut self.timers.reorder, now) {
            self.detect_losses(now);
        }
        if expired(&mut self.timers.retransmit, now) {
            self.handle_retransmit_timeout(now);
        }
        if expired(&mut self.timers.tail_loss, now) {
            self.tail_loss_now = true;
        }
        if expired(&mut self.timers.persist, now) {
            self.handle_persist_timeout(now);
        }
        if expired(&mut self.timers.keep_alive, now) {
            self.handle_keep_alive(now);
        }
    }

    /// RFC 6298 § 5.4 to § 5.7, RFC 9293 § 3.8.3.
    fn handle_retransmit_timeout(&mut self, now: Instant) {
        let again = self.retransmitting_since.is_some();
        let tries = self.config.syn_retries.filter(|_| self.state == State::SynSent);
        if self.is_given_up(now) || tries.is_some_and(|tries| self.syns > tries) {
            return self.end(Some(Error::TimedOut));
        }
        self.tally.timeouts = self.tally.timeouts.saturating_add(1);
        self.rto.back_off();
        // If only acknowledgments were lost, the next one echoes a segment from before this wait: measured, it would make
        // the timeout longer each time.
        self.echoes_from = Some(self.config.timestamp(now));
        self.arm_retransmit(now);
        self.timers.tail_loss = None;
        if self.state.is_synchronized() {
            self.begin_loss_recovery(now, again);
        } else {
            self.syn_pending = true;
        }
    }

    /// RFC 9293 § 3.8.6.1; also the override of § 3.8.6.2.1.
    fn handle_persist_timeout(&mut self, now: Instant) {
        if self.is_given_up(now) {
            return self.end(Some(Error::TimedOut));
        }
        self.rto.back_off();
        self.timers.persist = Some(self.by_user_timeout(now, now + self.rto.timeout()));
        self.probe_now = true;
    }

    /// Whether this has been going on in vain for too long.
    fn is_given_up(&mut self, now: Instant) -> bool {
        let since = *self.retransmitting_since.get_or_insert(now);
        let waiting = self.waiting_since.map_or(Duration::ZERO, |since| now.since(since));
        now.since(since) >= self.config.give_up
            || self.config.user_timeout.is_some_and(|user_timeout| waiting >= user_timeout)
    }

    /// RFC 9293 § 3.8.4. With a user timeout that decides, not the number of probes (RFC 5482, as Linux has it).
    fn handle_keep_alive(&mut self, now: Instant) {
        let Some(config) = self.config.keep_alive else { return };
        let is_over = match self.config.user_timeout {
            Some(user_timeout) => {
                let silent = config.idle + config.interval * self.keep_alive_probes;
                self.keep_alive_probes > 0 && silent >= user_timeout
            }
            None => self.keep_alive_probes >= config.probes,
        };
        if is_over {
            self.reset = Some(self.bare(self.snd_nxt, Flags::RST | Flags::ACK));
            return self.end(Some(Error::TimedOut));
        }
        self.keep_alive_probes = self.keep_alive_probes.saturating_add(1);
        self.timers.keep_alive = Some(now + config.interval);
        // Data in flight asks for an answer, too.
        self.keep_alive_now = self.snd_una == self.snd_nxt;
    }

    /// Something was heard from the peer.
    pub(crate) fn restart_keep_alive(&mut self, now: Instant) {
        self.keep_alive_probes = 0;
        self.timers.keep_alive = self.config.keep_alive.map(|config| now + config.idle);
    }

    /// Enters TIME-WAIT, or stays in it for as long again.
    pub(crate) fn enter_time_wait(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.timers = Timers { time_wait: Some(now + MSL * 2), ..Timers::default() };
    }

    /// Enters FIN-WAIT-2, where a peer of a closed connection may not leave it for ever.
    pub(crate) fn enter_fin_wait_2(&mut self, now: Instant) {
        self.state = State::FinWait2;
        if self.receive_closed {
            match self.config.fin_wait_2 {
                Some(limit) => self.timers.time_wait = Some(now + limit),
                None => self.abort(),
            }
        }
    }
}
