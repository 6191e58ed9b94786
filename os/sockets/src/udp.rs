//! [`UdpSocket`]: a datagram socket. Its queue is the endpoint's in the stack.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, Ordering};

use frame::Frame;
use kernel::mm::packets;
use linux::buffers::UserBuffers;
use linux::errno::{
    EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ECONNREFUSED, EDESTADDRREQ, EHOSTUNREACH,
    EINVAL, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENODEV, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM,
    EPIPE, Errno,
};
use linux::fd::{self, File, Stat};
use linux::readiness::{Readiness, events};
use linux::socket::{AF_INET, Address, Outgoing, Received, Shutdown, Socket, flags};
use net::stack::{SendError, UdpSend};
use net::udp::{BindError, Datagram, UdpHandle, UdpOptions};
use net::{DropReason, HEADROOM, IfaceId, Stack};
use sync::SpinLock;
use wire::Port;

use crate::config;
use crate::options::{self, Common, IPPROTO_IP, SOL_SOCKET, int, name, of_int};
use crate::pass::{self, Net};

/// Most octets of a datagram over IPv4.
const MAX_PAYLOAD: usize = 65_507;

/// Names at `IPPROTO_IP`.
mod ip_name {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
}

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    endpoint: Option<UdpHandle>,
}

/// A datagram socket.
pub struct UdpSocket {
    this: Weak<Self>,
    inode: u64,
    readiness: Readiness,
    phase: SpinLock<Phase>,
    common: SpinLock<Common>,
    udp: SpinLock<UdpOptions>,
    /// shutdown(2) was called, for receiving and for sending.
    receive_shut: AtomicBool,
    send_shut: AtomicBool,
}

impl UdpSocket {
    /// A socket without an address.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            inode: fd::next_inode(),
            readiness: Readiness::new(),
            phase: SpinLock::new(Phase::default()),
            common: SpinLock::new(Common::new()),
            udp: SpinLock::new(UdpOptions::DEFAULT),
            receive_shut: AtomicBool::new(false),
            send_shut: AtomicBool::new(false),
        })
    }

    /// The stack has something for it. In the network pass.
    pub fn on_event(&self) {
        self.readiness.notify(events::IN | events::RDNORM | events::OUT | events::WRNORM | events::ERR);
    }

    /// The endpoint, made if there is none.
    fn endpoint(&self, net: &mut Net, local: SocketAddrV4) -> Result<UdpHandle, Errno> {
        if let Some(endpoint) = self.phase.lock().endpoint {
            return Ok(endpoint);
        }
        let shared = {
            let common = self.common.lock();
            common.reuse_address || common.reuse_port
        };
        let address = (!local.ip().is_unspecified()).then_some(*local.ip());
        let endpoint = net.stack.udp_bind(address, Port(local.port()), shared).map_err(bind_error)?;
        let wanted = self.wanted();
        if let Some(options) = net.stack.udp_options(endpoint) {
            *options = wanted;
        }
        net.endpoints.insert(endpoint, self.this.upgrade().ok_or(EINVAL)?);
        self.phase.lock().endpoint = Some(endpoint);
        Ok(endpoint)
    }

    /// The options as the stack takes them.
    fn wanted(&self) -> UdpOptions {
        // One lock at a time: `set_option` holds both.
        let broadcast = self.common.lock().broadcast;
        UdpOptions { broadcast, ..*self.udp.lock() }
    }

    /// Has the endpoint follow options that were changed.
    fn configure(&self) {
        let Some(endpoint) = self.phase.lock().endpoint else { return };
        let wanted = self.wanted();
        pass::with(|net| {
            if let Some(options) = net.stack.udp_options(endpoint) {
                *options = wanted;
            }
        });
    }

    fn try_receive(&self, peek: bool) -> Result<Datagram, Errno> {
        let endpoint = self.phase.lock().endpoint;
        let Some(endpoint) = endpoint else { return Err(EAGAIN) };
        pass::with(|net| {
            if let Some(error) = net.stack.udp_take_error(endpoint) {
                return Err(icmp_error(&error.error));
            }
            let datagram = if peek { net.stack.udp_peek(endpoint) } else { net.stack.udp_receive(endpoint) };
            datagram.ok_or(EAGAIN)
        })
        .ok_or(ENETDOWN)?
    }

    /// Joins or leaves a group: `struct ip_mreq` or `ip_mreqn`.
    fn membership(&self, value: &[u8], join: bool) -> Result<(), Errno> {
        let address = |at: usize| {
            let octets: [u8; 4] = *value.get(at..)?.first_chunk()?;
            Some(Ipv4Addr::from(octets))
        };
        let (group, local) = (address(0).ok_or(EINVAL)?, address(4).ok_or(EINVAL)?);
        let index = if value.len() >= 12 { int(&value[8..])? } else { 0 };
        pass::with(|net| {
            let endpoint = self.endpoint(net, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
            let iface = interface(&net.stack, local, index).ok_or(ENODEV)?;
            let done = if join {
                net.stack.udp_join(endpoint, iface, group, pass::now())
            } else {
                net.stack.udp_leave(endpoint, iface, group, pass::now())
            };
            match (done, join) {
                (true, _) => Ok(()),
                (false, true) => Err(if group.is_multicast() { EADDRINUSE } else { EINVAL }),
                (false, false) => Err(EADDRNOTAVAIL),
            }
        })
        .ok_or(ENETDOWN)?
    }
}

