//! [`FlowState`]: a connection as plain data, for live update and snapshots.

use alloc::vec::Vec;
use core::time::Duration;

use frame::{Frame, Pool};
use wire::SeqNumber;
use wire::tcp::{MAX_WINDOW_SHIFT, SackBlock};

use crate::Instant;
use crate::tcp::buffers::ReceiveTuner;
use crate::tcp::congestion::Congestion;
use crate::tcp::ecn::EcnState;
use crate::tcp::flow::{AckState, Config, Events, Flow};
use crate::tcp::in_flight::{InFlight, MAX_SEGMENTS, Sent, Status};
use crate::tcp::min_rtt::MinRtt;
use crate::tcp::options::{Negotiated, TimestampState};
use crate::tcp::pacing::Pacer;
use crate::tcp::path_mtu::PathMtu;
use crate::tcp::rack::Rack;
use crate::tcp::rate::Rate;
use crate::tcp::receive_queue::{MAX_RUNS, ReceiveQueue};
use crate::tcp::recovery::Recovery;
use crate::tcp::rto::Rto;
use crate::tcp::state::State;
use crate::tcp::tally::Tally;
use crate::tcp::timers::Timers;
use crate::tcp::tlp::TailLossProbe;
use crate::tcp::windows::{ReceiveWindow, SendWindow};

/// The version that [`Flow::save`] writes and [`Flow::restore`] reads.
pub const FLOW_STATE_VERSION: u16 = 4;
/// Octets of each frame into which saved octets are put.
const FRAME_LEN: usize = 1024;

/// Everything of a connection: what is restored sends the same octets at the same times as what was saved would have.
///
/// No pointers. Moments are by the clock that said `saved_at` when the state was saved; a restored connection's are by the
/// clock that it is restored with. Sequence numbers, queues and windows are there to be looked at; how losses are found,
/// windows sized and segments timed is in opaque parts. Octets are packed into new frames, so that where a window was small
/// because the old ones kept much memory it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's, or those of `Config` and `Options`")]
pub struct FlowState {
    pub version: u16,
    pub saved_at: Instant,
    pub config: Config,
    pub state: State,
    pub passive: bool,
    pub iss: SeqNumber,
    pub snd_una: SeqNumber,
    pub snd_nxt: SeqNumber,
    pub snd_wnd: u32,
    pub max_snd_wnd: u32,
    pub snd_wl1: SeqNumber,
    pub snd_wl2: SeqNumber,
    /// From `snd_una` on, sent or not.
    pub send_queue: Vec<u8>,
    pub corked: bool,
    pub send_closed: bool,
    pub fin_acknowledged: bool,
    pub irs: SeqNumber,
    pub rcv_nxt: SeqNumber,
    /// The right edge of the window that the peer knows of.
    pub rcv_right: SeqNumber,
    /// What the receive buffer has grown to.
    pub receive_buffer: u32,
    /// In order, not given out by [`Flow::receive`].
    pub received: Vec<u8>,
    /// Octets that count against the receive buffer, `received` among them.
    pub unread: u32,
    /// Out of order, ascending, without touching; each with the number of the arrival that was its last.
    pub pieces: Vec<(SeqNumber, u64, Vec<u8>)>,
    /// What is to be reported as having arrived twice.
    pub duplicate: Option<SackBlock>,
    pub fin: Option<SeqNumber>,
    pub receive_closed: bool,
    pub rcv_mss: u32,
    /// What both sides agreed to take.
    pub mss: u32,
    pub window_scaled: bool,
    pub snd_shift: u8,
    pub rcv_shift: u8,
    pub sack: bool,
    /// TS.Recent and its age; `None`: no timestamps.
    pub ts_recent: Option<(u32, Duration)>,
    /// The timestamp clock when this was saved; it goes on from there.
    pub ts_clock: u32,
    /// How segments are sent, timed and repaired.
    pub sender: SenderState,
    /// What is due, and when.
    pub due: DueState,
}

/// The sender's part of a [`FlowState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderState {
    segments: Vec<Sent>,
    orders: [Vec<u32>; 2],
    rto: Rto,
    min_rtt: MinRtt,
    syn_sent_at: Option<Instant>,
    syns: u8,
    small: Option<SeqNumber>,
    echoes_from: Option<u32>,
    path: PathMtu,
    ecn: EcnState,
    rate: Rate,
    congestion: Congestion,
    pacer: Pacer,
    recovery: Recovery,
    rack: Rack,
    tail_loss_probe: Option<TailLossProbe>,
    duplicate_acks: u32,
    undo: Option<u32>,
    last_sent: Instant,
    waiting_since: Option<Instant>,
    retransmitting_since: Option<Instant>,
    tally: Tally,
}

