//! IPv4 (RFC 791). Options are skipped, never interpreted (RFC 7126 has the reasons).

use core::net::Ipv4Addr;

use crate::checksum::{self, Sum};
use crate::{Malformed, Protocol};

/// Octets of a header without options: what is sent.
pub const HEADER_LEN: usize = 20;
/// Octets of the longest header.
pub const MAX_HEADER_LEN: usize = 60;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

view! {
    /// An IPv4 datagram or fragment.
    Packet {
        /// Version (4 bits) and header length in 32-bit words (4 bits).
        version_ihl, set_version_ihl: u8 = 0;
        /// Differentiated services code point (6 bits, RFC 2474) and ECN (2 bits, RFC 3168).
        traffic_class, set_traffic_class: u8 = 1;
        /// Octets of header and payload.
        total_len, set_total_len: u16 = 2;
        /// Identification: the fragments of a datagram have one value.
        ident, set_ident: u16 = 4;
        /// Flags (3 bits) and fragment offset in units of 8 octets (13 bits).
        flags_offset, set_flags_offset: u16 = 6;
        /// Time to live.
        ttl, set_ttl: u8 = 8;
        /// What the payload is.
        protocol, set_protocol: Protocol = 9;
        /// Checksum of the header.
        checksum, set_checksum: u16 = 10;
        /// Source.
        src, set_src: Ipv4Addr = 12;
        /// Destination.
        dst, set_dst: Ipv4Addr = 16;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps a received datagram; padding may follow. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_quoted(buffer)?;
        if packet.buffer.as_ref().len() < usize::from(packet.total_len()) {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Wraps the start of a datagram that an ICMP error quotes: the header is whole, the payload may be cut.
    /// `Ok`: no accessor panics.
    pub fn new_quoted(buffer: T) -> Result<Self, Malformed> {
        let packet = Self { buffer };
        let len = packet.buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        if packet.version_ihl() >> 4 != 4 {
            return Err(Malformed::Version(packet.version_ihl() >> 4));
        }
        let header_len = packet.header_len();
        if header_len < HEADER_LEN || header_len > usize::from(packet.total_len()) {
            return Err(Malformed::Length(header_len));
        }
        if header_len > len {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Octets of the header, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl() & 0xf) * 4
    }

    /// The options, at most 40 octets.
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What the datagram carries, without padding behind it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let buffer = self.buffer.as_ref();
        &buffer[self.header_len()..buffer.len().min(usize::from(self.total_len()))]
    }

    /// Sender asks that the datagram be dropped rather than cut.
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// Not the last fragment.
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// Where the payload lies in the datagram, in octets.
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset() & OFFSET_MASK) << 3
    }

    /// Whether the header's checksum fits.
    #[inline]
    pub fn is_checksum_valid(&self) -> bool {
        Sum::new().with(&self.buffer.as_ref()[..self.header_len()]).is_valid()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Computes and writes the header's checksum.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let header_len = self.header_len();
        self.set_checksum(checksum::checksum(&self.buffer.as_ref()[..header_len]));
    }

    /// Takes one from the time to live and mends the checksum (RFC 1812 § 5.3.1). `false`: it is used up and
    /// unchanged, and the datagram must not be forwarded.
    pub fn decrement_ttl(&mut self) -> bool {
        let (ttl, protocol) = (self.ttl(), self.protocol().0);
        if ttl <= 1 {
            return false;
        }
        let word = |ttl| u16::from_be_bytes([ttl, protocol]);
        self.set_checksum(checksum::update(self.checksum(), word(ttl), word(ttl - 1)));
        self.set_ttl(ttl - 1);
        true
    }

    /// What the datagram carries, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let header_len = self.header_len();
        &mut self.buffer.as_mut()[header_len..]
    }
}