/// See [`config::wait_for_address`].
fn wait_for_address(to: Option<(Ipv4Addr, Port)>) {
    if to.is_some_and(|(address, _)| !address.is_loopback()) {
        config::wait_for_address();
    }
}

/// The interface of an index (from 1), of an address, or the first on a link.
fn interface(stack: &Stack, address: Ipv4Addr, index: i32) -> Option<IfaceId> {
    if index > 0 {
        return stack.interfaces().nth(index as usize - 1).map(|(iface, _)| iface);
    }
    let mut interfaces = stack.interfaces();
    if address.is_unspecified() {
        return interfaces.map(|(iface, _)| iface).find(|iface| *iface != IfaceId::LOOPBACK);
    }
    interfaces
        .find(|(_, iface)| iface.addresses().any(|(cidr, _)| cidr.address() == address))
        .map(|(iface, _)| iface)
}

fn bind_error(error: BindError) -> Errno {
    match error {
        BindError::InUse => EADDRINUSE,
        BindError::NotAvailable => EADDRNOTAVAIL,
        BindError::Full => ENOBUFS,
        BindError::Unreachable => ENETUNREACH,
        BindError::NoEndpoint => EINVAL,
    }
}

fn icmp_error(error: &wire::icmpv4::Repr) -> Errno {
    use wire::icmpv4::{Repr, Unreachable};
    match error {
        Repr::Unreachable(Unreachable::Port) => ECONNREFUSED,
        _ => EHOSTUNREACH,
    }
}

fn send_error(error: SendError) -> Errno {
    match error {
        SendError::NoDestination => EDESTADDRREQ,
        SendError::Broadcast => EACCES,
        SendError::TooLong => EMSGSIZE,
        SendError::NoSocket => EINVAL,
        SendError::Dropped(DropReason::NoRoute) => ENETUNREACH,
        SendError::Dropped(DropReason::Output | DropReason::Postrouting) => EPERM,
        SendError::Dropped(_) => ENOBUFS,
    }
}

impl File for UdpSocket {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        self.receive(to, 0, nonblocking).map(|received| received.len)
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> Result<usize, Errno> {
        self.send(from, Outgoing::default(), 0, nonblocking)
    }

