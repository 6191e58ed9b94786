//! TCP as a table of behaviour: scripts in the manner of packetdrill, each naming the section it checks, and two stacks over a
//! bad wire.

#[macro_use]
mod script;
mod close;
mod data;
mod handshake;
mod options;
mod recovery;
mod reset;
mod rng;
mod saved;
mod simulation;
mod timers;
mod window;
