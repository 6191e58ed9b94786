//! The other side, for tests: a device that does what a test tells it to, honest or not.
//!
//! It finds memory by its address, as a device does. It remembers which chains it has, and writes to no other memory: what a
//! device could destroy by writing elsewhere, no driver can prevent.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard};

use frame::{BLOCK_ALIGN, BLOCK_OVERHEAD, DmaAddr, Frame, LINK_LAYOUT, Memory, Pool, TxFrame};
use kernel::device::net::NetDevice;
use kernel::irq::{ConnectError, Handler};

use super::feature;
use super::net::VirtioNet;
use super::queue::passes;
use super::transport::{Error, Found, QueueAddresses, Reasons, Transport, status};

/// A pool whose blocks are found by their addresses.
#[derive(Debug, Default)]
pub struct FakePool {
    blocks: AtomicUsize,
    max_blocks: AtomicUsize,
}

impl FakePool {
    /// A pool of at most so many blocks. Never freed.
    pub fn leak(max_blocks: usize) -> &'static Self {
        Box::leak(Box::new(Self { blocks: AtomicUsize::new(0), max_blocks: AtomicUsize::new(max_blocks) }))
    }

    /// Blocks that are out.
    pub fn out(&self) -> usize {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Another bound.
    pub fn set_max(&self, max_blocks: usize) {
        self.max_blocks.store(max_blocks, Ordering::Relaxed);
    }
}

fn block_layout(len: usize) -> alloc::alloc::Layout {
    alloc::alloc::Layout::from_size_align(len, BLOCK_ALIGN).expect("a block's length is small")
}

// SAFETY: memory comes from the global allocator with the layout asked for, zeroed.
unsafe impl Pool for FakePool {
    fn allocate_block(&self, octets: usize) -> Option<Memory> {
        if self.out() >= self.max_blocks.load(Ordering::Relaxed) {
            return None;
        }
        let len = BLOCK_OVERHEAD + octets;
        // SAFETY: the length is not 0.
        let start = NonNull::new(unsafe { alloc::alloc::alloc_zeroed(block_layout(len)) })?;
        self.blocks.fetch_add(1, Ordering::Relaxed);
        Some(Memory { start, len, dma: DmaAddr(start.as_ptr().expose_provenance() as u64) })
    }

    unsafe fn free_block(&self, memory: Memory) {
        self.blocks.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: it came from `allocate_block` (caller), with this layout.
        unsafe { alloc::alloc::dealloc(memory.start.as_ptr(), block_layout(memory.len)) };
    }

    fn allocate_link(&self) -> Option<NonNull<u8>> {
        // SAFETY: the layout's size is not 0.
        NonNull::new(unsafe { alloc::alloc::alloc_zeroed(LINK_LAYOUT) })
    }

    unsafe fn free_link(&self, link: NonNull<u8>) {
        // SAFETY: it came from `allocate_link` (caller), with this layout.
        unsafe { alloc::alloc::dealloc(link.as_ptr(), LINK_LAYOUT) };
    }
}

/// What the fake device offers. The default: everything that the network driver knows.
#[derive(Clone, Debug)]
pub struct Offer {
    /// From before version 1.
    pub legacy: bool,
    /// Features.
    pub features: u64,
    /// Largest size of each queue.
    pub queue_max: u16,
    /// The configuration.
    pub config: Vec<u8>,
    /// It says yes to the features.
    pub accepts: bool,
}

/// Feature bits of the network device, for tests.
pub mod net_feature {
    /// Completes checksums.
    pub const CSUM: u64 = 1 << 0;
    /// Vouches for checksums.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// Has an MTU.
    pub const MTU: u64 = 1 << 3;
    /// Has an address.
    pub const MAC: u64 = 1 << 5;
    /// Cuts TCP segments.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// Spreads packets.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// Tells of its link.
    pub const STATUS: u64 = 1 << 16;
}

/// The fake network device's address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

impl Default for Offer {
    fn default() -> Self {
        let mut config = vec![0; 12];
        config[..6].copy_from_slice(&MAC);
        config[6] = 1;
        config[10..].copy_from_slice(&1500_u16.to_le_bytes());
        Self {
            legacy: false,
            features: net_feature::CSUM
                | net_feature::GUEST_CSUM
                | net_feature::MTU
                | net_feature::MAC
                | net_feature::HOST_TSO4
                | net_feature::MRG_RXBUF
                | net_feature::STATUS
                | feature::RING_INDIRECT_DESC
                | feature::RING_EVENT_IDX
                | feature::VERSION_1,
            queue_max: 16,
            config,
            accepts: true,
        }
    }
}

