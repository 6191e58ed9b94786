//! [`Net`]: hosts and links, and a clock that steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::time::Duration;

use frame::{Frame, HeapPool, RxFrame, Segmentation, TxFrame};
use net::route::Route;
use net::udp::BindOptions;
use net::{IfaceId, Instant, Key, Link, Settings, Stack};
use wire::checksum::Sum;
use wire::{MacAddr, ipv4, tcp};

use crate::oracle;
use crate::rng::Rng;

/// How bad the links are. Chances are in 1000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    pub delay_us: usize,
    pub jitter_us: usize,
    pub loss: usize,
    pub duplicate: usize,
    pub damage: usize,
}

/// A port that others may have, too.
pub const SHARED: BindOptions =
    BindOptions { share_address: true, share_port: false, nonlocal: false, device: None };

/// When, in which order, at which host and interface, what.
type Arrival = (Instant, u64, usize, IfaceId, Vec<u8>);

pub struct Net {
    pub pool: &'static HeapPool,
    pub now: Instant,
    pub stacks: Vec<Stack>,
    pub wire: Wire,
    pub rng: Rng,
    /// For each link the interfaces on it; each hears what another one sends.
    links: Vec<Vec<(usize, IfaceId)>>,
    in_flight: BinaryHeap<Reverse<Arrival>>,
    order: u64,
    /// What was sent, in the oracle's words, with link, sender and octets.
    pub log: Vec<(&'static str, usize, usize, Vec<u8>)>,
}

pub fn mac(host: usize, link: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, host as u8, link as u8])
}

pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

impl Net {
    pub fn new(wire: Wire, seed: u64) -> Self {
        Self {
            pool: HeapPool::leak(1_000_000),
            now: Instant(0),
            stacks: Vec::new(),
            wire,
            rng: Rng::new(seed),
            links: Vec::new(),
            in_flight: BinaryHeap::new(),
            order: 0,
            log: Vec::new(),
        }
    }

    /// Hosts on one perfect link: 10.0.0.1/24, 10.0.0.2/24 ...
    pub fn with_hosts(count: usize) -> Self {
        let mut net = Self::new(Wire::default(), 0);
        for host in 0..count {
            net.add_host();
            net.attach(host, 0, 1500, &format!("10.0.0.{}/24", host + 1));
        }
        net
    }

    /// Two hosts and a router between them: 10.0.0.1 - 10.0.0.2, 10.0.1.2 - 10.0.1.1. The second link takes `mtu` octets.
    pub fn with_router(wire: Wire, seed: u64, mtu: u16) -> Self {
        let mut net = Self::new(wire, seed);
        for _ in 0..3 {
            net.add_host();
        }
        net.attach(0, 0, 1500, "10.0.0.1/24");
        net.attach(1, 0, 1500, "10.0.0.2/24");
        net.attach(1, 1, mtu, "10.0.1.2/24");
        net.attach(2, 1, mtu, "10.0.1.1/24");
        net.stacks[1].forwarding = true;
        net.default_route(0, "10.0.0.2");
        net.default_route(2, "10.0.1.2");
        net
    }

    pub fn add_host(&mut self) -> usize {
        let host = self.stacks.len();
        let key = Key([u64::from(self.rng.next()), host as u64]);
        self.stacks.push(Stack::new(Settings::new(key), self.pool));
        host
    }

    /// Gives a host an interface on a link, without or with an address.
    pub fn attach(&mut self, host: usize, link: usize, mtu: u16, cidr: &str) -> IfaceId {
        let tx_checksum = self.rng.one_in(2);
        let tx_segmentation = tx_checksum && self.rng.one_in(2);
        let facts = Link { mac: mac(host, link), mtu, tx_checksum, tx_segmentation, up: true };
        let stack = &mut self.stacks[host];
        let iface = stack.add_device(format!("eth{link}"), facts).unwrap();
        if !cidr.is_empty() {
            stack.add_address(iface, cidr.parse().unwrap(), self.now).unwrap();
        }
        self.links.resize(self.links.len().max(link + 1), Vec::new());
        self.links[link].push((host, iface));
        iface
    }

    pub fn default_route(&mut self, host: usize, gateway: &str) {
        self.add_route(host, "0.0.0.0", 0, gateway);
    }

    pub fn add_route(&mut self, host: usize, network: &str, prefix_len: u8, gateway: &str) {
        let route = Route {
            network: ip(network),
            prefix_len,
            gateway: Some(ip(gateway)),
            iface: IfaceId(1),
            metric: 0,
            mtu: None,
            source: None,
            origin: net::iface::Origin::Static,
        };
        assert!(self.stacks[host].add_route(route, self.now));
    }

