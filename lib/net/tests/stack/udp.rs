//! UDP from endpoint to endpoint.

use net::stack::{SendError, UdpOverrides, UdpSend};
use net::udp::{BindError, BindOptions, UdpHandle};
use net::{DropReason, Event, IfaceId, PathMtuDiscovery};
use wire::icmpv4::{Repr, Unreachable};
use wire::{Port, Protocol};

use crate::harness::{Net, SHARED, header, ip, ipv4_frame, mac, udp_octets};

const ETH: IfaceId = IfaceId(1);

pub fn send(
    net: &mut Net,
    host: usize,
    socket: UdpHandle,
    to: &str,
    port: u16,
    octets: &[u8],
) -> Result<(), SendError> {
    let to = Some((ip(to), Port(port)));
    let send = UdpSend {
        to,
        from: None,
        payload: net.frame(octets),
        segment_size: None,
        overrides: Default::default(),
    };
    net.stacks[host].udp_send(socket, send, net.now)
}

/// What an endpoint has received: payload, sender, sender's port.
pub fn received(net: &mut Net, host: usize, socket: UdpHandle) -> Option<(Vec<u8>, String, u16)> {
    let datagram = net.stacks[host].udp_receive(socket)?;
    let octets = datagram.payload.segments().flat_map(|part| part.octets).copied().collect();
    Some((octets, datagram.from.to_string(), datagram.from_port.0))
}

#[test]
fn datagrams_of_every_length() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    for len in [0, 1, 100, 1472, 1473, 2952, 9000, 65_507] {
        let octets: Vec<u8> = (0..len).map(|n| (n * 7 / 3) as u8).collect();
        send(&mut net, 0, a, "10.0.0.2", 2000, &octets).unwrap();
        net.run(50);
        assert_eq!(net.stacks[1].poll_event(), Some(Event::Udp { socket: b }));
        assert_eq!(received(&mut net, 1, b), Some((octets, "10.0.0.1".into(), 1000)), "{len}");
    }
    assert_eq!(send(&mut net, 0, a, "10.0.0.2", 2000, &vec![0; 65_508]), Err(SendError::TooLong));
    net.stacks[0].udp_options(a).unwrap().ip.discovery = PathMtuDiscovery::Do;
    assert_eq!(send(&mut net, 0, a, "10.0.0.2", 2000, &[0; 1473]), Err(SendError::TooLong));
    net.check_memory();
}

#[test]
fn one_send_of_many_datagrams() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    let octets: Vec<u8> = (0..5500_u32).map(|n| (n / 5) as u8).collect();
    let to = Some((ip("10.0.0.2"), Port(2000)));
    let send = UdpSend {
        to,
        from: None,
        payload: net.frame(&octets),
        segment_size: Some(1200),
        overrides: Default::default(),
    };
    net.stacks[0].udp_send(a, send, net.now).unwrap();
    net.run(50);
    for part in octets.chunks(1200) {
        assert_eq!(received(&mut net, 1, b).unwrap().0, part);
    }
    assert!(received(&mut net, 1, b).is_none());
    net.check_memory();
}

#[test]
fn one_send_may_be_otherwise() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    let to = Some((ip("10.0.0.2"), Port(2000)));
    let overrides = UdpOverrides { ttl: Some(9), traffic_class: Some(0x2e), iface: Some(ETH) };
    for (from, overrides) in [(Some(ip("10.0.0.1")), overrides), (None, UdpOverrides::default())] {
        let send = UdpSend { to, from, payload: net.frame(b"x"), segment_size: None, overrides };
        net.stacks[0].udp_send(a, send, net.now).unwrap();
    }
    net.run(10);
    let got: Vec<_> = std::iter::from_fn(|| net.stacks[1].udp_receive(b))
        .map(|datagram| (datagram.ttl, datagram.traffic_class))
        .collect();
    assert_eq!(got, [(9, 0x2e), (64, 0)]);
    let from = Some(ip("10.0.0.7"));
    let send = UdpSend { to, from, payload: net.frame(b"x"), segment_size: None, overrides };
    assert_eq!(net.stacks[0].udp_send(a, send, net.now), Err(SendError::NotOwn));
}

#[test]
fn to_this_host_itself() {
    let mut net = Net::with_hosts(1);
    let a = net.stacks[0].udp_bind(None, Port::NONE, BindOptions::default()).unwrap();
    let b = net.stacks[0].udp_bind(Some(ip("127.0.0.1")), Port(2000), BindOptions::default()).unwrap();
    let port = net.stacks[0].udp(a).unwrap().port();
    send(&mut net, 0, a, "127.0.0.1", 2000, &[5; 30_000]).unwrap();
    net.run(1);
    assert_eq!(received(&mut net, 0, b), Some((vec![5; 30_000], "127.0.0.1".into(), port.0)));
}

#[test]
fn nobody_there_is_told() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_connect(a, Some((ip("10.0.0.2"), Port(9))), net.now).unwrap();
    let send = UdpSend {
        to: None,
        from: None,
        payload: net.frame(b"x"),
        segment_size: None,
        overrides: Default::default(),
    };
    net.stacks[0].udp_send(a, send, net.now).unwrap();
    net.run(10);
    assert_eq!(net.stacks[0].poll_event(), Some(Event::Udp { socket: a }));
    let error = net.stacks[0].udp_take_error(a).unwrap();
    assert_eq!(
        (error.error, error.to, error.to_port),
        (Repr::Unreachable(Unreachable::Port), ip("10.0.0.2"), Port(9))
    );
    assert_eq!(net.stacks[0].udp_take_error(a), None);
}

