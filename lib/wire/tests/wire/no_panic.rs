//! No octets make a parser panic: random ones, and valid packets with a few octets changed or cut.

use std::net::Ipv4Addr;

use crate::rng::{Rng, for_seeds};
use wire::{
    MacAddr, Port, Protocol, SeqNumber, arp, dhcpv4, ethernet, icmpv4, igmp, ipv4, ipv6, tcp, udp, vlan,
};

/// Reads octets as every packet there is, and touches what the views promise.
fn read_as_all(octets: &[u8]) {
    if let Ok(packet) = ethernet::Packet::new_checked(octets) {
        let _ = (ethernet::Repr::parse(&packet), packet.payload());
    }
    if let Ok(packet) = vlan::Packet::new_checked(octets) {
        let _ = (vlan::Repr::parse(&packet), packet.payload());
    }
    if let Ok(packet) = arp::Packet::new_checked(octets) {
        let _ = arp::Repr::parse(&packet);
    }
    if let Ok(packet) = ipv4::Packet::new_checked(octets) {
        let _ = (ipv4::Repr::parse(&packet), packet.payload(), packet.options());
    }
    if let Ok(packet) = ipv4::Packet::new_quoted(octets) {
        let _ = (ipv4::Repr::parse(&packet), packet.payload(), packet.options());
    }
    if let Ok(packet) = ipv6::Packet::new_checked(octets) {
        let _ = (ipv6::Repr::parse(&packet), packet.upper());
    }
    if let Ok(packet) = icmpv4::Packet::new_checked(octets) {
        let _ = (icmpv4::Repr::parse(&packet), packet.payload());
    }
    if let Ok(packet) = igmp::Packet::new_checked(octets) {
        let _ = (igmp::Repr::parse(&packet), packet.record_count());
    }
    if let Ok(packet) = udp::Packet::new_checked(octets) {
        let _ = (udp::Repr::parse(&packet, None), packet.payload());
    }
    if let Ok(packet) = tcp::Packet::new_checked(octets) {
        let _ = (tcp::Repr::parse(&packet, None), packet.payload());
    }
    if let Ok(packet) = dhcpv4::Packet::new_checked(octets) {
        let _ = (dhcpv4::Repr::parse(&packet), packet.options().count());
    }
}

#[test]
fn random_octets() {
    for_seeds(50_000, |rng| read_as_all(&crate::up_to(rng, 80)));
}

#[test]
fn damaged_packets() {
    for_seeds(50_000, |rng| {
        let mut octets = vec![0; 400];
        let len = emit_one(rng, &mut octets);
        octets.truncate(len);
        read_as_all(&octets);
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(octets.len());
            octets[at] = rng.next() as u8;
        }
        read_as_all(&octets);
        octets.truncate(rng.below(octets.len() + 1));
        read_as_all(&octets);
    });
}

/// Writes a packet of some protocol and returns its length.
fn emit_one(rng: &mut Rng, octets: &mut [u8]) -> usize {
    match rng.below(4) {
        0 => {
            let mut repr = dhcpv4::Repr::new(dhcpv4::MessageType::Offer, 1, MacAddr([2; 6]));
            repr.lease_time = Some(1);
            repr.routers.push(Ipv4Addr::new(10, 0, 0, 1));
            let router = Ipv4Addr::new(10, 0, 0, 1);
            repr.routes.push(dhcpv4::Route { network: Ipv4Addr::UNSPECIFIED, prefix_len: 0, router });
            repr.host_name = Some(b"name");
            repr.emit(&mut dhcpv4::Packet::new_unchecked(octets)).unwrap()
        }
        1 => {
            let mut options = tcp::Options { mss: Some(1460), window_scale: Some(3), ..tcp::Options::NONE };
            options.timestamps = Some(tcp::Timestamps { val: 1, ecr: 2 });
            options.sack.push(tcp::SackBlock { left: SeqNumber(1), right: SeqNumber(2) });
            let repr = tcp::Repr {
                src_port: Port(1),
                dst_port: Port(2),
                seq: SeqNumber(3),
                ack: SeqNumber(4),
                flags: tcp::Flags::ACK,
                window: 5,
                urgent: 0,
                options,
            };
            repr.emit(&mut tcp::Packet::new_unchecked(octets));
            repr.header_len() + 8
        }
        2 => {
            let repr = ipv4::Repr {
                src: Ipv4Addr::new(10, 0, 0, 1),
                dst: Ipv4Addr::new(10, 0, 0, 2),
                protocol: Protocol::UDP,
                traffic_class: 0,
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 64,
                payload_len: 8,
            };
            repr.emit(&mut ipv4::Packet::new_unchecked(octets));
            28
        }
        _ => {
            let repr = ipv6::Repr {
                src: [0x20; 16].into(),
                dst: [0x20; 16].into(),
                next_header: [Protocol::HOP_BY_HOP, Protocol::FRAGMENT, Protocol::ROUTING][rng.below(3)],
                traffic_class: 0,
                flow_label: 0,
                hop_limit: 64,
                payload_len: 40,
            };
            repr.emit(&mut ipv6::Packet::new_unchecked(&mut *octets));
            for header in octets[40..72].chunks_mut(8) {
                header.fill(0);
                header[0] = [43, 44, 51, 60, 17][rng.below(5)];
            }
            80
        }
    }
}
