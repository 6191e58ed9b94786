//! DHCP's client (RFC 2131, RFC 2132, RFC 3442): an address, and all that belongs to it, from a server.
//!
//! [`Client`] is the state machine, [`Lease`] what it got, [`LeaseState`] that as data.

mod client;
mod lease;

pub use client::{Client, Event, Phase, Request};
pub use lease::{LEASE_STATE_VERSION, Lease, LeaseState, RestoreError};
