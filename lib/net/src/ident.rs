//! [`Identification`]: IPv4's identification field (RFC 6864).

use alloc::boxed::Box;
use alloc::vec;
use core::net::Ipv4Addr;

use wire::Protocol;

use crate::{Key, siphash};

const COUNTERS: usize = 256;

/// Chooses the identification of datagrams that may be cut; others ("atomic") carry 0, which RFC 6864 § 4.1 allows.
///
/// Counters, one for each of 256 groups of (source, destination, protocol), chosen by a keyed hash, and offset by
/// another: values of a triple come again after 65536 datagrams of its group, and one destination cannot read off how much is
/// sent to another.
#[derive(Debug)]
pub(crate) struct Identification {
    key: Key,
    /// On the heap, as a stack is moved when it is made.
    counters: Box<[u16]>,
}

impl Identification {
    /// `key` is used for nothing else.
    pub(crate) fn new(key: Key) -> Self {
        Self { key, counters: vec![0; COUNTERS].into() }
    }

    pub(crate) fn next(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> u16 {
        let mut octets = [0; 9];
        octets[..4].copy_from_slice(&src.octets());
        octets[4..8].copy_from_slice(&dst.octets());
        octets[8] = protocol.0;
        let hash = siphash(&self.key, &octets);
        let counter = &mut self.counters[hash as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        counter.wrapping_add((hash >> 32) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_triple_are_distinct() {
        let mut ident = Identification::new(Key([1, 2]));
        let mut seen = std::collections::HashSet::new();
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert!((0..=u16::MAX).all(|_| seen.insert(ident.next(src, dst, Protocol::UDP))));
    }
}