    pub fn frame(&self, octets: &[u8]) -> Frame {
        let mut frame = Frame::allocate(self.pool, net::HEADROOM, octets.len()).unwrap();
        frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
        frame
    }

    /// A received frame; sometimes in several blocks, as devices that merge buffers give it.
    fn rx_frame(&mut self, octets: &[u8]) -> RxFrame {
        let mut frame = self.frame(octets);
        if self.rng.one_in(4) && !octets.is_empty() {
            let mut rest = octets;
            let mut parts = Vec::new();
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(rest.len().min(1 + self.rng.below(40)));
                parts.push(self.frame(part));
                rest = behind;
            }
            frame = parts
                .into_iter()
                .rev()
                .reduce(|rest, mut part| {
                    part.append(rest).unwrap();
                    part
                })
                .unwrap();
        }
        RxFrame { frame, checksum_valid: false, segment_size: None }
    }

    /// Hands a frame to an interface.
    pub fn inject(&mut self, host: usize, iface: IfaceId, octets: &[u8]) {
        let frame = self.rx_frame(octets);
        self.stacks[host].receive(iface, [frame], self.now);
    }

    /// Takes all that a host has to send and puts it on its links.
    pub fn send(&mut self, host: usize) {
        for link in 0..self.links.len() {
            for place in 0..self.links[link].len() {
                let (owner, iface) = self.links[link][place];
                if owner != host {
                    continue;
                }
                let mut burst = 0;
                while let Some(frame) = self.stacks[host].poll_transmit(iface, self.now) {
                    burst += 1;
                    assert!(burst < 10_000, "it does not stop sending");
                    for octets in pieces_of(frame) {
                        self.put(link, (host, iface), octets);
                    }
                }
            }
        }
    }

    fn put(&mut self, link: usize, from: (usize, IfaceId), octets: Vec<u8>) {
        let mtu = usize::from(self.stacks[from.0].interface(from.1).unwrap().link().mtu);
        assert!(octets.len() <= 18 + mtu, "longer than the link takes");
        let own = !self.stacks[from.0].forwarding || self.wire.damage == 0;
        let word = oracle::check(&octets, own);
        self.log.push((word, link, from.0, octets.clone()));
        for to in self.links[link].clone() {
            let chance = |rng: &mut Rng, n: usize| rng.below(1000) < n;
            if to == from || chance(&mut self.rng, self.wire.loss) {
                continue;
            }
            let copies = if chance(&mut self.rng, self.wire.duplicate) { 2 } else { 1 };
            for _ in 0..copies {
                let mut octets = octets.clone();
                if chance(&mut self.rng, self.wire.damage) {
                    // Not in the Ethernet header, whose check sequence would have found it.
                    let bit = 14 * 8 + self.rng.below((octets.len() - 14) * 8);
                    octets[bit / 8] ^= 1 << (bit % 8);
                }
                let micros = self.wire.delay_us + self.rng.below(self.wire.jitter_us + 1);
                self.order += 1;
                let at = self.now + Duration::from_micros(micros as u64);
                self.in_flight.push(Reverse((at, self.order, to.0, to.1, octets)));
            }
        }
    }

    /// Lets all that is due now happen.
    pub fn settle(&mut self) {
        for host in 0..self.stacks.len() {
            let mut rounds = 0;
            while self.stacks[host].poll_timeout().is_some_and(|at| at <= self.now) {
                self.stacks[host].handle_timeout(self.now);
                rounds += 1;
                assert!(rounds < 10_000, "it is never done");
            }
            self.send(host);
            for (_, iface) in self.stacks[host].interfaces() {
                assert!(iface.counters().add_up(), "{:?}", iface.counters());
            }
        }
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Instant> {
        let arrival = self.in_flight.peek().map(|Reverse((at, ..))| *at);
        let deadlines = self.stacks.iter().filter_map(Stack::poll_timeout);
        arrival.into_iter().chain(deadlines).min()
    }

    /// Goes to a moment and delivers what arrives there.
    pub fn step(&mut self, to: Instant) {
        self.now = to.max(self.now);
        while self.in_flight.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((.., host, iface, octets))) = self.in_flight.pop() else { break };
            self.inject(host, iface, &octets);
            self.send(host);
        }
        self.settle();
    }

    /// Lets time pass.
    pub fn run(&mut self, for_ms: u64) {
        let end = self.now + Duration::from_millis(for_ms);
        self.settle();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
        }
        self.step(end);
    }

    /// How often something was sent, in the oracle's word.
    pub fn sent(&self, word: &str, host: usize) -> usize {
        self.log.iter().filter(|(known, _, from, _)| *known == word && *from == host).count()
    }

    /// Nothing is left of any packet.
    pub fn check_memory(self) {
        let Self { pool, stacks, in_flight, .. } = self;
        drop((stacks, in_flight));
        assert_eq!(pool.out(), (0, 0), "frames that nobody frees");
    }
}

