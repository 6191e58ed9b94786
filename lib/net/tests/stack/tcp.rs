//! TCP from program to program.

use std::time::Duration;

use net::stack::{ConnectError, ListenOptions, OpenError, TcpHandle};
use net::tcp::{Config, Error, Events, State};
use net::{DropReason, Event, IfaceId, Instant, PathMtuDiscovery};
use wire::icmpv4::{Repr, Unreachable};
use wire::{Port, Protocol, ipv4};

use crate::harness::{Net, Wire, header, ip, ipv4_frame, mac, octets_of};
use crate::rng::for_seeds;

const ANY: Config = Config::new(Port(0), Port(0));

fn connect(net: &mut Net, host: usize, to: &str, port: u16) -> TcpHandle {
    net.stacks[host].tcp_connect((None, Port::NONE), (ip(to), Port(port)), ANY, net.now).unwrap()
}

/// What a program at each end does.
struct Side {
    host: usize,
    flow: TcpHandle,
    to_send: u32,
    queued: u32,
    received: u32,
    shut: bool,
    finished: bool,
}

fn value_at(stream: usize, offset: u32) -> u8 {
    (offset.wrapping_add(1_000_000 * stream as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

impl Side {
    fn new(host: usize, flow: TcpHandle, to_send: u32) -> Self {
        Self { host, flow, to_send, queued: 0, received: 0, shut: false, finished: false }
    }

    /// Reads, writes, and shuts down when all is written.
    fn look(&mut self, net: &mut Net, peer: usize) {
        let mut read = 0;
        while let Some(frame) = net.stacks[self.host].tcp_receive(self.flow) {
            for octet in frame.segments().flat_map(|part| part.octets) {
                assert_eq!(*octet, value_at(peer, self.received), "octet {} from host {peer}", self.received);
                self.received += 1;
                read += 1;
            }
        }
        let now = net.now;
        net.stacks[self.host].tcp_read(self.flow, read, now);
        loop {
            let Some(flow) = net.stacks[self.host].tcp(self.flow) else { return };
            let len = (self.to_send - self.queued).min(flow.send_room()).min(1 + net.rng.below(5000) as u32);
            if len == 0 || flow.state() == State::Closed {
                break;
            }
            let octets: Vec<u8> = (0..len).map(|at| value_at(self.host, self.queued + at)).collect();
            let frame = net.frame(&octets);
            if net.stacks[self.host].tcp_send(self.flow, frame, now).is_err() {
                break;
            }
            self.queued += len;
        }
        let opening = net.stacks[self.host].tcp(self.flow).is_none_or(|flow| flow.state() == State::SynSent);
        if self.queued == self.to_send && !self.shut && !opening {
            self.shut = true;
            net.stacks[self.host].tcp_shutdown(self.flow, now);
        }
    }
}

#[test]
fn packets_of_a_connection_are_as_asked_for() {
    let mut net = Net::with_hosts(2);
    net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), ANY).unwrap();
    let mut config = ANY;
    config.ip.ttl = 7;
    config.ip.traffic_class = 0x2c;
    config.ip.discovery = PathMtuDiscovery::Dont;
    let to = (ip("10.0.0.2"), Port(80));
    let flow = net.stacks[0].tcp_connect((None, Port::NONE), to, config, net.now).unwrap();
    net.run(50);
    let sent = |net: &Net, host: usize| -> Vec<(u8, u8, bool)> {
        let segments = net.log.iter().filter(|entry| entry.0 == "tcp" && entry.2 == host);
        let packet = |octets: &Vec<u8>| {
            let packet = ipv4::Packet::new_checked(&octets[14..]).unwrap();
            let repr = ipv4::Repr::parse(&packet).unwrap();
            (repr.ttl, repr.traffic_class, repr.dont_fragment)
        };
        segments.map(|entry| packet(&entry.3)).collect()
    };
    assert_eq!(sent(&net, 0), [(7, 0x2c, false); 2], "SYN and its acknowledgment");
    assert_eq!(sent(&net, 1), [(64, 0, true)]);
    assert_eq!(net.stacks[0].tcp_path_mtu(flow), Some(1500));
    let mut ip = *net.stacks[0].tcp(flow).unwrap().ip();
    ip.ttl = 9;
    let now = net.now;
    net.stacks[0].tcp_configure(flow, now, |flow| flow.set_ip(ip));
    let frame = net.frame(b"x");
    net.stacks[0].tcp_send(flow, frame, now).unwrap();
    net.run(10);
    assert_eq!(sent(&net, 0)[2].0, 9);
}

#[test]
fn an_interface_that_a_socket_is_bound_to_is_the_only_one() {
    let mut net = Net::with_hosts(2);
    let mut config = ANY;
    config.ip.device = Some(IfaceId::LOOPBACK);
    net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), config).unwrap();
    let to = (ip("10.0.0.2"), Port(80));
    let flow = net.stacks[0].tcp_connect((None, Port::NONE), to, ANY, net.now).unwrap();
    net.run(50);
    assert_eq!(net.stacks[0].tcp(flow).unwrap().error(), Some(Error::Refused), "it came in elsewhere");
    let here = net.stacks[1].tcp_connect((None, Port::NONE), to, ANY, net.now).unwrap();
    net.run(50);
    assert_eq!(net.stacks[1].tcp(here).unwrap().state(), State::Established);
    let sent = net.sent("tcp", 0);
    let _ = net.stacks[0].tcp_connect((None, Port::NONE), to, config, net.now);
    net.run(50);
    assert_eq!(net.sent("tcp", 0), sent, "nor does anything leave elsewhere");
    config.ip.device = None;
    config.ip.only_on_link = true;
    net.default_route(0, "10.0.0.2");
    let far = (ip("192.0.2.1"), Port(80));
    let refused = net.stacks[0].tcp_connect((None, Port::NONE), far, config, net.now);
    assert_eq!(refused, Err(ConnectError::Unreachable), "by no gateway");
    assert!(net.stacks[0].tcp_connect((None, Port::NONE), to, config, net.now).is_ok());
}

