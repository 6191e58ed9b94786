//! Makes calls that have no row in the table, and asks for an operation that is missing, twice each.

use programs::{Shown, number, syscall};

const NO_OPERATION: u64 = 77;

fn main() {
    let word = 0u32;
    let futex = [(&raw const word) as u64, NO_OPERATION, 0, 0, 0, 0];
    for _ in 0..2 {
        for (call, arguments) in
            [(number::NONE, [0; 6]), (number::IO_URING_SETUP, [0; 6]), (number::FUTEX, futex)]
        {
            // SAFETY: the calls do not exist, or are given nothing to work on.
            println!("{call}: {}", Shown(unsafe { syscall(call, arguments) }));
        }
    }
    // SAFETY: as above.
    println!("-1: {}", Shown(unsafe { syscall(u64::MAX, [0; 6]) }));
}
