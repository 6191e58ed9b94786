//! The clocks: `time SECONDS`, the host's UNIX time.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

fn main() {
    let host: u64 = std::env::args().nth(1).expect("usage: time SECONDS").parse().expect("a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    println!("wall clock within two days of the host's: {}", now.abs_diff(host) < 2 * DAY);

    let mut last = Instant::now();
    let first = last;
    let mut steps_back = 0;
    for _ in 0..200_000 {
        let now = Instant::now();
        steps_back += u64::from(now < last);
        last = now;
    }
    println!("steps back: {steps_back}, moved: {}", last > first);

    for millis in [0, 1, 3, 20] {
        let (asked, before) = (Duration::from_millis(millis), Instant::now());
        thread::sleep(asked);
        println!("slept {millis} ms or longer: {}", before.elapsed() >= asked);
    }

    // Several sleepers at once, the longest first; none is early. (Which is seen first is up to the host, with several CPUs.)
    let base = Instant::now();
    let sleepers: Vec<_> = [150, 50, 100]
        .map(|millis| {
            thread::spawn(move || {
                let deadline = base + Duration::from_millis(millis);
                thread::sleep(deadline.saturating_duration_since(Instant::now()));
                Instant::now() >= deadline
            })
        })
        .into();
    let woken: Vec<_> = sleepers.into_iter().map(|sleeper| sleeper.join().expect("no panic")).collect();
    println!("woken after their deadlines: {woken:?}");

    let before = SystemTime::now();
    thread::sleep(Duration::from_millis(2));
    println!(
        "wall clock goes on: {}",
        before.elapsed().is_ok_and(|elapsed| elapsed >= Duration::from_millis(1))
    );
}
