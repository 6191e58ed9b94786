//! A server between two peers, each of which speaks ARP, ICMP, UDP and TCP to it, honestly and not, in any order. Numbers are
//! near those of the connections, so that it comes far. Each peer gets what is for it, from the program's queues to the wire.

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Duration;

use frame::{Frame, HeapPool, RxFrame};
use net::stack::{ListenOptions, TcpHandle, UdpSend};
use net::tcp::Config;
use net::udp::BindOptions;
use net::{IfaceId, Instant, Key, Link, Settings, Stack};
use wire::checksum::Sum;
use wire::ethernet::EtherType;
use wire::tcp::{Flags, Options, Repr, SackBlock, Timestamps};
use wire::{MacAddr, Port, Protocol, SeqNumber, arp, ethernet, icmpv4, ipv4, tcp, udp};

const ETH0: IfaceId = IfaceId(1);
const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const MTU: usize = 600;
/// Ports of a peer's connections.
const PORTS: usize = 2;

fn pool() -> &'static HeapPool {
    static POOL: OnceLock<&'static HeapPool> = OnceLock::new();
    POOL.get_or_init(|| HeapPool::leak(10_000))
}

fn frame(octets: &[u8]) -> Frame {
    let mut frame = Frame::allocate(pool(), net::HEADROOM, octets.len()).unwrap();
    frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
    frame
}

/// One of the two, and what it knows.
#[derive(Clone, Copy, Default)]
struct Peer {
    /// For each of its connections what the server sends next and what it wants next.
    connections: [(SeqNumber, SeqNumber); PORTS],
    /// What the server's last packet to it began with, for errors.
    quoted: [u8; 28],
    /// In the datagrams of its that are cut.
    ident: u16,
}

fn mac(peer: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, 1 + peer as u8])
}

fn ip(peer: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + peer as u8)
}

fn peer_of(ip: Ipv4Addr) -> Option<usize> {
    (0..2).find(|peer| self::ip(*peer) == ip)
}

/// What all payload from a peer and to it consists of.
fn tag(peer: usize) -> u8 {
    0xa0 + peer as u8
}

struct Play {
    stack: Stack,
    now: Instant,
    peers: [Peer; 2],
    accepted: Vec<TcpHandle>,
}

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let now = Instant(0);
    let mut stack = Stack::new(Settings { max_orphans: 2, ..Settings::new(Key([1, 2])) }, pool());
    let link = Link { mac: SERVER_MAC, mtu: MTU as u16, tx_checksum: false, tx_segmentation: false, up: true };
    assert_eq!(stack.add_device("eth0", link), Ok(ETH0));
    stack.add_address(ETH0, "10.0.0.9/24".parse().unwrap(), now).unwrap();
    let config = Config {
        receive_buffer: 4000,
        receive_buffer_max: 8000,
        send_buffer: 4000,
        send_buffer_max: 8000,
        ..Config::new(Port::NONE, Port::NONE)
    };
    let listener = stack.tcp_listen(None, Port(80), ListenOptions::new(2), config).unwrap();
    let endpoint = stack.udp_bind(None, Port(53), BindOptions::default()).unwrap();
    let mut play = Play { stack, now, peers: Default::default(), accepted: Vec::new() };
    for step in octets.chunks(8) {
        let mut padded = [0; 8];
        padded[..step.len()].copy_from_slice(step);
        let [what, rest @ ..] = padded;
        let peer = usize::from(what & 1);
        match what >> 1 & 7 {
            0..=2 => play.tcp(peer, what, rest),
            3 => play.datagram(peer, what, rest),
            4 => play.others(peer, what, rest),
            5 => play.now += Duration::from_millis(u64::from(rest[0]) * u64::from(rest[1])),
            6 => {
                while let Some(datagram) = play.stack.udp_receive(endpoint) {
                    let from = peer_of(datagram.from).unwrap();
                    assert!(is_tagged(&octets_of(&datagram.payload), from));
                    let to = Some((datagram.from, datagram.from_port));
                    let payload = frame(&vec![tag(from); usize::from(rest[0]) * 8]);
                    let send = UdpSend { to, from: None, payload, segment_size: None, overrides: Default::default() };
                    let _ = play.stack.udp_send(endpoint, send, play.now);
                }
            }
            _ => {
                let accepted = std::iter::from_fn(|| play.stack.tcp_accept(listener));
                play.accepted.extend(accepted);
                play.program(what, rest);
            }
        }
        play.settle();
    }
    let Play { stack, .. } = play;
    drop(stack);
    assert_eq!(pool().out(), (0, 0));
}