/// What is due in a [`FlowState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueState {
    timers: Timers,
    tuner: ReceiveTuner,
    ack: AckState,
    challenges: (Instant, u32),
    keep_alive_probes: u32,
    syn: bool,
    retransmission: bool,
    tail_loss_probe: bool,
    uncork: bool,
    window_probe: bool,
    keep_alive: bool,
    events: Events,
}

/// Why a state was not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Written by another version.
    Version(u16),
    /// No connection was ever like that; the name of the field that shows it.
    Impossible(&'static str),
    /// The pool has no memory for the octets.
    NoMemory,
}

impl Flow {
    /// The connection as data. `None`: it is over, or is about to send its last reset. Copies all octets it holds.
    pub fn save(&self, now: Instant) -> Option<FlowState> {
        if self.state == State::Closed || self.reset.is_some() {
            return None;
        }
        let (received, runs) = self.received.contents();
        let pieces = runs.map(|(seq, arrival, frames)| (seq, arrival, frames.flat_map(octets).collect()));
        Some(FlowState {
            version: FLOW_STATE_VERSION,
            saved_at: now,
            config: self.config,
            state: self.state,
            passive: self.passive,
            iss: self.iss,
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            snd_wnd: self.snd_wnd.size,
            max_snd_wnd: self.snd_wnd.max,
            snd_wl1: self.snd_wnd.wl1,
            snd_wl2: self.snd_wnd.wl2,
            send_queue: self.queue.octets(),
            corked: self.corked,
            send_closed: self.send_closed,
            fin_acknowledged: self.fin_acknowledged,
            irs: self.irs,
            rcv_nxt: self.rcv_nxt,
            rcv_right: self.rcv_wnd.right,
            receive_buffer: self.rcv_wnd.capacity,
            received: received.flat_map(octets).collect(),
            unread: self.unread,
            pieces: pieces.collect(),
            duplicate: self.received.duplicate(),
            fin: self.fin,
            receive_closed: self.receive_closed,
            rcv_mss: self.rcv_mss,
            mss: self.negotiated.mss,
            window_scaled: self.negotiated.scaled,
            snd_shift: self.negotiated.snd_shift,
            rcv_shift: self.negotiated.rcv_shift,
            sack: self.negotiated.sack,
            ts_recent: self.negotiated.timestamps.map(|state| (state.recent, now.since(state.at))),
            ts_clock: self.config.timestamp(now),
            sender: self.save_sender(),
            due: DueState {
                timers: self.timers,
                tuner: self.tuner,
                ack: self.ack,
                challenges: self.challenges,
                keep_alive_probes: self.keep_alive_probes,
                syn: self.syn_pending,
                retransmission: self.retransmit_now,
                tail_loss_probe: self.tail_loss_now,
                uncork: self.uncork_now,
                window_probe: self.probe_now,
                keep_alive: self.keep_alive_now,
                events: self.events,
            },
        })
    }

    fn save_sender(&self) -> SenderState {
        SenderState {
            segments: self.in_flight.iter().map(|(_, sent)| *sent).collect(),
            orders: self.in_flight.orders(),
            rto: self.rto,
            min_rtt: self.min_rtt,
            syn_sent_at: self.syn_sent_at,
            syns: self.syns,
            small: self.small,
            echoes_from: self.echoes_from,
            path: self.path,
            ecn: self.ecn,
            rate: self.rate,
            congestion: self.congestion.clone(),
            pacer: self.pacer,
            recovery: self.recovery,
            rack: self.rack,
            tail_loss_probe: self.tail_loss_probe,
            duplicate_acks: self.duplicate_acks,
            undo: self.undo,
            last_sent: self.last_sent,
            waiting_since: self.waiting_since,
            retransmitting_since: self.retransmitting_since,
            tally: self.tally,
        }
    }

