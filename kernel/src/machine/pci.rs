//! PCI: which devices there are, their registers and their interrupts, as firmware has set them up.
//!
//! Configuration space is reached by mechanism #1, the ports 0xCF8 and 0xCFC, which every PC with PCI has; its first 256 octets
//! are all that is needed here. Source: PCI Local Bus Specification 3.0, § 6 (configuration space), § 6.8 (MSI-X);
//! PCI-to-PCI Bridge Architecture 1.2, § 3.2 (bridges).

use core::fmt;
use core::num::NonZeroU64;

use sync::SpinLock;

use crate::arch::current::port;
use crate::irq::Message;
use crate::mm::registers::Registers;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Bridges below bridges are followed this deep: no machine that is known has more, and a loop ends.
const MAX_DEPTH: u32 = 8;
/// Capabilities that are looked through in one function: there is room for no more.
const MAX_CAPABILITIES: usize = 48;

mod register {
    pub const ID: u8 = 0x00;
    pub const COMMAND: u8 = 0x04;
    pub const CLASS: u8 = 0x08;
    pub const HEADER_TYPE: u8 = 0x0c;
    pub const BAR0: u8 = 0x10;
    pub const BUSES: u8 = 0x18;
    pub const CAPABILITIES: u8 = 0x34;
    pub const INTERRUPT: u8 = 0x3c;
}

const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const COMMAND_NO_INTX: u32 = 1 << 10;
const STATUS_CAPABILITIES: u32 = 1 << 20;

/// The address and the data register belong together.
static CONFIG: SpinLock<()> = SpinLock::new(());

/// One function of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    bus: u8,
    /// Device (5 bits), then function (3 bits).
    devfn: u8,
}

/// As Linux and `lspci` name it.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.devfn >> 3, self.devfn & 7)
    }
}

/// A range of addresses that a function answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Physical address of the first octet.
    pub address: NonZeroU64,
    /// Octets.
    pub len: u64,
}

/// A capability: its number, and where it is in configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its number.
    pub id: u8,
    /// Offset of its first octet.
    pub offset: u8,
}

/// The capability of vendors' own structures.
pub const CAPABILITY_VENDOR: u8 = 0x09;
const CAPABILITY_MSIX: u8 = 0x11;

/// Calls `found` for every function on bus 0 and on all buses behind bridges. Does nothing on a machine without PCI.
pub fn for_each(found: &mut dyn FnMut(Function)) {
    if is_there() {
        scan(0, 0, found);
    }
}

/// Whether the address register keeps what is written to it.
fn is_there() -> bool {
    let _guard = CONFIG.lock();
    // SAFETY: only selects a register; without PCI there is nothing at the port.
    unsafe {
        port::outl(CONFIG_ADDRESS, ENABLE);
        port::inl(CONFIG_ADDRESS) == ENABLE
    }
}

fn scan(bus: u8, depth: u32, found: &mut dyn FnMut(Function)) {
    const MULTIFUNCTION: u32 = 1 << 23;
    const BRIDGE: u32 = 0x0604;
    for device in 0..32 {
        let mut functions = 1;
        let mut function = 0;
        while function < functions {
            let this = Function { bus, devfn: device << 3 | function };
            function += 1;
            if this.read32(register::ID) as u16 == 0xffff {
                // No function 0: no device.
                continue;
            }
            if this.devfn & 7 == 0 && this.read32(register::HEADER_TYPE) & MULTIFUNCTION != 0 {
                functions = 8;
            }
            if this.read32(register::CLASS) >> 16 == BRIDGE {
                // Buses are numbered downwards; anything else is a bridge that firmware left alone, or nonsense.
                let secondary = (this.read32(register::BUSES) >> 8) as u8;
                if secondary > bus && depth < MAX_DEPTH {
                    scan(secondary, depth + 1, found);
                }
            } else {
                found(this);
            }
        }
    }
}

impl Function {
    /// Vendor and device.
    pub fn ids(self) -> (u16, u16) {
        let ids = self.read32(register::ID);
        (ids as u16, (ids >> 16) as u16)
    }

    /// The 32 bits at an offset, which is rounded down to a multiple of 4.
    pub fn read32(self, offset: u8) -> u32 {
        let _guard = CONFIG.lock();
        self.select(offset);
        // SAFETY: reading configuration space changes nothing.
        unsafe { port::inl(CONFIG_DATA) }
    }

    /// The octet at an offset.
    pub fn read8(self, offset: u8) -> u8 {
        (self.read32(offset) >> (offset % 4 * 8)) as u8
    }

    fn write32(self, offset: u8, value: u32) {
        let _guard = CONFIG.lock();
        self.select(offset);
        // SAFETY: the callers below write what their own comments say; none lets a device touch memory by itself.
        unsafe { port::outl(CONFIG_DATA, value) }
    }

    fn select(self, offset: u8) {
        let address = u32::from(self.bus) << 16 | u32::from(self.devfn) << 8 | u32::from(offset & !3);
        // SAFETY: selects a register.
        unsafe { port::outl(CONFIG_ADDRESS, ENABLE | address) }
    }

