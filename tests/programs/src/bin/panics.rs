//! Panics in a function with a name, or aborts.

fn main() {
    println!("before");
    match std::env::args().nth(1).as_deref() {
        Some("abort") => std::process::abort(),
        _ => falls_over(std::env::args().count()),
    }
    println!("never printed");
}

#[inline(never)]
fn falls_over(count: usize) {
    let three = [1, 2, 3];
    println!("{}", three[std::hint::black_box(count + 2)]);
}
