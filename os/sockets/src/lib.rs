//! Sockets: what a program sees of the network stack (`lib/net`). A service: in an image only if its program uses `socket`.
//!
//! A connection is a *flow* in the stack and a *socket* here. The stack, and with it all flows, timers and devices, belongs to
//! one CPU, which works on it in the *network pass* ([`pass`]): when a device has interrupted, when a timer is due, and when
//! a program has done something. A socket has queues of its own with short locks; reading and writing touch these on any CPU
//! and post to the owner what there is to do. Only what makes and ends endpoints takes the stack's own lock.
//!
//! Lock order: a change of a socket's options, the stack, a socket's state, its options, its queues, readiness.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bound;
mod config;
#[cfg(test)]
mod documented;
mod ioctl;
mod ip_options;
mod options;
mod pass;
mod service;
mod tcp;
mod udp;
mod unix;
