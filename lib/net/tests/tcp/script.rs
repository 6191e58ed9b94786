//! Packet scripts. A segment is written as packetdrill and tcpdump do:
//!
//! ```text
//! S. 0:0(0) ack 1 win 65535 <mss 1000,sackOK,TS val 1 ecr 2,wscale 7,sack 1:2 3:4>
//! ```
//!
//! The two bits of the IP header stand before the options: `ecn 2`.
//!
//! Sequence numbers count from the sender's SYN, which is 0, so the first octet is 1. What `expect!` does not mention of
//! window, ecn and options is not compared; `ack` belongs to every segment with the flag. Every segment that is sent must be
//! expected before anything else happens.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use frame::{Frame, HeapPool};
use net::tcp::{Config, Ecn, Events, Flow, FourTuple, Handled, IcmpError, Listen, Listener, Segment, State};
use net::{Instant, Key};
use wire::tcp::{Flags, Options, Repr, SackBlock, Timestamps};
use wire::{Port, SeqNumber};

/// Where the flow's sequence numbers begin: close to the end, so that every script wraps.
const ISS: SeqNumber = SeqNumber(u32::MAX - 500);
/// Where the peer's begin.
const IRS: SeqNumber = SeqNumber(u32::MAX - 700);

/// The peer's segment arrives.
macro_rules! inject {
    ($script:expr, $($segment:tt)*) => { $script.inject(&format!($($segment)*)) };
}

/// The flow has sent this segment, and it was the next one.
macro_rules! expect {
    ($script:expr, $($segment:tt)*) => { $script.expect(None, &format!($($segment)*)) };
}

/// The flow has sent this segment at this millisecond.
macro_rules! expect_at {
    ($script:expr, $millis:expr, $($segment:tt)*) => { $script.expect(Some($millis), &format!($($segment)*)) };
}

pub struct Script {
    pub flow: Option<Flow>,
    pub now: Instant,
    pub listener: Listener,
    config: Config,
    pub pool: &'static HeapPool,
    sent: VecDeque<(Instant, String)>,
    /// Where the flow's numbers begin.
    iss: SeqNumber,
    /// What the listener answered last.
    pub replied: Option<Repr>,
    /// Octets of the stream that were queued so far; their values are their places.
    queued: u32,
    pub events: Events,
    /// Somebody else keeps the blocks of injected frames, as the sender does on the loopback interface.
    pub keeps_sent: bool,
    kept: Vec<Frame>,
}

/// The defaults of scripts: no Nagle, no options, so that most scripts see segments and nothing else.
pub fn plain() -> Config {
    Config {
        mss: 1000,
        nagle: false,
        sack: false,
        timestamps: false,
        window_scale: false,
        receive_buffer: 20_000,
        receive_buffer_max: 20_000,
        pacing: false,
        algorithm: net::tcp::Algorithm::NewReno,
        ..Config::new(Port(80), Port(5000))
    }
}

impl Script {
    /// A listener; a SYN is to be injected.
    pub fn listen(config: Config) -> Self {
        let pool = HeapPool::leak(1000);
        let now = Instant::from_millis(0);
        let listener = Listener::new(Key([3, 4]), 1);
        let (sent, events) = (VecDeque::new(), Events::default());
        Self {
            flow: None,
            now,
            listener,
            config,
            pool,
            sent,
            iss: ISS,
            replied: None,
            queued: 0,
            events,
            keeps_sent: false,
            kept: Vec::new(),
        }
    }

    /// An active open; the SYN is to be expected.
    pub fn connect(config: Config) -> Self {
        let mut script = Self::listen(config);
        script.flow = Some(Flow::connect(config, script.now, ISS));
        script.drain();
        script
    }

    /// A connection that the peer opened, with segments of 1000 octets and a window of 50000.
    #[track_caller]
    pub fn established(config: Config) -> Self {
        let mut script = Self::listen(config);
        inject!(script, "S 0:0(0) win 50000 <mss 1000>");
        expect!(script, "S. 0:0(0) ack 1");
        inject!(script, ". 1:1(0) ack 1 win 50000");
        script.events = Events::default();
        script
    }

