//! Which ICMP errors may be sent (RFC 1122 § 3.2.2, RFC 1812 § 4.3.2).

use alloc::boxed::Box;
use alloc::vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use frame::Frame;
use wire::{Protocol, icmpv4, ipv4};

use crate::rate_limit::TokenBucket;
use crate::rng::Rng;
use crate::{Instant, Key, siphash};

/// Octets of an ICMP error with its IP header at most (RFC 1812 § 4.3.2.3).
pub(crate) const MAX_ERROR_LEN: usize = 576;

const BUCKETS: usize = 256;

/// How many errors are sent (RFC 1812 § 4.3.2.8): to all together 1000 in a second, 50 at once; to the
/// destinations of one of 256 groups, chosen by a keyed hash, 10 in a second, 6 at once.
#[derive(Debug)]
pub(crate) struct ErrorLimits {
    key: Key,
    all: TokenBucket,
    /// On the heap, as a stack is moved when it is made.
    groups: Box<[TokenBucket]>,
}

impl ErrorLimits {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            all: TokenBucket::new(Duration::from_millis(1), 50),
            groups: vec![TokenBucket::new(Duration::from_millis(100), 6); BUCKETS].into(),
        }
    }

    /// Whether an error may be sent to `destination` now.
    pub(crate) fn allow(&mut self, now: Instant, destination: Ipv4Addr, rng: &mut Rng) -> bool {
        let group = siphash(&self.key, &destination.octets()) as usize % BUCKETS;
        // A global limit that can be counted out from afar tells which ports are open; so the count is blurred
        // (CVE-2020-25705).
        let cost = 1 + rng.below(3);
        self.groups[group].take(now) && (0..cost).all(|_| self.all.take(now))
    }
}

/// Whether an error about a packet may be sent at all: not about fragments behind the first, errors, or what came from or
/// went to more than one host. `head`: the packet from its header on; `header_len`: how long that is.
pub(crate) fn may_answer(header: &ipv4::Repr, head: &[u8], header_len: usize) -> bool {
    let one_host =
        |address: Ipv4Addr| !address.is_unspecified() && !address.is_multicast() && address.octets()[0] < 240;
    if header.fragment_offset != 0 || !one_host(header.src) || !one_host(header.dst) {
        return false;
    }
    if header.protocol != Protocol::ICMP {
        return true;
    }
    // Types 0 and 8 are no errors; of what is unknown nobody can say (RFC 1122 § 3.2.2).
    matches!(head.get(header_len), Some(0 | 8 | 13..=18))
}

/// Writes an error about a packet into `octets`, whose length says how much of the packet is quoted.
pub(crate) fn emit_error(error: &icmpv4::Repr, about: &Frame, octets: &mut [u8]) {
    let mut packet = icmpv4::Packet::new_unchecked(octets);
    error.emit(&mut packet);
    about.copy_to(0, packet.payload_mut());
    packet.fill_checksum();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(protocol: Protocol, src: [u8; 4], dst: [u8; 4], fragment_offset: u16) -> ipv4::Repr {
        ipv4::Repr {
            src: src.into(),
            dst: dst.into(),
            protocol,
            traffic_class: 0,
            ident: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset,
            ttl: 1,
            payload_len: 8,
        }
    }

    #[test]
    fn what_is_never_answered() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let may = |header: &ipv4::Repr, kind: u8| may_answer(header, &[&[0; 20][..], &[kind]].concat(), 20);
        assert!(may(&header(Protocol::UDP, a, b, 0), 3));
        assert!(!may(&header(Protocol::UDP, a, b, 8), 0));
        for (src, dst) in
            [([0, 0, 0, 0], b), ([224, 0, 0, 1], b), ([255; 4], b), (a, [224, 0, 0, 1]), (a, [255; 4])]
        {
            assert!(!may(&header(Protocol::UDP, src, dst, 0), 0), "{src:?} {dst:?}");
        }
        let icmp = header(Protocol::ICMP, a, b, 0);
        assert!(may(&icmp, 8));
        for error in [3, 4, 5, 11, 12, 40] {
            assert!(!may(&icmp, error), "{error}");
        }
    }

    #[test]
    fn limits() {
        let mut limits = ErrorLimits::new(Key([1, 2]));
        let mut rng = Rng::new(Key([3, 4]));
        let at = Instant::from_millis;
        let to = Ipv4Addr::new(10, 0, 0, 1);
        let count = (0..1000).filter(|ms| limits.allow(at(10_000 + ms), to, &mut rng)).count();
        assert!((14..=16).contains(&count), "{count} to one in a second");
        let flood = |limits: &mut ErrorLimits, rng: &mut Rng| {
            (0..100_000_u32)
                .filter(|n| limits.allow(at(20_000 + u64::from(n / 100)), Ipv4Addr::from_bits(*n), rng))
                .count()
        };
        let count = flood(&mut limits, &mut rng);
        assert!((300..1100).contains(&count), "{count} to all in a second");
    }
}
