//! What others read in the frames that a stack sends.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as smol;

/// Panics if smoltcp or etherparse find anything wrong with a frame, its checksums among it. Returns what it is, in a
/// word. `own`: the sender made it; for what a router sends on, others answer.
pub fn check(octets: &[u8], own: bool) -> &'static str {
    let (ethernet, mut rest) = etherparse::Ethernet2Header::from_slice(octets).unwrap();
    let mut ethertype = ethernet.ether_type.0;
    if ethertype == 0x8100 {
        let (tag, behind) = etherparse::SingleVlanHeader::from_slice(rest).unwrap();
        (ethertype, rest) = (tag.ether_type.0, behind);
    }
    match ethertype {
        0x0806 => {
            smol::ArpRepr::parse(&smol::ArpPacket::new_checked(rest).unwrap()).unwrap();
            "arp"
        }
        0x0800 => check_ipv4(rest, own),
        other => panic!("ethertype {other:#x}"),
    }
}

fn check_ipv4(octets: &[u8], own: bool) -> &'static str {
    let packet = smol::Ipv4Packet::new_checked(octets).unwrap();
    assert!(packet.verify_checksum());
    assert_eq!(usize::from(packet.total_len()), octets.len());
    let (header, _) = etherparse::Ipv4Header::from_slice(octets).unwrap();
    // It forgets the reserved flag, which a router passes on.
    assert!(!own || header.header_checksum == header.calc_header_checksum());
    if packet.more_frags() || packet.frag_offset() > 0 {
        return "fragment";
    }
    let (src, dst) = (packet.src_addr().into(), packet.dst_addr().into());
    if !own {
        return match packet.next_header() {
            smol::IpProtocol::Icmp => "icmp",
            smol::IpProtocol::Udp => "udp",
            _ => "tcp",
        };
    }
    let checksums = ChecksumCapabilities::default();
    match packet.next_header() {
        smol::IpProtocol::Icmp => {
            let message = smol::Icmpv4Packet::new_checked(packet.payload()).unwrap();
            assert!(message.verify_checksum());
            // It wants all of what an error quotes.
            if matches!(message.msg_type(), smol::Icmpv4Message::EchoRequest | smol::Icmpv4Message::EchoReply)
            {
                smol::Icmpv4Repr::parse(&message, &checksums).unwrap();
            }
            "icmp"
        }
        smol::IpProtocol::Igmp => {
            assert_eq!((packet.hop_limit(), packet.header_len()), (1, 24));
            "igmp"
        }
        smol::IpProtocol::Udp => {
            let datagram = smol::UdpPacket::new_checked(packet.payload()).unwrap();
            let repr = smol::UdpRepr::parse(&datagram, &src, &dst, &checksums).unwrap();
            if repr.src_port == 68 {
                let message = smol::DhcpPacket::new_checked(datagram.payload()).unwrap();
                smol::DhcpRepr::parse(&message).unwrap();
                return "dhcp";
            }
            "udp"
        }
        smol::IpProtocol::Tcp => {
            let segment = smol::TcpPacket::new_checked(packet.payload()).unwrap();
            smol::TcpRepr::parse(&segment, &src, &dst, &checksums).unwrap();
            "tcp"
        }
        other => panic!("protocol {other}"),
    }
}
