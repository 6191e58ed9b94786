//! The network device (§ 5.1): one receive queue and one transmit queue.
//!
//! Received frames stay where the device wrote them. Sent frames go out of their own memory, with the virtio header in their
//! headroom if nobody shares it and in memory of the driver's otherwise.

pub mod header;

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use frame::{Frame, Lent, Pool, RxFrame, Segmentation, TxFrame};
use kernel::device::net::{Interrupt, NetCounters, NetDevice, Offloads, TxError};
use kernel::irq::{ConnectError, Handler};
use kernel::mm::dma::DmaRegion;
use kernel::random;

use super::feature;
use super::queue::{Direction, MAX_PIECES, Piece, Queue};
use super::transport::{Error, Found, Live};
use header::RxHeader;

/// Features of the device type (§ 5.1.3).
mod net_feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
}

/// What this driver makes use of, where it is offered.
const WANTED: u64 = net_feature::CSUM
    | net_feature::GUEST_CSUM
    | net_feature::MTU
    | net_feature::MAC
    | net_feature::HOST_TSO4
    | net_feature::MRG_RXBUF
    | net_feature::STATUS
    | feature::ANY_LAYOUT
    | feature::RING_INDIRECT_DESC
    | feature::RING_EVENT_IDX
    | feature::VERSION_1
    | feature::ACCESS_PLATFORM;

/// Fields of the configuration (§ 5.1.4).
mod config {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const MTU: usize = 10;
}

const RX_QUEUE: u16 = 0;
const TX_QUEUE: u16 = 1;
/// Largest size of a queue: buffers for more would be memory that is hardly ever used.
const QUEUE_SIZE: u16 = 256;

const ETHERNET_HEADER: usize = 14;
/// Octets before the payload that are not counted by the MTU: the Ethernet header and one 802.1Q tag.
const LINK_OCTETS: usize = ETHERNET_HEADER + 4;
const MTU_DEFAULT: u16 = 1500;
/// The least that IPv4 has to carry (RFC 791 § 3.2).
const MTU_MIN: u16 = 68;

/// A network device at work.
pub struct VirtioNet {
    /// First: it is dropped first, and that ends the device's use of what the others own.
    live: Live,
    pool: &'static dyn Pool,
    rx: Queue<Lent>,
    tx: Queue<Frame>,
    /// Headers of frames without room for one, by chain.
    headers: ManuallyDrop<DmaRegion>,
    /// The device was full, and was asked to interrupt when it no longer is.
    tx_waits: bool,
    header_len: usize,
    /// The header may stand in one piece with the frame.
    any_layout: bool,
    mergeable: bool,
    reports_link: bool,
    offloads: Offloads,
    mac: [u8; 6],
    mtu: u16,
    link_up: bool,
    /// Octets of a receive buffer.
    buffer_len: usize,
    /// A packet of several buffers of which some came.
    partial: Option<Partial>,
    counters: NetCounters,
}

/// A packet whose last buffers did not come yet.
struct Partial {
    frame: Frame,
    checksum_valid: bool,
    /// Buffers that are still to come.
    missing: u16,
    /// It is to be dropped when they have.
    spoilt: bool,
}