/// A chain that the device has.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Its head.
    pub id: u16,
    /// Memory that it may read.
    pub readable: Vec<(u64, usize)>,
    /// Memory that it may write.
    pub writable: Vec<(u64, usize)>,
    /// Whether it came in a table.
    pub indirect: bool,
}

impl Chain {
    /// What the driver put into it.
    pub fn read(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for &(address, len) in &self.readable {
            // SAFETY: the driver's chain, which the device has (`Device` hands out no other).
            octets.extend_from_slice(unsafe { core::slice::from_raw_parts(pointer(address), len) });
        }
        octets
    }

    /// Fills it as far as there is room; returns how many octets.
    pub fn write(&self, mut octets: &[u8]) -> usize {
        let mut written = 0;
        for &(address, len) in &self.writable {
            let (now, later) = octets.split_at(len.min(octets.len()));
            // SAFETY: the driver's chain, which the device has; nobody else uses it.
            unsafe { pointer(address).copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            (octets, written) = (later, written + now.len());
        }
        written
    }
}

fn pointer(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}

#[derive(Default)]
struct FakeQueue {
    size: u16,
    addresses: Option<QueueAddresses>,
    last_avail: u16,
    /// The used index that was put, that was shown, and up to which interrupts were considered.
    used: u16,
    shown: u16,
    signalled: u16,
    held: BTreeMap<u16, Chain>,
    order: Vec<u16>,
    /// It has lied about its index: it must not touch memory any more.
    abandoned: bool,
    notified: u64,
}

impl FakeQueue {
    fn addresses(&self) -> QueueAddresses {
        self.addresses.expect("the driver has set the queue up")
    }

    fn u16(&self, address: u64) -> &AtomicU16 {
        // SAFETY: a field of a ring, which lives as long as the driver's queue; it is used by atomic accesses alone.
        unsafe { AtomicU16::from_ptr(pointer(address).cast()) }
    }

    fn u32(&self, address: u64) -> &AtomicU32 {
        // SAFETY: as in `u16`.
        unsafe { AtomicU32::from_ptr(pointer(address).cast()) }
    }

    fn u64(&self, address: u64) -> &AtomicU64 {
        // SAFETY: as in `u16`.
        unsafe { AtomicU64::from_ptr(pointer(address).cast()) }
    }

    /// Takes what the driver has made available.
    fn pull(&mut self) {
        let avail = self.addresses().avail.0;
        let end = self.u16(avail + 2).load(Ordering::Acquire);
        while self.last_avail != end {
            let slot = u64::from(self.last_avail & (self.size - 1));
            let id = self.u16(avail + 4 + 2 * slot).load(Ordering::Relaxed);
            self.last_avail = self.last_avail.wrapping_add(1);
            let mut chain = Chain { id, ..Chain::default() };
            self.walk(self.addresses().descriptors.0, id, &mut chain, 0);
            // After a lie about its index the driver may believe that the device is done with what it holds.
            let is_held = self.held.insert(id, chain).is_some();
            assert!(!is_held || self.abandoned, "the driver gave chain {id} twice");
            self.order.push(id);
        }
    }

    fn walk(&self, table: u64, first: u16, chain: &mut Chain, depth: u32) {
        let mut id = first;
        for _ in 0..1024 {
            let at = table + 16 * u64::from(id);
            let address = self.u64(at).load(Ordering::Relaxed);
            let len = self.u32(at + 8).load(Ordering::Relaxed);
            let flags = self.u16(at + 12).load(Ordering::Relaxed);
            if flags & 4 != 0 {
                assert!(depth == 0 && flags == 4 && len.is_multiple_of(16), "§ 2.7.5.3.1");
                chain.indirect = true;
                return self.walk(address, 0, chain, 1);
            }
            let list = if flags & 2 != 0 { &mut chain.writable } else { &mut chain.readable };
            list.push((address, len as usize));
            if flags & 1 == 0 {
                return;
            }
            id = self.u16(at + 14).load(Ordering::Relaxed);
        }
        panic!("a chain without an end");
    }

    fn put_used(&mut self, id: u32, len: u32) {
        let slot = self.addresses().used.0 + 4 + 8 * u64::from(self.used & (self.size - 1));
        self.u32(slot).store(id, Ordering::Relaxed);
        self.u32(slot + 4).store(len, Ordering::Relaxed);
        self.used = self.used.wrapping_add(1);
    }