/// A frame as a device puts it on the wire: several, if it cuts it.
fn pieces_of(frame: TxFrame) -> Vec<Vec<u8>> {
    let Some(Segmentation { header_len, size }) = frame.segmentation else { return vec![octets_of(frame)] };
    let octets: Vec<u8> = frame.frame.segments().flat_map(|part| part.octets).copied().collect();
    let (header, payload) = octets.split_at(header_len.into());
    let offload = frame.checksum.expect("pieces need checksums");
    let tcp = usize::from(offload.start);
    assert!(offload.offset == 16 && payload.len() > size.into());
    let ip = ipv4::Repr::parse(&ipv4::Packet::new_unchecked(&header[tcp - 20..tcp])).unwrap();
    let whole = (octets.len() - tcp) as u16;
    let pseudo = |len| Sum::pseudo_v4(ip.src, ip.dst, wire::Protocol::TCP, len);
    let given = tcp::Packet::new_unchecked(&octets[tcp..]);
    assert_eq!(given.checksum(), pseudo(whole).partial());
    let pieces = payload.chunks(size.into());
    let last = pieces.len() - 1;
    let cut = |(n, part): (usize, &[u8])| {
        let mut piece = [header, part].concat();
        let len = (piece.len() - tcp) as u16;
        let repr = ipv4::Repr { payload_len: len, ..ip };
        repr.emit(&mut ipv4::Packet::new_unchecked(&mut piece[tcp - 20..tcp]));
        let mut segment = tcp::Packet::new_unchecked(&mut piece[tcp..]);
        segment.set_seq(given.seq() + (n * usize::from(size)) as u32);
        if n < last {
            let ends = tcp::Flags::FIN | tcp::Flags::PSH;
            segment.set_offset_flags(given.offset_flags() & !u16::from(ends.0));
        }
        segment.fill_checksum(pseudo(len));
        piece
    };
    pieces.enumerate().map(cut).collect()
}

/// A frame as a device puts it on the wire.
pub fn octets_of(frame: TxFrame) -> Vec<u8> {
    let mut octets: Vec<u8> = frame.frame.segments().flat_map(|part| part.octets).copied().collect();
    if let Some(offload) = frame.checksum {
        let (start, at) = (usize::from(offload.start), usize::from(offload.start + offload.offset));
        let checksum = Sum::new().with(&octets[start..]).finish();
        octets[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    octets
}

/// An IPv4 packet in an Ethernet frame from `src_mac` to `dst_mac`.
pub fn ipv4_frame(src_mac: MacAddr, dst_mac: MacAddr, header: &ipv4::Repr, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 34 + payload.len()];
    let ethernet =
        wire::ethernet::Repr { dst: dst_mac, src: src_mac, ethertype: wire::ethernet::EtherType::IPV4 };
    ethernet.emit(&mut wire::ethernet::Packet::new_unchecked(&mut octets[..14]));
    let header = ipv4::Repr { payload_len: payload.len() as u16, ..*header };
    header.emit(&mut ipv4::Packet::new_unchecked(&mut octets[14..34]));
    octets[34..].copy_from_slice(payload);
    octets
}

/// A header with nothing special.
pub fn header(src: &str, dst: &str, protocol: wire::Protocol) -> ipv4::Repr {
    ipv4::Repr {
        src: ip(src),
        dst: ip(dst),
        protocol,
        traffic_class: 0,
        ident: 1,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        payload_len: 0,
    }
}

/// A UDP datagram with its checksum.
pub fn udp_octets(src: &str, dst: &str, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 8 + payload.len()];
    let repr = wire::udp::Repr {
        src_port: wire::Port(src_port),
        dst_port: wire::Port(dst_port),
        payload_len: payload.len() as u16,
    };
    let mut packet = wire::udp::Packet::new_unchecked(&mut octets[..]);
    repr.emit(&mut packet);
    packet.payload_mut().copy_from_slice(payload);
    packet.fill_checksum(Sum::pseudo_v4(ip(src), ip(dst), wire::Protocol::UDP, 8 + payload.len() as u16));
    octets
}
