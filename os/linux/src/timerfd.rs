//! timerfd_create(2): a timer that is waited for as a descriptor.
//!
//! A timer that has run out tells so once; a timer with an interval goes on at the next read, which counts what it missed. So an
//! interval costs nothing while nobody reads, however short it is.
//!
//! Lock order: a timer's state, then the table of deadlines. The list of timers is locked alone.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use kernel::sched::{self, CallHandle};
use kernel::time as clocks;
use sync::SpinLock;

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, EINVAL, ENOMEM, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::readiness::{Readiness, events};
use crate::timer::{Setting, read_setting, write_setting};

/// All of them, by their inodes, for [`ran_out`].
static TIMERS: SpinLock<Vec<(u64, Weak<TimerFd>)>> = SpinLock::new(Vec::new());

struct TimerFd {
    realtime: bool,
    state: SpinLock<Option<Running>>,
    readiness: Readiness,
    inode: u64,
}

struct Running {
    /// On the timer's clock, in nanoseconds.
    deadline: u64,
    /// Nanoseconds; 0: once.
    interval: u64,
    call: Option<CallHandle>,
}

impl Running {
    /// How often it has run out, and when it does next: 0, for one that does so once.
    fn progress(&self, now: u64) -> (u64, u64) {
        match (now.checked_sub(self.deadline), self.interval) {
            (None, _) => (0, self.deadline),
            (Some(_), 0) => (1, 0),
            (Some(late), interval) => {
                let times = late / interval + 1;
                (times, self.deadline.saturating_add(times.saturating_mul(interval)))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            sched::cancel_call(call);
        }
    }
}

/// timerfd_create(2).
pub fn timerfd_create(clock: i32, flags: i32) -> Result {
    const REALTIME: i32 = 0;
    const MONOTONIC: i32 = 1;
    const BOOTTIME: i32 = 7;
    // The machine does not sleep: those that wake it are as the others.
    const REALTIME_ALARM: i32 = 8;
    const BOOTTIME_ALARM: i32 = 9;
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let realtime = match clock {
        REALTIME | REALTIME_ALARM => true,
        MONOTONIC | BOOTTIME | BOOTTIME_ALARM => false,
        _ => return Err(EINVAL),
    };
    let inode = fd::next_inode();
    let timer =
        Arc::new(TimerFd { realtime, state: SpinLock::new(None), readiness: Readiness::new(), inode });
    {
        let mut timers = TIMERS.lock();
        timers.try_reserve(1).map_err(|_| ENOMEM)?;
        timers.push((inode, Arc::downgrade(&timer)));
    }
    let description = Description::new(timer, flags & O_NONBLOCK != 0);
    fd::install(description, flags & O_CLOEXEC != 0, 0)
}

/// timerfd_settime(2). The wall clock is not set by programs, so that `TFD_TIMER_CANCEL_ON_SET` has nothing to do.
pub fn timerfd_settime(fd: i32, flags: i32, new: u64, old: u64) -> Result {
    const ABSTIME: i32 = 1;
    const CANCEL_ON_SET: i32 = 2;
    let new = read_setting(new, 1)?;
    if flags & !(ABSTIME | CANCEL_ON_SET) != 0 {
        return Err(EINVAL);
    }
    let before = with(fd, |timer| timer.set(new, flags & ABSTIME != 0))?;
    if old != 0 {
        write_setting(old, before, 1)?;
    }
    Ok(0)
}

/// timerfd_gettime(2).
pub fn timerfd_gettime(fd: i32, value: u64) -> Result {
    let setting = with(fd, |timer| Ok(setting(timer.state.lock().as_ref(), timer.now())))?;
    write_setting(value, setting, 1)?;
    Ok(0)
}

fn with<T>(
    fd: i32,
    on: impl FnOnce(&TimerFd) -> core::result::Result<T, Errno>,
) -> core::result::Result<T, Errno> {
    let description = fd::get(fd)?;
    on(description.downcast::<TimerFd>().ok_or(EINVAL)?)
}

/// What is left of a timer.
fn setting(running: Option<&Running>, now: u64) -> Setting {
    let Some(running) = running else { return Setting { left: 0, interval: 0 } };
    Setting { left: running.progress(now).1.saturating_sub(now), interval: running.interval }
}

/// A deadline has come; `inode` is the timer's. It may have been set anew meanwhile: who is told looks.
fn ran_out(inode: u64) {
    let timer = {
        let timers = TIMERS.lock();
        timers.iter().find(|(other, _)| *other == inode).and_then(|(_, timer)| timer.upgrade())
    };
    if let Some(timer) = timer {
        timer.readiness.notify(events::IN | events::RDNORM);
    }
}

impl TimerFd {
    /// Its clock before the monotonic one, in nanoseconds.
    fn offset(&self) -> u64 {
        if self.realtime { clocks::realtime_offset_ns() } else { 0 }
    }

