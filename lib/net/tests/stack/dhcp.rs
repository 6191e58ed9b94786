//! DHCP against a server whose messages smoltcp writes and reads.

use std::net::Ipv4Addr;

use net::dhcp::Phase;
use net::{DropReason, Event, IfaceId, ProbeTiming};
use smoltcp::wire::{DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};
use wire::Protocol;

use crate::harness::{Net, Wire, header, ip, ipv4_frame, mac, udp_octets};

const ETH: IfaceId = IfaceId(1);
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

/// What a server on host 1 does.
struct Server {
    lease: u32,
    /// It answers by the address it gives, not to all.
    unicast: bool,
    refuses: bool,
    silent: bool,
    /// What it has heard.
    heard: Vec<(DhcpMessageType, Option<Ipv4Addr>, Ipv4Addr)>,
    read: usize,
}

impl Server {
    fn new() -> Self {
        Self { lease: 3600, unicast: false, refuses: false, silent: false, heard: Vec::new(), read: 0 }
    }

    /// Reads what the client on host 0 has sent since, and answers.
    fn serve(&mut self, net: &mut Net) {
        let messages: Vec<Vec<u8>> = net.log[self.read..]
            .iter()
            .filter(|(word, _, from, _)| *word == "dhcp" && *from == 0)
            .map(|(.., octets)| octets.clone())
            .collect();
        self.read = net.log.len();
        for octets in messages {
            let packet = DhcpPacket::new_checked(&octets[42..]).unwrap();
            let request = DhcpRepr::parse(&packet).unwrap();
            assert_eq!(request.client_hardware_address, EthernetAddress(mac(0, 0).0));
            self.heard.push((request.message_type, request.requested_ip, request.client_ip));
            let message_type = match request.message_type {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                DhcpMessageType::Request if self.refuses => DhcpMessageType::Nak,
                DhcpMessageType::Request => DhcpMessageType::Ack,
                _ => continue,
            };
            if !self.silent {
                self.answer(net, message_type, &request);
            }
        }
    }

    fn answer(&self, net: &mut Net, message_type: DhcpMessageType, request: &DhcpRepr<'_>) {
        let reply = DhcpRepr {
            message_type,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: LEASED,
            server_ip: ip("10.0.0.2"),
            router: Some(ip("10.0.0.2")),
            subnet_mask: Some(ip("255.255.255.0")),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(ip("10.0.0.2")),
            parameter_request_list: None,
            max_size: None,
            lease_duration: Some(self.lease),
            renew_duration: None,
            rebind_duration: None,
            // Interface MTU.
            additional_options: &[smoltcp::wire::DhcpOption { kind: 26, data: &[0x05, 0x78] }],
            dns_servers: None,
            secs: 0,
            transaction_id: request.transaction_id,
            client_hardware_address: request.client_hardware_address,
        };
        let mut message = vec![0; reply.buffer_len()];
        reply.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).unwrap();
        let (dst, dst_mac) = match self.unicast || !request.client_ip.is_unspecified() {
            true => (LEASED, mac(0, 0)),
            false => (Ipv4Addr::BROADCAST, wire::MacAddr::BROADCAST),
        };
        let dst = dst.to_string();
        let datagram = udp_octets("10.0.0.2", &dst, DHCP_SERVER_PORT, 68, &message);
        let frame = ipv4_frame(mac(1, 0), dst_mac, &header("10.0.0.2", &dst, Protocol::UDP), &datagram);
        net.inject(0, ETH, &frame);
    }

    fn run(&mut self, net: &mut Net, for_ms: u64) {
        let end = net.now + std::time::Duration::from_millis(for_ms);
        loop {
            net.settle();
            let heard = self.heard.len();
            self.serve(net);
            if self.heard.len() > heard {
                continue;
            }
            if net.now >= end {
                return;
            }
            net.step(net.next().map_or(end, |next| next.min(end)));
        }
    }
}

/// A client on host 0, and host 1 with 10.0.0.2.
fn net(timing: ProbeTiming) -> Net {
    let mut net = Net::new(Wire::default(), 3);
    net.add_host();
    net.attach(0, 0, 1500, "");
    net.add_host();
    net.attach(1, 0, 1500, "10.0.0.2/24");
    net.stacks[0].set_probe_timing(ETH, timing);
    net.stacks[0].start_dhcp(ETH, "client", None, net.now);
    net
}

fn phase(net: &Net) -> Phase {
    net.stacks[0].interface(ETH).unwrap().dhcp().unwrap().phase()
}

fn leases(net: &mut Net) -> usize {
    std::iter::from_fn(|| net.stacks[0].poll_event())
        .filter(|event| *event == Event::Lease { iface: ETH })
        .count()
}

#[test]
fn an_interface_is_configured() {
    for (unicast, timing) in [
        (false, ProbeTiming::NONE),
        (true, ProbeTiming::NONE),
        (true, ProbeTiming::FAST),
        (false, ProbeTiming::STANDARD),
    ] {
        let mut net = net(timing);
        let mut server = Server { unicast, ..Server::new() };
        server.run(&mut net, if timing == ProbeTiming::STANDARD { 8000 } else { 200 });
        assert_eq!(phase(&net), Phase::Bound, "{unicast} {timing:?}");
        assert!(net.stacks[0].is_own(LEASED));
        assert_eq!(leases(&mut net), 1);
        let iface = net.stacks[0].interface(ETH).unwrap();
        assert_eq!(
            (iface.mtu(), iface.dhcp().unwrap().lease().unwrap().address.to_string()),
            (1400, "10.0.0.50/24".into())
        );
        let default = net.stacks[0].routes().iter().find(|route| route.prefix_len == 0).unwrap();
        assert_eq!((default.gateway, default.source), (Some(ip("10.0.0.2")), Some(LEASED)));
        let payload = net.frame(b"x");
        net.stacks[0].send_echo_request(ip("10.0.0.2"), 1, 1, payload, net.now).unwrap();
        net.run(100);
        assert!(net.stacks[0].poll_event().is_some(), "and it works");
        net.check_memory();
    }
}

