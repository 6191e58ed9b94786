//! Signals: actions and masks are kept; default actions are carried out. Handlers are not run yet.

use kernel::{exit, log, sched, uaccess};
use sync::SpinLock;

use crate::errno::{EINVAL, ENOMEM, ENOSYS, ESRCH, Result};
use crate::process::PID;
use crate::table::name_once;

/// sizeof(sigset_t) of the kernel.
const SET_SIZE: usize = 8;
const SIGKILL: usize = 9;
const SIGSTOP: usize = 19;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// `struct kernel_sigaction`: handler, flags, restorer, mask; one for each signal from 1.
static ACTIONS: SpinLock<[[u64; 4]; 64]> = SpinLock::new([[0; 4]; 64]);

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

/// rt_sigaction(2).
pub fn rt_sigaction(signal: i32, act: u64, old: u64, size: usize) -> Result {
    let index = signal as usize;
    if size != SET_SIZE || !(1..=64).contains(&index) {
        return Err(EINVAL);
    }
    if act != 0 && (index == SIGKILL || index == SIGSTOP) {
        return Err(EINVAL);
    }
    let new = if act != 0 { Some(uaccess::read::<[u64; 4]>(act)?) } else { None };
    let before = {
        let mut actions = ACTIONS.lock();
        let before = actions[index - 1];
        if let Some(new) = new {
            actions[index - 1] = new;
        }
        before
    };
    if old != 0 {
        uaccess::write(old, before)?;
    }
    Ok(0)
}

/// rt_sigprocmask(2).
pub fn rt_sigprocmask(how: i32, set: u64, old: u64, size: usize) -> Result {
    const UNBLOCKABLE: u64 = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1);
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let thread = sched::current();
    let before = thread.signals.lock().mask;
    if set != 0 {
        let set = uaccess::read::<u64>(set)?;
        let mask = match how {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(EINVAL),
        };
        thread.signals.lock().mask = mask & !UNBLOCKABLE;
    }
    if old != 0 {
        uaccess::write(old, before)?;
    }
    Ok(0)
}

/// sigaltstack(2).
pub fn sigaltstack(new: u64, old: u64) -> Result {
    const DISABLE: u32 = 2;
    const AUTODISARM: u32 = 1 << 31;
    const MIN_SIZE: u64 = 2048;
    let thread = sched::current();
    let before = thread.signals.lock().alt_stack;
    if new != 0 {
        // struct sigaltstack: pointer, int with padding, size.
        let [address, flags, size] = uaccess::read::<[u64; 3]>(new)?;
        let flags = flags as u32;
        if flags & !(DISABLE | AUTODISARM) != 0 {
            return Err(EINVAL);
        }
        if flags & DISABLE == 0 && size < MIN_SIZE {
            return Err(ENOMEM);
        }
        thread.signals.lock().alt_stack =
            if flags & DISABLE != 0 { (0, DISABLE, 0) } else { (address, flags, size) };
    }
    if old != 0 {
        let (address, flags, size) = before;
        let flags = if size == 0 { DISABLE } else { flags };
        uaccess::write(old, [address, u64::from(flags), size])?;
    }
    Ok(0)
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> Result {
    match i64::from(pid) {
        // The process, its group, all processes: each is this one.
        0 | -1 => {}
        pid if pid.unsigned_abs() == PID => {}
        _ => return Err(ESRCH),
    }
    send(signal)
}

/// tkill(2).
pub fn tkill(tid: i32, signal: i32) -> Result {
    if tid <= 0 {
        return Err(EINVAL);
    }
    sched::find(tid as u32).ok_or(ESRCH)?;
    send(signal)
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

fn send(signal: i32) -> Result {
    const SIGCHLD: usize = 17;
    const SIGCONT: usize = 18;
    const SIGURG: usize = 23;
    const SIGWINCH: usize = 28;
    let index = signal as usize;
    if signal == 0 {
        return Ok(0);
    }
    if !(1..=64).contains(&index) {
        return Err(EINVAL);
    }
    let action = ACTIONS.lock()[index - 1][0];
    let ignored_by_default = [SIGCHLD, SIGCONT, SIGURG, SIGWINCH].contains(&index);
    match action {
        SIG_IGN => Ok(0),
        SIG_DFL if ignored_by_default => Ok(0),
        SIG_DFL => {
            let name = NAMES.get(index).copied().unwrap_or("a real-time signal");
            log!(Warn, "the program ended by signal {index} ({name})");
            exit::exit(abi::exit::STATUS_SIGNAL_BASE + index as u8)
        }
        _ => {
            name_once(signal as u64, format_args!("signal {index}: its handler is not run yet (ENOSYS)"));
            Err(ENOSYS)
        }
    }
}
