//! What comes and goes beside a datagram's octets (cmsg(3), ip(7), udp(7), socket(7)).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use linux::errno::{EINVAL, Errno};
use linux::socket::{AF_INET, Control, Internet};
use net::stack::UdpOverrides;
use net::udp::Datagram;
use net::{IfaceId, Stack};
use wire::Port;

use super::options::{address_at, name as udp_name};
use crate::ip_options::{name as ip_name, number};
use crate::options::{IPPROTO_IP, IPPROTO_UDP, SOL_SOCKET, index_of, int, name, of_index};

/// What a program wants to be told of each datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// `IP_PKTINFO`: where it came in, and where it was sent.
    pub(super) packet_info: bool,
    /// `IP_RECVTTL`.
    pub(super) ttl: bool,
    /// `IP_RECVTOS`.
    pub(super) traffic_class: bool,
    /// `IP_RECVORIGDSTADDR`: address and port where it was sent.
    pub(super) destination: bool,
    /// `SO_TIMESTAMP` or `SO_TIMESTAMPNS`, by the option's number; 0: neither.
    pub(super) time: i32,
    /// `SO_RXQ_OVFL`: how many were dropped before.
    pub(super) dropped: bool,
    /// `UDP_GRO`: several at once.
    pub(super) several: bool,
}

/// A datagram, or several as one, as it was taken out of the queue.
pub(super) struct Taken {
    pub(super) datagram: Datagram,
    /// How long each is, if they are several.
    pub(super) each: Option<u16>,
    /// The endpoint's port.
    pub(super) port: Port,
    /// The address to answer from.
    pub(super) local: Ipv4Addr,
    /// Datagrams that found the queue full.
    pub(super) dropped: u64,
}

/// The address of this host that answers what was sent to an address, which may be a group or all.
pub(super) fn answers_from(stack: &Stack, datagram: &Datagram) -> Ipv4Addr {
    if stack.is_own(datagram.to) {
        return datagram.to;
    }
    let iface = stack.interface(datagram.iface);
    iface.and_then(|iface| iface.addresses().next()).map_or(Ipv4Addr::UNSPECIFIED, |(cidr, _)| cidr.address())
}

impl Wanted {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        packet_info: false,
        ttl: false,
        traffic_class: false,
        destination: false,
        time: 0,
        dropped: false,
        several: false,
    };

    /// What goes with a datagram, in Linux' order. `realtime_ns`: when it arrived.
    pub(super) fn tell(&self, taken: &Taken, realtime_ns: u64) -> Vec<Control> {
        let datagram = &taken.datagram;
        let mut all = Vec::new();
        let mut put = |level, kind, data: &[u8]| {
            all.extend(Internet::new(level, kind, data).map(Control::Internet));
        };
        if self.time != 0 {
            let (seconds, rest) = (realtime_ns / 1_000_000_000, realtime_ns % 1_000_000_000);
            let is_micros = matches!(self.time, name::TIMESTAMP | name::TIMESTAMP_NEW);
            let words = [seconds, if is_micros { rest / 1000 } else { rest }];
            put(SOL_SOCKET, self.time, &octets_of(words.map(u64::to_le_bytes)));
        }
        if self.dropped && taken.dropped > 0 {
            put(SOL_SOCKET, name::RXQ_OVFL, &(taken.dropped as u32).to_le_bytes());
        }
        if let Some(each) = taken.each.filter(|_| self.several) {
            put(IPPROTO_UDP, udp_name::GRO, &i32::from(each).to_le_bytes());
        }
        if self.packet_info {
            let index = index_of(datagram.iface).to_le_bytes();
            let words = [index, taken.local.octets(), datagram.to.octets()];
            put(IPPROTO_IP, ip_name::PKTINFO, &octets_of(words));
        }
        if self.ttl {
            put(IPPROTO_IP, ip_name::TTL, &i32::from(datagram.ttl).to_le_bytes());
        }
        if self.traffic_class {
            put(IPPROTO_IP, ip_name::TOS, &[datagram.traffic_class]);
        }
        if self.destination {
            let family_and_port = {
                let ([a, b], [c, d]) = (AF_INET.to_le_bytes(), taken.port.0.to_be_bytes());
                [a, b, c, d]
            };
            let words = [family_and_port, datagram.to.octets(), [0; 4], [0; 4]];
            put(IPPROTO_IP, ip_name::RECVORIGDSTADDR, &octets_of(words));
        }
        all
    }
}

fn octets_of<const N: usize, const M: usize>(words: [[u8; N]; M]) -> Vec<u8> {
    words.into_iter().flatten().collect()
}

/// What a program asks for one send alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The address that it comes from.
    pub(super) from: Option<Ipv4Addr>,
    pub(super) overrides: UdpOverrides,
    /// `UDP_SEGMENT`.
    pub(super) segment: Option<u16>,
}

