//! What is sent, and when (RFC 9293 § 3.8, RFC 5681, RFC 8985, RFC 3042).

use core::time::Duration;

use wire::SeqNumber;
use wire::tcp::{Flags, Options, Repr};

use crate::Instant;
use crate::tcp::congestion::Controller;
use crate::tcp::ecn::{Ecn, EcnState};
use crate::tcp::flow::Flow;
use crate::tcp::in_flight::{Id, Sent, Status};
use crate::tcp::pacing::{burst, fair_rate};
use crate::tcp::recovery::{Frto, Recovery};
use crate::tcp::segment::bare;
use crate::tcp::state::State;
use crate::tcp::tlp::TailLossProbe;
use crate::tcp::{Algorithm, Segment};

/// For how long a cork holds (Linux, tcp(7)).
const CORK: Duration = Duration::from_millis(200);

impl Flow {
    /// The next segment to send, if there is one that may leave now. To be called until there is none, after every
    /// other call; a caller with a budget may stop earlier and go on later. Where only pacing holds a segment back,
    /// [`Self::poll_timeout`] says until when.
    ///
    /// The payload shares memory with what was queued.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Segment> {
        self.poll_transmit_many(now, 1)
    }

    /// As [`Self::poll_transmit`], for a device that cuts: where there is much to send, up to `most` new full segments at once
    /// ([`Segment::size`]). They are accounted for one by one; what is lost of them is sent again alone.
    pub fn poll_transmit_many(&mut self, now: Instant, most: u32) -> Option<Segment> {
        let segment = self.next_segment(now, most)?;
        self.tally.note_sent(&segment);
        Some(segment)
    }

    fn next_segment(&mut self, now: Instant, most: u32) -> Option<Segment> {
        if let Some(repr) = self.reset.take() {
            return Some(self.segment(repr, None, true));
        }
        match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived => return self.syn(now),
            State::TimeWait => {}
            _ => {
                if let Some(segment) = self.data(now, most) {
                    return Some(segment);
                }
            }
        }
        if core::mem::take(&mut self.keep_alive_now) {
            // RFC 9293 § 3.8.4: an octet the peer has already makes it answer.
            let repr = Repr { seq: self.snd_una - 1, ..self.header(now, Flags::ACK, false, usize::MAX) };
            return Some(self.segment(repr, None, false));
        }
        if self.ack.now {
            let repr = self.header(now, Flags::ACK, false, usize::MAX);
            return Some(self.segment(repr, None, false));
        }
        None
    }

    fn syn(&mut self, now: Instant) -> Option<Segment> {
        if !core::mem::take(&mut self.syn_pending) {
            if self.state == State::SynReceived && core::mem::take(&mut self.ack.now) {
                // A challenge while the handshake lasts.
                let repr = self.header(now, Flags::ACK, false, 0);
                return Some(self.segment(repr, None, false));
            }
            return None;
        }
        self.ack.now = false;
        let is_answer = self.state == State::SynReceived;
        let is_first = self.syns == 0;
        let flags = match is_answer {
            false => Flags::SYN | EcnState::syn_flags(self.config.ecn, is_first),
            true if self.ecn.negotiated => Flags::SYN | Flags::ACK | Flags::ECE,
            true => Flags::SYN | Flags::ACK,
        };
        let repr = Repr {
            // Not scaled (RFC 7323 § 2.2).
            window: self.rcv_wnd.capacity.min(u16::MAX.into()) as u16,
            options: self.negotiated.syn_options(&self.config, now, is_answer),
            ..self.bare(self.iss, flags)
        };
        self.snd_nxt = self.iss + 1;
        // A SYN that was sent twice is not measured (RFC 6298 § 3), but an answer is to the SYN that came.
        self.syn_sent_at = is_first.then_some(now);
        self.syns = self.syns.saturating_add(1);
        self.waiting_since.get_or_insert(now);
        if self.timers.retransmit.is_none() {
            self.arm_retransmit(now);
        }
        // A lost SYN-ACK may have been lost for its codepoint (RFC 5562 § 3.2).
        Some(self.segment(repr, None, is_answer && is_first))
    }

    /// Data, first what is lost, then what is new; with it FIN.
    fn data(&mut self, now: Instant, most: u32) -> Option<Segment> {
        if let Some((id, &sent)) = self.in_flight.first_lost() {
            if let Some(segment) = self.lost_data(now, id, &sent) {
                return Some(segment);
            }
            if !matches!(self.recovery, Recovery::Loss { frto: Frto::SentNew, .. }) {
                return None;
            }
        }
        self.retransmit_now = false;
        if core::mem::take(&mut self.tail_loss_now) && self.snd_una < self.snd_nxt {
            return self.tail_loss_probe(now);
        }
        self.new_data(now, most)
    }

    /// What is lost, as far as the window has room. While it is not known whether it is lost at all, only the segment for
    /// which the timer expired (RFC 5682 § 2.1, step 1).
    fn lost_data(&mut self, now: Instant, id: Id, sent: &Sent) -> Option<Segment> {
        let is_undecided =
            matches!(self.recovery, Recovery::Loss { frto: Frto::Retransmitted | Frto::SentNew, .. });
        let is_urgent = core::mem::take(&mut self.retransmit_now);
        if !is_urgent && (is_undecided || self.pipe() + sent.len > self.cwnd()) {
            return None;
        }
        if !is_urgent {
            self.may_leave(now)?;
        }
        self.retransmission(now, id, sent)
    }

    fn retransmission(&mut self, now: Instant, id: Id, sent: &Sent) -> Option<Segment> {
        let segment = self.numbered(now, sent.seq, sent.len, false)?;
        let pipe = self.in_flight.flying_octets();
        let rate = self.rate.on_send(now, pipe, sent.len);
        self.in_flight.retransmit(id, now, rate);
        if let Some(undo) = &mut self.undo {
            *undo = undo.saturating_add(1);
        }
        self.tally.note_retransmitted(sent.len);
        self.note_sent(now, sent.len);
        if sent.seq == self.snd_una {
            // From now on its repetition is waited for; else a timeout followed on its heels.
            self.arm_retransmit(now);
        }
        Some(segment)
    }

    /// RFC 8985 § 7.3: a new segment, or else the last one again.
    fn tail_loss_probe(&mut self, now: Instant) -> Option<Segment> {
        let queued = if self.snd_nxt < self.queue_end() { self.queue_end().since(self.snd_nxt) } else { 0 };
        let window = self.snd_wnd.size.saturating_sub(self.snd_nxt.since(self.snd_una));
        let len = queued.min(window).min(self.payload_mss());
        let segment = if len > 0 {
            self.new_segment(now, len, 1, false)?
        } else {
            let (id, &sent) = self.in_flight.last()?;
            if sent.status != Status::Flying {
                return None;
            }
            // Whether it was lost is found out by the answer, not by counting duplicates.
            let undo = self.undo.take();
            let segment = self.retransmission(now, id, &sent)?;
            self.undo = undo;
            segment
        };
        self.tail_loss_probe = Some(TailLossProbe { end: self.snd_nxt, is_retransmission: len == 0 });
        self.timers.tail_loss = None;
        self.arm_retransmit(now);
        Some(segment)
    }

    fn new_data(&mut self, now: Instant, most: u32) -> Option<Segment> {
        let (seq, end) = (self.snd_nxt, self.queue_end());
        if seq > end || seq == end && !self.send_closed {
            self.probe_now = false;
            self.uncork_now = false;
            if seq == end && self.pipe() < self.congestion.cwnd() {
                self.rate.limit_by_app(self.pipe());
            }
            return None;
        }
        let mss = self.payload_mss();
        let queued = end.since(seq);
        let in_flight = seq.since(self.snd_una);
        let idle = in_flight == 0;
        if idle && now.since(self.last_sent) > self.rto.timeout() {
            self.congestion.on_idle();
        }
        let window = self.snd_wnd.size.saturating_sub(in_flight);
        if core::mem::take(&mut self.probe_now) {
            // At least one octet, whatever the window (RFC 9293 § 3.8.6.1).
            let len = queued.min(window).min(mss).max(queued.min(1));
            return self.new_segment(now, len, 1, false);
        }
        if self.in_flight.is_full() {
            return None;
        }
        if let Some(segment) = self.mtu_probe(now, queued, window) {
            return Some(segment);
        }
        let len = queued.min(window).min(mss);
        if !self.is_worth_sending(now, len, queued, window, mss, idle) {
            if idle && self.timers.cork.is_none() {
                self.timers.persist.get_or_insert(now + self.rto.timeout());
                self.waiting_since.get_or_insert(now);
            }
            return None;
        }
        if !idle && self.pipe() + len > self.cwnd() && !self.may_tell_of_timeout() {
            return None;
        }
        self.may_leave(now)?;
        if idle {
            self.congestion.on_restart(now, self.rate.app_limited != 0);
        }
        let count = if len == mss { self.segments_at_once(mss, queued.min(window), most) } else { 1 };
        self.new_segment(now, len, count, false)
    }

    /// How many full segments of `available` octets may leave as one, the first of which may leave.
    fn segments_at_once(&self, mss: u32, available: u32, most: u32) -> u32 {
        // Each piece would repeat what is said once: that octets arrived out of order or twice, and that the window was reduced.
        if most <= 1 || self.received.has_report() || self.ecn.says_reduced() {
            return 1;
        }
        // The last segment may carry FIN.
        let available =
            available - u32::from(self.send_closed && available == self.queue_end().since(self.snd_nxt));
        let window = self.cwnd().saturating_sub(self.pipe());
        let paced = self.burst().unwrap_or(u32::MAX);
        (available.min(window).min(paced) / mss).clamp(1, most)
    }

    fn is_worth_sending(
        &mut self,
        now: Instant,
        len: u32,
        queued: u32,
        window: u32,
        mss: u32,
        idle: bool,
    ) -> bool {
        if queued == 0 {
            // FIN alone.
            return window > 0 || !idle;
        }
        if len == 0 {
            return false;
        }
        // RFC 9293 § 3.7.4, and draft-minshall-nagle: the last octets of a large write do not wait for a round trip.
        let is_nagled = self.config.nagle && !idle && self.small.is_some();
        let is_uncorked = core::mem::take(&mut self.uncork_now);
        let is_corked = self.corked && !is_uncorked;
        let held = (is_nagled || is_corked) && !self.send_closed;
        let is_worth = self.snd_wnd.is_worth_sending(len, queued, mss, idle, held);
        if !is_worth && is_corked && len == queued {
            self.timers.cork.get_or_insert(now + CORK);
        }
        is_worth
    }

    /// Two new segments tell whether a timeout was spurious, whatever the window that it left (RFC 5682 § 2.1, step 2).
    fn may_tell_of_timeout(&self) -> bool {
        let Recovery::Loss { recover, frto: Frto::SentNew } = self.recovery else { return false };
        self.snd_nxt.since(recover) < 2 * self.path.mss
    }

    /// Data in a larger segment, to find out whether the path takes it (RFC 4821 § 7). There has to be enough behind it
    /// for its loss to be found.
    fn mtu_probe(&mut self, now: Instant, queued: u32, window: u32) -> Option<Segment> {
        if !self.path.is_searching && self.path.raise_at.is_none_or(|at| at > now)
            || self.recovery != Recovery::Open
        {
            return None;
        }
        let size = self.path.next_probe(now)?;
        let len = size - (self.path.mss - self.payload_mss());
        let all = len + 4 * self.path.mss;
        if !self.negotiated.sack || queued.min(window) < all || self.pipe() + all > self.cwnd() {
            return None;
        }
        self.may_leave(now)?;
        let segment = self.new_segment(now, len, 1, true)?;
        self.path.probe = Some(size);
        Some(segment)
    }

    /// `count` segments of `len` octets from SND.NXT on as one; or one of fewer, FIN perhaps with it or alone.
    fn new_segment(&mut self, now: Instant, len: u32, count: u32, mtu_probe: bool) -> Option<Segment> {
        let seq = self.snd_nxt;
        let full = self.payload_mss();
        let fin = u32::from(self.send_closed && seq + len * count == self.queue_end());
        let mut segment = self.numbered(now, seq, len * count + fin, true)?;
        let all = segment.len();
        segment.size = (count > 1 && segment.payload_len() > len).then_some(len as u16);
        let piece_len = if count > 1 { len } else { all };
        while self.snd_nxt < seq + all {
            let len = piece_len.min((seq + all).since(self.snd_nxt));
            let rate = self.rate.on_send(now, self.in_flight.flying_octets(), len);
            let status = Status::Flying;
            self.in_flight.push(Sent {
                seq: self.snd_nxt,
                len,
                at: now,
                status,
                retransmissions: 0,
                mtu_probe,
                rate,
            });
            self.snd_nxt += len;
        }
        if segment.payload_len() < full * count {
            self.small = Some(self.snd_nxt);
        }
        self.timers.persist = None;
        self.timers.cork = None;
        self.waiting_since.get_or_insert(now);
        self.note_sent(now, all);
        self.arm_tail_loss(now);
        Some(segment)
    }

    fn note_sent(&mut self, now: Instant, len: u32) {
        self.last_sent = now;
        if self.timers.retransmit.is_none() {
            self.arm_retransmit(now);
        }
        if let Recovery::Fast { prr: Some(prr), .. } = &mut self.recovery {
            prr.on_send(len);
        }
        // The initial window may leave at once, so that a short answer takes no longer (RFC 9002 § 7.7; as Linux).
        if self.rate.delivered > 0
            && let Some(rate) = self.pacing_rate()
        {
            self.pacer.on_send(now, len, self.path.mss, rate);
        }
    }

    /// Octets that pacing lets leave at once; `None`: it does not hold anything back.
    fn burst(&self) -> Option<u32> {
        let rate = self.pacing_rate().filter(|_| self.rate.delivered > 0)?;
        Some(burst(rate, self.path.mss) as u32)
    }

    /// Octets a second; `None`: what may be sent leaves at once.
    pub(crate) fn pacing_rate(&self) -> Option<u64> {
        let wanted = self.wanted_rate();
        match self.config.max_pacing_rate {
            Some(most) => Some(wanted.map_or(most, |rate| rate.min(most))),
            None => wanted,
        }
    }

    fn wanted_rate(&self) -> Option<u64> {
        let srtt = self.rto.srtt();
        match self.congestion.pacing_rate() {
            Some(rate) => srtt.filter(|srtt| !srtt.is_zero()).map(|_| rate),
            None if self.config.pacing => {
                let is_slow_start = self.congestion.cwnd() < self.congestion.ssthresh();
                fair_rate(self.congestion.cwnd(), srtt, is_slow_start)
            }
            None => None,
        }
    }

    /// `None`: the next segment is to wait, and a timer says until when.
    fn may_leave(&mut self, now: Instant) -> Option<()> {
        let is_paced = self.config.pacing
            || self.config.max_pacing_rate.is_some()
            || self.congestion.algorithm() == Algorithm::Bbr;
        match self.pacer.release(now) {
            Err(at) if is_paced => {
                self.timers.pacing = Some(at);
                None
            }
            _ => Some(()),
        }
    }

    /// A segment that takes `len` sequence numbers from `seq` on, FIN perhaps among them. `None`: there is no memory for a
    /// view of the queue; the next call or timer tries again.
    fn numbered(&mut self, now: Instant, seq: SeqNumber, len: u32, is_new: bool) -> Option<Segment> {
        let end = self.queue_end();
        let mut flags = Flags::ACK;
        let mut octets = len;
        if seq + len > end {
            flags |= Flags::FIN;
            octets -= 1;
        }
        let mut payload = None;
        if octets > 0 {
            let view = self.queue.view(seq.since(self.queue_start()), octets)?;
            // A view that is shorter is sent if it is new, and as it is: what follows is sent next.
            let is_whole = view.len() == octets as usize;
            if !is_whole {
                if !is_new {
                    return None;
                }
                octets = view.len() as u32;
                flags = Flags::ACK;
            }
            payload = Some(view);
        }
        if octets > 0 && seq + octets == end {
            flags |= Flags::PSH;
        }
        flags |= self.ecn.flags(is_new);
        // Reports have room beside the payload, or wait for an acknowledgment of their own.
        let room = self.path.mss.saturating_sub(octets) as usize;
        let repr = Repr { seq, ..self.header(now, flags, true, room) };
        Some(self.segment(repr, payload, true))
    }

    fn segment(&self, repr: Repr, payload: Option<frame::Frame>, is_capable: bool) -> Segment {
        let ecn = if is_capable { self.ecn.codepoint() } else { Ecn::NotEct };
        Segment { ecn, ..Segment::new(repr, payload) }
    }

    /// A header that acknowledges all that was received, with options of at most `room` octets. No acknowledgment is owed
    /// any more, unless a report had no room.
    fn header(&mut self, now: Instant, flags: Flags, has_ecn_flags: bool, room: usize) -> Repr {
        let mut options =
            Options { timestamps: self.negotiated.timestamps(&self.config, now), ..Options::NONE };
        let mut is_told = true;
        if self.negotiated.sack && self.received.has_report() {
            let blocks = (room.saturating_sub(options.len()).saturating_sub(4) / 8).min(options.sack_room());
            self.received.report(&mut options, blocks);
            is_told = blocks > 0;
        }
        let window = self.rcv_wnd.advertise(self.rcv_nxt, self.held(), self.rcv_mss, self.rcv_shift());
        self.ack.now &= !is_told;
        self.ack.unacknowledged = 0;
        self.ack.last = self.rcv_nxt;
        self.timers.delayed_ack = None;
        let flags = if has_ecn_flags { flags } else { flags | self.ecn.flags(false) };
        Repr { window, options, ..self.bare(self.snd_nxt, flags) }
    }

    pub(crate) fn bare(&self, seq: SeqNumber, flags: Flags) -> Repr {
        let ack = if flags.has(Flags::ACK) { self.rcv_nxt } else { SeqNumber(0) };
        bare(self.config.local_port, self.config.remote_port, seq, ack, flags)
    }

    /// Octets of payload that fit a segment beside its options (RFC 6691).
    pub(crate) fn payload_mss(&self) -> u32 {
        let mut options = 0;
        if self.negotiated.timestamps.is_some() {
            options += 12;
        }
        if self.negotiated.sack && self.received.has_report() {
            options = 40;
        }
        self.path.mss.saturating_sub(options).max(1)
    }
}