/// The header's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
    /// Identification: the fragments of a datagram have one value.
    pub ident: u16,
    /// Sender asks that the datagram be dropped rather than cut.
    pub dont_fragment: bool,
    /// Not the last fragment.
    pub more_fragments: bool,
    /// Where the payload lies in the datagram: octets, a multiple of 8.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Octets of the payload.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header. `Checksum`: it is damaged. `Length`: a fragment that is no multiple of 8 octets though more
    /// follow, or that ends behind the longest datagram.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        if !packet.is_checksum_valid() {
            return Err(Malformed::Checksum);
        }
        let payload_len = packet.total_len() - packet.header_len() as u16;
        let repr = Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            traffic_class: packet.traffic_class(),
            ident: packet.ident(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset: packet.fragment_offset(),
            ttl: packet.ttl(),
            payload_len,
        };
        if repr.more_fragments && (payload_len == 0 || !payload_len.is_multiple_of(8)) {
            return Err(Malformed::Length(payload_len.into()));
        }
        let end = packet.header_len() + usize::from(repr.fragment_offset) + usize::from(payload_len);
        if end > usize::from(u16::MAX) {
            return Err(Malformed::Length(end));
        }
        Ok(repr)
    }

    /// Whether the payload is a part of a datagram only.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes the header, checksum included. The buffer has at least [`HEADER_LEN`] octets; `payload_len` is at most
    /// 65535 - [`HEADER_LEN`], a longer one is cut to that.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_version_ihl(0x45);
        packet.set_traffic_class(self.traffic_class);
        packet.set_total_len(self.payload_len.saturating_add(HEADER_LEN as u16));
        packet.set_ident(self.ident);
        let df = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let mf = if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        packet.set_flags_offset(df | mf | self.fragment_offset >> 3);
        packet.set_ttl(self.ttl);
        packet.set_protocol(self.protocol);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
        packet.fill_checksum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram to 192.0.2.2 with 8 octets, as the RFC draws it.
    const DATAGRAM: [u8; 28] = [
        0x45, 0x00, 0x00, 0x1c, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa4, 0x99, 192, 0, 2, 1, 192, 0, 2, 2,
        1, 2, 3, 4, 5, 6, 7, 8,
    ];

    fn refused(change: impl Fn(&mut [u8; 28])) -> Malformed {
        let mut octets = DATAGRAM;
        change(&mut octets);
        Packet::new_checked(&octets[..]).and_then(|packet| Repr::parse(&packet)).unwrap_err()
    }

    #[test]
    fn reads_what_is_there() {
        let packet = Packet::new_checked(&DATAGRAM[..]).unwrap();
        let repr = Repr::parse(&packet).unwrap();
        assert_eq!((repr.src, repr.dst), (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!((repr.protocol, repr.ttl, repr.ident), (Protocol::UDP, 64, 0x1234));
        assert!(repr.dont_fragment && !repr.is_fragment());
        assert_eq!(packet.payload(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert_eq!(refused(|o| o[0] = 0x65), Malformed::Version(6));
        assert_eq!(refused(|o| o[0] = 0x44), Malformed::Length(16));
        assert_eq!(refused(|o| o[0] = 0x48), Malformed::Length(32));
        assert_eq!(refused(|o| o[3] = 29), Malformed::Truncated);
        assert_eq!(refused(|o| o[8] = 63), Malformed::Checksum);
        assert_eq!(Packet::new_checked(&DATAGRAM[..19]).unwrap_err(), Malformed::Truncated);
    }

    #[test]
    fn refuses_fragments_that_end_behind_the_longest_datagram() {
        let mut octets = DATAGRAM;
        let mut packet = Packet::new_unchecked(&mut octets[..]);
        packet.set_flags_offset(0x1fff);
        packet.fill_checksum();
        assert_eq!(Repr::parse(&packet), Err(Malformed::Length(20 + 65_528 + 8)));
    }

    #[test]
    fn ttl_goes_down_with_the_checksum_right() {
        let mut octets = DATAGRAM;
        let mut packet = Packet::new_unchecked(&mut octets[..]);
        for left in (1..64).rev() {
            assert!(packet.decrement_ttl());
            assert_eq!(packet.ttl(), left);
            assert!(packet.is_checksum_valid());
        }
        assert!(!packet.decrement_ttl());
    }
}
