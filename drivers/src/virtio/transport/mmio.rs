//! Devices whose registers are at a known place in memory (§ 4.2), those from before version 1 included (§ 4.2.4).

use abi::cmdline::VirtioMmio;
use kernel::irq::{self, ConnectError, Handler, Trigger};
use kernel::mm::registers::Registers;

use super::{Error, QueueAddresses, Reasons, Transport};

/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION_LEGACY: u32 = 1;
const VERSION: u32 = 2;
/// The unit of a legacy queue's place, and the alignment of its used ring.
const LEGACY_PAGE: u32 = 4096;

mod register {
    pub const MAGIC: usize = 0x000;
    pub const VERSION: usize = 0x004;
    pub const DEVICE_ID: usize = 0x008;
    pub const DEVICE_FEATURES: usize = 0x010;
    pub const DEVICE_FEATURES_SEL: usize = 0x014;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SEL: usize = 0x024;
    pub const GUEST_PAGE_SIZE: usize = 0x028;
    pub const QUEUE_SEL: usize = 0x030;
    pub const QUEUE_NUM_MAX: usize = 0x034;
    pub const QUEUE_NUM: usize = 0x038;
    pub const QUEUE_ALIGN: usize = 0x03c;
    pub const QUEUE_PFN: usize = 0x040;
    pub const QUEUE_READY: usize = 0x044;
    pub const QUEUE_NOTIFY: usize = 0x050;
    pub const INTERRUPT_STATUS: usize = 0x060;
    pub const INTERRUPT_ACK: usize = 0x064;
    pub const STATUS: usize = 0x070;
    pub const QUEUE_DESC_LOW: usize = 0x080;
    pub const QUEUE_DRIVER_LOW: usize = 0x090;
    pub const QUEUE_DEVICE_LOW: usize = 0x0a0;
    pub const CONFIG_GENERATION: usize = 0x0fc;
    pub const CONFIG: usize = 0x100;
}

/// Interrupt status: a used ring has grown; the configuration has changed.
const INTERRUPT_USED: u32 = 1;
const INTERRUPT_CONFIG: u32 = 2;

/// A device at a place in memory.
pub struct Mmio {
    registers: Registers,
    line: u32,
    legacy: bool,
    device_type: u32,
    connected: bool,
}

impl Mmio {
    /// The device at a place. `Ok(None)`: none is plugged in there.
    ///
    /// # Errors
    /// [`Error`]: something else is there, or nothing.
    pub fn new(place: &VirtioMmio) -> Result<Option<Self>, Error> {
        if place.len < register::CONFIG as u64 {
            return Err(Error::Registers("the range on the command line is too short"));
        }
        let registers = Registers::map(place.base, place.len).ok_or(Error::NoMemory)?;
        let magic = registers.read32(register::MAGIC);
        if magic != MAGIC {
            return Err(Error::BadMagic(magic));
        }
        let device_type = registers.read32(register::DEVICE_ID);
        if device_type == 0 {
            return Ok(None);
        }
        let legacy = match registers.read32(register::VERSION) {
            VERSION_LEGACY => true,
            VERSION => false,
            version => return Err(Error::BadVersion(version)),
        };
        Ok(Some(Self { registers, line: place.irq, legacy, device_type, connected: false }))
    }

    /// What kind of device it is (§ 5).
    pub fn device_type(&self) -> u32 {
        self.device_type
    }

    fn write64(&self, register: usize, value: u64) {
        self.registers.write32(register, value as u32);
        self.registers.write32(register + 4, (value >> 32) as u32);
    }
}

impl Transport for Mmio {
    fn is_legacy(&self) -> bool {
        self.legacy
    }

    fn device_features(&mut self) -> u64 {
        let half = |select| {
            self.registers.write32(register::DEVICE_FEATURES_SEL, select);
            u64::from(self.registers.read32(register::DEVICE_FEATURES))
        };
        half(0) | if self.legacy { 0 } else { half(1) << 32 }
    }

    fn write_driver_features(&mut self, features: u64) {
        for select in 0..if self.legacy { 1 } else { 2 } {
            self.registers.write32(register::DRIVER_FEATURES_SEL, select);
            self.registers.write32(register::DRIVER_FEATURES, (features >> (32 * select)) as u32);
        }
        if self.legacy {
            self.registers.write32(register::GUEST_PAGE_SIZE, LEGACY_PAGE);
        }
    }

    fn status(&self) -> u8 {
        self.registers.read32(register::STATUS) as u8
    }

    fn write_status(&mut self, status: u8) {
        self.registers.write32(register::STATUS, u32::from(status));
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.registers.write32(register::QUEUE_SEL, u32::from(queue));
        let max = self.registers.read32(register::QUEUE_NUM_MAX);
        // § 2.7: at most 32768; and no more than we would use of a queue whose size is ours to choose.
        max.min(1024) as u16
    }

    fn enable_queue(&mut self, queue: u16, size: u16, addresses: QueueAddresses) -> bool {
        self.registers.write32(register::QUEUE_SEL, u32::from(queue));
        self.registers.write32(register::QUEUE_NUM, u32::from(size));
        if self.legacy {
            // One piece: the others follow where the device works out that they do.
            let Ok(page) = u32::try_from(addresses.descriptors.0 / u64::from(LEGACY_PAGE)) else {
                return false;
            };
            self.registers.write32(register::QUEUE_ALIGN, LEGACY_PAGE);
            self.registers.write32(register::QUEUE_PFN, page);
            return true;
        }
        self.write64(register::QUEUE_DESC_LOW, addresses.descriptors.0);
        self.write64(register::QUEUE_DRIVER_LOW, addresses.avail.0);
        self.write64(register::QUEUE_DEVICE_LOW, addresses.used.0);
        self.registers.write32(register::QUEUE_READY, 1);
        true
    }

    fn notify(&self, queue: u16) {
        self.registers.write32(register::QUEUE_NOTIFY, u32::from(queue));
    }

    fn read_config(&self, offset: usize, octets: &mut [u8]) {
        let start = register::CONFIG + offset;
        for (at, octet) in octets.iter_mut().enumerate() {
            let inside = start + at < self.registers.len();
            *octet = if inside { self.registers.read8(start + at) } else { 0 };
        }
    }

    fn config_generation(&self) -> u32 {
        if self.legacy { 0 } else { self.registers.read32(register::CONFIG_GENERATION) }
    }

    fn connect_interrupts(&mut self, cpu: u32, handler: Handler) -> Result<(), ConnectError> {
        if self.connected {
            return irq::move_line(self.line, cpu);
        }
        // By edge, as Linux has it with these devices where no table says more: monitors give an edge for each event
        // (Firecracker), or hold the line until the acknowledgement (QEMU), and then the next event is an edge, too.
        irq::connect_line(self.line, Trigger::Edge, cpu, handler)?;
        self.connected = true;
        // What was pending before would keep the line up for ever.
        self.acknowledge();
        Ok(())
    }

    fn acknowledge(&mut self) -> Reasons {
        let status = self.registers.read32(register::INTERRUPT_STATUS);
        if status != 0 {
            self.registers.write32(register::INTERRUPT_ACK, status);
        }
        Reasons { queues: status & INTERRUPT_USED != 0, config: status & INTERRUPT_CONFIG != 0 }
    }
}