#[test]
fn peers_are_spread_over_listeners_that_share() {
    let mut net = Net::with_hosts(2);
    let shared = ListenOptions { shared: true, ..ListenOptions::new(100) };
    let mut listen = || net.stacks[1].tcp_listen(None, Port(80), shared, ANY).unwrap();
    let listeners = [listen(), listen()];
    let alone = net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), ANY);
    assert_eq!(alone, Err(OpenError::InUse));
    for _ in 0..40 {
        connect(&mut net, 0, "10.0.0.2", 80);
        net.run(5);
    }
    let stack = &mut net.stacks[1];
    let counts = listeners.map(|listener| std::iter::from_fn(|| stack.tcp_accept(listener)).count());
    assert_eq!(counts[0] + counts[1], 40);
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    net.stacks[1].tcp_unlisten(listeners[0], net.now);
    for _ in 0..10 {
        connect(&mut net, 0, "10.0.0.2", 80);
        net.run(5);
    }
    let stack = &mut net.stacks[1];
    assert_eq!(std::iter::from_fn(|| stack.tcp_accept(listeners[1])).count(), 10);
}

#[test]
fn a_listener_may_wait_for_data() {
    // tcp(7), TCP_DEFER_ACCEPT.
    let mut net = Net::with_hosts(2);
    let config = Config { defer_accept: Some(Duration::from_secs(5)), ..ANY };
    let listener = net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), config).unwrap();
    let silent = connect(&mut net, 0, "10.0.0.2", 80);
    let talks = connect(&mut net, 0, "10.0.0.2", 80);
    let leaves = connect(&mut net, 0, "10.0.0.2", 80);
    net.run(100);
    assert_eq!(net.stacks[1].tcp_accept(listener), None);
    let frame = net.frame(b"x");
    net.stacks[0].tcp_send(talks, frame, net.now).unwrap();
    net.stacks[0].tcp_shutdown(leaves, net.now);
    net.run(100);
    let port = |net: &Net, flow| net.stacks[0].tcp_tuple(flow).unwrap().local_port;
    let accepted = |net: &mut Net| {
        let flow = net.stacks[1].tcp_accept(listener)?;
        Some(net.stacks[1].tcp_tuple(flow).unwrap().remote_port)
    };
    assert_eq!(accepted(&mut net), Some(port(&net, talks)));
    assert_eq!(accepted(&mut net), Some(port(&net, leaves)), "its end is something to read");
    assert_eq!(accepted(&mut net), None);
    net.run(5000);
    assert_eq!(accepted(&mut net), Some(port(&net, silent)), "it was waited for long enough");
}

