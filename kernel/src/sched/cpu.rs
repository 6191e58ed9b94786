//! One CPU's part of the scheduler: its run queue, the switch from one thread to the next, and what is done when a kernel
//! section is left.
//!
//! A thread is in a run queue only when its registers are saved and no CPU runs on its stack: the CPU that switches away
//! from it puts it there, or leaves it to its waker, once the switch is done ([`finish_switch`], `sync::park`). So a queued
//! thread may be taken by any CPU at any time.
//!
//! Each running thread belongs to its CPU ([`PerCpu::current`] holds a reference), each ready one to a queue. Lock order: one
//! queue at a time; timers before nothing.

use alloc::sync::Arc;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use sync::run_queue::{Place, RunQueue};
use sync::{IdleSet, Once, SpinLock, TimerQueue, Vectors};

use super::thread::Thread;
use super::timers::{self, Due};
use super::watchdog::{self, Watch};
use crate::arch::current::percpu::{self, PerCpu};
use crate::arch::current::vectors::{self, TrapFrame};
use crate::arch::current::{context, irq, lapic, tlb};
use crate::{console, time};

/// What the scheduler keeps for one CPU.
pub struct CpuSched {
    pub(super) queue: SpinLock<RunQueue<Arc<Thread>>>,
    pub(super) timers: SpinLock<TimerQueue<Due>>,
    /// Threads in `queue`, for others to look at without its lock.
    ready: AtomicUsize,
    /// The timer must be set anew when the section is left.
    pub(super) rearm: AtomicBool,
    /// What runs when nobody is ready; a reference of its own.
    idle: AtomicPtr<Thread>,
    /// The network pass was asked for.
    pass_requested: AtomicBool,
    /// Whether the CPU gets on.
    pub(super) watch: Watch,
    /// The thread that was switched away from, with the reference of `PerCpu::current`.
    left: AtomicPtr<Thread>,
}

impl CpuSched {
    /// Nobody is ready.
    pub const fn new() -> Self {
        Self {
            queue: SpinLock::new(RunQueue::new()),
            timers: SpinLock::new(TimerQueue::new()),
            ready: AtomicUsize::new(0),
            rearm: AtomicBool::new(false),
            idle: AtomicPtr::new(null_mut()),
            pass_requested: AtomicBool::new(false),
            watch: Watch::new(),
            left: AtomicPtr::new(null_mut()),
        }
    }

    /// Publishes the queue's length; its lock is held.
    pub(super) fn note_ready(&self, queue: &RunQueue<Arc<Thread>>) {
        self.ready.store(queue.len(), Ordering::SeqCst);
    }
}

impl Default for CpuSched {
    fn default() -> Self {
        Self::new()
    }
}

/// CPUs that run threads, a bit a CPU.
static ONLINE: AtomicU64 = AtomicU64::new(0);
/// Those of them that have nobody to run.
static IDLE: IdleSet = IdleSet::new();

/// CPUs that run threads, a bit a CPU.
pub fn online_mask() -> u64 {
    // Sequentially consistent for `tlb`: who has changed the tables sees a CPU that has come, or that one sees the change.
    ONLINE.load(Ordering::SeqCst)
}

/// Number of CPUs that run threads.
pub fn cpu_count() -> u32 {
    online_mask().count_ones()
}

/// CPUs that are idle at this moment, a bit a CPU.
pub fn idle_mask() -> u64 {
    IDLE.mask()
}

/// Number of this CPU.
pub fn this_cpu() -> u32 {
    percpu::this().id()
}

/// Makes `idle`, the code that runs now, what this CPU does when nobody is ready, and opens the CPU for threads.
pub(super) fn start(cpu: &PerCpu, idle: Arc<Thread>) {
    let idle = Arc::into_raw(idle).cast_mut();
    cpu.sched.idle.store(idle, Ordering::Relaxed);
    cpu.current.store(idle, Ordering::Relaxed);
    ONLINE.fetch_or(cpu.bit(), Ordering::SeqCst);
}

/// Puts a thread into a run queue: one that was taken out of parked, that was switched away from, or that is new.
pub(super) fn enqueue(thread: Arc<Thread>) {
    let cpu = choose_cpu(&thread);
    enqueue_on(cpu, thread);
}

