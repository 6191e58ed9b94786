//! How the image ends.

use core::fmt;

use abi::exit::STATUS_KERNEL;

use crate::arch::current::power;
use crate::log;

/// Ends the image with the program's status.
pub fn exit(status: u8) -> ! {
    power::exit(status)
}

/// Ends the image because it cannot go on; says why in one line.
pub fn refuse(reason: fmt::Arguments<'_>) -> ! {
    log!(Error, "{reason}");
    power::exit(STATUS_KERNEL)
}
