//! [`FlowState`]: a connection as plain data, for live update and snapshots.

use alloc::vec::Vec;
use core::time::Duration;

use frame::{Frame, Pool};
use wire::SeqNumber;
use wire::tcp::MAX_WINDOW_SHIFT;

use crate::Instant;
use crate::tcp::congestion::{Congestion, Controller};
use crate::tcp::flow::{Config, Flow};
use crate::tcp::options::{Negotiated, TimestampState};
use crate::tcp::rto::Rto;
use crate::tcp::state::State;
use crate::tcp::windows::SendWindow;

/// The version that [`Flow::save`] writes and [`Flow::restore`] reads.
pub const FLOW_STATE_VERSION: u16 = 1;
/// Octets of each frame into which saved octets are put.
const FRAME_LEN: usize = 1024;
/// Most pieces out of order; more were never kept.
const MAX_PIECES: usize = 64;

/// Everything of a connection that its peer could notice the lack of. No pointers, no moments: durations only.
///
/// What is not in it is found again by itself: selective acknowledgments received (the peer repeats them), a
/// repair that was under way, a round trip that was being measured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's, or those of `Config` and `Options`")]
pub struct FlowState {
    pub version: u16,
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
    pub send_closed: bool,
    pub fin_acknowledged: bool,
    pub irs: SeqNumber,
    pub rcv_nxt: SeqNumber,
    /// The right edge of the window that the peer knows of.
    pub rcv_right: SeqNumber,
    /// In order, not given out by [`Flow::receive`].
    pub received: Vec<u8>,
    /// Octets that count against the receive buffer, `received` among them.
    pub unread: u32,
    /// Out of order, ascending.
    pub pieces: Vec<(SeqNumber, Vec<u8>)>,
    pub fin: Option<SeqNumber>,
    pub receive_closed: bool,
    pub rcv_mss: u32,
    pub ack_owed: bool,
    pub mss: u32,
    pub window_scaled: bool,
    pub snd_shift: u8,
    pub rcv_shift: u8,
    pub sack: bool,
    /// TS.Recent and its age; `None`: no timestamps.
    pub ts_recent: Option<(u32, Duration)>,
    /// The timestamp clock when this was saved; it goes on from there.
    pub ts_clock: u32,
    /// SRTT and RTTVAR.
    pub round_trip: Option<(Duration, Duration)>,
    pub cwnd: u32,
    pub ssthresh: u32,
    /// What is left until the retransmission timer expires.
    pub retransmit: Option<Duration>,
    /// What is left until the persist timer expires.
    pub persist: Option<Duration>,
    /// What is left of TIME-WAIT.
    pub time_wait: Option<Duration>,
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
        let (received, pieces) = self.received.contents();
        Some(FlowState {
            version: FLOW_STATE_VERSION,
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
            send_closed: self.send_closed,
            fin_acknowledged: self.fin_acknowledged,
            irs: self.irs,
            rcv_nxt: self.rcv_nxt,
            rcv_right: self.rcv_wnd.right,
            received: received.flat_map(octets).collect(),
            unread: self.unread,
            pieces: pieces.map(|(seq, frame)| (seq, octets(frame).collect())).collect(),
            fin: self.fin,
            receive_closed: self.receive_closed,
            rcv_mss: self.rcv_mss,
            ack_owed: self.ack.now || self.timers.delayed_ack.is_some(),
            mss: self.negotiated.mss,
            window_scaled: self.negotiated.scaled,
            snd_shift: self.negotiated.snd_shift,
            rcv_shift: self.negotiated.rcv_shift,
            sack: self.negotiated.sack,
            ts_recent: self.negotiated.timestamps.map(|state| (state.recent, now.since(state.at))),
            ts_clock: self.config.timestamp(now),
            round_trip: self.rto.estimate(),
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            retransmit: self.timers.retransmit.map(|at| at.since(now)),
            persist: self.timers.persist.map(|at| at.since(now)),
            time_wait: self.timers.time_wait.map(|at| at.since(now)),
        })
    }

    /// The connection from data, which is checked as if it had come from the network. Delayed
    /// acknowledgments are sent at once, and keep-alive starts anew.
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
        flow.send_closed = saved.send_closed;
        flow.fin_acknowledged = saved.fin_acknowledged;
        flow.irs = saved.irs;
        flow.rcv_nxt = saved.rcv_nxt;
        flow.rcv_wnd.right = saved.rcv_right;
        let mut next = saved.rcv_nxt - saved.received.len() as u32;
        for part in saved.received.chunks(FRAME_LEN) {
            next = flow.received.insert(next, next, frame_of(pool, part)?);
        }
        for (seq, piece) in &saved.pieces {
            flow.received.insert(saved.rcv_nxt, *seq, frame_of(pool, piece)?);
        }
        flow.unread = saved.unread;
        flow.fin = saved.fin;
        flow.receive_closed = saved.receive_closed;
        flow.rcv_mss = saved.rcv_mss;
        flow.ack.now = saved.ack_owed;
        flow.ack.last = saved.rcv_nxt;
        flow.ack.quick = 0;
        flow.rto = Rto::restore(saved.round_trip);
        flow.congestion = Congestion::restore(config.algorithm, saved.mss, saved.cwnd, saved.ssthresh);
        flow.syn_pending = !saved.state.is_synchronized();
        if flow.state.is_synchronized() {
            flow.restart_keep_alive(now);
        }
        flow.timers.time_wait = saved.time_wait.map(|left| now + left);
        flow.timers.persist = saved.persist.map(|left| now + left);
        if flow.snd_una != flow.snd_nxt {
            flow.timers.retransmit = Some(now + saved.retransmit.unwrap_or(flow.rto.timeout()));
        }
        Ok(flow)
    }
}

