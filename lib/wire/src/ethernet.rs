//! Ethernet II frames (IEEE 802.3 § 3.1.1, without preamble and check sequence).

use core::fmt;

use crate::Malformed;

/// Octets of the header.
pub const HEADER_LEN: usize = 14;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// "Not known" in ARP.
    pub const UNSPECIFIED: Self = Self([0; 6]);

    /// Whether it is [`Self::BROADCAST`].
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether it names a group of stations, broadcast included.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it can be the address of one station, and so a source.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame carries. Values below 0x0600 are lengths (IEEE 802.3 § 3.2.6); such frames are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag follows (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
}

view! {
    /// An Ethernet II frame.
    Packet {
        /// Destination.
        dst, set_dst: MacAddr = 0;
        /// Source.
        src, set_src: MacAddr = 6;
        /// What the payload is.
        ethertype, set_ethertype: EtherType = 12;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps a received frame. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }

    /// What the frame carries; padding to the least frame length is part of it.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsMut<[u8]>> Packet<T> {
    /// What the frame carries, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// The header's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Destination.
    pub dst: MacAddr,
    /// Source: one station.
    pub src: MacAddr,
    /// What the payload is, at least 0x0600.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads a header. `Field`: an IEEE 802.3 length in place of the type, or a group as source.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        let repr = Self { dst: packet.dst(), src: packet.src(), ethertype: packet.ethertype() };
        if repr.ethertype.0 < 0x0600 {
            return Err(Malformed::Field(repr.ethertype.0.into()));
        }
        if !repr.src.is_unicast() {
            return Err(Malformed::Field(repr.src.0[0].into()));
        }
        Ok(repr)
    }

    /// Writes the header; the buffer has at least [`HEADER_LEN`] octets.
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_dst(self.dst);
        packet.set_src(self.src);
        packet.set_ethertype(self.ethertype);
    }
}
