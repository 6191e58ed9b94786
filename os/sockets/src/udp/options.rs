//! What can be set at a datagram socket (udp(7), ip(7)), but for groups, which are joined and left.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use linux::errno::{EADDRNOTAVAIL, EINVAL, ENOPROTOOPT, EOPNOTSUPP, Errno};
use net::udp::{BindOptions, UdpOptions};
use net::{IfaceId, Stack};

use super::control::Wanted;
use crate::ip_options::{Ip, name as ip_name, number};
use crate::options::name::{RXQ_OVFL, TIMESTAMP, TIMESTAMP_NEW, TIMESTAMPNS, TIMESTAMPNS_NEW};
use crate::options::{Common, IPPROTO_IP, IPPROTO_UDP, SOL_SOCKET, int, of_index, of_int};
use crate::pass;

/// Names at `IPPROTO_UDP`.
pub(super) mod name {
    pub const SEGMENT: i32 = 103;
    pub const GRO: i32 = 104;
}

/// Octets of memory that each queue may take (`net.core.rmem_default`).
const BUFFER: i32 = 212_992;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) common: Common,
    ip: Ip,
    multicast_ttl: u8,
    multicast_loop: bool,
    multicast_all: bool,
    multicast_iface: Option<IfaceId>,
    /// What `IP_MULTICAST_IF` was told.
    multicast_address: Ipv4Addr,
    /// What is told of each datagram.
    pub(super) wanted: Wanted,
    /// `UDP_SEGMENT`: what is sent is many datagrams of so many octets; 0: it is one.
    segment: u16,
}

impl Options {
    pub(super) const fn new() -> Self {
        Self {
            common: Common::with_buffers(BUFFER),
            ip: Ip::new(false),
            multicast_ttl: UdpOptions::DEFAULT.multicast_ttl,
            multicast_loop: UdpOptions::DEFAULT.multicast_loop,
            multicast_all: UdpOptions::DEFAULT.multicast_all,
            multicast_iface: None,
            multicast_address: Ipv4Addr::UNSPECIFIED,
            wanted: Wanted::NONE,
            segment: 0,
        }
    }

    /// The options as the stack takes them.
    pub(super) fn for_stack(&self) -> UdpOptions {
        UdpOptions {
            ip: self.ip.for_stack(&self.common),
            multicast_ttl: self.multicast_ttl,
            multicast_loop: self.multicast_loop,
            multicast_iface: self.multicast_iface,
            multicast_all: self.multicast_all,
            broadcast: self.common.broadcast,
            no_checksum: self.common.no_checksum,
            receive_errors: self.ip.receive_errors,
            receive_buffer: self.common.receive_buffer as usize,
        }
    }

    /// How the socket is to be bound.
    pub(super) fn binding(&self) -> BindOptions {
        BindOptions {
            share_address: self.common.reuse_address,
            share_port: self.common.reuse_port,
            nonlocal: self.ip.free_bind,
            device: self.common.device,
        }
    }

    /// `IP_BIND_ADDRESS_NO_PORT`.
    pub(super) fn binds_without_port(&self) -> bool {
        self.ip.bind_without_port
    }

    /// `UDP_SEGMENT`.
    pub(super) fn segment(&self) -> Option<u16> {
        (self.segment > 0).then_some(self.segment)
    }

