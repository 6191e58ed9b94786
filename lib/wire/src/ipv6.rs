//! IPv6 (RFC 8200): the fixed header and the walk over extension headers.

use core::net::Ipv6Addr;

use crate::{Malformed, Protocol};

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Most extension headers that are walked. RFC 8200 § 4.1 knows no more than seven in a packet; each may stand once,
/// destination options twice.
pub const MAX_EXTENSION_HEADERS: usize = 8;

view! {
    /// An IPv6 packet.
    Packet {
        /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
        version_class_label, set_version_class_label: u32 = 0;
        /// Octets behind the fixed header.
        payload_len, set_payload_len: u16 = 4;
        /// What follows the fixed header.
        next_header, set_next_header: Protocol = 6;
        /// Hop limit.
        hop_limit, set_hop_limit: u8 = 7;
        /// Source.
        src, set_src: Ipv6Addr = 8;
        /// Destination.
        dst, set_dst: Ipv6Addr = 24;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps a received packet; padding may follow. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_quoted(buffer)?;
        if packet.buffer.as_ref().len() < HEADER_LEN + usize::from(packet.payload_len()) {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Wraps the start of a packet that an ICMPv6 error quotes: the fixed header is whole, the rest may be cut.
    /// `Ok`: no accessor panics.
    pub fn new_quoted(buffer: T) -> Result<Self, Malformed> {
        let packet = Self { buffer };
        if packet.buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let version = (packet.version_class_label() >> 28) as u8;
        if version != 6 {
            return Err(Malformed::Version(version));
        }
        Ok(packet)
    }

    /// Differentiated services code point and ECN.
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_label() >> 20) as u8
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        self.version_class_label() & 0xf_ffff
    }

    /// Extension headers and what the packet carries, without padding behind it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let buffer = self.buffer.as_ref();
        &buffer[HEADER_LEN..buffer.len().min(HEADER_LEN + usize::from(self.payload_len()))]
    }

    /// Walks the extension headers to what the packet carries.
    pub fn upper(&self) -> Result<Upper<'_>, Malformed> {
        walk(self.next_header(), self.payload())
    }
}

/// The fixed header's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// What follows the fixed header.
    pub next_header: Protocol,
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Octets behind the fixed header.
    pub payload_len: u16,
}

impl Repr {
    /// Reads the fixed header. `Field`: a group as source (RFC 4291 § 2.7).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        if packet.src().is_multicast() {
            return Err(Malformed::Field(packet.src().segments()[0].into()));
        }
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            hop_limit: packet.hop_limit(),
            payload_len: packet.payload_len(),
        })
    }

    /// Writes the fixed header; the buffer has at least [`HEADER_LEN`] octets.
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let class = u32::from(self.traffic_class) << 20;
        packet.set_version_class_label(6 << 28 | class | self.flow_label & 0xf_ffff);
        packet.set_payload_len(self.payload_len);
        packet.set_next_header(self.next_header);
        packet.set_hop_limit(self.hop_limit);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
    }
}

/// What stands behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// What the packet carries. [`Protocol::NO_NEXT_HEADER`]: nothing. Encrypted payload (50) and unknown numbers end
    /// the walk and stand here.
    pub protocol: Protocol,
    /// The payload; of a fragment, its part.
    pub payload: &'a [u8],
    /// The fragment header, if there was one. Of a fragment that is not the first, the walk ends behind it.
    pub fragment: Option<Fragment>,
}

/// A fragment header (RFC 8200 § 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification: the fragments of a packet have one value.
    pub ident: u32,
    /// Where the part lies: octets, a multiple of 8.
    pub offset: u16,
    /// Not the last fragment.
    pub more: bool,
}