#[test]
fn connected_means_from_one_peer() {
    let mut net = Net::with_hosts(3);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_connect(a, Some((ip("10.0.0.2"), Port(2000))), net.now).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    let c = net.stacks[2].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    send(&mut net, 1, b, "10.0.0.1", 1000, b"b").unwrap();
    send(&mut net, 2, c, "10.0.0.1", 1000, b"c").unwrap();
    net.run(10);
    assert_eq!(received(&mut net, 0, a).unwrap().0, b"b");
    assert!(received(&mut net, 0, a).is_none());
    assert_eq!(
        net.stacks[0].udp_bind(Some(ip("10.9.9.9")), Port(1), BindOptions::default()),
        Err(BindError::NotAvailable)
    );
}

#[test]
fn to_all() {
    let mut net = Net::with_hosts(3);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let sockets: Vec<_> =
        (1..3).map(|host| net.stacks[host].udp_bind(None, Port(2000), SHARED).unwrap()).collect();
    let second = net.stacks[1].udp_bind(None, Port(2000), SHARED).unwrap();
    assert_eq!(send(&mut net, 0, a, "10.0.0.255", 2000, b"x"), Err(SendError::Broadcast));
    net.stacks[0].udp_options(a).unwrap().broadcast = true;
    for to in ["10.0.0.255", "255.255.255.255"] {
        send(&mut net, 0, a, to, 2000, b"all").unwrap();
        net.run(10);
        for host in 1..3 {
            assert_eq!(received(&mut net, host, sockets[host - 1]).unwrap().0, b"all");
        }
        assert_eq!(received(&mut net, 1, second).unwrap().0, b"all", "everybody who shares the port");
    }
}

#[test]
fn a_group_s_interface_is_no_way_to_hosts() {
    let mut net = Net::with_hosts(1);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_options(a).unwrap().multicast_iface = Some(ETH);
    assert_eq!(send(&mut net, 0, a, "192.0.2.1", 9, b"x"), Err(SendError::Dropped(DropReason::NoRoute)));
    assert_eq!(send(&mut net, 0, a, "239.1.1.1", 9, b"x"), Ok(()));
    let out_of_range = Some(IfaceId(77));
    net.stacks[0].udp_options(a).unwrap().multicast_iface = out_of_range;
    assert_eq!(send(&mut net, 0, a, "239.1.1.1", 9, b"x"), Err(SendError::Dropped(DropReason::NoRoute)));
}

#[test]
fn full_queues_and_wrong_checksums_are_counted() {
    let mut net = Net::with_hosts(2);
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    net.stacks[1].udp_options(b).unwrap().receive_buffer = 10_000;
    let mut datagram = udp_octets("10.0.0.1", "10.0.0.2", 1000, 2000, &[1; 1000]);
    let frame = |datagram: &[u8]| {
        ipv4_frame(mac(0, 0), mac(1, 0), &header("10.0.0.1", "10.0.0.2", Protocol::UDP), datagram)
    };
    for _ in 0..100 {
        net.inject(1, ETH, &frame(&datagram));
    }
    let taken = std::iter::from_fn(|| received(&mut net, 1, b)).count() as u64;
    let drops = |net: &Net, reason| net.stacks[1].interface(ETH).unwrap().counters().rx_drops(reason);
    assert!(taken > 0);
    assert_eq!(drops(&net, DropReason::SocketFull), 100 - taken);
    assert_eq!(net.stacks[1].udp(b).unwrap().dropped(), 100 - taken);
    datagram[20] ^= 1;
    net.inject(1, ETH, &frame(&datagram));
    assert_eq!(drops(&net, DropReason::UdpChecksum), 1);
    datagram[6..8].fill(0);
    net.inject(1, ETH, &frame(&datagram));
    assert!(received(&mut net, 1, b).is_some(), "no checksum is allowed");
    datagram[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    net.inject(1, ETH, &frame(&datagram));
    assert_eq!(drops(&net, DropReason::UdpHeader), 1);
}

#[test]
fn errors_about_what_was_not_sent_are_dropped() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[0].udp_options(a).unwrap().receive_errors = true;
    // Quotes: of somebody else's, of a port without a socket, of a fragment.
    for (src, port, offset) in [("10.0.0.9", 1000, 0), ("10.0.0.1", 1001, 0), ("10.0.0.1", 1000, 64)] {
        let quoted = wire::ipv4::Repr { fragment_offset: offset, ..header(src, "10.0.0.2", Protocol::UDP) };
        let quote =
            &ipv4_frame(mac(0, 0), mac(1, 0), &quoted, &udp_octets(src, "10.0.0.2", port, 9, b"x"))[14..];
        let mut message = vec![0; 8 + quote.len()];
        let mut packet = wire::icmpv4::Packet::new_unchecked(&mut message[..]);
        Repr::Unreachable(Unreachable::Port).emit(&mut packet);
        packet.payload_mut().copy_from_slice(quote);
        packet.fill_checksum();
        net.inject(
            0,
            ETH,
            &ipv4_frame(mac(1, 0), mac(0, 0), &header("10.0.0.2", "10.0.0.1", Protocol::ICMP), &message),
        );
    }
    assert_eq!(net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::IcmpQuote), 3);
    assert_eq!(net.stacks[0].udp_take_error(a), None);
}
