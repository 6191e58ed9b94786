//! What is sent, and when (RFC 9293 § 3.8, RFC 5681, RFC 6675).

use wire::SeqNumber;
use wire::tcp::{Flags, Options, Repr};

use crate::Instant;
use crate::tcp::Segment;
use crate::tcp::congestion::Controller;
use crate::tcp::flow::{Flow, Recovery};
use crate::tcp::segment::bare;
use crate::tcp::state::State;

impl Flow {
    /// The next segment to send, if there is one. To be called until there is none, after every other call; a caller
    /// with a budget may stop earlier and go on later.
    ///
    /// The payload shares memory with what was queued.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Segment> {
        if let Some(repr) = self.reset.take() {
            return Some(Segment { repr, payload: None });
        }
        match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived => return self.syn(now),
            State::TimeWait => {}
            _ => {
                if let Some(segment) = self.data(now) {
                    return Some(segment);
                }
            }
        }
        if core::mem::take(&mut self.keep_alive_now) {
            // RFC 9293 § 3.8.4: an octet the peer has already makes it answer.
            let repr = Repr { seq: self.snd_una - 1, ..self.header(now, Flags::ACK) };
            return Some(Segment { repr, payload: None });
        }
        if self.ack.now {
            return Some(Segment { repr: self.header(now, Flags::ACK), payload: None });
        }
        None
    }

    fn syn(&mut self, now: Instant) -> Option<Segment> {
        if !core::mem::take(&mut self.syn_pending) {
            // A challenge while the handshake lasts.
            return (self.state == State::SynReceived && core::mem::take(&mut self.ack.now))
                .then(|| Segment { repr: self.header(now, Flags::ACK), payload: None });
        }
        self.ack.now = false;
        let answer = self.state == State::SynReceived;
        let flags = if answer { Flags::SYN | Flags::ACK } else { Flags::SYN };
        let repr = Repr {
            // Not scaled (RFC 7323 § 2.2).
            window: self.rcv_wnd.capacity.min(u16::MAX.into()) as u16,
            options: self.negotiated.syn_options(&self.config, now, answer),
            ..self.bare(self.iss, flags)
        };
        if self.snd_nxt == self.iss {
            self.snd_nxt = self.iss + 1;
            self.timed = Some((self.snd_nxt, now));
        }
        self.timers.retransmit.get_or_insert(now + self.rto.timeout());
        Some(Segment { repr, payload: None })
    }

    /// Data, first what is lost, then what is new; with it FIN.
    fn data(&mut self, now: Instant) -> Option<Segment> {
        let mss = self.payload_mss();
        if let Some((seq, len)) = self.next_retransmission() {
            let len = len.min(mss);
            if !core::mem::take(&mut self.retransmit_now) && self.pipe() + len > self.congestion.cwnd() {
                return None;
            }
            let segment = self.segment(now, seq, len)?;
            let end = seq + segment.len();
            if let Recovery::Fast { high_rxt, .. } | Recovery::Loss { high_rxt, .. } = &mut self.recovery {
                *high_rxt = high_rxt.latest(end);
            }
            self.timed = None;
            return Some(segment);
        }
        self.retransmit_now = false;
        self.new_data(now, mss)
    }

    /// What to send again: from where, and how much at most (NextSeg of RFC 6675 § 4; RFC 6582 without selective
    /// acknowledgments).
    fn next_retransmission(&self) -> Option<(SeqNumber, u32)> {
        let una = self.snd_una;
        let mss = self.negotiated.mss;
        match self.recovery {
            Recovery::Open => None,
            Recovery::Loss { recover, high_rxt } => {
                self.scoreboard.next_missing(una, high_rxt.latest(una), recover)
            }
            Recovery::Fast { high_rxt, .. } if self.negotiated.sack => {
                let from = high_rxt.latest(una);
                if let Some(lost) = self.scoreboard.next_hole(una, from, mss, false) {
                    return Some(lost);
                }
                // Three duplicate acknowledgments without enough octets above: the first segment all the same.
                if self.retransmit_now && from == una {
                    return self.scoreboard.next_missing(una, una, self.snd_nxt);
                }
                // Rule 3, where there is nothing new to send.
                let nothing_new = self.snd_nxt >= self.queue_end();
                nothing_new.then(|| self.scoreboard.next_hole(una, from, mss, true)).flatten()
            }
            Recovery::Fast { .. } => self.retransmit_now.then(|| (una, self.snd_nxt.since(una))),
        }
    }

    /// Octets in the network.
    fn pipe(&self) -> u32 {
        let (una, nxt, mss) = (self.snd_una, self.snd_nxt, self.negotiated.mss);
        let in_flight = nxt.since(una);
        match self.recovery {
            Recovery::Loss { recover, high_rxt } => self.scoreboard.pipe(una, nxt, high_rxt, recover, mss),
            Recovery::Fast { high_rxt, .. } if self.negotiated.sack => {
                self.scoreboard.pipe(una, nxt, high_rxt, una, mss)
            }
            Recovery::Open if self.negotiated.sack => self.scoreboard.pipe(una, nxt, una, una, mss),
            // Each duplicate acknowledgment says that a segment has arrived (RFC 5681 § 3.2, RFC 3042).
            _ => in_flight.saturating_sub(self.duplicate_acks.saturating_mul(mss)),
        }
    }

    fn new_data(&mut self, now: Instant, mss: u32) -> Option<Segment> {
        let (seq, end) = (self.snd_nxt, self.queue_end());
        if seq > end || seq == end && !self.send_closed {
            self.probe_now = false;
            return None;
        }
        let queued = end.since(seq);
        let fin_only = queued == 0;
        let in_flight = seq.since(self.snd_una);
        let idle = in_flight == 0;
        if idle && now.since(self.last_sent) > self.rto.timeout() {
            self.congestion.on_idle();
        }
        let window = self.snd_wnd.size.saturating_sub(in_flight);
        let mut len = queued.min(window).min(mss);
        if core::mem::take(&mut self.probe_now) {
            // At least one octet, whatever the window (RFC 9293 § 3.8.6.1).
            len = len.max(queued.min(1));
        } else {
            let worth = if fin_only {
                window > 0 || !idle
            } else {
                len > 0
                    && self.snd_wnd.is_worth_sending(
                        len,
                        queued,
                        mss,
                        idle,
                        self.config.nagle && !self.send_closed,
                    )
            };
            if !worth {
                if idle {
                    self.timers.persist.get_or_insert(now + self.rto.timeout());
                }
                return None;
            }
            if self.pipe() + len > self.congestion.cwnd() && !idle {
                return None;
            }
        }
        let segment = self.segment(now, seq, len)?;
        self.snd_nxt = seq + segment.len();
        self.timers.persist = None;
        if self.timed.is_none() {
            self.timed = Some((self.snd_nxt, now));
        }
        Some(segment)
    }

    /// A segment of up to `len` octets from `seq` on, with FIN if that follows them.
    fn segment(&mut self, now: Instant, seq: SeqNumber, len: u32) -> Option<Segment> {
        let end = self.queue_end();
        let offset = seq.since(self.queue_start());
        let len = len.min(if seq < end { end.since(seq) } else { 0 });
        // Without memory for a view there is another try at the next call or timer.
        let payload = if len > 0 { Some(self.queue.view(offset, len)?) } else { None };
        let len = payload.as_ref().map_or(0, |payload| payload.len() as u32);
        let mut flags = Flags::ACK;
        if seq + len == end {
            if len > 0 {
                flags |= Flags::PSH;
            }
            if self.send_closed {
                flags |= Flags::FIN;
            }
        }
        self.last_sent = now;
        self.timers.retransmit.get_or_insert(now + self.rto.timeout());
        let repr = Repr { seq, ..self.header(now, flags) };
        Some(Segment { repr, payload })
    }

    /// A header that acknowledges all that was received; no acknowledgment is owed any more.
    fn header(&mut self, now: Instant, flags: Flags) -> Repr {
        let mut options =
            Options { timestamps: self.negotiated.timestamps(&self.config, now), ..Options::NONE };
        if self.negotiated.sack && self.received.has_report() {
            self.received.report(&mut options);
        }
        let window = self.rcv_wnd.advertise(self.rcv_nxt, self.unread, self.rcv_mss, self.rcv_shift());
        self.ack.now = false;
        self.ack.unacknowledged = 0;
        self.ack.last = self.rcv_nxt;
        self.timers.delayed_ack = None;
        Repr { window, options, ..self.bare(self.snd_nxt, flags) }
    }

    pub(crate) fn bare(&self, seq: SeqNumber, flags: Flags) -> Repr {
        let ack = if flags.has(Flags::ACK) { self.rcv_nxt } else { SeqNumber(0) };
        bare(self.config.local_port, self.config.remote_port, seq, ack, flags)
    }

    /// Octets of payload that fit a segment beside its options (RFC 6691).
    fn payload_mss(&self) -> u32 {
        let mut options = 0;
        if self.negotiated.timestamps.is_some() {
            options += 12;
        }
        if self.negotiated.sack && self.received.has_report() {
            options = 40;
        }
        self.negotiated.mss.saturating_sub(options).max(1)
    }
}
