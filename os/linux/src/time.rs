//! Clocks and sleeping.

use alloc::sync::Arc;

use kernel::sched::Wake;
use kernel::sched::thread::Thread;
use kernel::time::{now_ns, realtime_ns, realtime_offset_ns};
use kernel::{sched, uaccess};

use crate::errno::{EINTR, EINVAL, EOPNOTSUPP, EPERM, Errno, Result};
use crate::process::PID;
use crate::signal;

/// Nanoseconds of a second.
pub(crate) const NS: u64 = 1_000_000_000;

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const PROCESS_CPUTIME: i32 = 2;
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

/// A clock that can be read.
pub(crate) enum Clock {
    /// Since 1970.
    Realtime,
    /// Since the machine started.
    Monotonic,
    /// CPU time of the process.
    Process,
    /// CPU time of a thread.
    Thread(Arc<Thread>),
}

/// The clock that an id names: a fixed one, or a CPU clock with a process or thread number in it (clock_getres(2)).
fn clock(id: i32) -> core::result::Result<Clock, Errno> {
    match id {
        REALTIME | REALTIME_COARSE | TAI => Ok(Clock::Realtime),
        MONOTONIC | MONOTONIC_RAW | MONOTONIC_COARSE | BOOTTIME => Ok(Clock::Monotonic),
        PROCESS_CPUTIME => Ok(Clock::Process),
        THREAD_CPUTIME => Ok(Clock::Thread(sched::current())),
        id if id < 0 => cpu_clock(id),
        _ => Err(EINVAL),
    }
}

/// A CPU clock's id: bits 0 and 1 which time, bit 2 a thread's, above them the number's complement (0: the caller's).
fn cpu_clock(id: i32) -> core::result::Result<Clock, Errno> {
    const WHICH: i32 = 3;
    const THREAD: i32 = 4;
    let number = !(id >> 3);
    // PROF, VIRT and SCHED are one time here; 3 is a clock that is a file.
    if id & WHICH == 3 {
        return Err(EINVAL);
    }
    match (number, id & THREAD != 0) {
        (0, true) => Ok(Clock::Thread(sched::current())),
        (tid, true) => sched::find(tid as u32).map(Clock::Thread).ok_or(EINVAL),
        (0, false) => Ok(Clock::Process),
        (pid, false) if pid as u64 == PID => Ok(Clock::Process),
        _ => Err(EINVAL),
    }
}

impl Clock {
    /// What it shows, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        match self {
            Self::Realtime => realtime_ns(),
            Self::Monotonic => now_ns(),
            Self::Process => sched::process_cpu_time_ns(),
            Self::Thread(thread) => sched::cpu_time_ns(thread),
        }
    }
}

/// The clock of a timer.
pub(crate) fn timer_clock(id: i32) -> core::result::Result<Clock, Errno> {
    let clock = clock(id)?;
    if matches!(id, MONOTONIC_RAW | REALTIME_COARSE | MONOTONIC_COARSE) { Err(EOPNOTSUPP) } else { Ok(clock) }
}

/// clock_gettime(2).
pub fn clock_gettime(id: i32, tp: u64) -> Result {
    let ns = clock(id)?.now_ns();
    uaccess::write(tp, [ns / NS, ns % NS])?;
    Ok(0)
}

/// clock_getres(2).
pub fn clock_getres(id: i32, res: u64) -> Result {
    clock(id)?;
    if res != 0 {
        uaccess::write(res, [0u64, 1])?;
    }
    Ok(0)
}

/// clock_settime(2): the clocks are the machine's.
pub fn clock_settime(id: i32, tp: u64) -> Result {
    if !matches!(clock(id)?, Clock::Realtime) || id != REALTIME {
        return Err(EINVAL);
    }
    read_timespec(tp)?;
    Err(EPERM)
}

/// settimeofday(2).
pub fn settimeofday(tv: u64, tz: u64) -> Result {
    if tv != 0 {
        let [seconds, microseconds] = uaccess::read::<[i64; 2]>(tv)?;
        if seconds < 0 || !(0..1_000_000).contains(&microseconds) {
            return Err(EINVAL);
        }
    }
    if tz != 0 {
        uaccess::read::<[u32; 2]>(tz)?;
    }
    if tv == 0 && tz == 0 { Ok(0) } else { Err(EPERM) }
}

