//! Vectors that grow beyond what the heap holds: libc moves them with mremap(2).

fn main() {
    let mut grown = Vec::new();
    for n in 0..1_000_000u64 {
        grown.push(n * 3);
    }
    println!("{} words, sum {}", grown.len(), grown.iter().sum::<u64>());
    grown.truncate(1_000);
    grown.shrink_to_fit();
    println!("{} words, sum {}", grown.len(), grown.iter().sum::<u64>());

    // A neighbour in the way of growing in place.
    let mut moved = vec![1u8; 1 << 20];
    let neighbour = vec![2u8; 1 << 20];
    for step in 2..30usize {
        moved.resize(step << 18, step as u8);
    }
    let sum = |octets: &[u8]| octets.iter().map(|&octet| u64::from(octet)).sum::<u64>();
    println!("{} octets, sum {}; neighbour {}", moved.len(), sum(&moved), sum(&neighbour));
}
