//! Futexes at wrong addresses, with wrong values, and in wrong hands.

use programs::number::*;
use programs::syscall;

use super::{KERNEL_HALF, MAX, NOBODY, UNMAPPED, show};

const PRIVATE: u64 = 128;

pub fn wrong() {
    plain();
    change_and_wake();
    locks();
    requeue_pi();
    vectors();
}

fn plain() {
    let words = [0u32; 4];
    let at = (&raw const words) as u64;
    let futex = |name: &str, arguments: &[u64]| show(&format!("futex, {name}"), FUTEX, arguments);
    futex("odd address", &[at + 1, PRIVATE, 0]);
    futex("another value", &[at, PRIVATE, 1]);
    futex("wake in the kernel's half", &[KERNEL_HALF, 1 | PRIVATE, 1]);
    futex("wake at an odd address", &[at + 2, 1 | PRIVATE, 1]);
    futex("wake nobody", &[at, 1 | PRIVATE, 1]);
    futex("wake where nothing is mapped", &[UNMAPPED, 1 | PRIVATE, 1]);
    futex("an empty set", &[at, 9 | PRIVATE, 0, 0, 0, 0]);
    futex("wake an empty set", &[at, 10 | PRIVATE, 1, 0, 0, 0]);
    let negative = [-1i64, 0];
    futex("a negative timeout", &[at, PRIVATE, 0, (&raw const negative) as u64]);
    let too_many = [0i64, 1_000_000_000];
    futex("a timeout of too many nanoseconds", &[at, PRIVATE, 0, (&raw const too_many) as u64]);
    let none = [0i64, 0];
    futex("a timeout of nothing", &[at, PRIVATE, 0, (&raw const none) as u64]);
    futex("a moment long past", &[at, 9 | PRIVATE, 0, (&raw const none) as u64, 0, 0xffff_ffff]);
    futex(
        "a moment long past by the wall clock",
        &[at, 9 | PRIVATE | 256, 0, (&raw const none) as u64, 0, 1],
    );
    futex("a clock for a wake", &[at, 1 | PRIVATE | 256, 1]);
    futex("move at another value", &[at, 4 | PRIVATE, 1, 1, at + 4, 5]);
    futex("move to an odd address", &[at, 4 | PRIVATE, 1, 1, at + 5, 0]);
    futex("move a negative count", &[at, 3 | PRIVATE, 1, MAX, at + 4]);
    futex("wake a negative count and move", &[at, 3 | PRIVATE, MAX, 1, at + 4]);
    futex("move nobody", &[at, 4 | PRIVATE, 1, 1, at + 4, 0]);
    futex("move to the kernel's half", &[at, 3 | PRIVATE, 1, 1, KERNEL_HALF]);
}

/// `FUTEX_WAKE_OP`: operation, operand, comparison, comparand.
fn change_and_wake() {
    let mut words = [0u32; 2];
    let at = (&raw mut words) as u64;
    for operation in 0..16u64 {
        for comparison in [0, 1, 2, 3, 4, 5, 6, 15] {
            let encoded = operation << 28 | comparison << 24 | 3 << 12 | 0xffe;
            let name = format!("futex, wake after operation {operation} if {comparison}");
            show(&name, FUTEX, &[at, 5 | PRIVATE, 1, 1, at + 4, encoded]);
            // SAFETY: our own word, which the call changes behind the compiler's back.
            println!("word: {:#x}", unsafe { ((at + 4) as *const u32).read_volatile() });
        }
    }
    show("futex, change an odd address", FUTEX, &[at, 5 | PRIVATE, 1, 1, at + 5, 0]);
    show("futex, change where nothing is mapped", FUTEX, &[at, 5 | PRIVATE, 1, 1, UNMAPPED, 0]);
    show("futex, change the kernel's half", FUTEX, &[at, 5 | PRIVATE, 1, 1, KERNEL_HALF, 0]);
    static READ_ONLY: [u32; 2] = [0; 2];
    show(
        "futex, change what may only be read",
        FUTEX,
        &[at, 5 | PRIVATE, 1, 1, (&raw const READ_ONLY) as u64, 0],
    );
}

