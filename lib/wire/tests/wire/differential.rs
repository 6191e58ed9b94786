//! What we write is what smoltcp and etherparse read, and what they write is what we read.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::rng::{Rng, for_seeds};
use crate::{octets, up_to};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as smol;
use wire::checksum::Sum;
use wire::{
    MacAddr, Port, Protocol, SeqNumber, arp, dhcpv4, ethernet, icmpv4, igmp, ipv4, ipv6, tcp, udp, vlan,
};

const SEEDS: u64 = 5_000;

fn ip(rng: &mut Rng) -> Ipv4Addr {
    // 1.x to 199.x: one host.
    Ipv4Addr::new(1 + rng.below(199) as u8, rng.next() as u8, rng.next() as u8, rng.next() as u8)
}

fn mac(rng: &mut Rng) -> MacAddr {
    let mut address = octets(rng);
    address[0] = address[0] & !1 | 2;
    MacAddr(address)
}

fn port(rng: &mut Rng) -> Port {
    Port(1 + rng.below(65_535) as u16)
}

#[test]
fn ethernet_and_vlan() {
    for_seeds(SEEDS, |rng| {
        let repr = ethernet::Repr { dst: mac(rng), src: mac(rng), ethertype: ethernet::EtherType::VLAN };
        let tag = vlan::Repr {
            vlan: vlan::VlanId::new(rng.below(0xfff) as u16),
            priority: rng.below(8) as u8,
            drop_eligible: rng.one_in(2),
            ethertype: ethernet::EtherType::IPV4,
        };
        let mut octets = [0; 18];
        repr.emit(&mut ethernet::Packet::new_unchecked(&mut octets[..]));
        tag.emit(&mut vlan::Packet::new_unchecked(&mut octets[14..]));

        let (theirs, rest) = etherparse::Ethernet2Header::from_slice(&octets).unwrap();
        assert_eq!((theirs.source, theirs.destination), (repr.src.0, repr.dst.0));
        assert_eq!(theirs.ether_type.0, 0x8100);
        let (theirs, _) = etherparse::SingleVlanHeader::from_slice(rest).unwrap();
        assert_eq!(theirs.vlan_id.value(), tag.vlan.map_or(0, vlan::VlanId::get));
        assert_eq!(theirs.pcp.value(), tag.priority);
        assert_eq!(theirs.drop_eligible_indicator, tag.drop_eligible);
        assert_eq!(theirs.to_bytes(), octets[14..]);

        let packet = ethernet::Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(ethernet::Repr::parse(&packet), Ok(repr));
        assert_eq!(vlan::Repr::parse(&vlan::Packet::new_checked(packet.payload()).unwrap()), Ok(tag));
    });
}

#[test]
fn arp() {
    for_seeds(SEEDS, |rng| {
        let repr = arp::Repr {
            operation: if rng.one_in(2) { arp::Operation::Request } else { arp::Operation::Reply },
            sender_mac: mac(rng),
            sender_ip: ip(rng),
            target_mac: mac(rng),
            target_ip: ip(rng),
        };
        let mut octets = [0; arp::LEN];
        repr.emit(&mut arp::Packet::new_unchecked(&mut octets[..]));
        assert_eq!(arp::Repr::parse(&arp::Packet::new_checked(&octets[..]).unwrap()), Ok(repr));

        let theirs = smol::ArpRepr::parse(&smol::ArpPacket::new_checked(&octets[..]).unwrap()).unwrap();
        let smol::ArpRepr::EthernetIpv4 { source_hardware_addr, target_protocol_addr, .. } = theirs else {
            unreachable!()
        };
        assert_eq!(source_hardware_addr.0, repr.sender_mac.0);
        assert_eq!(target_protocol_addr, repr.target_ip);
        let mut back = [0; arp::LEN];
        theirs.emit(&mut smol::ArpPacket::new_unchecked(&mut back[..]));
        assert_eq!(back, octets);
    });
}

