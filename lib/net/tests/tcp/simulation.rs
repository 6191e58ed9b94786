//! Two stacks over a wire that delays, loses, repeats, reorders and damages: every octet arrives, and both sides end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::time::Duration;

use frame::{Frame, HeapPool};
use net::tcp::{
    Algorithm, Config, EcnMode, Flow, FourTuple, Handled, IcmpError, KeepAlive, Listen, Listener, Segment,
    State, reset_for,
};
use net::{Instant, Key};
use wire::checksum::Sum;
use wire::{Port, Protocol, SeqNumber, tcp};

use crate::rng::{Rng, for_seeds};
use crate::script::value_at;

/// How bad the wire is. Chances are in 1000.
#[derive(Clone, Copy, Debug)]
struct Wire {
    delay_us: usize,
    jitter_us: usize,
    loss: usize,
    duplicate: usize,
    damage: usize,
    mtu: Mtu,
}

/// What the wire takes, in octets of TCP header and payload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mtu {
    /// Everything.
    Endless,
    /// It changes each second; routers tell.
    Told,
    /// It becomes small after a second, and nobody tells.
    BlackHole,
}

/// What one side is to do.
#[derive(Debug)]
struct Side {
    config: Config,
    flow: Option<Flow>,
    /// Octets to send in all, queued so far, and received so far.
    to_send: u32,
    queued: u32,
    received: u32,
    /// The program looks after its connection at these moments only.
    next_look: Instant,
    look_every_us: usize,
    shut: bool,
}

/// When a side is saved and goes on as what was restored.
#[derive(Clone, Copy, Debug)]
enum Restore {
    Never,
    /// At a step in fifty.
    Sometimes,
    /// At each step.
    Always,
}

/// When, in which order, at which side, what.
type Arrival = (Instant, u64, usize, Vec<u8>);

struct Simulation<'a> {
    rng: &'a mut Rng,
    pool: &'static HeapPool,
    now: Instant,
    sides: [Side; 2],
    wire: Wire,
    in_flight: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    restore: Restore,
    /// What was put on the wire, if that is wanted.
    trace: bool,
    sent: Vec<(Instant, usize, Vec<u8>)>,
    /// What each side puts in front of its numbers, to tell the streams apart.
    iss: [SeqNumber; 2],
}

const ADDRS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

fn pseudo(from: usize, len: usize) -> Sum {
    Sum::pseudo_v4(ADDRS[from], ADDRS[1 - from], Protocol::TCP, len as u16)
}

fn octets_of(segment: &Segment, from: usize) -> Vec<u8> {
    let header_len = segment.repr.header_len();
    let mut octets = vec![0; header_len];
    if let Some(payload) = &segment.payload {
        octets.extend(payload.segments().flat_map(|part| part.octets));
    }
    let mut packet = tcp::Packet::new_unchecked(&mut octets[..]);
    segment.repr.emit(&mut packet);
    packet.fill_checksum(pseudo(from, header_len + segment.payload_len() as usize));
    octets
}

