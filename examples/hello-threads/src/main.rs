//! An ordinary program: threads, a channel, a map. It knows nothing of the operating system below it.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

const WORKERS: u64 = 4;

fn main() {
    let started = Instant::now();
    println!("hello from the main thread, arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>());

    let (sender, receiver) = mpsc::channel();
    let workers = (0..WORKERS).map(|worker| {
        let sender = sender.clone();
        thread::spawn(move || {
            let primes = primes_between(worker * 10_000, (worker + 1) * 10_000);
            sender.send((worker, primes)).expect("the main thread receives until all senders are gone");
        })
    });
    let workers = workers.collect::<Vec<_>>();
    drop(sender);

    let counts = receiver.into_iter().collect::<HashMap<_, _>>();
    for worker in workers {
        worker.join().expect("no worker panics");
    }
    for worker in 0..WORKERS {
        println!("worker {worker}: {} primes", counts[&worker]);
    }
    println!("{} primes below {}", counts.values().sum::<usize>(), WORKERS * 10_000);
    eprintln!("took {:?}", started.elapsed());
    println!("all threads joined");
}

fn primes_between(from: u64, to: u64) -> usize {
    let is_prime = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
    (from..to).filter(|&n| is_prime(n)).count()
}
