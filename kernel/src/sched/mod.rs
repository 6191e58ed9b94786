//! Threads: who runs, who waits, and for what.
//!
//! Every CPU has a run queue and deadlines of its own ([`cpu`]). A kernel section is not preempted, so a thread changes only
//! where it asks to ([`wait()`], [`yield_now`], [`exit_current`]) or where the outermost section is left
//! ([`leave_section`]). The timer is set only when a deadline is due or another thread waits for its turn: an idle machine
//! halts without a tick.

mod cpu;
mod policy;
pub mod thread;
mod timers;
mod wait;
mod watchdog;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sync::SpinLock;
use thread::{Thread, Tid};

use crate::arch::current::context::Context;
use crate::arch::current::fpu::FpuState;
use crate::arch::current::percpu;
use crate::arch::current::vectors::TrapFrame;
use crate::exit;
use crate::mm::frames;
use crate::mm::kstack::{self, KernelStack};

pub use cpu::{
    CpuSched, breathe, cpu_count, cpu_time_ns, idle, idle_mask, leave_section, online_mask, request_pass,
    set_pass, this_cpu, yield_now,
};
pub(crate) use cpu::{kernel_thread_started, thread_started};
pub use policy::{NoCpu, Policy, affinity, inherit, policy, real_time_priority, set_affinity, set_policy};
pub use timers::{CallHandle, call_at, cancel_call};
pub use wait::{Waiter, Wake, cancel_wait, notify, prepare_wait, take_notified, wait, wake};

use policy::Parameters;

/// All threads of the program that have not ended, by number.
static THREADS: SpinLock<Vec<Arc<Thread>>> = SpinLock::new(Vec::new());

/// Threads of the kernel's own.
static KERNEL_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Threads for which room was made and which are not in the table yet.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// CPU time of the threads that have ended, in nanoseconds.
static ENDED_CPU_NS: AtomicU64 = AtomicU64::new(0);

/// No memory for a thread's stack or state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Makes the code that runs this CPU's idle thread, and opens the CPU for threads.
///
/// # Errors
/// [`NoMemory`].
pub fn init() -> Result<(), NoMemory> {
    let cpu = percpu::this();
    let context = Context::running(FpuState::of_this_cpu().ok_or(NoMemory)?);
    let parameters = Parameters::new(Policy::DEFAULT, cpu.bit());
    let idle = Thread::new(context, None, *b"idle\0\0\0\0\0\0\0\0\0\0\0\0", parameters);
    cpu::start(cpu, Arc::new(idle));
    Ok(())
}

