//! How a device is reached: the [`Transport`], and the order in which one is brought up, as types.
//!
//! [`Found`] → [`Found::acknowledge`] → [`Acknowledged::negotiate`] → [`Negotiated::queue`], as often as there are queues →
//! [`Negotiated::driver_ok`] → [`Live`] (§ 3.1.1). Only a live device can be notified.

pub mod mmio;
pub mod pci;

use alloc::boxed::Box;
use core::fmt;

use frame::DmaAddr;
use kernel::irq::{ConnectError, Handler};

use super::feature;
use super::queue::{Queue, QueueFeatures};

/// Bits of the device status (§ 2.1).
pub mod status {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed upon.
    pub const FEATURES_OK: u8 = 8;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}

/// Where a queue's parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAddresses {
    /// Descriptor table.
    pub descriptors: DmaAddr,
    /// Available ring: the driver writes it.
    pub avail: DmaAddr,
    /// Used ring: the device writes it.
    pub used: DmaAddr,
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// A queue's used ring may have grown.
    pub queues: bool,
    /// The device's configuration has changed.
    pub config: bool,
}

/// A device's registers, whatever bus they are on (§ 4).
pub trait Transport: Send {
    /// Whether the device follows the rules from before version 1 (§ 7.4).
    fn is_legacy(&self) -> bool;

    /// The features that the device offers.
    fn device_features(&mut self) -> u64;

    /// Tells the device which of them are used.
    fn write_driver_features(&mut self, features: u64);

    /// The device status.
    fn status(&self) -> u8;

    /// Writes the device status; 0 resets the device.
    fn write_status(&mut self, status: u8);

    /// The largest size of a queue; 0: there is no such queue.
    fn queue_size_max(&mut self, queue: u16) -> u16;

    /// Tells the device of a queue. False: it cannot be reached there.
    fn enable_queue(&mut self, queue: u16, size: u16, addresses: QueueAddresses) -> bool;

    /// Tells the device that a queue's available ring has grown. One exit.
    fn notify(&self, queue: u16);

    /// Fills `octets` from the device's configuration, from `offset` on. What is outside of it reads as zeroes. Not
    /// consistent by itself: see [`Self::config_generation`].
    fn read_config(&self, offset: usize, octets: &mut [u8]);

    /// Changes whenever the configuration may have.
    fn config_generation(&self) -> u32;

    /// Brings the device's interrupts to a CPU; see [`kernel::device::net::NetDevice::connect_interrupts`].
    ///
    /// # Errors
    /// [`ConnectError`].
    fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError>;

    /// Has the device let go of its interrupt, and says what it was about.
    fn acknowledge(&mut self) -> Reasons;
}

/// Why a device is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It does not come out of reset.
    NoReset(u8),
    /// It offers these features, and does not accept those that are needed and known.
    Features(u64),
    /// It has no queue of this number.
    NoQueue(u16),
    /// There is no memory for a queue or for buffers.
    NoMemory,
    /// The device's registers do not say what they should: what is missing.
    Registers(&'static str),
    /// Not a virtio device: what the magic value reads as.
    BadMagic(u32),
    /// A version of the register layout that is not known.
    BadVersion(u32),
    /// It does not answer a request.
    NoAnswer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReset(status) => write!(f, "it does not come out of reset (status {status:#x})"),
            Self::Features(offered) => {
                write!(f, "it does not accept our choice of its features {offered:#x}")
            }
            Self::NoQueue(queue) => write!(f, "it has no queue {queue}"),
            Self::NoMemory => write!(f, "too little memory for its queues (-m)"),
            Self::Registers(what) => write!(f, "its registers are not usable: {what}"),
            Self::BadMagic(magic) => write!(f, "no virtio device is there (magic value {magic:#x})"),
            Self::NoAnswer => f.write_str("it does not answer"),
            Self::BadVersion(version) => write!(f, "its register layout has the unknown version {version}"),
        }
    }
}

/// A device that was reset.
pub struct Found(Box<dyn Transport>);

impl Found {
    /// How often the status is read until a device counts as stuck in its reset.
    const RESET_PATIENCE: u32 = 100_000;

    /// Resets a device.
    ///
    /// # Errors
    /// [`Error::NoReset`].
    pub fn new(mut transport: Box<dyn Transport>) -> Result<Self, Error> {
        transport.write_status(0);
        // § 2.4: the device is reset when the status reads as 0.
        match (0..Self::RESET_PATIENCE).any(|_| transport.status() == 0) {
            true => Ok(Self(transport)),
            false => Err(Error::NoReset(transport.status())),
        }
    }