    /// As [`Self::established`], with selective acknowledgments and a round-trip time of 100 ms; it is 100 ms now.
    #[track_caller]
    pub fn established_with_sack() -> Self {
        Self::established_at_100_ms(Config { sack: true, ..plain() })
    }

    /// As [`Self::established_with_sack`], otherwise configured.
    #[track_caller]
    pub fn established_at_100_ms(config: Config) -> Self {
        let mut script = Self::listen(config);
        inject!(script, "S 0:0(0) win 50000 <mss 1000,sackOK>");
        expect!(script, "S. 0:0(0) ack 1");
        script.wait(100);
        inject!(script, ". 1:1(0) ack 1 win 50000");
        script.events = Events::default();
        script
    }

    pub fn flow(&mut self) -> &mut Flow {
        self.flow.as_mut().expect("a SYN was injected")
    }

    pub fn state(&self) -> State {
        self.flow.as_ref().expect("a SYN was injected").state()
    }

    /// The program sends octets.
    #[track_caller]
    pub fn send(&mut self, len: u32) {
        let frame = pattern(self.pool, self.queued, len);
        self.queued += len;
        self.flow().send(frame).unwrap();
        self.drain();
    }

    /// The program takes all that arrived and reads it.
    #[track_caller]
    pub fn read(&mut self, expected: u32) {
        let mut len = 0;
        while let Some(frame) = self.flow().receive() {
            len += frame.len() as u32;
        }
        assert_eq!(len, expected, "octets for the program");
        let now = self.now;
        self.flow().read(now, len);
        self.drain();
    }

    pub fn shutdown(&mut self) {
        self.flow().shutdown_send();
        self.drain();
    }

    pub fn close(&mut self) {
        let now = self.now;
        self.flow().close(now);
        self.drain();
    }

    pub fn abort(&mut self) {
        self.flow().abort();
        self.drain();
    }

    /// An ICMP error arrives about a segment that began at `seq`.
    pub fn icmp(&mut self, seq: u32, error: IcmpError) {
        let (now, seq) = (self.now, self.iss + seq);
        self.flow().handle_icmp_error(now, seq, error);
        self.drain();
    }

    /// What is to be sent after the flow was told something directly.
    pub fn poll(&mut self) {
        self.drain();
    }

    /// Forgets what was sent; returns how many segments.
    pub fn discard(&mut self) -> usize {
        self.sent.drain(..).count()
    }

    /// Blocks of memory that frames hold.
    pub fn blocks(&self) -> usize {
        self.pool.out().0
    }

    /// Acknowledgment of the last answer of the listener, as the script writes it.
    pub fn cookie_ack(&self) -> u32 {
        (self.replied.unwrap().seq + 1).since(self.iss)
    }

    /// Time passes, and timers expire when they are due.
    #[track_caller]
    pub fn wait(&mut self, millis: u64) {
        self.assert_quiet();
        let until = Instant(self.now.0 + millis * 1_000_000);
        while let Some(deadline) = self.flow().poll_timeout().filter(|deadline| *deadline <= until) {
            self.now = deadline.max(self.now);
            let now = self.now;
            self.flow().handle_timeout(now);
            self.drain();
        }
        self.now = until;
    }

    #[track_caller]
    pub fn inject(&mut self, text: &str) {
        self.assert_quiet();
        let segment = self.parse(text);
        if self.keeps_sent {
            self.kept.extend(segment.payload.as_ref().and_then(Frame::try_clone));
        }
        match &mut self.flow {
            None => self.listen_to(segment),
            Some(flow) => {
                if let Handled::Reopen(segment) = flow.handle_segment(self.now, segment) {
                    self.flow = None;
                    self.listener.release();
                    self.listen_to(segment);
                }
            }
        }
        self.drain();
    }