/// Sends so many octets from host `a` to host `b` and back; returns how long it took.
fn transfer(net: &mut Net, (a, b): (usize, usize), to: &str, to_send: [u32; 2]) -> Duration {
    let began = net.now;
    let listener = net.stacks[b].tcp_listen(None, Port(80), ListenOptions::new(4), ANY).unwrap();
    let flow = connect(net, a, to, 80);
    let mut sides = vec![Side::new(a, flow, to_send[0])];
    let limit = net.now + Duration::from_secs(3600);
    let is_over = |net: &Net, side: &Side| {
        net.stacks[side.host]
            .tcp(side.flow)
            .is_none_or(|flow| matches!(flow.state(), State::TimeWait | State::Closed))
    };
    loop {
        net.settle();
        for host in [a, b] {
            while let Some(event) = net.stacks[host].poll_event() {
                match event {
                    Event::Accept { .. } => {
                        let flow = net.stacks[b].tcp_accept(listener).unwrap();
                        sides.push(Side::new(b, flow, to_send[1]));
                    }
                    Event::Tcp { flow, events } => {
                        for side in sides.iter_mut().filter(|side| (side.host, side.flow) == (host, flow)) {
                            side.finished |= events.has(Events::FINISHED);
                        }
                    }
                    _ => {}
                }
            }
        }
        for side in &mut sides {
            let peer = a + b - side.host;
            side.look(net, peer);
        }
        net.settle();
        if sides.len() == 2 && sides.iter().all(|side| is_over(net, side)) {
            break;
        }
        // A program looks at least each 50 ms.
        let look = net.now + Duration::from_millis(50);
        let next = net.next().map_or(look, |next| next.min(look));
        assert!(next < limit, "too slow");
        net.step(next);
    }
    for side in &mut sides {
        side.look(net, a + b - side.host);
    }
    assert_eq!([sides[0].received, sides[1].received], [to_send[1], to_send[0]]);
    assert!(sides.iter().all(|side| side.finished));
    for side in &sides {
        assert_eq!(net.stacks[side.host].tcp(side.flow).and_then(|flow| flow.error()), None);
        net.stacks[side.host].tcp_close(side.flow, net.now);
    }
    let took = net.now.since(began);
    net.stacks[b].tcp_unlisten(listener, net.now);
    took
}

