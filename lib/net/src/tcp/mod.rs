//! TCP (RFC 9293), as a machine without I/O.
//!
//! A connection is a [`Flow`]. Its owner gives it segments ([`Flow::handle_segment`]) and the time
//! ([`Flow::handle_timeout`]), and takes from it segments ([`Flow::poll_transmit`]), a deadline
//! ([`Flow::poll_timeout`]), received frames ([`Flow::receive`]) and news ([`Flow::poll_events`]). [`Demux`] finds the
//! flow of a segment; [`listen`] answers segments to a listener; [`reset_for`] those to nobody.
//!
//! What is where: `state` is what a segment does (RFC 9293 § 3.10.7), `output` what is sent and when, `flow` the calls of the
//! program and the timers. They share [`Flow`]; the other files are its parts, each for itself.
//!
//! Read before: RFC 9293 § 3.3 to § 3.10, RFC 5681, RFC 6298, RFC 6675, RFC 7323.
//!
//! Not here yet: RACK-TLP, PRR, F-RTO, BBR, pacing, ECN, SYN cookies, path MTU discovery, urgent data as such (it is
//! delivered in line, RFC 6093), CORK, buffer auto-tuning,
//! source ports. TCP Fast Open is left out.

mod congestion;
mod demux;
mod flow;
mod isn;
mod listen;
mod options;
mod output;
mod receive_queue;
mod rto;
mod sack;
mod saved;

mod segment;
mod send_queue;
mod state;
mod timers;
mod windows;

pub use congestion::{Ack, Algorithm, Congestion, Controller, Cubic, NewReno, initial_window};
pub use demux::{Demux, FourTuple, InsertError};
pub use flow::{Config, Error, Events, Flow, KeepAlive, SendError};
pub use isn::IsnGenerator;
pub use listen::{Listen, listen};
pub use rto::Rto;
pub use saved::{FLOW_STATE_VERSION, FlowState, RestoreError};
pub use segment::{Segment, reset_for};
pub use state::{Handled, State};