impl Asked {
    /// Reads the control messages of a send. Of a kind the last counts.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(super) fn read(control: &[Control]) -> Result<Self, Errno> {
        let mut asked = Self::default();
        for message in control {
            let Control::Internet(message) = message else { continue };
            let data = message.data();
            match (message.level, message.kind) {
                (IPPROTO_IP, ip_name::PKTINFO) => {
                    let (index, from) = (int(data)?, address_at(data, 4)?);
                    if data.len() != 12 {
                        return Err(EINVAL);
                    }
                    asked.from = (!from.is_unspecified()).then_some(from);
                    asked.overrides.iface = interface(index)?;
                }
                (IPPROTO_IP, ip_name::TTL) => {
                    let ttl = u8::try_from(int(data)?).ok().filter(|&ttl| ttl > 0 && data.len() == 4);
                    asked.overrides.ttl = Some(ttl.ok_or(EINVAL)?);
                }
                (IPPROTO_IP, ip_name::TOS) if matches!(data.len(), 1 | 4) => {
                    asked.overrides.traffic_class = Some(u8::try_from(number(data)).map_err(|_| EINVAL)?);
                }
                (IPPROTO_UDP, udp_name::SEGMENT) => {
                    let octets: [u8; 2] = data.try_into().map_err(|_| EINVAL)?;
                    asked.segment = Some(u16::from_le_bytes(octets));
                }
                (IPPROTO_IP | IPPROTO_UDP, _) => return Err(EINVAL),
                // Other protocols' are passed over.
                _ => {}
            }
        }
        Ok(asked)
    }
}

fn interface(index: i32) -> Result<Option<IfaceId>, Errno> {
    if index == 0 { Ok(None) } else { of_index(index).map(Some).ok_or(EINVAL) }
}

#[cfg(test)]
mod tests {
    use frame::{Frame, HeapPool};
    use net::Instant;

    use super::*;

    fn taken() -> Taken {
        let payload = Frame::allocate(HeapPool::leak(0), 0, 10).unwrap();
        let datagram = Datagram {
            from: Ipv4Addr::new(10, 0, 0, 2),
            from_port: Port(9),
            to: Ipv4Addr::new(10, 0, 0, 255),
            iface: IfaceId(1),
            ttl: 63,
            traffic_class: 0xb9,
            at: Instant(0),
            payload,
        };
        Taken { datagram, each: Some(1200), port: Port(80), local: Ipv4Addr::new(10, 0, 0, 1), dropped: 3 }
    }

    fn told(wanted: Wanted) -> Vec<(i32, i32, Vec<u8>)> {
        let row = |control| match control {
            Control::Internet(message) => (message.level, message.kind, message.data().to_vec()),
            _ => panic!("nothing else is told"),
        };
        wanted.tell(&taken(), 7_000_000_123).into_iter().map(row).collect()
    }

    #[test]
    fn what_is_wanted_is_told_as_linux_does() {
        assert_eq!(told(Wanted::NONE), []);
        let wanted = Wanted {
            packet_info: true,
            ttl: true,
            traffic_class: true,
            destination: true,
            time: name::TIMESTAMPNS,
            dropped: true,
            several: true,
        };
        let expected: [(i32, i32, &[u8]); 7] = [
            (1, 35, &[7, 0, 0, 0, 0, 0, 0, 0, 123, 0, 0, 0, 0, 0, 0, 0]),
            (1, 40, &[3, 0, 0, 0]),
            (17, 104, &[0xb0, 4, 0, 0]),
            (0, 8, &[2, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 255]),
            (0, 2, &[63, 0, 0, 0]),
            (0, 1, &[0xb9]),
            (0, 20, &[2, 0, 0, 80, 10, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        assert_eq!(told(wanted), expected.map(|(level, kind, data)| (level, kind, data.to_vec())));
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let read = |level, kind, data: &[u8]| {
            Asked::read(&[Control::Internet(Internet::new(level, kind, data).unwrap())])
        };
        let info = [2, 0, 0, 0, 10, 0, 0, 1, 9, 9, 9, 9];
        let asked = read(0, 8, &info).unwrap();
        assert_eq!((asked.from, asked.overrides.iface), (Some(Ipv4Addr::new(10, 0, 0, 1)), Some(IfaceId(1))));
        assert_eq!(read(0, 8, &info[..8]), Err(EINVAL));
        assert_eq!(read(0, 2, &[5, 0, 0, 0]).unwrap().overrides.ttl, Some(5));
        assert_eq!(read(0, 2, &[0, 0, 0, 0]), Err(EINVAL));
        assert_eq!(read(0, 2, &[5]), Err(EINVAL));
        assert_eq!(read(0, 1, &[0xb8]).unwrap().overrides.traffic_class, Some(0xb8));
        assert_eq!(read(0, 1, &[0xb8, 1, 0, 0]), Err(EINVAL));
        assert_eq!(read(17, 103, &[0xb0, 4]).unwrap().segment, Some(1200));
        assert_eq!(read(17, 103, &[0xb0, 4, 0, 0]), Err(EINVAL));
        assert_eq!(read(0, 99, &[0; 4]), Err(EINVAL));
        assert_eq!(read(41, 50, &[0; 4]), Ok(Asked::default()));
    }
}
