//! What the network stack costs: `netbench CASE ...` repeats each case's work between two marks that the counter of `cargo
//! xtask bench net` recognises (host/counter), and prints for each stretch between marks, in their order:
//! `section CASE OPERATIONS 0`, and `time CASE OPERATIONS NANOSECONDS`. Lines `memory CASE OCTETS` tell what a connection without
//! traffic takes.
//!
//! Frames are made before, and looked at after, by a peer that stands outside of the marks. Inside are: what the stack does with
//! them, the program's reading into a buffer and writing from one, and what the stack gives out for it. `ours` and `smol` play
//! the same host to the same peer.

mod cases;
mod host;
mod memory;
mod ours;
mod peer;
mod pool;
mod sections;
mod smol;

use sections::Sections;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fn main() {
    for name in std::env::args().skip(1) {
        let Some((_, run)) = cases::CASES.iter().find(|(case, _)| *case == name) else {
            println!("no case {name:?}");
            std::process::exit(2);
        };
        let mut sections = Sections::default();
        run(&mut sections);
        print!("{}", sections.lines());
    }
    println!("end");
}
