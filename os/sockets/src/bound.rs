//! [`BoundPorts`]: which stream sockets have which local addresses, from bind(2) on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use linux::errno::{EADDRINUSE, EADDRNOTAVAIL, Errno};

/// Ports for those who do not care (Linux' range).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// With whom a socket shares its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// `SO_REUSEADDR`: with others that say the same and do not listen.
    pub address: bool,
    /// `SO_REUSEPORT`: with others that say the same.
    pub port: bool,
}

struct Holder {
    /// The socket's number.
    socket: u64,
    address: Ipv4Addr,
    sharing: Sharing,
    listens: bool,
}

impl Holder {
    /// Whether it stands in the way of another one, which is to listen or not.
    fn is_in_the_way(&self, address: Ipv4Addr, sharing: Sharing, listens: bool) -> bool {
        let overlaps = address == self.address || address.is_unspecified() || self.address.is_unspecified();
        let by_address = sharing.address && self.sharing.address && !self.listens;
        let by_port = sharing.port && self.sharing.port;
        overlaps && !(by_address || by_port) && (!listens || self.listens)
    }
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
    pub fn bind(
        &mut self,
        socket: u64,
        wanted: SocketAddrV4,
        sharing: Sharing,
    ) -> Result<SocketAddrV4, Errno> {
        let port = if wanted.port() == 0 { self.free_port().ok_or(EADDRNOTAVAIL)? } else { wanted.port() };
        let address = *wanted.ip();
        let holders = self.ports.entry(port).or_default();
        if holders.iter().any(|other| other.is_in_the_way(address, sharing, false)) {
            return Err(EADDRINUSE);
        }
        holders.push(Holder { socket, address, sharing, listens: false });
        Ok(SocketAddrV4::new(address, port))
    }

    /// Whether a socket may listen at the address that it has.
    ///
    /// # Errors
    /// `EADDRINUSE`: another one does.
    pub fn check_listen(&self, socket: u64, local: SocketAddrV4) -> Result<(), Errno> {
        let holders = self.ports.get(&local.port()).map_or(&[][..], Vec::as_slice);
        let Some(own) = holders.iter().find(|holder| holder.socket == socket) else { return Ok(()) };
        let mut others = holders.iter().filter(|other| other.socket != socket);
        if others.any(|other| other.is_in_the_way(own.address, own.sharing, true)) {
            return Err(EADDRINUSE);
        }
        Ok(())
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

    const ALONE: Sharing = Sharing { address: false, port: false };
    const ADDRESS: Sharing = Sharing { address: true, port: false };
    const PORT: Sharing = Sharing { address: false, port: true };
    const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80);

    #[test]
    fn an_address_is_given_out_once() {
        let mut bound = BoundPorts::default();
        assert_eq!(bound.bind(1, at(1, 80), ALONE), Ok(at(1, 80)));
        assert_eq!(bound.bind(2, at(1, 80), ALONE), Err(EADDRINUSE));
        assert_eq!(bound.bind(2, at(2, 80), ALONE), Ok(at(2, 80)));
        assert_eq!(bound.bind(3, ANY, ALONE), Err(EADDRINUSE));
        bound.release(1, at(1, 80));
        bound.release(2, at(2, 80));
        assert_eq!(bound.bind(3, ANY, ALONE), Ok(ANY));
        assert_eq!(bound.bind(1, at(1, 80), ALONE), Err(EADDRINUSE));
    }

    #[test]
    fn those_who_agree_share_until_one_listens() {
        let mut bound = BoundPorts::default();
        bound.bind(1, at(1, 80), ADDRESS).unwrap();
        assert!(bound.bind(2, at(1, 80), ADDRESS).is_ok());
        bound.set_listens(2, at(1, 80), true);
        bound.release(1, at(1, 80));
        assert_eq!(bound.bind(3, at(1, 80), ADDRESS), Err(EADDRINUSE));
        bound.set_listens(2, at(1, 80), false);
        assert!(bound.bind(3, at(1, 80), ADDRESS).is_ok());
    }

    #[test]
    fn those_who_share_a_port_may_all_listen() {
        let mut bound = BoundPorts::default();
        for socket in 0..3 {
            bound.bind(socket, at(1, 80), PORT).unwrap();
            bound.check_listen(socket, at(1, 80)).unwrap();
            bound.set_listens(socket, at(1, 80), true);
        }
        assert_eq!(bound.bind(3, at(1, 80), ADDRESS), Err(EADDRINUSE));
        assert_eq!(bound.bind(3, ANY, ALONE), Err(EADDRINUSE));
    }

    #[test]
    fn one_of_those_who_share_an_address_listens() {
        let mut bound = BoundPorts::default();
        bound.bind(1, at(1, 80), ADDRESS).unwrap();
        bound.bind(2, ANY, ADDRESS).unwrap();
        bound.check_listen(1, at(1, 80)).unwrap();
        bound.set_listens(1, at(1, 80), true);
        assert_eq!(bound.check_listen(2, ANY), Err(EADDRINUSE));
        bound.check_listen(1, at(1, 80)).unwrap();
    }

    #[test]
    fn free_ports_differ_and_run_out() {
        let mut bound = BoundPorts::default();
        let mut seen = Vec::new();
        while let Ok(address) = bound.bind(seen.len() as u64, at(1, 0), ALONE) {
            seen.push(address.port());
        }
        let all = seen.len();
        bound.release(7, at(1, seen[7]));
        assert_eq!(bound.bind(1, at(1, 0), ALONE), Ok(at(1, seen[7])));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((all, seen.len()), (28_232, 28_232));
    }
}
