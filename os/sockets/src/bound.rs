//! [`BoundPorts`]: which stream sockets have which local addresses, from bind(2) on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use linux::errno::{EADDRINUSE, EADDRNOTAVAIL, Errno};

/// Ports for those who do not care (Linux' range).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

struct Holder {
    address: Ipv4Addr,
    /// It may share the port with others that say the same and do not listen.
    reuse: bool,
    listens: bool,
}

/// The local addresses of sockets that were bound and have no connection.
#[derive(Default)]
pub struct BoundPorts {
    ports: BTreeMap<u16, Vec<Holder>>,
    /// Where the search for a free port goes on.
    next: u16,
}

impl BoundPorts {
    /// Gives out a local address; port 0: a free one.
    ///
    /// # Errors
    /// `EADDRINUSE`; `EADDRNOTAVAIL`: no port is free.
    pub fn bind(&mut self, wanted: SocketAddrV4, reuse: bool) -> Result<SocketAddrV4, Errno> {
        let port = if wanted.port() == 0 { self.free_port().ok_or(EADDRNOTAVAIL)? } else { wanted.port() };
        let holders = self.ports.entry(port).or_default();
        let overlaps = |address: Ipv4Addr| {
            address == *wanted.ip() || address.is_unspecified() || wanted.ip().is_unspecified()
        };
        if holders.iter().any(|other| overlaps(other.address) && !(reuse && other.reuse && !other.listens)) {
            return Err(EADDRINUSE);
        }
        holders.push(Holder { address: *wanted.ip(), reuse, listens: false });
        Ok(SocketAddrV4::new(*wanted.ip(), port))
    }

    fn free_port(&mut self) -> Option<u16> {
        let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
        let free = (0..count)
            .map(|n| EPHEMERAL.start() + (self.next + n) % count)
            .find(|port| self.ports.get(port).is_none_or(Vec::is_empty))?;
        self.next = (free - EPHEMERAL.start() + 1) % count;
        Some(free)
    }

    /// The holder of an address listens now.
    pub fn listen(&mut self, local: SocketAddrV4) {
        if let Some(holders) = self.ports.get_mut(&local.port())
            && let Some(holder) = holders.iter_mut().find(|holder| holder.address == *local.ip())
        {
            holder.listens = true;
        }
    }

    /// An address is given back.
    pub fn release(&mut self, local: SocketAddrV4) {
        if let Some(holders) = self.ports.get_mut(&local.port()) {
            if let Some(at) = holders.iter().position(|holder| holder.address == *local.ip()) {
                holders.swap_remove(at);
            }
            if holders.is_empty() {
                self.ports.remove(&local.port());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port)
    }

    const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80);

    #[test]
    fn an_address_is_given_out_once() {
        let mut bound = BoundPorts::default();
        assert_eq!(bound.bind(at(1, 80), false), Ok(at(1, 80)));
        assert_eq!(bound.bind(at(1, 80), false), Err(EADDRINUSE));
        assert_eq!(bound.bind(at(2, 80), false), Ok(at(2, 80)));
        assert_eq!(bound.bind(ANY, false), Err(EADDRINUSE));
        bound.release(at(1, 80));
        bound.release(at(2, 80));
        assert_eq!(bound.bind(ANY, false), Ok(ANY));
        assert_eq!(bound.bind(at(1, 80), false), Err(EADDRINUSE));
    }

    #[test]
    fn those_who_agree_share_until_one_listens() {
        let mut bound = BoundPorts::default();
        bound.bind(at(1, 80), true).unwrap();
        assert!(bound.bind(at(1, 80), true).is_ok());
        bound.listen(at(1, 80));
        assert_eq!(bound.bind(at(1, 80), true), Err(EADDRINUSE));
    }

    #[test]
    fn free_ports_differ_and_run_out() {
        let mut bound = BoundPorts::default();
        let mut seen = Vec::new();
        while let Ok(address) = bound.bind(at(1, 0), false) {
            seen.push(address.port());
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((all, seen.len()), (28_232, 28_232));
        bound.release(at(1, seen[7]));
        assert_eq!(bound.bind(at(1, 0), false), Ok(at(1, seen[7])));
    }
}
