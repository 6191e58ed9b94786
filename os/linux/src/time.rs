//! Clocks and sleeping.

use kernel::sched::Wake;
use kernel::time::{now_ns, realtime_ns, realtime_offset_ns};
use kernel::{sched, uaccess};

use crate::errno::{EINTR, EINVAL, Errno, Result};
use crate::signal;

const NS: u64 = 1_000_000_000;

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const THREAD_CPUTIME: i32 = 3;
const MONOTONIC_RAW: i32 = 4;
const REALTIME_COARSE: i32 = 5;
const MONOTONIC_COARSE: i32 = 6;
const BOOTTIME: i32 = 7;
const TAI: i32 = 11;

/// Reads a `struct timespec` as nanoseconds; what does not fit is the largest number (five centuries).
pub(crate) fn read_timespec(address: u64) -> core::result::Result<u64, Errno> {
    let [seconds, nanoseconds] = uaccess::read::<[i64; 2]>(address)?;
    let (Ok(seconds), Ok(nanoseconds @ 0..NS)) = (u64::try_from(seconds), u64::try_from(nanoseconds)) else {
        return Err(EINVAL);
    };
    Ok(seconds.saturating_mul(NS).saturating_add(nanoseconds))
}

fn read_clock(clock: i32) -> core::result::Result<u64, Errno> {
    match clock {
        REALTIME | REALTIME_COARSE | TAI => Ok(realtime_ns()),
        MONOTONIC | MONOTONIC_RAW | MONOTONIC_COARSE | BOOTTIME => Ok(now_ns()),
        THREAD_CPUTIME => Ok(sched::cpu_time_ns(&sched::current())),
        _ => Err(EINVAL),
    }
}

/// clock_gettime(2).
pub fn clock_gettime(clock: i32, tp: u64) -> Result {
    let ns = read_clock(clock)?;
    uaccess::write(tp, [ns / NS, ns % NS])?;
    Ok(0)
}

/// clock_getres(2).
pub fn clock_getres(clock: i32, res: u64) -> Result {
    read_clock(clock)?;
    if res != 0 {
        uaccess::write(res, [0u64, 1])?;
    }
    Ok(0)
}

/// gettimeofday(2).
pub fn gettimeofday(tv: u64, tz: u64) -> Result {
    if tv != 0 {
        let ns = realtime_ns();
        uaccess::write(tv, [ns / NS, ns % NS / 1000])?;
    }
    if tz != 0 {
        uaccess::write(tz, [0u32, 0])?;
    }
    Ok(0)
}

/// time(2).
pub fn time(tloc: u64) -> Result {
    let seconds = realtime_ns() / NS;
    if tloc != 0 {
        uaccess::write(tloc, seconds)?;
    }
    Ok(seconds)
}

/// nanosleep(2).
pub fn nanosleep(duration: u64, rem: u64) -> Result {
    sleep_until(now_ns().saturating_add(read_timespec(duration)?), rem)
}

/// clock_nanosleep(2).
pub fn clock_nanosleep(clock: i32, flags: i32, t: u64, remain: u64) -> Result {
    const ABSTIME: i32 = 1;
    let at = read_timespec(t)?;
    match (clock, flags & ABSTIME != 0) {
        (REALTIME | TAI, true) => sleep_until(at.saturating_sub(realtime_offset_ns()), 0),
        (MONOTONIC | BOOTTIME, true) => sleep_until(at, 0),
        (REALTIME | TAI | MONOTONIC | BOOTTIME, false) => sleep_until(now_ns().saturating_add(at), remain),
        _ => Err(EINVAL),
    }
}

/// Sleeps; a signal ends it, with what was left at `remain` (0: not wanted).
fn sleep_until(deadline: u64, remain: u64) -> Result {
    while now_ns() < deadline {
        let waiter = sched::prepare_wait();
        // Notified for nothing (another thread took the signal): sleep on.
        if sched::wait(Some(deadline)) == Wake::Notified && signal::has_come(waiter.thread()) {
            let left = deadline.saturating_sub(now_ns());
            if remain != 0 {
                uaccess::write(remain, [left / NS, left % NS])?;
            }
            return Err(EINTR);
        }
    }
    Ok(0)
}
