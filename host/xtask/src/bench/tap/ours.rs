//! [`Transfer`]: a client on our own stack, in this process.

use super::impairment::Path;
use super::peer::{Direction, request};
use super::switch::{Tap, mac_of, wait};
use anyhow::{Context, Result, bail, ensure};
use frame::{Frame, HeapPool, RxFrame};
use net::stack::TcpHandle;
use net::tcp::{Algorithm, Config, State};
use net::{HEADROOM, IfaceId, Key, Link, Settings, Stack};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wire::{MacAddr, Port};

/// Octets that a system call puts into a frame.
const CHUNK: usize = 1460;
/// After so long something is broken.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Which way octets go.
    pub direction: Direction,
    /// How many.
    pub size: u64,
    /// What sizes the sender's windows.
    pub algorithm: Algorithm,
    /// Windows are spread over the round trip.
    pub pacing: bool,
    /// Tells one connection from another.
    pub seed: u64,
    /// Tell what the sender does.
    pub trace: bool,
}

/// A stack with its clock, its end of the path, and the transfer.
struct Client<'a> {
    stack: Stack,
    iface: IfaceId,
    flow: Option<TcpHandle>,
    epoch: Instant,
    tap: &'a mut Tap,
    paths: &'a mut [Path; 2],
    to_send: VecDeque<Frame>,
    to_receive: u64,
    queue: VecDeque<Frame>,
}

fn pool() -> &'static HeapPool {
    static POOL: OnceLock<&'static HeapPool> = OnceLock::new();
    POOL.get_or_init(|| HeapPool::leak(1 << 20))
}

fn frame(octets: &[u8]) -> Result<Frame> {
    let mut frame = Frame::allocate(pool(), HEADROOM, octets.len()).context("no memory")?;
    frame.push_back(octets.len()).context("no room")?.copy_from_slice(octets);
    Ok(frame)
}

impl Transfer {
    /// Connects, transfers, closes; returns how long it took to the last octet. `paths[0]` leads from the server.
    pub fn run(
        self,
        tap: &mut Tap,
        paths: &mut [Path; 2],
        address: Ipv4Addr,
        (server, port): (Ipv4Addr, u16),
    ) -> Result<Duration> {
        tap.discard();
        let epoch = Instant::now();
        let now = net::Instant(1);
        // Not secret: as good as any for one connection.
        let key = Key([self.seed, self.size]);
        let mut stack = Stack::new(Settings::new(key), pool());
        let link = Link {
            mac: MacAddr(mac_of(address)),
            mtu: 1500,
            tx_checksum: false,
            tx_segmentation: false,
            up: true,
        };
        let iface = stack.add_device("tap", link).ok().context("no interface")?;
        let cidr = format!("{address}/24").parse().ok().context("no address")?;
        stack.add_address(iface, cidr, now).ok().context("no address")?;
        let queue = VecDeque::new();
        let mut to_send = VecDeque::from([frame(&request(self.direction, self.size))?]);
        let to_receive = match self.direction {
            Direction::Sends => 1,
            Direction::Receives => self.size,
        };
        if self.direction == Direction::Sends {
            let mut left = self.size as usize;
            while left > 0 {
                to_send.push_back(frame(&[7; CHUNK][..left.min(CHUNK)])?);
                left = left.saturating_sub(CHUNK);
            }
        }
        let config =
            Config { algorithm: self.algorithm, pacing: self.pacing, ..Config::new(Port::NONE, Port::NONE) };
        let mut client = Client { stack, iface, flow: None, epoch, tap, paths, to_send, to_receive, queue };
        client.meet(server)?;
        // Another port each time: the server has the last connection in TIME-WAIT.
        let from = (None, Port(10_000 + (self.seed % 20_000) as u16));
        let now = client.now();
        let flow = client.stack.tcp_connect(from, (server, Port(port)), config, now);
        client.flow = Some(flow.map_err(|error| anyhow::anyhow!("no connection: {error:?}"))?);
        let took = client.transfer(self.trace)?;
        client.close()?;
        Ok(took)
    }
}

