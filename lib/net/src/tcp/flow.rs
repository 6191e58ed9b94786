//! [`Flow`]: a connection's control block, and what the program may ask of it.

use alloc::collections::VecDeque;
use core::time::Duration;

use frame::Frame;
use wire::tcp::{Flags, MAX_WINDOW_SHIFT, Repr};
use wire::{Port, SeqNumber};

use crate::Instant;
use crate::ip_options::IpOptions;
use crate::tcp::buffers::{ReceiveTuner, send_buffer};
use crate::tcp::congestion::{Algorithm, Congestion, Controller};
use crate::tcp::ecn::{EcnMode, EcnState};
use crate::tcp::in_flight::InFlight;
use crate::tcp::min_rtt::MinRtt;
use crate::tcp::options::Negotiated;
use crate::tcp::pacing::Pacer;
use crate::tcp::path_mtu::PathMtu;
use crate::tcp::rack::Rack;
use crate::tcp::rate::Rate;
use crate::tcp::receive_queue::ReceiveQueue;
use crate::tcp::recovery::Recovery;
use crate::tcp::rto::Rto;
use crate::tcp::sack::Scoreboard;
use crate::tcp::send_queue::SendQueue;
use crate::tcp::state::State;
use crate::tcp::tally::Tally;
use crate::tcp::timers::{FIN_WAIT_2, Timers};
use crate::tcp::tlp::TailLossProbe;
use crate::tcp::windows::{ReceiveWindow, SendWindow};

/// RFC 5961 § 10: so many challenge ACKs in a period. For each flow, so that one does not tell about another.
const CHALLENGES: u32 = 10;
const CHALLENGE_PERIOD: Duration = Duration::from_secs(5);
/// Segments that are acknowledged at once at the start, where the peer's window is small (as Linux's quick ACKs).
const QUICK_ACKS: u8 = 16;
/// For how long the peer of a connection that its program has closed may take nothing of what is queued: R2 of RFC 9293
/// § 3.8.3, and what Linux' eight tries (`tcp_orphan_retries`) come to.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(100);

/// What a connection is to be like. Both sides of a restored connection's life have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// This side's port.
    pub local_port: Port,
    /// The peer's port.
    pub remote_port: Port,
    /// Largest segment in octets without IP and TCP headers: the link's MTU less 40 for IPv4, less 60 for IPv6.
    pub mss: u16,
    /// Octets that may wait for the program at first, `1..=2^30`.
    pub receive_buffer: u32,
    /// What the receive buffer may grow to where the program reads fast; also what the window's scale is for.
    pub receive_buffer_max: u32,
    /// Octets that may wait to be acknowledged at first.
    pub send_buffer: u32,
    /// What the send buffer may grow to with the congestion window.
    pub send_buffer_max: u32,
    /// Congestion control.
    pub algorithm: Algorithm,
    /// Windows are spread over the round trip. BBR does so whatever this says.
    pub pacing: bool,
    /// A small segment waits until the one before is acknowledged (Nagle's algorithm, with Minshall's modification as in Linux: after full
    /// ones it does not wait); `false` is TCP_NODELAY.
    pub nagle: bool,
    /// Congestion marks.
    pub ecn: EcnMode,
    /// Windows above 64 KiB.
    pub window_scale: bool,
    /// Selective acknowledgments.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// What is added to the timestamp clock, of [`super::IsnGenerator::timestamp_offset`].
    pub timestamp_offset: u32,
    /// After how long of retransmitting in vain the connection is given up (RFC 9293 § 3.8.3: R2; at least 100 s).
    pub give_up: Duration,
    /// For how long data may stay unacknowledged, or unsent because of a closed window, before the connection is given
    /// up (RFC 5482, TCP_USER_TIMEOUT). Without it a peer that answers may keep its window closed as long as the program keeps
    /// the connection.
    pub user_timeout: Option<Duration>,
    /// Probes of an idle connection; `None`: none.
    pub keep_alive: Option<KeepAlive>,
    /// How often a SYN is sent again (TCP_SYNCNT); `None`: as long as [`Self::give_up`] says.
    pub syn_retries: Option<u8>,
    /// How long the peer of a connection that its program has closed may leave its direction open (TCP_LINGER2); `None`: it is
    /// reset at once.
    pub fin_wait_2: Option<Duration>,
    /// The largest segment that this side wants, in the sense of [`Self::mss`], which the stack sets (TCP_MAXSEG).
    pub max_segment: u16,
    /// Octets a second that leave at most (SO_MAX_PACING_RATE); `None`: as congestion control says.
    pub max_pacing_rate: Option<u64>,
    /// A listener gives a connection to its program when there is something to read, or after so long (TCP_DEFER_ACCEPT).
    pub defer_accept: Option<Duration>,
    /// What its packets are like.
    pub ip: IpOptions,
}