impl VirtioNet {
    /// Brings a device up; its receive buffers come from `pool`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(found: Found, pool: &'static dyn Pool) -> Result<Self, Error> {
        let mut device = found.acknowledge().negotiate(WANTED)?;
        let queues = device.queue(RX_QUEUE, QUEUE_SIZE, false).and_then(|rx| {
            let tx: Queue<Frame> = device.queue(TX_QUEUE, QUEUE_SIZE, true)?;
            let headers = DmaRegion::allocate(usize::from(tx.size()) * Self::HEADER_SPACING);
            Ok((rx, tx, headers.ok_or(Error::NoMemory)?))
        });
        let (rx, tx, headers) = match queues {
            Ok(queues) => queues,
            Err(error) => {
                // It knows of what is lost now, but was never allowed to begin.
                device.fail();
                return Err(error);
            }
        };
        let mergeable = device.has(net_feature::MRG_RXBUF);
        let long_header = mergeable || device.has(feature::VERSION_1);
        let header_len = if long_header { header::LEN } else { header::LEN_SHORT };
        let mtu = match device.has(net_feature::MTU) {
            true => u16::from_le_bytes(device.config(config::MTU)),
            false => MTU_DEFAULT,
        };
        let mtu = if mtu < MTU_MIN { MTU_DEFAULT } else { mtu };
        let whole = header_len + LINK_OCTETS + usize::from(mtu);
        // A longer packet is spread, if it may be.
        let buffer_len =
            if mergeable { whole.min(header_len + LINK_OCTETS + usize::from(MTU_DEFAULT)) } else { whole };
        let mac = if device.has(net_feature::MAC) { device.config(config::MAC) } else { random_mac() };
        let mut net = Self {
            pool,
            header_len,
            any_layout: device.has(feature::VERSION_1) || device.has(feature::ANY_LAYOUT),
            mergeable,
            reports_link: device.has(net_feature::STATUS),
            offloads: Offloads {
                tx_checksum: device.has(net_feature::CSUM),
                // The one needs the other (§ 5.1.3.1).
                tx_segmentation: device.has(net_feature::HOST_TSO4) && device.has(net_feature::CSUM),
                rx_checksum: device.has(net_feature::GUEST_CSUM),
            },
            mac,
            mtu,
            link_up: true,
            buffer_len,
            partial: None,
            counters: NetCounters::default(),
            rx,
            tx,
            headers: ManuallyDrop::new(headers),
            tx_waits: false,
            live: device.driver_ok(),
        };
        net.read_link();
        net.rx.disable_interrupts();
        net.tx.disable_interrupts();
        net.refill();
        if net.rx.outstanding() == 0 {
            return Err(Error::NoMemory);
        }
        Ok(net)
    }

    const HEADER_SPACING: usize = 16;

    fn read_link(&mut self) {
        const LINK_UP: u16 = 1;
        if self.reports_link {
            self.link_up = u16::from_le_bytes(self.live.config(config::STATUS)) & LINK_UP != 0;
        }
    }

    fn longest(&self) -> usize {
        usize::from(self.mtu) + LINK_OCTETS
    }

    /// Gives the device as many receive buffers as it has room for and there is memory for.
    fn refill(&mut self) {
        while self.rx.has_room(1) {
            let lent = Frame::allocate(self.pool, 0, self.buffer_len).and_then(|frame| frame.lend().ok());
            let Some(lent) = lent else {
                self.counters.rx_no_memory += 1;
                break;
            };
            let piece = Piece { dma: lent.dma(), len: lent.capacity() as u32 };
            if self.rx.add(&[piece], Direction::FromDevice, lent).is_err() {
                break;
            }
        }
        if self.rx.publish() {
            self.live.notify(RX_QUEUE);
        }
    }

    /// Takes a buffer that the device has filled. `Some`: with it a packet is complete.
    fn assemble(&mut self, mut buffer: Frame) -> Option<RxFrame> {
        let mut partial = match self.partial.take() {
            Some(mut partial) => {
                partial.missing -= 1;
                partial.spoilt |= buffer.is_empty() || partial.frame.len() + buffer.len() > self.longest();
                // One more in the chain only if it is kept: its length has a bound.
                partial.spoilt = partial.spoilt || partial.frame.append(buffer).is_err();
                partial
            }
            None => {
                let Some(header) = RxHeader::parse(buffer.head(), self.mergeable) else {
                    self.counters.rx_bad_header += 1;
                    return None;
                };
                if header.buffers > self.rx.size() {
                    self.counters.rx_bad_buffers += 1;
                    return None;
                }
                buffer.pull(self.header_len);
                let missing = header.buffers - 1;
                Partial { frame: buffer, checksum_valid: header.checksum_valid, missing, spoilt: false }
            }
        };
        if partial.spoilt {
            partial.frame.truncate(0);
        }
        if partial.missing > 0 {
            self.partial = Some(partial);
            return None;
        }
        let len = partial.frame.len();
        if partial.spoilt || len < ETHERNET_HEADER || len > self.longest() {
            self.counters.rx_bad_length += 1;
            return None;
        }
        self.counters.rx_frames = self.counters.rx_frames.wrapping_add(1);
        self.counters.rx_octets = self.counters.rx_octets.wrapping_add(len as u64);
        let checksum_valid = partial.checksum_valid && self.offloads.rx_checksum;
        Some(RxFrame { frame: partial.frame, checksum_valid })
    }

    /// Whether the device can send this frame at all.
    fn is_sendable(&self, frame: &TxFrame) -> bool {
        let len = frame.frame.len();
        let checksum_fits = frame.checksum.is_none_or(|checksum| {
            let end = usize::from(checksum.start) + usize::from(checksum.offset) + 2;
            self.offloads.tx_checksum && end <= len
        });
        let longest = match frame.segmentation {
            None => self.longest(),
            Some(Segmentation { header_len, size }) => {
                let piece = usize::from(header_len) + usize::from(size);
                let can_cut = self.offloads.tx_segmentation && frame.checksum.is_some();
                if !can_cut || size == 0 || usize::from(header_len) >= len || piece > self.longest() {
                    return false;
                }
                LINK_OCTETS + usize::from(u16::MAX)
            }
        };
        (ETHERNET_HEADER..=longest).contains(&len) && checksum_fits
    }

    /// Whether the transmit queue has room for a chain, once what was sent is out of it. If not, the device will interrupt
    /// when it has.
    fn make_room(&mut self, pieces: usize) -> bool {
        if self.tx.has_room(pieces) {
            return true;
        }
        self.reclaim();
        while !self.tx.has_room(pieces) {
            // Half of it, so that there is room for a burst.
            self.tx_waits = true;
            let was_quicker = self.tx.enable_interrupts(self.tx.outstanding() / 2);
            if !was_quicker || self.reclaim() == 0 {
                return false;
            }
        }
        true
    }

    /// A frame of one piece with the same octets, and room for the header.
    fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let len = frame.len();
        let mut whole = Frame::allocate(self.pool, header::LEN, len)?;
        frame.copy_to(0, whole.push_back(len)?);
        self.counters.tx_copied = self.counters.tx_copied.wrapping_add(1);
        Some(whole)
    }

    /// Queues a frame; there is room.
    fn queue(&mut self, mut frame: Frame, octets: [u8; header::LEN]) -> Result<(), Frame> {
        let mut pieces = [Piece { dma: frame::DmaAddr(0), len: 0 }; MAX_PIECES];
        let mut count = 0;
        let mut push = |dma, len: usize| {
            if let Some(piece) = pieces.get_mut(count).filter(|_| len > 0) {
                *piece = Piece { dma, len: len as u32 };
                count += 1;
            }
        };
        let in_front = self.any_layout && frame.headroom() >= self.header_len;
        if in_front && let Some(space) = frame.push_front(self.header_len) {
            space.copy_from_slice(&octets[..self.header_len]);
        } else {
            let at = usize::from(self.tx.next_id()) * Self::HEADER_SPACING;
            for (word, octets) in octets.chunks_exact(4).enumerate() {
                let value = u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]);
                self.headers.u32(at + 4 * word).store(value, Ordering::Relaxed);
            }
            push(self.headers.dma().offset(at), self.header_len);
        }
        frame.segments().for_each(|segment| push(segment.dma, segment.octets.len()));
        self.tx.add(&pieces[..count], Direction::ToDevice, frame).map_err(|mut frame| {
            if in_front {
                frame.pull(self.header_len);
            }
            frame
        })
    }
}

