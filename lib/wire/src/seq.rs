//! [`SeqNumber`]: TCP's arithmetic modulo 2^32.

use core::cmp::Ordering;
use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A TCP sequence number (RFC 9293 § 3.4).
///
/// `a < b` holds when `b` lies at most 2^31 - 1 octets ahead of `a`. Two numbers exactly 2^31 apart are neither less
/// nor greater: every comparison of them but `!=` is false. The order is not transitive over the whole circle, so it
/// is partial and there is no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// The octets from `earlier` forward to this number, modulo 2^32.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this number is one of the `len` numbers from `start` on.
    #[inline]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of two numbers; `self` where they cannot be compared.
    #[inline]
    pub fn latest(self, other: Self) -> Self {
        if self < other { other } else { self }
    }

    /// The earlier of two numbers; `self` where they cannot be compared.
    #[inline]
    pub fn earliest(self, other: Self) -> Self {
        if other < self { other } else { self }
    }
}

impl PartialOrd for SeqNumber {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.since(*other) {
            0 => Some(Ordering::Equal),
            0x8000_0000 => None,
            ahead if ahead < 0x8000_0000 => Some(Ordering::Greater),
            _ => Some(Ordering::Less),
        }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn add(self, octets: u32) -> Self {
        Self(self.0.wrapping_add(octets))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, octets: u32) {
        *self = *self + octets;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn sub(self, octets: u32) -> Self {
        Self(self.0.wrapping_sub(octets))
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps() {
        for base in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX] {
            let a = SeqNumber(base);
            for ahead in [1, 2, 0x7fff_fffe, 0x7fff_ffff] {
                assert!(a < a + ahead, "{base:#x} {ahead:#x}");
                assert_eq!((a + ahead).since(a), ahead);
                assert_eq!(a.latest(a + ahead), a + ahead);
                assert_eq!(a.earliest(a + ahead), a);
            }
            assert_eq!(a.partial_cmp(&a), Some(Ordering::Equal));
            assert_eq!(a.partial_cmp(&(a + 0x8000_0000)), None);
        }
    }

    #[test]
    fn windows_wrap() {
        let start = SeqNumber(u32::MAX - 1);
        assert!(start.in_window(start, 1));
        assert!(!start.in_window(start, 0));
        assert!((start + 3).in_window(start, 4));
        assert!(!(start + 4).in_window(start, 4));
        assert!(!(start - 1).in_window(start, 4));
    }
}
