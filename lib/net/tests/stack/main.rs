//! Stacks among themselves, over virtual links and a stepped clock. Every frame on a link is read by smoltcp or etherparse as
//! well.

mod arp;
mod configure;
mod dhcp;
mod forward;
mod hammer;
mod harness;
mod hooks;
mod icmp;
mod multicast;
mod oracle;
#[path = "../../../wire/tests/wire/rng.rs"]
mod rng;
mod tcp;
mod udp;
mod vlan;
