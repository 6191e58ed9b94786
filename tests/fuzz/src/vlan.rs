use wire::vlan::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(packet) = Packet::new_checked(octets) else { return };
    let _ = packet.payload();
    if let Ok(repr) = Repr::parse(&packet) {
        let mut back = [0; 4];
        repr.emit(&mut Packet::new_unchecked(&mut back[..]));
        assert_eq!(back, octets[..4]);
    }
}
