//! Deadlines: of waiting threads, and of calls that the kernel makes to itself. Each CPU keeps those that were set on it.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use sync::TimerKey;

use super::NoMemory;
use super::thread::Thread;
use super::wait::{self, Waiter};
use crate::arch::current::percpu::{self, PerCpu};

/// What a deadline is for.
pub(super) enum Due {
    Wait(Waiter),
    Call { call: fn(u64), argument: u64 },
}

/// A deadline that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHandle {
    cpu: u32,
    key: TimerKey,
}

/// Calls that are set on all CPUs.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Sets the deadline of the current thread's announced wait. [`reserve`] made the room.
pub(super) fn start(deadline_ns: u64, thread: &Arc<Thread>) -> CallHandle {
    insert(percpu::this(), deadline_ns, Due::Wait(wait::announced(thread)))
}

pub(super) fn stop(handle: CallHandle) {
    // Dropped when the lock is open: it may free memory.
    let _due = remove(handle);
}

fn insert(cpu: &PerCpu, deadline_ns: u64, due: Due) -> CallHandle {
    let key = cpu.sched.timers.lock().insert(deadline_ns, due);
    cpu.sched.rearm.store(true, Ordering::Relaxed);
    CallHandle { cpu: cpu.id(), key }
}

fn remove(handle: CallHandle) -> Option<Due> {
    percpu::get(handle.cpu)?.sched.timers.lock().remove(handle.key)
}

/// Has `call(argument)` made at `deadline_ns` on the monotonic clock or soon after: in a kernel section of this CPU, between
/// two threads. It may take locks that are held for a bounded time and wake threads; it must not wait.
///
/// # Errors
/// [`NoMemory`].
pub fn call_at(deadline_ns: u64, call: fn(u64), argument: u64) -> Result<CallHandle, NoMemory> {
    let cpu = percpu::this();
    CALLS.fetch_add(1, Ordering::Relaxed);
    if reserve(cpu, super::count()).is_err() {
        CALLS.fetch_sub(1, Ordering::Relaxed);
        return Err(NoMemory);
    }
    Ok(insert(cpu, deadline_ns, Due::Call { call, argument }))
}

/// Takes a call back. False: it was made, or is being made at this moment on another CPU.
pub fn cancel_call(handle: CallHandle) -> bool {
    let removed = remove(handle).is_some();
    if removed {
        CALLS.fetch_sub(1, Ordering::Relaxed);
    }
    removed
}

/// Makes room on a CPU for the deadlines of so many threads, beside the calls.
pub(super) fn reserve(cpu: &PerCpu, threads: usize) -> Result<(), NoMemory> {
    let total = threads + CALLS.load(Ordering::Relaxed);
    cpu.sched.timers.lock().try_reserve(total).map_err(|_| NoMemory)
}

/// Does what is due on this CPU.
pub(super) fn expire(cpu: &PerCpu, now_ns: u64) {
    loop {
        let expired = cpu.sched.timers.lock().pop_expired(now_ns);
        match expired {
            Some((_, Due::Wait(waiter))) => wait::wake_at_deadline(&waiter),
            Some((_, Due::Call { call, argument })) => {
                CALLS.fetch_sub(1, Ordering::Relaxed);
                call(argument);
            }
            None => return,
        }
    }
}
