//! ARP between hosts, and against those who claim what is not theirs.

use net::udp::BindOptions;
use net::{DropReason, Event, IfaceId, ProbeTiming};
use wire::MacAddr;
use wire::arp::{self, Operation};
use wire::ethernet::{self, EtherType};

use crate::harness::{Net, header, ip, ipv4_frame, mac, udp_octets};

const ETH: IfaceId = IfaceId(1);
const STRANGER: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

fn arp_frame(dst: MacAddr, repr: &arp::Repr) -> Vec<u8> {
    let mut octets = vec![0; 14 + arp::LEN];
    let ethernet = ethernet::Repr { dst, src: repr.sender_mac, ethertype: EtherType::ARP };
    ethernet.emit(&mut ethernet::Packet::new_unchecked(&mut octets[..14]));
    repr.emit(&mut arp::Packet::new_unchecked(&mut octets[14..]));
    octets
}

fn claim(operation: Operation, sender_mac: MacAddr, sender: &str, target: &str) -> arp::Repr {
    arp::Repr {
        operation,
        sender_mac,
        sender_ip: ip(sender),
        target_mac: MacAddr::UNSPECIFIED,
        target_ip: ip(target),
    }
}

/// The ARP packets that a host sent.
fn sent(net: &Net, host: usize) -> Vec<(MacAddr, arp::Repr)> {
    let arp = net.log.iter().filter(|(word, _, from, _)| *word == "arp" && *from == host);
    arp.map(|(.., octets)| {
        let dst = ethernet::Packet::new_checked(&octets[..]).unwrap().dst();
        (dst, arp::Repr::parse(&arp::Packet::new_checked(&octets[14..]).unwrap()).unwrap())
    })
    .collect()
}

#[test]
fn a_request_is_answered() {
    let mut net = Net::with_hosts(1);
    net.run(5000);
    net.log.clear();
    net.inject(
        0,
        ETH,
        &arp_frame(MacAddr::BROADCAST, &claim(Operation::Request, STRANGER, "10.0.0.9", "10.0.0.1")),
    );
    net.inject(
        0,
        ETH,
        &arp_frame(MacAddr::BROADCAST, &claim(Operation::Request, STRANGER, "10.0.0.9", "10.0.0.2")),
    );
    net.inject(
        0,
        ETH,
        &arp_frame(MacAddr::BROADCAST, &claim(Operation::Request, STRANGER, "0.0.0.0", "10.0.0.1")),
    );
    net.run(10);
    let reply = |target_ip| arp::Repr {
        operation: Operation::Reply,
        sender_mac: mac(0, 0),
        sender_ip: ip("10.0.0.1"),
        target_mac: STRANGER,
        target_ip,
    };
    assert_eq!(sent(&net, 0), [(STRANGER, reply(ip("10.0.0.9"))), (STRANGER, reply(ip("0.0.0.0")))]);
}

#[test]
fn addresses_are_announced() {
    let mut net = Net::with_hosts(1);
    net.run(5000);
    let announcement = (MacAddr::BROADCAST, claim(Operation::Request, mac(0, 0), "10.0.0.1", "10.0.0.1"));
    assert_eq!(sent(&net, 0), [announcement, announcement]);
}

#[test]
fn the_cache_is_not_poisoned() {
    let mut net = Net::with_hosts(2);
    let payload = net.frame(b"x");
    net.stacks[0].send_echo_request(ip("10.0.0.2"), 1, 1, payload, net.now).unwrap();
    net.run(100);
    let known = |net: &Net| net.stacks[0].interface(ETH).unwrap().neighbours().next().map(|(_, mac, _)| mac);
    assert_eq!(known(&net), Some(mac(1, 0)));
    for operation in [Operation::Request, Operation::Reply] {
        for target in ["10.0.0.1", "10.0.0.2"] {
            let forged = claim(operation, STRANGER, "10.0.0.2", target);
            net.inject(0, ETH, &arp_frame(MacAddr::BROADCAST, &forged));
            net.inject(0, ETH, &arp_frame(mac(0, 0), &forged));
            net.run(3000);
            assert_eq!(known(&net), Some(mac(1, 0)), "{forged:?}");
        }
    }
}