fn ipv4_repr(rng: &mut Rng, protocol: Protocol, payload_len: u16) -> ipv4::Repr {
    ipv4::Repr {
        src: ip(rng),
        dst: ip(rng),
        protocol,
        traffic_class: rng.next() as u8,
        ident: rng.next() as u16,
        dont_fragment: rng.one_in(2),
        more_fragments: payload_len > 0 && payload_len.is_multiple_of(8) && rng.one_in(2),
        fragment_offset: (rng.below(1000) * 8) as u16,
        ttl: rng.next() as u8,
        payload_len,
    }
}

#[test]
fn ipv4() {
    for_seeds(SEEDS, |rng| {
        let payload = up_to(rng, 64);
        let protocol = Protocol(rng.next() as u8);
        let repr = ipv4_repr(rng, protocol, payload.len() as u16);
        let mut octets = vec![0; 20 + payload.len()];
        repr.emit(&mut ipv4::Packet::new_unchecked(&mut octets[..]));
        octets[20..].copy_from_slice(&payload);

        // Padding behind it is not seen.
        octets.extend([0; 4]);
        let packet = ipv4::Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(ipv4::Repr::parse(&packet), Ok(repr));
        assert_eq!(packet.payload(), payload);

        let (theirs, _) = etherparse::Ipv4Header::from_slice(&octets).unwrap();
        assert_eq!((theirs.source, theirs.destination), (repr.src.octets(), repr.dst.octets()));
        assert_eq!(theirs.header_checksum, theirs.calc_header_checksum());
        assert_eq!(theirs.fragment_offset.value() * 8, repr.fragment_offset);
        assert_eq!((theirs.dont_fragment, theirs.more_fragments), (repr.dont_fragment, repr.more_fragments));
        assert_eq!((theirs.time_to_live, theirs.identification), (repr.ttl, repr.ident));
        assert_eq!(theirs.to_bytes()[..], octets[..20]);

        let theirs = smol::Ipv4Packet::new_checked(&octets[..]).unwrap();
        assert!(theirs.verify_checksum());
        assert_eq!(theirs.payload(), payload);
        assert_eq!(theirs.frag_offset(), repr.fragment_offset);
    });
}

#[test]
fn ipv4_options_are_skipped() {
    for_seeds(SEEDS, |rng| {
        let payload = up_to(rng, 32);
        let options = vec![1; rng.below(11) * 4];
        let mut theirs = etherparse::Ipv4Header::new(
            payload.len() as u16,
            rng.next() as u8,
            etherparse::IpNumber::UDP,
            ip(rng).octets(),
            ip(rng).octets(),
        )
        .unwrap();
        theirs.options = etherparse::Ipv4Options::try_from(&options[..]).unwrap();
        theirs.total_len += options.len() as u16;
        theirs.header_checksum = theirs.calc_header_checksum();
        let mut octets = theirs.to_bytes().to_vec();
        octets.extend(&payload);
        let packet = ipv4::Packet::new_checked(&octets[..]).unwrap();
        let repr = ipv4::Repr::parse(&packet).unwrap();
        assert_eq!((packet.options(), packet.payload()), (&options[..], &payload[..]));
        assert_eq!(usize::from(repr.payload_len), payload.len());
    });
}

#[test]
fn icmpv4() {
    for_seeds(SEEDS, |rng| {
        let payload = up_to(rng, 64);
        let (a, b) = (rng.next() as u16, rng.next() as u16);
        let repr = match rng.below(6) {
            0 => icmpv4::Repr::EchoRequest { ident: a, seq: b },
            1 => icmpv4::Repr::EchoReply { ident: a, seq: b },
            2 => icmpv4::Repr::Unreachable(icmpv4::Unreachable::FragmentationNeeded { mtu: a }),
            3 => icmpv4::Repr::Unreachable(icmpv4::Unreachable::Port),
            4 => icmpv4::Repr::TimeExceeded { reassembly: rng.one_in(2) },
            _ => icmpv4::Repr::ParameterProblem { pointer: a as u8 },
        };
        let mut octets = vec![0; 8 + payload.len()];
        octets[8..].copy_from_slice(&payload);
        let mut packet = icmpv4::Packet::new_unchecked(&mut octets[..]);
        repr.emit(&mut packet);
        packet.fill_checksum();
        assert_eq!(icmpv4::Repr::parse(&icmpv4::Packet::new_checked(&octets[..]).unwrap()), Ok(repr));

        let (theirs, rest) = etherparse::Icmpv4Header::from_slice(&octets).unwrap();
        assert_eq!(rest, payload);
        assert_eq!(theirs.to_bytes()[..], octets[..8]);
        assert_eq!(theirs.icmp_type.calc_checksum(&payload), theirs.checksum);
        assert!(smol::Icmpv4Packet::new_checked(&octets[..]).unwrap().verify_checksum());
    });
}

