//! Groups: who hears what, and what routers are told.

use net::udp::BindOptions;
use net::{DropReason, IfaceId};
use wire::{Port, Protocol, igmp, ipv4};

use crate::harness::{Net, SHARED, header, ip, ipv4_frame, mac};
use crate::udp::{received, send};

const ETH: IfaceId = IfaceId(1);

/// The IGMP messages that a host sent: destination and octets.
fn told(net: &Net, host: usize) -> Vec<(String, Vec<u8>)> {
    let igmp = net.log.iter().filter(|(word, _, from, _)| *word == "igmp" && *from == host);
    igmp.map(|(.., octets)| {
        let packet = ipv4::Packet::new_checked(&octets[14..]).unwrap();
        assert_eq!(packet.options(), igmp::ROUTER_ALERT);
        (packet.dst().to_string(), packet.payload().to_vec())
    })
    .collect()
}

#[test]
fn members_hear_and_others_do_not() {
    let mut net = Net::with_hosts(3);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let sockets: Vec<_> =
        (0..3).map(|host| net.stacks[host].udp_bind(None, Port(2000), SHARED).unwrap()).collect();
    let (now, group) = (net.now, ip("239.1.2.3"));
    assert!(net.stacks[1].udp_join(sockets[1], ETH, group, now));
    assert!(!net.stacks[1].udp_join(sockets[1], ETH, group, now), "once is enough");
    send(&mut net, 0, a, "239.1.2.3", 2000, b"group").unwrap();
    net.run(100);
    assert_eq!(received(&mut net, 1, sockets[1]).unwrap().0, b"group");
    assert!(received(&mut net, 2, sockets[2]).is_none() && received(&mut net, 0, sockets[0]).is_none());
    assert!(net.stacks[2].interface(ETH).unwrap().counters().rx_drops(DropReason::NotLocal) > 0);

    // A sender that listens hears itself, unless it does not want to.
    let now = net.now;
    assert!(net.stacks[0].udp_join(sockets[0], ETH, group, now));
    send(&mut net, 0, a, "239.1.2.3", 2000, b"again").unwrap();
    net.run(100);
    assert_eq!(received(&mut net, 0, sockets[0]).unwrap().0, b"again");
    net.stacks[0].udp_options(a).unwrap().multicast_loop = false;
    send(&mut net, 0, a, "239.1.2.3", 2000, b"quiet").unwrap();
    net.run(100);
    assert!(received(&mut net, 0, sockets[0]).is_none());

    assert!(net.stacks[1].udp_leave(sockets[1], ETH, group, net.now));
    while received(&mut net, 1, sockets[1]).is_some() {}
    send(&mut net, 0, a, "239.1.2.3", 2000, b"gone").unwrap();
    net.run(100);
    assert!(received(&mut net, 1, sockets[1]).is_none());
    net.check_memory();
}

#[test]
fn routers_are_told() {
    let mut net = Net::with_hosts(1);
    let now = net.now;
    assert!(net.stacks[0].join_group(ETH, ip("239.1.2.3"), now));
    net.run(5000);
    let report = told(&net, 0);
    assert_eq!(report.len(), 2);
    assert_eq!((report[0].0.as_str(), report[0].1[0], &report[0].1[8..9]), ("224.0.0.22", 0x22, &[4][..]));

    // A query of version 2.
    net.log.clear();
    let mut query = [0x11, 10, 0, 0, 0, 0, 0, 0];
    let checksum = wire::checksum::checksum(&query);
    query[2..4].copy_from_slice(&checksum.to_be_bytes());
    let to_all = wire::MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let repr = ipv4::Repr { ttl: 1, ..header("10.0.0.2", "224.0.0.1", Protocol::IGMP) };
    net.inject(0, ETH, &ipv4_frame(mac(1, 0), to_all, &repr, &query));
    // What crossed a router is forged.
    net.inject(0, ETH, &ipv4_frame(mac(1, 0), to_all, &ipv4::Repr { ttl: 2, ..repr }, &query));
    net.run(1100);
    let report = told(&net, 0);
    assert_eq!(report.len(), 1);
    assert_eq!((report[0].0.as_str(), report[0].1[0]), ("239.1.2.3", 0x16));
    assert_eq!(net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::Igmp), 1);

    net.log.clear();
    assert!(net.stacks[0].leave_group(ETH, ip("239.1.2.3"), net.now));
    net.run(5000);
    assert!(told(&net, 0).iter().all(|(dst, octets)| (dst.as_str(), octets[0]) == ("224.0.0.2", 0x17)));
}

#[test]
fn the_loopback_interface_has_groups_of_its_own() {
    let mut net = Net::with_hosts(1);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[0].udp_bind(None, Port(2000), SHARED).unwrap();
    let c = net.stacks[0].udp_bind(None, Port(2000), SHARED).unwrap();
    net.stacks[0].udp_options(c).unwrap().multicast_all = false;
    net.stacks[0].udp_options(a).unwrap().multicast_iface = Some(IfaceId::LOOPBACK);
    assert!(net.stacks[0].udp_join(b, IfaceId::LOOPBACK, ip("239.1.2.3"), net.now));
    send(&mut net, 0, a, "239.1.2.3", 2000, b"x").unwrap();
    net.run(10);
    assert_eq!(received(&mut net, 0, b).unwrap().0, b"x");
    assert!(received(&mut net, 0, b).is_none(), "once");
    assert!(received(&mut net, 0, c).is_none(), "it hears its own groups only");
    net.stacks[0].udp_options(c).unwrap().multicast_all = true;
    send(&mut net, 0, a, "239.1.2.3", 2000, b"y").unwrap();
    net.run(10);
    assert_eq!(received(&mut net, 0, c).unwrap().0, b"y");
}

#[test]
fn groups_have_their_own_hardware_addresses() {
    let mut net = Net::with_hosts(1);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    send(&mut net, 0, a, "239.129.2.3", 2000, b"x").unwrap();
    net.run(10);
    let frame = &net.log.iter().find(|(word, ..)| *word == "udp").unwrap().3;
    assert_eq!(frame[..6], [1, 0, 0x5e, 1, 2, 3]);
    assert_eq!(ipv4::Packet::new_checked(&frame[14..]).unwrap().ttl(), 1);
}
