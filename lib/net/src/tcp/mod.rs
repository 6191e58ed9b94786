//! TCP (RFC 9293), as a machine without I/O.
//!
//! A connection is a [`Flow`]. Its owner gives it segments ([`Flow::handle_segment`]) and the time
//! ([`Flow::handle_timeout`]), and takes from it segments ([`Flow::poll_transmit`]), a deadline
//! ([`Flow::poll_timeout`]), received frames ([`Flow::receive`]) and news ([`Flow::poll_events`]). [`Demux`] finds the
//! flow of a segment; [`Listener`] answers segments to a port; [`reset_for`] those to nobody.
//!
//! What is where, along the way of a segment: `state` (RFC 9293 § 3.10.7, check by check), `ack` (what an acknowledgment
//! says), `recovery` (losses) with `rack`, `prr`, `tlp`; `congestion`; `output` (what is sent, and when) with `pacing`;
//! `timers`. They share [`Flow`], whose calls for the program are in `flow`. The other files are its parts, each for itself.
//!
//! Read before: RFC 9293 § 3.3 to § 3.10, RFC 5681, RFC 6298, RFC 7323, RFC 8985, RFC 9937; for single files also RFC 2018,
//! RFC 2883, RFC 3168, RFC 4821, RFC 4987, RFC 5682, RFC 5927, RFC 5961, RFC 6056, RFC 6528, RFC 9438, draft-ietf-ccwg-bbr.
//!
//! **TCP Fast Open (RFC 7413) is left out**: data on a SYN may be delivered twice, which only programs made for it bear;
//! middleboxes drop such SYNs, so that clients gave it up (browsers have no switch for it any more); and the cookie is one
//! more thing that a server's clones and updates would have to share. Data on a SYN is left for the peer to send again.
//!
//! Urgent data is delivered in line, as RFC 6093 § 6 asks for, and never sent. Not here: more accurate ECN (RFC 9768), which only a
//! congestion control that answers to each mark makes use of, and there is none here; HyStart++ (RFC 9406).

mod ack;
mod buffers;
mod congestion;
mod cookie;
mod demux;
mod ecn;
mod flow;
mod icmp;
mod in_flight;
mod info;
mod isn;
mod listen;
mod min_rtt;
mod options;
mod output;
mod pacing;
mod path_mtu;
mod ports;
mod prr;
mod rack;
mod rate;
mod receive_queue;
mod recovery;
mod rto;
mod sack;
mod saved;
mod segment;
mod send_queue;
mod state;
mod tally;
mod time_wait;
mod timers;
mod tlp;
mod windows;

pub use congestion::{Ack, Algorithm, Bbr, Congestion, Controller, Cubic, Lost, NewReno, initial_window};
pub use demux::{Demux, FourTuple, InsertError};
pub use ecn::{Ecn, EcnMode};
pub use flow::{Config, Error, Events, Flow, KeepAlive, SendError};
pub use icmp::IcmpError;
pub use info::Info;
pub use isn::IsnGenerator;
pub use listen::{Listen, Listener};
pub use ports::source_ports;
pub use rate::RateSample;
pub use rto::Rto;
pub use saved::{FLOW_STATE_VERSION, FlowState, RestoreError};
pub use segment::{Segment, reset_for};
pub use state::{Handled, State};
pub use time_wait::{TimeWait, TimeWaitAnswer, TimeWaitTable};