#[test]
fn udp() {
    for_seeds(SEEDS, |rng| {
        let payload = up_to(rng, 64);
        let (src, dst) = (ip(rng), ip(rng));
        let repr = udp::Repr { src_port: port(rng), dst_port: port(rng), payload_len: payload.len() as u16 };
        let len = 8 + payload.len();
        let pseudo = Sum::pseudo_v4(src, dst, Protocol::UDP, len as u16);
        let mut octets = vec![0; len];
        let mut packet = udp::Packet::new_unchecked(&mut octets[..]);
        repr.emit(&mut packet);
        packet.payload_mut().copy_from_slice(&payload);
        packet.fill_checksum(pseudo);
        let packet = udp::Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(udp::Repr::parse(&packet, Some(pseudo)), Ok(repr));

        let theirs = smol::UdpPacket::new_checked(&octets[..]).unwrap();
        assert!(theirs.verify_checksum(&src.into(), &dst.into()));
        let theirs = etherparse::UdpHeader::with_ipv4_checksum(
            repr.src_port.0,
            repr.dst_port.0,
            &ip_header(src, dst),
            &payload,
        )
        .unwrap();
        // etherparse writes all ones for 0, too.
        assert_eq!(theirs.to_bytes()[..], octets[..8]);

        let flipped = rng.below(len * 8);
        octets[flipped / 8] ^= 1 << (flipped % 8);
        let damaged = udp::Packet::new_checked(&octets[..]).and_then(|p| udp::Repr::parse(&p, Some(pseudo)));
        assert!(damaged.is_err() || octets[6..8] == [0, 0], "one flipped bit is always seen");
    });
}

fn ip_header(src: Ipv4Addr, dst: Ipv4Addr) -> etherparse::Ipv4Header {
    etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, src.octets(), dst.octets()).unwrap()
}

fn tcp_repr(rng: &mut Rng) -> tcp::Repr {
    let mut options = tcp::Options::NONE;
    if rng.one_in(2) {
        options.timestamps = Some(tcp::Timestamps { val: rng.next(), ecr: rng.next() });
    }
    if rng.one_in(2) {
        options.mss = Some(rng.next() as u16);
        options.window_scale = rng.one_in(2).then(|| rng.below(15) as u8);
        options.sack_permitted = rng.one_in(2);
    }
    for _ in 0..rng.below(options.sack_room() + 1) {
        let left = SeqNumber(rng.next());
        options.sack.push(tcp::SackBlock { left, right: left + rng.next() % 100_000 });
    }
    let flags = tcp::Flags(rng.next() as u8);
    tcp::Repr {
        src_port: port(rng),
        dst_port: port(rng),
        seq: SeqNumber(rng.next()),
        ack: if flags.has(tcp::Flags::ACK) { SeqNumber(rng.next()) } else { SeqNumber(0) },
        flags,
        window: rng.next() as u16,
        urgent: if flags.has(tcp::Flags::URG) { rng.next() as u16 } else { 0 },
        options,
    }
}