#[test]
fn the_whole_life_of_a_lease() {
    let mut net = net(ProbeTiming::FAST);
    let mut server = Server::new();
    server.run(&mut net, 1000);
    assert_eq!(server.heard.len(), 2);
    server.run(&mut net, 1_800_000);
    assert_eq!(server.heard[2], (DhcpMessageType::Request, None, LEASED), "renewed at T1");
    assert_eq!(phase(&net), Phase::Bound);
    server.silent = true;
    server.run(&mut net, 3_600_000);
    assert!(!net.stacks[0].is_own(LEASED), "expired");
    assert!(net.stacks[0].routes().is_empty());
    assert_eq!(phase(&net), Phase::Selecting);
    server.silent = false;
    server.run(&mut net, 70_000);
    assert_eq!(phase(&net), Phase::Bound);
    leases(&mut net);
    server.refuses = true;
    server.run(&mut net, 1_800_500);
    assert!(leases(&mut net) >= 1 && !net.stacks[0].is_own(LEASED), "refused");
    server.refuses = false;
    server.run(&mut net, 70_000);
    net.stacks[0].stop_dhcp(ETH, net.now);
    server.run(&mut net, 2000);
    assert_eq!(server.heard.last().unwrap().0, DhcpMessageType::Release);
    assert!(!net.stacks[0].is_own(LEASED));
}

#[test]
fn an_address_in_use_is_declined() {
    let mut net = net(ProbeTiming::FAST);
    net.add_host();
    net.attach(2, 0, 1500, "10.0.0.50/24");
    let mut server = Server::new();
    server.run(&mut net, 1000);
    assert!(server.heard.contains(&(DhcpMessageType::Decline, Some(LEASED), Ipv4Addr::UNSPECIFIED)));
    assert!(!net.stacks[0].is_own(LEASED));
    assert_eq!(phase(&net), Phase::Init);
    assert!(
        std::iter::from_fn(|| net.stacks[0].poll_event())
            .any(|event| matches!(event, Event::AddressConflict { .. }))
    );
}

#[test]
fn an_address_that_is_there_already_is_taken_as_it_is() {
    let mut net = net(ProbeTiming::FAST);
    net.stacks[0].add_address(ETH, "10.0.0.50/24".parse().unwrap(), net.now).unwrap();
    Server::new().run(&mut net, 1000);
    assert_eq!(phase(&net), Phase::Bound);
}

#[test]
fn a_lease_survives_restart_and_update() {
    let mut first = net(ProbeTiming::NONE);
    Server::new().run(&mut first, 100);
    let saved = first.stacks[0].interface(ETH).unwrap().dhcp().unwrap().lease().unwrap().save(first.now);

    let mut second = Net::new(Wire::default(), 4);
    second.add_host();
    second.attach(0, 0, 1500, "");
    second.add_host();
    second.attach(1, 0, 1500, "10.0.0.2/24");
    second.stacks[0].start_dhcp(ETH, "client", Some(&saved), second.now);
    let mut server = Server::new();
    server.run(&mut second, 100);
    assert_eq!(server.heard, [(DhcpMessageType::Request, Some(LEASED), Ipv4Addr::UNSPECIFIED)]);
    assert!(second.stacks[0].is_own(LEASED));

    let mut third = Net::with_hosts(1);
    third.stacks[0].resume_dhcp(ETH, "client", &saved, third.now).unwrap();
    third.run(100);
    assert!(third.stacks[0].is_own(LEASED) && third.sent("dhcp", 0) == 0);
}

#[test]
fn a_link_that_comes_back_is_asked() {
    let mut net = net(ProbeTiming::NONE);
    let mut server = Server::new();
    server.run(&mut net, 100);
    let mut link = net.stacks[0].interface(ETH).unwrap().link();
    for up in [false, true] {
        link.up = up;
        net.stacks[0].set_link(ETH, link, net.now);
    }
    server.run(&mut net, 100);
    assert_eq!(server.heard.last(), Some(&(DhcpMessageType::Request, Some(LEASED), Ipv4Addr::UNSPECIFIED)));
    assert!(net.stacks[0].is_own(LEASED));
}

#[test]
fn messages_for_others_are_dropped() {
    let mut net = net(ProbeTiming::NONE);
    let frame = ipv4_frame(
        mac(1, 0),
        wire::MacAddr::BROADCAST,
        &header("10.0.0.2", "255.255.255.255", Protocol::UDP),
        &udp_octets("10.0.0.2", "255.255.255.255", 67, 68, &[2; 300]),
    );
    net.inject(0, ETH, &frame);
    assert_eq!(net.stacks[0].interface(ETH).unwrap().counters().rx_drops(DropReason::Dhcp), 1);
}