    fn listen_to(&mut self, segment: Segment) {
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let (local_port, remote_port) = (self.config.local_port, self.config.remote_port);
        let tuple = FourTuple { local: ip(1), local_port, remote: ip(2), remote_port };
        match self.listener.handle_segment(self.now, &self.config, &tuple, &segment) {
            Listen::Accept => self.flow = Some(Flow::accept(self.config, self.now, ISS, &segment.repr)),
            Listen::AcceptCookie(syn) => {
                self.iss = segment.repr.ack - 1;
                let mut flow = Flow::accept_cookie(self.config, self.now, self.iss, &syn);
                assert!(matches!(flow.handle_segment(self.now, segment), Handled::Done));
                self.flow = Some(flow);
            }
            Listen::Reply(repr) => {
                self.replied = Some(repr);
                let text = self.format(&Segment::new(repr, None));
                self.sent.push_back((self.now, text));
            }
            Listen::Ignore => {}
        }
    }

    #[track_caller]
    pub fn expect(&mut self, millis: Option<u64>, expected: &str) {
        let Some((at, mut sent)) = self.sent.pop_front() else {
            panic!("nothing was sent; expected {expected}")
        };
        if !expected.contains('<') {
            sent.truncate(sent.find(" <").unwrap_or(sent.len()));
        }
        for word in [" win ", " ecn "] {
            if !expected.contains(word)
                && let Some((start, end)) = word_and_value(&sent, word)
            {
                sent.replace_range(start..end, "");
            }
        }
        assert_eq!(sent, expected, "sent at {} ms (left), expected (right)", at.as_millis());
        if let Some(millis) = millis {
            assert_eq!(at.as_millis(), millis, "milliseconds at which {expected} was sent");
        }
    }

    #[track_caller]
    pub fn assert_quiet(&self) {
        assert!(self.sent.is_empty(), "sent and not expected: {:#?}", self.sent);
    }

    fn drain(&mut self) {
        let Some(mut flow) = self.flow.take() else { return };
        while let Some(segment) = flow.poll_transmit(self.now) {
            let text = self.format(&segment);
            assert!(self.sent.len() < 1000, "it does not stop sending: {text}");
            self.sent.push_back((self.now, text));
        }
        self.events.0 |= flow.poll_events().0;
        self.flow = Some(flow);
    }

    /// A segment of the flow as text; payload must be the octets that belong there.
    fn format(&self, segment: &Segment) -> String {
        let Segment { repr, payload, ecn, .. } = segment;
        let len = segment.payload_len();
        let seq = repr.seq.since(self.iss);
        let end = seq.wrapping_add(len);
        let mut text = format!("{} {seq}:{end}({len})", repr.flags);
        if repr.flags.has(Flags::ACK) {
            write!(text, " ack {}", repr.ack.since(IRS)).unwrap();
        }
        write!(text, " win {}", repr.window).unwrap();
        write!(text, " ecn {}", *ecn as u8).unwrap();
        let Options { mss, window_scale, sack_permitted, sack, timestamps } = &repr.options;
        let mut options = Vec::new();
        options.extend(mss.map(|mss| format!("mss {mss}")));
        options.extend(sack_permitted.then(|| "sackOK".to_string()));
        options.extend(timestamps.map(|t| format!("TS val {} ecr {}", t.val, t.ecr)));
        options.extend(window_scale.map(|shift| format!("wscale {shift}")));
        if !sack.is_empty() {
            let blocks: Vec<_> =
                sack.iter().map(|b| format!("{}:{}", b.left.since(IRS), b.right.since(IRS))).collect();
            options.push(format!("sack {}", blocks.join(" ")));
        }
        write!(text, " <{}>", options.join(",")).unwrap();
        if let Some(payload) = payload {
            assert_eq!(
                octets(payload),
                octets(&pattern(self.pool, seq.wrapping_sub(1), len)),
                "payload of {text}"
            );
        }
        text
    }

