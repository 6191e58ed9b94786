use wire::tcp::{Packet, Repr};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let Ok(packet) = Packet::new_checked(octets) else { return };
    let _ = packet.payload();
    let Ok(repr) = Repr::parse(&packet, None) else { return };
    assert!(repr.header_len() <= wire::tcp::MAX_HEADER_LEN);
    let mut back = [0; wire::tcp::MAX_HEADER_LEN];
    let back = &mut back[..repr.header_len()];
    repr.emit(&mut Packet::new_unchecked(&mut *back));
    let mut again = Repr::parse(&Packet::new_checked(back).unwrap(), None).unwrap();
    // Beside all other options there may be no room for every block.
    if again.options.sack.len() < repr.options.sack.len() {
        assert_eq!(again.options.sack[..], repr.options.sack[..again.options.sack.len()]);
        again.options.sack = repr.options.sack;
    }
    assert_eq!(again, repr);
}
