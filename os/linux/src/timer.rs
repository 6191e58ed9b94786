//! Timers: setitimer(2), and the POSIX timers of timer_create(2).
//!
//! A timer that has run out sends its signal and, if it has an interval, starts again only when the signal is delivered: that
//! is when its overruns are counted, and why a timer costs nothing while its signal is blocked, however short its interval is.
//! Where the signal is ignored there is no delivery: the timer starts again by itself, at most once a millisecond.
//!
//! CPU clocks do not tick. What is left on one takes at least as long as if all CPUs worked for it; then it is looked at again.
//!
//! Lock order: [`TIMERS`], then the tables of threads and deadlines. Signals are sent with the lock open.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel::sched::thread::{SignalInfo, Tid};
use kernel::sched::{self, CallHandle, NoMemory};
use kernel::{log, time as clocks, uaccess};
use sync::SpinLock;

use crate::errno::{EAGAIN, EFAULT, EINVAL, Errno, Result};
use crate::limits;
use crate::signal::{self, SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM, Sent, TimerSignals};
use crate::time::{self, Clock, NS};

const US_NS: u64 = 1000;
/// A timer whose signal is ignored starts again after this at the earliest.
const IGNORED_NS: u64 = 1_000_000;

/// Has signals tell of their delivery. Called once, before the program starts.
pub(crate) fn start() {
    signal::tell_timers(TimerSignals { on_delivery, on_forgotten });
}

/// What a timer does when it has run out.
enum Notify {
    Nothing,
    Process(u8),
    Thread(u8, Tid),
}

struct Timer {
    clock: Clock,
    notify: Notify,
    /// Program's value in the signal; `None`: an interval timer, whose signal has none.
    value: Option<u64>,
    /// On its clock, in nanoseconds. `None`: it does not run.
    deadline: Option<u64>,
    /// Nanoseconds; 0: once.
    interval: u64,
    /// Its signal was sent and not delivered yet.
    is_pending: bool,
    /// Of the last delivered signal.
    overrun: u32,
    call: Option<CallHandle>,
    /// Another one with each setting: a call that is being made at the same moment is for an earlier one.
    generation: u32,
}

/// Interval timers `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`, then the POSIX timers by their ids.
struct Timers {
    slots: Vec<Option<Timer>>,
}

/// Slots of interval timers.
const INTERVAL_SIGNALS: [u8; 3] = [SIGALRM, SIGVTALRM, SIGPROF];
const INTERVALS: usize = INTERVAL_SIGNALS.len();

static TIMERS: SpinLock<Timers> = SpinLock::new(Timers { slots: Vec::new() });

/// The next [`Timer::generation`].
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// Time until a timer runs out and its interval, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub left: u64,
    pub interval: u64,
}

/// When a timer that ran out at `deadline` and is started again at `now` runs out next, and how often it would have in
/// between.
fn forward(deadline: u64, interval: u64, now: u64) -> (u64, u32) {
    let missed = now.saturating_sub(deadline) / interval;
    let next = deadline.saturating_add(missed.saturating_add(1).saturating_mul(interval));
    (next, u32::try_from(missed).unwrap_or(u32::MAX).min(i32::MAX as u32))
}

impl Timer {
    fn new(clock: Clock, notify: Notify, value: Option<u64>) -> Self {
        Self {
            clock,
            notify,
            value,
            deadline: None,
            interval: 0,
            is_pending: false,
            overrun: 0,
            call: None,
            generation: 0,
        }
    }

    fn setting(&self) -> Setting {
        let left = match self.deadline {
            None => 0,
            Some(deadline) => {
                let now = self.clock.now_ns();
                match deadline.checked_sub(now) {
                    Some(left) if left > 0 => left,
                    _ if self.interval > 0 => forward(deadline, self.interval, now).0 - now,
                    // Without a notification nothing stops it.
                    _ if matches!(self.notify, Notify::Nothing) => 0,
                    // About to run out.
                    _ => 1,
                }
            }
        };
        Setting { left, interval: self.interval }
    }

    /// Stops it, and makes sure that no call for an earlier setting does anything.
    fn stop(&mut self) {
        self.deadline = None;
        self.generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        if let Some(call) = self.call.take() {
            sched::cancel_call(call);
        }
    }

