use wire::arp::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(packet) = Packet::new_checked(octets) else { return };
    if let Ok(repr) = Repr::parse(&packet) {
        let mut back = [0; wire::arp::LEN];
        repr.emit(&mut Packet::new_unchecked(&mut back[..]));
        assert_eq!(back, octets[..wire::arp::LEN]);
    }
}
