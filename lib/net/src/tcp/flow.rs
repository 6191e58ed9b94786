//! [`Flow`]: a connection's control block, what the program may ask of it, and its timers.

use core::time::Duration;

use frame::Frame;
use wire::tcp::{MAX_WINDOW_SHIFT, Repr};
use wire::{Port, SeqNumber};

use crate::Instant;
use crate::tcp::congestion::{Algorithm, Congestion, Controller};
use crate::tcp::options::Negotiated;
use crate::tcp::receive_queue::ReceiveQueue;
use crate::tcp::rto::Rto;
use crate::tcp::sack::Scoreboard;
use crate::tcp::send_queue::SendQueue;
use crate::tcp::state::State;
use crate::tcp::timers::{Timers, expired};
use crate::tcp::windows::{ReceiveWindow, SendWindow};

/// Maximum segment lifetime (RFC 9293 § 3.4.2 says two minutes; nobody has waited as long for decades).
const MSL: Duration = Duration::from_secs(30);
/// How long a peer may leave a closed connection half open.
const FIN_WAIT_2: Duration = Duration::from_secs(60);
/// RFC 5961 § 10: so many challenge ACKs in a period. For each flow, so that one does not tell about another.
const CHALLENGES: u32 = 10;
const CHALLENGE_PERIOD: Duration = Duration::from_secs(5);

/// What a connection is to be like. Both sides of a restored connection's life have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// This side's port.
    pub local_port: Port,
    /// The peer's port.
    pub remote_port: Port,
    /// Largest segment in octets without IP and TCP headers: the link's MTU less 40 for IPv4, less 60 for IPv6.
    pub mss: u16,
    /// Most octets that may wait for the program, `1..=2^30`.
    pub receive_buffer: u32,
    /// Most octets that may wait to be acknowledged.
    pub send_buffer: u32,
    /// Congestion control.
    pub algorithm: Algorithm,
    /// Small segments wait for an acknowledgment (Nagle's algorithm); `false` is TCP_NODELAY.
    pub nagle: bool,
    /// Windows above 64 KiB.
    pub window_scale: bool,
    /// Selective acknowledgments.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// What is added to the timestamp clock, of [`super::IsnGenerator::timestamp_offset`].
    pub timestamp_offset: u32,
    /// After how long of retransmitting in vain the connection is given up (RFC 9293 § 3.8.3: R2; at least 100 s).
    pub user_timeout: Duration,
    /// Probes of an idle connection; `None`: none.
    pub keep_alive: Option<KeepAlive>,
}

impl Config {
    /// The defaults, for these ports.
    pub const fn new(local_port: Port, remote_port: Port) -> Self {
        Self {
            local_port,
            remote_port,
            mss: 1460,
            receive_buffer: 256 * 1024,
            send_buffer: 256 * 1024,
            algorithm: Algorithm::Cubic,
            nagle: true,
            window_scale: true,
            sack: true,
            timestamps: true,
            timestamp_offset: 0,
            user_timeout: Duration::from_secs(180),
            keep_alive: None,
        }
    }

    /// The timestamp clock: milliseconds (RFC 7323 § 5.4 allows 1 ms to 1 s).
    pub(crate) fn timestamp(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.timestamp_offset)
    }
}

/// Probes of an idle connection (RFC 9293 § 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long nothing was heard before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// How many probes without an answer end the connection.
    pub probes: u32,
}

/// Why a connection ended other than by both sides' close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer answered the SYN with a reset: ECONNREFUSED.
    Refused,
    /// The peer reset the connection: ECONNRESET.
    Reset,
    /// The peer did not answer: ETIMEDOUT.
    TimedOut,
    /// The program aborted it.
    Aborted,
}

/// Why a frame was not queued. It comes back.
#[derive(Debug)]
pub enum SendError {
    /// There is no room before [`Events::WRITABLE`].
    Full(Frame),
    /// The program has closed this direction, or the connection is over.
    Closed(Frame),
}

/// What happened since it was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Events(pub u8);

