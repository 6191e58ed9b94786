//! [`Address`]: a socket's address, as the program writes it (`struct sockaddr`: ip(7), ipv6(7), unix(7)).

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use kernel::uaccess;

use super::Outcome;
use crate::errno::{EAFNOSUPPORT, EINVAL};

const AF_UNSPEC: u16 = 0;
/// Inside this machine.
pub const AF_UNIX: u16 = 1;
/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;

/// Octets of `struct sockaddr_storage`: no address is longer.
const STORAGE: usize = 128;
/// Octets of `struct sockaddr_in`.
const SOCKADDR_IN: usize = 16;
/// Octets of `struct sockaddr_in6`.
const SOCKADDR_IN6: usize = 28;
/// Octets of `struct sockaddr_un`.
const SOCKADDR_UN: usize = 110;
/// Where the name begins in it.
const SUN_PATH: usize = 2;

/// A socket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// None (`AF_UNSPEC`): takes a peer away.
    Unspecified,
    /// Of the internet protocols.
    Inet(SocketAddr),
    /// A local socket's name.
    Unix(UnixName),
}

/// A local socket's name (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixName {
    /// It has none; as an argument of bind(2): any abstract name.
    Unnamed,
    /// In the tree of files; not empty, without the zero at its end.
    Path(Arc<[u8]>),
    /// Outside of it: any octets, those behind the zero.
    Abstract(Arc<[u8]>),
}

impl Address {
    /// Reads an argument of a socket of a family.
    ///
    /// # Errors
    /// `EINVAL`: too short, too long, or, of a local socket, another family's; `EAFNOSUPPORT`: a family that is not there; `EFAULT`.
    pub(super) fn read(domain: u16, address: u64, len: u32) -> Outcome<Self> {
        let mut storage = [0; STORAGE];
        Self::parse(domain, read_storage(&mut storage, address, len)?)
    }

    /// Whether an argument can be read, whatever it says.
    ///
    /// # Errors
    /// `EINVAL`: too long; `EFAULT`.
    pub(super) fn check(address: u64, len: u32) -> Outcome<()> {
        read_storage(&mut [0; STORAGE], address, len).map(drop)
    }

    /// Reads where a message is to go. `None`: to the peer.
    ///
    /// # Errors
    /// As of [`Self::read`]. A local socket's malformed one is an unnamed one, which is no destination: a stream says something
    /// else about it than a datagram socket.
    pub(super) fn read_destination(domain: u16, address: u64, len: u32) -> Outcome<Option<Self>> {
        if address == 0 {
            return Ok(None);
        }
        let mut storage = [0; STORAGE];
        let octets = read_storage(&mut storage, address, len)?;
        match Self::parse(domain, octets) {
            _ if domain == AF_UNIX && octets.is_empty() => Ok(None),
            Ok(Self::Unspecified) | Err(_) if domain == AF_UNIX => Ok(Some(Self::Unix(UnixName::Unnamed))),
            // As udp(7) has it on Linux.
            Ok(Self::Unspecified) if domain == AF_INET => Self::parse_as(AF_INET, octets).map(Some),
            parsed => parsed.map(Some),
        }
    }

    fn parse(domain: u16, octets: &[u8]) -> Outcome<Self> {
        let family = u16::from_le_bytes(*octets.first_chunk().ok_or(EINVAL)?);
        if domain == AF_UNIX && !matches!(family, AF_UNIX | AF_UNSPEC) {
            return Err(EINVAL);
        }
        Self::parse_as(family, octets)
    }

