use wire::ipv4::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    if let Ok(quoted) = Packet::new_quoted(octets) {
        let _ = (quoted.options(), quoted.payload());
    }
    // A fuzzer does not guess checksums: they are made right.
    let mut octets = octets.to_vec();
    let Ok(mut packet) = Packet::new_checked(&mut octets[..]) else { return };
    packet.fill_checksum();
    let Ok(repr) = Repr::parse(&packet) else { return };
    assert_eq!(packet.payload().len(), usize::from(repr.payload_len));
    if packet.decrement_ttl() {
        assert!(packet.is_checksum_valid());
    }
    let mut back = [0; 20];
    repr.emit(&mut Packet::new_unchecked(&mut back[..]));
    assert!(Packet::new_unchecked(&back[..]).is_checksum_valid());
}