impl Events {
    /// The handshake is done.
    pub const CONNECTED: Self = Self(1);
    /// [`Flow::receive`] has something.
    pub const READABLE: Self = Self(2);
    /// There is room again: something was acknowledged.
    pub const WRITABLE: Self = Self(4);
    /// The peer will send no more: after what is readable comes the end.
    pub const FINISHED: Self = Self(8);
    /// The connection is over; [`Flow::error`] says why. The flow may be dropped.
    pub const CLOSED: Self = Self(16);

    /// Whether all of `events` happened.
    pub const fn has(self, events: Self) -> bool {
        self.0 & events.0 == events.0
    }
}

/// How a loss is being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Nothing is known to be lost.
    Open,
    /// Found by duplicate or selective acknowledgments; over when `recover` is acknowledged (RFC 6582, RFC 6675).
    Fast { recover: SeqNumber, high_rxt: SeqNumber },
    /// Found by the timer: everything below `recover` that the peer did not report counts as lost.
    Loss { recover: SeqNumber, high_rxt: SeqNumber },
}

/// Acknowledgments owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct AckState {
    /// One is to be sent at once.
    pub(crate) now: bool,
    /// Octets received since the last one was sent.
    pub(crate) unacknowledged: u32,
    /// Segments that are acknowledged at once at the start, where the peer's window is small.
    pub(crate) quick: u8,
    /// The acknowledgment number last sent.
    pub(crate) last: SeqNumber,
}

/// A connection.
///
/// Each call does a bounded amount of work: in the number of segments that wait out of order (64) and of SACK blocks
/// (64), not in octets. Memory is bounded by the buffers of [`Config`].
#[derive(Debug)]
pub struct Flow {
    pub(crate) config: Config,
    pub(crate) state: State,
    /// It began with the peer's SYN.
    pub(crate) passive: bool,
    pub(crate) negotiated: Negotiated,

    pub(crate) iss: SeqNumber,
    pub(crate) snd_una: SeqNumber,
    /// Behind the highest octet ever sent: it does not go back for a retransmission.
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) snd_wnd: SendWindow,
    pub(crate) queue: SendQueue,
    /// FIN follows the queue.
    pub(crate) send_closed: bool,
    pub(crate) fin_acknowledged: bool,

    pub(crate) irs: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) rcv_wnd: ReceiveWindow,
    pub(crate) received: ReceiveQueue,
    /// Octets in order that the program has not read.
    pub(crate) unread: u32,
    /// The largest segment the peer sent.
    pub(crate) rcv_mss: u32,
    /// Where the peer's FIN is, once it was seen.
    pub(crate) fin: Option<SeqNumber>,
    /// The program reads no more.
    pub(crate) receive_closed: bool,

    pub(crate) rto: Rto,
    /// Without timestamps: a segment whose round trip is measured, by the number behind it.
    pub(crate) timed: Option<(SeqNumber, Instant)>,
    /// With timestamps: echoes of earlier ones are not measured.
    pub(crate) echoes_from: Option<u32>,
    pub(crate) congestion: Congestion,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) recovery: Recovery,
    pub(crate) duplicate_acks: u32,
    pub(crate) last_sent: Instant,
    pub(crate) retransmitting_since: Option<Instant>,

    pub(crate) timers: Timers,
    pub(crate) ack: AckState,
    pub(crate) syn_pending: bool,
    /// One retransmission is to be sent whatever the window says.
    pub(crate) retransmit_now: bool,
    /// A closed or silly window is to be probed.
    pub(crate) probe_now: bool,
    pub(crate) keep_alive_now: bool,
    keep_alive_probes: u32,
    pub(crate) reset: Option<Repr>,
    challenges: (Instant, u32),

    pub(crate) events: Events,
    pub(crate) error: Option<Error>,
}

