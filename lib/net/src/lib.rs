//! The network stack's protocol cores.
//!
//! Nothing here does I/O, has a clock, a global or a lock, or knows a driver. What arrives and the time are
//! arguments; what is to be sent, the next deadline and what happened are results. `handle_*` takes something in,
//! `poll_*` asks whether there is something out.
//!
//! Not here yet: interfaces, ARP, IPv4 in and out, routes, ICMP, UDP, the DHCP client.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod siphash;
pub mod tcp;
mod time;

pub use siphash::{Key, siphash};
pub use time::Instant;
