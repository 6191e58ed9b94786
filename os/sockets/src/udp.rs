//! [`UdpSocket`]: a datagram socket. Its queue is the endpoint's in the stack.

mod control;
mod options;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};

use frame::Frame;
use kernel::mm::packets;
use kernel::time;
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
use net::udp::{BindError, Endpoint, UdpHandle};
use net::{DropReason, HEADROOM};
use sync::SpinLock;
use wire::Port;

use self::control::{Asked, Taken, answers_from};
use self::options::{Options, address_at, interface};
use crate::ip_options::name as ip_name;
use crate::options::{IPPROTO_IP, SOL_SOCKET, deadline, int, memory_info, name, of_int};
use crate::pass::{self, Net};
use crate::{config, ioctl};

/// Most octets of a datagram over IPv4.
const MAX_PAYLOAD: usize = 65_507;
/// Most datagrams of one send (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 128;

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    endpoint: Option<UdpHandle>,
    /// The address it is bound to without a port (`IP_BIND_ADDRESS_NO_PORT`), until it is connected or sends.
    address: Option<Ipv4Addr>,
}

/// A datagram socket.
pub struct UdpSocket {
    this: Weak<Self>,
    inode: u64,
    readiness: Readiness,
    phase: SpinLock<Phase>,
    options: SpinLock<Options>,
    /// Held while they are changed, which may need a look at the stack: before its lock.
    setting: SpinLock<()>,
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
            options: SpinLock::new(Options::new()),
            setting: SpinLock::new(()),
            receive_shut: AtomicBool::new(false),
            send_shut: AtomicBool::new(false),
        })
    }

    /// The stack has something for it. In the network pass.
    pub fn on_event(&self) {
        self.readiness.notify(events::IN | events::RDNORM | events::OUT | events::WRNORM | events::ERR);
    }

    /// The endpoint, made at a free port if there is none.
    fn endpoint(&self, net: &mut Net) -> Result<UdpHandle, Errno> {
        let phase = *self.phase.lock();
        match phase.endpoint {
            Some(endpoint) => Ok(endpoint),
            None => self.bind_to(net, phase.address, Port::NONE),
        }
    }

    /// Makes the endpoint.
    fn bind_to(&self, net: &mut Net, address: Option<Ipv4Addr>, port: Port) -> Result<UdpHandle, Errno> {
        let (binding, wanted) = {
            let options = self.options.lock();
            (options.binding(), options.for_stack())
        };
        let endpoint = net.stack.udp_bind(address, port, binding).map_err(bind_error)?;
        if let Some(options) = net.stack.udp_options(endpoint) {
            *options = wanted;
        }
        net.endpoints.insert(endpoint, self.this.upgrade().ok_or(EINVAL)?);
        self.phase.lock().endpoint = Some(endpoint);
        Ok(endpoint)
    }

    /// Has the endpoint follow options that were changed.
    fn configure(&self) {
        let Some(endpoint) = self.phase.lock().endpoint else { return };
        let wanted = self.options.lock().for_stack();
        pass::with(|net| {
            if let Some(options) = net.stack.udp_options(endpoint) {
                *options = wanted;
            }
        });
    }

    /// Looks at the endpoint. `None`: there is none.
    fn look<T>(&self, f: impl FnOnce(&Endpoint) -> T) -> Option<T> {
        let endpoint = self.phase.lock().endpoint?;
        pass::look(|net| net.stack.udp(endpoint).map(f)).flatten()
    }

    /// The next datagram; several as one if the program wants that, of `room` octets at most.
    fn try_receive(&self, peek: bool, room: usize) -> Result<Taken, Errno> {
        let endpoint = self.phase.lock().endpoint;
        let Some(endpoint) = endpoint else { return Err(EAGAIN) };
        let several = self.options.lock().wanted.several;
        pass::with(|net| {
            if let Some(error) = net.stack.udp_take_error(endpoint) {
                return Err(icmp_error(&error.error));
            }
            let taken = match (peek, several) {
                (true, _) => net.stack.udp_peek(endpoint).map(|datagram| (datagram, None)),
                (false, true) => net.stack.udp_receive_many(endpoint, room),
                (false, false) => net.stack.udp_receive(endpoint).map(|datagram| (datagram, None)),
            };
            let (datagram, each) = taken.ok_or(EAGAIN)?;
            let endpoint = net.stack.udp(endpoint).ok_or(EAGAIN)?;
            let (port, dropped) = (endpoint.port(), endpoint.dropped());
            let local = answers_from(&net.stack, &datagram);
            Ok(Taken { datagram, each, port, local, dropped })
        })
        .ok_or(ENETDOWN)?
    }

    /// Joins or leaves a group: `struct ip_mreq` or `ip_mreqn`.
    fn membership(&self, value: &[u8], join: bool) -> Result<(), Errno> {
        let (group, local) = (address_at(value, 0)?, address_at(value, 4)?);
        let index = if value.len() >= 12 { int(&value[8..])? } else { 0 };
        pass::with(|net| {
            if join && !group.is_multicast() {
                return Err(EINVAL);
            }
            let endpoint = self.endpoint(net)?;
            let iface = interface(&net.stack, local, index).ok_or(ENODEV)?;
            let done = if join {
                net.stack.udp_join(endpoint, iface, group, pass::now())
            } else {
                net.stack.udp_leave(endpoint, iface, group, pass::now())
            };
            match (done, join) {
                (true, _) => Ok(()),
                (false, true) => Err(EADDRINUSE),
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
        Repr::Unreachable(Unreachable::Protocol) => ENOPROTOOPT,
        Repr::Unreachable(Unreachable::FragmentationNeeded { .. }) => EMSGSIZE,
        Repr::Unreachable(Unreachable::Net) => ENETUNREACH,
        _ => EHOSTUNREACH,
    }
}

fn send_error(error: SendError) -> Errno {
    match error {
        SendError::NoDestination => EDESTADDRREQ,
        SendError::Broadcast => EACCES,
        SendError::TooLong => EMSGSIZE,
        SendError::NoSocket => EINVAL,
        SendError::NotOwn | SendError::Dropped(DropReason::NoRoute) => ENETUNREACH,
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
        const TIOCOUTQ: u32 = 0x5411;
        let value = match op {
            FIONREAD => self.look(Endpoint::next_len).flatten().unwrap_or(0),
            // What is sent is the device's at once.
            TIOCOUTQ => 0,
            _ => return ioctl::interfaces(op, arg),
        };
        kernel::uaccess::write(arg, value as i32)?;
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
        let free_port = address.port() == 0 && self.options.lock().binds_without_port();
        pass::with(|net| {
            let phase = *self.phase.lock();
            if phase.endpoint.is_some() {
                return Err(EINVAL);
            }
            let local = (!address.ip().is_unspecified()).then_some(*address.ip());
            if free_port {
                net.check_local(*address.ip(), self.options.lock().binding().nonlocal)?;
                self.phase.lock().address = local;
                return Ok(());
            }
            self.bind_to(net, local, Port(address.port())).map(drop)
        })
        .ok_or(ENETDOWN)?
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
            let endpoint = self.endpoint(net)?;
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
        let asked = Asked::read(&outgoing.control)?;
        wait_for_address(to);
        let len = from.len();
        if len > MAX_PAYLOAD {
            return Err(EMSGSIZE);
        }
        let segment_size = asked.segment.filter(|size| *size > 0).or(self.options.lock().segment());
        if segment_size.is_some_and(|size| len > MAX_SEGMENTS * usize::from(size)) {
            return Err(EINVAL);
        }
        let mut payload = Frame::allocate(packets::pool(), HEADROOM, len).ok_or(ENOBUFS)?;
        if len > 0 {
            let room = payload.push_back(len).ok_or(ENOBUFS)?;
            if from.read(room)? < len {
                return Err(linux::errno::EFAULT);
            }
        }
        pass::with(|net| {
            let endpoint = self.endpoint(net)?;
            if let Some(error) = net.stack.udp_take_error(endpoint) {
                return Err(icmp_error(&error.error));
            }
            let Asked { from, overrides, .. } = asked;
            let send = UdpSend { to, from, payload, segment_size, overrides };
            net.stack.udp_send(endpoint, send, pass::now()).map_err(send_error)
        })
        .ok_or(ENETDOWN)??;
        Ok(len)
    }

    fn receive(&self, to: &mut UserBuffers, flags: u32, nonblocking: bool) -> Result<Received, Errno> {
        if flags & flags::ERRQUEUE != 0 {
            return Err(EAGAIN);
        }
        let deadline = deadline(self.options.lock().common.receive_timeout);
        let peek = flags & flags::PEEK != 0;
        let room = to.len();
        let taken = self.readiness.take_on(events::IN, nonblocking, deadline, || {
            match self.try_receive(peek, room) {
                Ok(taken) => Ok(Some(taken)),
                Err(EAGAIN) if self.receive_shut.load(Ordering::Relaxed) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let Some(taken) = taken else { return Ok(Received::default()) };
        let datagram = &taken.datagram;
        let whole = datagram.payload.len();
        let mut len = 0;
        for segment in datagram.payload.segments() {
            len += to.write(segment.octets)?;
        }
        let from = SocketAddr::from((datagram.from, datagram.from_port.0));
        let wanted = self.options.lock().wanted;
        let control = wanted.tell(&taken, datagram.at.0.saturating_add(time::realtime_offset_ns()));
        Ok(Received { control, ..Received::datagram(len, whole, Some(from.into()), flags) })
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
        let local = self.look(|endpoint| (endpoint.local(), endpoint.port().0));
        let (address, port) = local.unwrap_or((self.phase.lock().address, 0));
        Ok(SocketAddr::from((address.unwrap_or(Ipv4Addr::UNSPECIFIED), port)).into())
    }

    fn peer_address(&self) -> Result<Address, Errno> {
        let (ip, port) = self.look(Endpoint::remote).flatten().ok_or(ENOTCONN)?;
        Ok(SocketAddr::from((ip, port.0)).into())
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name) {
            (IPPROTO_IP, ip_name::ADD_MEMBERSHIP) => return self.membership(value, true),
            (IPPROTO_IP, ip_name::DROP_MEMBERSHIP) => return self.membership(value, false),
            _ => {
                let _setting = self.setting.lock();
                let mut options = self.options.lock().clone();
                options.set(level, name, value)?;
                *self.options.lock() = options;
            }
        }
        self.configure();
        Ok(())
    }

    fn option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
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
            (SOL_SOCKET, name::COOKIE) => self.inode.to_le_bytes().to_vec(),
            (SOL_SOCKET, name::MEMINFO) => {
                let queue = self.look(|endpoint| (endpoint.queued_bytes(), endpoint.dropped()));
                let (received, dropped) = queue.unwrap_or_default();
                memory_info(&self.options.lock().common, received, 0, dropped)
            }
            (IPPROTO_IP, ip_name::MTU) => {
                let endpoint = self.phase.lock().endpoint;
                let mtu = pass::look(|net| net.stack.udp_path_mtu(endpoint?, pass::now())).flatten();
                of_int(mtu.ok_or(ENOTCONN)?.into())
            }
            _ => {
                let options = self.options.lock().clone();
                options.get(level, name)?
            }
        })
    }
}
