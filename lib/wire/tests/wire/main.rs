//! Tests of the wire formats as a whole: against other implementations, and against everything that is no packet.

mod differential;
mod no_panic;
mod rng;
