//! Threads: who runs, who waits, and for what.
//!
//! A kernel section is not preempted, so a thread changes only where it asks to ([`wait`], [`yield_now`],
//! [`exit_current`]) or where the outermost section is left ([`leave_section`]). The timer is set only when a deadline
//! is due or another thread is ready: an idle machine halts without a tick.
//!
//! Waiting: [`prepare_wait`], put the thread where its waker finds it, [`wait`]. A wake-up between the two is not lost.
//! Lock order: run queue last.

pub mod thread;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sync::SpinLock;
use thread::{State, Thread, Tid};

use crate::arch::current::context::{self, Context};
use crate::arch::current::fpu::FpuState;
use crate::arch::current::vectors::{self, TrapFrame};
use crate::arch::current::{irq, lapic, percpu};
use crate::mm::frames;
use crate::mm::kstack::{self, KernelStack};
use crate::{console, time};

/// How long a thread runs while another one is ready.
const SLICE_NS: u64 = 4_000_000;

struct RunQueue {
    ready: VecDeque<Arc<Thread>>,
    /// Waiting threads with a deadline, the latest first.
    timers: Vec<(u64, Arc<Thread>)>,
    idle: Option<Arc<Thread>>,
    /// Ended, but its stack was in use until the switch.
    dead: Option<Arc<Thread>>,
    /// When the running thread was switched to, and when its turn ends.
    started_ns: u64,
    slice_end_ns: u64,
}

static QUEUE: SpinLock<RunQueue> = SpinLock::new(RunQueue {
    ready: VecDeque::new(),
    timers: Vec::new(),
    idle: None,
    dead: None,
    started_ns: 0,
    slice_end_ns: 0,
});

/// All threads of the program that have not ended, by number.
static THREADS: SpinLock<Vec<Arc<Thread>>> = SpinLock::new(Vec::new());

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wake {
    /// [`wake`].
    Woken = 0,
    /// The deadline.
    Deadline = 1,
    /// [`notify`]: the thread should see what came up for it.
    Notified = 2,
}

/// No memory for a thread's stack or state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Makes the code that runs, on the boot stack, this CPU's idle thread.
///
/// # Errors
/// [`NoMemory`].
pub fn init() -> Result<(), NoMemory> {
    let context = Context::running(FpuState::of_this_cpu().ok_or(NoMemory)?);
    let idle = Arc::new(Thread::new(context, None, *b"idle\0\0\0\0\0\0\0\0\0\0\0\0"));
    percpu::this().current.store(Arc::as_ptr(&idle).cast_mut(), Ordering::Relaxed);
    QUEUE.lock().idle = Some(idle);
    Ok(())
}

/// The thread that runs on this CPU.
pub fn current() -> Arc<Thread> {
    let current = percpu::this().current.load(Ordering::Relaxed);
    // SAFETY: `current` was made from an `Arc` that the thread table (or the queue, for the idle thread) holds as long
    // as the thread runs.
    unsafe {
        Arc::increment_strong_count(current);
        Arc::from_raw(current)
    }
}

/// Finds a thread by its number.
pub fn find(tid: Tid) -> Option<Arc<Thread>> {
    let threads = THREADS.lock();
    let at = threads.binary_search_by_key(&tid, |thread| thread.tid).ok()?;
    threads.get(at).cloned()
}

/// Time the current thread has been on a CPU, in nanoseconds.
pub fn current_cpu_ns() -> u64 {
    let before = current().cpu_ns.load(Ordering::Relaxed);
    before + time::now_ns().saturating_sub(QUEUE.lock().started_ns)
}

/// Time a thread has been on a CPU, in nanoseconds. Of another thread that runs, without its present slice.
pub fn cpu_ns(thread: &Thread) -> u64 {
    if core::ptr::eq(thread, percpu::this().current.load(Ordering::Relaxed)) {
        return current_cpu_ns();
    }
    thread.cpu_ns.load(Ordering::Relaxed)
}

/// The first thread for which `f` holds.
pub fn find_thread(f: impl Fn(&Arc<Thread>) -> bool) -> Option<Arc<Thread>> {
    THREADS.lock().iter().find(|&thread| f(thread)).cloned()
}

/// Calls `f` for each thread.
pub fn for_each_thread(mut f: impl FnMut(&Arc<Thread>)) {
    THREADS.lock().iter().for_each(&mut f);
}

/// How many threads the program has.
pub fn count() -> usize {
    THREADS.lock().len()
}

/// Makes a thread that starts with the registers in `frame` and puts it in the run queue. `copy_fpu`: it starts with the
/// caller's floating-point state; otherwise with a fresh one.
///
/// # Errors
/// [`NoMemory`].
pub fn spawn(
    frame: TrapFrame,
    fs_base: u64,
    name: [u8; 16],
    copy_fpu: bool,
) -> Result<Arc<Thread>, NoMemory> {
    let thread = prepare_spawn(frame, fs_base, name, copy_fpu)?;
    start(&thread);
    Ok(thread)
}