fn seeds() -> u64 {
    std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

fn bad_wire(net: &mut crate::rng::Rng) -> Wire {
    Wire {
        delay_us: net.below(50_000),
        jitter_us: [0, 1_000, 30_000][net.below(3)],
        loss: [0, 10, 50, 150][net.below(4)],
        duplicate: [0, 10, 100][net.below(3)],
        damage: [0, 10][net.below(2)],
    }
}

#[test]
fn every_octet_arrives() {
    for_seeds(seeds(), |rng| {
        let wire = bad_wire(rng);
        let mut net = Net::new(wire, u64::from(rng.next()));
        for host in 0..2 {
            net.add_host();
            net.attach(host, 0, [576, 1500, 9000][rng.below(3)], &format!("10.0.0.{}/24", host + 1));
        }
        // Both ends of a link take the same.
        let mtu = net.stacks.iter().map(|stack| stack.interface(IfaceId(1)).unwrap().mtu()).min().unwrap();
        (0..2).for_each(|host| net.stacks[host].set_mtu_limit(IfaceId(1), Some(mtu)));
        let to_send = [rng.below(200_000) as u32, rng.below(200_000) as u32];
        transfer(&mut net, (0, 1), "10.0.0.2", to_send);
        // TIME-WAIT, and what the network still holds.
        net.run(300_000);
        assert!(net.stacks.iter().all(|stack| stack.tcp_count() == 0));
        net.check_memory();
    });
}

#[test]
fn every_octet_arrives_through_a_router() {
    for_seeds(seeds() / 2, |rng| {
        let wire = bad_wire(rng);
        let mut net = Net::with_router(wire, u64::from(rng.next()), [576, 1000, 1500][rng.below(3)]);
        let to_send = [rng.below(100_000) as u32, rng.below(100_000) as u32];
        transfer(&mut net, (0, 2), "10.0.1.1", to_send);
        net.run(300_000);
        assert!(net.stacks.iter().all(|stack| stack.tcp_count() == 0));
        net.check_memory();
    });
}

#[test]
fn a_good_link_is_used_well() {
    let mut net = Net::with_hosts(2);
    net.wire.delay_us = 1000;
    let took = transfer(&mut net, (0, 1), "10.0.0.2", [2_000_000, 2_000_000]);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn within_one_host() {
    let mut net = Net::with_hosts(1);
    let listener =
        net.stacks[0].tcp_listen(Some(ip("127.0.0.1")), Port(80), ListenOptions::new(1), ANY).unwrap();
    let client = connect(&mut net, 0, "127.0.0.1", 80);
    net.run(1);
    let server = net.stacks[0].tcp_accept(listener).unwrap();
    let octets = net.frame(&[9; 100_000]);
    net.stacks[0].tcp_send(client, octets, net.now).unwrap();
    net.run(100);
    let mut received = 0;
    while let Some(frame) = net.stacks[0].tcp_receive(server) {
        received += frame.len();
    }
    assert_eq!(received, 100_000);
    assert!(net.log.iter().all(|(word, ..)| *word == "arp"));
}

#[test]
fn nobody_listens() {
    let mut net = Net::with_hosts(2);
    let flow = connect(&mut net, 0, "10.0.0.2", 81);
    net.run(100);
    assert_eq!(net.stacks[0].tcp(flow).unwrap().error(), Some(Error::Refused));
    assert!(
        matches!(net.stacks[0].poll_event(), Some(Event::Tcp { events, .. }) if events.has(Events::CLOSED))
    );
    net.stacks[0].tcp_close(flow, net.now);
    net.run(1);
    assert_eq!(net.stacks[0].tcp_count(), 0);
    let counters = net.stacks[1].interface(IfaceId(1)).unwrap().counters();
    assert_eq!(counters.rx_drops(DropReason::NoSocket), 1);
}

#[test]
fn what_cannot_be_connected() {
    let mut net = Net::with_hosts(1);
    let now = net.now;
    let mut try_to = |from: Option<&str>, to: &str, port| {
        net.stacks[0].tcp_connect((from.map(ip), Port::NONE), (ip(to), Port(port)), ANY, now).unwrap_err()
    };
    assert_eq!(try_to(None, "192.0.2.1", 80), ConnectError::Unreachable);
    assert_eq!(try_to(Some("10.9.9.9"), "10.0.0.2", 80), ConnectError::NotAvailable);
    for to in ["10.0.0.255", "255.255.255.255", "239.1.1.1", "0.0.0.0"] {
        assert_eq!(try_to(None, to, 80), ConnectError::NotUnicast, "{to}");
    }
    assert_eq!(try_to(None, "10.0.0.2", 0), ConnectError::NotUnicast);
    net.stacks[0].tcp_listen(None, Port(80), ListenOptions::new(1), ANY).unwrap();
    assert_eq!(net.stacks[0].tcp_listen(None, Port(80), ListenOptions::new(1), ANY), Err(OpenError::InUse));
    assert_eq!(
        net.stacks[0].tcp_listen(Some(ip("10.9.9.9")), Port(81), ListenOptions::new(1), ANY),
        Err(OpenError::NotAvailable)
    );
    let from = (None, Port(999));
    net.stacks[0].tcp_connect(from, (ip("10.0.0.2"), Port(80)), ANY, now).unwrap();
    let again = net.stacks[0].tcp_connect(from, (ip("10.0.0.2"), Port(80)), ANY, now);
    assert_eq!(again, Err(ConnectError::InUse));
}

#[test]
fn a_full_backlog_drops_what_comes() {
    let mut net = Net::with_hosts(2);
    let listener = net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(3), ANY).unwrap();
    let flows: Vec<_> = (0..5).map(|_| connect(&mut net, 0, "10.0.0.2", 80)).collect();
    net.run(500);
    // Cookies answered the last two; their acknowledgments found the queue full.
    let counters = net.stacks[1].interface(IfaceId(1)).unwrap().counters();
    assert_eq!((counters.rx_drops(DropReason::ListenFull), net.stacks[1].tcp_count()), (2, 3));
    while net.stacks[1].tcp_accept(listener).is_some() {}
    for &flow in &flows {
        let octets = net.frame(b"x");
        net.stacks[0].tcp_send(flow, octets, net.now).unwrap();
    }
    net.run(1000);
    assert_eq!(net.stacks[1].tcp_count(), 5, "the cookies come again, with data");
    net.stacks[1].tcp_unlisten(listener, net.now);
    net.run(100);
    let error = |flow: &TcpHandle| net.stacks[0].tcp(*flow).unwrap().error();
    let reset = flows.iter().filter(|flow| error(flow) == Some(Error::Reset)).count();
    assert_eq!(reset, 2, "those that nobody accepted");
}

#[test]
fn a_flood_of_syns_is_bounded() {
    let mut net = Net::with_hosts(2);
    net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(100), ANY).unwrap();
    for port in 1..5000 {
        let syn = wire::tcp::Repr {
            src_port: Port(port),
            dst_port: Port(80),
            seq: wire::SeqNumber(7),
            ack: wire::SeqNumber(0),
            flags: wire::tcp::Flags::SYN,
            window: 1000,
            urgent: 0,
            options: wire::tcp::Options::NONE,
        };
        let mut octets = [0; 20];
        let mut packet = wire::tcp::Packet::new_unchecked(&mut octets[..]);
        syn.emit(&mut packet);
        packet.fill_checksum(wire::checksum::Sum::pseudo_v4(
            ip("10.0.0.3"),
            ip("10.0.0.2"),
            Protocol::TCP,
            20,
        ));
        let frame = ipv4_frame(mac(3, 0), mac(1, 0), &header("10.0.0.3", "10.0.0.2", Protocol::TCP), &octets);
        net.inject(1, IfaceId(1), &frame);
    }
    assert_eq!(net.stacks[1].tcp_count(), 100);
    net.run(400_000);
    assert_eq!(net.stacks[1].tcp_count(), 0, "nobody answered");
    net.check_memory();
}

