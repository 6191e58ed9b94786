//! Talking to the host about the machine as a whole: its end, and what it is ready for.

use core::fmt;

use abi::exit::{DEBUG_EXIT_PORT, ExitRecord, STATUS_PORT};

use super::{irq, port};
use crate::machine::acpi;

/// Tells the host the status and ends the machine, by the first way that works: debug-exit device, ACPI power-off,
/// reset by the keyboard controller, halt.
pub fn exit(status: u8) -> ! {
    irq::disable();
    write_record(format_args!("{}", ExitRecord { status }));
    // SAFETY: the port is QEMU's, or unused on a PC.
    unsafe { port::outl(DEBUG_EXIT_PORT, u32::from(status)) };
    acpi::power_off();
    // SAFETY: pulses the CPU's reset line; the image has ended.
    unsafe { port::outb(0x64, 0xfe) };
    irq::halt_forever()
}

/// Writes a record to the status port, if the machine has one.
pub fn write_record(record: fmt::Arguments<'_>) {
    // SAFETY: the port is QEMU's, or unused on a PC; the debug console reads as its own number when it is there.
    if unsafe { port::inb(STATUS_PORT) } == STATUS_PORT as u8 {
        let _ = fmt::Write::write_fmt(&mut StatusPort, record);
    }
}

struct StatusPort;

impl fmt::Write for StatusPort {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the status port takes any octets; `write_record` found it there.
        unsafe { port::outsb(STATUS_PORT, text.as_bytes()) };
        Ok(())
    }
}