impl Flow {
    /// An active open: SYN-SENT (RFC 9293 § 3.10.1). `iss` is of [`super::IsnGenerator`].
    pub fn connect(config: Config, now: Instant, iss: SeqNumber) -> Self {
        let config = Config { receive_buffer: config.receive_buffer.clamp(1, 1 << 30), ..config };
        let negotiated = Negotiated::before(&config);
        Self {
            state: State::SynSent,
            passive: false,
            negotiated,
            iss,
            snd_una: iss,
            snd_nxt: iss,
            snd_wnd: SendWindow::new(),
            queue: SendQueue::default(),
            send_closed: false,
            fin_acknowledged: false,
            irs: SeqNumber(0),
            rcv_nxt: SeqNumber(0),
            rcv_wnd: ReceiveWindow { capacity: config.receive_buffer, right: SeqNumber(0) },
            received: ReceiveQueue::default(),
            unread: 0,
            rcv_mss: 536,
            fin: None,
            receive_closed: false,
            rto: Rto::new(),
            timed: None,
            echoes_from: None,
            congestion: Congestion::new(config.algorithm, negotiated.mss),
            scoreboard: Scoreboard::default(),
            recovery: Recovery::Open,
            duplicate_acks: 0,
            last_sent: now,
            retransmitting_since: None,
            timers: Timers::default(),
            ack: AckState { quick: 16, ..AckState::default() },
            syn_pending: true,
            retransmit_now: false,
            probe_now: false,
            keep_alive_now: false,
            keep_alive_probes: 0,
            reset: None,
            challenges: (now, 0),
            events: Events::default(),
            error: None,
            config,
        }
    }

    /// A passive open by a SYN for which [`super::listen`] said so: SYN-RECEIVED (RFC 9293 § 3.10.7.2). Data on the
    /// SYN is left for the peer to send again.
    pub fn accept(config: Config, now: Instant, iss: SeqNumber, syn: &Repr) -> Self {
        let mut flow = Self::connect(config, now, iss);
        flow.passive = true;
        flow.take_syn(now, syn);
        flow.state = State::SynReceived;
        flow
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it ended, if not by both sides' close.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// What happened since the last call.
    pub fn poll_events(&mut self) -> Events {
        core::mem::take(&mut self.events)
    }

    /// Octets for which there is room in the send buffer.
    pub fn send_room(&self) -> u32 {
        self.config.send_buffer.saturating_sub(self.queue.len())
    }

    /// Queues octets to be sent (RFC 9293 § 3.10.2). `Full`: the frame is longer than [`Self::send_room`].
    pub fn send(&mut self, frame: Frame) -> Result<(), SendError> {
        if self.send_closed || !self.state.may_send() {
            return Err(SendError::Closed(frame));
        }
        if frame.len() > self.send_room() as usize {
            return Err(SendError::Full(frame));
        }
        self.queue.push(frame);
        Ok(())
    }

    /// Received octets, in order (RFC 9293 § 3.10.3). They count against the receive buffer until [`Self::read`].
    pub fn receive(&mut self) -> Option<Frame> {
        self.received.take()
    }

    /// The program has read so many octets of what [`Self::receive`] gave; the window may open.
    pub fn read(&mut self, octets: u32) {
        self.unread = self.unread.saturating_sub(octets);
        if self.state.is_synchronized()
            && self.fin.is_none()
            && self.rcv_wnd.is_update_due(self.rcv_nxt, self.unread, self.rcv_mss)
        {
            self.ack.now = true;
        }
    }

    /// Sends no more: FIN follows what is queued (RFC 9293 § 3.10.4). Receiving goes on.
    pub fn shutdown_send(&mut self) {
        match self.state {
            State::SynSent => return self.end(None),
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            // After the handshake.
            State::SynReceived => {}
            _ => return,
        }
        self.send_closed = true;
    }

    /// Neither sends nor reads any more. What was received and not read is lost, so the peer gets a reset in that case,
    /// and also if it sends more (RFC 1122 § 4.2.2.13).
    pub fn close(&mut self, now: Instant) {
        self.receive_closed = true;
        if self.unread > 0 {
            return self.abort();
        }
        self.shutdown_send();
        if self.state == State::FinWait2 {
            self.timers.time_wait = Some(now + FIN_WAIT_2);
        }
    }

    /// Ends the connection with a reset (RFC 9293 § 3.10.5), which the next [`Self::poll_transmit`] gives out.
    pub fn abort(&mut self) {
        if matches!(
            self.state,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        ) {
            self.reset = Some(self.bare(self.snd_nxt, wire::tcp::Flags::RST | wire::tcp::Flags::ACK));
        }
        self.end(Some(Error::Aborted));
    }

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
        if expired(&mut self.timers.retransmit, now) {
            self.handle_retransmit_timeout(now);
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
        if self.is_given_up(now) {
            return self.end(Some(Error::TimedOut));
        }
        self.rto.back_off();
        self.timed = None;
        // If only acknowledgments were lost, the next one echoes a segment from before this wait: measured, it would make
        // the timeout longer each time.
        self.echoes_from = Some(self.config.timestamp(now));
        self.timers.retransmit = Some(now + self.rto.timeout());
        if !self.state.is_synchronized() {
            self.syn_pending = true;
            return;
        }
        if again {
            // Twice in vain: the peer may have dropped what it reported (RFC 2018 § 8).
            self.scoreboard.clear();
        }
        // A closed window is no congestion.
        if !again && self.snd_wnd.size > 0 {
            self.congestion.on_timeout(now, self.snd_nxt.since(self.snd_una));
        }
        self.duplicate_acks = 0;
        self.recovery = Recovery::Loss { recover: self.snd_nxt, high_rxt: self.snd_una };
        self.retransmit_now = true;
    }

    /// RFC 9293 § 3.8.6.1; also the override of § 3.8.6.2.1.
    fn handle_persist_timeout(&mut self, now: Instant) {
        if self.is_given_up(now) {
            return self.end(Some(Error::TimedOut));
        }
        self.rto.back_off();
        self.timers.persist = Some(now + self.rto.timeout());
        self.probe_now = true;
    }

    /// Whether this has been going on in vain for too long.
    fn is_given_up(&mut self, now: Instant) -> bool {
        let since = *self.retransmitting_since.get_or_insert(now);
        now.since(since) >= self.config.user_timeout
    }

    fn handle_keep_alive(&mut self, now: Instant) {
        let Some(config) = self.config.keep_alive else { return };
        if self.keep_alive_probes >= config.probes {
            self.reset = Some(self.bare(self.snd_nxt, wire::tcp::Flags::RST | wire::tcp::Flags::ACK));
            return self.end(Some(Error::TimedOut));
        }
        self.keep_alive_probes += 1;
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
            self.timers.time_wait = Some(now + FIN_WAIT_2);
        }
    }