/// The thread that runs on this CPU.
pub fn current() -> Arc<Thread> {
    let current = percpu::this().current.load(Ordering::Relaxed);
    // SAFETY: `current` was made from an `Arc`, whose reference it stands for as long as the thread runs.
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

/// CPU time of all threads, ended ones included, in nanoseconds. Takes a step a thread.
pub fn process_cpu_time_ns() -> u64 {
    let threads = THREADS.lock();
    let living: u64 = threads.iter().map(cpu_time_ns).sum();
    living + ENDED_CPU_NS.load(Ordering::Relaxed)
}

/// The first thread for which `f` holds.
pub fn find_thread(f: impl Fn(&Arc<Thread>) -> bool) -> Option<Arc<Thread>> {
    THREADS.lock().iter().find(|&thread| f(thread)).cloned()
}

/// As [`find_thread`], without waiting for the table's lock.
fn try_find_thread(f: impl Fn(&Arc<Thread>) -> bool) -> Option<Arc<Thread>> {
    THREADS.try_lock()?.iter().find(|&thread| f(thread)).cloned()
}

/// Calls `f` for each thread with the registers it had when it last came from the program into the kernel. False: the table is in
/// use, as it stays for ever if its user was stopped.
pub(crate) fn for_each_stopped(mut f: impl FnMut(&Arc<Thread>, &TrapFrame)) -> bool {
    let Some(threads) = THREADS.try_lock() else { return false };
    for thread in threads.iter() {
        let Some(stack) = &thread.stack else { continue };
        let frame = (stack.top() - size_of::<TrapFrame>() as u64) as *const TrapFrame;
        // SAFETY: every way from the program into the kernel, and `Context::new`, leaves a frame at the stack's top, and the stack
        // is there as long as the thread. Only a CPU that has not stopped could be writing it: then the registers, which are
        // integers, are of two moments.
        f(thread, &unsafe { frame.read_volatile() });
    }
    true
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
    let thread = prepare_spawn(&frame, fs_base, name, copy_fpu)?;
    start(&thread);
    Ok(thread)
}

/// As [`spawn`], but the thread does not run before [`start`], which must follow.
///
/// # Errors
/// [`NoMemory`].
pub fn prepare_spawn(
    frame: &TrapFrame,
    fs_base: u64,
    name: [u8; 16],
    copy_fpu: bool,
) -> Result<Arc<Thread>, NoMemory> {
    STARTING.fetch_add(1, Ordering::Relaxed);
    let prepared = prepare_reserved(frame, fs_base, name, copy_fpu);
    if prepared.is_err() {
        STARTING.fetch_sub(1, Ordering::Relaxed);
    }
    prepared
}

fn prepare_reserved(
    frame: &TrapFrame,
    fs_base: u64,
    name: [u8; 16],
    copy_fpu: bool,
) -> Result<Arc<Thread>, NoMemory> {
    reserve_for_thread()?;
    let fpu = if copy_fpu { FpuState::of_this_cpu() } else { FpuState::new() }.ok_or(NoMemory)?;
    let stack = KernelStack::new().ok_or(NoMemory)?;
    let parent = percpu::this().current_thread();
    let parameters = match parent.is_idle() {
        true => Parameters::new(Policy::DEFAULT, u64::MAX),
        false => Parameters::new(policy(parent), affinity(parent)),
    };
    // SAFETY: the stack is fresh, or its last thread has ended and been switched away from.
    let context = unsafe { Context::new(stack.top(), frame, fs_base, fpu) };
    Ok(Arc::new(Thread::new(context, Some(stack), name, parameters)))
}

/// Makes a thread of the kernel's own, which runs `entry` in kernel sections and lets others run where it waits or
/// [`breathe`]s. It has no number, is in no table and takes no signals.
///
/// # Errors
/// [`NoMemory`].
pub fn spawn_kernel(name: [u8; 16], entry: extern "C" fn() -> !) -> Result<(), NoMemory> {
    KERNEL_THREADS.fetch_add(1, Ordering::Relaxed);
    let fpu = FpuState::new().ok_or(NoMemory)?;
    let stack = KernelStack::new().ok_or(NoMemory)?;
    reserve_for_thread()?;
    // SAFETY: the stack is fresh.
    let context = unsafe { Context::kernel(stack.top(), entry, fpu) };
    let parameters = Parameters::new(Policy::DEFAULT, u64::MAX);
    cpu::enqueue(Arc::new(Thread::of_kernel(context, stack, name, parameters)));
    Ok(())
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
        let starting = STARTING.load(Ordering::Relaxed);
        threads.try_reserve(starting).map_err(|_| NoMemory)?;
        threads.len() + starting + KERNEL_THREADS.load(Ordering::Relaxed)
    };
    for cpu in percpu::all() {
        cpu.sched.queue.lock().try_reserve(threads).map_err(|_| NoMemory)?;
        timers::reserve(cpu, threads)?;
    }
    if kstack::reserve_spare(threads) { Ok(()) } else { Err(NoMemory) }
}

/// Lets a prepared thread run.
pub fn start(thread: &Arc<Thread>) {
    {
        let mut threads = THREADS.lock();
        let at = threads.partition_point(|other| other.tid < thread.tid);
        threads.insert(at, thread.clone());
        STARTING.fetch_sub(1, Ordering::Relaxed);
    }
    cpu::enqueue(thread.clone());
}

/// Ends the current thread; the image, with this status, if it is the last.
pub fn exit_current(status: u8) -> ! {
    let thread = current();
    let (entry, is_last) = {
        let mut threads = THREADS.lock();
        // Under the lock: `process_cpu_time_ns` counts the thread once, here or there, and never steps back.
        ENDED_CPU_NS.fetch_add(cpu_time_ns(&thread), Ordering::Relaxed);
        let at = threads.binary_search_by_key(&thread.tid, |other| other.tid);
        (at.ok().map(|at| threads.remove(at)), threads.is_empty())
    };
    if is_last {
        exit::exit(status);
    }
    thread.park.end();
    // `PerCpu::current` holds a last reference: the stack we stand on must outlive the switch.
    drop((thread, entry));
    cpu::schedule();
    unreachable!("a thread that has ended is not switched to")
}
