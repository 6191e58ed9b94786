//! Signals: signal(7) for one process.
//!
//! A signal is *sent* to a thread or to the process: it becomes pending and the thread is notified ([`sched::notify`]),
//! which also ends an interruptible wait. It is *delivered* when the thread goes back to the program
//! ([`linux_attend`]): the handler gets a frame on the program's stack as Linux lays it out ([`frame`]), or the default
//! action is carried out. A fault of the program is a signal to its own thread, delivered at once ([`linux_fault`]).

mod frame;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::exit::STATUS_SIGNAL_BASE;
use kernel::arch::current::vectors::{TrapFrame, VECTOR_GP};
use kernel::mm::PageInError;
use kernel::report::{self, Cause};
use kernel::sched::Wake;
use kernel::sched::thread::{AltStack, PendingSignals, SignalInfo, Thread, ThreadSignals, Tid};
use kernel::{exit, log, sched, uaccess};
use sync::{Once, SpinGuard, SpinLock};

use crate::errno::{
    EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, ENOSYS, EPERM, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, ESRCH,
    Errno, Result,
};
use crate::process::PID;
use crate::{limits, time};

/// sizeof(sigset_t) of the kernel.
pub(crate) const SET_SIZE: usize = 8;
/// Signals are numbered 1 to this.
const MAX: u8 = 64;

const SIGILL: u8 = 4;
const SIGTRAP: u8 = 5;
const SIGBUS: u8 = 7;
const SIGFPE: u8 = 8;
const SIGKILL: u8 = 9;
const SIGSEGV: u8 = 11;
const SIGPIPE: u8 = 13;
pub(crate) const SIGALRM: u8 = 14;
const SIGCHLD: u8 = 17;
const SIGCONT: u8 = 18;
const SIGSTOP: u8 = 19;
const SIGTSTP: u8 = 20;
const SIGTTIN: u8 = 21;
const SIGTTOU: u8 = 22;
const SIGURG: u8 = 23;
pub(crate) const SIGVTALRM: u8 = 26;
pub(crate) const SIGPROF: u8 = 27;
const SIGWINCH: u8 = 28;
/// First real-time signal: these queue, the others merge.
const SIGRTMIN: u8 = 32;

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

const SI_USER: i32 = 0;
pub(crate) const SI_KERNEL: i32 = 0x80;
pub(crate) const SI_TIMER: i32 = -2;
pub(crate) const SI_TKILL: i32 = -6;

const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SA_RESTORER: u64 = 0x0400_0000;

/// Signals that nobody blocks.
pub(crate) const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);
/// Signals that a fault raises: blocked or ignored, they end the program all the same.
const SYNCHRONOUS: u64 = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGFPE) | bit(SIGTRAP);

pub(crate) const fn bit(signal: u8) -> u64 {
    1 << (signal - 1)
}

/// What timers want to know of the signals that they send.
pub(crate) struct TimerSignals {
    /// A signal is about to be delivered.
    pub on_delivery: fn(&mut SignalInfo),
    /// A signal that was pending is ignored now, and forgotten.
    pub on_forgotten: fn(u8),
}

static TIMERS: Once<TimerSignals> = Once::new();

/// Has timers told of signals from now on.
pub(crate) fn tell_timers(timers: TimerSignals) {
    let _ = TIMERS.set(timers);
}

/// Who is told that a signal has become pending, by its number: signalfd(2)'s descriptors.
static DESCRIPTORS: Once<fn(u8)> = Once::new();

/// Has descriptors told of signals from now on.
pub(crate) fn tell_descriptors(told: fn(u8)) {
    let _ = DESCRIPTORS.set(told);
}

fn tell_of_pending(signal: u8) {
    if let Some(told) = DESCRIPTORS.get() {
        told(signal);
    }
}

/// `struct kernel_sigaction`.
#[derive(Clone, Copy)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

impl Action {
    const DEFAULT: Self = Self { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };
}

static ACTIONS: SpinLock<[Action; MAX as usize]> = SpinLock::new([Action::DEFAULT; MAX as usize]);

/// Signals to the process that no thread has taken yet.
static PROCESS: SpinLock<PendingSignals> = SpinLock::new(PendingSignals::new());

