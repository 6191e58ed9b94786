//! The traits that drivers implement, one for each role.

pub mod net;

/// A console: where the program's output and the kernel's own lines go.
pub trait Console: Sync {
    /// Writes octets, as they are. Waits for the device, never for an interrupt; may be called in any context, also
    /// while a report of the kernel's end is written.
    fn write(&self, bytes: &[u8]);

    /// Takes one octet of input. `None`: there is none now.
    fn read(&self) -> Option<u8>;

    /// Interrupts from now on when input arrives: on the edge of [`Console::irq`], until [`Console::read`] has taken
    /// all of it.
    fn enable_input_interrupt(&self);

    /// The device's ISA interrupt line.
    fn irq(&self) -> u8;
}