impl Play {
    /// A segment of a connection of a peer's.
    fn tcp(&mut self, peer: usize, what: u8, [which, seq, ack, flags, window, len, option]: [u8; 7]) {
        let connection = usize::from(which) % PORTS;
        let (next, acked) = self.peers[peer].connections[connection];
        // Most of the time what an honest peer would send.
        let flags = match flags {
            0 => Flags::SYN,
            1..=127 => Flags::ACK,
            other => Flags(other),
        };
        let near = |number: SeqNumber, off: u8| match off {
            0..=191 => number,
            192..=223 => number + u32::from(off - 191) * 100,
            224.. => number - u32::from(off - 223) * 50,
        };
        let mut options = Options::NONE;
        if flags.has(Flags::SYN) {
            options.mss = (option & 1 != 0).then_some(u16::from(window) * 3);
            options.window_scale = (option & 2 != 0).then_some(option >> 4);
            options.sack_permitted = option & 4 != 0;
        } else if option & 1 != 0 {
            let left = next - u32::from(option) * 20;
            options.sack.push(SackBlock { left, right: left + u32::from(len) * 10 });
        }
        if option & 8 != 0 {
            let val = self.now.as_millis() as u32;
            options.timestamps = Some(Timestamps { val, ecr: val.wrapping_sub(option.into()) });
        }
        let repr = Repr {
            src_port: Port(1000 + connection as u16),
            dst_port: Port(80),
            seq: near(acked, seq),
            ack: near(next, ack),
            flags,
            window: u16::from(window) << 8,
            urgent: 0,
            options,
        };
        let len = if flags.has(Flags::SYN) { 0 } else { usize::from(len) * 2 };
        let mut octets = vec![tag(peer); repr.header_len() + len];
        let pseudo = Sum::pseudo_v4(ip(peer), SERVER, Protocol::TCP, octets.len() as u16);
        let header_len = repr.header_len();
        repr.emit(&mut tcp::Packet::new_unchecked(&mut octets[..header_len]));
        tcp::Packet::new_unchecked(&mut octets[..]).fill_checksum(pseudo);
        self.ipv4(peer, Protocol::TCP, &octets, what & 16 != 0);
    }

    /// A datagram for the server's port, or another one.
    fn datagram(&mut self, peer: usize, what: u8, [port, len, ..]: [u8; 7]) {
        let dst_port = Port(if port == 0 { 54 } else { 53 });
        let repr = udp::Repr { src_port: Port(7), dst_port, payload_len: u16::from(len) * 4 };
        let mut octets = vec![tag(peer); 8 + usize::from(repr.payload_len)];
        repr.emit(&mut udp::Packet::new_unchecked(&mut octets[..]));
        let pseudo = Sum::pseudo_v4(ip(peer), SERVER, Protocol::UDP, octets.len() as u16);
        udp::Packet::new_unchecked(&mut octets[..]).fill_checksum(pseudo);
        self.ipv4(peer, Protocol::UDP, &octets, what & 16 != 0);
    }