impl Simulation<'_> {
    fn segment_of(&self, octets: &[u8], from: usize) -> Option<Segment> {
        let packet = tcp::Packet::new_checked(octets).ok()?;
        let repr = tcp::Repr::parse(&packet, Some(pseudo(from, octets.len()))).ok()?;
        let payload = packet.payload();
        let payload = (!payload.is_empty()).then(|| {
            let mut frame = Frame::allocate(self.pool, 0, payload.len()).unwrap();
            frame.push_back(payload.len()).unwrap().copy_from_slice(payload);
            frame
        });
        Some(Segment::new(repr, payload))
    }

    /// Puts a segment on the wire, or not.
    fn transmit(&mut self, from: usize, segment: &Segment) {
        let mut octets = octets_of(segment, from);
        let mtu = self.mtu();
        if octets.len() > mtu {
            if self.wire.mtu == Mtu::Told
                && let Some(flow) = &mut self.sides[from].flow
            {
                let mss = mtu as u32 - 20;
                flow.handle_icmp_error(self.now, segment.repr.seq, IcmpError::TooBig { mss });
            }
            return;
        }
        if self.trace {
            self.sent.push((self.now, from, octets.clone()));
        }
        let chance = |rng: &mut Rng, n: usize| rng.below(1000) < n;
        if chance(self.rng, self.wire.loss) {
            return;
        }
        let copies = if chance(self.rng, self.wire.duplicate) { 2 } else { 1 };
        if chance(self.rng, self.wire.damage) {
            let bit = self.rng.below(octets.len() * 8);
            octets[bit / 8] ^= 1 << (bit % 8);
        }
        for _ in 0..copies {
            let micros = self.wire.delay_us + self.rng.below(self.wire.jitter_us + 1);
            self.order += 1;
            let at = self.now + Duration::from_micros(micros as u64);
            self.in_flight.push(Reverse((at, self.order, 1 - from, octets.clone())));
        }
    }

    fn mtu(&self) -> usize {
        match self.wire.mtu {
            Mtu::Endless => usize::MAX,
            Mtu::Told => [1500, 800, 9000, 1200, 600][(self.now.as_millis() / 1000 % 5) as usize],
            Mtu::BlackHole if self.now.as_millis() < 1000 => usize::MAX,
            Mtu::BlackHole => 1100,
        }
    }

    fn deliver(&mut self, to: usize, octets: &[u8]) {
        let Some(segment) = self.segment_of(octets, 1 - to) else { return };
        match &mut self.sides[to].flow {
            // The flow is gone: a FIN that comes again finds nobody.
            Some(flow) if flow.state() == State::Closed => {
                if let Some(repr) = reset_for(&segment) {
                    self.transmit(to, &Segment::new(repr, None));
                }
            }
            Some(flow) => match flow.handle_segment(self.now, segment) {
                Handled::Done => {}
                Handled::Reopen(segment) => panic!("a SYN again in TIME-WAIT: {segment:?}"),
            },
            None => {
                let config = self.sides[to].config;
                let tuple = FourTuple {
                    local: ADDRS[to].into(),
                    local_port: config.local_port,
                    remote: ADDRS[1 - to].into(),
                    remote_port: config.remote_port,
                };
                let mut listener = Listener::new(Key([1, 2]), 1);
                if listener.handle_segment(self.now, &config, &tuple, &segment) == Listen::Accept {
                    self.sides[to].flow = Some(Flow::accept(config, self.now, self.iss[to], &segment.repr));
                }
            }
        }
    }

    fn send(&mut self, index: usize) {
        let mut burst = 0;
        while let Some(segment) =
            self.sides[index].flow.as_mut().and_then(|flow| flow.poll_transmit(self.now))
        {
            burst += 1;
            assert!(burst < 10_000, "it does not stop sending: {segment:?} {}", self.summary());
            self.transmit(index, &segment);
        }
    }

    /// The program reads, writes, and shuts down when it has written all.
    fn look(&mut self, index: usize) {
        let side = &mut self.sides[index];
        let Some(flow) = &mut side.flow else { return };
        let mut read = 0;
        while let Some(frame) = flow.receive() {
            for part in frame.segments() {
                for octet in part.octets {
                    let expected = value_at(side.received.wrapping_add(1_000_000 * index as u32));
                    assert_eq!(*octet, expected, "octet {} of side {}", side.received, 1 - index);
                    side.received += 1;
                    read += 1;
                }
            }
        }
        flow.read(self.now, read);
        while side.queued < side.to_send && flow.send_room() > 0 {
            let len = (1 + self.rng.below(4000) as u32).min(side.to_send - side.queued).min(flow.send_room());
            let base = side.queued.wrapping_add(1_000_000 * (1 - index as u32));
            let mut frame = Frame::allocate(self.pool, 0, len as usize).unwrap();
            for (at, octet) in frame.push_back(len as usize).unwrap().iter_mut().enumerate() {
                *octet = value_at(base + at as u32);
            }
            if flow.send(frame).is_err() {
                break;
            }
            side.queued += len;
        }
        if side.queued == side.to_send && !side.shut && flow.state() != State::SynSent {
            side.shut = true;
            flow.shutdown_send();
        }
    }

    /// What a live update does: the flow is saved, dropped, and another one takes its place.
    fn restore(&mut self, index: usize) {
        let Some(flow) = &mut self.sides[index].flow else { return };
        let Some(saved) = flow.save(self.now) else { return };
        *flow = Flow::restore(&saved, self.pool, self.now).unwrap();
        let again = flow.save(self.now).unwrap();
        assert_eq!(again, saved);
    }

    /// Where both sides stand.
    fn summary(&self) -> String {
        let side = |side: &Side| {
            let Side { config, queued, to_send, received, flow, .. } = side;
            let state = flow.as_ref().map(|flow| (flow.state(), flow.error(), flow.cwnd(), flow.srtt()));
            format!("{config:?}: queued {queued} of {to_send}, received {received}, {state:?}")
        };
        format!("{:?}\n{}\n{}", self.now, side(&self.sides[0]), side(&self.sides[1]))
    }

    fn is_over(&self) -> bool {
        self.sides.iter().all(|side| {
            side.flow.as_ref().is_some_and(|flow| matches!(flow.state(), State::TimeWait | State::Closed))
        })
    }

    fn check(&self) {
        for (side, peer) in [(0, 1), (1, 0)] {
            let flow = self.sides[side].flow.as_ref().unwrap();
            assert_eq!(flow.error(), None, "side {side} at {:?}", self.now);
            assert_eq!(self.sides[side].received, self.sides[peer].to_send, "octets at side {side}");
        }
    }

    /// Runs until both sides are done; returns how long that took.
    fn run(&mut self, limit: Duration) -> Duration {
        let mut steps = 0;
        loop {
            for index in 0..2 {
                if self.sides[index].next_look <= self.now {
                    self.look(index);
                    let every = self.sides[index].look_every_us;
                    let micros = 100 + self.rng.below(every + 1);
                    self.sides[index].next_look = self.now + Duration::from_micros(micros as u64);
                }
                self.send(index);
            }
            if self.is_over() {
                self.look(0);
                self.look(1);
                self.check();
                return self.now.since(Instant(0));
            }
            let arrival = self.in_flight.peek().map(|Reverse((at, ..))| *at);
            let deadlines = self.sides.iter().filter_map(|side| side.flow.as_ref()?.poll_timeout());
            let looks = self.sides.iter().map(|side| side.next_look);
            self.now = arrival.into_iter().chain(deadlines).chain(looks).min().unwrap().max(self.now);
            assert!(self.now.since(Instant(0)) < limit, "too slow: {}", self.summary());
            steps += 1;
            for index in 0..2 {
                let restore = match self.restore {
                    Restore::Never => false,
                    Restore::Sometimes => self.rng.one_in(50),
                    Restore::Always => true,
                };
                if restore {
                    self.restore(index);
                }
            }
            assert!(steps < 1_000_000, "too many steps: {}", self.summary());
            for side in &mut self.sides {
                if let Some(flow) =
                    side.flow.as_mut().filter(|flow| flow.poll_timeout().is_some_and(|at| at <= self.now))
                {
                    flow.handle_timeout(self.now);
                }
            }
            while self.in_flight.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, to, octets))) = self.in_flight.pop() else { break };
                self.deliver(to, &octets);
                self.send(to);
            }
        }
    }
}