    /// Has [`expire`] called when it may have run out.
    fn arm(&mut self, slot: usize) -> core::result::Result<(), NoMemory> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        if matches!(self.notify, Notify::Nothing) {
            return Ok(());
        }
        let at = match self.clock {
            Clock::Monotonic => deadline,
            Clock::Realtime => deadline.saturating_sub(clocks::realtime_offset_ns()),
            // It shows what it showed at the thread's end.
            Clock::Thread(tid) if sched::find(tid).is_none() => return Ok(()),
            Clock::Process | Clock::Thread(_) => {
                let left = deadline.saturating_sub(self.clock.now_ns());
                clocks::now_ns().saturating_add(time::cpu_time_step(left))
            }
        };
        let argument = slot as u64 | u64::from(self.generation) << 32;
        self.call = Some(sched::call_at(at, expire, argument)?);
        Ok(())
    }

    /// As [`Self::arm`], where nobody can be told that it fails.
    fn arm_again(&mut self, slot: usize) {
        if self.arm(slot).is_err() {
            log!(Error, "too little memory to start a timer again");
            self.stop();
        }
    }
}

impl Timers {
    /// Makes the interval timers, once.
    fn intervals(&mut self) -> core::result::Result<(), Errno> {
        if self.slots.is_empty() {
            self.slots.try_reserve(INTERVALS).map_err(|_| EAGAIN)?;
            let clocks = [Clock::Monotonic, Clock::Process, Clock::Process];
            let timers = clocks.into_iter().zip(INTERVAL_SIGNALS);
            self.slots
                .extend(timers.map(|(clock, signal)| Some(Timer::new(clock, Notify::Process(signal), None))));
        }
        Ok(())
    }

    fn get(&mut self, slot: usize) -> core::result::Result<&mut Timer, Errno> {
        self.slots.get_mut(slot).and_then(Option::as_mut).ok_or(EINVAL)
    }

    fn posix(&mut self, id: i32) -> core::result::Result<(usize, &mut Timer), Errno> {
        let slot = usize::try_from(id).ok().and_then(|id| id.checked_add(INTERVALS)).ok_or(EINVAL)?;
        Ok((slot, self.get(slot)?))
    }
}

/// Sets a timer; returns what it was before. `absolute`: `left` is a moment on its clock.
fn set(timer: &mut Timer, slot: usize, new: Setting, absolute: bool) -> core::result::Result<Setting, Errno> {
    let before = timer.setting();
    timer.stop();
    timer.interval = new.interval;
    timer.is_pending = false;
    timer.overrun = 0;
    if new.left > 0 {
        let start = if absolute { 0 } else { timer.clock.now_ns() };
        timer.deadline = Some(start.saturating_add(new.left));
        timer.arm(slot)?;
    }
    Ok(before)
}

/// A timer may have run out. Called by the scheduler, in a section of its own.
fn expire(argument: u64) {
    let (slot, generation) = (argument as u32 as usize, (argument >> 32) as u32);
    let sent = {
        let mut timers = TIMERS.lock();
        let Ok(timer) = timers.get(slot) else { return };
        if timer.generation != generation {
            return;
        }
        timer.call = None;
        let Some(deadline) = timer.deadline else { return };
        if timer.clock.now_ns() < deadline {
            timer.arm_again(slot);
            return;
        }
        if timer.interval == 0 {
            timer.deadline = None;
        }
        timer.is_pending = true;
        timer.expiry(slot)
    };
    let result = match sent {
        (info, Some(tid)) => match sched::find(tid) {
            Some(thread) => signal::send_to_thread(&thread, info),
            None => Ok(Sent::Ignored),
        },
        (info, None) => signal::send_to_process(info),
    };
    if result == Ok(Sent::Pending) {
        return;
    }
    // Nothing will be delivered.
    let mut timers = TIMERS.lock();
    let Ok(timer) = timers.get(slot) else { return };
    if timer.generation == generation && timer.is_pending {
        timer.is_pending = false;
        timer.start_again(slot, IGNORED_NS);
    }
}

impl Timer {
    /// The signal to be sent, and to which thread. `None`: to the process.
    fn expiry(&self, slot: usize) -> (SignalInfo, Option<Tid>) {
        let (signal, thread) = match self.notify {
            Notify::Nothing => (0, None),
            Notify::Process(signal) => (signal, None),
            Notify::Thread(signal, tid) => (signal, Some(tid)),
        };
        let info = match self.value {
            None => SignalInfo { signal, code: signal::SI_KERNEL, words: [0; 3] },
            // si_tid and si_overrun (filled in at delivery), si_value.
            Some(value) => {
                SignalInfo { signal, code: SI_TIMER, words: [(slot - INTERVALS) as u64, value, 0] }
            }
        };
        (info, thread)
    }

    /// Starts it again if it has an interval, to run out after `at_least` nanoseconds.
    fn start_again(&mut self, slot: usize, at_least: u64) {
        let Some(deadline) = self.deadline.filter(|_| self.interval > 0) else { return };
        let now = self.clock.now_ns().saturating_add(at_least);
        let (next, overrun) = forward(deadline, self.interval, now);
        self.deadline = Some(next);
        self.overrun = overrun;
        self.arm_again(slot);
    }
}

