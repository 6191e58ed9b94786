//! The console of this machine.

use alloc::collections::VecDeque;
use core::fmt;

use sync::{Once, SpinLock};

use crate::arch::current::{ioapic, power, vectors};
use crate::device::Console;
use crate::{exit, log};

static CONSOLE: Once<&'static dyn Console> = Once::new();

/// Input that arrived and was not read yet. Beyond it the device's own queue fills, and the sender waits.
const INPUT_CAPACITY: usize = 4096;
/// End of transmission: by it the host says that no more input comes.
const END_OF_INPUT: u8 = 0x04;

struct Input {
    octets: VecDeque<u8>,
    /// The octet that ends it, if one does.
    end: Option<u8>,
    ended: bool,
    /// The device interrupts. From the first reader on: a program that does not read costs nothing.
    enabled: bool,
}

static INPUT: SpinLock<Input> =
    SpinLock::new(Input { octets: VecDeque::new(), end: Some(END_OF_INPUT), ended: false, enabled: false });

/// Makes `console` the machine's. The first one stays.
pub fn register(console: &'static dyn Console) {
    let _ = CONSOLE.set(console);
}

/// Who writes: what one call writes stays together.
static OUTPUT: SpinLock<()> = SpinLock::new(());

/// Writes octets to the console; they are lost if the machine has none.
pub fn write(bytes: &[u8]) {
    let Some(console) = CONSOLE.get() else { return };
    // As the image ends, the CPU that held the lock may have been stopped.
    let _guard = if exit::is_ending() { None } else { Some(OUTPUT.lock()) };
    console.write(bytes);
}

impl Input {
    /// Takes what the device has, as long as there is room.
    fn drain(&mut self, console: &dyn Console) {
        while self.octets.len() < INPUT_CAPACITY && !self.ended {
            match console.read() {
                Some(octet) => self.octets.push_back(octet),
                None => return,
            }
        }
    }

    /// How many octets can be read: those before the one that ends the input. When that one is next, there will be no more.
    fn available(&mut self) -> usize {
        let available = self.octets.iter().position(|octet| self.end == Some(*octet));
        if available == Some(0) {
            self.ended = true;
            self.octets.clear();
        }
        available.unwrap_or(self.octets.len())
    }

    fn enable(&mut self, console: &dyn Console) {
        if !self.enabled {
            self.enabled = true;
            if !ioapic::route_isa(console.irq(), vectors::CONSOLE) {
                log!(Warn, "the console's input is not connected: no memory");
            }
            console.enable_input_interrupt();
            power::write_record(format_args!("{}\n", abi::exit::INPUT_RECORD));
        }
    }
}

/// Fills `to` with input that has arrived; `Some(0)`: there will be no more. `None`: nothing has arrived.
pub fn try_read(to: &mut [u8]) -> Option<usize> {
    let Some(console) = CONSOLE.get() else { return Some(0) };
    let mut input = INPUT.lock();
    input.enable(*console);
    // Also what did not fit when its interrupt came.
    input.drain(*console);
    let count = input.available().min(to.len());
    for (to, octet) in to.iter_mut().zip(input.octets.drain(..count)) {
        *to = octet;
    }
    (count > 0 || input.ended).then_some(count)
}

/// Whether [`try_read`] would return something.
pub fn readable() -> bool {
    let Some(console) = CONSOLE.get() else { return true };
    let mut input = INPUT.lock();
    input.enable(*console);
    input.drain(*console);
    input.available() > 0 || input.ended
}

/// Octets of input that have arrived and can be read.
pub fn input_len() -> usize {
    let Some(console) = CONSOLE.get() else { return 0 };
    let mut input = INPUT.lock();
    input.drain(*console);
    input.available()
}

/// Forgets input that has arrived.
pub fn discard_input() {
    let Some(console) = CONSOLE.get() else { return };
    let mut input = INPUT.lock();
    input.drain(*console);
    input.octets.clear();
}

/// Sets the octet that ends the input when it is next; `None`: none does.
pub fn set_end_of_input(octet: Option<u8>) {
    INPUT.lock().end = octet;
}

static LISTENER: Once<fn()> = Once::new();

/// Has `listener` called, in a kernel section, whenever input has arrived.
pub fn set_listener(listener: fn()) {
    let _ = LISTENER.set(listener);
}

/// The console's interrupt came.
pub(crate) fn on_interrupt() {
    let Some(console) = CONSOLE.get() else { return };
    INPUT.lock().drain(*console);
    if let Some(listener) = LISTENER.get() {
        listener();
    }
}

/// The console as a `fmt::Write`, for the kernel's own lines.
pub struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}
