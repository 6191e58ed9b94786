//! [`NetDevice`]: what a network interface's driver offers.

use alloc::vec::Vec;
use core::fmt;

use frame::{RxFrame, TxFrame};

use crate::irq::{ConnectError, Handler};

/// A network interface that carries Ethernet frames.
///
/// One CPU owns a device: all calls come from its kernel sections, one at a time, so there is no lock inside. No call waits
/// for the device.
///
/// The way of a burst, once [`Self::connect_interrupts`] has named a handler:
///
/// 1. The handler is called and calls [`Self::acknowledge`] before it returns.
/// 2. [`Self::disable_interrupts`], then [`Self::receive`] and [`Self::transmit`] as often as the budget allows,
///    [`Self::flush`] at the end.
/// 3. When `receive` found less than it was allowed to, [`Self::enable_interrupts`]; if that says that more came, once
///    more from 2.
pub trait NetDevice: Send {
    /// The interface's own address. It may be a random one that was made up at start, if the device has none.
    fn mac(&self) -> [u8; 6];

    /// Most octets behind the Ethernet header in one frame, sent or received.
    fn mtu(&self) -> u16;

    /// Whether the cable is plugged in. Changes are told by [`Self::acknowledge`].
    fn link_up(&self) -> bool;

    /// What the device can do that would otherwise cost instructions.
    fn offloads(&self) -> Offloads;

    /// Has the device interrupt `cpu` (what came before is not told again: [`Self::receive`] is due), and `handler` called there in a kernel section when it did. May be called again, to
    /// move a device to another CPU: its new owner calls, and takes the handler of the first call.
    ///
    /// # Errors
    /// [`ConnectError`]: no vector is free, or the machine cannot bring this interrupt to that CPU. The device works, but
    /// has to be asked.
    fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError>;

    /// Takes back the device's interrupt and says what it was about. To be called before the handler returns: until then
    /// a device with an interrupt line goes on asking for attention. Costs an exit where the device has such a line,
    /// and none with message-signalled interrupts.
    fn acknowledge(&mut self) -> Interrupt;

    /// Takes received frames, oldest first, and puts them behind what `burst` holds; returns how many. At most `budget`,
    /// and no more than fit into `burst` without growing it. Fewer: there are no more now.
    ///
    /// The device gets fresh buffers for those taken, from the kernel's packet memory. Where there is none, it has that
    /// many fewer until a later call finds some, drops what it has no room for, and [`NetCounters::rx_no_memory`] counts.
    /// A frame that the device describes in a way that cannot be is dropped and counted. The work is bounded by `budget`
    /// frames and as many buffers as the device has.
    fn receive(&mut self, burst: &mut Vec<RxFrame>, budget: usize) -> usize;

    /// Queues a frame. The device hears of it by [`Self::flush`] at the latest. The frame is freed by a later call, after
    /// the device has said that it is done with it.
    ///
    /// # Errors
    /// [`TxError`], with the frame as it was.
    fn transmit(&mut self, frame: TxFrame) -> Result<(), TxError>;

    /// Tells the device about frames that were queued: at most one notification, and none if the device is looking anyway.
    fn flush(&mut self);

    /// Frees the frames that the device has sent; returns how many. `transmit` does so where it has to; a call at the end
    /// of a pass keeps memory from waiting for the next frame.
    fn reclaim(&mut self) -> usize;

    /// Has the device interrupt when it has received something. True: it already has, and may not interrupt for that, so
    /// that [`Self::receive`] is due.
    fn enable_interrupts(&mut self) -> bool;

    /// Asks the device not to interrupt for what it receives. It may still do so.
    fn disable_interrupts(&mut self);

    /// What happened since the start.
    fn counters(&self) -> NetCounters;
}

/// What a device takes off the stack's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It completes checksums of frames that are sent with [`frame::ChecksumOffload`].
    pub tx_checksum: bool,
    /// It cuts TCP segments that are sent with [`frame::Segmentation`].
    pub tx_segmentation: bool,
    /// It may vouch for the checksums of received frames (`RxFrame::checksum_valid`).
    pub rx_checksum: bool,
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// Frames were received or sent.
    pub frames: bool,
    /// The link went up or down; [`NetDevice::link_up`] has the new state.
    pub link: bool,
}

/// Why a frame was not queued. The frame comes back as it was.
#[derive(Debug)]
pub enum TxError {
    /// The device has no room. It interrupts when it has.
    Full(TxFrame),
    /// The frame will never go: longer than the MTU allows, empty, or with a checksum or segments that the device cannot make
    /// (it does not offer to, or what is asked for does not fit the frame).
    Unsendable(TxFrame),
    /// The frame is in more pieces than the device takes, and there is no memory to copy it into one.
    NoMemory(TxFrame),
}

impl TxError {
    /// The frame.
    pub fn into_frame(self) -> TxFrame {
        match self {
            Self::Full(frame) | Self::Unsendable(frame) | Self::NoMemory(frame) => frame,
        }
    }
}

impl fmt::Display for TxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the network device has no room for the frame now",
            Self::Unsendable(_) => "the network device cannot send such a frame",
            Self::NoMemory(_) => "no memory to copy the frame for the network device",
        })
    }
}

/// What happened to an interface's frames, and what its device did wrong. All count from the start, and wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Frames received and handed on.
    pub rx_frames: u64,
    /// Octets of these, with their Ethernet headers.
    pub rx_octets: u64,
    /// Frames queued to be sent.
    pub tx_frames: u64,
    /// Octets of these, with their Ethernet headers.
    pub tx_octets: u64,
    /// Times that a frame found the device full.
    pub tx_full: u64,
    /// Frames of many pieces that were copied into one for the device.
    pub tx_copied: u64,
    /// Times that there was no memory for a receive buffer.
    pub rx_no_memory: u64,
    /// Received frames whose header says what cannot be: dropped.
    pub rx_bad_header: u64,
    /// Received frames that claim another number of buffers than there can be: dropped.
    pub rx_bad_buffers: u64,
    /// Received frames that are longer than the MTU allows, or have no whole Ethernet header: dropped.
    pub rx_bad_length: u64,
    /// The device gave back a buffer that it did not have.
    pub bad_id: u64,
    /// The device claims to have written more than the buffer holds: what is in it is dropped.
    pub bad_length: u64,
    /// The device claims to have used more buffers than it had; the queue is no longer listened to.
    pub bad_index: u64,
}