    /// Tells the device that it was noticed, and that there is a driver.
    pub fn acknowledge(mut self) -> Acknowledged {
        self.0.write_status(status::ACKNOWLEDGE);
        self.0.write_status(status::ACKNOWLEDGE | status::DRIVER);
        Acknowledged(self.0)
    }
}

/// A device that waits for features.
pub struct Acknowledged(Box<dyn Transport>);

impl Acknowledged {
    /// Agrees upon those of `wanted` that the device offers.
    ///
    /// # Errors
    /// [`Error::Features`]: the device does not accept them, or is not a legacy device and speaks no version 1.
    pub fn negotiate(mut self, wanted: u64) -> Result<Negotiated, Error> {
        let offered = self.0.device_features();
        let features = offered & wanted;
        let before = status::ACKNOWLEDGE | status::DRIVER;
        if self.0.is_legacy() {
            // § 3.1.2: there is no FEATURES_OK, and only the lower 32 bits.
            let features = features & u64::from(u32::MAX);
            self.0.write_driver_features(features);
            return Ok(Negotiated { transport: self.0, features, status: before });
        }
        self.0.write_driver_features(features);
        let agreed = before | status::FEATURES_OK;
        if features & feature::VERSION_1 != 0 {
            self.0.write_status(agreed);
            if self.0.status() & status::FEATURES_OK != 0 {
                return Ok(Negotiated { transport: self.0, features, status: agreed });
            }
        }
        self.0.write_status(before | status::FAILED);
        Err(Error::Features(offered))
    }
}

/// A device whose features are agreed upon.
pub struct Negotiated {
    transport: Box<dyn Transport>,
    features: u64,
    status: u8,
}

impl Negotiated {
    /// The features that are in use.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Whether all bits of `feature` are in use.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }

    /// Whether the device is a legacy one.
    pub fn is_legacy(&self) -> bool {
        self.transport.is_legacy()
    }

    /// Reads from the device's configuration.
    pub fn config<const N: usize>(&self, offset: usize) -> [u8; N] {
        config(&*self.transport, offset)
    }

    /// Makes a queue of at most `size` entries and tells the device of it. `indirect`: its chains may be in tables.
    ///
    /// # Errors
    /// [`Error`].
    pub fn queue<T>(&mut self, index: u16, size: u16, indirect: bool) -> Result<Queue<T>, Error> {
        let max = self.transport.queue_size_max(index);
        if max == 0 {
            return Err(Error::NoQueue(index));
        }
        // § 2.7: a power of two.
        let size = 1 << max.min(size.max(1)).ilog2();
        let features = QueueFeatures {
            event_index: self.has(feature::RING_EVENT_IDX),
            indirect: indirect && self.has(feature::RING_INDIRECT_DESC),
        };
        let queue = Queue::new(index, size, features).ok_or(Error::NoMemory)?;
        match self.transport.enable_queue(index, size, queue.addresses()) {
            true => Ok(queue),
            false => Err(Error::Registers("a queue cannot be placed")),
        }
    }

    /// Gives up.
    pub fn fail(mut self) {
        self.transport.write_status(self.status | status::FAILED);
    }

    /// Lets the device begin.
    pub fn driver_ok(mut self) -> Live {
        self.transport.write_status(self.status | status::DRIVER_OK);
        Live(self.transport)
    }
}

/// A device at work. It is reset when this is dropped, and from then on touches no memory.
pub struct Live(Box<dyn Transport>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.write_status(0);
    }
}

impl Live {
    /// Resets the device. True: it says that it is done, and touches no memory any more (§ 2.4.1).
    pub fn reset(&mut self) -> bool {
        self.0.write_status(0);
        self.0.status() == 0
    }

    /// Tells the device that a queue's available ring has grown.
    pub fn notify(&self, queue: u16) {
        self.0.notify(queue);
    }

    /// Reads from the device's configuration.
    pub fn config<const N: usize>(&self, offset: usize) -> [u8; N] {
        config(&*self.0, offset)
    }

    /// See [`Transport::connect_interrupts`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
        self.0.connect_interrupts(cpu, handler)
    }

    /// See [`Transport::acknowledge`].
    pub fn acknowledge(&mut self) -> Reasons {
        self.0.acknowledge()
    }
}

/// Reads octets of the configuration that belong together (§ 2.5.1): again while it changes, but not for ever.
fn config<const N: usize>(transport: &dyn Transport, offset: usize) -> [u8; N] {
    let mut octets = [0; N];
    for _ in 0..8 {
        let before = transport.config_generation();
        transport.read_config(offset, &mut octets);
        if transport.config_generation() == before {
            break;
        }
    }
    octets
}