/// A signal is about to be delivered: a timer that sent it starts again.
fn on_delivery(info: &mut SignalInfo) {
    let slot = match info.code {
        SI_TIMER => (info.words[0] as u32 as usize).saturating_add(INTERVALS),
        _ => match INTERVAL_SIGNALS.iter().position(|&signal| signal == info.signal) {
            Some(slot) => slot,
            None => return,
        },
    };
    let mut timers = TIMERS.lock();
    let Ok(timer) = timers.get(slot) else { return };
    if !core::mem::replace(&mut timer.is_pending, false) {
        return;
    }
    timer.overrun = 0;
    timer.start_again(slot, 0);
    if info.code == SI_TIMER {
        info.words[0] = info.words[0] & 0xffff_ffff | u64::from(timer.overrun) << 32;
    }
}

/// A signal that was pending is ignored now, and forgotten: timers that sent it start again.
fn on_forgotten(signal: u8) {
    let mut timers = TIMERS.lock();
    for (slot, timer) in timers.slots.iter_mut().enumerate() {
        let Some(timer) = timer else { continue };
        let sent = match timer.notify {
            Notify::Process(sent) | Notify::Thread(sent, _) => sent == signal,
            Notify::Nothing => false,
        };
        if sent && core::mem::replace(&mut timer.is_pending, false) {
            timer.start_again(slot, IGNORED_NS);
        }
    }
}

/// Reads two times, the interval first; `part_ns` is what the second word of each counts.
pub(crate) fn read_setting(at: u64, part_ns: u64) -> core::result::Result<Setting, Errno> {
    let time = |seconds: i64, parts: i64| {
        let (Ok(seconds), Ok(parts)) = (u64::try_from(seconds), u64::try_from(parts)) else {
            return Err(EINVAL);
        };
        if parts >= NS / part_ns {
            return Err(EINVAL);
        }
        Ok(seconds.saturating_mul(NS).saturating_add(parts * part_ns))
    };
    let words = uaccess::read::<[i64; 4]>(at)?;
    Ok(Setting { interval: time(words[0], words[1])?, left: time(words[2], words[3])? })
}

pub(crate) fn write_setting(at: u64, setting: Setting, part_ns: u64) -> core::result::Result<(), Errno> {
    // What is left is rounded up: 0 means that it does not run.
    let [interval, left] = [setting.interval, setting.left].map(|ns| ns.div_ceil(part_ns));
    let per_second = NS / part_ns;
    uaccess::write(at, [interval / per_second, interval % per_second, left / per_second, left % per_second])?;
    Ok(())
}

/// The slot of an interval timer.
fn interval_slot(which: i32) -> core::result::Result<usize, Errno> {
    usize::try_from(which).ok().filter(|&which| which < INTERVALS).ok_or(EINVAL)
}

/// getitimer(2).
pub fn getitimer(which: i32, value: u64) -> Result {
    let slot = interval_slot(which)?;
    let setting = {
        let mut timers = TIMERS.lock();
        timers.intervals()?;
        timers.get(slot)?.setting()
    };
    write_setting(value, setting, US_NS)?;
    Ok(0)
}

/// setitimer(2).
pub fn setitimer(which: i32, new: u64, old: u64) -> Result {
    let new = match new {
        // As Linux has it.
        0 => Setting { left: 0, interval: 0 },
        new => read_setting(new, US_NS)?,
    };
    let before = set_interval(interval_slot(which)?, new)?;
    if old != 0 {
        write_setting(old, before, US_NS)?;
    }
    Ok(0)
}

fn set_interval(slot: usize, new: Setting) -> core::result::Result<Setting, Errno> {
    let mut timers = TIMERS.lock();
    timers.intervals()?;
    set(timers.get(slot)?, slot, new, false)
}

/// alarm(2); returns the seconds that were left.
pub fn alarm(seconds: u32) -> Result {
    let seconds = seconds.min(i32::MAX as u32);
    let before = set_interval(0, Setting { left: u64::from(seconds) * NS, interval: 0 })?;
    // Rounded, but not to nothing.
    let rounded = before.left.saturating_add(NS / 2) / NS;
    Ok(if before.left > 0 { rounded.max(1) } else { 0 })
}

