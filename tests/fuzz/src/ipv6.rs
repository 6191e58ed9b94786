use wire::ipv6::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let _ = Packet::new_quoted(octets).map(|quoted| quoted.upper().is_ok());
    let Ok(packet) = Packet::new_checked(octets) else { return };
    if let Ok(upper) = packet.upper() {
        assert!(upper.payload.len() <= packet.payload().len());
    }
    if let Ok(repr) = Repr::parse(&packet) {
        let mut back = [0; 40];
        repr.emit(&mut Packet::new_unchecked(&mut back[..]));
        assert_eq!(back, octets[..40]);
    }
}
