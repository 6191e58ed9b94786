use wire::udp::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(packet) = Packet::new_checked(octets) else { return };
    let Ok(repr) = Repr::parse(&packet, None) else { return };
    assert_eq!(packet.payload().len(), usize::from(repr.payload_len));
    let mut back = [0; 8];
    repr.emit(&mut Packet::new_unchecked(&mut back[..]));
    assert_eq!(back[..6], octets[..6]);
}