/// timer_create(2).
pub fn timer_create(clock: i32, event: u64, id: u64) -> Result {
    let clock = time::timer_clock(clock)?;
    let (notify, value) = if event == 0 { (Notify::Process(SIGALRM), None) } else { read_event(event)? };
    let created = {
        let mut timers = TIMERS.lock();
        timers.intervals()?;
        let free = timers.slots.iter().skip(INTERVALS).position(Option::is_none);
        let slot = match free {
            Some(free) => free + INTERVALS,
            None if timers.slots.len() - INTERVALS >= limits::signals() => return Err(EAGAIN),
            None => {
                timers.slots.try_reserve(1).map_err(|_| EAGAIN)?;
                timers.slots.push(None);
                timers.slots.len() - 1
            }
        };
        let created = slot - INTERVALS;
        timers.slots[slot] = Some(Timer::new(clock, notify, Some(value.unwrap_or(created as u64))));
        created as u32
    };
    if let Err(fault) = uaccess::write(id, created) {
        delete(created as i32)?;
        return Err(fault.into());
    }
    Ok(0)
}

/// Reads a `struct sigevent`: value, signal, kind of notification, thread; 64 octets.
fn read_event(at: u64) -> core::result::Result<(Notify, Option<u64>), Errno> {
    const SIGNAL: u32 = 0;
    const NONE: u32 = 1;
    /// libc's: to the kernel as `SIGNAL`.
    const THREAD: u32 = 2;
    const THREAD_ID: u32 = 4;
    let [value, signal_and_kind, thread, ..] = uaccess::read::<[u64; 8]>(at)?;
    let (signal, kind) = (signal_and_kind as i32, (signal_and_kind >> 32) as u32);
    let notify = match kind {
        NONE => Notify::Nothing,
        SIGNAL | THREAD => Notify::Process(signal::number(signal)?),
        THREAD_ID => Notify::Thread(signal::number(signal)?, sched::find(thread as u32).ok_or(EINVAL)?.tid),
        _ => return Err(EINVAL),
    };
    Ok((notify, Some(value)))
}

/// timer_settime(2).
pub fn timer_settime(id: i32, flags: i32, new: u64, old: u64) -> Result {
    const ABSTIME: i32 = 1;
    if new == 0 {
        return Err(EINVAL);
    }
    let new = read_setting(new, 1)?;
    let before = {
        let mut timers = TIMERS.lock();
        let (slot, timer) = timers.posix(id)?;
        set(timer, slot, new, flags & ABSTIME != 0)?
    };
    if old != 0 {
        write_setting(old, before, 1)?;
    }
    Ok(0)
}

/// timer_gettime(2).
pub fn timer_gettime(id: i32, value: u64) -> Result {
    let setting = TIMERS.lock().posix(id)?.1.setting();
    write_setting(value, setting, 1).map_err(|_| EFAULT)?;
    Ok(0)
}

/// timer_getoverrun(2).
pub fn timer_getoverrun(id: i32) -> Result {
    Ok(TIMERS.lock().posix(id)?.1.overrun.into())
}

/// timer_delete(2).
pub fn timer_delete(id: i32) -> Result {
    delete(id)?;
    Ok(0)
}

fn delete(id: i32) -> core::result::Result<(), Errno> {
    let mut timers = TIMERS.lock();
    let (slot, timer) = timers.posix(id)?;
    timer.stop();
    timers.slots[slot] = None;
    while timers.slots.len() > INTERVALS && timers.slots.last().is_some_and(Option::is_none) {
        timers.slots.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_goes_on_at_the_next_multiple_of_its_interval() {
        assert_eq!(forward(100, 10, 100), (110, 0));
        assert_eq!(forward(100, 10, 109), (110, 0));
        assert_eq!(forward(100, 10, 110), (120, 1));
        assert_eq!(forward(100, 10, 155), (160, 5));
        assert_eq!(forward(100, 10, 50), (110, 0));
    }

    #[test]
    fn overruns_are_bounded() {
        assert_eq!(forward(0, 1, u64::MAX), (u64::MAX, i32::MAX as u32));
        assert_eq!(forward(u64::MAX - 1, u64::MAX, u64::MAX), (u64::MAX, 0));
    }

    #[test]
    fn what_is_left() {
        let mut timer = Timer::new(Clock::Monotonic, Notify::Nothing, Some(0));
        assert_eq!(timer.setting(), Setting { left: 0, interval: 0 });
        // The clock of a test stands at 0.
        timer.deadline = Some(5);
        assert_eq!(timer.setting(), Setting { left: 5, interval: 0 });
        timer.deadline = Some(0);
        assert_eq!(timer.setting(), Setting { left: 0, interval: 0 });
        timer.interval = 7;
        assert_eq!(timer.setting(), Setting { left: 7, interval: 7 });
        timer.interval = 0;
        timer.notify = Notify::Process(SIGALRM);
        assert_eq!(timer.setting(), Setting { left: 1, interval: 0 });
    }
}
