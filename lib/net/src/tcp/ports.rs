//! Source ports that nobody off the path can guess (RFC 6056).

use wire::Port;

use crate::Key;
use crate::tcp::FourTuple;

/// The ports of RFC 6335 § 6 for this.
const FIRST: u16 = 49_152;
const COUNT: u32 = 65_536 - FIRST as u32;

/// The source ports to try for a connection, in order; the first that is free is to be taken (RFC 6056 § 3.3.3,
/// algorithm 3: simple hash-based selection). `tuple`: its `local_port` does not matter. `key` is used for nothing else;
/// `next` counts the connections that were opened, so that a port is used again as late as can be.
///
/// To one destination ports follow one another; to different ones they have nothing to do with each other. At most as
/// many as there are come out; each is found in constant time.
pub fn source_ports(key: &Key, tuple: &FourTuple, next: u32) -> impl Iterator<Item = Port> + use<> {
    let destination = FourTuple { local_port: Port(0), ..*tuple };
    let offset = destination.hash(key, 3) as u32;
    (0..COUNT).map(move |tried| {
        let at = offset.wrapping_add(next).wrapping_add(tried) % COUNT;
        Port(FIRST + at as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};
    use std::vec::Vec;

    fn tuple(remote: u8) -> FourTuple {
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        FourTuple { local: ip(1), local_port: Port(9), remote: ip(remote), remote_port: Port(80) }
    }

    #[test]
    fn each_port_once() {
        let mut ports: Vec<_> = source_ports(&Key([1, 2]), &tuple(2), 5).map(|port| port.0).collect();
        ports.sort_unstable();
        assert!(ports.iter().copied().eq(FIRST..=u16::MAX));
    }

    #[test]
    fn later_connections_go_on_where_earlier_ones_were() {
        let key = Key([1, 2]);
        let from = |next| source_ports(&key, &tuple(2), next).take(3).collect::<Vec<_>>();
        assert_eq!(from(0)[1..], from(1)[..2]);
    }

    #[test]
    fn destinations_and_keys_differ() {
        let first = |key, remote| source_ports(&Key([key, 2]), &tuple(remote), 0).next();
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
        let other_local = FourTuple { local_port: Port(10), ..tuple(2) };
        assert_eq!(first(1, 2), source_ports(&Key([1, 2]), &other_local, 0).next());
    }
}