#[test]
fn tcp() {
    for_seeds(SEEDS, |rng| {
        let repr = tcp_repr(rng);
        let payload = up_to(rng, 64);
        let (src, dst) = (ip(rng), ip(rng));
        let len = repr.header_len() + payload.len();
        let pseudo = Sum::pseudo_v4(src, dst, Protocol::TCP, len as u16);
        let mut octets = vec![0xaa; len];
        let mut packet = tcp::Packet::new_unchecked(&mut octets[..]);
        repr.emit(&mut packet);
        packet.payload_mut().copy_from_slice(&payload);
        packet.fill_checksum(pseudo);
        let packet = tcp::Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(tcp::Repr::parse(&packet, Some(pseudo)), Ok(repr));
        assert_eq!(packet.payload(), payload);

        let theirs = smol::TcpPacket::new_checked(&octets[..]).unwrap();
        assert!(theirs.verify_checksum(&src.into(), &dst.into()));
        assert_eq!(theirs.payload(), payload);
        assert_eq!(theirs.seq_number().0 as u32, repr.seq.0);
        assert_eq!(
            (theirs.syn(), theirs.fin()),
            (repr.flags.has(tcp::Flags::SYN), repr.flags.has(tcp::Flags::FIN))
        );
        assert_eq!(theirs.selective_ack_permitted(), Ok(repr.options.sack_permitted));

        let (theirs, rest) = etherparse::TcpHeader::from_slice(&octets).unwrap();
        assert_eq!(rest, payload);
        assert_eq!(theirs.calc_checksum_ipv4_raw(src.octets(), dst.octets(), &payload), Ok(theirs.checksum));
        let mut seen = tcp::Options::NONE;
        for element in theirs.options_iterator() {
            use etherparse::TcpOptionElement as Element;
            match element.unwrap() {
                Element::MaximumSegmentSize(mss) => seen.mss = Some(mss),
                Element::WindowScale(shift) => seen.window_scale = Some(shift),
                Element::SelectiveAcknowledgementPermitted => seen.sack_permitted = true,
                Element::SelectiveAcknowledgement(first, others) => {
                    for (left, right) in [Some(first)].into_iter().chain(others).flatten() {
                        let block = tcp::SackBlock { left: SeqNumber(left), right: SeqNumber(right) };
                        assert!(seen.sack.push(block));
                    }
                }
                Element::Timestamp(val, ecr) => seen.timestamps = Some(tcp::Timestamps { val, ecr }),
                Element::Noop => {}
            }
        }
        assert_eq!(seen, repr.options);
    });
}

#[test]
fn tcp_as_etherparse_writes_it() {
    for_seeds(SEEDS, |rng| {
        use etherparse::TcpOptionElement as Element;
        let (val, ecr) = (rng.next(), rng.next());
        let mut elements = vec![
            Element::Noop,
            Element::MaximumSegmentSize(536),
            Element::WindowScale(9),
            Element::Timestamp(val, ecr),
            Element::SelectiveAcknowledgementPermitted,
        ];
        for i in (1..elements.len()).rev() {
            elements.swap(i, rng.below(i + 1));
        }
        let mut theirs = etherparse::TcpHeader::new(1, 2, rng.next(), rng.next() as u16);
        theirs.set_options(&elements).unwrap();
        let octets = theirs.to_bytes();
        let packet = tcp::Packet::new_checked(&octets[..]).unwrap();
        let repr = tcp::Repr::parse(&packet, None).unwrap();
        assert_eq!(repr.options.timestamps, Some(tcp::Timestamps { val, ecr }));
        assert_eq!((repr.options.mss, repr.options.window_scale), (Some(536), Some(9)));
        assert!(repr.options.sack_permitted);
        assert_eq!((repr.seq.0, repr.window), (theirs.sequence_number, theirs.window_size));
    });
}

