//! Wire formats: what the octets of a packet are, and what they mean.
//!
//! Each protocol has a module with two views, as a rule:
//!
//! * `Packet<T>` wraps octets. [`new_checked`](udp::Packet::new_checked) looks at the lengths once; afterwards every
//!   accessor is infallible. Where `T` is mutable there is a setter for each field.
//! * `Repr` holds what the packet says, as far as it is legal and supported. `parse` makes one of a `Packet`, `emit`
//!   writes it into one.
//!
//! No input makes anything here panic, allocate, or work longer than its length. Nothing here keeps state or knows
//! what a reply would be.
//!
//! Not here yet: ICMPv6 and neighbour discovery.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[macro_use]
mod field;
pub mod arp;
pub mod checksum;
pub mod dhcpv4;
pub mod ethernet;
pub mod icmpv4;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
mod list;
mod port;
mod seq;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use ethernet::MacAddr;
pub use list::List;
pub use port::Port;
pub use seq::SeqNumber;

/// Why octets are not the packet they should be. Also the reason under which a drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer octets than the header has, or than a length in the header promises.
    Truncated,
    /// A length field whose value cannot be, such as a header shorter than its fixed part.
    Length(usize),
    /// Not the version this module is for.
    Version(u8),
    /// The checksum does not fit the octets.
    Checksum,
    /// An option of this kind has a length or value it cannot have.
    Option(u8),
    /// A field has a value that is not allowed, or that is not supported. The number is the field's value.
    Field(u32),
    /// More extension headers than anybody needs.
    TooMany,
}

/// The protocol above IP: IPv4's protocol and IPv6's next header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options (RFC 8200 § 4.3).
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: Self = Self(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Self = Self(2);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// IPv6 routing header (RFC 8200 § 4.4).
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header (RFC 8200 § 4.5).
    pub const FRAGMENT: Self = Self(44);
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: Self = Self(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows (RFC 8200 § 4.7).
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options (RFC 8200 § 4.6).
    pub const DESTINATION_OPTIONS: Self = Self(60);
}
