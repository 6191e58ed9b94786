//! [`Thread`]: what runs.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use sync::SpinLock;

use crate::arch::current::context::Context;
use crate::mm::kstack::KernelStack;

/// A thread's number; the first has 1.
pub type Tid = u32;

/// Whether a thread may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Runs, or stands in the run queue.
    Ready = 0,
    /// Waits to be woken.
    Waiting = 1,
    /// Is gone; its stack is not.
    Dead = 2,
}

/// A thread of the program, or the idle thread.
pub struct Thread {
    /// Its number.
    pub tid: Tid,
    pub(super) context: UnsafeCell<Context>,
    /// `None`: the idle thread, which is on the boot stack.
    pub(super) stack: Option<KernelStack>,
    state: AtomicU8,
    /// Why the last wait ended.
    pub(super) timed_out: core::sync::atomic::AtomicBool,
    /// Address of the word that is cleared and woken when the thread ends (set_tid_address(2)); 0: none.
    pub clear_tid: AtomicU64,
    /// What os/linux keeps of signals.
    pub signals: SpinLock<ThreadSignals>,
    name: SpinLock<[u8; 16]>,
    /// Time on a CPU, in nanoseconds, without the present slice.
    pub(super) cpu_ns: AtomicU64,
}

/// A thread's signal state (sigprocmask(2), sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSignals {
    /// Blocked signals, bit 0 being signal 1.
    pub mask: u64,
    /// The alternate stack: address, flags, size.
    pub alt_stack: (u64, u32, u64),
}

// SAFETY: `context` is touched only by the scheduler of the CPU that switches to or from the thread, under the
// rules of `context::switch`; everything else is atomic or locked.
unsafe impl Sync for Thread {}
// SAFETY: a thread owns its stack and state; nothing in it belongs to a CPU.
unsafe impl Send for Thread {}

static NEXT_TID: AtomicU32 = AtomicU32::new(1);

impl Thread {
    pub(super) fn new(context: Context, stack: Option<KernelStack>, name: [u8; 16]) -> Self {
        let tid = if stack.is_some() { NEXT_TID.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Self {
            tid,
            context: UnsafeCell::new(context),
            stack,
            state: AtomicU8::new(State::Ready as u8),
            timed_out: core::sync::atomic::AtomicBool::new(false),
            clear_tid: AtomicU64::new(0),
            signals: SpinLock::new(ThreadSignals::default()),
            name: SpinLock::new(name),
            cpu_ns: AtomicU64::new(0),
        }
    }

    /// Its name, up to 15 octets and a zero (prctl(2), `PR_SET_NAME`).
    pub fn name(&self) -> [u8; 16] {
        *self.name.lock()
    }

    /// Renames it; the last octet is made zero.
    pub fn set_name(&self, mut name: [u8; 16]) {
        name[15] = 0;
        *self.name.lock() = name;
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u8
    }

    /// `from` → `to`; false if it was not in `from`.
    pub(super) fn change_state(&self, from: State, to: State) -> bool {
        let (from, to) = (from as u8, to as u8);
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