    fn now(&self) -> u64 {
        clocks::now_ns().saturating_add(self.offset())
    }

    /// Sets it anew; returns what was left.
    fn set(&self, new: Setting, absolute: bool) -> core::result::Result<Setting, Errno> {
        let now = self.now();
        let deadline = if absolute { new.left } else { now.saturating_add(new.left) };
        let next = match new.left {
            0 => None,
            _ => Some(self.start(deadline, new.interval)?),
        };
        let before = core::mem::replace(&mut *self.state.lock(), next);
        Ok(setting(before.as_ref(), now))
    }

    fn start(&self, deadline: u64, interval: u64) -> core::result::Result<Running, Errno> {
        let at = deadline.saturating_sub(self.offset());
        let call = sched::call_at(at, ran_out, self.inode).map_err(|_| ENOMEM)?;
        Ok(Running { deadline, interval, call: Some(call) })
    }

    /// How often it has run out since the last time; it goes on if it has an interval.
    fn take(&self) -> core::result::Result<u64, Errno> {
        let mut state = self.state.lock();
        let Some(running) = &*state else { return Err(EAGAIN) };
        let (times, next) = running.progress(self.now());
        if times == 0 {
            return Err(EAGAIN);
        }
        *state = match next {
            0 => None,
            _ => Some(self.start(next, running.interval)?),
        };
        Ok(times)
    }
}

impl File for TimerFd {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> core::result::Result<usize, Errno> {
        if to.len() < 8 {
            return Err(EINVAL);
        }
        let times = self.readiness.block_on(events::IN, nonblocking, None, || self.take())?;
        to.write(&times.to_le_bytes())
    }

    fn write(&self, _from: &mut UserBuffers, _nonblocking: bool) -> core::result::Result<usize, Errno> {
        Err(EINVAL)
    }

    fn events(&self) -> u32 {
        let ran_out = self.state.lock().as_ref().is_some_and(|running| running.deadline <= self.now());
        if ran_out { events::IN | events::RDNORM } else { 0 }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, inode: self.inode, size: 0, device: 0 }
    }

    fn close(&self) {
        let removed = {
            let mut timers = TIMERS.lock();
            let at = timers.iter().position(|(inode, _)| *inode == self.inode);
            at.map(|at| timers.swap_remove(at))
        };
        drop(removed);
        let running = self.state.lock().take();
        drop(running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_counted_and_the_beat_is_kept() {
        let running = |interval| Running { deadline: 100, interval, call: None };
        assert_eq!(running(0).progress(99), (0, 100));
        assert_eq!(running(0).progress(100), (1, 0));
        assert_eq!(running(30).progress(100), (1, 130));
        assert_eq!(running(30).progress(159), (2, 160));
        assert_eq!(running(30).progress(160), (3, 190));
        assert_eq!(running(1).progress(u64::MAX).1, u64::MAX);
        assert_eq!(setting(Some(&running(30)), 150), Setting { left: 10, interval: 30 });
        assert_eq!(setting(Some(&running(0)), 150), Setting { left: 0, interval: 0 });
    }
}
