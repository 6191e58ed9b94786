//! [`Ip`]: options at `IPPROTO_IP` (ip(7)) that streams and datagrams have.

use alloc::vec::Vec;

use linux::errno::{EINVAL, ENOPROTOOPT, Errno};
use net::{IpOptions, PathMtuDiscovery};

use crate::options::{Common, of_int};

/// Names.
pub mod name {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const OPTIONS: i32 = 4;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const RECVORIGDSTADDR: i32 = 20;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const MULTICAST_ALL: i32 = 49;
}

/// The numbers of `IP_MTU_DISCOVER`, in order.
const DISCOVERIES: [PathMtuDiscovery; 6] = [
    PathMtuDiscovery::Dont,
    PathMtuDiscovery::Want,
    PathMtuDiscovery::Do,
    PathMtuDiscovery::Probe,
    PathMtuDiscovery::Interface,
    PathMtuDiscovery::Omit,
];

/// The options.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    traffic_class: u8,
    ttl: u8,
    discovery: PathMtuDiscovery,
    /// `IP_RECVERR`.
    pub receive_errors: bool,
    /// `IP_FREEBIND`.
    pub free_bind: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`.
    pub bind_without_port: bool,
    /// The socket is a stream, whose ECN bits are TCP's.
    is_stream: bool,
}

impl Ip {
    pub const fn new(is_stream: bool) -> Self {
        Self {
            traffic_class: 0,
            ttl: IpOptions::DEFAULT.ttl,
            discovery: IpOptions::DEFAULT.discovery,
            receive_errors: false,
            free_bind: false,
            bind_without_port: false,
            is_stream,
        }
    }

    /// The options as the stack takes them.
    pub fn for_stack(&self, common: &Common) -> IpOptions {
        IpOptions {
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            discovery: self.discovery,
            device: common.device,
            only_on_link: common.only_on_link,
        }
    }

    /// Sets an option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`.
    pub fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        let number = number(value);
        // These want one octet at least; the others take nothing for 0 (`do_ip_setsockopt` of Linux).
        let required = || if value.is_empty() { Err(EINVAL) } else { Ok(number) };
        match name {
            name::TOS if self.is_stream => {
                self.traffic_class = number as u8 & !ECN | self.traffic_class & ECN;
            }
            name::TOS => self.traffic_class = number as u8,
            name::TTL => {
                self.ttl = match required()? {
                    -1 => IpOptions::DEFAULT.ttl,
                    ttl => u8::try_from(ttl).ok().filter(|&ttl| ttl > 0).ok_or(EINVAL)?,
                };
            }
            name::OPTIONS if value.is_empty() => {}
            name::MTU_DISCOVER => {
                let discovery = usize::try_from(number).ok().and_then(|number| DISCOVERIES.get(number));
                self.discovery = *discovery.ok_or(EINVAL)?;
            }
            name::RECVERR => self.receive_errors = number != 0,
            name::FREEBIND => self.free_bind = required()? != 0,
            name::BIND_ADDRESS_NO_PORT => self.bind_without_port = number != 0,
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    /// An option.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        Ok(match name {
            name::TOS => of_int(self.traffic_class.into()),
            name::TTL => of_int(self.ttl.into()),
            name::OPTIONS => Vec::new(),
            name::MTU_DISCOVER => {
                let number = DISCOVERIES.iter().position(|discovery| *discovery == self.discovery);
                of_int(number.unwrap_or_default() as i32)
            }
            name::RECVERR => of_int(self.receive_errors.into()),
            name::FREEBIND => of_int(self.free_bind.into()),
            name::BIND_ADDRESS_NO_PORT => of_int(self.bind_without_port.into()),
            _ => return Err(ENOPROTOOPT),
        })
    }
}

/// The bits of the type of service that are not a program's.
const ECN: u8 = 3;

/// A number at this level: an `int`, or a single octet, or nothing for 0.
pub fn number(value: &[u8]) -> i32 {
    match value.first_chunk() {
        Some(octets) => i32::from_le_bytes(*octets),
        None => value.first().copied().unwrap_or(0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ip: &mut Ip, name: i32, value: i32) -> Result<(), Errno> {
        ip.set(name, &value.to_le_bytes())
    }

    #[test]
    fn ranges_are_linuxs() {
        let mut ip = Ip::new(false);
        assert_eq!(set(&mut ip, name::TTL, 0), Err(EINVAL));
        assert_eq!(set(&mut ip, name::TTL, 256), Err(EINVAL));
        assert_eq!(ip.set(name::TTL, &[]), Err(EINVAL));
        assert_eq!(ip.set(name::TTL, &[7]), Ok(()));
        assert_eq!(ip.get(name::TTL).unwrap(), 7i32.to_le_bytes());
        assert_eq!(set(&mut ip, name::TTL, -1), Ok(()));
        assert_eq!(ip.get(name::TTL).unwrap(), 64i32.to_le_bytes());
        assert_eq!(set(&mut ip, name::MTU_DISCOVER, 6), Err(EINVAL));
        assert_eq!(set(&mut ip, name::MTU_DISCOVER, 3), Ok(()));
        assert_eq!(ip.for_stack(&Common::new()).discovery, PathMtuDiscovery::Probe);
    }

    #[test]
    fn congestion_marks_of_a_stream_are_its_own() {
        let mut ip = Ip::new(true);
        set(&mut ip, name::TOS, 0xff).unwrap();
        assert_eq!(ip.get(name::TOS).unwrap(), 0xfci32.to_le_bytes());
        let mut ip = Ip::new(false);
        set(&mut ip, name::TOS, 0xff).unwrap();
        assert_eq!(ip.get(name::TOS).unwrap(), 0xffi32.to_le_bytes());
    }
}