impl Config {
    /// The defaults, for these ports.
    pub const fn new(local_port: Port, remote_port: Port) -> Self {
        Self {
            local_port,
            remote_port,
            mss: 1460,
            receive_buffer: 128 * 1024,
            receive_buffer_max: 4 * 1024 * 1024,
            send_buffer: 128 * 1024,
            send_buffer_max: 4 * 1024 * 1024,
            algorithm: Algorithm::Cubic,
            pacing: true,
            nagle: true,
            ecn: EcnMode::IfAsked,
            window_scale: true,
            sack: true,
            timestamps: true,
            timestamp_offset: 0,
            give_up: Duration::from_secs(180),
            user_timeout: None,
            keep_alive: None,
            syn_retries: None,
            fin_wait_2: Some(FIN_WAIT_2),
            max_segment: u16::MAX,
            max_pacing_rate: None,
            defer_accept: None,
            ip: IpOptions::DEFAULT,
        }
    }

    /// With sizes that can be.
    fn bounded(self) -> Self {
        let receive_buffer = self.receive_buffer.clamp(1, 1 << 30);
        Self {
            receive_buffer,
            receive_buffer_max: self.receive_buffer_max.clamp(receive_buffer, 1 << 30),
            send_buffer_max: self.send_buffer_max.max(self.send_buffer).min(1 << 30),
            ..self
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
    /// A router or the peer's host says that there is no way to it: EHOSTUNREACH.
    Unreachable,
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
    /// There is room again: something was acknowledged. Also when FIN was.
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

/// Acknowledgments owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AckState {
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
/// Each call does a bounded amount of work. An acknowledgment costs work for the segments whose fate it tells, and a
/// binary search for each block it reports; a segment for the gaps that it closes among at most 256; a timeout may look
/// at each segment in flight. Memory is bounded by the buffers of [`Config`], the receive buffer's by four times its octets and
/// 32 KiB, 65,536 segments in flight and 1024 blocks that the peer reported. Acknowledgments in many parts count as little as their octets (RFC 3465); those of what was
/// never sent are refused; those of what was sent and did not arrive are the peer's own loss.
#[derive(Debug)]
pub struct Flow {
    pub(crate) config: Config,
    pub(crate) state: State,
    /// It began with the peer's SYN.
    pub(crate) passive: bool,
    pub(crate) negotiated: Negotiated,
    pub(crate) path: PathMtu,
    pub(crate) ecn: EcnState,

    pub(crate) iss: SeqNumber,
    pub(crate) snd_una: SeqNumber,
    /// Behind the highest octet ever sent: it does not go back for a retransmission.
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) snd_wnd: SendWindow,
    pub(crate) queue: SendQueue,
    /// Where the last segment ends that was less than a full one, until that is acknowledged.
    pub(crate) small: Option<SeqNumber>,
    /// What is less than a segment waits for more.
    pub(crate) corked: bool,
    /// FIN follows the queue.
    pub(crate) send_closed: bool,
    pub(crate) fin_acknowledged: bool,

    pub(crate) irs: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) rcv_wnd: ReceiveWindow,
    pub(crate) received: ReceiveQueue,
    pub(crate) tuner: ReceiveTuner,
    /// Octets in order that the program has not read.
    pub(crate) unread: u32,
    /// Segments whose text was not taken for want of memory.
    pub(crate) refused: u64,
    /// The largest segment the peer sent.
    pub(crate) rcv_mss: u32,
    /// Where the peer's FIN is, once it was seen.
    pub(crate) fin: Option<SeqNumber>,
    /// The program reads no more.
    pub(crate) receive_closed: bool,

    pub(crate) rto: Rto,
    pub(crate) min_rtt: MinRtt,
    /// When the SYN was sent, if once.
    pub(crate) syn_sent_at: Option<Instant>,
    /// How often it was sent.
    pub(crate) syns: u8,
    /// With timestamps: echoes of earlier ones are not measured.
    pub(crate) echoes_from: Option<u32>,

    pub(crate) in_flight: InFlight,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) rate: Rate,
    pub(crate) congestion: Congestion,
    pub(crate) pacer: Pacer,
    pub(crate) recovery: Recovery,
    pub(crate) rack: Rack,
    pub(crate) tail_loss_probe: Option<TailLossProbe>,
    /// Without selective acknowledgments: how many in a row acknowledged nothing new.
    pub(crate) duplicate_acks: u32,
    /// Segments sent again since the last reduction that the peer did not report as having arrived twice; `None`: the
    /// reduction stands.
    pub(crate) undo: Option<u32>,

