//! [`Thread`]: what runs.

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use sync::park::Park;
use sync::run_queue::Place;
use sync::{Notice, SpinLock};

use super::policy::Parameters;
use crate::arch::current::context::Context;
use crate::mm::kstack::KernelStack;

/// A thread's number; the first has 1.
pub type Tid = u32;

/// A thread of the program, or the idle thread.
pub struct Thread {
    /// Its number.
    pub tid: Tid,
    pub(super) context: UnsafeCell<Context>,
    /// `None`: an idle thread, whose stack is not given back.
    pub(super) stack: Option<KernelStack>,
    /// Whether it waits.
    pub(super) park: Park,
    /// Policy, priority, affinity.
    pub(super) parameters: Parameters,
    /// The CPU that runs it or in whose queue it is, or the last one.
    pub(super) cpu: AtomicU32,
    /// What it takes from one run queue to the next: its lag, and whether it goes to the front of its equals. Written by who
    /// takes it out, read by who puts it in.
    lag: AtomicI64,
    goes_to_front: AtomicBool,
    /// The floor of the run queue that it left, and whether it has slept since.
    floor: AtomicU64,
    slept: AtomicBool,
    /// There is something to look at before the program goes on: a signal, most likely.
    pub(super) notified: Notice,
    /// Address of the word that is cleared and woken when the thread ends (set_tid_address(2)); 0: none.
    pub clear_tid: AtomicU64,
    /// Address of the list of robust futexes that the thread holds (set_robust_list(2)); 0: none.
    pub robust_list: AtomicU64,
    /// It has given up what it held and is about to end.
    pub exiting: AtomicBool,
    /// What os/linux keeps of signals.
    pub signals: SpinLock<ThreadSignals>,
    name: SpinLock<[u8; 16]>,
    /// Time on a CPU, in nanoseconds, up to when it was last charged.
    pub(super) cpu_ns: AtomicU64,
}

/// A signal and what goes with it (sigaction(2), `siginfo_t`). The kernel keeps them; what they mean is os/linux's.
#[derive(Clone, Copy, Debug)]
pub struct SignalInfo {
    /// Number, from 1.
    pub signal: u8,
    /// `si_code`.
    pub code: i32,
    /// The fields behind it.
    pub words: [u64; 3],
}

/// Signals that were sent and not delivered.
#[derive(Debug, Default)]
pub struct PendingSignals {
    infos: Vec<SignalInfo>,
}

/// As many signals are queued as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl PendingSignals {
    /// None.
    pub const fn new() -> Self {
        Self { infos: Vec::new() }
    }

    /// The pending signals, bit 0 being signal 1.
    pub fn set(&self) -> u64 {
        self.infos.iter().fold(0, |set, info| set | 1 << (info.signal - 1))
    }

    /// Adds a signal. Below `queued_from` a signal that is pending already is not added again (signal(7)).
    ///
    /// # Errors
    /// [`QueueFull`] beyond `max` signals, of those that are queued; no memory.
    pub fn add(&mut self, info: SignalInfo, queued_from: u8, max: usize) -> Result<(), QueueFull> {
        let is_queued = info.signal >= queued_from;
        if !is_queued && self.set() & 1 << (info.signal - 1) != 0 {
            return Ok(());
        }
        if is_queued && self.infos.len() >= max || self.infos.try_reserve(1).is_err() {
            return Err(QueueFull);
        }
        self.infos.push(info);
        Ok(())
    }

    /// Takes the first signal of the lowest number among `allowed`.
    pub fn take(&mut self, allowed: u64) -> Option<SignalInfo> {
        let wanted = (self.set() & allowed).trailing_zeros() + 1;
        let at = self.infos.iter().position(|info| u32::from(info.signal) == wanted)?;
        Some(self.infos.remove(at))
    }

    /// Forgets signals.
    pub fn remove(&mut self, set: u64) {
        self.infos.retain(|info| set & 1 << (info.signal - 1) == 0);
    }
}

/// An alternate signal stack (sigaltstack(2)). Size 0: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct AltStack {
    /// Lowest address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Given up while a handler runs on it (`SS_AUTODISARM`).
    pub autodisarm: bool,
}

impl AltStack {
    /// Whether a stack pointer is on it.
    pub fn contains(&self, rsp: u64) -> bool {
        rsp > self.address && rsp - self.address <= self.size
    }
}

/// A thread's signal state.
#[derive(Debug, Default)]
pub struct ThreadSignals {
    /// Blocked signals, bit 0 being signal 1.
    pub mask: u64,
    /// The mask to go back to when no handler runs (sigsuspend(2)).
    pub saved_mask: Option<u64>,
    /// Signals that sigwait(3) waits for.
    pub waited_for: u64,
    /// Sent to this thread.
    pub pending: PendingSignals,
    /// The alternate stack.
    pub alt_stack: AltStack,
}