#[test]
fn a_shorter_path_is_found_on_the_way() {
    // Both hosts think that 1500 octets pass, and the router has less between them.
    let mut net = Net::with_router(Wire::default(), 1, 600);
    net.stacks[2].set_mtu_limit(IfaceId(1), None);
    let took = transfer(&mut net, (0, 2), "10.0.1.1", [100_000, 1000]);
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// An ICMP error of host 1 about a segment of host 0 to it.
fn tell(net: &mut Net, error: Repr, local_port: u16, seq: u32) {
    let quoted = header("10.0.0.1", "10.0.0.2", Protocol::TCP);
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&local_port.to_be_bytes());
    segment[2..4].copy_from_slice(&80_u16.to_be_bytes());
    segment[4..8].copy_from_slice(&seq.to_be_bytes());
    let quote = &ipv4_frame(mac(0, 0), mac(1, 0), &quoted, &segment)[14..];
    let mut message = vec![0; 8 + quote.len()];
    let mut packet = wire::icmpv4::Packet::new_unchecked(&mut message[..]);
    error.emit(&mut packet);
    packet.payload_mut().copy_from_slice(quote);
    packet.fill_checksum();
    net.inject(
        0,
        IfaceId(1),
        &ipv4_frame(mac(1, 0), mac(0, 0), &header("10.0.0.2", "10.0.0.1", Protocol::ICMP), &message),
    );
}

