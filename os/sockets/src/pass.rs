//! [`Net`]: the stack and its devices, and the network pass.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddrV4;
use core::sync::atomic::{AtomicBool, Ordering};

use frame::{Pressure, RxFrame, TxFrame};
use kernel::device::net::{Interrupt, NetDevice, TxError};
use kernel::mm::packets;
use kernel::sched::{self, CallHandle};
use kernel::{log, time};
use linux::errno::{EADDRNOTAVAIL, Errno};
use net::stack::{Listener, Tcp};
use net::udp::Udp;
use net::{DropReason, Event, HandleMap, IfaceId, Instant, Link, Settings, Stack};
use sync::SpinLock;
use wire::MacAddr;

use crate::bound::BoundPorts;
use crate::config;
use crate::tcp::TcpSocket;
use crate::udp::UdpSocket;

/// The CPU that owns the stack.
pub const OWNER: u32 = 0;
/// Frames that a pass takes from a device at most; what is left over is for the network's thread.
const BUDGET: usize = 64;

/// A device and its interface.
struct Device {
    iface: IfaceId,
    device: Box<dyn NetDevice>,
    /// A frame for which the device had no room.
    waiting: Option<TxFrame>,
}

/// The stack, its devices, and the sockets of its endpoints.
pub struct Net {
    /// The stack.
    pub stack: Stack,
    /// Local addresses of stream sockets.
    pub bound: BoundPorts,
    devices: Vec<Device>,
    burst: Vec<RxFrame>,
    /// The stack's next deadline, as the timer knows it.
    timer: Option<(u64, CallHandle)>,
    /// The sockets of flows.
    pub flows: HandleMap<Arc<TcpSocket>, Tcp>,
    /// The sockets of listeners.
    pub listeners: HandleMap<Arc<TcpSocket>, Listener>,
    /// The sockets of endpoints.
    pub endpoints: HandleMap<Arc<UdpSocket>, Udp>,
}

static NET: SpinLock<Option<Box<Net>>> = SpinLock::new(None);

/// Sockets that a program has done something with.
static POSTED: SpinLock<Vec<Arc<TcpSocket>>> = SpinLock::new(Vec::new());
/// The network's thread has work, and whom to wake.
static BEHIND: AtomicBool = AtomicBool::new(false);
static THREAD: SpinLock<Option<sched::Waiter>> = SpinLock::new(None);
/// There is no such thread.
static THREADLESS: AtomicBool = AtomicBool::new(false);
/// Sockets that found no memory for a frame.
static STARVED: SpinLock<Vec<Arc<TcpSocket>>> = SpinLock::new(Vec::new());
/// How long they wait before they are looked at again, if nothing else happens.
const STARVED_NS: u64 = 10_000_000;

/// The time, as the stack counts it.
pub fn now() -> Instant {
    Instant(time::now_ns())
}

/// Makes the stack. Called once, at boot.
#[inline(never)]
pub fn init(settings: Settings) {
    let mut burst = Vec::new();
    burst.reserve_exact(BUDGET);
    let net = Box::new(Net {
        stack: Stack::new(settings, packets::pool()),
        bound: BoundPorts::default(),
        devices: Vec::new(),
        burst,
        timer: None,
        flows: HandleMap::new(),
        listeners: HandleMap::new(),
        endpoints: HandleMap::new(),
    });
    *NET.lock() = Some(net);
    sched::set_pass(pass);
    if sched::spawn_kernel(*b"net\0\0\0\0\0\0\0\0\0\0\0\0\0", thread).is_err() {
        THREADLESS.store(true, Ordering::Relaxed);
        log!(Warn, "too little memory for the network's thread: under load the program waits (-m)");
    }
}

/// Calls `f` with the network, then does what followed from it. From any CPU. `None`: there is no network.
pub fn with<R>(f: impl FnOnce(&mut Net) -> R) -> Option<R> {
    let (result, more) = {
        let mut net = NET.lock();
        let net = net.as_mut()?;
        let result = f(net);
        (result, net.settle(now()))
    };
    if more {
        sched::request_pass(OWNER);
    }
    Some(result)
}

/// Calls `f` with the network, of which it changes nothing. From any CPU. `None`: there is no network.
pub fn look<R>(f: impl FnOnce(&Net) -> R) -> Option<R> {
    NET.lock().as_deref().map(f)
}

/// Has the owner look at a socket: at once if this is the owner, in its next pass otherwise.
pub fn post(socket: Arc<TcpSocket>) {
    POSTED.lock().push(socket);
    if sched::this_cpu() == OWNER {
        // Devices interrupt when they have something: who sends does not look for them.
        finish(NET.lock().as_mut().is_some_and(|net| net.serve()));
    } else {
        sched::request_pass(OWNER);
    }
}

/// A socket found no memory for a frame: it is told when there is some again.
pub fn starve(socket: Arc<TcpSocket>) {
    STARVED.lock().push(socket);
    // It may be there already.
    sched::request_pass(OWNER);
}