fn random_config(rng: &mut Rng, local: u16, remote: u16) -> Config {
    Config {
        mss: [100, 536, 1460, 8960][rng.below(4)],
        receive_buffer: [1_000, 10_000, 65_535, 300_000][rng.below(4)],
        send_buffer: [1_000, 20_000, 300_000][rng.below(3)],
        algorithm: [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr][rng.below(3)],
        pacing: rng.one_in(2),
        ecn: [EcnMode::IfAsked, EcnMode::Ask][rng.below(2)],
        nagle: rng.one_in(2),
        window_scale: rng.one_in(2),
        sack: !rng.one_in(3),
        timestamps: rng.one_in(2),
        timestamp_offset: rng.next(),
        give_up: Duration::from_secs(3600),
        keep_alive: rng.one_in(4).then_some(KeepAlive {
            idle: Duration::from_secs(20),
            interval: Duration::from_secs(5),
            probes: 100,
        }),
        ..Config::new(Port(local), Port(remote))
    }
}

fn simulation<'a>(rng: &'a mut Rng, wire: Wire, configs: [Config; 2], to_send: [u32; 2]) -> Simulation<'a> {
    let now = Instant(0);
    let iss = [SeqNumber(rng.next()), SeqNumber(rng.next())];
    let side = |index: usize, flow| Side {
        config: configs[index],
        flow,
        to_send: to_send[index],
        queued: 0,
        received: 0,
        next_look: now,
        look_every_us: [5_000, 20_000, 300_000][(iss[index].0 % 3) as usize],
        shut: false,
    };
    let sides = [side(0, Some(Flow::connect(configs[0], now, iss[0]))), side(1, None)];
    let pool = HeapPool::leak(100_000);
    Simulation {
        rng,
        pool,
        now,
        sides,
        wire,
        in_flight: BinaryHeap::new(),
        order: 0,
        restore: Restore::Never,
        trace: false,
        sent: Vec::new(),
        iss,
    }
}

/// Seeds to run: few by default, more where somebody asks for it.
fn seeds() -> u64 {
    std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100)
}