    pub(super) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name) {
            (SOL_SOCKET, TIMESTAMP | TIMESTAMPNS | TIMESTAMP_NEW | TIMESTAMPNS_NEW) => {
                self.wanted.time = if int(value)? != 0 { name } else { 0 };
            }
            (SOL_SOCKET, RXQ_OVFL) => self.wanted.dropped = int(value)? != 0,
            (SOL_SOCKET, _) => self.common.set(name, value)?,
            (IPPROTO_IP, ip_name::PKTINFO) => self.wanted.packet_info = number(value) != 0,
            (IPPROTO_IP, ip_name::RECVTTL) => self.wanted.ttl = number(value) != 0,
            (IPPROTO_IP, ip_name::RECVTOS) => self.wanted.traffic_class = number(value) != 0,
            (IPPROTO_IP, ip_name::RECVORIGDSTADDR) => self.wanted.destination = number(value) != 0,
            (IPPROTO_IP, ip_name::MULTICAST_IF) => self.set_multicast_iface(value)?,
            (IPPROTO_IP, ip_name::MULTICAST_TTL) => {
                self.multicast_ttl = match number(value) {
                    _ if value.is_empty() => return Err(EINVAL),
                    -1 => UdpOptions::DEFAULT.multicast_ttl,
                    ttl => u8::try_from(ttl).map_err(|_| EINVAL)?,
                };
            }
            (IPPROTO_IP, ip_name::MULTICAST_LOOP) if value.is_empty() => return Err(EINVAL),
            (IPPROTO_IP, ip_name::MULTICAST_LOOP) => self.multicast_loop = number(value) != 0,
            (IPPROTO_IP, ip_name::MULTICAST_ALL) => {
                self.multicast_all = match number(value) {
                    _ if value.is_empty() => return Err(EINVAL),
                    0 => false,
                    1 => true,
                    _ => return Err(EINVAL),
                };
            }
            (IPPROTO_IP, _) => self.ip.set(name, value)?,
            (IPPROTO_UDP, name::SEGMENT) => {
                self.segment = u16::try_from(int(value)?).map_err(|_| EINVAL)?;
            }
            (IPPROTO_UDP, name::GRO) => self.wanted.several = int(value)? != 0,
            (IPPROTO_UDP, _) if value.len() < size_of::<i32>() => return Err(EINVAL),
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    pub(super) fn get(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        Ok(match (level, name) {
            (SOL_SOCKET, TIMESTAMP | TIMESTAMPNS | TIMESTAMP_NEW | TIMESTAMPNS_NEW) => {
                of_int((self.wanted.time == name).into())
            }
            (SOL_SOCKET, RXQ_OVFL) => of_int(self.wanted.dropped.into()),
            (SOL_SOCKET, _) => self.common.get(name)?,
            (IPPROTO_IP, ip_name::PKTINFO) => of_int(self.wanted.packet_info.into()),
            (IPPROTO_IP, ip_name::RECVTTL) => of_int(self.wanted.ttl.into()),
            (IPPROTO_IP, ip_name::RECVTOS) => of_int(self.wanted.traffic_class.into()),
            (IPPROTO_IP, ip_name::RECVORIGDSTADDR) => of_int(self.wanted.destination.into()),
            (IPPROTO_IP, ip_name::MULTICAST_IF) => self.multicast_address.octets().to_vec(),
            (IPPROTO_IP, ip_name::MULTICAST_TTL) => of_int(self.multicast_ttl.into()),
            (IPPROTO_IP, ip_name::MULTICAST_LOOP) => of_int(self.multicast_loop.into()),
            (IPPROTO_IP, ip_name::MULTICAST_ALL) => of_int(self.multicast_all.into()),
            (IPPROTO_IP, _) => self.ip.get(name)?,
            (IPPROTO_UDP, name::SEGMENT) => of_int(self.segment.into()),
            (IPPROTO_UDP, name::GRO) => of_int(self.wanted.several.into()),
            (IPPROTO_UDP, _) => return Err(ENOPROTOOPT),
            _ => return Err(EOPNOTSUPP),
        })
    }

    /// `IP_MULTICAST_IF`: an address, `struct ip_mreq` or `ip_mreqn`. Without any: as routes have it.
    fn set_multicast_iface(&mut self, value: &[u8]) -> Result<(), Errno> {
        // Of a structure the address stands behind the group.
        let at = if value.len() >= 8 { 4 } else { 0 };
        let address = address_at(value, at)?;
        let index = if value.len() >= 12 { int(&value[8..])? } else { 0 };
        self.multicast_iface = if index == 0 && address.is_unspecified() {
            None
        } else {
            let iface = pass::look(|net| interface(&net.stack, address, index)).flatten();
            Some(iface.ok_or(EADDRNOTAVAIL)?)
        };
        self.multicast_address = address;
        Ok(())
    }
}

/// An IPv4 address in an option's value.
pub(super) fn address_at(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    let octets: Option<&[u8; 4]> = value.get(at..).and_then(|rest| rest.first_chunk());
    octets.map(|octets| Ipv4Addr::from(*octets)).ok_or(EINVAL)
}

/// The interface of an index (from 1), of an address, or the first on a link.
pub(super) fn interface(stack: &Stack, address: Ipv4Addr, index: i32) -> Option<IfaceId> {
    if index != 0 {
        return of_index(index).filter(|iface| stack.interface(*iface).is_some());
    }
    let mut interfaces = stack.interfaces();
    if address.is_unspecified() {
        return interfaces.map(|(iface, _)| iface).find(|iface| *iface != IfaceId::LOOPBACK);
    }
    interfaces
        .find(|(_, iface)| iface.addresses().any(|(cidr, _)| cidr.address() == address))
        .map(|(iface, _)| iface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_linuxs() {
        let mut options = Options::new();
        let mut set = |level, name, value: i32| options.set(level, name, &value.to_le_bytes());
        assert_eq!(set(IPPROTO_IP, ip_name::MULTICAST_TTL, 256), Err(EINVAL));
        assert_eq!(set(IPPROTO_IP, ip_name::MULTICAST_TTL, 0), Ok(()));
        assert_eq!(set(IPPROTO_IP, ip_name::MULTICAST_ALL, 2), Err(EINVAL));
        assert_eq!(set(IPPROTO_UDP, name::SEGMENT, 65_536), Err(EINVAL));
        assert_eq!(set(IPPROTO_UDP, name::SEGMENT, 1200), Ok(()));
        assert_eq!(set(IPPROTO_UDP, 1, 1), Err(ENOPROTOOPT));
        assert_eq!(set(41, 1, 1), Err(ENOPROTOOPT));
        assert_eq!((options.segment(), options.for_stack().multicast_ttl), (Some(1200), 0));
        assert_eq!(options.get(41, 1), Err(EOPNOTSUPP));
    }
}
