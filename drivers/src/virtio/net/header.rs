//! What stands before each packet in a network queue (§ 5.1.6).

use frame::{ChecksumOffload, Segmentation};

/// Octets, unless the device is a legacy one without mergeable buffers, whose headers have no number of buffers.
pub const LEN: usize = 12;
/// See [`LEN`].
pub const LEN_SHORT: usize = 10;

const FLAG_NEEDS_CSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;

/// The header of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxHeader {
    /// The device vouches for the transport checksum: it has verified it, or it is one that is left to be completed because
    /// the packet never left the machine.
    pub checksum_valid: bool,
    /// Buffers that the packet is spread over, at least 1.
    pub buffers: u16,
}

impl RxHeader {
    /// Reads a header. `None`: it is cut short, describes a packet that the device has put together of several (which nobody
    /// allowed it to), or speaks of no buffers.
    ///
    /// `mergeable`: the number of buffers counts.
    pub fn parse(octets: &[u8], mergeable: bool) -> Option<Self> {
        let [flags, gso_type, ..] = *octets.first_chunk::<LEN_SHORT>()?;
        // The other flags are none that this driver negotiates.
        if gso_type != GSO_NONE {
            return None;
        }
        let buffers = match mergeable {
            true => u16::from_le_bytes(*octets.get(LEN_SHORT..)?.first_chunk()?),
            false => 1,
        };
        let checksum_valid = flags & (FLAG_NEEDS_CSUM | FLAG_DATA_VALID) != 0;
        (buffers > 0).then_some(Self { checksum_valid, buffers })
    }
}

/// The header of a packet to be sent.
pub fn for_tx(checksum: Option<ChecksumOffload>, segmentation: Option<Segmentation>) -> [u8; LEN] {
    let mut octets = [0; LEN];
    if let Some(Segmentation { header_len, size }) = segmentation {
        octets[1] = GSO_TCPV4;
        octets[2..4].copy_from_slice(&header_len.to_le_bytes());
        octets[4..6].copy_from_slice(&size.to_le_bytes());
    }
    if let Some(ChecksumOffload { start, offset }) = checksum {
        octets[0] = FLAG_NEEDS_CSUM;
        octets[6..8].copy_from_slice(&start.to_le_bytes());
        octets[8..10].copy_from_slice(&offset.to_le_bytes());
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_says_of_a_packet() {
        let header = |flags, gso, buffers: u16| {
            let mut octets = for_tx(None, None);
            (octets[0], octets[1]) = (flags, gso);
            octets[10..].copy_from_slice(&buffers.to_le_bytes());
            octets
        };
        let parsed = |checksum_valid, buffers| Some(RxHeader { checksum_valid, buffers });
        assert_eq!(RxHeader::parse(&header(0, 0, 1), true), parsed(false, 1));
        assert_eq!(RxHeader::parse(&header(FLAG_DATA_VALID, 0, 3), true), parsed(true, 3));
        assert_eq!(RxHeader::parse(&header(FLAG_NEEDS_CSUM, 0, 3), false), parsed(true, 1));
        assert_eq!(RxHeader::parse(&header(0, 0, 0), true), None, "no buffers");
        assert_eq!(RxHeader::parse(&header(0, 1, 1), true), None, "a packet of several");
        let octets = header(0, 0, 1);
        assert!((0..12).all(|len| RxHeader::parse(&octets[..len], true).is_none()));
        assert!((0..10).all(|len| RxHeader::parse(&octets[..len], false).is_none()));
        assert_eq!(RxHeader::parse(&octets[..10], false), parsed(false, 1));
    }

    #[test]
    fn where_a_checksum_goes() {
        let header = for_tx(Some(ChecksumOffload { start: 34, offset: 16 }), None);
        assert_eq!(header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
        let checksum = Some(ChecksumOffload { start: 34, offset: 16 });
        let cut = for_tx(checksum, Some(Segmentation { header_len: 66, size: 1448 }));
        assert_eq!(cut, [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
        assert_eq!(for_tx(None, None), [0; LEN]);
    }
}
