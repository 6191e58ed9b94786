//! Clocks that are none, or cannot do what is asked.

use programs::number::*;

use super::{MAX, NOBODY, show, show_outcome};

pub fn wrong() {
    let mut spec = [0i64; 2];
    let at = (&raw mut spec) as u64;
    for clock in [0, 1, 2, 3, 4, 5, 6, 7, 11] {
        show(&format!("clock_gettime {clock}"), CLOCK_GETTIME, &[clock, at]);
    }
    show("clock_gettime, no such clock", CLOCK_GETTIME, &[99, at]);
    show("clock_gettime, negative clock", CLOCK_GETTIME, &[MAX, at]);
    show("clock_getres, no such clock", CLOCK_GETRES, &[99, at]);
    show("clock_getres, nowhere to", CLOCK_GETRES, &[1, 0]);
    for (name, value) in
        [("negative", [-1i64, 0]), ("too many ns", [0, 1_000_000_000]), ("negative ns", [0, -1])]
    {
        let at = (&raw const value) as u64;
        show(&format!("nanosleep, {name}"), NANOSLEEP, &[at, 0]);
        show(&format!("clock_nanosleep, {name}"), CLOCK_NANOSLEEP, &[1, 1, at, 0]);
    }
    let zero = [0i64; 2];
    show("clock_nanosleep, no such clock", CLOCK_NANOSLEEP, &[99, 0, (&raw const zero) as u64, 0]);
    show("clock_nanosleep until the past", CLOCK_NANOSLEEP, &[1, 1, (&raw const zero) as u64, 0]);
    cpu_clocks();
    setting();
}

/// A CPU clock's id: the complement of the number, and in the low bits which.
fn cpu_clock(number: u64, which: u64) -> u64 {
    !number << 3 | which
}

fn cpu_clocks() {
    let mut spec = [0i64; 2];
    let at = (&raw mut spec) as u64;
    for which in 0..8 {
        show(&format!("clock_gettime, own CPU clock {which}"), CLOCK_GETTIME, &[cpu_clock(0, which), at]);
        show(
            &format!("clock_gettime, nobody's CPU clock {which}"),
            CLOCK_GETTIME,
            &[cpu_clock(NOBODY >> 4, which), at],
        );
        show(&format!("clock_getres, own CPU clock {which}"), CLOCK_GETRES, &[cpu_clock(0, which), 0]);
    }
    for clock in [0, 1, 3, 4, 5, 6, 7, 11, 12, 99, MAX] {
        show_outcome(
            &format!("clock_nanosleep of nothing by clock {clock}"),
            CLOCK_NANOSLEEP,
            &[clock, 0, at, 0],
        );
    }
    show("clock_nanosleep by the own thread's CPU clock", CLOCK_NANOSLEEP, &[cpu_clock(0, 6), 0, at, 0]);
    show("clock_nanosleep by nobody's CPU clock", CLOCK_NANOSLEEP, &[cpu_clock(NOBODY >> 4, 6), 0, at, 0]);
}

fn setting() {
    let valid = [1_000_000_000i64, 0];
    for clock in [1, 2, 3, 4, 5, 6, 7, 11, 99] {
        show(&format!("clock_settime {clock}"), CLOCK_SETTIME, &[clock, (&raw const valid) as u64]);
    }
    let timex = [0u64; 26];
    for clock in [1, 2, 3, 4, 7, 99] {
        show(&format!("clock_adjtime {clock}"), CLOCK_ADJTIME, &[clock, (&raw const timex) as u64]);
    }
    show_outcome("adjtimex, to read", ADJTIMEX, &[(&raw const timex) as u64]);
    for (name, value) in
        [("negative", [-1i64, 0]), ("too many", [0, 1_000_000_000]), ("negative part", [0, -1])]
    {
        let at = (&raw const value) as u64;
        show(&format!("clock_settime, {name}"), CLOCK_SETTIME, &[0, at]);
        show(&format!("settimeofday, {name}"), SETTIMEOFDAY, &[at, 0]);
    }
}