/// As [`spawn`], but the thread does not run before [`start`].
///
/// # Errors
/// [`NoMemory`].
pub fn prepare_spawn(
    frame: TrapFrame,
    fs_base: u64,
    name: [u8; 16],
    copy_fpu: bool,
) -> Result<Arc<Thread>, NoMemory> {
    reserve_for_thread()?;
    let fpu = if copy_fpu { FpuState::of_this_cpu() } else { FpuState::new() }.ok_or(NoMemory)?;
    let stack = KernelStack::new().ok_or(NoMemory)?;
    // SAFETY: the stack is fresh, or its last thread has ended and been switched away from.
    let context = unsafe { Context::new(stack.top(), frame, fs_base, fpu) };
    Ok(Arc::new(Thread::new(context, Some(stack), name)))
}

/// Frames that must be free for one more thread: its stack and state, and something for the kernel besides.
const FRAMES_FOR_THREAD: u64 = kstack::THREAD_PAGES + 16;

/// Makes room for one more thread in everything that holds threads, so that waking and ending them never allocates.
fn reserve_for_thread() -> Result<(), NoMemory> {
    if frames::free_count() < FRAMES_FOR_THREAD {
        return Err(NoMemory);
    }
    let threads = {
        let mut threads = THREADS.lock();
        threads.try_reserve(1).map_err(|_| NoMemory)?;
        threads.len() + 1
    };
    let mut queue = QUEUE.lock();
    let (ready, timers) = (queue.ready.len(), queue.timers.len());
    queue.ready.try_reserve(threads - ready.min(threads)).map_err(|_| NoMemory)?;
    queue.timers.try_reserve(threads - timers.min(threads)).map_err(|_| NoMemory)?;
    if kstack::reserve_spare(threads) { Ok(()) } else { Err(NoMemory) }
}

/// Lets a prepared thread run.
pub fn start(thread: &Arc<Thread>) {
    {
        let mut threads = THREADS.lock();
        let at = threads.partition_point(|other| other.tid < thread.tid);
        threads.insert(at, thread.clone());
    }
    make_ready(thread.clone());
}

fn make_ready(thread: Arc<Thread>) {
    QUEUE.lock().ready.push_back(thread);
}

/// Announces that the current thread will wait; from here on [`wake`] ends the wait that follows.
pub fn prepare_wait() -> Arc<Thread> {
    let thread = current();
    thread.wake.store(Wake::Woken as u8, Ordering::Relaxed);
    thread.set_state(State::Waiting);
    thread
}

/// Gives the CPU up until [`wake`], [`notify`] or the deadline (on the monotonic clock); returns which it was.
/// The caller takes the thread out of wherever it put it, if the waker did not.
pub fn wait(deadline_ns: Option<u64>) -> Wake {
    let thread = current();
    if thread.notified.load(Ordering::Acquire) && thread.change_state(State::Waiting, State::Ready) {
        return Wake::Notified;
    }
    if let Some(deadline) = deadline_ns {
        let timers = &mut QUEUE.lock().timers;
        let at = timers.partition_point(|(other, _)| *other > deadline);
        timers.insert(at, (deadline, thread.clone()));
    }
    if thread.is(State::Waiting) {
        schedule();
    }
    let wake = match thread.wake.load(Ordering::Relaxed) {
        1 => Wake::Deadline,
        2 => Wake::Notified,
        _ => Wake::Woken,
    };
    if deadline_ns.is_some() && wake != Wake::Deadline {
        QUEUE.lock().timers.retain(|(_, other)| !Arc::ptr_eq(other, &thread));
    }
    wake
}

/// Has a thread look at what came up for it before its program goes on, and ends its wait.
pub fn notify(thread: &Arc<Thread>) {
    thread.notified.store(true, Ordering::Release);
    wake_as(thread, Wake::Notified);
}

/// Whether the current thread was notified; it is not any more. Whoever sleeps on after [`Wake::Notified`] calls this first and
/// looks for the reason after, so that a later one is not lost.
pub fn take_notified() -> bool {
    let current = percpu::this().current.load(Ordering::Relaxed);
    // SAFETY: the running thread is alive.
    let notified = unsafe { &(*current).notified };
    notified.load(Ordering::Acquire) && notified.swap(false, Ordering::AcqRel)
}

/// Takes an announced wait back.
pub fn cancel_wait(thread: &Arc<Thread>) {
    thread.change_state(State::Waiting, State::Ready);
}

/// Ends a thread's wait; false if it did not wait any more.
pub fn wake(thread: &Arc<Thread>) -> bool {
    wake_as(thread, Wake::Woken)
}

fn wake_as(thread: &Arc<Thread>, wake: Wake) -> bool {
    let waited = thread.change_state(State::Waiting, State::Ready);
    if waited {
        thread.wake.store(wake as u8, Ordering::Relaxed);
        // The current thread, woken between `prepare_wait` and `wait`, is in no queue and needs none.
        if !core::ptr::eq(Arc::as_ptr(thread), percpu::this().current.load(Ordering::Relaxed)) {
            make_ready(thread.clone());
        }
    }
    waited
}