    /// Enters CLOSED. What was received stays readable.
    pub(crate) fn end(&mut self, error: Option<Error>) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.error = error;
        self.timers = Timers::default();
        self.queue = SendQueue::default();
        self.syn_pending = false;
        self.ack.now = false;
        self.events.0 |= Events::CLOSED.0;
    }

    /// A challenge ACK is due (RFC 5961), unless there were too many.
    pub(crate) fn challenge(&mut self, now: Instant) {
        let (since, count) = &mut self.challenges;
        if now.since(*since) >= CHALLENGE_PERIOD {
            (*since, *count) = (now, 0);
        }
        if *count < CHALLENGES {
            *count += 1;
            self.ack.now = true;
        }
    }

    /// The sequence number of the first octet in the queue.
    pub(crate) fn queue_start(&self) -> SeqNumber {
        // Not `snd_una == iss`: that comes true again after 4 GiB.
        if !self.state.is_synchronized() {
            self.iss + 1
        } else if self.fin_acknowledged {
            self.snd_una - 1
        } else {
            self.snd_una
        }
    }

    /// The sequence number behind the queue: FIN's, if one follows.
    pub(crate) fn queue_end(&self) -> SeqNumber {
        self.queue_start() + self.queue.len()
    }

    /// FIN was sent.
    pub(crate) fn is_fin_sent(&self) -> bool {
        self.send_closed && self.snd_nxt > self.queue_end()
    }

    /// The shift of windows this side sends.
    pub(crate) fn rcv_shift(&self) -> u8 {
        self.negotiated.rcv_shift.min(MAX_WINDOW_SHIFT)
    }

    /// Octets that may be in flight.
    pub fn cwnd(&self) -> u32 {
        self.congestion.cwnd()
    }
}