fn enqueue_on(cpu: &'static PerCpu, thread: Arc<Thread>) {
    percpu::assert_in_section();
    let now = time::now_ns();
    let slept = thread.take_slept();
    // One that slept on another CPU: how far the threads there went on meanwhile.
    let last = thread.cpu.load(Ordering::Relaxed);
    if let Some(floor) = slept
        && last != cpu.id()
        && let Some(last) = percpu::get(last)
    {
        let (lag, _) = thread.lag();
        thread.set_lag(last.sched.queue.lock().lag_after_sleep(lag, floor, now), Place::Back);
    }
    let mut queue = cpu.sched.queue.lock();
    if let Some(floor) = slept.filter(|_| last == cpu.id()) {
        let (lag, _) = thread.lag();
        thread.set_lag(queue.lag_after_sleep(lag, floor, now), Place::Back);
    }
    // Before the parameters are read: see `policy::apply`.
    thread.cpu.store(cpu.id(), Ordering::SeqCst);
    let (class, (lag, place)) = (thread.parameters.class(), thread.lag());
    let preempts = queue.push(thread, class, lag, place, now);
    cpu.sched.note_ready(&queue);
    let alone = queue.len() == 1;
    drop(queue);
    if core::ptr::eq(cpu, percpu::this()) {
        match preempts {
            true => cpu.pending.set_resched(),
            false => cpu.sched.rearm.store(true, Ordering::Relaxed),
        }
    } else if IDLE.claim(cpu.bit()) {
        lapic::send_ipi(cpu, vectors::RESCHEDULE);
    } else if preempts || alone {
        // The first one behind the running thread: that one's turn ends now, and its CPU's timer must be set.
        kick(cpu);
    }
}

/// Where a thread should go: the CPU it was on if that has nothing to do, another one that has not, or the one it was on.
fn choose_cpu(thread: &Thread) -> &'static PerCpu {
    let this = percpu::this();
    if online_mask() == this.bit() {
        return this;
    }
    let allowed = match thread.parameters.affinity() & online_mask() {
        0 => online_mask(),
        allowed => allowed,
    };
    let last = 1 << thread.cpu.load(Ordering::Relaxed);
    let idle = allowed & idle_mask();
    let mask = match (idle & last, idle, allowed & last) {
        (0, 0, 0) => return least_loaded(allowed),
        (0, 0, last) | (last, _, _) if last != 0 => last,
        (_, idle, _) => idle,
    };
    percpu::get(mask.trailing_zeros()).unwrap_or(this)
}

fn least_loaded(mask: u64) -> &'static PerCpu {
    let allowed = percpu::all().filter(|cpu| mask & cpu.bit() != 0);
    allowed.min_by_key(|cpu| cpu.sched.ready.load(Ordering::Relaxed)).unwrap_or_else(percpu::this)
}

/// Has a CPU look for a better thread to run as soon as it can.
pub(super) fn kick(cpu: &PerCpu) {
    if cpu.pending.request_resched() && !core::ptr::eq(cpu, percpu::this()) {
        lapic::send_ipi(cpu, vectors::RESCHEDULE);
    }
}

/// If a thread runs on another CPU, has it come into the kernel.
pub(super) fn kick_running(thread: &Arc<Thread>) {
    if let Some(cpu) = percpu::get(thread.cpu.load(Ordering::SeqCst))
        && !core::ptr::eq(cpu, percpu::this())
        && cpu.is_current(thread)
    {
        lapic::send_ipi(cpu, vectors::RESCHEDULE);
    }
}

/// Lets the other ready threads run first.
pub fn yield_now() {
    let cpu = percpu::this();
    if cpu.sched.ready.load(Ordering::Relaxed) == 0 {
        return;
    }
    cpu.sched.queue.lock().yield_turn(time::now_ns());
    schedule();
}

/// Chooses the next thread and switches to it. The current one goes on, later, if it is neither waiting nor ended.
pub(super) fn schedule() {
    percpu::assert_in_section();
    let cpu = percpu::this();
    cpu.pending.begin_resched();
    let from = cpu.current_thread();
    let Some(to) = next_thread(cpu, from) else { return };
    if let Some(stack) = &to.stack {
        cpu.kstack_top.store(stack.top(), Ordering::Relaxed);
    }
    cpu.sched.left.store(core::ptr::from_ref(from).cast_mut(), Ordering::Relaxed);
    cpu.sched.rearm.store(true, Ordering::Relaxed);
    // SAFETY: `from` runs and `to` does not: it came out of a run queue, or is this CPU's idle thread. `left` and `current`
    // hold both; we are in a section.
    unsafe { context::switch(from.context.get(), to.context.get()) };
    finish_switch();
}