/// sizeof(struct timex) / 8.
const TIMEX_WORDS: usize = 26;

/// adjtimex(2): nothing can be adjusted; the state is that of a clock that nobody keeps in step.
pub fn adjtimex(buf: u64) -> Result {
    const STATUS: usize = 5;
    const PRECISION: usize = 7;
    const SECONDS: usize = 9;
    const MICROSECONDS: usize = 10;
    const TICK: usize = 11;
    const STA_UNSYNC: u64 = 0x40;
    const TIME_ERROR: u64 = 5;
    let mut timex = uaccess::read::<[u64; TIMEX_WORDS]>(buf)?;
    if timex[0] as u32 != 0 {
        return Err(EPERM);
    }
    let now = realtime_ns();
    timex = [0; TIMEX_WORDS];
    timex[STATUS] = STA_UNSYNC;
    timex[PRECISION] = 1;
    timex[SECONDS] = now / NS;
    timex[MICROSECONDS] = now % NS / 1000;
    timex[TICK] = 10_000;
    uaccess::write(buf, timex)?;
    Ok(TIME_ERROR)
}

/// clock_adjtime(2).
pub fn clock_adjtime(id: i32, buf: u64) -> Result {
    if id == REALTIME {
        return adjtimex(buf);
    }
    uaccess::read::<[u64; TIMEX_WORDS]>(buf)?;
    clock(id)?;
    Err(EOPNOTSUPP)
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
pub fn clock_nanosleep(id: i32, flags: i32, t: u64, remain: u64) -> Result {
    const ABSTIME: i32 = 1;
    let absolute = flags & ABSTIME != 0;
    let kind = clock(id)?;
    if matches!(id, THREAD_CPUTIME | MONOTONIC_RAW | REALTIME_COARSE | MONOTONIC_COARSE) {
        return Err(EOPNOTSUPP);
    }
    let at = read_timespec(t)?;
    match (kind, absolute) {
        (Clock::Realtime, true) => sleep_until(at.saturating_sub(realtime_offset_ns()), 0),
        (Clock::Monotonic, true) => sleep_until(at, 0),
        (Clock::Realtime | Clock::Monotonic, false) => sleep_until(now_ns().saturating_add(at), remain),
        // The caller's own would never come.
        (Clock::Thread(thread), _) if thread.tid == sched::current().tid => Err(EINVAL),
        (clock, true) => sleep_by_cpu_time(&clock, at, 0),
        (clock, false) => sleep_by_cpu_time(&clock, clock.now_ns().saturating_add(at), remain),
    }
}

/// Sleeps until a CPU clock shows `deadline`. It cannot be earlier than if all CPUs worked for it: then it is looked at again.
fn sleep_by_cpu_time(clock: &Clock, deadline: u64, remain: u64) -> Result {
    loop {
        let left = deadline.saturating_sub(clock.now_ns());
        if left == 0 {
            return Ok(0);
        }
        let step = cpu_time_step(left);
        let waiter = sched::prepare_wait();
        let wake = sched::wait(Some(now_ns().saturating_add(step)));
        if wake == Wake::Notified && signal::has_come(waiter.thread()) {
            return interrupted(deadline.saturating_sub(clock.now_ns()), remain);
        }
    }
}

/// How long `left` nanoseconds of CPU time take at least, or a tick of Linux' usual clock.
pub(crate) fn cpu_time_step(left: u64) -> u64 {
    const TICK_NS: u64 = 4_000_000;
    (left / u64::from(sched::cpu_count())).max(TICK_NS)
}

/// Sleeps; a signal ends it, with what was left at `remain` (0: not wanted).
fn sleep_until(deadline: u64, remain: u64) -> Result {
    while now_ns() < deadline {
        let waiter = sched::prepare_wait();
        // Notified for nothing (another thread took the signal): sleep on.
        if sched::wait(Some(deadline)) == Wake::Notified && signal::has_come(waiter.thread()) {
            return interrupted(deadline.saturating_sub(now_ns()), remain);
        }
    }
    Ok(0)
}

/// Says what was left of a sleep (at `remain`; 0: not wanted).
fn interrupted(left: u64, remain: u64) -> Result {
    if remain != 0 {
        uaccess::write(remain, [left / NS, left % NS])?;
    }
    Err(EINTR)
}
