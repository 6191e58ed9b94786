//! Operations on interfaces, by way of any socket (netdevice(7)).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use kernel::uaccess;
use linux::errno::{EADDRNOTAVAIL, EFAULT, EINVAL, ENETDOWN, ENODEV, ENOTTY, EPERM, Errno, Result};
use linux::socket::AF_INET;
use net::iface::Kind;
use net::{Interface, Ipv4Cidr};

use crate::options::{index_of, of_index};
use crate::pass;

/// Octets of an interface's name, the one that ends it among them.
const NAME_LEN: usize = 16;
/// `struct ifreq`.
const REQUEST_LEN: usize = 40;

type Request = [u8; REQUEST_LEN];

/// Flags of an interface.
pub mod flags {
    pub const UP: u32 = 1;
    pub const BROADCAST: u32 = 2;
    pub const LOOPBACK: u32 = 8;
    pub const RUNNING: u32 = 0x40;
    pub const MULTICAST: u32 = 0x1000;
    /// There is a link (not among the 16 bits of ioctl(2)).
    pub const LOWER_UP: u32 = 0x1_0000;
}

/// Kinds of hardware addresses.
pub const ARPHRD_ETHER: u16 = 1;
pub const ARPHRD_LOOPBACK: u16 = 772;

/// What is read of interfaces; nothing can be set.
///
/// # Errors
/// `ENOTTY`: it is no such operation; `ENODEV`, `EADDRNOTAVAIL`, `EPERM`, `EFAULT`.
pub fn interfaces(op: u32, arg: u64) -> Result {
    const SIOCGIFNAME: u32 = 0x8910;
    const SIOCGIFCONF: u32 = 0x8912;
    const SIOCGIFFLAGS: u32 = 0x8913;
    const SIOCGIFADDR: u32 = 0x8915;
    const SIOCGIFDSTADDR: u32 = 0x8917;
    const SIOCGIFBRDADDR: u32 = 0x8919;
    const SIOCGIFNETMASK: u32 = 0x891b;
    const SIOCGIFMETRIC: u32 = 0x891d;
    const SIOCGIFMTU: u32 = 0x8921;
    const SIOCGIFHWADDR: u32 = 0x8927;
    const SIOCGIFINDEX: u32 = 0x8933;
    const SIOCGIFTXQLEN: u32 = 0x8942;
    /// `SIOCSIFFLAGS`, `SIOCSIFADDR` and their kin, each behind the operation that reads.
    const SETS: [u32; 9] = [0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8924, 0x8943];
    match op {
        SIOCGIFCONF => list(arg),
        SIOCGIFNAME => with_request(arg, |request| {
            let index = i32::from_le_bytes([request[16], request[17], request[18], request[19]]);
            let name = look(|net| {
                let iface = net.stack.interface(of_index(index).ok_or(ENODEV)?).ok_or(ENODEV)?;
                Ok(name_octets(iface))
            })?;
            request[..NAME_LEN].copy_from_slice(&name);
            Ok(())
        }),
        SIOCGIFINDEX => ask(arg, |_, index| Ok(index.to_le_bytes().to_vec())),
        SIOCGIFFLAGS => ask(arg, |iface, _| Ok((interface_flags(iface) as u16).to_le_bytes().to_vec())),
        SIOCGIFMTU => ask(arg, |iface, _| Ok(i32::from(iface.mtu()).to_le_bytes().to_vec())),
        SIOCGIFMETRIC => ask(arg, |_, _| Ok([0; 4].to_vec())),
        SIOCGIFTXQLEN => ask(arg, |_, _| Ok((net::iface::MAX_TX_QUEUE as i32).to_le_bytes().to_vec())),
        SIOCGIFHWADDR => ask(arg, |iface, _| {
            let mut address = hardware_kind(iface).to_le_bytes().to_vec();
            address.extend(iface.link().mac.0);
            address.resize(16, 0);
            Ok(address)
        }),
        SIOCGIFADDR | SIOCGIFDSTADDR => ask(arg, |iface, _| Ok(socket_address(first(iface)?.address()))),
        SIOCGIFNETMASK => ask(arg, |iface, _| Ok(socket_address(first(iface)?.netmask()))),
        SIOCGIFBRDADDR => ask(arg, |iface, _| {
            let broadcast = if iface.kind() == Kind::Loopback { None } else { first(iface)?.broadcast() };
            Ok(socket_address(broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED)))
        }),
        op if SETS.contains(&op) => Err(EPERM),
        _ => Err(ENOTTY),
    }
}