#[test]
fn an_address_in_use_is_not_taken() {
    let mut net = Net::with_hosts(1);
    net.add_host();
    let iface = net.attach(1, 0, 1500, "");
    net.stacks[1].set_probe_timing(iface, ProbeTiming::STANDARD);
    net.stacks[1].add_address(iface, "10.0.0.1/24".parse().unwrap(), net.now).unwrap();
    net.stacks[1].add_address(iface, "10.0.0.2/24".parse().unwrap(), net.now).unwrap();
    assert!(!net.stacks[1].is_own(ip("10.0.0.2")), "not before it was probed");
    net.run(10_000);
    let conflict = Event::AddressConflict { iface, address: ip("10.0.0.1"), mac: mac(0, 0) };
    assert_eq!(net.stacks[1].poll_event(), Some(conflict));
    assert!(!net.stacks[1].is_own(ip("10.0.0.1")) && net.stacks[1].is_own(ip("10.0.0.2")));
    assert!(net.stacks[0].is_own(ip("10.0.0.1")));
}

#[test]
fn an_address_is_defended_once_in_a_while() {
    let mut net = Net::with_hosts(1);
    net.run(5000);
    net.log.clear();
    let theirs = arp_frame(MacAddr::BROADCAST, &claim(Operation::Request, STRANGER, "10.0.0.1", "10.0.0.1"));
    for _ in 0..5 {
        net.inject(0, ETH, &theirs);
        net.run(1000);
    }
    assert_eq!(sent(&net, 0).len(), 1);
    assert!(matches!(net.stacks[0].poll_event(), Some(Event::AddressConflict { mac: STRANGER, .. })));
    assert!(net.stacks[0].is_own(ip("10.0.0.1")), "somebody decided that this host has it");
}

#[test]
fn silence_is_told_to_the_sender() {
    let mut net = Net::with_hosts(1);
    let socket = net.stacks[0].udp_bind(None, wire::Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_options(socket).unwrap().receive_errors = true;
    let send = net::stack::UdpSend {
        to: Some((ip("10.0.0.77"), wire::Port(9))),
        from: None,
        payload: net.frame(b"anybody?"),
        segment_size: None,
        overrides: Default::default(),
    };
    net.stacks[0].udp_send(socket, send, net.now).unwrap();
    net.run(2999);
    assert_eq!(net.stacks[0].udp_take_error(socket), None);
    net.run(2);
    let error = net.stacks[0].udp_take_error(socket).unwrap();
    assert_eq!(error.error, wire::icmpv4::Repr::Unreachable(wire::icmpv4::Unreachable::Host));
    assert_eq!(
        net.stacks[0].interface(ETH).unwrap().counters().late_drops(DropReason::NeighbourUnreachable),
        1
    );
    net.check_memory();
}

#[test]
fn nonsense_is_dropped() {
    let mut net = Net::with_hosts(1);
    let good = arp_frame(MacAddr::BROADCAST, &claim(Operation::Request, STRANGER, "10.0.0.9", "10.0.0.1"));
    let mut wrong_kind = good.clone();
    wrong_kind[15] = 9;
    net.inject(0, ETH, &wrong_kind);
    net.inject(0, ETH, &good[..30]);
    let counters = net.stacks[0].interface(ETH).unwrap().counters();
    assert_eq!(counters.rx_drops(DropReason::Arp), 2);
    // A frame to another station, and one of an unknown kind.
    let datagram = udp_octets("10.0.0.2", "10.0.0.1", 1, 2, b"");
    let frame =
        ipv4_frame(STRANGER, mac(7, 7), &header("10.0.0.2", "10.0.0.1", wire::Protocol::UDP), &datagram);
    net.inject(0, ETH, &frame);
    let mut unknown = good;
    unknown[12..14].copy_from_slice(&[0x88, 0xcc]);
    net.inject(0, ETH, &unknown);
    let counters = net.stacks[0].interface(ETH).unwrap().counters();
    assert_eq!(counters.rx_drops(DropReason::OtherStation), 1);
    assert_eq!(counters.rx_drops(DropReason::UnknownEtherType), 1);
}