    /// ARP, echo requests, errors about what the server sent to this peer or to the other one.
    fn others(&mut self, peer: usize, what: u8, [how, kind, len, mtu, ..]: [u8; 7]) {
        if how & 3 == 0 {
            let mut octets = vec![0; 14 + arp::LEN];
            let repr = arp::Repr {
                operation: if how & 4 == 0 { arp::Operation::Request } else { arp::Operation::Reply },
                sender_mac: mac(peer),
                sender_ip: ip(peer),
                target_mac: SERVER_MAC,
                target_ip: SERVER,
            };
            repr.emit(&mut arp::Packet::new_unchecked(&mut octets[14..]));
            return self.ethernet(peer, EtherType::ARP, octets);
        }
        let quoted = self.peers[if how & 4 == 0 { peer } else { 1 - peer }].quoted;
        let (repr, payload) = match kind % 6 {
            0 => (icmpv4::Repr::EchoRequest { ident: 1, seq: 2 }, vec![tag(peer); usize::from(len)]),
            1 => (icmpv4::Repr::Unreachable(icmpv4::Unreachable::Port), quoted.to_vec()),
            2 => (icmpv4::Repr::Unreachable(icmpv4::Unreachable::Host), quoted.to_vec()),
            3 => {
                let mtu = u16::from(mtu) * 4;
                (icmpv4::Repr::Unreachable(icmpv4::Unreachable::FragmentationNeeded { mtu }), quoted.to_vec())
            }
            4 => (icmpv4::Repr::TimeExceeded { reassembly: false }, quoted.to_vec()),
            _ => (icmpv4::Repr::EchoReply { ident: 1, seq: 2 }, vec![tag(peer); usize::from(len)]),
        };
        let mut octets = vec![0; 8 + payload.len()];
        octets[8..].copy_from_slice(&payload);
        let mut packet = icmpv4::Packet::new_unchecked(&mut octets[..]);
        repr.emit(&mut packet);
        packet.fill_checksum();
        self.ipv4(peer, Protocol::ICMP, &octets, what & 16 != 0);
    }

    /// A packet of a peer's, perhaps in two fragments.
    fn ipv4(&mut self, peer: usize, protocol: Protocol, payload: &[u8], cut: bool) {
        let at = if cut { (payload.len() / 2) & !7 } else { 0 };
        self.peers[peer].ident = self.peers[peer].ident.wrapping_add(1);
        for (from, part) in [(0, &payload[..at]), (at, &payload[at..])] {
            if part.is_empty() {
                continue;
            }
            let header = ipv4::Repr {
                src: ip(peer),
                dst: SERVER,
                protocol,
                traffic_class: 0,
                ident: self.peers[peer].ident,
                dont_fragment: false,
                more_fragments: from + part.len() < payload.len(),
                fragment_offset: from as u16,
                ttl: 64,
                payload_len: part.len() as u16,
            };
            let mut octets = vec![0; 34 + part.len()];
            header.emit(&mut ipv4::Packet::new_unchecked(&mut octets[14..34]));
            octets[34..].copy_from_slice(part);
            self.ethernet(peer, EtherType::IPV4, octets);
        }
    }

    fn ethernet(&mut self, peer: usize, ethertype: EtherType, mut octets: Vec<u8>) {
        let repr = ethernet::Repr { dst: SERVER_MAC, src: mac(peer), ethertype };
        repr.emit(&mut ethernet::Packet::new_unchecked(&mut octets[..14]));
        let received = RxFrame { frame: frame(&octets), checksum_valid: false, segment_size: None };
        self.stack.receive(ETH0, [received], self.now);
    }

