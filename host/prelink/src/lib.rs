//! Makes the prelinked kernel object.
//!
//! Three steps: `os/object` is built as a static library with a profile and flags of its own; the linker makes one
//! relocatable object of it (`-r`), one section for each function; then every symbol but the boot entry becomes local,
//! sections get the kernel's own names, addresses go into the code itself, and what the object may refer to outside is checked. So the user's
//! profile, allocator, panic hook and tool-chain never reach the kernel, and the kernel's symbols never reach the user's
//! program.

#![forbid(unsafe_code)]

mod build;
mod got;
mod localise;

pub use build::{BuildError, KernelObject, PROFILE_VARIABLE, build};
pub use localise::{GateError, localise};
