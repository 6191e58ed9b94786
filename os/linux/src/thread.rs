//! Threads: clone(2) and what belongs to it.

use core::sync::atomic::{AtomicU32, Ordering};

use kernel::arch::current::context;
use kernel::arch::current::paging::{LOW_END, PAGE_SIZE};
use kernel::arch::current::vectors::TrapFrame;
use kernel::{sched, uaccess};

use crate::errno::{E2BIG, EINVAL, ENOSYS, EPERM, Result};
use crate::process::PID;
use crate::table::name_once;
use crate::{futex, signal};

const CLONE_VM: u64 = 0x100;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;

/// What both forms of clone ask for.
struct Request {
    flags: u64,
    stack_top: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

/// clone(2), with the arguments' order of x86_64.
pub fn clone(frame: &TrapFrame, flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> Result {
    // The low octet is the signal at the child's end: of no meaning for a thread.
    start(frame, Request { flags: flags & !0xff, stack_top: stack, parent_tid, child_tid, tls })
}

/// clone3(2).
pub fn clone3(frame: &TrapFrame, args: u64, size: usize) -> Result {
    const SIZE_V0: usize = 64;
    const SIZE_V2: usize = 88;
    /// What every version of the structure may hold: the low 32 bits, CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP.
    const KNOWN_FLAGS: u64 = 0x3_ffff_ffff;
    /// CLONE_DETACHED, and the octet that was the signal in clone(2), but for CLONE_NEWTIME.
    const OLD_FLAGS: u64 = 0x40_007f;
    const CLEAR_SIGHAND: u64 = 1 << 32;
    const PARENT: u64 = 0x8000;
    if size > PAGE_SIZE as usize {
        return Err(E2BIG);
    }
    if size < SIZE_V0 {
        return Err(EINVAL);
    }
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let [flags, _, child_tid, parent_tid, exit_signal, stack, stack_size, tls] =
        uaccess::read::<[u64; 8]>(args)?;
    // A later version: set_tid, set_tid_size, cgroup. None of it is there, so all is zero.
    let mut later = [0; SIZE_V2 - SIZE_V0];
    let len = later.len().min(size - SIZE_V0);
    uaccess::read_bytes(args.wrapping_add(SIZE_V0 as u64), &mut later[..len])?;
    if later != [0; SIZE_V2 - SIZE_V0] {
        return Err(EINVAL);
    }
    // And what is not known here.
    for offset in (SIZE_V2..size).step_by(8) {
        let mut word = [0; 8];
        let len = word.len().min(size - offset);
        uaccess::read_bytes(args.wrapping_add(offset as u64), &mut word[..len])?;
        if word != [0; 8] {
            return Err(E2BIG);
        }
    }
    if exit_signal > 64
        || flags & !KNOWN_FLAGS != 0
        || flags & OLD_FLAGS != 0
        || flags & CLONE_SIGHAND != 0 && flags & CLEAR_SIGHAND != 0
        || flags & (CLONE_THREAD | PARENT) != 0 && exit_signal != 0
        || (stack == 0) != (stack_size == 0)
        || uaccess::check_range(stack, stack_size).is_err()
    {
        return Err(EINVAL);
    }
    start(frame, Request { flags, stack_top: stack + stack_size, parent_tid, child_tid, tls })
}

fn start(frame: &TrapFrame, request: Request) -> Result {
    const THREAD: u64 = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
    if request.flags & CLONE_THREAD != 0 && request.flags & CLONE_SIGHAND == 0
        || request.flags & CLONE_SIGHAND != 0 && request.flags & CLONE_VM == 0
    {
        return Err(EINVAL);
    }
    if request.flags & THREAD != THREAD {
        name_once(
            57,
            format_args!("a new process (fork, vfork, posix_spawn) is not possible in one image (ENOSYS)"),
        );
        return Err(ENOSYS);
    }
    if request.flags & CLONE_SETTLS != 0 && request.tls >= LOW_END {
        return Err(EPERM);
    }
    let parent = sched::current();
    let mut child_frame = frame.clone();
    child_frame.rax = 0;
    if request.stack_top != 0 {
        child_frame.rsp = request.stack_top;
    }
    let fs_base = if request.flags & CLONE_SETTLS != 0 { request.tls } else { context::current_fs_base() };
    let child = sched::prepare_spawn(&child_frame, fs_base, parent.name(), true)?;
    let tid = child.tid;
    // Faults here are of no consequence, as on Linux.
    if request.flags & CLONE_PARENT_SETTID != 0 {
        let _ = uaccess::write(request.parent_tid, tid);
    }
    if request.flags & CLONE_CHILD_SETTID != 0 {
        let _ = uaccess::write(request.child_tid, tid);
    }
    if request.flags & CLONE_CHILD_CLEARTID != 0 {
        child.clear_tid.store(request.child_tid, Ordering::Relaxed);
    }
    child.signals.lock().mask = parent.signals.lock().mask;
    sched::start(&child);
    Ok(u64::from(tid))
}

/// The status with which the first thread ended, and this bit: it has.
static FIRST_ENDED: AtomicU32 = AtomicU32::new(0);
const HAS_ENDED: u32 = 1 << 31;

/// exit(2): ends the calling thread, and with the last one the image. Its status is then the first thread's, as on Linux.
pub fn exit(status: i32) -> Result {
    let thread = sched::current();
    futex::on_exit(&thread);
    let clear_tid = thread.clear_tid.load(Ordering::Relaxed);
    if clear_tid != 0 && uaccess::write(clear_tid, 0u32).is_ok() {
        futex::wake(clear_tid, 1, !0);
    }
    signal::on_exit(&thread);
    let mut status = status as u8;
    if u64::from(thread.tid) == PID {
        FIRST_ENDED.store(HAS_ENDED | u32::from(status), Ordering::Relaxed);
    } else {
        match FIRST_ENDED.load(Ordering::Relaxed) {
            0 => {}
            first => status = first as u8,
        }
    }
    drop(thread);
    sched::exit_current(status)
}

/// gettid(2).
pub fn gettid() -> Result {
    Ok(u64::from(sched::current().tid))
}

/// set_tid_address(2).
pub fn set_tid_address(address: u64) -> Result {
    let thread = sched::current();
    thread.clear_tid.store(address, Ordering::Relaxed);
    Ok(u64::from(thread.tid))
}

/// rseq(2).
pub fn rseq(_rseq: u64, _len: u32, _flags: i32, _signature: u32) -> Result {
    Err(ENOSYS)
}
