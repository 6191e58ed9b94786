use wire::dhcpv4::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(packet) = Packet::new_checked(octets) else { return };
    assert!(packet.options().count() <= octets.len());
    let Ok(repr) = Repr::parse(&packet) else { return };
    let mut back = [0; 4096];
    let len = repr.emit(&mut Packet::new_unchecked(&mut back[..])).unwrap();
    assert_eq!(Repr::parse(&Packet::new_checked(&back[..len]).unwrap()), Ok(repr));
}