/// Whether a connection can be like that.
fn check(saved: &FlowState) -> Result<(), RestoreError> {
    let ensure = |holds: bool, field| if holds { Ok(()) } else { Err(RestoreError::Impossible(field)) };
    if saved.version != FLOW_STATE_VERSION {
        return Err(RestoreError::Version(saved.version));
    }
    ensure(saved.state != State::Closed, "state")?;
    ensure((1..=1 << 30).contains(&saved.config.receive_buffer), "receive_buffer")?;
    ensure((1..=u32::from(u16::MAX)).contains(&saved.mss), "mss")?;
    ensure(saved.cwnd >= 1 && saved.cwnd <= 1 << 30, "cwnd")?;
    ensure(saved.snd_shift <= MAX_WINDOW_SHIFT, "snd_shift")?;
    ensure(saved.rcv_shift <= MAX_WINDOW_SHIFT, "rcv_shift")?;
    ensure(saved.snd_wnd <= 1 << 30 && saved.snd_wnd <= saved.max_snd_wnd, "snd_wnd")?;
    ensure(saved.max_snd_wnd <= 1 << 30, "max_snd_wnd")?;
    ensure(saved.send_queue.len() <= 1 << 30, "send_queue")?;
    ensure(!saved.fin_acknowledged || saved.send_closed && saved.send_queue.is_empty(), "fin_acknowledged")?;
    // What was sent and not acknowledged is SYN, octets of the queue, FIN.
    let syn = u32::from(!saved.state.is_synchronized());
    let fin = u32::from(saved.send_closed && !saved.fin_acknowledged);
    let in_flight = saved.snd_nxt.since(saved.snd_una);
    ensure(in_flight <= saved.send_queue.len() as u32 + syn + fin, "snd_nxt")?;
    ensure(saved.state.is_synchronized() || saved.snd_una == saved.iss, "snd_una")?;
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
    ensure(saved.pieces.len() <= MAX_PIECES, "pieces")?;
    let mut end = saved.rcv_nxt;
    for (seq, octets) in &saved.pieces {
        let len = u32::try_from(octets.len()).unwrap_or(0);
        ensure(*seq > saved.rcv_nxt && *seq >= end && len > 0 && *seq + len <= saved.rcv_right, "pieces")?;
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
