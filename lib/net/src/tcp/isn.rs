//! Initial sequence numbers and timestamp offsets that nobody off the path can guess.

use core::net::IpAddr;

use wire::SeqNumber;

use crate::tcp::FourTuple;
use crate::{Instant, Key, siphash};

/// Chooses initial sequence numbers (RFC 6528 § 3): a clock that ticks every 4 microseconds, plus a keyed hash of the
/// four-tuple.
#[derive(Clone, Copy, Debug)]
pub struct IsnGenerator {
    key: Key,
}

impl IsnGenerator {
    /// A generator whose numbers depend on `key`, which is used for nothing else and survives as long as connections
    /// do.
    pub const fn new(key: Key) -> Self {
        Self { key }
    }

    /// The initial sequence number of a connection that begins now. Later ones of the same four-tuple are higher,
    /// modulo 2^32.
    pub fn isn(&self, now: Instant, tuple: &FourTuple) -> SeqNumber {
        let ticks = (now.0 / 4_000) as u32;
        SeqNumber(ticks.wrapping_add(tuple.hash(&self.key, 0) as u32))
    }

    /// What a connection adds to its timestamp clock (RFC 7323 § 5.4, § 7.1): the clock's value tells no peer how
    /// long the machine runs, and later connections between two hosts do not step back.
    pub fn timestamp_offset(&self, tuple: &FourTuple) -> u32 {
        let hosts = FourTuple { local_port: wire::Port(0), remote_port: wire::Port(0), ..*tuple };
        hosts.hash(&self.key, 1) as u32
    }
}

impl FourTuple {
    /// A hash under a key; `domain` keeps hashes for different purposes apart. For IPv4 of 13 octets, as it is needed for every segment.
    pub(crate) fn hash(&self, key: &Key, domain: u8) -> u64 {
        let (IpAddr::V4(local), IpAddr::V4(remote)) = (self.local, self.remote) else {
            return siphash(key, &self.octets(domain));
        };
        let ports = u32::from(self.local_port.0) << 16 | u32::from(self.remote_port.0);
        let mut octets = [0; 13];
        octets[..4].copy_from_slice(&local.octets());
        octets[4..8].copy_from_slice(&remote.octets());
        octets[8..12].copy_from_slice(&ports.to_be_bytes());
        octets[12] = domain;
        siphash(key, &octets)
    }

    /// The tuple for a hash; `domain` keeps hashes for different purposes apart.
    pub(crate) fn octets(&self, domain: u8) -> [u8; 37] {
        let mut octets = [0; 37];
        for (at, addr) in [(0, self.local), (16, self.remote)] {
            let addr = match addr {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            octets[at..at + 16].copy_from_slice(&addr.octets());
        }
        octets[32..34].copy_from_slice(&self.local_port.0.to_be_bytes());
        octets[34..36].copy_from_slice(&self.remote_port.0.to_be_bytes());
        octets[36] = domain;
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;
    use wire::Port;

    fn tuple(remote_port: u16) -> FourTuple {
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        FourTuple { local: ip(1), local_port: Port(80), remote: ip(2), remote_port: Port(remote_port) }
    }

    #[test]
    fn one_tuple_climbs_by_the_clock() {
        let isn = IsnGenerator::new(Key([1, 2]));
        let first = isn.isn(Instant(0), &tuple(9));
        let later = isn.isn(Instant(0) + Duration::from_secs(1), &tuple(9));
        assert_eq!(later.since(first), 250_000);
    }

    #[test]
    fn tuples_and_keys_differ() {
        let isn = IsnGenerator::new(Key([1, 2]));
        assert_ne!(isn.isn(Instant(0), &tuple(9)), isn.isn(Instant(0), &tuple(10)));
        assert_ne!(isn.isn(Instant(0), &tuple(9)), IsnGenerator::new(Key([1, 3])).isn(Instant(0), &tuple(9)));
        assert_eq!(isn.timestamp_offset(&tuple(9)), isn.timestamp_offset(&tuple(10)), "hosts, not ports");
    }
}