    /// What the program does with its connections.
    fn program(&mut self, what: u8, [len, how, ..]: [u8; 7]) {
        let (stack, now) = (&mut self.stack, self.now);
        self.accepted.retain(|flow| stack.tcp_tuple(*flow).is_some());
        for flow in &self.accepted {
            let Some(peer) = stack.tcp_tuple(*flow).and_then(|tuple| match tuple.remote {
                std::net::IpAddr::V4(remote) => peer_of(remote),
                std::net::IpAddr::V6(_) => None,
            }) else {
                panic!("a connection with nobody")
            };
            if how & 1 != 0 {
                let mut queue = std::collections::VecDeque::new();
                let octets = stack.tcp_receive_into(*flow, &mut queue);
                assert_eq!(queue.iter().map(Frame::len).sum::<usize>(), octets);
                assert!(queue.iter().all(|frame| is_tagged(&octets_of(frame), peer)));
                stack.tcp_read(*flow, octets as u32, now);
            }
            if how & 2 != 0 {
                let _ = stack.tcp_send(*flow, frame(&vec![tag(peer); usize::from(len) * 4]), now);
            }
            match how >> 4 {
                1 => stack.tcp_shutdown(*flow, now),
                2 => stack.tcp_orphan(*flow, now),
                3 => stack.tcp_close(*flow, now),
                4 => stack.tcp_abort(*flow, now),
                _ => {}
            }
        }
        if what & 32 != 0 {
            while stack.poll_event().is_some() {}
        }
    }

    /// What is due, and what the server sends.
    fn settle(&mut self) {
        for round in 0.. {
            if self.stack.poll_timeout().is_none_or(|at| at > self.now) {
                break;
            }
            assert!(round < 1000, "it is never done");
            self.stack.handle_timeout(self.now);
        }
        for burst in 0.. {
            let Some(sent) = self.stack.poll_transmit(ETH0, self.now) else { break };
            // Segments of 8 octets at least, from the buffers of four connections.
            assert!(burst < 5000, "it does not stop sending");
            self.look_at(&octets_of(&sent.frame));
        }
        assert!(self.stack.interface(ETH0).unwrap().counters().add_up());
        assert!(self.stack.tcp_orphans() <= 2);
    }

    /// Whether what was sent is right, and what its receiver learns.
    fn look_at(&mut self, octets: &[u8]) {
        assert!(octets.len() <= 14 + MTU);
        let packet = ethernet::Packet::new_checked(octets).unwrap();
        if packet.ethertype() != EtherType::IPV4 {
            return;
        }
        let dst = packet.dst();
        let packet = ipv4::Packet::new_checked(packet.payload()).unwrap();
        let header = ipv4::Repr::parse(&packet).unwrap();
        let Some(peer) = peer_of(header.dst) else {
            return assert!(dst.is_multicast(), "to nobody");
        };
        assert_eq!(dst, mac(peer));
        assert_eq!(header.src, SERVER);
        if header.is_fragment() {
            return;
        }
        self.peers[peer].quoted.copy_from_slice(&octets[14..42]);
        let pseudo = Sum::pseudo_v4(SERVER, ip(peer), header.protocol, header.payload_len);
        if header.protocol == Protocol::TCP {
            let segment = tcp::Packet::new_checked(packet.payload()).unwrap();
            let repr = Repr::parse(&segment, Some(pseudo)).unwrap();
            assert!(is_tagged(segment.payload(), peer));
            let known = &mut self.peers[peer].connections[usize::from(repr.dst_port.0 - 1000)];
            let len = segment.payload().len() as u32
                + u32::from(repr.flags.has(Flags::SYN))
                + u32::from(repr.flags.has(Flags::FIN));
            known.0 = repr.seq + len;
            if repr.flags.has(Flags::ACK) {
                known.1 = repr.ack;
            }
        } else if header.protocol == Protocol::UDP {
            let datagram = udp::Packet::new_checked(packet.payload()).unwrap();
            udp::Repr::parse(&datagram, Some(pseudo)).unwrap();
            assert!(is_tagged(datagram.payload(), peer));
        }
    }
}

fn octets_of(frame: &Frame) -> Vec<u8> {
    frame.segments().flat_map(|part| part.octets).copied().collect()
}

fn is_tagged(octets: &[u8], peer: usize) -> bool {
    octets.iter().all(|octet| *octet == tag(peer))
}
