//! Ending the machine.

use abi::exit::{DEBUG_EXIT_PORT, ExitRecord, STATUS_PORT};

use super::{irq, port};
use crate::machine::acpi;

/// Tells the host the status and ends the machine, by the first way that works: debug-exit device, ACPI power-off,
/// reset by the keyboard controller, halt.
pub fn exit(status: u8) -> ! {
    irq::disable();
    // SAFETY: the ports are QEMU's, or unused on a PC; the debug console reads as its own number when it is there.
    unsafe {
        if port::inb(STATUS_PORT) == STATUS_PORT as u8 {
            let mut record = StatusPort;
            let _ = core::fmt::Write::write_fmt(&mut record, format_args!("{}", ExitRecord { status }));
        }
        port::outl(DEBUG_EXIT_PORT, u32::from(status));
    }
    acpi::power_off();
    // SAFETY: pulses the CPU's reset line; the image has ended.
    unsafe { port::outb(0x64, 0xfe) };
    irq::halt_forever()
}

struct StatusPort;

impl core::fmt::Write for StatusPort {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: the status port takes any octets; `exit` found it there.
        unsafe { port::outsb(STATUS_PORT, text.as_bytes()) };
        Ok(())
    }
}
