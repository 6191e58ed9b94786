//! Devices on PCI (§ 4.1), by their capabilities. Devices that have no more than the registers from before version 1 are not
//! used.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::irq::{self, ConnectError, Handler, MessageVector, Trigger};
use kernel::machine::pci::{CAPABILITY_VENDOR, Function, Msix};
use kernel::mm::registers::Registers;

use super::{Error, QueueAddresses, Reasons, Transport};

const VENDOR: u16 = 0x1af4;
/// Device numbers from here on are device types (§ 4.1.2.1).
const FIRST_DEVICE: u16 = 0x1040;
/// Numbers of transitional devices (§ 4.1.2.1): they have the capabilities, too.
const TRANSITIONAL: [(u16, u32); 2] = [(0x1000, 1), (0x1005, 4)];

/// Kinds of capabilities (§ 4.1.4).
mod kind {
    pub const COMMON: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const ISR: u8 = 3;
    pub const DEVICE: u8 = 4;
}

/// The common configuration (§ 4.1.4.3).
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const CONFIG_MSIX_VECTOR: usize = 16;
    pub const DEVICE_STATUS: usize = 20;
    pub const CONFIG_GENERATION: usize = 21;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_MSIX_VECTOR: usize = 26;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    pub const QUEUE_DESC: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
    pub const LEN: usize = 56;
}

/// Queues whose place for notifications is remembered.
const MAX_QUEUES: usize = 4;
/// The device has no resources for an interrupt by message (§ 4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;

/// A device on PCI.
pub struct Pci {
    common: Registers,
    notify: Registers,
    notify_multiplier: u32,
    notify_offsets: [usize; MAX_QUEUES],
    isr: Registers,
    device: Option<Registers>,
    interrupts: Interrupts,
}

enum Interrupts {
    Messages(Messages),
    /// By pin, to this line.
    Line {
        line: u32,
        connected: bool,
    },
    None,
}

/// Messages: entry 0 for the configuration, entry 1 for all queues; or entry 0 for both if there is no other.
struct Messages {
    msix: Msix,
    queues_entry: u16,
    /// The device took the entries.
    accepted: bool,
    vectors: Option<Connected>,
}

struct Connected {
    queues: MessageVector,
    config: Option<(MessageVector, &'static ConfigNote)>,
}

/// What the handler of configuration changes leaves for [`Transport::acknowledge`].
struct ConfigNote {
    changed: AtomicBool,
    handler: Handler,
}

fn on_config_change(note: u64) {
    // SAFETY: the argument is what `connect` passed: a leaked `ConfigNote`.
    let note = unsafe { &*core::ptr::with_exposed_provenance::<ConfigNote>(note as usize) };
    note.changed.store(true, Ordering::Relaxed);
    (note.handler.call)(note.handler.argument);
}

impl Pci {
    /// What kind of virtio device a function is (§ 5). `None`: none.
    pub fn device_type(function: Function) -> Option<u32> {
        let (vendor, device) = function.ids();
        if vendor != VENDOR {
            return None;
        }
        let transitional = TRANSITIONAL.iter().find(|(number, _)| *number == device).map(|(_, kind)| *kind);
        transitional.or_else(|| {
            device.checked_sub(FIRST_DEVICE).filter(|kind| (1..=63).contains(kind)).map(u32::from)
        })
    }

    /// The device that a function is.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(function: Function) -> Result<Self, Error> {
        let (common, _) = structure(function, kind::COMMON, common::LEN)
            .ok_or(Error::Registers("no common configuration (a legacy device?)"))?;
        let (notify, offset) =
            structure(function, kind::NOTIFY, 2).ok_or(Error::Registers("no place for notifications"))?;
        let notify_multiplier = function.read32(offset.saturating_add(16));
        let (isr, _) = structure(function, kind::ISR, 1).ok_or(Error::Registers("no interrupt status"))?;
        let device = structure(function, kind::DEVICE, 1).map(|(registers, _)| registers);
        function.enable_memory();
        // Whatever it did before: it is not to write to memory once it may.
        common.write8(common::DEVICE_STATUS, 0);
        let interrupts = match function.enable_msix() {
            Some(msix) => {
                let queues_entry = u16::from(msix.entries() > 1);
                Interrupts::Messages(Messages { msix, queues_entry, accepted: true, vectors: None })
            }
            None => match function.interrupt_line() {
                Some(line) => Interrupts::Line { line, connected: false },
                None => Interrupts::None,
            },
        };
        // SAFETY: the device was reset: it has no queues, so it touches no memory until it is told of some.
        unsafe { function.enable_bus_master() };
        Ok(Self {
            common,
            notify,
            notify_multiplier,
            notify_offsets: [0; MAX_QUEUES],
            isr,
            device,
            interrupts,
        })
    }

    fn write64(&self, register: usize, value: u64) {
        // § 4.1.3.1: 64-bit fields are written in halves.
        self.common.write32(register, value as u32);
        self.common.write32(register + 4, (value >> 32) as u32);
    }
}