/// Walks the extension headers from `next` on.
///
/// `TooMany`: more than [`MAX_EXTENSION_HEADERS`]. `Field`: hop-by-hop options elsewhere than first (RFC 8200 § 4.1),
/// a routing header of type 0 with segments left (RFC 5095), or a second fragment header.
pub fn walk(mut next: Protocol, mut octets: &[u8]) -> Result<Upper<'_>, Malformed> {
    let mut fragment = None;
    for index in 0..=MAX_EXTENSION_HEADERS {
        let unit = match next {
            Protocol::HOP_BY_HOP if index != 0 => return Err(Malformed::Field(0)),
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS | Protocol::ROUTING => 8,
            Protocol::AUTHENTICATION => 4,
            Protocol::FRAGMENT if fragment.is_some() => return Err(Malformed::Field(44)),
            Protocol::FRAGMENT => 0,
            protocol => return Ok(Upper { protocol, payload: octets, fragment }),
        };
        let [following, len, third, fourth, ..] = *octets else { return Err(Malformed::Truncated) };
        // RFC 8200 § 4.2: units of 8 octets without the first. RFC 4302 § 2.2: units of 4 octets without two.
        // A fragment header's length octet is reserved: it always has 8 octets.
        let header_len = 8 + usize::from(len) * unit;
        let Some(rest) = octets.get(header_len..) else { return Err(Malformed::Truncated) };
        if next == Protocol::ROUTING && third == 0 && fourth != 0 {
            return Err(Malformed::Field(fourth.into()));
        }
        if next == Protocol::FRAGMENT {
            let offset = u16::from_be_bytes([third, fourth]);
            let ident = u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]]);
            let part = Fragment { ident, offset: offset & !7, more: offset & 1 != 0 };
            let end = usize::from(part.offset) + rest.len();
            if end > usize::from(u16::MAX) || part.more && !rest.len().is_multiple_of(8) {
                return Err(Malformed::Length(end));
            }
            fragment = Some(part);
            if part.offset != 0 {
                return Ok(Upper { protocol: Protocol(following), payload: rest, fragment });
            }
        }
        next = Protocol(following);
        octets = rest;
    }
    Err(Malformed::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_to_the_payload() {
        // Hop-by-hop (16 octets), routing of type 2, fragment (first), authentication (12 octets), destination options.
        let mut octets = [0; 16 + 8 + 8 + 12 + 8 + 3];
        octets[..2].copy_from_slice(&[43, 1]);
        octets[16..20].copy_from_slice(&[44, 0, 2, 1]);
        octets[24..32].copy_from_slice(&[51, 0, 0, 0, 0, 0, 0, 9]);
        octets[32..34].copy_from_slice(&[60, 1]);
        octets[44..46].copy_from_slice(&[17, 0]);
        let fragment = Some(Fragment { ident: 9, offset: 0, more: false });
        let upper = walk(Protocol::HOP_BY_HOP, &octets).unwrap();
        assert_eq!(upper, Upper { protocol: Protocol::UDP, payload: &[0; 3], fragment });
        for len in 0..52 {
            assert_eq!(walk(Protocol::HOP_BY_HOP, &octets[..len]), Err(Malformed::Truncated), "{len}");
        }
    }

    #[test]
    fn a_later_fragment_ends_the_walk() {
        let octets = [60, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff];
        let upper = walk(Protocol::FRAGMENT, &octets).unwrap();
        assert_eq!((upper.protocol, upper.payload), (Protocol::DESTINATION_OPTIONS, &[0xff, 0xff][..]));
    }

    #[test]
    fn the_walk_is_bounded() {
        let octets = [60, 0, 0, 0, 0, 0, 0, 0].repeat(100);
        assert_eq!(walk(Protocol::DESTINATION_OPTIONS, &octets), Err(Malformed::TooMany));
    }

    #[test]
    fn source_routes_and_late_hop_by_hop_options_are_refused() {
        assert_eq!(walk(Protocol::ROUTING, &[17, 0, 0, 1, 0, 0, 0, 0]), Err(Malformed::Field(1)));
        let octets = [0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(walk(Protocol::DESTINATION_OPTIONS, &octets), Err(Malformed::Field(0)));
    }
}