    /// Shows what was put. Returns whether the driver wants an interrupt for it.
    fn show(&mut self, event_index: bool) -> bool {
        let addresses = self.addresses();
        self.shown = self.used;
        self.u16(addresses.used.0 + 2).store(self.used, Ordering::Release);
        fence(Ordering::SeqCst);
        let old = core::mem::replace(&mut self.signalled, self.used);
        if !event_index {
            return old != self.used && self.u16(addresses.avail.0).load(Ordering::Relaxed) & 1 == 0;
        }
        let event = self.u16(addresses.avail.0 + 4 + 2 * u64::from(self.size)).load(Ordering::Relaxed);
        passes(event, self.used, old)
    }

    /// The oldest chain.
    fn take(&mut self) -> Option<Chain> {
        self.pull();
        if self.abandoned {
            return None;
        }
        loop {
            if self.order.is_empty() {
                return None;
            }
            if let Some(chain) = self.held.remove(&self.order.remove(0)) {
                return Some(chain);
            }
        }
    }
}

struct State {
    offer: Offer,
    driver_features: u64,
    status: u8,
    /// Every status that was written.
    statuses: Vec<u8>,
    queues: [FakeQueue; 2],
    generation: u32,
    reasons: Reasons,
}

impl State {
    fn event_index(&self) -> bool {
        self.driver_features & feature::RING_EVENT_IDX != 0
    }
}

/// The test's hand on the device.
#[derive(Clone)]
pub struct Device(Arc<Mutex<State>>);

/// The driver's hand on the device.
struct FakeTransport(Arc<Mutex<State>>);

/// The receive queue of a network device.
pub const RX: usize = 0;
/// The transmit queue of a network device.
pub const TX: usize = 1;

impl Device {
    /// A device, and the way to it.
    pub fn new(offer: Offer) -> (Self, Box<dyn Transport>) {
        let state = State {
            offer,
            driver_features: 0,
            status: 0,
            statuses: Vec::new(),
            queues: Default::default(),
            generation: 0,
            reasons: Reasons::default(),
        };
        let state = Arc::new(Mutex::new(state));
        (Self(state.clone()), Box::new(FakeTransport(state)))
    }