/// Takes the next thread, makes it current and returns it. `None`: the current one goes on.
fn next_thread(cpu: &'static PerCpu, from: &Thread) -> Option<&'static Thread> {
    let now = time::now_ns();
    let mut to = {
        let mut queue = cpu.sched.queue.lock();
        from.cpu_ns.fetch_add(queue.take_used(now), Ordering::Relaxed);
        let goes_on =
            !from.is_idle() && from.park.is_running() && from.parameters.affinity() & cpu.bit() != 0;
        if goes_on && !queue.should_switch(now) {
            cpu.sched.rearm.store(true, Ordering::Relaxed);
            return None;
        }
        // A real-time thread whose place was taken by a better one goes back to the head of its list.
        let place = if goes_on && queue.is_outranked() { Place::Front } else { Place::Back };
        from.leave(queue.stop(now), queue.floor(), place);
        start_next(cpu, &mut queue, now)
    };
    if to.is_none()
        && let Some(stolen) = steal(cpu)
    {
        let mut queue = cpu.sched.queue.lock();
        stolen.cpu.store(cpu.id(), Ordering::SeqCst);
        let (class, (lag, place)) = (stolen.parameters.class(), stolen.lag());
        queue.push(stolen, class, lag, place, now);
        to = start_next(cpu, &mut queue, now);
    }
    let to = match to {
        Some(to) => to,
        None if from.is_idle() => return None,
        None => cpu.sched.idle.load(Ordering::Relaxed),
    };
    // SAFETY: `current` holds the reference, or it is the idle thread, which is never freed.
    let to = unsafe { &*to };
    if to.is_idle() {
        cpu.current.store(core::ptr::from_ref(to).cast_mut(), Ordering::SeqCst);
    }
    Some(to)
}

/// Takes the first of the queue and makes it current, under the queue's lock, so that whoever holds it knows where a thread is.
fn start_next(cpu: &PerCpu, queue: &mut RunQueue<Arc<Thread>>, now: u64) -> Option<*mut Thread> {
    let to = Arc::into_raw(queue.start_next(now)?).cast_mut();
    cpu.sched.note_ready(queue);
    cpu.current.store(to, Ordering::SeqCst);
    Some(to)
}

/// Takes a thread from the CPU that has most of them ready.
fn steal(cpu: &PerCpu) -> Option<Arc<Thread>> {
    if online_mask() == cpu.bit() {
        return None;
    }
    let loaded = |other: &&PerCpu| other.sched.ready.load(Ordering::SeqCst);
    let victim = percpu::all().filter(|other| !core::ptr::eq(*other, cpu)).max_by_key(loaded)?;
    if loaded(&victim) == 0 {
        return None;
    }
    let mut queue = victim.sched.queue.lock();
    let (thread, lag) = queue.steal(|thread| thread.parameters.affinity() & cpu.bit() != 0)?;
    victim.sched.note_ready(&queue);
    drop(queue);
    thread.set_lag(lag, Place::Back);
    Some(thread)
}

/// Gives one of this CPU's ready threads to a CPU that has clearly less to do.
fn give_away(cpu: &PerCpu) {
    let ready = cpu.sched.ready.load(Ordering::Relaxed);
    if ready == 0 || online_mask() == cpu.bit() {
        return;
    }
    let idle = idle_mask() & !cpu.bit();
    let target =
        if idle != 0 { percpu::get(idle.trailing_zeros()) } else { Some(least_loaded(online_mask())) };
    let Some(target) = target else { return };
    if idle == 0 && target.sched.ready.load(Ordering::Relaxed) + 1 >= ready {
        return;
    }
    let given = {
        let mut queue = cpu.sched.queue.lock();
        let given = queue.steal(|thread| thread.parameters.affinity() & target.bit() != 0);
        cpu.sched.note_ready(&queue);
        given
    };
    if let Some((thread, lag)) = given {
        thread.set_lag(lag, Place::Back);
        enqueue_on(target, thread);
    }
}

/// Runs on the new thread's stack after a switch: what becomes of the other one.
fn finish_switch() {
    let left = percpu::this().sched.left.swap(null_mut(), Ordering::Relaxed);
    // SAFETY: the pointer is what `current` was, and stands for its reference; an idle thread's is never given up.
    let left = unsafe {
        if left.is_null() || (*left).is_idle() {
            return;
        }
        Arc::from_raw(left)
    };
    if left.park.has_ended() {
        // The last reference, perhaps: frees the stack that nobody stands on any more.
        drop(left);
    } else if !left.park.commit() {
        enqueue(left);
    }
    // Otherwise it is parked: whoever wakes it has a reference, as has the table of threads.
}

/// The first thing a new thread does, on its kernel stack.
pub(crate) extern "C" fn thread_started(frame: &mut TrapFrame) {
    finish_switch();
    vectors::return_to_program(frame);
}

/// The first thing a thread of the kernel's own does.
pub(crate) extern "C" fn kernel_thread_started(entry: extern "C" fn() -> !) -> ! {
    finish_switch();
    entry()
}

static PASS: Once<fn()> = Once::new();

/// Makes `pass` what [`request_pass`] asks for: the network's. It runs in a kernel section, for a bounded time, and must not
/// wait. Called once, at boot.
pub fn set_pass(pass: fn()) {
    let _ = PASS.set(pass);
}

/// Has the pass run on a CPU, when its outermost section is left; that CPU is interrupted if it is not in one.
pub fn request_pass(cpu: u32) {
    if let Some(cpu) = percpu::get(cpu)
        && !cpu.sched.pass_requested.swap(true, Ordering::SeqCst)
    {
        if core::ptr::eq(cpu, percpu::this()) {
            cpu.pending.record(vectors::PASS);
        } else {
            lapic::send_ipi(cpu, vectors::PASS);
        }
    }
}

/// Does what came up during the section, until nothing is left. Returns with interrupts masked: the caller goes back to
/// the program without letting one in between.
pub fn leave_section() {
    loop {
        irq::disable();
        let cpu = percpu::this();
        cpu.sched.watch.note_left();
        let Some(vectors) = cpu.pending.take() else {
            if cpu.sched.rearm.load(Ordering::Relaxed) {
                arm_timer(cpu);
            }
            return;
        };
        irq::enable();
        handle(cpu, vectors);
        if cpu.pending.needs_resched() {
            schedule();
        }
    }
}

/// For long work in a kernel section, at a place where no lock is held: does what came up and lets others run. Returns
/// whether the thread was notified: the work should come to an end.
pub fn breathe() -> bool {
    let cpu = percpu::this();
    cpu.sched.watch.note_left();
    if let Some(vectors) = cpu.pending.take() {
        handle(cpu, vectors);
        arm_timer(cpu);
        if cpu.pending.needs_resched() {
            schedule();
        }
    }
    percpu::this().current_thread().notified.is_left()
}

/// The idle thread's life.
pub fn idle() -> ! {
    let cpu = percpu::this();
    loop {
        irq::disable();
        let vectors = cpu.pending.take();
        if vectors.is_none() {
            let halt = || {
                arm_timer(cpu);
                irq::enable_and_halt();
            };
            let halted = IDLE.halt_unless(cpu.bit(), || find_work(cpu), halt);
            tlb::catch_up(cpu);
            if halted {
                continue;
            }
        }
        irq::enable();
        handle(cpu, vectors.unwrap_or_default());
        schedule();
    }
}

/// Whether somebody is ready here, or on another CPU and comes here.
fn find_work(cpu: &'static PerCpu) -> bool {
    let is_ready = || cpu.sched.ready.load(Ordering::SeqCst) != 0;
    if !is_ready()
        && let Some(stolen) = steal(cpu)
    {
        enqueue_on(cpu, stolen);
    }
    is_ready()
}

/// Handles the vectors that came.
fn handle(cpu: &'static PerCpu, came: Vectors) {
    if came.contains(vectors::TIMER) {
        lapic::fired();
        on_timer(cpu);
    }
    if came.contains(vectors::CONSOLE) {
        console::on_interrupt();
    }
    crate::irq::dispatch(came);
    if came.contains(vectors::PASS) {
        // Before the pass looks: what is asked for from here on asks again.
        cpu.sched.pass_requested.store(false, Ordering::SeqCst);
        if let Some(pass) = PASS.get() {
            pass();
        }
    }
}

/// Does what is due, and ends the running thread's turn if it is over.
fn on_timer(cpu: &'static PerCpu) {
    let now = time::now_ns();
    timers::expire(cpu, now);
    watchdog::look(cpu, now);
    if cpu.sched.queue.lock().turn_ends().is_some_and(|end| end <= now) {
        give_away(cpu);
        cpu.pending.set_resched();
    }
    cpu.sched.rearm.store(true, Ordering::Relaxed);
}

/// Sets the timer to the next deadline, or to the end of the turn if another thread waits for it.
fn arm_timer(cpu: &PerCpu) {
    cpu.sched.rearm.store(false, Ordering::Relaxed);
    let first = cpu.sched.timers.lock().next();
    let turn = cpu.sched.queue.lock().turn_ends();
    let look = if cpu.current_thread().is_idle() { watchdog::next_look(cpu, time::now_ns()) } else { None };
    // With nothing to wait for, a timer that is still set fires once for nothing; stopping it would cost an exit.
    if let Some(next) = first.into_iter().chain(turn).chain(look).min() {
        time::arm_timer(next);
    }
}

/// Time a thread has been on a CPU, in nanoseconds.
pub fn cpu_time_ns(thread: &Arc<Thread>) -> u64 {
    if let Some(cpu) = percpu::get(thread.cpu.load(Ordering::SeqCst)) {
        let mut queue = cpu.sched.queue.lock();
        if cpu.is_current(thread) {
            thread.cpu_ns.fetch_add(queue.take_used(time::now_ns()), Ordering::Relaxed);
        }
    }
    thread.cpu_ns.load(Ordering::Relaxed)
}