/// Registers that a capability names, and where the capability is. `None`: none of this kind has `least` octets in a
/// range of memory.
fn structure(function: Function, kind: u8, least: usize) -> Option<(Registers, u8)> {
    let vendors = function.capabilities().filter(|capability| capability.id == CAPABILITY_VENDOR);
    vendors.map(|capability| capability.offset).find_map(|offset| {
        let at = |more: u8| offset.checked_add(more);
        if function.read8(at(3)?) != kind {
            return None;
        }
        let bar = function.bar(function.read8(at(4)?))?;
        let (start, len) = (u64::from(function.read32(at(8)?)), u64::from(function.read32(at(12)?)));
        let fits = len >= least as u64 && start.checked_add(len)? <= bar.len;
        let registers = fits.then(|| Registers::map(bar.address.get() + start, len))??;
        Some((registers, offset))
    })
}

impl Transport for Pci {
    fn is_legacy(&self) -> bool {
        false
    }

    fn device_features(&mut self) -> u64 {
        let half = |select| {
            self.common.write32(common::DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for select in 0..2 {
            self.common.write32(common::DRIVER_FEATURE_SELECT, select);
            self.common.write32(common::DRIVER_FEATURE, (features >> (32 * select)) as u32);
        }
        if let Interrupts::Messages(messages) = &mut self.interrupts {
            self.common.write16(common::CONFIG_MSIX_VECTOR, 0);
            messages.accepted &= self.common.read16(common::CONFIG_MSIX_VECTOR) != NO_VECTOR;
        }
    }

    fn status(&self) -> u8 {
        self.common.read8(common::DEVICE_STATUS)
    }

    fn write_status(&mut self, status: u8) {
        self.common.write8(common::DEVICE_STATUS, status);
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.common.write16(common::QUEUE_SELECT, queue);
        self.common.read16(common::QUEUE_SIZE)
    }

    fn enable_queue(&mut self, queue: u16, size: u16, addresses: QueueAddresses) -> bool {
        let Some(remembered) = self.notify_offsets.get_mut(usize::from(queue)) else { return false };
        self.common.write16(common::QUEUE_SELECT, queue);
        let offset =
            u32::from(self.common.read16(common::QUEUE_NOTIFY_OFF)).checked_mul(self.notify_multiplier);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let Some(offset) = offset.filter(|at| at.is_multiple_of(2) && at + 2 <= self.notify.len()) else {
            return false;
        };
        *remembered = offset;
        self.common.write16(common::QUEUE_SIZE, size);
        if let Interrupts::Messages(messages) = &mut self.interrupts {
            self.common.write16(common::QUEUE_MSIX_VECTOR, messages.queues_entry);
            messages.accepted &= self.common.read16(common::QUEUE_MSIX_VECTOR) != NO_VECTOR;
        }
        self.write64(common::QUEUE_DESC, addresses.descriptors.0);
        self.write64(common::QUEUE_DRIVER, addresses.avail.0);
        self.write64(common::QUEUE_DEVICE, addresses.used.0);
        self.common.write16(common::QUEUE_ENABLE, 1);
        true
    }

    fn notify(&self, queue: u16) {
        if let Some(offset) = self.notify_offsets.get(usize::from(queue)) {
            self.notify.write16(*offset, queue);
        }
    }

    fn read_config(&self, offset: usize, octets: &mut [u8]) {
        for (at, octet) in (offset..).zip(octets.iter_mut()) {
            let device = self.device.as_ref().filter(|device| at < device.len());
            *octet = device.map_or(0, |device| device.read8(at));
        }
    }

    fn config_generation(&self) -> u32 {
        u32::from(self.common.read8(common::CONFIG_GENERATION))
    }

    fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
        match &mut self.interrupts {
            Interrupts::Messages(messages) if messages.accepted => messages.connect(cpu, handler),
            Interrupts::Line { line, connected: true } => irq::move_line(*line, cpu),
            Interrupts::Line { line, connected } => {
                irq::connect_line(*line, Trigger::Level, cpu, handler)?;
                *connected = true;
                Ok(())
            }
            Interrupts::Messages(_) | Interrupts::None => Err(ConnectError::NoInterrupt),
        }
    }

    fn acknowledge(&mut self) -> Reasons {
        match &self.interrupts {
            Interrupts::Messages(messages) => {
                let config = match messages.vectors.as_ref().and_then(|vectors| vectors.config.as_ref()) {
                    Some((_, note)) => note.changed.swap(false, Ordering::Relaxed),
                    // One message for everything: it may have been that.
                    None => true,
                };
                Reasons { queues: true, config }
            }
            _ => {
                // § 4.1.4.5: reading lets go of the line.
                let status = self.isr.read8(0);
                Reasons { queues: status & 1 != 0, config: status & 2 != 0 }
            }
        }
    }
}

impl Messages {
    fn connect(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
        if self.vectors.is_none() {
            let queues = irq::message_vector(handler)?;
            let config = if self.queues_entry == 0 {
                None
            } else {
                let note: &'static _ =
                    Box::leak(Box::new(ConfigNote { changed: AtomicBool::new(false), handler }));
                let argument = core::ptr::from_ref(note).expose_provenance() as u64;
                Some((irq::message_vector(Handler { call: on_config_change, argument })?, note))
            };
            self.vectors = Some(Connected { queues, config });
        }
        let Some(Connected { queues, config }) = &self.vectors else { return Err(ConnectError::NoInterrupt) };
        if let Some((config, _)) = config {
            self.msix.set(0, config.to_cpu(cpu)?);
        }
        self.msix.set(self.queues_entry, queues.to_cpu(cpu)?);
        Ok(())
    }
}