    fn events(&self) -> u32 {
        let endpoint = self.phase.lock().endpoint;
        let mut mask = events::OUT | events::WRNORM;
        let endpoint = endpoint.and_then(|endpoint| {
            pass::look(|net| net.stack.udp(endpoint).map(|e| (e.is_readable(), e.has_error()))).flatten()
        });
        if let Some((readable, error)) = endpoint {
            if readable {
                mask |= events::IN | events::RDNORM;
            }
            if error {
                mask |= events::ERR;
            }
        }
        if self.receive_shut.load(Ordering::Relaxed) {
            mask |= events::IN | events::RDNORM | events::RDHUP;
            if self.send_shut.load(Ordering::Relaxed) {
                mask |= events::HUP;
            }
        }
        mask
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        const S_IFSOCK: u32 = 0o140_000;
        Stat { mode: S_IFSOCK | 0o777, inode: self.inode, size: 0, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> linux::errno::Result {
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(linux::errno::ENOTTY);
        }
        let endpoint = self.phase.lock().endpoint;
        let len = endpoint.and_then(|endpoint| {
            pass::look(|net| net.stack.udp(endpoint).and_then(|e| e.next_len())).flatten()
        });
        kernel::uaccess::write(arg, len.unwrap_or(0) as i32)?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn close(&self) {
        let endpoint = self.phase.lock().endpoint.take();
        if let Some(endpoint) = endpoint {
            let this = pass::with(|net| {
                net.stack.udp_close(endpoint, pass::now());
                net.endpoints.remove(endpoint)
            });
            drop(this);
        }
    }
}

impl Socket for UdpSocket {
    fn domain(&self) -> u16 {
        AF_INET
    }

    fn bind(&self, address: &Address) -> Result<(), Errno> {
        let Address::Inet(SocketAddr::V4(address)) = *address else { return Err(EAFNOSUPPORT) };
        pass::with(|net| {
            if self.phase.lock().endpoint.is_some() {
                return Err(EINVAL);
            }
            self.endpoint(net, address)
        })
        .ok_or(ENETDOWN)??;
        Ok(())
    }

    fn listen(&self, _backlog: i32) -> Result<(), Errno> {
        Err(EOPNOTSUPP)
    }

    fn accept(&self, _nonblocking: bool) -> Result<(Arc<dyn Socket>, Address), Errno> {
        Err(EOPNOTSUPP)
    }

    fn connect(&self, address: &Address, _nonblocking: bool) -> Result<(), Errno> {
        let remote = match address {
            Address::Unspecified => None,
            Address::Inet(SocketAddr::V4(address)) => {
                let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *address.ip() };
                Some((ip, Port(address.port())))
            }
            _ => return Err(EAFNOSUPPORT),
        };
        wait_for_address(remote);
        pass::with(|net| {
            let endpoint = self.endpoint(net, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
            net.stack.udp_connect(endpoint, remote, pass::now()).map_err(bind_error)
        })
        .ok_or(ENETDOWN)?
    }

    fn send(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        _nonblocking: bool,
    ) -> Result<usize, Errno> {
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        if self.send_shut.load(Ordering::Relaxed) {
            return Err(EPIPE);
        }
        let to = match outgoing.to {
            None => None,
            Some(Address::Inet(to)) if to.port() == 0 => return Err(EINVAL),
            Some(Address::Inet(SocketAddr::V4(to))) => Some((*to.ip(), Port(to.port()))),
            Some(_) => return Err(EAFNOSUPPORT),
        };
        wait_for_address(to);
        let len = from.len();
        if len > MAX_PAYLOAD {
            return Err(EMSGSIZE);
        }
        let mut payload = Frame::allocate(packets::pool(), HEADROOM, len).ok_or(ENOBUFS)?;
        if len > 0 {
            let room = payload.push_back(len).ok_or(ENOBUFS)?;
            if from.read(room)? < len {
                return Err(linux::errno::EFAULT);
            }
        }
        pass::with(|net| {
            let endpoint = self.endpoint(net, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
            if let Some(error) = net.stack.udp_take_error(endpoint) {
                return Err(icmp_error(&error.error));
            }
            let send = UdpSend { to, from: None, payload, segment_size: None };
            net.stack.udp_send(endpoint, send, pass::now()).map_err(send_error)
        })
        .ok_or(ENETDOWN)??;
        Ok(len)
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        if flags & flags::ERRQUEUE != 0 {
            return Err(EAGAIN);
        }
        let deadline = options::deadline(self.common.lock().receive_timeout);
        let peek = flags & flags::PEEK != 0;
        let datagram =
            self.readiness.block_on(events::IN, nonblocking, deadline, || match self.try_receive(peek) {
                Ok(datagram) => Ok(Some(datagram)),
                Err(EAGAIN) if self.receive_shut.load(Ordering::Relaxed) => Ok(None),
                Err(error) => Err(error),
            })?;
        let Some(datagram) = datagram else { return Ok(Received::default()) };
        let whole = datagram.payload.len();
        let mut len = 0;
        for segment in datagram.payload.segments() {
            len += to.write(segment.octets)?;
        }
        let from = SocketAddr::from((datagram.from, datagram.from_port.0));
        Ok(Received::datagram(len, whole, Some(from.into()), flags))
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.peer_address()?;
        if how != Shutdown::Write {
            self.receive_shut.store(true, Ordering::Relaxed);
        }
        if how != Shutdown::Read {
            self.send_shut.store(true, Ordering::Relaxed);
        }
        self.readiness.notify(events::IN | events::RDNORM | events::RDHUP | events::HUP);
        Ok(())
    }

    fn local_address(&self) -> Result<Address, Errno> {
        let endpoint = self.phase.lock().endpoint;
        let local = endpoint.and_then(|endpoint| {
            pass::look(|net| {
                let endpoint = net.stack.udp(endpoint)?;
                Some(SocketAddrV4::new(endpoint.local().unwrap_or(Ipv4Addr::UNSPECIFIED), endpoint.port().0))
            })
            .flatten()
        });
        Ok(SocketAddr::V4(local.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))).into())
    }

    fn peer_address(&self) -> Result<Address, Errno> {
        let endpoint = self.phase.lock().endpoint.ok_or(ENOTCONN)?;
        let (ip, port) = pass::look(|net| net.stack.udp(endpoint).and_then(|endpoint| endpoint.remote()))
            .flatten()
            .ok_or(ENOTCONN)?;
        Ok(SocketAddr::from((ip, port.0)).into())
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name) {
            (SOL_SOCKET, _) => {
                let mut common = self.common.lock();
                common.set(name, value)?;
                self.udp.lock().receive_buffer = common.receive_buffer as usize;
            }
            (IPPROTO_IP, ip_name::ADD_MEMBERSHIP) => return self.membership(value, true),
            (IPPROTO_IP, ip_name::DROP_MEMBERSHIP) => return self.membership(value, false),
            (IPPROTO_IP, ip_name::MULTICAST_IF) => {
                let address =
                    value.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets)).ok_or(EINVAL)?;
                let index = if value.len() >= 12 { int(&value[8..])? } else { 0 };
                let iface = pass::look(|net| interface(&net.stack, address, index)).flatten();
                self.udp.lock().multicast_iface = Some(iface.ok_or(EADDRNOTAVAIL)?);
            }
            (IPPROTO_IP, _) => {
                // Some programs set these as a single octet (ip(7)).
                let value = if value.len() == 1 { i32::from(value[0]) } else { int(value)? };
                let octet = || u8::try_from(value).map_err(|_| EINVAL);
                let mut udp = self.udp.lock();
                match name {
                    ip_name::TOS => udp.traffic_class = (value & 0xff) as u8,
                    ip_name::TTL => udp.ttl = octet().ok().filter(|&ttl| ttl > 0).ok_or(EINVAL)?,
                    ip_name::MULTICAST_TTL => udp.multicast_ttl = if value == -1 { 1 } else { octet()? },
                    ip_name::MULTICAST_LOOP => udp.multicast_loop = value != 0,
                    ip_name::MTU_DISCOVER => udp.dont_fragment = value == 2 || value == 3,
                    ip_name::RECVERR => {}
                    _ => return Err(ENOPROTOOPT),
                }
            }
            _ => return Err(ENOPROTOOPT),
        }
        self.configure();
        Ok(())
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let udp = *self.udp.lock();
        Ok(match (level, name) {
            (SOL_SOCKET, name::ERROR) => {
                let endpoint = self.phase.lock().endpoint;
                let error = endpoint
                    .and_then(|endpoint| pass::with(|net| net.stack.udp_take_error(endpoint)).flatten())
                    .map_or(0, |error| icmp_error(&error.error).0);
                of_int(error.into())
            }
            (SOL_SOCKET, name::TYPE) => of_int(2),
            (SOL_SOCKET, name::PROTOCOL) => of_int(17),
            (SOL_SOCKET, name::DOMAIN) => of_int(AF_INET.into()),
            (SOL_SOCKET, name::ACCEPTCONN) => of_int(0),
            (SOL_SOCKET, _) => self.common.lock().get(name)?,
            (IPPROTO_IP, ip_name::TOS) => of_int(udp.traffic_class.into()),
            (IPPROTO_IP, ip_name::TTL) => of_int(udp.ttl.into()),
            (IPPROTO_IP, ip_name::MULTICAST_TTL) => of_int(udp.multicast_ttl.into()),
            (IPPROTO_IP, ip_name::MULTICAST_LOOP) => of_int(udp.multicast_loop.into()),
            (IPPROTO_IP, ip_name::MTU_DISCOVER) => of_int(if udp.dont_fragment { 2 } else { 0 }),
            _ => return Err(ENOPROTOOPT),
        })
    }
}