/// The network pass, on the owner.
fn pass() {
    finish(NET.lock().as_mut().is_some_and(|net| net.pass()));
}

/// What follows a pass that has left something over, if `more`.
fn finish(more: bool) {
    if !more {
        return;
    }
    if THREADLESS.load(Ordering::Relaxed) {
        sched::request_pass(OWNER);
    } else if !BEHIND.swap(true, Ordering::SeqCst) {
        // A flood must not keep the program from running: what is left over is a thread's among others. If it is not
        // waiting, it looks before it does.
        let waiter = THREAD.lock().take();
        if let Some(waiter) = waiter {
            sched::wake(&waiter);
        }
    }
}

/// The network's thread: passes, as long as there is more than one pass does.
extern "C" fn thread() -> ! {
    loop {
        if BEHIND.swap(false, Ordering::SeqCst) {
            while NET.lock().as_mut().is_some_and(|net| net.pass()) {
                sched::breathe();
            }
            continue;
        }
        let waiter = sched::prepare_wait();
        *THREAD.lock() = Some(waiter.clone());
        if BEHIND.load(Ordering::SeqCst) {
            sched::cancel_wait(&waiter);
            continue;
        }
        sched::wait(None);
    }
}

/// Waits until all that the program has sent is acknowledged, as the image ends: on Linux the kernel would go on sending. Not
/// for ever: a peer that does not answer, or does not read, loses the rest.
pub fn drain() {
    const PATIENCE_NS: u64 = 2_000_000_000;
    const STEP_NS: u64 = 2_000_000;
    let until = time::now_ns() + PATIENCE_NS;
    let has_unsent = |net: &Net| {
        net.stack.tcp_has_unacknowledged() || net.flows.values().any(|socket| socket.has_unsent())
    };
    while look(has_unsent) == Some(true) && time::now_ns() < until {
        sched::prepare_wait();
        sched::wait(Some(time::now_ns() + STEP_NS));
        // A signal does not keep the image from ending.
        sched::take_notified();
    }
    report();
}

/// What became of all frames, for the log.
fn report() {
    look(|net| {
        for (_, interface) in net.stack.interfaces() {
            let counters = interface.counters();
            log!(
                Info,
                "{}: {} frames in: {} delivered, {} forwarded, {}; {} frames out, {}",
                interface.name(),
                counters.rx_frames,
                counters.delivered,
                counters.forwarded,
                Drops(&counters.rx_dropped),
                counters.tx_frames,
                Drops(&counters.late_dropped),
            );
            if !counters.add_up() {
                log!(Warn, "{}: frames are missing from this count", interface.name());
            }
        }
    });
}

/// Numbers of dropped packets with their reasons.
struct Drops<'a>(&'a [u64; DropReason::COUNT]);

impl fmt::Display for Drops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dropped", self.0.iter().sum::<u64>())?;
        let counted = DropReason::ALL.iter().zip(self.0).filter(|(_, count)| **count > 0);
        for (n, (reason, count)) in counted.enumerate() {
            write!(f, "{}{} {count}", if n == 0 { ": " } else { ", " }, reason.name())?;
        }
        Ok(())
    }
}

/// A device has interrupted.
fn on_interrupt(index: u64) {
    {
        let mut net = NET.lock();
        if let Some(net) = net.as_mut()
            && let Some(device) = net.devices.get_mut(index as usize)
        {
            let Interrupt { link, .. } = device.device.acknowledge();
            if link {
                let link = link_of(&*device.device);
                log!(Info, "{}: the link is {}", device.iface.0, if link.up { "up" } else { "down" });
                net.stack.set_link(device.iface, link, now());
            }
        }
    }
    pass();
}

/// The stack's deadline has come.
fn on_deadline(_: u64) {
    if let Some(net) = NET.lock().as_mut() {
        net.timer = None;
    }
    sched::request_pass(OWNER);
}

fn link_of(device: &dyn NetDevice) -> Link {
    Link {
        mac: MacAddr(device.mac()),
        mtu: device.mtu(),
        tx_checksum: device.offloads().tx_checksum,
        tx_segmentation: device.offloads().tx_segmentation,
        up: device.link_up(),
    }
}

impl Net {
    /// Takes over a device as interface `name`.
    pub fn add_device(&mut self, name: &str, mut device: Box<dyn NetDevice>) -> Option<IfaceId> {
        let iface = self.stack.add_device(name, link_of(&*device)).ok()?;
        let handler = kernel::irq::Handler { call: on_interrupt, argument: self.devices.len() as u64 };
        if let Err(error) = device.connect_interrupts(OWNER, handler) {
            log!(Warn, "{name}: {error}; it is not used");
            return None;
        }
        let mac = device.mac();
        log!(
            Info,
            "{name}: {:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}, MTU {}",
            mac[0],
            mac[1],
            mac[2],
            mac[3],
            mac[4],
            mac[5],
            device.mtu()
        );
        device.enable_interrupts();
        self.devices.push(Device { iface, device, waiting: None });
        Some(iface)
    }

