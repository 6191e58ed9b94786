//! Asks for more memory than there is, politely, and then not.

use std::alloc::{Layout, alloc};

fn main() {
    let mut vec: Vec<u8> = Vec::new();
    println!("1 TiB: {}", vec.try_reserve_exact(1 << 40).is_err());
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let refused = loop {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            break true;
        }
        // Touched: what was promised must be there.
        piece.resize(1 << 20, pieces.len() as u8);
        pieces.push(piece);
        if pieces.len() > 10_000 {
            break false;
        }
    };
    let right = pieces.iter().enumerate().all(|(n, piece)| piece.iter().all(|&octet| octet == n as u8));
    println!("refused at last: {refused}, several before: {}, all right: {right}", pieces.len() > 8);
    drop(pieces);
    println!("there again: {}", vec.try_reserve_exact(8 << 20).is_ok());
    let layout = Layout::array::<u8>(1 << 45).expect("a layout");
    // SAFETY: the layout's size is not zero; the result is not used.
    println!("null: {}", unsafe { alloc(layout) }.is_null());
    if std::env::args().nth(1).as_deref() == Some("abort") {
        let _ = vec![1u8; 1 << 40];
    }
}
