//! The kernel's own lines on the console.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

pub use abi::cmdline::LogLevel;

use crate::console::Writer;

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Warn as u8);

/// Sets which messages are written.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether messages of this level are written.
pub fn enabled(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line. Use [`crate::log!`].
pub fn line(level: LogLevel, message: fmt::Arguments<'_>) {
    if enabled(level) {
        let _ = fmt::Write::write_fmt(&mut Writer, format_args!("{}{message}\n", abi::report::PREFIX));
    }
}

/// Writes one line of the kernel's own to the console: `log!(Warn, "disk {n} is gone")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($message:tt)*) => {
        $crate::log::line($crate::log::LogLevel::$level, format_args!($($message)*))
    };
}