    /// A network device, and a driver that has brought it up.
    ///
    /// # Errors
    /// The driver's.
    pub fn net(offer: Offer, pool: &'static dyn Pool) -> Result<(Self, VirtioNet), Error> {
        let (device, transport) = Self::new(offer);
        Ok((device, VirtioNet::new(Found::new(transport)?, pool)?))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Every status that the driver wrote.
    pub fn statuses(&self) -> Vec<u8> {
        self.state().statuses.clone()
    }

    /// The features that the driver chose.
    pub fn driver_features(&self) -> u64 {
        self.state().driver_features
    }

    /// How often the driver has notified a queue.
    pub fn notified(&self, queue: usize) -> u64 {
        self.state().queues[queue].notified
    }

    /// Takes the oldest chain of a queue.
    pub fn take(&self, queue: usize) -> Option<Chain> {
        self.state().queues[queue].take()
    }

    /// Gives a chain back with a length, to be shown by [`Self::show`].
    pub fn put_used(&self, queue: usize, id: u16, len: u32) {
        self.state().queues[queue].put_used(u32::from(id), len);
    }

    /// Shows the driver what was given back. Returns whether it wants an interrupt.
    pub fn show(&self, queue: usize) -> bool {
        let mut state = self.state();
        let event_index = state.event_index();
        state.queues[queue].show(event_index)
    }

    /// Claims anything at all.
    pub fn claim_used(&self, queue: usize, id: u32, len: u32) {
        let mut state = self.state();
        let queue = &mut state.queues[queue];
        queue.pull();
        if let Ok(id) = u16::try_from(id) {
            queue.held.remove(&id);
        }
        queue.put_used(id, len);
    }

    /// Shows any index. The device never touches the queue's memory again.
    pub fn claim_index(&self, queue: usize, index: u16) {
        let mut state = self.state();
        let queue = &mut state.queues[queue];
        queue.abandoned = true;
        queue.held.clear();
        queue.u16(queue.addresses().used.0 + 2).store(index, Ordering::Release);
    }

    /// The used index that is shown.
    pub fn used_index(&self, queue: usize) -> u16 {
        self.state().queues[queue].shown
    }

    /// Says when it wants to be notified: never, or of the next chain.
    pub fn want_notifications(&self, queue: usize, wanted: bool) {
        let mut state = self.state();
        let event_index = state.event_index();
        let queue = &mut state.queues[queue];
        queue.pull();
        let used = queue.addresses().used.0;
        if event_index {
            let event = if wanted { queue.last_avail } else { queue.last_avail.wrapping_add(1 << 15) };
            queue.u16(used + 4 + 8 * u64::from(queue.size)).store(event, Ordering::Relaxed);
        } else {
            queue.u16(used).store(u16::from(!wanted), Ordering::Relaxed);
        }
    }

    /// Changes the configuration, with an interrupt.
    pub fn set_config(&self, offset: usize, octets: &[u8]) {
        let mut state = self.state();
        state.offer.config[offset..offset + octets.len()].copy_from_slice(octets);
        state.generation += 1;
        state.reasons.config = true;
    }

    /// An honest network device: receives a packet, spread over as many buffers as it takes. `None`: there are too few, and
    /// nothing happened. Otherwise whether the driver wants an interrupt.
    pub fn deliver(&self, flags: u8, packet: &[u8]) -> Option<bool> {
        let mut state = self.state();
        let (features, event_index) = (state.driver_features, state.event_index());
        let mergeable = features & net_feature::MRG_RXBUF != 0;
        let header_len = if mergeable || features & feature::VERSION_1 != 0 { 12 } else { 10 };
        let queue = &mut state.queues[RX];
        queue.pull();
        let (mut chains, mut room) = (Vec::new(), 0);
        while room < header_len + packet.len() {
            let chain = queue.take();
            let Some(chain) = chain.filter(|_| mergeable || chains.is_empty()) else {
                for chain in chains.into_iter().rev() {
                    let chain: Chain = chain;
                    queue.order.insert(0, chain.id);
                    queue.held.insert(chain.id, chain);
                }
                return None;
            };
            room += chain.writable.iter().map(|(_, len)| len).sum::<usize>();
            chains.push(chain);
        }
        let mut octets = vec![0; header_len];
        octets[0] = flags;
        if header_len == 12 {
            octets[10..].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        }
        octets.extend_from_slice(packet);
        let mut rest = &octets[..];
        for chain in chains {
            let written = chain.write(rest);
            rest = &rest[written..];
            queue.put_used(u32::from(chain.id), written as u32);
        }
        Some(queue.show(event_index))
    }

    /// An honest network device: sends all packets; returns them with their headers, and whether the driver wants an
    /// interrupt.
    pub fn send_all(&self) -> (Vec<Vec<u8>>, bool) {
        let mut state = self.state();
        let event_index = state.event_index();
        let queue = &mut state.queues[TX];
        let mut packets = Vec::new();
        while let Some(chain) = queue.take() {
            packets.push(chain.read());
            queue.put_used(u32::from(chain.id), 0);
        }
        let interrupt = queue.show(event_index);
        (packets, interrupt)
    }
}

impl FakeTransport {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Transport for FakeTransport {
    fn is_legacy(&self) -> bool {
        self.state().offer.legacy
    }

    fn device_features(&mut self) -> u64 {
        self.state().offer.features
    }

    fn write_driver_features(&mut self, features: u64) {
        self.state().driver_features = features;
    }

    fn status(&self) -> u8 {
        self.state().status
    }

    fn write_status(&mut self, written: u8) {
        let mut state = self.state();
        state.statuses.push(written);
        state.status = if state.offer.accepts { written } else { written & !status::FEATURES_OK };
        if written == 0 {
            state.queues = Default::default();
        }
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        if queue < 2 { self.state().offer.queue_max } else { 0 }
    }

    fn enable_queue(&mut self, queue: u16, size: u16, addresses: QueueAddresses) -> bool {
        let mut state = self.state();
        let queue = &mut state.queues[usize::from(queue)];
        (queue.size, queue.addresses) = (size, Some(addresses));
        true
    }

    fn notify(&self, queue: u16) {
        self.state().queues[usize::from(queue)].notified += 1;
    }

    fn read_config(&self, offset: usize, octets: &mut [u8]) {
        let state = self.state();
        for (at, octet) in (offset..).zip(octets) {
            *octet = state.offer.config.get(at).copied().unwrap_or(0);
        }
    }

    fn config_generation(&self) -> u32 {
        self.state().generation
    }

    fn connect_interrupts(&mut self, _: u32, _: Handler) -> Result<(), ConnectError> {
        Err(ConnectError::NoInterrupt)
    }