#[test]
fn dhcpv4() {
    for_seeds(SEEDS, |rng| {
        let mut repr = dhcpv4::Repr::new(dhcpv4::MessageType::Ack, rng.next(), mac(rng));
        repr.secs = rng.next() as u16;
        repr.broadcast = rng.one_in(2);
        repr.yiaddr = ip(rng);
        repr.server_identifier = Some(ip(rng));
        repr.lease_time = Some(rng.next());
        repr.prefix_len = Some(rng.below(33) as u8);
        repr.routers.push(ip(rng));
        for _ in 0..1 + rng.below(3) {
            repr.name_servers.push(ip(rng));
        }
        let mut octets = [0; 576];
        let len = repr.emit(&mut dhcpv4::Packet::new_unchecked(&mut octets[..])).unwrap();
        assert_eq!(dhcpv4::Repr::parse(&dhcpv4::Packet::new_checked(&octets[..len]).unwrap()), Ok(repr));

        let packet = smol::DhcpPacket::new_checked(&octets[..len]).unwrap();
        let theirs = smol::DhcpRepr::parse(&packet).unwrap();
        assert_eq!(theirs.message_type, smol::DhcpMessageType::Ack);
        assert_eq!((theirs.transaction_id, theirs.your_ip), (repr.xid, repr.yiaddr));
        assert_eq!(
            (theirs.server_identifier, theirs.router),
            (repr.server_identifier, Some(repr.routers[0]))
        );
        assert_eq!((theirs.lease_duration, theirs.secs), (repr.lease_time, repr.secs));
        assert_eq!(theirs.dns_servers.as_ref().unwrap()[..], repr.name_servers[..]);
        let mut back = vec![0; theirs.buffer_len()];
        theirs.emit(&mut smol::DhcpPacket::new_unchecked(&mut back[..])).unwrap();
        assert_eq!(dhcpv4::Repr::parse(&dhcpv4::Packet::new_checked(&back[..]).unwrap()), Ok(repr));
    });
}

#[test]
fn ipv6() {
    for_seeds(SEEDS, |rng| {
        let payload = up_to(rng, 64);
        let mut src = octets::<16>(rng);
        src[0] &= 0x3f;
        let repr = ipv6::Repr {
            src: Ipv6Addr::from(src),
            dst: Ipv6Addr::from(octets(rng)),
            next_header: Protocol::UDP,
            traffic_class: rng.next() as u8,
            flow_label: rng.next() & 0xf_ffff,
            hop_limit: rng.next() as u8,
            payload_len: payload.len() as u16,
        };
        let mut octets = vec![0; 40 + payload.len()];
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut octets[..]));
        octets[40..].copy_from_slice(&payload);
        let packet = ipv6::Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(ipv6::Repr::parse(&packet), Ok(repr));
        assert_eq!(packet.upper().unwrap().payload, payload);

        let (theirs, _) = etherparse::Ipv6Header::from_slice(&octets).unwrap();
        assert_eq!((theirs.traffic_class, theirs.flow_label.value()), (repr.traffic_class, repr.flow_label));
        assert_eq!(theirs.to_bytes()[..], octets[..40]);
        let theirs = smol::Ipv6Repr::parse(&smol::Ipv6Packet::new_checked(&octets[..]).unwrap()).unwrap();
        assert_eq!((theirs.src_addr, theirs.dst_addr), (repr.src, repr.dst));
        assert_eq!(theirs.payload_len, payload.len());

        let pseudo = Sum::pseudo_v6(repr.src, repr.dst, Protocol::UDP, 8 + payload.len() as u32);
        let datagram = smol::UdpRepr { src_port: 7, dst_port: 9 };
        let mut octets = vec![0; 8 + payload.len()];
        datagram.emit(
            &mut smol::UdpPacket::new_unchecked(&mut octets[..]),
            &repr.src.into(),
            &repr.dst.into(),
            payload.len(),
            |buffer| buffer.copy_from_slice(&payload),
            &ChecksumCapabilities::default(),
        );
        let packet = udp::Packet::new_checked(&octets[..]).unwrap();
        assert!(packet.checksum() != 0 && udp::Repr::parse(&packet, Some(pseudo)).is_ok());
    });
}

