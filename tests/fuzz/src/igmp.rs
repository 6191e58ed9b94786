use wire::igmp::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    // A fuzzer does not guess checksums: they are made right.
    let mut octets = octets.to_vec();
    let Ok(mut packet) = Packet::new_checked(&mut octets[..]) else { return };
    packet.set_checksum(0);
    let octets = packet.into_inner();
    let checksum = wire::checksum::checksum(octets);
    let mut packet = Packet::new_unchecked(octets);
    packet.set_checksum(checksum);
    if let Ok(Repr::Query { group, max_response_ms, .. }) = Repr::parse(&packet) {
        assert!(group.is_none_or(|group| group.is_multicast()));
        // RFC 3376 § 4.1.1: 31744 tenths of a second is the most.
        assert!(max_response_ms <= 3_174_400);
    }
}
