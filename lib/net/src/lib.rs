//! The network stack's protocol cores.
//!
//! Nothing here does I/O, has a clock, a global or a lock, or knows a driver. What arrives and the time are
//! arguments; what is to be sent, the next deadline and what happened are results. `handle_*` takes something in,
//! `poll_*` asks whether there is something out.
//!
//! [`Stack`] ties it together: interfaces, IPv4, ICMP, IGMP, UDP, TCP, DHCP. The parts are machines of their own.
//!
//! Not here yet: IPv6, of which [`neighbour`] and [`route`] are ready for the addresses; connection tracking; multicast
//! forwarding; IGMP's source filters.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acd;
mod cidr;
pub mod config;
mod counters;
mod deadlines;
pub mod dhcp;
mod frames;
pub mod hooks;
mod icmp;
mod ident;
pub mod iface;
pub mod igmp;
mod ip_options;
pub mod neighbour;
pub mod pmtu;
mod rate_limit;
pub mod reassembly;
mod rng;
pub mod route;
mod siphash;
mod slab;
pub mod stack;
pub mod steering;
pub mod tcp;
mod time;
pub mod udp;

pub use acd::ProbeTiming;
pub use cidr::{Ipv4Cidr, ParseCidrError};
pub use counters::{Counters, DropReason};
pub use frames::HEADROOM;
pub use iface::{IfaceId, Interface, Link};
pub use ip_options::{IpOptions, PathMtuDiscovery};
pub use siphash::{Key, siphash};
pub use slab::{Handle, HandleMap};
pub use stack::{Event, Settings, Stack};
pub use time::Instant;
