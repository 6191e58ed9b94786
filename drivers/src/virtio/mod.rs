//! Virtio devices. Source: Virtual I/O Device (VIRTIO) 1.2; its sections are named where they are used.
//!
//! What a device writes into shared memory or shows in its registers is a claim. The drivers check it against what they
//! themselves have written down, count what cannot be, and go on.

#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod net;
pub mod queue;
pub mod rng;
pub mod transport;

use alloc::boxed::Box;
use core::fmt;

use abi::cmdline::VirtioMmio;
use kernel::device::net::NetDevice;
use kernel::log;
use kernel::machine::pci;
use kernel::mm::packets;
use kernel::time;

use net::VirtioNet;
use transport::mmio::Mmio;
use transport::pci::Pci;
use transport::{Error, Found, Transport};

/// Device types (§ 5).
mod device_type {
    pub const NET: u32 = 1;
    pub const RNG: u32 = 4;
}

/// Feature bits that do not belong to a device type (§ 6; § 6.3 for the legacy one).
pub mod feature {
    /// A legacy device takes a packet's header in the same descriptor as the packet.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// Descriptors may be in a table outside of the queue.
    pub const RING_INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications and interrupts are asked for by index.
    pub const RING_EVENT_IDX: u64 = 1 << 29;
    /// Not a legacy device.
    pub const VERSION_1: u64 = 1 << 32;
    /// Addresses are as the platform gives them to devices: ours are, as no IOMMU is ever turned on.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// Brings up all network devices: those on PCI, and those that the command line names. Calls `found` for each, ready to be
/// used but for its interrupts. What cannot be used is named in the log. `joins`: see [`VirtioNet::new`].
///
/// Called once, before the program starts: it sets memory aside for packets if there is a device (`mm::packets::init`).
pub fn probe_net(mmio: &[VirtioMmio], joins: bool, found: &mut dyn FnMut(Box<dyn NetDevice>)) {
    for_each(device_type::NET, mmio, &mut |place, transport| {
        packets::init();
        let device =
            transport.and_then(|transport| VirtioNet::new(Found::new(transport)?, packets::pool(), joins));
        match device {
            Ok(device) => {
                log!(Info, "virtio-net {place}: {device}");
                found(Box::new(device));
            }
            Err(error) => log!(Warn, "virtio-net {place} is not used: {error}"),
        }
    });
}

/// Asks the machine's entropy devices for a seed, until one gives it; waits for each up to a tenth of a second. `None`: none does.
pub fn read_seed(mmio: &[VirtioMmio]) -> Option<[u8; abi::seed::LEN]> {
    const PATIENCE_NS: u64 = 100_000_000;
    let mut seed = None;
    for_each(device_type::RNG, mmio, &mut |place, transport| {
        if seed.is_some() {
            return;
        }
        let deadline = time::now_ns() + PATIENCE_NS;
        let is_late = || time::now_ns() >= deadline;
        match transport.and_then(|transport| rng::read_seed(Found::new(transport)?, is_late)) {
            Ok(octets) => seed = Some(octets),
            Err(error) => log!(Warn, "virtio-rng {place} is not used: {error}"),
        }
    });
    seed
}

/// The way to a device.
type Way = Result<Box<dyn Transport>, Error>;

/// Calls `bring_up` with the name of each device of a type and the way to it.
fn for_each(device_type: u32, mmio: &[VirtioMmio], bring_up: &mut dyn FnMut(&dyn fmt::Display, Way)) {
    pci::for_each(&mut |function| {
        if Pci::device_type(function) == Some(device_type) {
            bring_up(&function, Pci::new(function).map(|pci| Box::new(pci) as Box<dyn Transport>));
        }
    });
    for place in mmio {
        match Mmio::new(place) {
            Ok(Some(mmio)) if mmio.device_type() == device_type => {
                bring_up(place, Ok(Box::new(mmio)));
            }
            // No device is plugged in there, or one that others ask for.
            Ok(_) => {}
            Err(error) => log!(Warn, "virtio {place}: {error}"),
        }
    }
}