/// Lets the other ready threads run first.
pub fn yield_now() {
    schedule();
}

/// Ends the current thread.
pub fn exit_current() -> ! {
    let thread = current();
    thread.set_state(State::Dead);
    THREADS.lock().retain(|other| !Arc::ptr_eq(other, &thread));
    // The last reference, once `schedule` has let go of its own: the stack it stands on must outlive the switch.
    QUEUE.lock().dead = Some(thread);
    schedule();
    unreachable!("a dead thread is not switched to")
}

/// Chooses the next thread and switches to it.
fn schedule() {
    let cpu = percpu::this();
    cpu.resched.store(false, Ordering::Relaxed);
    let from = current();
    let now = time::now_ns();
    let to = {
        let mut queue = QUEUE.lock();
        let is_idle = from.stack.is_none();
        if from.is(State::Ready) && !is_idle {
            if queue.ready.is_empty() {
                queue.slice_end_ns = now + SLICE_NS;
                return;
            }
            queue.ready.push_back(from.clone());
        }
        let to = match queue.ready.pop_front() {
            Some(thread) => thread,
            None => queue.idle.clone().expect("set by init"),
        };
        from.cpu_ns.fetch_add(now - queue.started_ns.min(now), Ordering::Relaxed);
        queue.started_ns = now;
        queue.slice_end_ns = now + SLICE_NS;
        to
    };
    if Arc::ptr_eq(&from, &to) {
        return;
    }
    cpu.current.store(Arc::as_ptr(&to).cast_mut(), Ordering::Relaxed);
    if let Some(stack) = &to.stack {
        cpu.kstack_top.store(stack.top(), Ordering::Relaxed);
    }
    let (from_context, to_context) = (from.context.get(), to.context.get());
    // The tables keep both alive; these two would stay on a dead thread's stack for ever.
    drop((from, to));
    // SAFETY: `from` runs and `to` does not (it was in the run queue, or is idle); the thread table, the queue or its
    // `dead` slot hold both; we are in a section.
    unsafe { context::switch(from_context, to_context) };
    finish_switch();
}

/// Runs on the new thread's stack after a switch.
fn finish_switch() {
    // Dropped after the lock is open: it frees memory.
    let dead = QUEUE.lock().dead.take();
    drop(dead);
}

/// The first thing a new thread does, on its kernel stack.
pub(crate) extern "C" fn thread_started(frame: &mut TrapFrame) {
    finish_switch();
    vectors::return_to_program(frame);
}

/// Does what came up during the section, until nothing is left. Returns with interrupts masked: the caller goes back to
/// the program without letting one in between.
pub fn leave_section() {
    loop {
        irq::disable();
        let cpu = percpu::this();
        let pending = cpu.take_pending();
        if pending == [0; 4] && !cpu.resched.load(Ordering::Relaxed) {
            arm_timer();
            return;
        }
        irq::enable();
        handle(pending);
        if cpu.resched.load(Ordering::Relaxed) {
            schedule();
        }
    }
}

/// The idle thread's life.
pub fn idle() -> ! {
    loop {
        irq::disable();
        let pending = percpu::this().take_pending();
        if pending == [0; 4] && QUEUE.lock().ready.is_empty() {
            arm_timer();
            irq::enable_and_halt();
            continue;
        }
        irq::enable();
        handle(pending);
        schedule();
    }
}

/// Handles the vectors that came.
fn handle(pending: [u64; 4]) {
    let came = |vector: u8| pending[usize::from(vector / 64)] & 1 << (vector % 64) != 0;
    if came(vectors::TIMER) {
        lapic::fired();
        expire_timers();
    }
    if came(vectors::CONSOLE) {
        console::on_interrupt();
    }
}

/// Wakes whoever's deadline has passed, and ends the running thread's turn if it is over.
fn expire_timers() {
    let now = time::now_ns();
    loop {
        let due = {
            let mut queue = QUEUE.lock();
            match queue.timers.last() {
                Some((deadline, _)) if *deadline <= now => queue.timers.pop(),
                _ => None,
            }
        };
        let Some((_, due)) = due else { break };
        wake_as(&due, Wake::Deadline);
    }
    let queue = QUEUE.lock();
    if !queue.ready.is_empty() && queue.slice_end_ns <= now {
        percpu::this().resched.store(true, Ordering::Relaxed);
    }
}

/// Sets the timer to the next deadline, or to the end of the slice if another thread is ready.
fn arm_timer() {
    let queue = QUEUE.lock();
    let first = queue.timers.last().map(|&(deadline, _)| deadline);
    let slice = (!queue.ready.is_empty()).then_some(queue.slice_end_ns);
    // With nothing to wait for, a timer that is still set fires once for nothing; stopping it would cost an exit.
    if let Some(next) = first.into_iter().chain(slice).min() {
        time::arm_timer(next);
    }
}
