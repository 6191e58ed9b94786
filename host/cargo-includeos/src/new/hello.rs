//! An ordinary program. `cargo run` starts it as a process, `cargo includeos run` as a virtual machine.

use std::thread;
use std::time::Instant;

fn main() {
    let started = Instant::now();
    let name = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    println!("Hello, {name}!");

    let workers: Vec<_> = (1..=4u64)
        .map(|n| {
            thread::spawn(move || {
                let sum: u64 = (1..=n * 1_000).sum();
                println!("  thread {n}: the sum of 1 to {} is {sum}", n * 1_000);
                sum
            })
        })
        .collect();
    let total: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();

    println!("In all {total}, in {:?}.", started.elapsed());
}
