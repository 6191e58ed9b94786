//! Limits, usage, and what prctl(2) keeps.

use programs::number::*;
use programs::syscall;

use super::{MAX, NOBODY, show, show_outcome};

pub fn wrong() {
    limits();
    for who in [-2i64 as u64, 2, 99] {
        show(&format!("getrusage of {}", who as i64), GETRUSAGE, &[who, 0]);
    }
    show_outcome("times, nowhere to", TIMES, &[0]);
    attributes();
}

fn limits() {
    let own = std::process::id().into();
    let [wrong, mut limit] = [[5u64, 3], [0u64; 2]];
    let (wrong, at) = ((&raw const wrong) as u64, (&raw mut limit) as u64);
    for resource in [16, 99, MAX] {
        show(&format!("getrlimit {resource}"), GETRLIMIT, &[resource, at]);
        show(&format!("setrlimit {resource}"), SETRLIMIT, &[resource, wrong]);
        show(&format!("prlimit64 {resource}"), PRLIMIT64, &[0, resource, 0, at]);
    }
    for resource in 0..16 {
        show(&format!("getrlimit {resource}"), GETRLIMIT, &[resource, at]);
        show(&format!("setrlimit {resource} to itself"), SETRLIMIT, &[resource, at]);
        show(&format!("setrlimit {resource}, soft above hard"), SETRLIMIT, &[resource, wrong]);
    }
    show("prlimit64 of the own process", PRLIMIT64, &[own, 7, 0, at]);
    show("prlimit64 of nobody", PRLIMIT64, &[NOBODY, 7, 0, at]);
    show("prlimit64 of nobody, no such limit", PRLIMIT64, &[NOBODY, 99, 0, at]);
}

fn attributes() {
    let mut word = [0u32; 2];
    let at = (&raw mut word) as u64;
    let prctl = |name: &str, arguments: &[u64]| show(&format!("prctl {name}"), PRCTL, arguments);
    for (name, set, get, values) in
        [("death signal", 1, 2, &[0u64, 15, 64, 65, MAX][..]), ("child subreaper", 36, 37, &[1, 0, 7, 0][..])]
    {
        for &value in values {
            prctl(&format!("set {name} {value}"), &[set, value]);
            prctl(&format!("get {name}"), &[get, at]);
            // SAFETY: `word` is written by the call, behind the compiler's back.
            println!("{name}: {}", unsafe { (at as *const u32).read_volatile() });
        }
    }
    // PR_SET_DUMPABLE ends with what it began with.
    for (name, set, get, values) in [
        ("dumpable", 4, 3, &[0u64, 2, 99, 1][..]),
        ("keep capabilities", 8, 7, &[1, 2, 0][..]),
        ("timer slack", 29, 30, &[1, 1_000_000, 50_000][..]),
        ("no new privileges", 38, 39, &[0, 2, MAX][..]),
    ] {
        for &value in values {
            prctl(&format!("set {name} {value}"), &[set, value]);
            prctl(&format!("get {name}"), &[get]);
        }
    }
    prctl("get timing", &[13]);
    prctl("set timing 0", &[14, 0]);
    prctl("set timing 1", &[14, 1]);
    prctl("get seccomp", &[21]);
    prctl("read capability 0", &[23, 0]);
    prctl("read capability 99", &[23, 99]);
    prctl("set no new privileges, more arguments", &[38, 1, 1]);
    prctl("get no new privileges, more arguments", &[39, 0, 0, 1]);
    prctl("get the use of huge pages, more arguments", &[42, 1]);
    prctl("set no new privileges", &[38, 1]);
    prctl("get no new privileges", &[39]);
    prctl("operation -1", &[MAX]);
    // SAFETY: the call changes no memory.
    let slack = unsafe { syscall(PRCTL, [29, 0, 0, 0, 0, 0]) };
    println!("slack back to the default: {slack}");
    prctl("get timer slack", &[30]);
}