#[test]
fn errors_end_attempts_but_not_connections() {
    let mut net = Net::with_hosts(2);
    let prohibited = Repr::Unreachable(Unreachable::Prohibited { code: 13 });
    net.wire.loss = 1000;
    let flow = connect(&mut net, 0, "10.0.0.2", 80);
    net.settle();
    let port = net.stacks[0].tcp_tuple(flow).unwrap().local_port.0;
    tell(&mut net, prohibited, port, 0x1234_5678);
    assert_eq!(net.stacks[0].tcp(flow).unwrap().state(), State::SynSent, "not a number in flight");
    let dropped = net.stacks[0].interface(IfaceId(1)).unwrap().counters().rx_drops(DropReason::IcmpQuote);
    assert_eq!(dropped, 1);
    let seq = net.log.iter().find(|(word, ..)| *word == "tcp").map(|(.., octets)| octets[38..42].to_vec());
    assert_eq!(seq, None, "it waits for the neighbour");

    net.wire.loss = 0;
    net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), ANY).unwrap();
    net.run(5000);
    assert_eq!(net.stacks[0].tcp(flow).unwrap().state(), State::Established);
    // Something in flight, and then an error about it.
    net.wire.loss = 1000;
    let data = net.frame(b"data");
    net.stacks[0].tcp_send(flow, data, net.now).unwrap();
    net.settle();
    let (.., octets) = net.log.iter().rev().find(|(word, _, from, _)| *word == "tcp" && *from == 0).unwrap();
    let packet = ipv4::Packet::new_checked(&octets[14..]).unwrap();
    let segment = wire::tcp::Packet::new_checked(packet.payload()).unwrap().seq();
    tell(&mut net, prohibited, port, segment.0);
    assert_eq!(net.stacks[0].tcp(flow).unwrap().state(), State::Established);
    assert_eq!(net.stacks[0].tcp_icmp_error(flow), Some(prohibited));
}

#[test]
fn connections_are_saved_and_restored() {
    let mut net = Net::with_hosts(2);
    let listener = net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(4), ANY).unwrap();
    let client = connect(&mut net, 0, "10.0.0.2", 80);
    net.run(100);
    let server = net.stacks[1].tcp_accept(listener).unwrap();
    let (tuple, saved) = net.stacks[1].tcp_save(server, net.now).unwrap();
    // The host is another one from here on.
    let mut other = net::Stack::new(net::Settings::new(net::Key([9, 9])), net.pool);
    let iface = other.add_device("eth0", net.stacks[1].interface(IfaceId(1)).unwrap().link()).unwrap();
    other.add_address(iface, "10.0.0.2/24".parse().unwrap(), net.now).unwrap();
    let restored = other.tcp_restore(tuple, &saved, net.now).unwrap();
    assert_eq!(other.tcp_restore(tuple, &saved, net.now), Err(OpenError::InUse));
    net.stacks[1] = other;
    let octets = net.frame(b"still there?");
    net.stacks[0].tcp_send(client, octets, net.now).unwrap();
    net.run(2000);
    assert_eq!(net.stacks[1].tcp_receive(restored).unwrap().head(), b"still there?");
    assert!(net.now > Instant(0));
}

/// Two hosts, the first of which bears two connections that nobody holds; and connections between them that the first one's
/// program has, and as many of the second's.
fn with_connections(count: usize) -> (Net, Vec<TcpHandle>, Vec<TcpHandle>) {
    let mut net = Net::new(Wire::default(), 0);
    net.add_host();
    net.add_host();
    let settings = net::Settings { max_orphans: 2, ..net::Settings::new(net::Key([1, 2])) };
    net.stacks[0] = net::Stack::new(settings, net.pool);
    for host in 0..2 {
        net.attach(host, 0, 1500, &format!("10.0.0.{}/24", host + 1));
    }
    let listener = net.stacks[1].tcp_listen(None, Port(80), ListenOptions::new(10), ANY).unwrap();
    let ours: Vec<_> = (0..count).map(|_| connect(&mut net, 0, "10.0.0.2", 80)).collect();
    net.run(10);
    let theirs = std::iter::from_fn(|| net.stacks[1].tcp_accept(listener)).collect();
    (net, ours, theirs)
}

