//! A router between two hosts.

use net::udp::BindOptions;
use net::{DropReason, Event, IfaceId, PathMtuDiscovery};
use wire::icmpv4::{Repr, Unreachable};
use wire::{Port, Protocol, ipv4};

use crate::harness::{Net, Wire, header, ip, ipv4_frame, mac, udp_octets};
use crate::udp::{received, send};

fn router(mtu: u16) -> Net {
    Net::with_router(Wire::default(), 0, mtu)
}

#[test]
fn packets_pass_with_one_less_to_live() {
    let mut net = router(1500);
    let payload = net.frame(b"across");
    net.stacks[0].send_echo_request(ip("10.0.1.1"), 1, 1, payload, net.now).unwrap();
    net.run(100);
    let reply = Event::EchoReply { from: ip("10.0.1.1"), ident: 1, seq: 1, len: 6 };
    assert_eq!(net.stacks[0].poll_event(), Some(reply));
    let sent_on =
        net.log.iter().find(|(word, link, from, _)| (*word, *link, *from) == ("icmp", 1, 1)).unwrap();
    assert_eq!(ipv4::Packet::new_checked(&sent_on.3[14..]).unwrap().ttl(), 63);
    let counters = |iface| net.stacks[1].interface(IfaceId(iface)).unwrap().counters();
    assert_eq!((counters(1).forwarded, counters(2).forwarded), (1, 1));
}

#[test]
fn a_host_does_not_forward() {
    let mut net = router(1500);
    net.stacks[1].forwarding = false;
    let payload = net.frame(b"across");
    net.stacks[0].send_echo_request(ip("10.0.1.1"), 1, 1, payload, net.now).unwrap();
    net.run(100);
    assert_eq!(net.stacks[0].poll_event(), None);
    assert_eq!(net.stacks[1].interface(IfaceId(1)).unwrap().counters().rx_drops(DropReason::NotLocal), 1);
}

#[test]
fn what_a_device_put_together_is_not_sent_on() {
    // It is no packet that came, and longer than the next link takes.
    let mut net = router(1500);
    let segment =
        ipv4_frame(mac(0, 0), mac(1, 0), &header("10.0.0.1", "10.0.1.1", Protocol::TCP), &[0; 3000]);
    let frame = net.frame(&segment);
    let joined = frame::RxFrame { frame, checksum_valid: true, segment_size: Some(1440) };
    net.stacks[1].receive(IfaceId(1), [joined], net.now);
    net.run(100);
    assert_eq!(net.stacks[1].interface(IfaceId(1)).unwrap().counters().rx_drops(DropReason::TooBig), 1);
    assert_eq!(net.sent("tcp", 1), 0);
}

/// What the router tells host 0 about a datagram to `dst`.
fn told(net: &mut Net, dst: &str, ttl: u8, len: usize, dont_fragment: bool) -> Option<Repr> {
    let repr = ipv4::Repr { ttl, dont_fragment, ..header("10.0.0.1", dst, Protocol::UDP) };
    let frame = ipv4_frame(mac(0, 0), mac(1, 0), &repr, &udp_octets("10.0.0.1", dst, 1, 2, &vec![0; len]));
    net.log.clear();
    net.inject(1, IfaceId(1), &frame);
    net.run(5000);
    let (.., octets) =
        net.log.iter().find(|(word, link, from, _)| (*word, *link, *from) == ("icmp", 0, 1))?;
    let packet = ipv4::Packet::new_checked(&octets[14..]).unwrap();
    assert_eq!(packet.src(), ip("10.0.0.2"));
    Some(Repr::parse(&wire::icmpv4::Packet::new_checked(packet.payload()).unwrap()).unwrap())
}

#[test]
fn senders_learn_why_packets_do_not_pass() {
    let mut net = router(600);
    net.run(5000);
    assert_eq!(told(&mut net, "10.0.1.1", 1, 10, false), Some(Repr::TimeExceeded { reassembly: false }));
    let too_big = Repr::Unreachable(Unreachable::FragmentationNeeded { mtu: 600 });
    assert_eq!(told(&mut net, "10.0.1.1", 64, 1000, true), Some(too_big));
    assert_eq!(told(&mut net, "192.0.2.1", 64, 10, false), Some(Repr::Unreachable(Unreachable::Net)));
    assert_eq!(told(&mut net, "10.0.1.9", 64, 10, false), Some(Repr::Unreachable(Unreachable::Host)));
    assert_eq!(told(&mut net, "10.0.1.255", 64, 10, false), None, "no directed broadcasts");
    let drops = |reason| net.stacks[1].interface(IfaceId(1)).unwrap().counters().rx_drops(reason);
    assert_eq!(
        (drops(DropReason::TtlExpired), drops(DropReason::TooBig), drops(DropReason::NoRoute)),
        (1, 1, 1)
    );
}

#[test]
fn a_router_cuts_what_may_be_cut() {
    let mut net = router(600);
    let b = net.stacks[2].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_options(a).unwrap().ip.discovery = PathMtuDiscovery::Dont;
    for len in [500, 1000, 1472, 9000] {
        let octets: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
        send(&mut net, 0, a, "10.0.1.1", 2000, &octets).unwrap();
        net.run(100);
        assert_eq!(received(&mut net, 2, b).unwrap().0, octets, "{len}");
    }
    assert!(net.sent("fragment", 1) > 0);
    net.check_memory();
}

#[test]
fn the_path_is_learned_and_forgotten() {
    let mut net = router(600);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let options = net.stacks[0].udp_options(a).unwrap();
    options.ip.discovery = PathMtuDiscovery::Do;
    options.receive_errors = true;
    assert_eq!(send(&mut net, 0, a, "10.0.1.1", 2000, &[0; 1000]), Ok(()));
    net.run(100);
    let error = net.stacks[0].udp_take_error(a).unwrap();
    assert_eq!(error.error, Repr::Unreachable(Unreachable::FragmentationNeeded { mtu: 600 }));
    assert_eq!(net.stacks[0].path_mtu(ip("10.0.1.1"), net.now), Some(600));
    assert_eq!(send(&mut net, 0, a, "10.0.1.1", 2000, &[0; 1000]), Err(net::stack::SendError::TooLong));
    assert_eq!(send(&mut net, 0, a, "10.0.1.1", 2000, &[0; 572]), Ok(()));
    let saved = net.stacks[0].save_path_mtus(net.now);
    assert_eq!((saved[0].destination, saved[0].mtu), (ip("10.0.1.1"), 600));
    net.run(601_000);
    assert_eq!(net.stacks[0].path_mtu(ip("10.0.1.1"), net.now), None);
}

#[test]
fn a_link_that_is_down_is_no_way() {
    let mut net = router(1500);
    let mut link = net.stacks[1].interface(IfaceId(2)).unwrap().link();
    link.up = false;
    net.stacks[1].set_link(IfaceId(2), link, net.now);
    assert_eq!(told(&mut net, "10.0.1.1", 64, 10, false), Some(Repr::Unreachable(Unreachable::Net)));
    link.up = true;
    net.stacks[1].set_link(IfaceId(2), link, net.now);
    let payload = net.frame(b"across");
    net.stacks[0].send_echo_request(ip("10.0.1.1"), 1, 1, payload, net.now).unwrap();
    net.run(100);
    assert!(net.stacks[0].poll_event().is_some());
}