impl Client<'_> {
    fn now(&self) -> net::Instant {
        net::Instant(self.epoch.elapsed().as_nanos() as u64 + 1)
    }

    /// Finds out who has the server's address, as Linux' side has been told.
    fn meet(&mut self, server: Ipv4Addr) -> Result<()> {
        for _ in 0..20 {
            let (now, asked) = (self.now(), Instant::now());
            let _ = self.stack.send_echo_request(server, 1, 1, frame(&[])?, now);
            while asked.elapsed() < Duration::from_millis(300) {
                self.step()?;
                if self.stack.poll_event().is_some() {
                    return Ok(());
                }
            }
        }
        bail!("the server does not answer");
    }

    fn transfer(&mut self, trace: bool) -> Result<Duration> {
        let began = Instant::now();
        let handle = self.flow.context("no connection")?;
        let mut traced = 0;
        while self.to_receive > 0 {
            self.step()?;
            while self.stack.poll_event().is_some() {}
            self.program(handle);
            let flow = self.stack.tcp(handle).context("the connection is gone")?;
            ensure!(flow.state() != State::Closed, "the connection ended: {:?}", flow.error());
            let millis = began.elapsed().as_millis();
            if trace && millis != traced {
                traced = millis;
                let (cwnd, srtt, left) = (flow.cwnd(), flow.srtt(), self.to_send.len());
                let (queued, window) = (flow.unacknowledged(), flow.receive_buffer());
                eprintln!(
                    "{millis} cwnd {cwnd} srtt {srtt:?} queued {queued} frames to queue {left} to receive {} buffer {window}",
                    self.to_receive
                );
            }
            if began.elapsed() > PATIENCE {
                bail!("it takes too long: {} octets to receive, {flow:?}", self.to_receive);
            }
        }
        Ok(began.elapsed())
    }

    /// The path is empty for the next run when the server has closed, too.
    fn close(&mut self) -> Result<()> {
        let Some(flow) = self.flow else { return Ok(()) };
        let now = self.now();
        self.stack.tcp_close(flow, now);
        let began = Instant::now();
        while self.stack.tcp(flow).is_some() && began.elapsed() < Duration::from_secs(2) {
            self.step()?;
        }
        Ok(())
    }

    /// Sends, sleeps until there is something to do, then takes frames and does what is due.
    fn step(&mut self) -> Result<()> {
        self.send();
        let timer = self.stack.poll_timeout().map(|at| self.epoch + Duration::from_nanos(at.0));
        let arrivals = self.paths.iter().filter_map(Path::next_arrival);
        wait(&[self.tap], arrivals.chain(timer).min());
        let now = Instant::now();
        while let Some(octets) = self.tap.receive() {
            self.paths[0].put(now, octets);
        }
        let mut burst = Vec::new();
        while let Some(octets) = self.paths[0].take(now) {
            let mut frame = Frame::allocate(pool(), 0, 1514).context("no memory")?;
            frame.push_back(octets.len()).context("too long")?.copy_from_slice(&octets);
            burst.push(RxFrame { frame, checksum_valid: false });
        }
        let now = self.now();
        self.stack.receive(self.iface, burst, now);
        while self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        self.send();
        Ok(())
    }

    fn send(&mut self) {
        let (now, sent_at) = (self.now(), Instant::now());
        let mut octets = Vec::new();
        while let Some(sent) = self.stack.poll_transmit(self.iface, now) {
            octets.clear();
            octets.extend(sent.frame.segments().flat_map(|segment| segment.octets));
            self.paths[1].put(sent_at, &octets);
        }
        while let Some(octets) = self.paths[1].take(Instant::now()) {
            self.tap.send(&octets);
        }
    }

    /// Reads all that has arrived, and sends what there is room for.
    fn program(&mut self, flow: TcpHandle) {
        let now = self.now();
        let received = self.stack.tcp_receive_into(flow, &mut self.queue);
        if received > 0 {
            self.queue.clear();
            self.to_receive = self.to_receive.saturating_sub(received as u64);
            self.stack.tcp_read(flow, received as u32, now);
        }
        while let Some(frame) = self.to_send.pop_front() {
            use net::tcp::SendError::{Closed, Full};
            if let Err(Full(frame) | Closed(frame)) = self.stack.tcp_send(flow, frame, now) {
                self.to_send.push_front(frame);
                break;
            }
        }
    }
}
