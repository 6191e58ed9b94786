//! The one process.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel::arch::current::context;
use kernel::arch::current::paging::LOW_END;
use kernel::{exit, sched, uaccess};

use crate::errno::{EINVAL, EPERM, Result};
use crate::service;

/// Number of the process, and of its first thread.
pub const PID: u64 = 1;
/// The last capability (`CAP_CHECKPOINT_RESTORE`).
const CAP_LAST: u64 = 40;

/// getpid(2).
pub fn getpid() -> Result {
    Ok(PID)
}

/// getppid(2): nobody started it.
pub fn getppid() -> Result {
    Ok(0)
}

/// getuid(2), getgid(2), geteuid(2), getegid(2): root.
pub fn getuid() -> Result {
    Ok(0)
}

/// exit_group(2): ends the image.
pub fn exit_group(status: i32) -> Result {
    service::stop_all();
    exit::exit(status as u8)
}

/// What prctl(2) keeps and nothing here follows.
struct Attributes {
    pdeathsig: AtomicU32,
    dumpable: AtomicU32,
    keep_caps: AtomicU32,
    timer_slack_ns: AtomicU64,
    child_subreaper: AtomicU32,
    no_new_privs: AtomicU32,
    thp_disable: AtomicU32,
}

const TIMER_SLACK_NS: u64 = 50_000;

static ATTRIBUTES: Attributes = Attributes {
    pdeathsig: AtomicU32::new(0),
    dumpable: AtomicU32::new(1),
    keep_caps: AtomicU32::new(0),
    timer_slack_ns: AtomicU64::new(TIMER_SLACK_NS),
    child_subreaper: AtomicU32::new(0),
    no_new_privs: AtomicU32::new(0),
    thp_disable: AtomicU32::new(0),
};

/// prctl(2).
pub fn prctl(op: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) -> Result {
    const SET_PDEATHSIG: i32 = 1;
    const GET_PDEATHSIG: i32 = 2;
    const GET_DUMPABLE: i32 = 3;
    const SET_DUMPABLE: i32 = 4;
    const GET_KEEPCAPS: i32 = 7;
    const SET_KEEPCAPS: i32 = 8;
    const GET_TIMING: i32 = 13;
    const SET_TIMING: i32 = 14;
    const SET_NAME: i32 = 15;
    const GET_NAME: i32 = 16;
    const GET_SECCOMP: i32 = 21;
    const CAPBSET_READ: i32 = 23;
    const GET_TSC: i32 = 25;
    const GET_SECUREBITS: i32 = 27;
    const SET_TIMERSLACK: i32 = 29;
    const GET_TIMERSLACK: i32 = 30;
    const SET_CHILD_SUBREAPER: i32 = 36;
    const GET_CHILD_SUBREAPER: i32 = 37;
    const SET_NO_NEW_PRIVS: i32 = 38;
    const GET_NO_NEW_PRIVS: i32 = 39;
    const SET_THP_DISABLE: i32 = 41;
    const GET_THP_DISABLE: i32 = 42;
    let attributes = &ATTRIBUTES;
    let get = |attribute: &AtomicU32| u64::from(attribute.load(Ordering::Relaxed));
    match op {
        SET_PDEATHSIG if arg2 <= 64 => attributes.pdeathsig.store(arg2 as u32, Ordering::Relaxed),
        GET_PDEATHSIG => uaccess::write(arg2, attributes.pdeathsig.load(Ordering::Relaxed))?,
        GET_DUMPABLE => return Ok(get(&attributes.dumpable)),
        SET_DUMPABLE if arg2 <= 1 => attributes.dumpable.store(arg2 as u32, Ordering::Relaxed),
        GET_KEEPCAPS => return Ok(get(&attributes.keep_caps)),
        SET_KEEPCAPS if arg2 <= 1 => attributes.keep_caps.store(arg2 as u32, Ordering::Relaxed),
        // PR_TIMING_STATISTICAL, the only one, is 0.
        GET_TIMING => {}
        SET_TIMING if arg2 == 0 => {}
        SET_NAME => {
            let mut name = [0; 16];
            // Up to a zero octet or 15 of them: the string may end at the end of a page.
            match uaccess::read_cstr(arg2, &mut name[..15]) {
                Ok(len) => name[len..].fill(0),
                Err(None) => {}
                Err(Some(fault)) => return Err(fault.into()),
            }
            sched::current().set_name(name);
        }
        GET_NAME => uaccess::write_bytes(arg2, &sched::current().name())?,
        // Off: SECCOMP_MODE_DISABLED, no secure bits.
        GET_SECCOMP | GET_SECUREBITS => {}
        // Root has all capabilities there are.
        CAPBSET_READ if arg2 <= CAP_LAST => return Ok(1),
        // PR_TSC_ENABLE.
        GET_TSC => uaccess::write(arg2, 1u32)?,
        SET_TIMERSLACK => {
            let slack = if arg2 as i64 <= 0 { TIMER_SLACK_NS } else { arg2 };
            attributes.timer_slack_ns.store(slack, Ordering::Relaxed);
        }
        GET_TIMERSLACK => return Ok(attributes.timer_slack_ns.load(Ordering::Relaxed)),
        SET_CHILD_SUBREAPER => attributes.child_subreaper.store((arg2 != 0).into(), Ordering::Relaxed),
        GET_CHILD_SUBREAPER => uaccess::write(arg2, attributes.child_subreaper.load(Ordering::Relaxed))?,
        SET_NO_NEW_PRIVS if [arg2, arg3, arg4, arg5] == [1, 0, 0, 0] => {
            attributes.no_new_privs.store(1, Ordering::Relaxed);
        }
        GET_NO_NEW_PRIVS if [arg2, arg3, arg4, arg5] == [0; 4] => return Ok(get(&attributes.no_new_privs)),
        SET_THP_DISABLE if [arg3, arg4, arg5] == [0; 3] => {
            attributes.thp_disable.store((arg2 != 0).into(), Ordering::Relaxed);
        }
        GET_THP_DISABLE if [arg2, arg3, arg4, arg5] == [0; 4] => return Ok(get(&attributes.thp_disable)),
        _ => return Err(EINVAL),
    }
    Ok(0)
}

/// arch_prctl(2).
pub fn arch_prctl(op: i32, addr: u64) -> Result {
    const SET_FS: i32 = 0x1002;
    const GET_FS: i32 = 0x1003;
    match op {
        SET_FS if addr >= LOW_END => Err(EPERM),
        SET_FS => {
            context::set_current_fs_base(addr);
            Ok(0)
        }
        GET_FS => {
            uaccess::write(addr, context::current_fs_base())?;
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}