    fn acknowledge(&mut self) -> Reasons {
        Reasons { queues: true, ..core::mem::take(&mut self.state().reasons) }
    }
}

/// A network device that does what the octets say, against the driver: what comes out is never more than went in, and nothing
/// panics. For property tests and fuzzing.
pub fn play(octets: &[u8]) {
    let mut octets = octets.iter().copied();
    let mut next = || octets.next();
    let Some(choice) = next() else { return };
    let mut offer = Offer { queue_max: 1 << (1 + choice % 4), ..Offer::default() };
    offer.legacy = choice & 16 != 0;
    if choice & 32 != 0 {
        offer.features &= !net_feature::MRG_RXBUF;
    }
    if choice & 64 != 0 {
        offer.features &= !feature::RING_EVENT_IDX;
    }
    if choice & 128 != 0 {
        offer.features &= !feature::RING_INDIRECT_DESC;
    }
    std::thread_local! {
        static POOL: &'static FakePool = FakePool::leak(64);
    }
    let pool = POOL.with(|pool| *pool);
    let Ok((device, mut net)) = Device::net(offer, pool) else { return };
    let mut burst = Vec::with_capacity(64);
    while let (Some(operation), Some(a), Some(b)) = (next(), next(), next()) {
        let word = u16::from_le_bytes([a, b]);
        let queue = usize::from(operation >> 7);
        match operation % 12 {
            0 => {
                device.deliver(a, &vec![b; usize::from(word % 4000)]);
            }
            1 | 2 => {
                match operation & 1 {
                    1 => device.claim_used(queue, u32::from(a % 20), u32::from(b) * 16),
                    _ => device.claim_used(queue, u32::from(word) << (b % 17), u32::from(word) << (a % 17)),
                }
                // All of it at once. A claim that the driver sees later might speak of a buffer that it lent anew and that the
                // device took: the device would go on writing to it, and no driver can prevent that.
                device.show(queue);
                burst.clear();
                net.receive(&mut burst, 64);
                net.reclaim();
            }
            3 => {
                device.show(queue);
            }
            // Ends the queue's use, so that it is seldom.
            4 if a == 0 => device.claim_index(queue, device.used_index(queue).wrapping_add(u16::from(b))),
            4 | 5 => {
                // A packet whose header is anything.
                if let Some(chain) = device.take(RX) {
                    let mut packet = vec![b; 100];
                    (packet[0], packet[1], packet[10], packet[11]) = (a, b & 1, a % 6, b >> 7);
                    chain.write(&packet);
                    device.put_used(RX, chain.id, u32::from(a));
                }
            }
            6 => {
                device.send_all();
            }
            7 => {
                let pieces = usize::from(a % 12) + 1;
                let piece = |len| {
                    let mut frame = Frame::allocate(pool, usize::from(b % 16), len)?;
                    frame.push_back(len)?.fill(b);
                    Some(frame)
                };
                let Some(mut frame) = piece(usize::from(b)) else { continue };
                for _ in 1..pieces {
                    let Some(more) = piece(usize::from(a)) else { break };
                    let _ = frame.append(more);
                }
                let checksum = (b & 1 == 0)
                    .then_some(frame::ChecksumOffload { start: u16::from(a), offset: u16::from(b) });
                let segmentation = (b & 2 == 0).then_some(frame::Segmentation {
                    header_len: u16::from(a),
                    size: u16::from(b) << (a % 9),
                });
                let _ = net.transmit(TxFrame { frame, checksum, segmentation });
            }
            8 => net.flush(),
            9 => {
                device.set_config(6, &[a, b]);
                net.acknowledge();
            }
            10 => {
                if a & 1 == 0 {
                    net.disable_interrupts();
                } else {
                    net.enable_interrupts();
                }
                net.reclaim();
            }
            _ => {
                burst.clear();
                let count = net.receive(&mut burst, usize::from(a % 10));
                assert!(count == burst.len() && count <= 9);
                for received in &burst {
                    let len = received.frame.len();
                    assert!((14..=1518).contains(&len), "{len}");
                    assert_eq!(
                        received.frame.segments().map(|segment| segment.octets.len()).sum::<usize>(),
                        len
                    );
                }
            }
        }
    }
    let counters = net.counters();
    assert!(counters.bad_index <= 2);
    drop(burst);
    drop(net);
    assert_eq!(pool.out(), 0, "a device that was reset has no buffers");
}
