use wire::icmpv4::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    // A fuzzer does not guess checksums: they are made right.
    let mut octets = octets.to_vec();
    let Ok(mut packet) = Packet::new_checked(&mut octets[..]) else { return };
    packet.fill_checksum();
    let Ok(repr) = Repr::parse(&packet) else { return };
    let _ = wire::ipv4::Packet::new_quoted(packet.payload()).map(|quoted| quoted.payload().len());
    let mut back = packet.into_inner().to_vec();
    let mut back = Packet::new_unchecked(&mut back[..]);
    repr.emit(&mut back);
    back.fill_checksum();
    assert_eq!(Repr::parse(&back), Ok(repr));
}