const NAMES: [&str; 32] = [
    "",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

fn action(signal: u8) -> Action {
    ACTIONS.lock()[usize::from(signal - 1)]
}

/// A signal's number, checked.
pub(crate) fn number(signal: i32) -> core::result::Result<u8, Errno> {
    u8::try_from(signal).ok().filter(|signal| (1..=MAX).contains(signal)).ok_or(EINVAL)
}

/// Whether a pending signal would do nothing at all.
fn is_ignored(signal: u8) -> bool {
    match action(signal).handler {
        SIG_IGN => true,
        SIG_DFL => [SIGCHLD, SIGCONT, SIGURG, SIGWINCH].contains(&signal),
        _ => false,
    }
}

// Sending.

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is pending.
    Pending,
    /// It is ignored, and forgotten.
    Ignored,
}

/// Sends a signal to one thread.
///
/// # Errors
/// `EAGAIN`: too many are queued.
pub(crate) fn send_to_thread(thread: &Arc<Thread>, info: SignalInfo) -> core::result::Result<Sent, Errno> {
    let notify = {
        // One lock for the look at the mask and the change: whoever changes the mask sees the signal, or is seen.
        let mut signals = thread.signals.lock();
        let blocked = signals.mask & bit(info.signal) != 0;
        // A blocked signal stays even if it is ignored now: that may change, and sigwait takes it.
        if !blocked && is_ignored(info.signal) {
            return Ok(Sent::Ignored);
        }
        signals.pending.add(info, SIGRTMIN, limits::signals()).map_err(|_| EAGAIN)?;
        !blocked || signals.waited_for & bit(info.signal) != 0
    };
    if notify {
        sched::notify(thread);
    }
    tell_of_pending(info.signal);
    Ok(Sent::Pending)
}

/// Sends a signal to the process: to a thread that does not block it, or to whoever unblocks it first.
///
/// # Errors
/// `EAGAIN`: too many are queued.
pub(crate) fn send_to_process(info: SignalInfo) -> core::result::Result<Sent, Errno> {
    let takes = |thread: &Arc<Thread>| takes(thread, bit(info.signal));
    if is_ignored(info.signal) && sched::find_thread(takes).is_some() {
        return Ok(Sent::Ignored);
    }
    PROCESS.lock().add(info, SIGRTMIN, limits::signals()).map_err(|_| EAGAIN)?;
    // Pending first, then the search: a thread that unblocks it meanwhile sees it.
    find_taker(bit(info.signal));
    tell_of_pending(info.signal);
    Ok(Sent::Pending)
}

/// Whether a thread takes one of these signals to the process.
fn takes(thread: &Arc<Thread>, set: u64) -> bool {
    let signals = thread.signals.lock();
    // Thread 0 is an idle CPU's.
    (!signals.mask | signals.waited_for) & set != 0
        && thread.tid != 0
        && !thread.exiting.load(Ordering::Relaxed)
}

/// Notifies a thread that takes one of these signals to the process, the current one before others.
fn find_taker(set: u64) {
    let takes = |thread: &Arc<Thread>| takes(thread, set);
    if let Some(thread) = Some(sched::current()).filter(takes).or_else(|| sched::find_thread(takes)) {
        sched::notify(&thread);
    }
}

/// A thread takes these signals no more: others take those that are pending for the process.
fn retarget(set: u64) {
    let mut pending = PROCESS.lock().set() & set;
    while pending != 0 {
        find_taker(1 << pending.trailing_zeros());
        pending &= pending - 1;
    }
}

/// A thread ends: signals to the process that it was notified of go to others.
pub(crate) fn on_exit(thread: &Thread) {
    retarget(!thread.signals.lock().mask);
}

/// The current thread wrote to a connection that is broken.
pub fn raise_broken_pipe() {
    // A full queue keeps at least one of them.
    let _ = send_to_thread(&sched::current(), from_user(SIGPIPE, SI_USER));
}

/// What kill(2) and its kin check before they send.
fn checked(signal: i32) -> core::result::Result<Option<u8>, Errno> {
    if signal == 0 {
        return Ok(None);
    }
    let signal = number(signal)?;
    if action(signal).handler == SIG_DFL && [SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal) || signal == SIGSTOP
    {
        static NAMED: AtomicBool = AtomicBool::new(false);
        if !NAMED.swap(true, Ordering::Relaxed) {
            log!(Warn, "{}: a stopped image could not be continued (ENOSYS)", name(signal));
        }
        return Err(ENOSYS);
    }
    Ok(Some(signal))
}

fn name(signal: u8) -> &'static str {
    NAMES.get(usize::from(signal)).copied().unwrap_or("a real-time signal")
}

