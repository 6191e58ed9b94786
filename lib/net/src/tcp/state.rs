//! What a segment does to a connection (RFC 9293 § 3.10.7, RFC 5961, RFC 7323 § 5).

use core::time::Duration;

use frame::Frame;
use wire::SeqNumber;
use wire::tcp::{Flags, Repr};

use crate::Instant;
use crate::tcp::ack::Rtts;
use crate::tcp::congestion::Congestion;
use crate::tcp::flow::{Error, Events, Flow};
use crate::tcp::options::{Negotiated, TimestampState};
use crate::tcp::path_mtu::PathMtu;
use crate::tcp::segment::bare;
use crate::tcp::{Ecn, Segment};

/// The states of RFC 9293 § 3.3.2 but for LISTEN: a listener is no connection ([`super::Listener`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl State {
    /// Both sides know each other's sequence numbers.
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynReceived | Self::Closed)
    }

    /// The program may queue data.
    pub(crate) const fn may_send(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Established | Self::CloseWait)
    }

    /// The peer may still send data.
    pub(crate) const fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }
}

/// What became of a segment.
#[derive(Debug)]
#[must_use = "a segment that reopens a connection is to be given to the listener"]
pub enum Handled {
    /// It was processed or dropped; [`Flow::poll_transmit`] has the answer, if there is one.
    Done,
    /// The flow is in TIME-WAIT and this SYN may open a new connection in its place (RFC 9293 § 3.10.7.4, RFC 6191):
    /// drop the flow and give the segment to the listener.
    Reopen(Segment),
}

impl Flow {
    /// Takes a segment of this connection. Sends nothing itself.
    pub fn handle_segment(&mut self, now: Instant, segment: Segment) -> Handled {
        self.tally.note_received(now, &segment);
        match self.state {
            State::Closed => {}
            State::SynSent => self.handle_syn_sent(now, &segment),
            State::TimeWait
                if is_later_connection(now, self.negotiated.timestamps, self.rcv_nxt, &segment.repr) =>
            {
                return Handled::Reopen(segment);
            }
            _ => {
                self.handle_synchronized(now, segment);
            }
        }
        Handled::Done
    }

    /// § 3.10.7.3.
    fn handle_syn_sent(&mut self, now: Instant, segment: &Segment) {
        let repr = &segment.repr;
        let has_ack = repr.flags.has(Flags::ACK);
        if has_ack && (repr.ack <= self.iss || repr.ack > self.snd_nxt) {
            self.reset = super::reset_for(segment);
            return;
        }
        if repr.flags.has(Flags::RST) {
            // Without an acknowledgment of the SYN anybody could have sent it.
            if has_ack {
                self.end(Some(Error::Refused));
            }
            return;
        }
        if !repr.flags.has(Flags::SYN) {
            return;
        }
        self.take_syn(now, repr);
        if has_ack {
            self.snd_una = repr.ack;
            self.establish(now, repr);
            self.ecn.on_segment(segment.ecn, repr.flags, false);
            self.ack.now = true;
        } else {
            // Simultaneous open.
            self.state = State::SynReceived;
            self.syn_pending = true;
        }
    }

    /// Takes the peer's sequence number, window and options.
    pub(crate) fn take_syn(&mut self, now: Instant, syn: &Repr) {
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.ack.last = self.rcv_nxt;
        self.negotiated = Negotiated::with_syn(&self.config, now, &syn.options);
        self.path = PathMtu::new(self.negotiated.mss);
        self.congestion = Congestion::new(self.config.algorithm, self.negotiated.mss, now, self.iss.0);
        self.ecn.negotiate(self.config.ecn, syn.flags, self.syns <= 1);
        // The window of a SYN is never scaled (RFC 7323 § 2.2).
        self.snd_wnd.set(syn.seq, syn.ack, syn.window.into());
        self.rcv_wnd.right = self.rcv_nxt + self.rcv_wnd.capacity.min(u16::MAX.into());
    }

