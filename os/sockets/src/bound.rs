//! [`BoundPorts`]: which stream sockets have which local addresses, from bind(2) on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use linux::errno::{EADDRINUSE, EADDRNOTAVAIL, Errno};

/// Ports for those who do not care (Linux' range).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

struct Holder {
    /// The socket's number.
    socket: u64,
    address: Ipv4Addr,
    /// It may share the port with others that say the same and do not listen.
    reuse: bool,
    listens: bool,
}

/// The local addresses of sockets, each with the number of the socket that has it.
#[derive(Default)]
pub struct BoundPorts {
    ports: BTreeMap<u16, Vec<Holder>>,
    /// Where the search for a free port goes on.
    next: u16,
}

impl BoundPorts {
    /// Gives a socket a local address; port 0: a free one.
    ///
    /// # Errors
    /// `EADDRINUSE`; `EADDRNOTAVAIL`: no port is free.
    pub fn bind(&mut self, socket: u64, wanted: SocketAddrV4, reuse: bool) -> Result<SocketAddrV4, Errno> {
        let port = if wanted.port() == 0 { self.free_port().ok_or(EADDRNOTAVAIL)? } else { wanted.port() };
        let holders = self.ports.entry(port).or_default();
        let overlaps = |address: Ipv4Addr| {
            address == *wanted.ip() || address.is_unspecified() || wanted.ip().is_unspecified()
        };
        if holders.iter().any(|other| overlaps(other.address) && !(reuse && other.reuse && !other.listens)) {
            return Err(EADDRINUSE);
        }
        holders.push(Holder { socket, address: *wanted.ip(), reuse, listens: false });
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

    /// The socket that has this address listens now, or does not any more.
    pub fn set_listens(&mut self, socket: u64, local: SocketAddrV4, listens: bool) {
        let holders = self.ports.get_mut(&local.port()).into_iter().flatten();
        for holder in holders.filter(|holder| holder.socket == socket) {
            holder.listens = listens;
        }
    }

    /// The socket gives its address back.
    pub fn release(&mut self, socket: u64, local: SocketAddrV4) {
        if let Some(holders) = self.ports.get_mut(&local.port()) {
            holders.retain(|holder| holder.socket != socket);
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
        assert_eq!(bound.bind(1, at(1, 80), false), Ok(at(1, 80)));
        assert_eq!(bound.bind(2, at(1, 80), false), Err(EADDRINUSE));
        assert_eq!(bound.bind(2, at(2, 80), false), Ok(at(2, 80)));
        assert_eq!(bound.bind(3, ANY, false), Err(EADDRINUSE));
        bound.release(1, at(1, 80));
        bound.release(2, at(2, 80));
        assert_eq!(bound.bind(3, ANY, false), Ok(ANY));
        assert_eq!(bound.bind(1, at(1, 80), false), Err(EADDRINUSE));
    }

    #[test]
    fn those_who_agree_share_until_one_listens() {
        let mut bound = BoundPorts::default();
        bound.bind(1, at(1, 80), true).unwrap();
        assert!(bound.bind(2, at(1, 80), true).is_ok());
        bound.set_listens(2, at(1, 80), true);
        bound.release(1, at(1, 80));
        assert_eq!(bound.bind(3, at(1, 80), true), Err(EADDRINUSE));
        bound.set_listens(2, at(1, 80), false);
        assert!(bound.bind(3, at(1, 80), true).is_ok());
    }

    #[test]
    fn free_ports_differ_and_run_out() {
        let mut bound = BoundPorts::default();
        let mut seen = Vec::new();
        while let Ok(address) = bound.bind(seen.len() as u64, at(1, 0), false) {
            seen.push(address.port());
        }
        let all = seen.len();
        bound.release(7, at(1, seen[7]));
        assert_eq!(bound.bind(1, at(1, 0), false), Ok(at(1, seen[7])));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((all, seen.len()), (28_232, 28_232));
    }
}
