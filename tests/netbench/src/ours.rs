//! [`Ours`]: our stack as the host.

use std::collections::VecDeque;
use std::time::Duration;

use frame::{Frame, RxFrame, TxFrame};
use net::stack::{ListenOptions, ListenerHandle, TcpHandle};
use net::tcp::{Config, Events};
use net::{Event, HEADROOM, IfaceId, Instant, Key, Link, Settings, Stack};
use wire::{MacAddr, Port};

use crate::host::{ADDRESS, BUFFER, Host, MAC, PORT, Program};
use crate::peer::{BLOCK, Peer};
use crate::pool::pool;

/// Octets of a frame that a program's write makes (os/sockets).
const CHUNK: usize = 1460;
/// Octets of a driver's receive buffer.
const RX_BUFFER: usize = 1526;

pub struct Ours {
    program: Program,
    stack: Stack,
    iface: IfaceId,
    listener: ListenerHandle,
    checksums: bool,
    loaded: Vec<RxFrame>,
    sent: Vec<TxFrame>,
    /// Frames that the program has not read.
    queue: VecDeque<Frame>,
    writing: Option<TcpHandle>,
    buffer: Box<[u8]>,
    /// The next idle peer.
    idle: u32,
}

impl Host for Ours {
    fn new(program: Program, _connections: usize, checksums: bool) -> Self {
        let settings = Settings { max_flows: 1 << 17, ..Settings::new(Key([1, 2])) };
        let mut stack = Stack::new(settings, pool());
        let link =
            Link { mac: MacAddr(MAC), mtu: 1500, tx_checksum: !checksums, tx_segmentation: false, up: true };
        let iface = stack.add_device("bench", link).expect("the first");
        let cidr = format!("{ADDRESS}/8").parse().expect("an address");
        stack.add_address(iface, cidr, Instant(0)).expect("an address");
        let config = Config::new(Port::NONE, Port::NONE);
        let listener =
            stack.tcp_listen(None, Port(PORT), ListenOptions::new(1024), config).expect("the first");
        Self {
            program,
            stack,
            iface,
            listener,
            checksums,
            loaded: Vec::new(),
            sent: Vec::new(),
            queue: VecDeque::new(),
            writing: None,
            buffer: vec![7; BUFFER].into(),
            idle: BLOCK,
        }
    }

    fn load(&mut self, octets: &[u8]) {
        let mut frame = Frame::allocate(pool(), 0, RX_BUFFER).expect("memory");
        frame.push_back(octets.len()).expect("room").copy_from_slice(octets);
        self.loaded.push(RxFrame { frame, checksum_valid: !self.checksums, segment_size: None });
    }

    fn run(&mut self, now_us: u64) {
        let now = Instant(0) + Duration::from_micros(now_us);
        self.sent.clear();
        self.stack.receive(self.iface, self.loaded.drain(..), now);
        while self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        while let Some(event) = self.stack.poll_event() {
            self.handle(event, now);
        }
        if let Some(handle) = self.writing {
            self.write(handle, now);
        }
        while let Some(frame) = self.stack.poll_transmit(self.iface, now) {
            self.sent.push(frame);
        }
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        let octets =
            |sent: &TxFrame| sent.frame.segments().flat_map(|segment| segment.octets).copied().collect();
        self.sent.iter().map(octets).collect()
    }

    fn sent_count(&self) -> usize {
        self.sent.len()
    }

    fn add_idle(&mut self, count: usize) {
        for _ in 0..count {
            let mut peer = Peer::new(self.idle);
            if self.idle.is_multiple_of(BLOCK) {
                peer.introduce(self);
            }
            self.idle += 1;
            peer.open(self, 0);
        }
    }
}

impl Ours {
    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Accept { .. } => {
                while let Some(handle) = self.stack.tcp_accept(self.listener) {
                    if self.program == Program::Write {
                        self.writing = Some(handle);
                    }
                }
            }
            Event::Tcp { flow, events } => self.serve(flow, events, now),
            _ => {}
        }
    }

    fn serve(&mut self, flow: TcpHandle, events: Events, now: Instant) {
        if events.has(Events::READABLE) {
            let received = self.stack.tcp_receive_into(flow, &mut self.queue);
            let mut at = 0;
            for frame in self.queue.drain(..) {
                at = if at + frame.len() > BUFFER { 0 } else { at };
                at += frame.copy_to(0, &mut self.buffer[at..]);
            }
            self.stack.tcp_read(flow, received as u32, now);
            if let Program::Answer(octets) = self.program {
                let frame = self.chunk(octets);
                self.stack.tcp_send(flow, frame, now).expect("room");
            }
        }
        if events.has(Events::FINISHED) {
            self.stack.tcp_close(flow, now);
        }
    }

    fn write(&mut self, handle: TcpHandle, now: Instant) {
        while self.stack.tcp(handle).is_some_and(|flow| flow.send_room() as usize >= CHUNK) {
            let frame = self.chunk(CHUNK);
            self.stack.tcp_send(handle, frame, now).expect("room");
        }
    }

    fn chunk(&self, octets: usize) -> Frame {
        let mut frame = Frame::allocate(pool(), HEADROOM, octets).expect("memory");
        frame.push_back(octets).expect("room").copy_from_slice(&self.buffer[..octets]);
        frame
    }
}