    /// The handshake is done.
    fn establish(&mut self, now: Instant, repr: &Repr) {
        self.state = if self.send_closed { State::FinWait1 } else { State::Established };
        self.syn_pending = false;
        self.tally.octets_acknowledged += 1;
        self.timers.retransmit = None;
        self.waiting_since = None;
        let rtt = self.syn_sent_at.take().map(|at| now.since(at));
        self.measure(now, repr, Rtts::single(rtt));
        if self.retransmitting_since.take().is_some() {
            self.rto.begin_after_loss();
        }
        self.rto.reset_backoff();
        self.snd_wnd.set(repr.seq, repr.ack, self.window_of(repr));
        self.restart_keep_alive(now);
        self.events.0 |= Events::CONNECTED.0;
    }

    pub(crate) fn window_of(&self, repr: &Repr) -> u32 {
        let shift = if repr.flags.has(Flags::SYN) { 0 } else { self.negotiated.snd_shift };
        u32::from(repr.window) << shift
    }

    /// § 3.10.7.4, check by check. `None`: the segment ended there.
    fn handle_synchronized(&mut self, now: Instant, segment: Segment) -> Option<()> {
        let Segment { mut repr, mut payload, ecn, size } = segment;
        self.strip_expected_syn(&mut repr)?;
        self.check_timestamps(now, &repr)?;
        self.check_sequence(now, &mut repr, &mut payload)?;
        self.check_reset(now, &repr)?;
        if repr.flags.has(Flags::SYN) {
            // RFC 5961 § 4.2: a peer that has really started anew answers the challenge with a reset.
            self.challenge(now);
            return None;
        }
        self.check_ack(now, &repr, payload.is_some())?;
        self.note_mark(ecn, &repr, payload.is_some());
        self.negotiated.note(now, repr.seq, self.ack.last, &repr.options);
        self.restart_keep_alive(now);
        self.receive_text(now, &repr, payload, size)?;
        self.check_fin(now);
        Some(())
    }

    /// A SYN again in SYN-RECEIVED: with an acknowledgment it is the other half of a simultaneous open, whose
    /// acknowledgment counts; without, our answer was lost.
    fn strip_expected_syn(&mut self, repr: &mut Repr) -> Option<()> {
        if self.state != State::SynReceived || !repr.flags.has(Flags::SYN) || repr.seq != self.irs {
            return Some(());
        }
        if !repr.flags.has(Flags::ACK) {
            self.syn_pending = true;
            return None;
        }
        repr.flags = Flags(repr.flags.0 & !Flags::SYN.0);
        repr.seq += 1;
        // As an acknowledgment of the peer's SYN-ACK.
        self.ack.now = true;
        Some(())
    }

    /// RFC 7323 § 3.2, § 5.3.
    fn check_timestamps(&mut self, now: Instant, repr: &Repr) -> Option<()> {
        if self.negotiated.timestamps.is_none() || repr.flags.has(Flags::RST) {
            return Some(());
        }
        repr.options.timestamps?;
        if self.negotiated.timestamps.is_some_and(|state| state.is_old(now, &repr.options)) {
            self.challenge(now);
            return None;
        }
        Some(())
    }

