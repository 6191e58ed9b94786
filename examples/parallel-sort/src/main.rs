//! Sorts and sums numbers on all CPUs with rayon, unmodified from crates.io: `parallel-sort [NUMBERS]`.

use rayon::prelude::*;

fn main() {
    let count = std::env::args().nth(1).map_or(1 << 20, |count| count.parse().expect("a number"));
    println!("{count} numbers, {} threads", rayon::current_num_threads());
    let mut numbers: Vec<u64> = (0..count).into_par_iter().map(scramble).collect();
    println!("sorting");
    numbers.par_sort_unstable();
    let sum: f64 = numbers.par_iter().map(|&n| (n as f64).sqrt().ln()).sum();
    println!("sorted, sum of logarithms of roots {sum:.3}");
    assert!(numbers.is_sorted());
}

/// Octets in no order: the finaliser of SplitMix64.
fn scramble(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
