//! Starts images under QEMU.
//!
//! [`Vm`] says which machine and which image; [`Vm::start`] gives a [`Running`] machine whose console streams
//! through [`Running::pump`], and whose end is an [`Outcome`]. No machine outlives its handle or this process.
//!
//! ```no_run
//! let finished = qemu::Vm::new("target/includeos/release/hello").run()?;
//! assert_eq!(finished.outcome, qemu::Outcome::Exited(0));
//! # Ok::<(), qemu::Error>(())
//! ```

#![deny(unsafe_code)]

pub mod accel;
mod child;
mod error;
pub mod floor;
mod machine;
mod network;
mod outcome;
mod running;
pub mod tsc;
mod vm;

pub use error::Error;
pub use machine::Machine;
pub use network::{Forward, Mac, Network, Protocol};
pub use outcome::Outcome;
pub use running::{Finished, Input, Running, Stopper};
pub use vm::{Accel, Gdb, Vm, program};