/// Priority-inheriting locks.
fn locks() {
    let mut word = [0u32; 2];
    let at = (&raw mut word) as u64;
    let read = || {
        // SAFETY: our own word, which the calls change behind the compiler's back.
        unsafe { (at as *const u32).read_volatile() }
    };
    // SAFETY: the call changes nothing.
    let tid = unsafe { syscall(GETTID, [0; 6]) } as u32;
    let futex = |name: &str, arguments: &[u64]| {
        show(&format!("futex, {name}"), FUTEX, arguments);
        let word = read();
        let owner = match word & 0x3fff_ffff {
            0 => "nobody",
            owner if owner == tid => "me",
            _ => "another",
        };
        println!("owner: {owner}, bits {}", word >> 30);
    };
    let set = |value: u32| {
        // SAFETY: as for `read`.
        unsafe { (at as *mut u32).write_volatile(value) };
    };
    for (name, lock) in [("lock", 6), ("lock2", 13), ("try_lock", 8)] {
        set(0);
        let lock = lock | PRIVATE;
        futex(&format!("{name} an odd address"), &[at + 1, lock]);
        futex(&format!("{name} what is free"), &[at, lock]);
        futex(&format!("{name} what I hold"), &[at, lock]);
        futex("unlock it", &[at, 7 | PRIVATE]);
        futex("unlock it twice", &[at, 7 | PRIVATE]);
        set(NOBODY as u32);
        futex(&format!("{name} what nobody holds"), &[at, lock]);
        set(1 << 30);
        futex(&format!("{name} what a dead one left"), &[at, lock]);
        set(tid | 1 << 31);
        futex("unlock what I hold, waited for by nobody", &[at, 7 | PRIVATE]);
        set(1 << 31);
        futex(&format!("{name} what is free and waited for"), &[at, lock]);
    }
    set(0);
    let past = [0i64, 0];
    let wrong = [0i64, 1_000_000_000];
    futex("lock what is free, until long ago", &[at, 6 | PRIVATE, 0, (&raw const past) as u64]);
    futex("lock, wrong time", &[at, 6 | PRIVATE, 0, (&raw const wrong) as u64]);
    futex("lock with a clock", &[at, 6 | PRIVATE | 256, 0, 0]);
    futex("unlock an odd address", &[at + 2, 7 | PRIVATE]);
    show("get_robust_list of nobody", GET_ROBUST_LIST, &[NOBODY, at, at]);
}

fn requeue_pi() {
    let words = [0u32; 2];
    let at = (&raw const words) as u64;
    let futex = |name: &str, arguments: &[u64]| show(&format!("futex, {name}"), FUTEX, arguments);
    futex("wait to be moved onto itself", &[at, 11 | PRIVATE, 0, 0, at, MAX]);
    futex("wait to be moved, another value", &[at, 11 | PRIVATE, 5, 0, at + 4, MAX]);
    futex("move to a lock, another value", &[at, 12 | PRIVATE, 1, 1, at + 4, 5]);
    futex("move to a lock, two to be woken", &[at, 12 | PRIVATE, 2, 1, at + 4, 0]);
    futex("move to a lock, onto itself", &[at, 12 | PRIVATE, 1, 1, at, 0]);
    futex("move nobody to a lock", &[at, 12 | PRIVATE, 1, 1, at + 4, 0]);
    futex("move to a lock, a negative count", &[at, 12 | PRIVATE, 1, MAX, at + 4, 0]);
    futex("move to a lock at an odd address", &[at, 12 | PRIVATE, 1, 1, at + 5, 0]);
}

fn vectors() {
    let word = [0u32; 2];
    let at = (&raw const word) as u64;
    let past = [0i64, 0];
    let past = (&raw const past) as u64;
    let waitv = |name: &str, vector: &[u64], arguments: [u64; 4]| {
        let [count, flags, timeout, clock] = arguments;
        show(
            &format!("futex_waitv, {name}"),
            FUTEX_WAITV,
            &[vector.as_ptr() as u64, count, flags, timeout, clock],
        );
    };
    let good = [0, at, 0x82];
    waitv("none", &good, [0, 0, past, 1]);
    waitv("129", &[0; 3 * 129], [129, 0, past, 1]);
    waitv("flags", &good, [1, 1, past, 1]);
    waitv("no such clock", &good, [1, 0, past, 7]);
    waitv("until long ago", &good, [1, 0, past, 1]);
    waitv("until long ago by the wall clock", &good, [1, 0, past, 0]);
    waitv("another value", &[1, at, 0x82], [1, 0, past, 1]);
    waitv("a value of 64 bits", &[1 << 32, at, 0x82], [1, 0, past, 1]);
    waitv("no size", &[0, at, 0x80], [1, 0, past, 1]);
    waitv("reserved", &[0, at, 0x82 | 1 << 32], [1, 0, past, 1]);
    waitv("odd address", &[0, at + 1, 0x82], [1, 0, past, 1]);
    waitv("unmapped", &[0, UNMAPPED, 0x82], [1, 0, past, 1]);
    waitv("the second differs", &[0, at, 0x82, 1, at + 4, 0x82], [2, 0, past, 1]);
}
