//! What the process has used: getrusage(2), times(2).

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::{mm, sched, time, uaccess};

use crate::errno::{EINVAL, Result};

const US_NS: u64 = 1000;
const S_US: u64 = 1_000_000;
/// Octets of `ru_maxrss`' unit.
const KIB: u64 = 1024;
/// Nanoseconds of a clock tick (`sysconf(_SC_CLK_TCK)` is 100).
const TICK_NS: u64 = 10_000_000;

/// getrusage(2). Time in system calls counts as the program's own.
pub fn getrusage(who: i32, usage: u64) -> Result {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    // struct rusage: utime, stime (seconds and microseconds), maxrss in KiB, and 13 counters.
    let mut words = [0u64; 18];
    let cpu_ns = match who {
        SELF => sched::process_cpu_time_ns(),
        THREAD => sched::cpu_time_ns(&sched::current()),
        CHILDREN => {
            uaccess::write(usage, words)?;
            return Ok(0);
        }
        _ => return Err(EINVAL),
    };
    let memory = mm::usage();
    words[0] = cpu_ns / US_NS / S_US;
    words[1] = cpu_ns / US_NS % S_US;
    words[4] = memory.peak_resident / KIB;
    // Page faults without I/O: at least one a page.
    words[8] = memory.peak_resident / PAGE_SIZE;
    uaccess::write(usage, words)?;
    Ok(0)
}

/// times(2); returns the ticks since the machine started.
pub fn times(buf: u64) -> Result {
    if buf != 0 {
        // struct tms: utime, stime, and those of children.
        uaccess::write(buf, [sched::process_cpu_time_ns() / TICK_NS, 0, 0, 0])?;
    }
    Ok(time::now_ns() / TICK_NS)
}
