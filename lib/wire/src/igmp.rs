//! IGMP: versions 3 (RFC 3376) and 2 (RFC 2236), as hosts speak it.

use core::net::Ipv4Addr;

use crate::Malformed;
use crate::checksum::{self, Sum};

/// Octets of the header that all messages have, and of all of a version 2 message.
pub const HEADER_LEN: usize = 8;
/// Octets of a version 3 group record without sources.
pub const RECORD_LEN: usize = 8;
/// Octets of the shortest version 3 query.
const QUERY_V3_LEN: usize = 12;
/// The IPv4 router alert option (RFC 2113), which every message carries.
pub const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];
/// Where version 3 reports go (RFC 3376 § 4.2.14).
pub const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Where version 2 leave messages go (RFC 2236 § 9).
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// Where general queries go.
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

view! {
    /// An IGMP message.
    Packet {
        /// Kind of message.
        message_type, set_message_type: u8 = 0;
        /// Query: how long the answer may take, in tenths of a second (coded, from 128 on, in version 3).
        max_response, set_max_response: u8 = 1;
        /// Checksum of the message.
        checksum, set_checksum: u16 = 2;
        /// The group; in a general query 0.0.0.0. In a version 3 report two reserved octets and the count of records.
        group, set_group: Ipv4Addr = 4;
        /// Version 3 report: how many records follow.
        record_count, set_record_count: u16 = 6;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps an IP payload. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }
}

/// Which version a querier speaks (RFC 3376 § 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 1112.
    V1,
    /// RFC 2236.
    V2,
    /// RFC 3376.
    V3,
}

/// A message that a host reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// A router asks who listens.
    Query {
        /// The querier's version.
        version: Version,
        /// To which group; `None`: to any.
        group: Option<Ipv4Addr>,
        /// How long the answer may take, in milliseconds.
        max_response_ms: u32,
    },
    /// Another host listens to a group (versions 1 and 2).
    Report {
        /// The group.
        group: Ipv4Addr,
    },
    /// Anything else of no concern to hosts: a leave message, a version 3 report, or what later versions bring.
    Other,
}

impl Repr {
    /// Reads a message. `Checksum`: it is damaged. `Field`: a query for what is no group. `Truncated`: a query of an
    /// impossible length.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        let octets = packet.buffer.as_ref();
        if !Sum::new().with(octets).is_valid() {
            return Err(Malformed::Checksum);
        }
        let group = packet.group();
        match packet.message_type() {
            0x11 => {}
            0x12 | 0x16 if group.is_multicast() => return Ok(Self::Report { group }),
            0x12 | 0x16 => return Err(Malformed::Field(group.to_bits())),
            _ => return Ok(Self::Other),
        }
        if !group.is_unspecified() && !group.is_multicast() {
            return Err(Malformed::Field(group.to_bits()));
        }
        let code = u32::from(packet.max_response());
        // § 4.1.1: from 128 on a mantissa of 4 bits and an exponent of 3.
        let tenths = if code < 128 { code } else { (code & 0xf | 0x10) << ((code >> 4 & 7) + 3) };
        let (version, tenths) = match octets.len() {
            HEADER_LEN if code == 0 => (Version::V1, 100),
            HEADER_LEN => (Version::V2, code),
            len if len >= QUERY_V3_LEN => (Version::V3, tenths),
            _ => return Err(Malformed::Truncated),
        };
        Ok(Self::Query {
            version,
            group: (!group.is_unspecified()).then_some(group),
            max_response_ms: tenths * 100,
        })
    }
}

/// What a version 3 group record says (RFC 3376 § 4.2.12), of a host that listens to a group from any source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// MODE_IS_EXCLUDE, no source excluded: the host listens.
    IsExclude = 2,
    /// CHANGE_TO_INCLUDE_MODE, no source: the host stopped listening.
    ToInclude = 3,
    /// CHANGE_TO_EXCLUDE_MODE, no source excluded: the host began to listen.
    ToExclude = 4,
}

/// Octets of a version 3 report with so many records.
pub const fn report_len(records: usize) -> usize {
    HEADER_LEN + RECORD_LEN * records
}

/// Writes a version 3 report with its checksum. The buffer has [`report_len`] octets.
pub fn emit_report<T: AsRef<[u8]> + AsMut<[u8]>>(packet: &mut Packet<T>, records: &[(RecordType, Ipv4Addr)]) {
    packet.buffer.as_mut().fill(0);
    packet.set_message_type(0x22);
    packet.set_record_count(records.len() as u16);
    let octets = &mut packet.buffer.as_mut()[HEADER_LEN..];
    for (octets, (kind, group)) in octets.chunks_exact_mut(RECORD_LEN).zip(records) {
        octets[0] = *kind as u8;
        octets[4..].copy_from_slice(&group.octets());
    }
    fill_checksum(packet);
}

/// Writes a version 2 membership report, or a leave message. The buffer has [`HEADER_LEN`] octets.
pub fn emit_v2<T: AsRef<[u8]> + AsMut<[u8]>>(packet: &mut Packet<T>, group: Ipv4Addr, leave: bool) {
    packet.set_message_type(if leave { 0x17 } else { 0x16 });
    packet.set_max_response(0);
    packet.set_group(group);
    fill_checksum(packet);
}

fn fill_checksum<T: AsRef<[u8]> + AsMut<[u8]>>(packet: &mut Packet<T>) {
    packet.set_checksum(0);
    let checksum = checksum::checksum(packet.buffer.as_ref());
    packet.set_checksum(checksum);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn query<const N: usize>(max_response: u8, group: Ipv4Addr) -> Result<Repr, Malformed> {
        let mut octets = [0; N];
        let mut packet = Packet::new_unchecked(&mut octets[..]);
        packet.set_message_type(0x11);
        packet.set_max_response(max_response);
        packet.set_group(group);
        fill_checksum(&mut packet);
        Repr::parse(&Packet::new_checked(&octets[..])?)
    }

    #[test]
    fn queries_of_all_versions() {
        let expect = |version, group, max_response_ms| Ok(Repr::Query { version, group, max_response_ms });
        let any = Ipv4Addr::UNSPECIFIED;
        assert_eq!(query::<8>(0, any), expect(Version::V1, None, 10_000));
        assert_eq!(query::<8>(100, GROUP), expect(Version::V2, Some(GROUP), 10_000));
        assert_eq!(query::<12>(127, any), expect(Version::V3, None, 12_700));
        // Mantissa 0, exponent 1: 16 << 4.
        assert_eq!(query::<12>(0x90, GROUP), expect(Version::V3, Some(GROUP), 25_600));
        assert_eq!(query::<10>(1, any), Err(Malformed::Truncated));
        assert_eq!(query::<8>(1, Ipv4Addr::new(10, 0, 0, 1)), Err(Malformed::Field(0x0a00_0001)));
    }

    #[test]
    fn messages_as_drawn() {
        let mut octets = [0xaa; report_len(1)];
        emit_report(&mut Packet::new_unchecked(&mut octets[..]), &[(RecordType::ToExclude, GROUP)]);
        // RFC 3376 § 4.2: type, reserved, checksum, reserved, count; record type, aux data, sources, group.
        assert_eq!(octets[..2], [0x22, 0]);
        assert_eq!(octets[4..], [0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3]);
        assert!(Sum::new().with(&octets).is_valid());
        let mut octets = [0; HEADER_LEN];
        emit_v2(&mut Packet::new_unchecked(&mut octets[..]), GROUP, false);
        let packet = Packet::new_checked(&octets[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(Repr::Report { group: GROUP }));
    }
}