impl Drop for VirtioNet {
    fn drop(&mut self) {
        // Where a device does not reset, all that it knows of is lost: it might still write there.
        if !self.live.reset() {
            return;
        }
        // SAFETY: the device was reset, and this is the last use of the queues, the headers and the buffers.
        unsafe {
            self.rx.take_apart().for_each(|lent| drop(lent.returned(0)));
            self.tx.take_apart().for_each(drop);
            ManuallyDrop::take(&mut self.headers).free();
        }
    }
}

/// One line for the log.
impl fmt::Display for VirtioNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        let link = if self.link_up { "up" } else { "down" };
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, MTU {}, link {link}, ", self.mtu)?;
        write!(f, "queues of {} and {}", self.rx.size(), self.tx.size())
    }
}

/// An address for a device that has none: locally administered, for one station (IEEE 802 § 8.4).
fn random_mac() -> [u8; 6] {
    let mut mac = [0; 6];
    // Without randomness the image does not start, so there is some.
    let _ = random::fill(&mut mac);
    mac[0] = mac[0] & !1 | 2;
    mac
}

impl NetDevice for VirtioNet {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn link_up(&self) -> bool {
        self.link_up
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
        self.live.connect_interrupts(cpu, handler)
    }

    fn acknowledge(&mut self) -> Interrupt {
        let reasons = self.live.acknowledge();
        let before = self.link_up;
        if reasons.config {
            self.read_link();
        }
        Interrupt { frames: reasons.queues, link: self.link_up != before }
    }