    fn parse_as(family: u16, octets: &[u8]) -> Outcome<Self> {
        let word =
            |at| octets.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_le_bytes);
        let port =
            || octets.get(2..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u16::from_be_bytes);
        Ok(match family {
            AF_UNSPEC => Self::Unspecified,
            AF_UNIX => Self::Unix(UnixName::parse(octets)?),
            AF_INET if octets.len() >= SOCKADDR_IN => {
                Self::Inet((Ipv4Addr::from(word(4).to_le_bytes()), port()).into())
            }
            AF_INET6 if octets.len() >= SOCKADDR_IN6 => {
                let ip: [u8; 16] =
                    octets.get(8..).and_then(|rest| rest.first_chunk()).copied().ok_or(EINVAL)?;
                Self::Inet(SocketAddrV6::new(Ipv6Addr::from(ip), port(), word(4), word(24)).into())
            }
            AF_INET | AF_INET6 => return Err(EINVAL),
            _ => return Err(EAFNOSUPPORT),
        })
    }

    /// The address as the program sees it; of an `AF_INET6` socket an IPv4 address is shown mapped.
    fn encode(&self, domain: u16) -> Encoded {
        let mut encoded = Encoded::new();
        match self {
            Self::Unspecified => encoded.put(&AF_UNSPEC.to_le_bytes()),
            Self::Unix(name) => name.encode(&mut encoded),
            Self::Inet(address) if domain == AF_INET6 => {
                let (ip, scope, flow) = match address {
                    SocketAddr::V4(address) => (address.ip().to_ipv6_mapped(), 0, 0),
                    SocketAddr::V6(address) => (*address.ip(), address.scope_id(), address.flowinfo()),
                };
                encoded.put(&AF_INET6.to_le_bytes());
                encoded.put(&address.port().to_be_bytes());
                encoded.put(&flow.to_le_bytes());
                encoded.put(&ip.octets());
                encoded.put(&scope.to_le_bytes());
            }
            Self::Inet(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip,
                    IpAddr::V6(ip) => ip.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
                };
                encoded.put(&AF_INET.to_le_bytes());
                encoded.put(&address.port().to_be_bytes());
                encoded.put(&ip.octets());
                encoded.put(&[0; 8]);
            }
        }
        encoded
    }

    /// Writes an address to where its length says how much fits; the length becomes what there was to write. `None`: nothing.
    ///
    /// # Errors
    /// `EINVAL`: the length is negative; `EFAULT`.
    pub(super) fn write(address: Option<&Self>, domain: u16, to: u64, len_at: u64) -> Outcome<()> {
        let room = usize::try_from(uaccess::read::<i32>(len_at)?).map_err(|_| EINVAL)?;
        let encoded = address.map_or(Encoded::new(), |address| address.encode(domain));
        let octets = encoded.octets();
        let fits = octets.len().min(room);
        if fits > 0 {
            uaccess::write_bytes(to, &octets[..fits])?;
        }
        uaccess::write(len_at, octets.len() as u32)?;
        Ok(())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl UnixName {
    /// Of a whole `struct sockaddr_un`.
    fn parse(octets: &[u8]) -> Outcome<Self> {
        if octets.len() > SOCKADDR_UN {
            return Err(EINVAL);
        }
        Ok(match octets.get(SUN_PATH..).unwrap_or_default() {
            [] => Self::Unnamed,
            [0, name @ ..] => Self::Abstract(name.into()),
            path => Self::Path(path.split(|octet| *octet == 0).next().unwrap_or_default().into()),
        })
    }

    fn encode(&self, to: &mut Encoded) {
        to.put(&AF_UNIX.to_le_bytes());
        match self {
            Self::Unnamed => {}
            Self::Path(path) => {
                to.put(path);
                to.put(&[0]);
            }
            Self::Abstract(name) => {
                to.put(&[0]);
                to.put(name);
            }
        }
    }
}

/// The octets of an address.
struct Encoded {
    octets: [u8; SOCKADDR_UN + 2],
    len: usize,
}

impl Encoded {
    const fn new() -> Self {
        Self { octets: [0; SOCKADDR_UN + 2], len: 0 }
    }

    /// What does not fit is left out; no address is that long.
    fn put(&mut self, more: &[u8]) {
        if let Some(room) = self.octets.get_mut(self.len..self.len + more.len()) {
            room.copy_from_slice(more);
            self.len += more.len();
        }
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

fn read_storage(storage: &mut [u8; STORAGE], address: u64, len: u32) -> Outcome<&[u8]> {
    let octets = storage.get_mut(..len as usize).ok_or(EINVAL)?;
    uaccess::read_bytes(address, octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn un(path: &[u8]) -> Vec<u8> {
        [&AF_UNIX.to_le_bytes()[..], path].concat()
    }

    #[test]
    fn local_names_end_at_a_zero_or_are_abstract() {
        let parse = |path: &[u8]| Address::parse(AF_UNIX, &un(path));
        let path = |path: &[u8]| Ok(Address::Unix(UnixName::Path(path.into())));
        let free = |name: &[u8]| Ok(Address::Unix(UnixName::Abstract(name.into())));
        assert_eq!(parse(b""), Ok(Address::Unix(UnixName::Unnamed)));
        assert_eq!(parse(b"/tmp/x\0rest"), path(b"/tmp/x"));
        assert_eq!(parse(&[b'a'; 108]), path(&[b'a'; 108]));
        assert_eq!(parse(&[b'a'; 109]), Err(EINVAL));
        assert_eq!(parse(b"\0"), free(b""));
        assert_eq!(parse(b"\0a\0b"), free(b"a\0b"));
        assert_eq!(Address::parse(AF_UNIX, &[1]), Err(EINVAL));
        assert_eq!(Address::parse(AF_UNIX, &[2; 16]), Err(EINVAL));
    }

    #[test]
    fn local_names_are_shown_as_they_were_given_and_with_a_zero_behind_a_path() {
        let shown = |path: &[u8]| {
            Address::parse(AF_UNIX, &un(path)).map(|name| name.encode(AF_UNIX).octets().to_vec())
        };
        assert_eq!(shown(b""), Ok(un(b"")));
        assert_eq!(shown(b"/a"), Ok(un(b"/a\0")));
        assert_eq!(shown(&[b'a'; 108]).map(|octets| octets.len()), Ok(111));
        assert_eq!(shown(b"\0a\0"), Ok(un(b"\0a\0")));
        assert_eq!(shown(b"\0"), Ok(un(b"\0")));
    }

    #[test]
    fn addresses_of_the_internet_protocols_come_back() {
        let mut octets = AF_INET.to_le_bytes().to_vec();
        octets.extend([0x1f, 0x90, 127, 0, 0, 1]);
        assert_eq!(Address::parse(AF_INET, &octets), Err(EINVAL));
        octets.extend([0; 8]);
        let address = Address::parse(AF_INET, &octets).unwrap();
        assert_eq!(address, Address::Inet("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(address.encode(AF_INET).octets(), octets);
        assert_eq!(address.encode(AF_INET6).octets().len(), SOCKADDR_IN6);
        let six = address.encode(AF_INET6);
        assert_eq!(
            Address::parse(AF_INET6, six.octets()),
            Ok(Address::Inet("[::ffff:127.0.0.1]:8080".parse().unwrap()))
        );
        assert_eq!(Address::parse(AF_INET, &[77, 0]), Err(EAFNOSUPPORT));
        assert_eq!(Address::parse(AF_INET, &[0, 0]), Ok(Address::Unspecified));
    }
}
