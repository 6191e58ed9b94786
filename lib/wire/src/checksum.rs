//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// A one's complement sum over octets, on its way to become a checksum.
///
/// A sum is built from pieces in the order in which they follow each other; a piece of odd length may stand
/// anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of 16-bit words in native byte order (RFC 1071 § 2 (B): the order does not matter until the end).
    words: u64,
    /// An odd number of octets was added so far.
    odd: bool,
}

impl Sum {
    /// The sum over nothing.
    #[inline]
    pub const fn new() -> Self {
        Self { words: 0, odd: false }
    }

    /// The sum over the pseudo-header of a transport protocol over IPv4 (RFC 9293 § 3.1). `len` is that of transport
    /// header and payload in octets.
    #[inline]
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u16) -> Self {
        Self::new()
            .with(&src.octets())
            .with(&dst.octets())
            .with(&u16::from(protocol.0).to_be_bytes())
            .with(&len.to_be_bytes())
    }

    /// The sum over the pseudo-header of a transport protocol over IPv6 (RFC 8200 § 8.1). `len` is that of transport
    /// header and payload in octets.
    #[inline]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Self {
        Self::new()
            .with(&src.octets())
            .with(&dst.octets())
            .with(&len.to_be_bytes())
            .with(&u32::from(protocol.0).to_be_bytes())
    }

    /// Adds the octets that follow.
    #[inline]
    #[must_use]
    pub fn with(self, octets: &[u8]) -> Self {
        let words = sum_words(octets);
        // At an odd place every octet is the other half of its word: swap the folded sum (RFC 1071 § 2 (B)).
        let words = if self.odd { u64::from(fold(words).swap_bytes()) } else { words };
        Self { words: add_carry(self.words, words), odd: self.odd ^ (octets.len() % 2 == 1) }
    }

    /// The checksum field's value: the complement of the sum.
    #[inline]
    pub fn finish(self) -> u16 {
        !u16::from_be(fold(self.words))
    }

    /// The sum itself, folded to 16 bits: what a device that completes checksums wants to find in the field
    /// (virtio 1.2 § 5.1.6.2).
    #[inline]
    pub fn partial(self) -> u16 {
        u16::from_be(fold(self.words))
    }

    /// Whether the octets added, their checksum among them, are unharmed.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.words) == 0xffff
    }
}

/// The checksum of a header or packet whose checksum field is 0 or left out.
#[inline]
pub fn checksum(octets: &[u8]) -> u16 {
    Sum::new().with(octets).finish()
}

/// The checksum after a 16-bit word it covers changed from `old` to `new` (RFC 1624 § 3, equation 3).
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum after a 32-bit field it covers changed, such as an IPv4 address that NAT rewrote.
#[inline]
#[must_use]
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    update(update(checksum, (old >> 16) as u16, (new >> 16) as u16), old as u16, new as u16)
}

/// The one's complement sum of 16-bit words in native order, unfolded. The last octet of an odd length is the first
/// half of a word.
#[inline]
fn sum_words(octets: &[u8]) -> u64 {
    // 32-bit words in four 64-bit lanes: no carry to mind for 2^32 blocks, and the loop becomes vector code.
    let mut lanes = [0_u64; 4];
    let mut blocks = octets.chunks_exact(16);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut sum = lanes[0] + lanes[1] + lanes[2] + lanes[3];
    let (words, rest) = blocks.remainder().as_chunks::<2>();
    for word in words {
        sum += u64::from(u16::from_ne_bytes(*word));
    }
    if let [last] = rest {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

#[inline]
fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The definition, word by word.
    fn slow(octets: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for word in octets.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn octets(len: usize, step: u8) -> Vec<u8> {
        (0..len)
            .scan(7_u8, |x, _| {
                *x = x.wrapping_mul(31).wrapping_add(step);
                Some(*x)
            })
            .collect()
    }

    #[test]
    fn example_of_rfc_1071() {
        // § 3: the sum of these words is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn as_defined_for_every_length() {
        for len in 0..200 {
            let data = octets(len, 91);
            assert_eq!(checksum(&data), slow(&data), "{len}");
        }
        let ones = std::vec![0xff; 65_535];
        assert_eq!(checksum(&ones), slow(&ones));
    }

    #[test]
    fn pieces_of_any_length() {
        let data = octets(64, 13);
        for first in 0..=64 {
            for second in first..=64 {
                let sum = Sum::new().with(&data[..first]).with(&data[first..second]).with(&data[second..]);
                assert_eq!(sum.finish(), slow(&data), "{first} {second}");
            }
        }
    }

    #[test]
    fn update_as_recomputed() {
        for step in 0..=255 {
            let mut data = octets(20, step);
            let before = checksum(&data);
            let old = u32::from_be_bytes([data[8], data[9], data[10], data[11]]);
            let new = old.wrapping_mul(0x9e37_79b9).wrapping_add(u32::from(step));
            data[8..12].copy_from_slice(&new.to_be_bytes());
            assert_eq!(update_u32(before, old, new), checksum(&data), "{step}");
        }
        // RFC 1624 § 4: the case that equation 2 gets wrong.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_sum_with_its_checksum_is_valid() {
        let data = octets(33, 5);
        let sum = Sum::new().with(&data).with(&[0]);
        assert!(sum.with(&sum.finish().to_be_bytes()).is_valid());
        assert!(!sum.with(&(sum.finish() ^ 1).to_be_bytes()).is_valid());
    }
}
