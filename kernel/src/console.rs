//! The console of this machine.

use core::fmt;

use sync::Once;

use crate::device::Console;

static CONSOLE: Once<&'static dyn Console> = Once::new();

/// Makes `console` the machine's. The first one stays.
pub fn register(console: &'static dyn Console) {
    let _ = CONSOLE.set(console);
}

/// Writes octets to the console; they are lost if the machine has none.
pub fn write(bytes: &[u8]) {
    if let Some(console) = CONSOLE.get() {
        console.write(bytes);
    }
}

/// Takes one octet of input. `None`: there is none now.
pub fn read() -> Option<u8> {
    CONSOLE.get()?.read()
}

/// The console as a `fmt::Write`, for the kernel's own lines.
pub struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}
