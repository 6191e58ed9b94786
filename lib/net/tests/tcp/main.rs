//! TCP as a table of behaviour: scripts in the manner of packetdrill, each naming the section it checks, and two stacks over a
//! bad wire.

#[macro_use]
mod script;
mod attacks;
mod bottleneck;
mod buffers;
mod close;
mod cookies;
mod data;
mod ecn;
mod handshake;
mod loss_by_time;
mod options;
mod path_mtu;
mod recovery;
mod reset;
#[path = "../../../wire/tests/wire/rng.rs"]
mod rng;
mod saved;
mod settings;
mod simulation;
mod spurious_timeout;
mod timers;
mod window;
