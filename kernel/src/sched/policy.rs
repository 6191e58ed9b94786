//! Scheduling policies (sched(7)), priority inheritance and affinity.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use sync::run_queue::{Class, Place, weight_of_nice};

use super::cpu::{self, online_mask};
use super::thread::Thread;
use crate::arch::current::percpu;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_OTHER`: a share by nice level, -20 to 19.
    Fair {
        /// The level.
        nice: i8,
    },
    /// `SCHED_BATCH`: as fair, but it does not take the CPU from another when it wakes.
    Batch {
        /// The level.
        nice: i8,
    },
    /// `SCHED_IDLE`: a share less than the least nice level's.
    Idle {
        /// The level: kept, without effect.
        nice: i8,
    },
    /// `SCHED_FIFO`.
    Fifo {
        /// 1 to 99.
        priority: u8,
    },
    /// `SCHED_RR`.
    RoundRobin {
        /// 1 to 99.
        priority: u8,
    },
}

/// Weight of `SCHED_IDLE` (Linux's `WEIGHT_IDLEPRIO`).
const IDLE_WEIGHT: u32 = 3;

impl Policy {
    /// What threads have that never asked for another.
    pub const DEFAULT: Self = Self::Fair { nice: 0 };

    fn class(self) -> Class {
        match self {
            Self::Fair { nice } => Class::Fair { weight: weight_of_nice(nice), preempts: true },
            Self::Batch { nice } => Class::Fair { weight: weight_of_nice(nice), preempts: false },
            Self::Idle { .. } => Class::Fair { weight: IDLE_WEIGHT, preempts: false },
            Self::Fifo { priority } => Class::RealTime { priority, round_robin: false },
            Self::RoundRobin { priority } => Class::RealTime { priority, round_robin: true },
        }
    }

    /// In one word: kind, then nice level or priority.
    const fn pack(self) -> u32 {
        let (kind, value) = match self {
            Self::Fair { nice } => (0, nice as u8),
            Self::Batch { nice } => (1, nice as u8),
            Self::Idle { nice } => (2, nice as u8),
            Self::Fifo { priority } => (3, priority),
            Self::RoundRobin { priority } => (4, priority),
        };
        kind << 8 | value as u32
    }

    fn unpack(word: u32) -> Self {
        let value = word as u8;
        match word >> 8 {
            1 => Self::Batch { nice: value as i8 },
            2 => Self::Idle { nice: value as i8 },
            3 => Self::Fifo { priority: value },
            4 => Self::RoundRobin { priority: value },
            _ => Self::Fair { nice: value as i8 },
        }
    }
}

/// What the scheduler goes by, as its thread holds it.
pub(super) struct Parameters {
    policy: AtomicU32,
    /// Real-time priority lent by a waiting thread; 0: none.
    inherited: AtomicU8,
    affinity: AtomicU64,
}

impl Parameters {
    pub(super) const fn new(policy: Policy, affinity: u64) -> Self {
        Self {
            policy: AtomicU32::new(policy.pack()),
            inherited: AtomicU8::new(0),
            affinity: AtomicU64::new(affinity),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::unpack(self.policy.load(Ordering::SeqCst))
    }

    pub(super) fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::SeqCst)
    }

    /// What the thread is to the scheduler now: its policy, or better by inheritance.
    pub(super) fn class(&self) -> Class {
        let class = self.policy().class();
        match (class, self.inherited.load(Ordering::SeqCst)) {
            (_, 0) => class,
            (Class::RealTime { priority, .. }, lent) if priority >= lent => class,
            (_, lent) => Class::RealTime { priority: lent, round_robin: false },
        }
    }
}

/// No CPU of the mask is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCpu;

/// How a thread is scheduled.
pub fn policy(thread: &Thread) -> Policy {
    thread.parameters.policy()
}

/// Changes how a thread is scheduled, at once.
pub fn set_policy(thread: &Arc<Thread>, policy: Policy) {
    thread.parameters.policy.store(policy.pack(), Ordering::SeqCst);
    apply(thread);
}

/// The real-time priority at which a thread runs, by its policy or by inheritance. `None`: it is not a real-time thread.
pub fn real_time_priority(thread: &Thread) -> Option<u8> {
    match thread.parameters.class() {
        Class::RealTime { priority, .. } => Some(priority),
        Class::Fair { .. } => None,
    }
}

/// Has a thread run at this real-time priority at least, until it is given `None`.
pub fn inherit(thread: &Arc<Thread>, priority: Option<u8>) {
    thread.parameters.inherited.store(priority.unwrap_or(0), Ordering::SeqCst);
    apply(thread);
}

/// The CPUs on which a thread may run, a bit a CPU.
pub fn affinity(thread: &Thread) -> u64 {
    thread.parameters.affinity()
}

/// Restricts a thread to CPUs; it leaves another one at once.
///
/// # Errors
/// [`NoCpu`].
pub fn set_affinity(thread: &Arc<Thread>, mask: u64) -> Result<(), NoCpu> {
    let mask = mask & online_mask();
    if mask == 0 {
        return Err(NoCpu);
    }
    thread.parameters.affinity.store(mask, Ordering::SeqCst);
    apply(thread);
    Ok(())
}

/// Has a thread's changed parameters take effect where it is.
fn apply(thread: &Arc<Thread>) {
    let now = crate::time::now_ns();
    loop {
        let id = thread.cpu.load(Ordering::SeqCst);
        let Some(cpu) = percpu::get(id) else { return };
        let mut queue = cpu.sched.queue.lock();
        // Whoever puts it into another queue writes `cpu` before it reads the parameters, and reads the new ones.
        if thread.cpu.load(Ordering::SeqCst) != id {
            continue;
        }
        if cpu.is_current(thread) {
            queue.set_running_class(thread.parameters.class(), now);
            drop(queue);
            cpu::kick(cpu);
        } else if let Some((queued, lag)) = queue.remove(|queued| Arc::ptr_eq(queued, thread)) {
            cpu.sched.note_ready(&queue);
            drop(queue);
            queued.set_lag(lag, Place::Back);
            cpu::enqueue(queued);
        }
        // Neither: it waits, or is on its way into a queue.
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_survive_packing() {
        for policy in [
            Policy::Fair { nice: -20 },
            Policy::Batch { nice: 19 },
            Policy::Idle { nice: -1 },
            Policy::Fifo { priority: 99 },
            Policy::RoundRobin { priority: 1 },
        ] {
            assert_eq!(Policy::unpack(policy.pack()), policy);
        }
    }

    #[test]
    fn the_higher_of_own_and_lent_priority_counts() {
        let parameters = Parameters::new(Policy::RoundRobin { priority: 10 }, 1);
        let own = Class::RealTime { priority: 10, round_robin: true };
        assert_eq!(parameters.class(), own);
        parameters.inherited.store(5, Ordering::Relaxed);
        assert_eq!(parameters.class(), own);
        parameters.inherited.store(11, Ordering::Relaxed);
        assert_eq!(parameters.class(), Class::RealTime { priority: 11, round_robin: false });
    }
}