// SAFETY: `context` is touched only by the scheduler of the CPU that switches to or from the thread, under the
// rules of `context::switch`; everything else is atomic or locked.
unsafe impl Sync for Thread {}
// SAFETY: a thread owns its stack and state; nothing in it belongs to a CPU.
unsafe impl Send for Thread {}

static NEXT_TID: AtomicU32 = AtomicU32::new(1);

impl Thread {
    pub(super) fn new(
        context: Context,
        stack: Option<KernelStack>,
        name: [u8; 16],
        parameters: Parameters,
    ) -> Self {
        let tid = if stack.is_some() { NEXT_TID.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Self::numbered(tid, context, stack, name, parameters)
    }

    /// A thread of the kernel's own.
    pub(super) fn of_kernel(
        context: Context,
        stack: KernelStack,
        name: [u8; 16],
        parameters: Parameters,
    ) -> Self {
        Self::numbered(0, context, Some(stack), name, parameters)
    }

    fn numbered(
        tid: Tid,
        context: Context,
        stack: Option<KernelStack>,
        name: [u8; 16],
        parameters: Parameters,
    ) -> Self {
        Self {
            tid,
            context: UnsafeCell::new(context),
            stack,
            park: Park::new(),
            parameters,
            cpu: AtomicU32::new(0),
            lag: AtomicI64::new(0),
            goes_to_front: AtomicBool::new(false),
            floor: AtomicU64::new(0),
            slept: AtomicBool::new(false),
            notified: Notice::new(),
            clear_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            exiting: AtomicBool::new(false),
            signals: SpinLock::new(ThreadSignals::default()),
            name: SpinLock::new(name),
            cpu_ns: AtomicU64::new(0),
        }
    }

    /// Whether it is a CPU's idle thread.
    pub(crate) fn is_idle(&self) -> bool {
        self.stack.is_none()
    }

    /// Where it goes in the next run queue.
    pub(super) fn lag(&self) -> (i64, Place) {
        let front = self.goes_to_front.load(Ordering::Relaxed);
        (self.lag.load(Ordering::Relaxed), if front { Place::Front } else { Place::Back })
    }

    pub(super) fn set_lag(&self, lag: i64, place: Place) {
        self.lag.store(lag, Ordering::Relaxed);
        self.goes_to_front.store(place == Place::Front, Ordering::Relaxed);
    }

    /// It is switched away from: its lag, and the floor of the run queue, from now on.
    pub(super) fn leave(&self, lag: i64, floor: u64, place: Place) {
        self.set_lag(lag, place);
        self.floor.store(floor, Ordering::Relaxed);
    }

    /// It has waited since it was switched away from, and is about to go on.
    pub(super) fn note_sleep(&self) {
        self.slept.store(true, Ordering::Relaxed);
    }

    /// If it has slept since it was switched away from, the floor of the run queue that it left. Asked once.
    pub(super) fn take_slept(&self) -> Option<u64> {
        let slept = self.slept.load(Ordering::Relaxed);
        slept.then(|| {
            self.slept.store(false, Ordering::Relaxed);
            self.floor.load(Ordering::Relaxed)
        })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(signal: u8, code: i32) -> SignalInfo {
        SignalInfo { signal, code, words: [0; 3] }
    }

    #[test]
    fn standard_signals_merge_and_real_time_signals_queue() {
        let mut pending = PendingSignals::new();
        for (signal, code) in [(40, 1), (10, 2), (10, 3), (40, 4)] {
            pending.add(info(signal, code), 32, 8).unwrap();
        }
        assert_eq!(pending.set(), 1 << 39 | 1 << 9);
        let taken: Vec<_> = core::iter::from_fn(|| pending.take(!0)).map(|i| (i.signal, i.code)).collect();
        assert_eq!(taken, [(10, 2), (40, 1), (40, 4)]);
    }

    #[test]
    fn only_allowed_signals_are_taken_and_the_queue_is_bounded() {
        let mut pending = PendingSignals::new();
        pending.add(info(10, 0), 32, 2).unwrap();
        assert!(pending.take(!(1 << 9)).is_none());
        pending.add(info(64, 0), 32, 2).unwrap();
        assert_eq!(pending.add(info(64, 0), 32, 2), Err(QueueFull));
        assert_eq!(pending.add(info(11, 0), 32, 2), Ok(()), "there are at most 31 of those that merge");
        pending.remove(1 << 10);
        pending.remove(1 << 9);
        assert_eq!(pending.take(!0).map(|info| info.signal), Some(64));
        assert!(pending.take(!0).is_none());
    }

    #[test]
    fn a_stack_contains_its_top_and_not_its_bottom() {
        let stack = AltStack { address: 0x1000, size: 0x1000, autodisarm: false };
        assert!(
            !stack.contains(0x1000)
                && stack.contains(0x1001)
                && stack.contains(0x2000)
                && !stack.contains(0x2001)
        );
        assert!(!AltStack::default().contains(0));
    }
}