    fn receive(&mut self, burst: &mut Vec<RxFrame>, budget: usize) -> usize {
        let room = budget.min(burst.capacity() - burst.len());
        let mut count = 0;
        // Frames that are dropped do not count; the queue is refilled after, so that it ends.
        while count < room {
            let Some(used) = self.rx.pop() else { break };
            // SAFETY: the used ring returned the chain that this buffer was lent with, and the index was read with Acquire,
            // so that what the device wrote before is seen.
            let buffer = unsafe { used.token.returned(used.written as usize) };
            if let Some(frame) = self.assemble(buffer) {
                burst.push(frame);
                count += 1;
            }
        }
        self.refill();
        count
    }

    fn transmit(&mut self, frame: TxFrame) -> Result<(), TxError> {
        if !self.is_sendable(&frame) {
            return Err(TxError::Unsendable(frame));
        }
        // One for a header of its own.
        let pieces = 1 + frame.frame.segments().filter(|segment| !segment.octets.is_empty()).count();
        // A chain that fits the device's descriptors with others beside it, or else a copy.
        let most = if self.tx.size() < 2 * MAX_PIECES as u16 { 2 } else { MAX_PIECES };
        if !self.make_room(pieces.min(most)) {
            self.counters.tx_full = self.counters.tx_full.wrapping_add(1);
            return Err(TxError::Full(frame));
        }
        let TxFrame { frame, checksum, segmentation } = frame;
        let header = header::for_tx(checksum, segmentation);
        let len = frame.len() as u64;
        let queued = if pieces <= most {
            self.queue(frame, header)
        } else {
            match self.copy(&frame) {
                Some(whole) => self.queue(whole, header),
                None => return Err(TxError::NoMemory(TxFrame { frame, checksum, segmentation })),
            }
        };
        match queued {
            Ok(()) => {
                self.counters.tx_frames = self.counters.tx_frames.wrapping_add(1);
                self.counters.tx_octets = self.counters.tx_octets.wrapping_add(len);
                Ok(())
            }
            Err(frame) => Err(TxError::Full(TxFrame { frame, checksum, segmentation })),
        }
    }

    fn flush(&mut self) {
        if self.tx.publish() {
            self.live.notify(TX_QUEUE);
        }
    }

    fn reclaim(&mut self) -> usize {
        // Bounded by what the device had: `pop` gives no chain twice.
        let count = core::iter::from_fn(|| self.tx.pop()).count();
        if count > 0 && core::mem::take(&mut self.tx_waits) {
            self.tx.disable_interrupts();
        }
        count
    }

    fn enable_interrupts(&mut self) -> bool {
        self.rx.enable_interrupts(1)
    }

    fn disable_interrupts(&mut self) {
        self.rx.disable_interrupts();
    }

    fn counters(&self) -> NetCounters {
        let (rx, tx) = (self.rx.faults(), self.tx.faults());
        NetCounters {
            bad_id: rx.bad_id + tx.bad_id,
            bad_length: rx.bad_length + tx.bad_length,
            bad_index: rx.bad_index + tx.bad_index,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests;