#[test]
fn too_many_connections_that_nobody_holds() {
    // Linux' tcp_max_orphans; that which was left first goes.
    let (mut net, ours, theirs) = with_connections(4);
    for flow in &ours[..3] {
        let now = net.now;
        net.stacks[0].tcp_close(*flow, now);
        net.run(10);
    }
    assert_eq!((net.stacks[0].tcp_orphans(), net.stacks[0].tcp_orphans_reset()), (2, 1));
    let errors: Vec<_> = theirs.iter().map(|flow| net.stacks[1].tcp(*flow).unwrap().error()).collect();
    assert_eq!(errors, [Some(Error::Reset), None, None, None]);
    net.run(61_000);
    assert_eq!(net.stacks[0].tcp_orphans(), 0, "FIN-WAIT-2 is over");
}

#[test]
fn what_is_over_is_none_of_those_that_nobody_holds() {
    // Found by fuzzing: one that was alive was reset in its stead.
    let (mut net, ours, theirs) = with_connections(4);
    for flow in &ours[..2] {
        let now = net.now;
        net.stacks[0].tcp_close(*flow, now);
        net.run(10);
    }
    let now = net.now;
    net.stacks[1].tcp_abort(theirs[0], now);
    let reset = octets_of(net.stacks[1].poll_transmit(IfaceId(1), now).unwrap());
    // Before anything is sent again, which would let go of it.
    net.inject(0, IfaceId(1), &reset);
    assert_eq!(net.stacks[0].tcp_orphans(), 1);
    net.stacks[0].tcp_close(ours[2], now);
    assert_eq!((net.stacks[0].tcp_orphans(), net.stacks[0].tcp_orphans_reset()), (2, 0));
    net.run(10);
    let errors: Vec<_> = theirs[1..].iter().map(|flow| net.stacks[1].tcp(*flow).unwrap().error()).collect();
    assert_eq!(errors, [None; 3]);
}

#[test]
fn connections_that_nobody_holds_go_when_memory_is_short() {
    let (mut net, ours, theirs) = with_connections(3);
    let now = net.now;
    net.stacks[0].tcp_close(ours[0], now);
    net.stacks[0].tcp_close(ours[1], now);
    net.run(10);
    net.stacks[0].set_pressure(frame::Pressure::RefuseConnections, net.now);
    net.run(10);
    assert_eq!(net.stacks[0].tcp_orphans(), 2);
    net.stacks[0].set_pressure(frame::Pressure::DropReassembly, net.now);
    net.run(10);
    assert_eq!((net.stacks[0].tcp_orphans(), net.stacks[0].tcp_orphans_reset()), (0, 2));
    let errors: Vec<_> = theirs.iter().map(|flow| net.stacks[1].tcp(*flow).unwrap().error()).collect();
    assert_eq!(errors, [Some(Error::Reset), Some(Error::Reset), None], "who is held stays");
}

#[test]
fn a_program_that_has_left_is_told_of_the_end_as_long_as_it_has_more_to_queue() {
    // The peer reads nothing; RFC 9293 § 3.8.3.
    let (mut net, ours, _) = with_connections(1);
    for _ in 0..2000 {
        let frame = net.frame(&[0; 1000]);
        if net.stacks[0].tcp_send(ours[0], frame, net.now).is_err() {
            net.run(10);
        }
    }
    assert!(net.stacks[0].tcp_has_unacknowledged());
    let now = net.now;
    net.stacks[0].tcp_orphan(ours[0], now);
    while net.stacks[0].poll_event().is_some() {}
    net.run(99_000);
    assert_eq!((net.stacks[0].poll_event(), net.stacks[0].tcp_orphans()), (None, 1));
    net.run(2_000);
    let event = Event::Tcp { flow: ours[0], events: Events::CLOSED };
    assert_eq!(net.stacks[0].poll_event(), Some(event));
    assert_eq!(net.stacks[0].tcp(ours[0]).unwrap().error(), Some(Error::TimedOut));
    let now = net.now;
    net.stacks[0].tcp_close(ours[0], now);
    net.run(10);
    assert_eq!((net.stacks[0].tcp_orphans(), net.stacks[0].tcp_count()), (0, 0));
}