    /// First check: the segment lies in the window. What lies outside is cut off.
    fn check_sequence(&mut self, now: Instant, repr: &mut Repr, payload: &mut Option<Frame>) -> Option<()> {
        let window = self.rcv_wnd.size(self.rcv_nxt);
        let fin = u32::from(repr.flags.has(Flags::FIN));
        let payload_len = payload.as_ref().map_or(0, |payload| payload.len() as u32);
        let len = payload_len + fin + u32::from(repr.flags.has(Flags::SYN));
        let end = repr.seq + len;
        let acceptable = match (len, window) {
            // The right edge itself counts, as in Linux: there stand the acknowledgments of a peer that has filled the
            // window. If both have, and lost their first segments, nothing else could tell them.
            (0, _) => repr.seq.in_window(self.rcv_nxt, window + 1),
            // § 3.10.7.4: at a closed window acknowledgments and resets count all the same, but no text.
            (_, 0) => repr.seq == self.rcv_nxt,
            _ => {
                repr.seq.in_window(self.rcv_nxt, window)
                    || (end - 1).in_window(self.rcv_nxt, window)
                    || repr.seq <= self.rcv_nxt && end > self.rcv_nxt
            }
        };
        if acceptable {
            if len > 0 && window == 0 {
                // A FIN behind text that is not taken is not reached either.
                if payload.take().is_some() {
                    repr.flags = Flags(repr.flags.0 & !Flags::FIN.0);
                }
                self.ack.now = true;
            }
            return Some(());
        }
        if !repr.flags.has(Flags::RST) {
            if payload_len > 0 && end <= self.rcv_nxt {
                self.received.note_duplicate(repr.seq, repr.seq + payload_len);
            }
            if self.state == State::TimeWait && fin != 0 {
                // § 3.10.7.4, eighth check: our last acknowledgment was lost.
                self.enter_time_wait(now);
            }
            if len > 0 { self.ack.now = true } else { self.challenge(now) }
        }
        None
    }

    /// Second check (RFC 5961 § 3.2).
    fn check_reset(&mut self, now: Instant, repr: &Repr) -> Option<()> {
        if !repr.flags.has(Flags::RST) {
            return Some(());
        }
        if repr.seq != self.rcv_nxt {
            self.challenge(now);
            return None;
        }
        match self.state {
            // RFC 1337: a reset must not end TIME-WAIT.
            State::TimeWait => {}
            State::SynReceived if !self.passive => self.end(Some(Error::Refused)),
            State::Closing | State::LastAck => self.end(None),
            _ => self.end(Some(Error::Reset)),
        }
        None
    }

    /// Fifth check.
    fn check_ack(&mut self, now: Instant, repr: &Repr, has_text: bool) -> Option<()> {
        if !repr.flags.has(Flags::ACK) {
            return None;
        }
        if self.state == State::SynReceived {
            if repr.ack <= self.snd_una || repr.ack > self.snd_nxt {
                let (from, to) = (self.config.local_port, self.config.remote_port);
                self.reset = Some(bare(from, to, repr.ack, SeqNumber(0), Flags::RST));
                return None;
            }
            self.snd_una = self.iss + 1;
            self.establish(now, repr);
        }
        // RFC 5961 § 5.2: what is too old or was never sent is a guess.
        if repr.ack > self.snd_nxt || repr.ack < self.snd_una - self.snd_wnd.max.min(1 << 30) {
            self.challenge(now);
            return None;
        }
        if repr.ack >= self.snd_una {
            self.take_ack(now, repr, has_text);
        }
        match self.state {
            State::FinWait1 if self.fin_acknowledged => self.enter_fin_wait_2(now),
            State::Closing if self.fin_acknowledged => self.enter_time_wait(now),
            State::LastAck if self.fin_acknowledged => {
                self.end(None);
                return None;
            }
            _ => {}
        }
        Some(())
    }

    /// RFC 3168 § 6.1.3. The first mark is told at once (RFC 8257 § 3.2 has the reasons).
    fn note_mark(&mut self, ecn: Ecn, repr: &Repr, has_text: bool) {
        if self.ecn.on_segment(ecn, repr.flags, has_text) && has_text {
            self.ack.now = true;
        }
    }

