//! [`Host`]: what both stacks do here.

use std::net::Ipv4Addr;

/// Where the host is.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where it listens, in all cases.
pub const PORT: u16 = 80;
/// Octets that a program reads or writes at a time.
pub const BUFFER: usize = 64 * 1024;

/// What the host's program does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Reads all that comes, and closes when the peer has.
    Read,
    /// Writes as much as there is room for.
    Write,
    /// Answers each request with so many octets, and closes when the peer has.
    Answer(usize),
}

/// A host with one interface and one listener.
pub trait Host {
    /// `connections`: how many with traffic there will be at a time. `checksums`: the device does not see to them.
    fn new(program: Program, connections: usize, checksums: bool) -> Self;
    /// A frame comes in; nothing is done with it yet.
    fn load(&mut self, frame: &[u8]);
    /// Does everything there is to do, the program's part included. What is sent is kept until the next call.
    fn run(&mut self, now_us: u64);
    /// The frames that the last call sent.
    fn sent(&self) -> Vec<Vec<u8>>;
    /// How many.
    fn sent_count(&self) -> usize;
    /// Adds what is without traffic and costs a look: connections with our stack, listening sockets with smoltcp.
    fn add_idle(&mut self, count: usize);
}