#[test]
fn every_octet_arrives() {
    for_seeds(seeds(), |rng| {
        let wire = Wire {
            delay_us: rng.below(100_000),
            jitter_us: [0, 1_000, 50_000][rng.below(3)],
            loss: [0, 10, 50, 200][rng.below(4)],
            duplicate: [0, 10, 100][rng.below(3)],
            damage: [0, 10][rng.below(2)],
            mtu: [Mtu::Endless, Mtu::Endless, Mtu::Told, Mtu::BlackHole][rng.below(4)],
        };
        let configs = [random_config(rng, 1000, 80), random_config(rng, 80, 1000)];
        let to_send = [rng.below(100_000) as u32, rng.below(100_000) as u32];
        let mut simulation = simulation(rng, wire, configs, to_send);
        simulation.run(Duration::from_secs(3600));
        let pool = simulation.pool;
        drop(simulation);
        assert_eq!(pool.out(), (0, 0), "frames that nobody frees");
    });
}

#[test]
fn a_restored_flow_goes_on() {
    for_seeds(seeds(), |rng| {
        let wire = Wire {
            delay_us: 10_000,
            jitter_us: 1_000,
            loss: 20,
            duplicate: 10,
            damage: 0,
            mtu: Mtu::Endless,
        };
        let configs = [random_config(rng, 1000, 80), random_config(rng, 80, 1000)];
        let to_send = [rng.below(50_000) as u32, rng.below(50_000) as u32];
        let mut simulation = simulation(rng, wire, configs, to_send);
        simulation.restore = Restore::Sometimes;
        simulation.run(Duration::from_secs(3600));
    });
}

#[test]
fn a_restored_flow_sends_what_the_first_would_have() {
    // Saved and restored at each step, and not at all: the same octets at the same moments.
    for_seeds(seeds() / 20, |rng| {
        let wire = Wire {
            delay_us: rng.below(50_000),
            jitter_us: [0, 1_000, 20_000][rng.below(3)],
            loss: [0, 20, 100][rng.below(3)],
            duplicate: [0, 20][rng.below(2)],
            damage: 0,
            mtu: [Mtu::Endless, Mtu::Told, Mtu::BlackHole][rng.below(3)],
        };
        let configs = [random_config(rng, 1000, 80), random_config(rng, 80, 1000)];
        let to_send = [rng.below(15_000) as u32, rng.below(15_000) as u32];
        let seed = rng.next();
        let run = |restore: bool| {
            let mut rng = Rng::new(seed.into());
            let mut simulation = simulation(&mut rng, wire, configs, to_send);
            simulation.trace = true;
            simulation.restore = if restore { Restore::Always } else { Restore::Never };
            simulation.run(Duration::from_secs(3600));
            simulation.sent
        };
        let (first, second) = (run(false), run(true));
        for (n, (first, second)) in first.iter().zip(&second).enumerate() {
            assert_eq!(first, second, "segment {n}");
        }
        assert_eq!(first.len(), second.len());
    });
}

#[test]
fn a_good_wire_is_used_well() {
    for_seeds(6, |rng| {
        let wire =
            Wire { delay_us: 10_000, jitter_us: 0, loss: 0, duplicate: 0, damage: 0, mtu: Mtu::Endless };
        let mut configs = [Config::new(Port(1000), Port(80)), Config::new(Port(80), Port(1000))];
        configs[0].algorithm = if rng.one_in(2) { Algorithm::Cubic } else { Algorithm::NewReno };
        configs[0].sack = rng.one_in(2);
        let mut simulation = simulation(rng, wire, configs, [1_000_000, 0]);
        simulation.sides.iter_mut().for_each(|side| side.look_every_us = 100);
        let took = simulation.run(Duration::from_secs(60));
        // 20 ms a round trip: three for opening and closing, 14600 octets doubled to the window of 256 KiB, then a window
        // in each.
        assert!(took < Duration::from_millis(300), "{took:?}");
    });
}

#[test]
fn a_loss_costs_no_timeout() {
    for_seeds(6, |rng| {
        let wire =
            Wire { delay_us: 10_000, jitter_us: 0, loss: 10, duplicate: 0, damage: 0, mtu: Mtu::Endless };
        let configs = [Config::new(Port(1000), Port(80)), Config::new(Port(80), Port(1000))];
        let mut simulation = simulation(rng, wire, configs, [1_000_000, 0]);
        simulation.sides.iter_mut().for_each(|side| side.look_every_us = 100);
        let took = simulation.run(Duration::from_secs(60));
        assert!(took < Duration::from_secs(6), "{took:?}");
    });
}
