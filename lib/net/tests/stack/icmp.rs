//! Echo, and errors about what cannot be delivered.

use net::{DropReason, Event, IfaceId};
use wire::{Protocol, icmpv4, ipv4};

use crate::harness::{Net, header, ip, ipv4_frame, mac, udp_octets};

const ETH: IfaceId = IfaceId(1);

fn echo_request(payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 8 + payload.len()];
    let mut packet = icmpv4::Packet::new_unchecked(&mut octets[..]);
    icmpv4::Repr::EchoRequest { ident: 7, seq: 1 }.emit(&mut packet);
    packet.payload_mut().copy_from_slice(payload);
    packet.fill_checksum();
    octets
}

/// The last ICMP message that a host sent, and what it quotes or brings back.
fn last_icmp(net: &Net, host: usize) -> Option<(ipv4::Repr, icmpv4::Repr, Vec<u8>)> {
    let (.., octets) = net.log.iter().rev().find(|(word, _, from, _)| *word == "icmp" && *from == host)?;
    let packet = ipv4::Packet::new_checked(&octets[14..]).unwrap();
    let message = icmpv4::Packet::new_checked(packet.payload()).unwrap();
    Some((
        ipv4::Repr::parse(&packet).unwrap(),
        icmpv4::Repr::parse(&message).unwrap(),
        message.payload().to_vec(),
    ))
}

#[test]
fn an_echo_request_is_answered() {
    let mut net = Net::with_hosts(2);
    let request = ipv4_frame(
        mac(1, 0),
        mac(0, 0),
        &header("10.0.0.2", "10.0.0.1", Protocol::ICMP),
        &echo_request(b"hello"),
    );
    net.inject(0, ETH, &request);
    net.run(10);
    let (header, reply, payload) = last_icmp(&net, 0).unwrap();
    assert_eq!((header.src, header.dst, header.ttl), (ip("10.0.0.1"), ip("10.0.0.2"), 64));
    assert_eq!((reply, &payload[..]), (icmpv4::Repr::EchoReply { ident: 7, seq: 1 }, &b"hello"[..]));
    let counters = net.stacks[0].interface(ETH).unwrap().counters();
    // The request, ARP's answer, and the other's announcement.
    assert_eq!((counters.delivered, counters.rx_dropped), (3, [0; DropReason::COUNT]));
}

#[test]
fn hosts_echo_each_other() {
    let mut net = Net::with_hosts(2);
    for len in [0, 1, 1472, 1473, 20_000] {
        let payload = net.frame(&vec![0x55; len]);
        net.stacks[0].send_echo_request(ip("10.0.0.2"), 9, len as u16, payload, net.now).unwrap();
        net.run(100);
        let reply = Event::EchoReply { from: ip("10.0.0.2"), ident: 9, seq: len as u16, len: len as u16 };
        while let Some(event) = net.stacks[0].poll_event() {
            assert_eq!(event, reply);
        }
        assert!(
            net.log.iter().any(|(word, _, from, _)| *from == 1 && ["icmp", "fragment"].contains(word)),
            "{len}"
        );
    }
    net.check_memory();
}

#[test]
fn this_host_echoes_itself() {
    let mut net = Net::with_hosts(1);
    for to in ["127.0.0.1", "127.3.2.1", "10.0.0.1"] {
        let payload = net.frame(b"x");
        net.stacks[0].send_echo_request(ip(to), 1, 2, payload, net.now).unwrap();
        net.run(1);
        let reply = Event::EchoReply { from: ip(to), ident: 1, seq: 2, len: 1 };
        assert_eq!(net.stacks[0].poll_event(), Some(reply));
    }
    assert!(net.log.iter().all(|(word, ..)| *word == "arp"), "nothing but announcements on the link");
}

#[test]
fn unreachable_port_and_protocol() {
    let mut net = Net::with_hosts(2);
    for (protocol, payload, reason) in [
        (Protocol::UDP, udp_octets("10.0.0.2", "10.0.0.1", 1000, 2000, b"data"), icmpv4::Unreachable::Port),
        (Protocol(99), vec![1, 2, 3, 4, 5, 6, 7, 8, 9], icmpv4::Unreachable::Protocol),
    ] {
        let frame = ipv4_frame(mac(1, 0), mac(0, 0), &header("10.0.0.2", "10.0.0.1", protocol), &payload);
        net.inject(0, ETH, &frame);
        net.run(10);
        let (header, message, quote) = last_icmp(&net, 0).unwrap();
        assert_eq!((header.dst, message), (ip("10.0.0.2"), icmpv4::Repr::Unreachable(reason)));
        assert_eq!(quote, &frame[14..], "all of a short packet");
    }
}