fn from_user(signal: u8, code: i32) -> SignalInfo {
    // si_pid and si_uid.
    SignalInfo { signal, code, words: [PID, 0, 0] }
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> Result {
    match i64::from(pid) {
        // The process, its group, all processes: each is this one.
        0 | -1 => {}
        pid if pid.unsigned_abs() == PID => {}
        _ => return Err(ESRCH),
    }
    if let Some(signal) = checked(signal)? {
        send_to_process(from_user(signal, SI_USER))?;
    }
    Ok(0)
}

fn find(tid: i32) -> core::result::Result<Arc<Thread>, Errno> {
    let tid = Tid::try_from(tid).ok().filter(|&tid| tid > 0).ok_or(EINVAL)?;
    sched::find(tid).ok_or(ESRCH)
}

/// tkill(2).
pub fn tkill(tid: i32, signal: i32) -> Result {
    let thread = find(tid)?;
    if let Some(signal) = checked(signal)? {
        send_to_thread(&thread, from_user(signal, SI_TKILL))?;
    }
    Ok(0)
}

/// tgkill(2).
pub fn tgkill(tgid: i32, tid: i32, signal: i32) -> Result {
    if tgid <= 0 || tid <= 0 {
        return Err(EINVAL);
    }
    if tgid as u64 != PID {
        return Err(ESRCH);
    }
    tkill(tid, signal)
}

/// A `siginfo_t` from the program (rt_sigqueueinfo(2)): its code must not look like the kernel's.
fn queued_info(signal: u8, info: u64) -> core::result::Result<SignalInfo, Errno> {
    let [_, _, code, _] = uaccess::read::<[i32; 4]>(info)?;
    let words = uaccess::read::<[u64; 3]>(info.checked_add(16).ok_or(EFAULT)?)?;
    if code >= 0 || code == SI_TKILL {
        return Err(EPERM);
    }
    Ok(SignalInfo { signal, code, words })
}

/// rt_sigqueueinfo(2).
pub fn rt_sigqueueinfo(pid: i32, signal: i32, info: u64) -> Result {
    if i64::from(pid) != PID as i64 {
        return Err(ESRCH);
    }
    if let Some(signal) = checked(signal)? {
        send_to_process(queued_info(signal, info)?)?;
    }
    Ok(0)
}

/// rt_tgsigqueueinfo(2).
pub fn rt_tgsigqueueinfo(tgid: i32, tid: i32, signal: i32, info: u64) -> Result {
    if tgid <= 0 || tid <= 0 {
        return Err(EINVAL);
    }
    if tgid as u64 != PID {
        return Err(ESRCH);
    }
    let thread = find(tid)?;
    if let Some(signal) = checked(signal)? {
        send_to_thread(&thread, queued_info(signal, info)?)?;
    }
    Ok(0)
}

// Actions and masks.

/// rt_sigaction(2).
pub fn rt_sigaction(signal: i32, act: u64, old: u64, size: usize) -> Result {
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let signal = number(signal)?;
    if act != 0 && bit(signal) & UNBLOCKABLE != 0 {
        return Err(EINVAL);
    }
    let new = match act {
        0 => None,
        _ => {
            let [handler, flags, restorer, mask] = uaccess::read::<[u64; 4]>(act)?;
            Some(Action { handler, flags, restorer, mask: mask & !UNBLOCKABLE })
        }
    };
    let before = {
        let mut actions = ACTIONS.lock();
        let slot = &mut actions[usize::from(signal - 1)];
        let before = *slot;
        *slot = new.unwrap_or(before);
        before
    };
    if new.is_some() && is_ignored(signal) {
        // What is pending and ignored now is forgotten (signal(7)).
        PROCESS.lock().remove(bit(signal));
        sched::for_each_thread(|thread| thread.signals.lock().pending.remove(bit(signal)));
        if let Some(timers) = TIMERS.get() {
            (timers.on_forgotten)(signal);
        }
    }
    if old != 0 {
        uaccess::write(old, [before.handler, before.flags, before.restorer, before.mask])?;
    }
    Ok(0)
}

/// Changes the current thread's mask and returns it as it was; what it unblocks is delivered on the way back.
fn change_mask(change: impl FnOnce(u64) -> u64) -> u64 {
    let thread = sched::current();
    let mut signals = thread.signals.lock();
    let before = signals.mask;
    signals.mask = change(before) & !UNBLOCKABLE;
    mask_changed(&thread, signals, before);
    before
}

/// Opens the lock under which a thread's mask was changed, and looks for what that means.
fn mask_changed(thread: &Arc<Thread>, signals: SpinGuard<'_, ThreadSignals>, before: u64) {
    let (mask, own) = (signals.mask, signals.pending.set());
    drop(signals);
    // After the change: whoever sends now sees the mask.
    let process = PROCESS.lock().set();
    if (own | process) & !mask != 0 {
        sched::notify(thread);
    }
    if process & mask & !before != 0 {
        retarget(mask & !before);
    }
}

/// Notifies a thread that has a signal to deliver.
fn notify_if_pending(thread: &Arc<Thread>) {
    if is_deliverable(thread) {
        sched::notify(thread);
    }
}

/// After [`Wake::Notified`]: whether there is a signal to deliver to the current thread. If not, the notice is taken off, so
/// that the thread can sleep on.
pub(crate) fn has_come(thread: &Arc<Thread>) -> bool {
    sched::take_notified();
    notify_if_pending(thread);
    is_deliverable(thread)
}

/// Whether a signal waits to be delivered to a thread.
fn is_deliverable(thread: &Thread) -> bool {
    pending(thread) & !thread.signals.lock().mask != 0
}

/// rt_sigprocmask(2).
pub fn rt_sigprocmask(how: i32, set: u64, old: u64, size: usize) -> Result {
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let before = match set {
        0 => sched::current().signals.lock().mask,
        _ => {
            let set = uaccess::read::<u64>(set)?;
            match how {
                0 => change_mask(|mask| mask | set),
                1 => change_mask(|mask| mask & !set),
                2 => change_mask(|_| set),
                _ => return Err(EINVAL),
            }
        }
    };
    if old != 0 {
        uaccess::write(old, before)?;
    }
    Ok(0)
}

/// Signals that are pending for a thread: its own and the process's.
pub(crate) fn pending(thread: &Thread) -> u64 {
    thread.signals.lock().pending.set() | PROCESS.lock().set()
}

/// Takes one of these signals, the thread's own first, to be delivered.
pub(crate) fn take(thread: &Thread, set: u64) -> Option<SignalInfo> {
    let own = thread.signals.lock().pending.take(set);
    let mut info = own.or_else(|| PROCESS.lock().take(set))?;
    if let Some(timers) = TIMERS.get() {
        (timers.on_delivery)(&mut info);
    }
    Some(info)
}

/// rt_sigpending(2).
pub fn rt_sigpending(set: u64, size: usize) -> Result {
    if size > SET_SIZE {
        return Err(EINVAL);
    }
    let thread = sched::current();
    let blocked = pending(&thread) & thread.signals.lock().mask;
    uaccess::write_bytes(set, &blocked.to_le_bytes()[..size])?;
    Ok(0)
}

/// Replaces the current thread's mask until the end of a call; the frame of a handler that runs then restores it. Returns it as it
/// was.
fn replace_mask(mask: u64) -> u64 {
    let thread = sched::current();
    let mut signals = thread.signals.lock();
    let before = core::mem::replace(&mut signals.mask, mask);
    signals.saved_mask = Some(before);
    mask_changed(&thread, signals, before);
    before
}

/// rt_sigsuspend(2): returns when a handler has run.
pub fn rt_sigsuspend(mask: u64, size: usize) -> Result {
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let mask = uaccess::read::<u64>(mask)? & !UNBLOCKABLE;
    replace_mask(mask);
    pause()
}

/// Makes a call under another mask (ppoll(2)): if a signal ends the call, its handler's frame restores the mask.
/// `mask`: the address of the set, 0: none.
pub(crate) fn with_mask(mask: u64, size: usize, call: impl FnOnce() -> Result) -> Result {
    if mask == 0 {
        return call();
    }
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let mask = uaccess::read::<u64>(mask)? & !UNBLOCKABLE;
    let before = replace_mask(mask);
    let result = call();
    if !matches!(result, Err(EINTR | ERESTARTNOHAND | ERESTARTSYS)) {
        sched::current().signals.lock().saved_mask = None;
        change_mask(|_| before);
    }
    result
}

/// pause(2).
pub fn pause() -> Result {
    loop {
        sched::prepare_wait();
        if sched::wait(None) == Wake::Notified {
            return Err(ERESTARTNOHAND);
        }
    }
}

/// rt_sigtimedwait(2); the system call returns the signal's number.
pub fn rt_sigtimedwait(set: u64, info: u64, timeout: u64, size: usize) -> Result {
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let set = uaccess::read::<u64>(set)? & !UNBLOCKABLE;
    let deadline = match timeout {
        0 => None,
        _ => Some(kernel::time::now_ns().saturating_add(time::read_timespec(timeout)?)),
    };
    let thread = sched::current();
    loop {
        if let Some(found) = take(&thread, set) {
            if info != 0 {
                uaccess::write(info, frame::siginfo(&found))?;
            }
            return Ok(u64::from(found.signal));
        }
        if deadline.is_some_and(|deadline| kernel::time::now_ns() >= deadline) {
            return Err(EAGAIN);
        }
        thread.signals.lock().waited_for = set;
        sched::prepare_wait();
        let wake = sched::wait(deadline);
        thread.signals.lock().waited_for = 0;
        if wake == Wake::Notified && has_come(&thread) && pending(&thread) & set == 0 {
            return Err(EINTR);
        }
    }
}

/// sigaltstack(2).
pub fn sigaltstack(rsp: u64, new: u64, old: u64) -> Result {
    const ONSTACK: u32 = 1;
    const DISABLE: u32 = 2;
    const AUTODISARM: u32 = 1 << 31;
    const MIN_SIZE: u64 = 2048;
    let thread = sched::current();
    let before = thread.signals.lock().alt_stack;
    let on_it = before.contains(rsp);
    if new != 0 {
        // struct sigaltstack: pointer, int with padding, size.
        let [address, flags, size] = uaccess::read::<[u64; 3]>(new)?;
        let flags = flags as u32;
        if on_it {
            return Err(EPERM);
        }
        if flags & !(DISABLE | ONSTACK | AUTODISARM) != 0 {
            return Err(EINVAL);
        }
        let mut signals = thread.signals.lock();
        if flags & DISABLE != 0 {
            signals.alt_stack = AltStack::default();
        } else if size < MIN_SIZE {
            return Err(ENOMEM);
        } else {
            let autodisarm = flags & AUTODISARM != 0;
            signals.alt_stack = AltStack { address, size, autodisarm };
        }
    }
    if old != 0 {
        uaccess::write(old, frame::alt_stack_words(&before, on_it))?;
    }
    Ok(0)
}

// Delivery.

/// Called when a thread with something to look at goes back to the program. Delivers one signal at most: the next one
/// waits until this one's handler has its frame, which is when this is called again.
#[expect(unsafe_code, reason = "the symbol by which kernel/arch calls this crate, which it does not know")]
#[unsafe(no_mangle)]
pub fn linux_attend(frame: &mut TrapFrame) {
    let thread = sched::current();
    loop {
        let mask = thread.signals.lock().mask;
        let Some(info) = take(&thread, !mask) else { break };
        if is_ignored(info.signal) {
            continue;
        }
        let action = take_action(info.signal);
        if action.handler == SIG_DFL {
            end_by(info.signal);
        }
        restart(frame, Some(&action));
        deliver(frame, &thread, &info, &action);
        // More may be pending: its handler runs first, as the frames nest.
        notify_if_pending(&thread);
        return;
    }
    // No handler runs: an interrupted call goes on, under the mask it had replaced.
    let saved = thread.signals.lock().saved_mask.take();
    if let Some(mask) = saved {
        thread.signals.lock().mask = mask;
    }
    restart(frame, None);
}

/// The signal's action; reset if it is for one time.
fn take_action(signal: u8) -> Action {
    let mut actions = ACTIONS.lock();
    let slot = &mut actions[usize::from(signal - 1)];
    let action = *slot;
    if action.flags & SA_RESETHAND != 0 && action.handler > SIG_IGN {
        slot.handler = SIG_DFL;
    }
    action
}

/// Settles a call that was interrupted: it is made again, or returns EINTR.
fn restart(frame: &mut TrapFrame, action: Option<&Action>) {
    const SYSCALL_LEN: u64 = 2;
    if frame.vector != kernel::arch::current::vectors::SYSCALL_VECTOR {
        return;
    }
    let is = |errno: Errno| frame.rax == (-i64::from(errno.0)) as u64;
    let again = match action {
        _ if !is(ERESTARTSYS) && !is(ERESTARTNOINTR) && !is(ERESTARTNOHAND) => return,
        None => true,
        Some(action) => is(ERESTARTNOINTR) || is(ERESTARTSYS) && action.flags & SA_RESTART != 0,
    };
    if again {
        frame.rip -= SYSCALL_LEN;
        frame.rax = frame.error;
    } else {
        frame.rax = (-i64::from(EINTR.0)) as u64;
    }
}

/// Gives the handler its frame; without a stack for it the program ends.
fn deliver(frame: &mut TrapFrame, thread: &Arc<Thread>, info: &SignalInfo, action: &Action) {
    let (old_mask, alt_stack, blocked) = {
        let mut signals = thread.signals.lock();
        let old_mask = signals.saved_mask.take().unwrap_or(signals.mask);
        let own = if action.flags & SA_NODEFER != 0 { 0 } else { bit(info.signal) };
        let blocked = (action.mask | own) & !UNBLOCKABLE & !signals.mask;
        signals.mask |= blocked;
        let alt_stack = signals.alt_stack;
        if action.flags & SA_ONSTACK != 0 && alt_stack.autodisarm && !alt_stack.contains(frame.rsp) {
            signals.alt_stack = AltStack::default();
        }
        (old_mask, alt_stack, blocked)
    };
    retarget(blocked);
    let restorer = (action.flags & SA_RESTORER != 0).then_some(action.restorer);
    let use_alt = action.flags & SA_ONSTACK != 0;
    let pushed = restorer.ok_or(EFAULT).and_then(|restorer| {
        let handler = frame::Handler { entry: action.handler, restorer, old_mask, alt_stack, use_alt };
        frame::push(frame, info, &handler)
    });
    if pushed.is_err() {
        log!(Error, "no stack for the handler of signal {} ({})", info.signal, name(info.signal));
        end_by(SIGSEGV);
    }
}

/// The default action of most signals: the image ends, and says by what.
fn end_by(signal: u8) -> ! {
    log!(Warn, "the program ended by signal {signal} ({})", name(signal));
    exit::exit(STATUS_SIGNAL_BASE + signal)
}

/// rt_sigreturn(2): the end of a handler.
pub fn rt_sigreturn(frame: &mut TrapFrame) -> Result {
    let thread = sched::current();
    let popped = frame::pop(frame);
    if let Some(popped) = &popped {
        let mut signals = thread.signals.lock();
        signals.mask = popped.mask & !UNBLOCKABLE;
        if popped.is_whole {
            signals.alt_stack = popped.alt_stack;
        }
    }
    if popped.is_none_or(|popped| !popped.is_whole) || !frame::is_canonical(frame.rip) {
        // There is no frame, or the CPU would refuse what is in it.
        frame.vector = VECTOR_GP;
        frame.error = 0;
        linux_fault(frame, Cause::Exception);
    }
    notify_if_pending(&thread);
    // The caller writes the result to rax, which is the interrupted code's.
    Ok(frame.rax)
}

/// A fault of the program: delivered to its handler, or reported.
#[expect(unsafe_code, reason = "the symbol by which kernel/arch calls this crate, which it does not know")]
#[unsafe(no_mangle)]
pub fn linux_fault(frame: &mut TrapFrame, cause: Cause) {
    if let Cause::Page { reason: PageInError::NoMemory, .. } = cause {
        report::program_fault(frame, cause);
    }
    let signal = report::signal_of(frame.vector, cause);
    let thread = sched::current();
    let blocked = thread.signals.lock().mask & bit(signal) != 0;
    let action = action(signal);
    if blocked || action.handler <= SIG_IGN {
        report::program_fault(frame, cause);
    }
    let (code, address) = match cause {
        // SEGV_ACCERR, BUS_ADRERR
        Cause::Page {
            address,
            reason: PageInError::Protected | PageInError::BehindEnd | PageInError::NoSpace,
            ..
        } => (2, address),
        Cause::Page { address, .. } => (1, address),
        Cause::Exception => match signal {
            // FPE_INTDIV, ILL_ILLOPN
            SIGFPE if frame.vector == 0 => (1, frame.rip),
            SIGFPE => (14, frame.rip),
            SIGILL => (2, frame.rip),
            _ => (SI_KERNEL, 0),
        },
    };
    debug_assert!(bit(signal) & SYNCHRONOUS != 0);
    let action = take_action(signal);
    deliver(frame, &thread, &SignalInfo { signal, code, words: [address, 0, 0] }, &action);
}