    /// The function's capabilities, in their order.
    pub fn capabilities(self) -> impl Iterator<Item = Capability> {
        let listed = self.read32(register::COMMAND) & STATUS_CAPABILITIES != 0;
        let mut next = if listed { self.read8(register::CAPABILITIES) & !3 } else { 0 };
        let all = core::iter::from_fn(move || {
            // Below 0x40 is the header: no capability is there.
            let offset = Some(next).filter(|offset| *offset >= 0x40)?;
            let head = self.read32(offset);
            next = (head >> 8) as u8 & !3;
            Some(Capability { id: head as u8, offset })
        });
        all.take(MAX_CAPABILITIES)
    }

    /// A range of memory that the function answers to. `None`: it has no such range, or the firmware gave it no address.
    ///
    /// For its length the range is taken away for a moment: nobody may use it yet.
    pub fn bar(self, index: u8) -> Option<Bar> {
        const IS_PORT: u32 = 1;
        const IS_64: u32 = 0b100;
        if index >= 6 {
            return None;
        }
        let register = register::BAR0 + 4 * index;
        let low = self.read32(register);
        if low & IS_PORT != 0 {
            return None;
        }
        let wide = low & 0b110 == IS_64 && index < 5;
        let command = self.read32(register::COMMAND) & 0xffff;
        // The upper half of the command register is status: written zeroes change nothing there.
        self.write32(register::COMMAND, command & !COMMAND_MEMORY);
        let mask_of = |register: u8| {
            let value = self.read32(register);
            self.write32(register, u32::MAX);
            let mask = self.read32(register);
            self.write32(register, value);
            (value, mask)
        };
        let (low, low_mask) = mask_of(register);
        let (high, high_mask) = if wide { mask_of(register + 4) } else { (0, u32::MAX) };
        self.write32(register::COMMAND, command);
        let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low & !0xf);
        let mask = join(high_mask, low_mask);
        if low_mask & !0xf == 0 && (!wide || high_mask == 0) {
            return None;
        }
        let len = (!mask).wrapping_add(1);
        Some(Bar { address: NonZeroU64::new(join(high, low))?, len })
    }

    /// Lets the function answer to its ranges of memory.
    pub fn enable_memory(self) {
        let command = self.read32(register::COMMAND) & 0xffff;
        self.write32(register::COMMAND, command | COMMAND_MEMORY);
    }

    /// Lets the function read and write memory by itself.
    ///
    /// # Safety
    /// The device was reset, or does only what its driver told it to.
    pub unsafe fn enable_bus_master(self) {
        let command = self.read32(register::COMMAND) & 0xffff;
        self.write32(register::COMMAND, command | COMMAND_MASTER);
    }

    /// The I/O APIC input that the function's interrupt pin is connected to, by what the firmware noted: right for PCs whose
    /// lines below 16 reach both interrupt controllers, as all of QEMU's do. `None`: no pin, or no line.
    pub fn interrupt_line(self) -> Option<u32> {
        let interrupt = self.read32(register::INTERRUPT);
        let (line, pin) = (interrupt & 0xff, interrupt >> 8 & 0xff);
        (pin != 0 && line != 0 && line < 16).then_some(line)
    }

    /// Turns on the function's message-signalled interrupts, all masked, and its pin off. `None`: it has none.
    pub fn enable_msix(self) -> Option<Msix> {
        const MSIX_ENABLE: u32 = 1 << 31;
        const MSIX_FUNCTION_MASK: u32 = 1 << 30;
        let capability = self.capabilities().find(|capability| capability.id == CAPABILITY_MSIX)?;
        let offset = |more: u8| capability.offset.checked_add(more);
        let control = self.read32(capability.offset);
        let entries = (control >> 16 & 0x7ff) as u16 + 1;
        let table = self.read32(offset(4)?);
        let bar = self.bar((table & 7) as u8)?;
        let start = u64::from(table & !7);
        let len = u64::from(entries) * Msix::ENTRY_LEN;
        if start.checked_add(len)? > bar.len {
            return None;
        }
        self.enable_memory();
        let msix = Msix { table: Registers::map(bar.address.get() + start, len)?, entries };
        (0..entries).for_each(|entry| msix.mask(entry));
        self.write32(capability.offset, control & !MSIX_FUNCTION_MASK | MSIX_ENABLE);
        let command = self.read32(register::COMMAND) & 0xffff;
        self.write32(register::COMMAND, command | COMMAND_NO_INTX);
        Some(msix)
    }
}

/// A function's message-signalled interrupts (§ 6.8.2).
#[derive(Debug)]
pub struct Msix {
    table: Registers,
    entries: u16,
}

impl Msix {
    const ENTRY_LEN: u64 = 16;

    /// How many there are.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// What the function writes when it interrupts by this entry. Returns whether there is such an entry.
    pub fn set(&self, entry: u16, message: Message) -> bool {
        if entry >= self.entries {
            return false;
        }
        // Masked while half of it is new.
        self.mask(entry);
        let at = usize::from(entry) * Self::ENTRY_LEN as usize;
        self.table.write32(at, message.address as u32);
        self.table.write32(at + 4, (message.address >> 32) as u32);
        self.table.write32(at + 8, message.data);
        self.table.write32(at + 12, 0);
        true
    }

    fn mask(&self, entry: u16) {
        self.table.write32(usize::from(entry) * Self::ENTRY_LEN as usize + 12, 1);
    }
}
