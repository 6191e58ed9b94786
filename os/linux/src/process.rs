//! The one process.

use kernel::arch::current::context;
use kernel::arch::current::paging::LOW_END;
use kernel::{exit, sched, uaccess};

use crate::errno::{EINVAL, EPERM, ESRCH, Result};

/// Number of the process, and of its first thread.
pub const PID: u64 = 1;

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
    exit::exit(status as u8)
}

/// prctl(2).
pub fn prctl(op: i32, arg2: u64, _arg3: u64, _arg4: u64, _arg5: u64) -> Result {
    const SET_NAME: i32 = 15;
    const GET_NAME: i32 = 16;
    match op {
        SET_NAME => {
            let mut name = [0; 16];
            // Up to a zero octet or 15 of them: the string may end at the end of a page.
            match uaccess::read_cstr(arg2, &mut name[..15]) {
                Ok(len) => name[len..].fill(0),
                Err(None) => {}
                Err(Some(fault)) => return Err(fault.into()),
            }
            sched::current().set_name(name);
            Ok(0)
        }
        GET_NAME => {
            uaccess::write_bytes(arg2, &sched::current().name())?;
            Ok(0)
        }
        _ => Err(EINVAL),
    }
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

/// prlimit(2): what the limits are; they cannot be changed.
pub fn prlimit64(pid: i32, resource: i32, new: u64, old: u64) -> Result {
    const INFINITY: u64 = u64::MAX;
    const STACK: i32 = 3;
    const CORE: i32 = 4;
    const NOFILE: i32 = 7;
    if pid != 0 && pid as u64 != PID {
        return Err(ESRCH);
    }
    let limit = match resource {
        STACK => kernel::mm::STACK_SIZE,
        CORE => 0,
        NOFILE => 1024,
        0..=15 => INFINITY,
        _ => return Err(EINVAL),
    };
    if old != 0 {
        uaccess::write(old, [limit, if resource == STACK { INFINITY } else { limit }])?;
    }
    if new != 0 {
        let [soft, hard] = uaccess::read::<[u64; 2]>(new)?;
        if soft > hard {
            return Err(EINVAL);
        }
        if soft != limit {
            return Err(EPERM);
        }
    }
    Ok(0)
}