#[test]
fn igmp_version_2() {
    for_seeds(SEEDS, |rng| {
        let group =
            Ipv4Addr::new(224 + rng.below(16) as u8, rng.next() as u8, rng.next() as u8, rng.next() as u8);
        let leave = rng.one_in(2);
        let mut octets = [0; igmp::HEADER_LEN];
        igmp::emit_v2(&mut igmp::Packet::new_unchecked(&mut octets[..]), group, leave);
        let packet = smol::IgmpPacket::new_checked(&octets[..]).unwrap();
        assert!(packet.verify_checksum());
        let expected = match leave {
            true => smol::IgmpRepr::LeaveGroup { group_addr: group },
            false => {
                smol::IgmpRepr::MembershipReport { group_addr: group, version: smol::IgmpVersion::Version2 }
            }
        };
        assert_eq!(smol::IgmpRepr::parse(&packet), Ok(expected));

        let theirs = smol::IgmpRepr::MembershipQuery {
            max_resp_time: smoltcp::time::Duration::from_millis(100 * (1 + rng.below(100) as u64)),
            group_addr: if rng.one_in(2) { Ipv4Addr::UNSPECIFIED } else { group },
            version: smol::IgmpVersion::Version2,
        };
        let mut octets = vec![0; theirs.buffer_len()];
        theirs.emit(&mut smol::IgmpPacket::new_unchecked(&mut octets[..]));
        let ours = igmp::Repr::parse(&igmp::Packet::new_checked(&octets[..]).unwrap());
        let smol::IgmpRepr::MembershipQuery { max_resp_time, group_addr, .. } = theirs else {
            unreachable!()
        };
        let expected = igmp::Repr::Query {
            version: igmp::Version::V2,
            group: (!group_addr.is_unspecified()).then_some(group_addr),
            max_response_ms: max_resp_time.total_millis() as u32,
        };
        assert_eq!(ours, Ok(expected));
    });
}

/// smoltcp does not know version 3.
#[test]
fn igmp_version_3() {
    use etherparse::{IgmpHeader, IgmpSlice, IgmpType, igmp as theirs};
    for_seeds(SEEDS, |rng| {
        let mut group =
            || Ipv4Addr::new(224 + rng.below(16) as u8, rng.next() as u8, rng.next() as u8, rng.next() as u8);
        let kinds = [igmp::RecordType::IsExclude, igmp::RecordType::ToInclude, igmp::RecordType::ToExclude];
        let records: Vec<_> = kinds.iter().cycle().take(5).map(|kind| (*kind, group())).collect();
        let records = &records[rng.below(5)..];
        let mut octets = vec![0; igmp::report_len(records.len())];
        igmp::emit_report(&mut igmp::Packet::new_unchecked(&mut octets[..]), records);
        let read = IgmpSlice::from_slice(&octets).unwrap();
        assert!(read.is_checksum_valid());
        let num_of_records = records.len() as u16;
        let header = theirs::MembershipReportV3Header { flags: [0; 2], num_of_records };
        assert_eq!(read.igmp_type(), IgmpType::MembershipReportV3(header));
        let (header, mut rest) = IgmpHeader::from_slice(&octets).unwrap();
        assert_eq!(header.checksum, header.calc_checksum(rest));
        for (kind, group) in records {
            let record;
            (record, rest) = theirs::ReportGroupRecordV3Header::from_slice(rest).unwrap();
            let expected = (*kind as u8, 0, 0, group.octets());
            let theirs =
                (record.record_type.0, record.aux_data_len, record.num_of_sources, record.multicast_address);
            assert_eq!(theirs, expected);
        }
        assert!(rest.is_empty());

        let group = Ipv4Addr::new(239, 1, 2, rng.below(256) as u8);
        let code = rng.below(128) as u8;
        let query = theirs::MembershipQueryWithSourcesHeader {
            max_response_code: theirs::MaxResponseCode(code),
            group_address: group.octets().into(),
            raw_byte_8: 0,
            qqic: rng.next() as u8,
            num_of_sources: 0,
        };
        let octets = IgmpHeader::with_checksum(IgmpType::MembershipQueryWithSources(query), &[]).to_bytes();
        let ours = igmp::Repr::parse(&igmp::Packet::new_checked(&octets[..]).unwrap());
        let max_response_ms = u32::from(code) * 100;
        assert_eq!(
            ours,
            Ok(igmp::Repr::Query { version: igmp::Version::V3, group: Some(group), max_response_ms })
        );
    });
}