    pub(crate) timers: Timers,
    pub(crate) last_sent: Instant,
    /// Since when nothing was acknowledged that is waited for.
    pub(crate) waiting_since: Option<Instant>,
    pub(crate) retransmitting_since: Option<Instant>,
    pub(crate) ack: AckState,
    pub(crate) syn_pending: bool,
    /// One retransmission is to be sent whatever the window says.
    pub(crate) retransmit_now: bool,
    /// The tail is to be probed for a loss.
    pub(crate) tail_loss_now: bool,
    /// What waits under the cork is to be sent.
    pub(crate) uncork_now: bool,
    /// A closed or silly window is to be probed.
    pub(crate) probe_now: bool,
    pub(crate) keep_alive_now: bool,
    pub(crate) keep_alive_probes: u32,
    pub(crate) reset: Option<Repr>,
    pub(crate) challenges: (Instant, u32),

    pub(crate) tally: Tally,
    pub(crate) events: Events,
    pub(crate) error: Option<Error>,
}

impl Flow {
    /// An active open: SYN-SENT (RFC 9293 § 3.10.1). `iss` is of [`super::IsnGenerator`].
    pub fn connect(config: Config, now: Instant, iss: SeqNumber) -> Self {
        let config = config.bounded();
        let negotiated = Negotiated::before(&config);
        Self {
            state: State::SynSent,
            passive: false,
            negotiated,
            path: PathMtu::new(negotiated.mss),
            ecn: EcnState::default(),
            iss,
            snd_una: iss,
            snd_nxt: iss,
            snd_wnd: SendWindow::new(),
            queue: SendQueue::default(),
            small: None,
            corked: false,
            send_closed: false,
            fin_acknowledged: false,
            irs: SeqNumber(0),
            rcv_nxt: SeqNumber(0),
            rcv_wnd: ReceiveWindow { capacity: config.receive_buffer, right: SeqNumber(0) },
            received: ReceiveQueue::default(),
            tuner: ReceiveTuner::new(now),
            unread: 0,
            refused: 0,
            rcv_mss: 536,
            fin: None,
            receive_closed: false,
            rto: Rto::new(),
            min_rtt: MinRtt::default(),
            syn_sent_at: None,
            syns: 0,
            echoes_from: None,
            in_flight: InFlight::new(),
            scoreboard: Scoreboard::default(),
            rate: Rate::new(now),
            congestion: Congestion::new(config.algorithm, negotiated.mss, now, iss.0),
            pacer: Pacer::new(now),
            recovery: Recovery::Open,
            rack: Rack::new(),
            tail_loss_probe: None,
            duplicate_acks: 0,
            undo: None,
            timers: Timers::default(),
            last_sent: now,
            waiting_since: None,
            retransmitting_since: None,
            ack: AckState { quick: QUICK_ACKS, ..AckState::default() },
            syn_pending: true,
            retransmit_now: false,
            tail_loss_now: false,
            uncork_now: false,
            probe_now: false,
            keep_alive_now: false,
            keep_alive_probes: 0,
            reset: None,
            challenges: (now, 0),
            tally: Tally::new(now),
            events: Events::default(),
            error: None,
            config,
        }
    }

    /// A passive open by a SYN for which [`super::Listener`] said so: SYN-RECEIVED (RFC 9293 § 3.10.7.2). Data on the
    /// SYN is left for the peer to send again.
    pub fn accept(config: Config, now: Instant, iss: SeqNumber, syn: &Repr) -> Self {
        let mut flow = Self::connect(config, now, iss);
        flow.passive = true;
        flow.take_syn(now, syn);
        flow.state = State::SynReceived;
        flow
    }