    /// Gives a stream socket, by its number, a local address.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`.
    pub fn bind(&mut self, socket: u64, wanted: SocketAddrV4, reuse: bool) -> Result<SocketAddrV4, Errno> {
        if !wanted.ip().is_unspecified() && !self.stack.is_own(*wanted.ip()) {
            return Err(EADDRNOTAVAIL);
        }
        self.bound.bind(socket, wanted, reuse)
    }

    /// One pass: what programs have posted, what devices have received, what is due, what follows. Returns whether there is
    /// more to do at once.
    fn pass(&mut self) -> bool {
        self.serve_posted();
        let mut more = false;
        for index in 0..self.devices.len() {
            more |= self.receive(index);
        }
        more | self.settle(now())
    }

    /// The part of a pass that is not about devices: what programs have posted, what is due, what follows.
    fn serve(&mut self) -> bool {
        self.serve_posted();
        self.settle(now())
    }

    /// Looks at the sockets that programs have done something with.
    fn serve_posted(&mut self) {
        let posted = core::mem::take(&mut *POSTED.lock());
        for socket in posted {
            socket.serve(self);
        }
    }

    /// Takes a burst from a device. Returns whether there is more.
    fn receive(&mut self, index: usize) -> bool {
        let Some(Device { iface, device, .. }) = self.devices.get_mut(index) else { return false };
        device.disable_interrupts();
        let taken = device.receive(&mut self.burst, BUDGET);
        if taken > 0 {
            self.stack.receive(*iface, self.burst.drain(..), now());
        }
        taken == BUDGET || device.enable_interrupts()
    }

    /// Does what is due, tells sockets what happened, sends what there is to send, and sets the timer. Returns whether there
    /// is more to do at once.
    fn settle(&mut self, now: Instant) -> bool {
        // The timer rings no later than anything of the stack's is due.
        let may_be_due = self.timer.is_none_or(|(at, _)| at <= now.0);
        if may_be_due && self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        while let Some(event) = self.stack.poll_event() {
            self.handle(event);
        }
        self.transmit(now);
        let starved = self.feed().then(|| Instant(now.0 + STARVED_NS));
        match self.stack.poll_timeout().into_iter().chain(starved).min() {
            Some(at) if at <= now => {
                // Due already, before the timer that is set.
                self.disarm();
                return true;
            }
            Some(at) => self.arm(at),
            None => {}
        }
        false
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tcp { flow, events } => {
                if let Some(socket) = self.flows.get(flow).cloned() {
                    socket.on_events(self, flow, events);
                }
            }
            Event::Accept { listener } => {
                if let Some(socket) = self.listeners.get(listener).cloned() {
                    socket.on_accept(self);
                }
            }
            Event::Udp { socket } => {
                if let Some(endpoint) = self.endpoints.get(socket).cloned() {
                    endpoint.on_event();
                }
            }
            Event::Lease { iface } => config::on_lease(&self.stack, iface),
            Event::AddressConflict { address, mac, .. } => {
                log!(Warn, "network: {address} is in use by {mac}, too");
            }
            Event::EchoReply { .. } => {}
        }
    }

    /// Gives the devices what there is to send, one notification each.
    fn transmit(&mut self, now: Instant) {
        for Device { iface, device, waiting } in &mut self.devices {
            while let Some(frame) = waiting.take().or_else(|| self.stack.poll_transmit(*iface, now)) {
                match device.transmit(frame) {
                    Ok(()) => {}
                    Err(TxError::Full(frame) | TxError::NoMemory(frame)) => {
                        *waiting = Some(frame);
                        break;
                    }
                    // The device counts it.
                    Err(TxError::Unsendable(_)) => {}
                }
            }
            device.flush();
            device.reclaim();
        }
        if let Some(budget) = packets::budget() {
            self.stack.set_pressure(budget.pressure(), now);
        }
    }

    /// Tells sockets that waited for memory if there is some. Returns whether some still wait.
    fn feed(&self) -> bool {
        let mut starved = STARVED.lock();
        if starved.is_empty() {
            return false;
        }
        if packets::budget().is_some_and(|budget| budget.pressure() > Pressure::ShrinkWindows) {
            return true;
        }
        let sockets = core::mem::take(&mut *starved);
        drop(starved);
        for socket in sockets {
            socket.on_memory();
        }
        false
    }

    fn disarm(&mut self) {
        if let Some((_, handle)) = self.timer.take() {
            sched::cancel_call(handle);
        }
    }

    /// Has the owner called at the stack's deadline.
    fn arm(&mut self, at: Instant) {
        if self.timer.is_some_and(|(armed, _)| armed <= at.0) {
            return;
        }
        self.disarm();
        // Without memory for it the next event does what is due.
        self.timer = sched::call_at(at.0, on_deadline, 0).ok().map(|handle| (at.0, handle));
    }
}