    /// The peer's segment from text.
    #[track_caller]
    fn parse(&self, text: &str) -> Segment {
        let (head, options) = text.split_once(" <").unwrap_or((text, ""));
        let mut words = head.split(' ');
        let mut flags = Flags::NONE;
        for letter in words.next().unwrap().chars() {
            flags |= match letter {
                'F' => Flags::FIN,
                'S' => Flags::SYN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                '.' => Flags::ACK,
                'U' => Flags::URG,
                'E' => Flags::ECE,
                'W' => Flags::CWR,
                other => panic!("no such flag: {other}"),
            };
        }
        let (seq, rest) = words.next().unwrap().split_once(':').unwrap();
        let seq: i64 = seq.parse().unwrap();
        let len: u32 = rest.split_once('(').unwrap().1.trim_end_matches(')').parse().unwrap();
        let (mut ack, mut window, mut ecn) = (0_i64, 50_000, Ecn::NotEct);
        while let Some(word) = words.next() {
            let value: i64 = words.next().unwrap().parse().unwrap();
            match word {
                "ack" => ack = value,
                "win" => window = value as u16,
                "ecn" => ecn = Ecn::from_traffic_class(value as u8),
                other => panic!("no such word: {other}"),
            }
        }
        let mut parsed = Options::NONE;
        for option in options.trim_end_matches('>').split(',').filter(|option| !option.is_empty()) {
            let words: Vec<_> = option.split(' ').collect();
            match words[..] {
                ["mss", mss] => parsed.mss = Some(mss.parse().unwrap()),
                ["wscale", shift] => parsed.window_scale = Some(shift.parse().unwrap()),
                ["sackOK"] => parsed.sack_permitted = true,
                ["TS", "val", val, "ecr", ecr] => {
                    parsed.timestamps =
                        Some(Timestamps { val: val.parse().unwrap(), ecr: ecr.parse().unwrap() });
                }
                ["sack", ref blocks @ ..] => parsed.sack.extend(blocks.iter().map(|block| {
                    let (left, right) = block.split_once(':').unwrap();
                    let at = |n: &str| self.iss + n.parse::<i64>().unwrap() as u32;
                    SackBlock { left: at(left), right: at(right) }
                })),
                _ => panic!("no such option: {option}"),
            }
        }
        let repr = Repr {
            src_port: self.config.remote_port,
            dst_port: self.config.local_port,
            seq: IRS + seq as u32,
            ack: if flags.has(Flags::ACK) { self.iss + ack as u32 } else { SeqNumber(0) },
            flags,
            window,
            urgent: 0,
            options: parsed,
        };
        Segment { ecn, ..Segment::new(repr, (len > 0).then(|| received(self.pool, seq as u32, len))) }
    }
}

fn word_and_value(text: &str, word: &str) -> Option<(usize, usize)> {
    let start = text.find(word)?;
    let value = start + word.len();
    Some((start, value + text[value..].find(' ').unwrap_or(text.len() - value)))
}

/// Octets whose values tell their place in the stream.
pub fn pattern(pool: &'static HeapPool, from: u32, len: u32) -> Frame {
    fill(Frame::allocate(pool, 0, len as usize).unwrap(), from, len)
}

/// The same as a driver hands it over: in a block that has room for any packet.
fn received(pool: &'static HeapPool, from: u32, len: u32) -> Frame {
    fill(Frame::allocate(pool, 0, len.max(1500) as usize).unwrap(), from, len)
}

fn fill(mut frame: Frame, from: u32, len: u32) -> Frame {
    for (at, octet) in frame.push_back(len as usize).unwrap().iter_mut().enumerate() {
        *octet = value_at(from.wrapping_add(at as u32));
    }
    frame
}

pub fn value_at(place: u32) -> u8 {
    (place.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

pub fn octets(frame: &Frame) -> Vec<u8> {
    frame.segments().flat_map(|segment| segment.octets).copied().collect()
}
