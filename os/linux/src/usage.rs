//! What the process has used: getrusage(2), times(2), and the CPU clocks.

use core::sync::atomic::{AtomicU64, Ordering};

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::sched::thread::Thread;
use kernel::{mm, sched, time, uaccess};

use crate::errno::{EINVAL, Result};

const US_NS: u64 = 1000;
const S_US: u64 = 1_000_000;
/// Octets of `ru_maxrss`' unit.
const KIB: u64 = 1024;
/// Nanoseconds of a clock tick (`sysconf(_SC_CLK_TCK)` is 100).
const TICK_NS: u64 = 10_000_000;

/// CPU time of threads that have ended, in nanoseconds.
static ENDED_NS: AtomicU64 = AtomicU64::new(0);
/// The latest answer of [`process_cpu_ns`].
static LATEST_NS: AtomicU64 = AtomicU64::new(0);

/// CPU time of all threads there ever were, in nanoseconds; never steps back. Looks at each thread.
pub fn process_cpu_ns() -> u64 {
    let mut total = ENDED_NS.load(Ordering::Relaxed);
    sched::for_each_thread(|thread| total = total.saturating_add(sched::cpu_ns(thread)));
    // A thread that ends at this moment may be counted twice, or not at all.
    LATEST_NS.fetch_max(total, Ordering::Relaxed).max(total)
}

/// Keeps the CPU time of a thread that ends now.
pub fn on_exit(thread: &Thread) {
    ENDED_NS.fetch_add(sched::cpu_ns(thread), Ordering::Relaxed);
}

/// getrusage(2). Time in system calls counts as the program's own.
pub fn getrusage(who: i32, usage: u64) -> Result {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    // struct rusage: utime, stime (seconds and microseconds), maxrss in KiB, and 13 counters.
    let mut words = [0u64; 18];
    let cpu_ns = match who {
        SELF => process_cpu_ns(),
        THREAD => sched::current_cpu_ns(),
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
        uaccess::write(buf, [process_cpu_ns() / TICK_NS, 0, 0, 0])?;
    }
    Ok(time::now_ns() / TICK_NS)
}