    /// Seventh check: the text, as far as it is in the window and new.
    fn receive_text(
        &mut self,
        now: Instant,
        repr: &Repr,
        payload: Option<Frame>,
        size: Option<u16>,
    ) -> Option<()> {
        let len = payload.as_ref().map_or(0, |payload| payload.len() as u32);
        if !self.state.may_receive() {
            if len > 0 {
                self.ack.now = true;
            }
            if self.state == State::TimeWait && repr.flags.has(Flags::FIN) {
                self.enter_time_wait(now);
                self.ack.now = true;
            }
            return None;
        }
        if self.receive_closed && len > 0 && repr.seq + len > self.rcv_nxt {
            // Nobody will read it (RFC 1122 § 4.2.2.13).
            self.abort();
            return None;
        }
        let right = self.rcv_nxt + self.rcv_wnd.size(self.rcv_nxt);
        let end = repr.seq + len;
        if repr.flags.has(Flags::FIN) && end >= self.rcv_nxt && (end < right || end == self.rcv_nxt) {
            // Only the first one counts: the stream has one end.
            self.fin.get_or_insert(end);
            if end != self.rcv_nxt {
                self.ack.now = true;
            }
        }
        if let Some(mut payload) = payload {
            let mut seq = repr.seq;
            let each = size.map_or(len, |size| len.min(size.into()));
            self.rcv_mss = self.rcv_mss.max(each.min(u16::MAX.into()));
            if seq < self.rcv_nxt {
                let old = self.rcv_nxt.since(seq).min(len);
                self.received.note_duplicate(seq, seq + old);
                payload.pull(old as usize);
                seq += old;
                self.ack.now = true;
            }
            // Neither behind the window nor behind the end of the stream.
            let limit = self.fin.map_or(right, |fin| fin.earliest(right));
            payload.truncate(if seq < limit { limit.since(seq) as usize } else { 0 });
            if !payload.is_empty() && !self.take_text(now, seq, payload) {
                self.refused += 1;
                self.ack.now = true;
                return None;
            }
        }
        Some(())
    }

    /// `false`: there is no memory for it, and it is as if it had been lost.
    fn take_text(&mut self, now: Instant, seq: SeqNumber, payload: Frame) -> bool {
        // What was promised stays promised, though the buffer is smaller now.
        let buffer = self.rcv_wnd.capacity.max(self.unread.saturating_add(self.rcv_wnd.size(self.rcv_nxt)));
        if !self.received.make_room(buffer, &payload, seq == self.rcv_nxt) {
            return false;
        }
        let had_gaps = self.received.has_report();
        let before = self.rcv_nxt;
        self.rcv_nxt = self.received.insert(before, seq, payload);
        let delivered = self.rcv_nxt.since(before);
        self.unread += delivered;
        self.tally.octets_received += u64::from(delivered);
        if seq != before {
            self.tally.out_of_order = self.tally.out_of_order.saturating_add(1);
        }
        if delivered > 0 {
            self.events.0 |= Events::READABLE.0;
        }
        // RFC 5681 § 4.2: at once for what is out of order or fills a gap, and for every second segment.
        self.ack.unacknowledged += delivered;
        if seq != before || had_gaps || self.ack.unacknowledged >= 2 * self.rcv_mss || self.ack.quick > 0 {
            self.ack.quick = self.ack.quick.saturating_sub(1);
            self.ack.now = true;
        } else if self.timers.delayed_ack.is_none() {
            self.timers.delayed_ack = Some(now + DELAYED_ACK);
        }
        true
    }

    /// Eighth check: the peer's FIN is reached.
    fn check_fin(&mut self, now: Instant) {
        if self.fin != Some(self.rcv_nxt) {
            return;
        }
        self.rcv_nxt += 1;
        self.ack.now = true;
        self.events.0 |= Events::FINISHED.0;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now),
            _ => {}
        }
    }
}

/// Whether a SYN may open a new connection in place of one in TIME-WAIT: it is certainly later than all of that one
/// (RFC 6191 § 2).
pub(crate) fn is_later_connection(
    now: Instant,
    timestamps: Option<TimestampState>,
    rcv_nxt: SeqNumber,
    repr: &Repr,
) -> bool {
    if !repr.flags.has(Flags::SYN) || repr.flags.has(Flags::ACK) || repr.flags.has(Flags::RST) {
        return false;
    }
    match (timestamps, repr.options.timestamps) {
        (Some(state), Some(_)) if state.is_old(now, &repr.options) => false,
        (Some(state), Some(syn)) if SeqNumber(syn.val) > SeqNumber(state.recent) => true,
        _ => repr.seq > rcv_nxt,
    }
}

/// RFC 9293 § 3.8.6.3: below 500 ms; as Linux.
const DELAYED_ACK: Duration = Duration::from_millis(40);
