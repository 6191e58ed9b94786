//! The ordinary things: heap, map, text, environment, arguments, clocks.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let started = Instant::now();
    let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
    let map: HashMap<String, u64> = squares.iter().map(|n| (format!("{n:08}"), *n)).collect();
    let sum: u64 = map.values().sum();
    println!("hello: {} squares, sum {sum}, largest {}", map.len(), map["00998001"]);
    println!("arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    println!("HELLO={:?}", std::env::var("HELLO"));
    let years = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs() / 31_556_952);
    println!("after 2020: {}", years.is_ok_and(|years| years > 50));
    println!("time passes: {}", started.elapsed().as_nanos() > 0);
    println!("pi is about {:.5}, {:>8}|{:<8}|{:^8}|", std::f64::consts::PI, "right", "left", "mid");
}