    /// The connection from data, which is checked as if it had come from the network.
    pub fn restore(saved: &FlowState, pool: &'static dyn Pool, now: Instant) -> Result<Self, RestoreError> {
        check(saved)?;
        let millis = now.as_millis() as u32;
        let config = Config { timestamp_offset: saved.ts_clock.wrapping_sub(millis), ..saved.config };
        let mut flow = Self::connect(config, now, saved.iss);
        flow.state = saved.state;
        flow.passive = saved.passive;
        flow.negotiated = Negotiated {
            mss: saved.mss,
            scaled: saved.window_scaled,
            snd_shift: saved.snd_shift,
            rcv_shift: saved.rcv_shift,
            sack: saved.sack,
            // The age is lost if it is longer than the clock has run: the timestamp is then a little younger.
            timestamps: saved.ts_recent.map(|(recent, age)| TimestampState { recent, at: now.before(age) }),
        };
        flow.snd_una = saved.snd_una;
        flow.snd_nxt = saved.snd_nxt;
        flow.snd_wnd = SendWindow {
            size: saved.snd_wnd,
            max: saved.max_snd_wnd,
            wl1: saved.snd_wl1,
            wl2: saved.snd_wl2,
        };
        for part in saved.send_queue.chunks(FRAME_LEN) {
            flow.queue.push(frame_of(pool, part)?);
        }
        flow.corked = saved.corked;
        flow.send_closed = saved.send_closed;
        flow.fin_acknowledged = saved.fin_acknowledged;
        flow.irs = saved.irs;
        flow.rcv_nxt = saved.rcv_nxt;
        flow.rcv_wnd = ReceiveWindow { capacity: saved.receive_buffer, right: saved.rcv_right };
        let ready: Result<_, _> = saved.received.chunks(FRAME_LEN).map(|part| frame_of(pool, part)).collect();
        let runs: Result<_, _> = saved
            .pieces
            .iter()
            .map(|(seq, arrival, octets)| Ok((*seq, *arrival, frame_of(pool, octets)?)))
            .collect();
        let given = saved.unread.saturating_sub(saved.received.len() as u32);
        flow.received = ReceiveQueue::restore(ready?, runs?, saved.duplicate, given);
        flow.unread = saved.unread;
        flow.fin = saved.fin;
        flow.receive_closed = saved.receive_closed;
        flow.rcv_mss = saved.rcv_mss;
        flow.restore_sender(&saved.sender, saved.saved_at, now)?;
        flow.restore_due(&saved.due, saved.saved_at, now);
        Ok(flow)
    }

    fn restore_sender(
        &mut self,
        saved: &SenderState,
        from: Instant,
        to: Instant,
    ) -> Result<(), RestoreError> {
        let moved = |at: Instant| at.moved(from, to);
        let mut segments = saved.segments.clone();
        for sent in &mut segments {
            for at in [&mut sent.at, &mut sent.rate.delivered_at, &mut sent.rate.first_sent_at] {
                *at = moved(*at);
            }
        }
        self.in_flight =
            InFlight::restore(&segments, &saved.orders).ok_or(RestoreError::Impossible("orders"))?;
        for sent in segments.iter().filter(|sent| sent.status == Status::Sacked) {
            self.scoreboard.insert(SackBlock { left: sent.seq, right: sent.end() }, |_, _| ());
        }
        self.rto = saved.rto;
        self.min_rtt = MinRtt {
            current: saved.min_rtt.current.map(|(least, since)| (least, moved(since))),
            ..saved.min_rtt
        };
        self.syn_sent_at = saved.syn_sent_at.map(moved);
        self.syns = saved.syns;
        self.small = saved.small;
        self.echoes_from = saved.echoes_from;
        self.path = PathMtu { raise_at: saved.path.raise_at.map(moved), ..saved.path };
        self.ecn = saved.ecn;
        self.rate = Rate {
            delivered_at: moved(saved.rate.delivered_at),
            first_sent_at: moved(saved.rate.first_sent_at),
            ..saved.rate
        };
        self.congestion = saved.congestion.clone();
        self.congestion.move_clock(from, to);
        self.pacer = Pacer { next: moved(saved.pacer.next) };
        self.recovery = saved.recovery;
        self.rack = Rack { newest: saved.rack.newest.map(|(at, end)| (moved(at), end)), ..saved.rack };
        self.tail_loss_probe = saved.tail_loss_probe;
        self.duplicate_acks = saved.duplicate_acks;
        self.undo = saved.undo;
        self.last_sent = moved(saved.last_sent);
        self.waiting_since = saved.waiting_since.map(moved);
        self.retransmitting_since = saved.retransmitting_since.map(moved);
        self.tally = saved.tally.moved(from, to);
        Ok(())
    }

    fn restore_due(&mut self, saved: &DueState, from: Instant, to: Instant) {
        self.timers = saved.timers;
        self.timers.move_clock(from, to);
        self.tuner = ReceiveTuner { since: saved.tuner.since.moved(from, to), ..saved.tuner };
        self.ack = saved.ack;
        self.challenges = (saved.challenges.0.moved(from, to), saved.challenges.1);
        self.keep_alive_probes = saved.keep_alive_probes;
        self.syn_pending = saved.syn;
        self.retransmit_now = saved.retransmission;
        self.tail_loss_now = saved.tail_loss_probe;
        self.uncork_now = saved.uncork;
        self.probe_now = saved.window_probe;
        self.keep_alive_now = saved.keep_alive;
        self.events = saved.events;
    }
}

