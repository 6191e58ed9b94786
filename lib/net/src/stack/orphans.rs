//! [`Orphans`]: connections that their programs have closed and that go on by themselves, to send what is queued and to end
//! in order. A bound in number, beside the bound in time that each has ([`Flow::orphan`](crate::tcp::Flow::orphan)).

use alloc::collections::VecDeque;

use crate::Instant;
use crate::stack::Stack;
use crate::stack::tcp::TcpHandle;
use crate::tcp::{Flow, State};

/// Orphans that are reset at once when packet memory is pressing.
const RESET_AT_ONCE: usize = 16;

/// Which connections nobody holds, in the order in which they were left.
#[derive(Debug)]
pub(super) struct Orphans {
    /// Those that are gone stand here until they are met, or are too many.
    queue: VecDeque<TcpHandle>,
    count: usize,
    max: usize,
    reset: u64,
}

impl Orphans {
    pub(super) const fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), count: 0, max, reset: 0 }
    }

    /// One is over.
    pub(super) fn note_over(&mut self) {
        self.count -= 1;
    }
}

impl Stack {
    /// The program has closed a connection for good, and the caller still has something of it to queue. It is bounded from now
    /// on as if [`Self::tcp_close`] had been called, which is to follow; until then the handle is good and events come. See
    /// [`Flow::orphan`].
    pub fn tcp_orphan(&mut self, handle: TcpHandle, now: Instant) {
        self.with_flow(handle, now, |flow| flow.orphan(now));
        self.note_orphan(handle, now);
    }

    /// Connections that their programs have closed and that are not over. TIME-WAIT does not count.
    pub fn tcp_orphans(&self) -> usize {
        self.tcp.orphans.count
    }

    /// Connections reset because there were too many of these, or too little memory for them.
    pub fn tcp_orphans_reset(&self) -> u64 {
        self.tcp.orphans.reset
    }

    /// Notes that a program has left a connection. Where there are too many, that which was left first is reset: the newest
    /// has had the least time to send what is queued.
    pub(super) fn note_orphan(&mut self, handle: TcpHandle, now: Instant) {
        let Some(connection) = self.tcp.flows.get_mut(handle) else { return };
        if connection.flow.state() == State::Closed || core::mem::replace(&mut connection.is_orphan, true) {
            return;
        }
        let orphans = &mut self.tcp.orphans;
        orphans.count += 1;
        orphans.queue.push_back(handle);
        if orphans.queue.len() > 2 * orphans.max {
            let flows = &self.tcp.flows;
            orphans.queue.retain(|handle| flows.get(*handle).is_some());
        }
        if self.tcp.orphans.count > self.tcp.orphans.max {
            self.reset_oldest_orphan(now);
        }
    }

    /// Packet memory is pressing, and nobody waits for what these hold: a few go, those first that were left first.
    pub(super) fn reset_orphans(&mut self, now: Instant) {
        for _ in 0..RESET_AT_ONCE {
            if !self.reset_oldest_orphan(now) {
                break;
            }
        }
    }

    fn reset_oldest_orphan(&mut self, now: Instant) -> bool {
        while let Some(oldest) = self.tcp.orphans.queue.pop_front() {
            if self.tcp(oldest).is_some_and(|flow| flow.state() != State::Closed) {
                self.tcp.orphans.reset += 1;
                self.with_flow(oldest, now, Flow::abort);
                return true;
            }
        }
        false
    }
}
