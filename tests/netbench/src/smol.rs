//! [`Smol`]: smoltcp as the host.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::host::{ADDRESS, BUFFER, Host, MAC, PORT, Program};

/// Octets of each buffer of a socket that moves much: what our stack begins with.
const LARGE: usize = 128 * 1024;
/// Of one that does not.
const SMALL: usize = 4 * 1024;

pub struct Smol {
    program: Program,
    iface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    /// Those with a program.
    served: Vec<SocketHandle>,
    buffer: Box<[u8]>,
}

impl Host for Smol {
    fn new(program: Program, connections: usize, checksums: bool) -> Self {
        let mut device = Queues { checksums, ..Queues::default() };
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), 8)).expect("the first");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let size = if matches!(program, Program::Answer(_)) { SMALL } else { LARGE };
        let served = (0..connections).map(|_| sockets.add(listening(PORT, size))).collect();
        Self { program, iface, device, sockets, served, buffer: vec![7; BUFFER].into() }
    }

    fn load(&mut self, frame: &[u8]) {
        self.device.received.push_back(frame.to_vec());
    }

    fn run(&mut self, now_us: u64) {
        let now = Instant::from_micros(now_us as i64);
        self.device.spare.append(&mut self.device.sent);
        self.iface.poll(now, &mut self.device, &mut self.sockets);
        let mut is_changed = false;
        for handle in &self.served {
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            is_changed |= serve(socket, self.program, &mut self.buffer);
        }
        if is_changed {
            self.iface.poll(now, &mut self.device, &mut self.sockets);
        }
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.device.sent.clone()
    }

    fn sent_count(&self) -> usize {
        self.device.sent.len()
    }

    fn add_idle(&mut self, count: usize) {
        for _ in 0..count {
            self.sockets.add(listening(PORT + 1, 1));
        }
    }
}

/// What a connection takes.
pub fn memory_of_one() -> usize {
    size_of::<Socket<'_>>() + 2 * SMALL
}

fn listening(port: u16, size: usize) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.listen(port).expect("a port");
    socket
}

/// Whether there may be something to send now.
fn serve(socket: &mut Socket<'_>, program: Program, buffer: &mut [u8]) -> bool {
    let mut is_changed = false;
    while socket.can_recv() {
        is_changed = true;
        socket.recv_slice(buffer).expect("it can");
        if let Program::Answer(octets) = program {
            socket.send_slice(&buffer[..octets]).expect("room");
        }
    }
    while program == Program::Write && socket.can_send() {
        is_changed = true;
        socket.send_slice(buffer).expect("it can");
    }
    if !socket.is_open() {
        socket.listen(PORT).expect("a port");
    } else if socket.is_active() && !socket.may_recv() && socket.may_send() && program != Program::Write {
        is_changed = true;
        socket.close();
    }
    is_changed
}

/// A device of queues.
#[derive(Default)]
struct Queues {
    checksums: bool,
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// Buffers for frames to be sent.
    spare: Vec<Vec<u8>>,
}

impl Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if !self.checksums {
            capabilities.checksum.tcp = Checksum::None;
        }
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sending<'a>(&'a mut Queues);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.0.spare.pop().unwrap_or_else(|| Vec::with_capacity(1514));
        frame.resize(len, 0);
        let result = f(&mut frame);
        self.0.sent.push(frame);
        result
    }
}