/// Whether a connection can be like that.
fn check(saved: &FlowState) -> Result<(), RestoreError> {
    let ensure = |holds: bool, field| if holds { Ok(()) } else { Err(RestoreError::Impossible(field)) };
    if saved.version != FLOW_STATE_VERSION {
        return Err(RestoreError::Version(saved.version));
    }
    let sender = &saved.sender;
    ensure(saved.state != State::Closed, "state")?;
    ensure((1..=1 << 30).contains(&saved.config.receive_buffer), "config")?;
    ensure((1..=1 << 30).contains(&saved.receive_buffer), "receive_buffer")?;
    ensure((1..=u32::from(u16::MAX)).contains(&saved.mss), "mss")?;
    ensure((1..=saved.mss).contains(&sender.path.mss), "path")?;
    ensure(sender.congestion.algorithm() == saved.config.algorithm, "congestion")?;
    ensure(saved.snd_shift <= MAX_WINDOW_SHIFT, "snd_shift")?;
    ensure(saved.rcv_shift <= MAX_WINDOW_SHIFT, "rcv_shift")?;
    ensure(saved.snd_wnd <= 1 << 30 && saved.snd_wnd <= saved.max_snd_wnd, "snd_wnd")?;
    ensure(saved.max_snd_wnd <= 1 << 30, "max_snd_wnd")?;
    ensure(saved.send_queue.len() <= 1 << 30, "send_queue")?;
    ensure(!saved.fin_acknowledged || saved.send_closed && saved.send_queue.is_empty(), "fin_acknowledged")?;
    // What was sent and not acknowledged is SYN, octets of the queue, FIN.
    let is_synchronized = saved.state.is_synchronized();
    let syn = u32::from(!is_synchronized);
    let fin = u32::from(saved.send_closed && !saved.fin_acknowledged);
    let in_flight = saved.snd_nxt.since(saved.snd_una);
    ensure(in_flight <= saved.send_queue.len() as u32 + syn + fin, "snd_nxt")?;
    ensure(is_synchronized || saved.snd_una == saved.iss, "snd_una")?;
    ensure(sender.segments.len() <= MAX_SEGMENTS, "segments")?;
    let mut next = saved.snd_una + if is_synchronized { 0 } else { in_flight };
    for sent in &sender.segments {
        ensure(sent.seq == next && (1..=1 << 30).contains(&sent.len), "segments")?;
        next = sent.end();
    }
    ensure(next == saved.snd_nxt, "segments")?;
    ensure(saved.received.len() as u64 <= u64::from(saved.unread), "unread")?;
    let window = saved.rcv_right.since(saved.rcv_nxt);
    ensure(saved.rcv_right < saved.rcv_nxt || window <= 1 << 30, "rcv_right")?;
    ensure((1..=u32::from(u16::MAX)).contains(&saved.rcv_mss), "rcv_mss")?;
    ensure(
        saved
            .fin
            .is_none_or(|fin| fin.since(saved.irs) <= saved.rcv_nxt.since(saved.irs).saturating_add(1 << 30)),
        "fin",
    )?;
    ensure(saved.pieces.len() <= MAX_RUNS, "pieces")?;
    let mut end = saved.rcv_nxt;
    for (seq, _, octets) in &saved.pieces {
        let len = u32::try_from(octets.len()).unwrap_or(0);
        ensure(*seq > end && len > 0 && *seq + len <= saved.rcv_right, "pieces")?;
        end = *seq + len;
    }
    Ok(())
}

fn octets(frame: &Frame) -> impl Iterator<Item = u8> {
    frame.segments().flat_map(|segment| segment.octets).copied()
}

/// A frame of these octets, in several parts where they are many.
fn frame_of(pool: &'static dyn Pool, octets: &[u8]) -> Result<Frame, RestoreError> {
    let mut parts = octets.chunks(FRAME_LEN).map(|part| {
        let mut frame = Frame::allocate(pool, 0, part.len()).ok_or(RestoreError::NoMemory)?;
        frame.push_back(part.len()).ok_or(RestoreError::NoMemory)?.copy_from_slice(part);
        Ok(frame)
    });
    let mut frame = parts.next().ok_or(RestoreError::Impossible("pieces"))??;
    for part in parts {
        frame.append(part?).map_err(|_| RestoreError::NoMemory)?;
    }
    Ok(frame)
}
