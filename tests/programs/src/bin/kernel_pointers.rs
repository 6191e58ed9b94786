//! Names the kernel's own memory in system calls: `kernel_pointers START END ...`, hexadecimal. Everything is refused;
//! nothing is read or changed.

use programs::{Shown, number, syscall};

const PAGE: u64 = 4096;

fn main() {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .map(|word| u64::from_str_radix(&word, 16).expect("an address in hexadecimal"))
        .collect();
    let mut survived = Vec::new();
    for range in words.chunks_exact(2) {
        let (start, end) = (range[0], range[1]);
        for at in [start, start + (end - start) / 2, end - 1] {
            let page = at & !(PAGE - 1);
            let calls = [
                ("write", number::WRITE, [1, at, 1, 0, 0, 0]),
                ("write into it", number::WRITE, [1, start - 1, 2, 0, 0, 0]),
                ("getrandom", number::GETRANDOM, [at, 1, 0, 0, 0, 0]),
                ("uname", number::UNAME, [at, 0, 0, 0, 0, 0]),
                ("clock_gettime", number::CLOCK_GETTIME, [1, at, 0, 0, 0, 0]),
                ("futex", number::FUTEX, [at & !3, 128, 0, 0, 0, 0]),
                ("munmap", number::MUNMAP, [page, PAGE, 0, 0, 0, 0]),
                ("mmap", number::MMAP, [page, PAGE, 3, 0x32, u64::MAX, 0]),
                ("mprotect", number::MPROTECT, [page, PAGE, 7, 0, 0, 0]),
            ];
            for (name, number, arguments) in calls {
                // SAFETY: the calls are refused: that is what is looked at.
                let result = unsafe { syscall(number, arguments) };
                if result >= 0 {
                    survived.push(format!("{name} at {at:#x}: {}", Shown(result)));
                }
            }
        }
    }
    // A mapping below the image that is cut down, with all that lies behind it.
    for range in words.chunks_exact(2) {
        const NO_REPLACE: u64 = 0x10_0022;
        let below = (1..10_000).map(|n| (range[0] & !(PAGE - 1)) - n * PAGE);
        // SAFETY: only where nothing is.
        let is_new =
            |page: &u64| unsafe { syscall(number::MMAP, [*page, PAGE, 3, NO_REPLACE, u64::MAX, 0]) } > 0;
        let page = below.clone().find(is_new).expect("there is room below the image");
        let len = range[1].next_multiple_of(PAGE) - page;
        // SAFETY: the call is refused: that is what is looked at.
        let result = unsafe { syscall(number::MREMAP, [page, len, PAGE, 0, 0, 0]) };
        if result >= 0 {
            survived.push(format!("mremap over {:#x}: {}", range[0], Shown(result)));
        }
    }
    println!("{} ranges, accepted: {survived:#?}", words.len() / 2);
    // The kernel still works.
    let map: std::collections::HashMap<u32, String> = (0..100).map(|n| (n, n.to_string())).collect();
    println!("{} entries", map.len());
}