/// `IFF_UP` and its kin.
pub fn interface_flags(iface: &Interface) -> u32 {
    let link = match iface.link().up {
        true => flags::RUNNING | flags::LOWER_UP,
        false => 0,
    };
    let kind = match iface.kind() {
        Kind::Loopback => flags::LOOPBACK,
        Kind::Ethernet | Kind::Vlan { .. } => flags::BROADCAST | flags::MULTICAST,
    };
    flags::UP | link | kind
}

/// `ARPHRD_ETHER` or `ARPHRD_LOOPBACK`.
pub fn hardware_kind(iface: &Interface) -> u16 {
    if iface.kind() == Kind::Loopback { ARPHRD_LOOPBACK } else { ARPHRD_ETHER }
}

/// An interface's name with zeros behind it.
fn name_octets(iface: &Interface) -> [u8; NAME_LEN] {
    let mut octets = [0; NAME_LEN];
    let name = iface.name().as_bytes();
    let len = name.len().min(NAME_LEN - 1);
    octets[..len].copy_from_slice(&name[..len]);
    octets
}

fn first(iface: &Interface) -> core::result::Result<Ipv4Cidr, Errno> {
    iface.addresses().next().map(|(cidr, _)| cidr).ok_or(EADDRNOTAVAIL)
}

/// `struct sockaddr_in`, without a port.
fn socket_address(address: Ipv4Addr) -> Vec<u8> {
    let mut octets = AF_INET.to_le_bytes().to_vec();
    octets.extend([0; 2]);
    octets.extend(address.octets());
    octets.extend([0; 8]);
    octets
}

fn look<T>(f: impl FnOnce(&pass::Net) -> core::result::Result<T, Errno>) -> core::result::Result<T, Errno> {
    pass::look(f).unwrap_or(Err(ENETDOWN))
}

fn with_request(arg: u64, f: impl FnOnce(&mut Request) -> core::result::Result<(), Errno>) -> Result {
    let mut request = [0; REQUEST_LEN];
    uaccess::read_bytes(arg, &mut request)?;
    f(&mut request)?;
    uaccess::write_bytes(arg, &request)?;
    Ok(0)
}

/// Answers about the interface that a request names: what `answer` says of it and its index comes behind the name.
fn ask(arg: u64, answer: impl FnOnce(&Interface, i32) -> core::result::Result<Vec<u8>, Errno>) -> Result {
    with_request(arg, |request| {
        let name = request[..NAME_LEN].split(|octet| *octet == 0).next().unwrap_or_default();
        let name = core::str::from_utf8(name).map_err(|_| ENODEV)?;
        let octets = look(|net| {
            let (id, iface) = net.stack.interfaces().find(|(_, iface)| iface.name() == name).ok_or(ENODEV)?;
            answer(iface, index_of(id))
        })?;
        request.get_mut(NAME_LEN..NAME_LEN + octets.len()).ok_or(EINVAL)?.copy_from_slice(&octets);
        Ok(())
    })
}

/// `SIOCGIFCONF`: all addresses with the names of their interfaces, as many as there is room for. Without a place for them: how
/// much room they take.
fn list(arg: u64) -> Result {
    let [len, place] = uaccess::read::<[u64; 2]>(arg)?;
    let room = usize::try_from(len as i32).map_err(|_| EINVAL)?;
    let entries: Vec<Request> = look(|net| {
        let of_interface = |iface: &Interface| -> Vec<Request> {
            let entry = |address| {
                let mut entry = [0; REQUEST_LEN];
                entry[..NAME_LEN].copy_from_slice(&name_octets(iface));
                entry[NAME_LEN..NAME_LEN + 16].copy_from_slice(&socket_address(address));
                entry
            };
            iface.addresses().map(|(cidr, _)| entry(cidr.address())).collect()
        };
        Ok(net.stack.interfaces().flat_map(|(_, iface)| of_interface(iface)).collect())
    })?;
    let fitting = if place == 0 { entries.len() } else { entries.len().min(room / REQUEST_LEN) };
    if place != 0 {
        for (n, entry) in entries.iter().take(fitting).enumerate() {
            let at = place.checked_add((n * REQUEST_LEN) as u64).ok_or(EFAULT)?;
            uaccess::write_bytes(at, entry)?;
        }
    }
    uaccess::write(arg, (fitting * REQUEST_LEN) as u32)?;
    Ok(0)
}