#[test]
fn errors_are_few() {
    let mut net = Net::with_hosts(2);
    let frame = ipv4_frame(
        mac(1, 0),
        mac(0, 0),
        &header("10.0.0.2", "10.0.0.1", Protocol::UDP),
        &udp_octets("10.0.0.2", "10.0.0.1", 1000, 2000, b"data"),
    );
    for _ in 0..1000 {
        net.inject(0, ETH, &frame);
        net.run(1);
    }
    let sent = net.sent("icmp", 0);
    assert!((10..=20).contains(&sent), "{sent} in a second");
    let counters = net.stacks[0].interface(ETH).unwrap().counters();
    assert_eq!(counters.rx_drops(DropReason::NoSocket), 1000);
    assert_eq!(counters.late_drops(DropReason::IcmpRate), 1000 - sent as u64);
}

#[test]
fn groups_and_errors_get_no_errors() {
    let mut net = Net::with_hosts(2);
    let datagram = |dst: &str| udp_octets("10.0.0.2", dst, 1000, 2000, b"data");
    for (dst_mac, dst) in [
        (wire::MacAddr::BROADCAST, "10.0.0.255"),
        (wire::MacAddr::BROADCAST, "255.255.255.255"),
        (wire::MacAddr([1, 0, 0x5e, 0, 0, 1]), "224.0.0.1"),
        (wire::MacAddr::BROADCAST, "10.0.0.1"),
    ] {
        net.inject(
            0,
            ETH,
            &ipv4_frame(mac(1, 0), dst_mac, &header("10.0.0.2", dst, Protocol::UDP), &datagram(dst)),
        );
        net.inject(
            0,
            ETH,
            &ipv4_frame(mac(1, 0), dst_mac, &header("10.0.0.2", dst, Protocol::ICMP), &echo_request(b"x")),
        );
    }
    net.run(100);
    assert_eq!(net.sent("icmp", 0), 0);
}

#[test]
fn martians_are_dropped() {
    let mut net = Net::with_hosts(2);
    for (src, dst) in [
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("224.0.0.1", "10.0.0.1"),
        ("255.255.255.255", "10.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("240.0.0.1", "10.0.0.1"),
        ("10.0.0.2", "127.0.0.1"),
        ("10.0.0.2", "0.0.0.0"),
        ("10.0.0.2", "250.0.0.1"),
    ] {
        let before = net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::Martian);
        net.inject(
            0,
            ETH,
            &ipv4_frame(mac(1, 0), mac(0, 0), &header(src, dst, Protocol::ICMP), &echo_request(b"x")),
        );
        let after = net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::Martian);
        assert_eq!(after - before, 1, "{src} to {dst}");
    }
    net.run(100);
    assert_eq!(net.sent("icmp", 0), 0);
}

#[test]
fn source_routes_are_refused_and_other_options_skipped() {
    let mut net = Net::with_hosts(2);
    for (option, taken) in [
        ([0x83, 4, 4, 0], false),
        ([0x89, 4, 4, 0], false),
        ([1, 1, 0x89, 3], false),
        ([7, 4, 4, 0], true),
        ([0x94, 4, 0, 0], true),
    ] {
        let icmp = echo_request(b"x");
        let payload = [&option[..], &icmp].concat();
        let mut frame =
            ipv4_frame(mac(1, 0), mac(0, 0), &header("10.0.0.2", "10.0.0.1", Protocol::ICMP), &payload);
        let mut packet = ipv4::Packet::new_unchecked(&mut frame[14..]);
        packet.set_version_ihl(0x46);
        packet.fill_checksum();
        let before = net.sent("icmp", 0);
        net.inject(0, ETH, &frame);
        net.run(10);
        assert_eq!(net.sent("icmp", 0) > before, taken, "{option:?}");
    }
    assert_eq!(net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::SourceRoute), 3);
}

#[test]
fn reassembly_that_takes_too_long_is_told() {
    let mut net = Net::with_hosts(2);
    let first = ipv4::Repr { more_fragments: true, ..header("10.0.0.2", "10.0.0.1", Protocol::UDP) };
    net.inject(0, ETH, &ipv4_frame(mac(1, 0), mac(0, 0), &first, &[0; 64]));
    net.run(31_000);
    let (_, message, quote) = last_icmp(&net, 0).unwrap();
    assert_eq!((message, quote.len()), (icmpv4::Repr::TimeExceeded { reassembly: true }, 84));
    assert_eq!(net.stacks[0].interface(ETH).unwrap().counters().late_drops(DropReason::ReassemblyTimeout), 1);
}
