//! One behaviour, one test: images that boot, what they print, how they end.

mod calls;
mod exits;
mod faults;
mod includeos_cases;
mod isolation;
mod machines;
mod memory;
mod network;
mod object;
mod ordinary;
mod panics;
mod pressure;
mod sockets;
mod symbols;
mod torture;
mod tree;
