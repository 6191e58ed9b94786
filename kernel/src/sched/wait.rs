//! Waiting and waking.
//!
//! [`prepare_wait`], put the [`Waiter`] where its waker finds it, [`wait`]. A wake-up between the two is not lost, and one
//! that comes late does not end a later wait: a waiter names one wait of one thread.

use alloc::sync::Arc;

use sync::park::{Found, WaitNumber};

pub use sync::park::Wake;

use super::cpu::{enqueue, kick_running, schedule};
use super::thread::Thread;
use super::{current, timers};
use crate::arch::current::percpu;

/// One wait of one thread.
#[derive(Clone)]
pub struct Waiter {
    thread: Arc<Thread>,
    number: WaitNumber,
}

impl Waiter {
    /// The thread that waits.
    pub fn thread(&self) -> &Arc<Thread> {
        &self.thread
    }

    /// Whether the wait is on: nobody has ended it.
    pub fn is_waiting(&self) -> bool {
        self.thread.park.is_waiting(self.number)
    }

    /// Whether both name the same thread.
    pub fn is_same_thread(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.thread, &other.thread)
    }
}

/// Announces that the current thread will wait; from here on [`wake`] ends the wait that follows.
pub fn prepare_wait() -> Waiter {
    let thread = current();
    let number = thread.park.announce();
    Waiter { thread, number }
}

/// Gives the CPU up until [`wake`], [`notify`] or the deadline (on the monotonic clock); returns which it was.
/// The caller takes the waiter out of wherever it put it, if the waker did not.
pub fn wait(deadline_ns: Option<u64>) -> Wake {
    let thread = current();
    // `sync::Notice`, rule 2.
    if thread.notified.is_left() && thread.park.cancel() {
        return Wake::Notified;
    }
    let timer = deadline_ns.map(|deadline| timers::start(deadline, &thread));
    if thread.park.is_announced() {
        schedule();
    }
    let wake = thread.park.reason();
    if let Some(timer) = timer
        && wake != Wake::Deadline
    {
        timers::stop(timer);
    }
    wake
}

/// Takes an announced wait back, by the thread itself. False: somebody has ended it already.
pub fn cancel_wait(waiter: &Waiter) -> bool {
    waiter.thread.park.cancel()
}

/// Ends a wait; false if it was over.
pub fn wake(waiter: &Waiter) -> bool {
    end_wait(&waiter.thread, Some(waiter.number), Wake::Woken)
}

pub(super) fn wake_at_deadline(waiter: &Waiter) {
    end_wait(&waiter.thread, Some(waiter.number), Wake::Deadline);
}

/// The present wait of the current thread, if it has announced one.
pub(super) fn announced(thread: &Arc<Thread>) -> Waiter {
    Waiter { thread: thread.clone(), number: thread.park.number() }
}

/// Has a thread look at what came up for it before its program goes on, and ends its wait.
pub fn notify(thread: &Arc<Thread>) {
    // `sync::Notice`, rule 1.
    thread.notified.leave();
    if !end_wait(thread, None, Wake::Notified) {
        kick_running(thread);
    }
}

/// Whether the current thread was notified; it is not any more. Whoever sleeps on after [`Wake::Notified`] calls this first and
/// looks for the reason after, so that a later one is not lost.
pub fn take_notified() -> bool {
    percpu::this().current_thread().notified.take()
}

fn end_wait(thread: &Arc<Thread>, number: Option<WaitNumber>, reason: Wake) -> bool {
    match thread.park.wake(number, reason) {
        Found::NotWaiting => false,
        Found::OnCpu => true,
        Found::Parked => {
            thread.note_sleep();
            enqueue(thread.clone());
            true
        }
    }
}