    /// A passive open by the acknowledgment of a cookie: `syn` is of [`super::Listen::AcceptCookie`], and `iss` is the
    /// number before the one that is acknowledged. The segment is to be given to the flow.
    pub fn accept_cookie(config: Config, now: Instant, iss: SeqNumber, syn: &Repr) -> Self {
        let mut flow = Self::accept(config, now, iss, syn);
        flow.snd_nxt = iss + 1;
        flow.syns = 1;
        flow.syn_pending = false;
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

    /// Octets that were given to [`Self::send`] and not acknowledged.
    pub fn unacknowledged(&self) -> u32 {
        self.queue.len()
    }

    /// Octets for which there is room in the send buffer: none while what is queued takes more than twice the buffer's memory,
    /// as many small frames do.
    pub fn send_room(&self) -> u32 {
        let Config { send_buffer: least, send_buffer_max: max, .. } = self.config;
        let buffer = send_buffer(least, max, self.congestion.cwnd());
        if self.queue.footprint() > 2 * buffer as usize {
            return 0;
        }
        buffer.saturating_sub(self.queue.len())
    }

    /// Changes what the buffers may grow to: the caller's budget, which it may lower under pressure. What the peer was
    /// promised stays promised, and what is queued stays queued.
    pub fn set_buffer_limits(&mut self, receive: u32, send: u32) {
        self.set_receive_limit(receive);
        self.config.send_buffer_max = send.clamp(1, 1 << 30);
        self.config.send_buffer = self.config.send_buffer.min(self.config.send_buffer_max);
    }

    /// Changes what the receive buffer may grow to; see [`Self::set_buffer_limits`].
    pub fn set_receive_limit(&mut self, octets: u32) {
        self.config.receive_buffer_max = octets.clamp(1, 1 << 30);
        self.config.receive_buffer = self.config.receive_buffer.min(self.config.receive_buffer_max);
        self.rcv_wnd.capacity = self.rcv_wnd.capacity.min(self.config.receive_buffer_max);
    }

    /// TCP_NODELAY: whether small segments wait for an acknowledgment. What waits goes if they do not.
    pub fn set_nagle(&mut self, nagle: bool) {
        self.config.nagle = nagle;
    }

    /// TCP_CORK: whether what is less than a segment waits for more, for at most 200 ms as in Linux. What waits goes
    /// when the cork is pulled.
    pub fn set_cork(&mut self, corked: bool) {
        self.corked = corked;
        if !corked {
            self.timers.cork = None;
        }
    }

    /// SO_KEEPALIVE and its times.
    pub fn set_keep_alive(&mut self, now: Instant, keep_alive: Option<KeepAlive>) {
        self.config.keep_alive = keep_alive;
        if self.state.is_synchronized() && self.state != State::TimeWait {
            self.restart_keep_alive(now);
        }
    }

    /// TCP_USER_TIMEOUT; `None`: none.
    pub fn set_user_timeout(&mut self, user_timeout: Option<Duration>) {
        self.config.user_timeout = user_timeout;
    }

    /// TCP_QUICKACK: the next segments are acknowledged at once, or no more than RFC 9293 § 3.8.6.3 asks for.
    pub fn set_quick_ack(&mut self, quick: bool) {
        self.ack.quick = if quick { QUICK_ACKS } else { 0 };
        self.ack.now |= quick && self.timers.delayed_ack.take().is_some();
    }

    /// TCP_LINGER2; see [`Config::fin_wait_2`].
    pub fn set_fin_wait_2(&mut self, limit: Option<Duration>) {
        self.config.fin_wait_2 = limit;
    }

    /// TCP_SYNCNT; see [`Config::syn_retries`].
    pub fn set_syn_retries(&mut self, retries: Option<u8>) {
        self.config.syn_retries = retries;
    }

    /// SO_MAX_PACING_RATE; see [`Config::max_pacing_rate`].
    pub fn set_max_pacing_rate(&mut self, octets_per_second: Option<u64>) {
        self.config.max_pacing_rate = octets_per_second;
    }

    /// TCP_CONGESTION: another algorithm takes over. Window and threshold stay as far as it has any.
    pub fn set_algorithm(&mut self, now: Instant, algorithm: Algorithm) {
        self.config.algorithm = algorithm;
        if self.congestion.algorithm() != algorithm {
            self.congestion = self.congestion.succeed(algorithm, self.path.mss, now, self.iss.0);
        }
    }

    /// What its packets are like from now on.
    pub fn set_ip(&mut self, ip: IpOptions) {
        self.config.ip = ip;
    }

    /// What it is like.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What its packets are like.
    pub fn ip(&self) -> &IpOptions {
        &self.config.ip
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

    /// Received octets, in order (RFC 9293 § 3.10.3). They count against the receive buffer until [`Self::read`], and so does
    /// the memory that they keep ([`Frame::footprint`]).
    pub fn receive(&mut self) -> Option<Frame> {
        self.received.take()
    }

    /// As [`Self::receive`], for who keeps what arrives: all frames that there are, behind those of `queue`, small ones copied
    /// into the last one. Returns how many octets.
    pub fn receive_into(&mut self, queue: &mut VecDeque<Frame>) -> usize {
        self.received.take_into(queue)
    }

    /// The program has read so many octets of what it was given; the window may open, and grow.
    pub fn read(&mut self, now: Instant, octets: u32) {
        let octets = octets.min(self.unread);
        self.unread -= octets;
        self.received.release(octets);
        let (capacity, max) = (self.rcv_wnd.capacity, self.config.receive_buffer_max);
        self.rcv_wnd.capacity = self.tuner.on_read(now, octets, self.rto.srtt(), capacity, max);
        if self.state.is_synchronized()
            && self.fin.is_none()
            && self.rcv_wnd.is_update_due(self.rcv_nxt, self.held(), self.rcv_mss)
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

    /// The program has closed the connection for good, whatever is still to be sent. It does not live for ever by itself: it ends
    /// with [`Error::TimedOut`] when the peer has taken nothing for 100 s, as where it keeps its window closed. If the peer
    /// sends more it gets a reset (RFC 1122 § 4.2.2.13).
    pub fn orphan(&mut self, now: Instant) {
        if core::mem::replace(&mut self.receive_closed, true) {
            return;
        }
        self.config.user_timeout =
            Some(self.config.user_timeout.unwrap_or(ORPHAN_TIMEOUT).min(ORPHAN_TIMEOUT));
        self.waiting_since = self.waiting_since.map(|_| now);
    }

    /// Neither sends nor reads any more, and is an [orphan](Self::orphan). What was received and not read is lost, so the peer
    /// gets a reset in that case.
    pub fn close(&mut self, now: Instant) {
        self.orphan(now);
        if self.unread > 0 {
            return self.abort();
        }
        self.shutdown_send();
        if self.state == State::FinWait2 {
            match self.config.fin_wait_2 {
                Some(limit) => drop(self.timers.time_wait.get_or_insert(now + limit)),
                None => self.abort(),
            }
        }
    }

    /// Ends the connection with a reset (RFC 9293 § 3.10.5), which the next [`Self::poll_transmit`] gives out.
    pub fn abort(&mut self) {
        if matches!(
            self.state,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        ) {
            self.reset = Some(self.bare(self.snd_nxt, Flags::RST | Flags::ACK));
        }
        self.end(Some(Error::Aborted));
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
        self.in_flight = InFlight::new();
        self.scoreboard.clear();
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

    /// Octets that count against the receive buffer: what the program has not read, and what the memory of frames is beyond
    /// its due.
    pub(crate) fn held(&self) -> u32 {
        self.unread.saturating_add(self.received.excess())
    }

    /// The shift of windows this side sends.
    pub(crate) fn rcv_shift(&self) -> u8 {
        self.negotiated.rcv_shift.min(MAX_WINDOW_SHIFT)
    }

    /// Octets that may be in flight.
    pub fn cwnd(&self) -> u32 {
        match &self.recovery {
            Recovery::Fast { prr: Some(prr), .. } => prr.cwnd,
            _ => self.congestion.cwnd(),
        }
    }

    /// The smoothed round-trip time, if one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.rto.srtt()
    }

    /// The largest segment that is sent now, in octets without IP and TCP headers, options included (RFC 6691).
    pub fn mss(&self) -> u32 {
        self.path.mss
    }

    /// Segments whose text was not taken because the memory of frames received before was too much for the receive buffer:
    /// their sender puts little into each.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Octets that the receive buffer holds now.
    pub fn receive_buffer(&self) -> u32 {
        self.rcv_wnd.capacity
    }
}
