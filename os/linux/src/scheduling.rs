//! How threads are scheduled: sched(7).
//!
//! The program is root: it may choose any policy and priority. There is no `SCHED_DEADLINE`, and no
//! `SCHED_RESET_ON_FORK`.

use alloc::sync::Arc;

use kernel::arch::current::paging::PAGE_SIZE;
use kernel::sched::Policy;
use kernel::sched::thread::Thread;
use kernel::{sched, uaccess};
use sync::run_queue::SLICE_NS;

use crate::errno::{E2BIG, EFAULT, EINVAL, ESRCH, Errno, Result};
use crate::futex;
use crate::process::PID;

const OTHER: u32 = 0;
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const IDLE: u32 = 5;
const DEADLINE: u32 = 6;

const PRIORITY_MAX: u32 = 99;
const NICE_MIN: i32 = -20;
const NICE_MAX: i32 = 19;

/// The thread that a call means: 0 is the caller.
fn find(pid: i32) -> core::result::Result<Arc<Thread>, Errno> {
    match pid {
        0 => Ok(sched::current()),
        pid => sched::find(pid as u32).ok_or(ESRCH),
    }
}

/// As [`find`], for the calls that say of a negative number that it is none.
fn find_positive(pid: i32) -> core::result::Result<Arc<Thread>, Errno> {
    if pid < 0 { Err(EINVAL) } else { find(pid) }
}

fn set(thread: &Arc<Thread>, policy: Policy) {
    sched::set_policy(thread, policy);
    futex::on_priority_change(thread);
}

/// A policy from its number, real-time priority and nice level.
fn policy_of(number: u32, priority: u32, nice: i8) -> core::result::Result<Policy, Errno> {
    let policy = match (number, priority) {
        (OTHER, 0) => Policy::Fair { nice },
        (BATCH, 0) => Policy::Batch { nice },
        (IDLE, 0) => Policy::Idle { nice },
        (FIFO, 1..=PRIORITY_MAX) => Policy::Fifo { priority: priority as u8 },
        (RR, 1..=PRIORITY_MAX) => Policy::RoundRobin { priority: priority as u8 },
        _ => return Err(EINVAL),
    };
    Ok(policy)
}

/// A policy's number, real-time priority and nice level.
fn parts_of(policy: Policy) -> (u32, u32, i8) {
    match policy {
        Policy::Fair { nice } => (OTHER, 0, nice),
        Policy::Batch { nice } => (BATCH, 0, nice),
        Policy::Idle { nice } => (IDLE, 0, nice),
        Policy::Fifo { priority } => (FIFO, priority.into(), 0),
        Policy::RoundRobin { priority } => (RR, priority.into(), 0),
    }
}

/// sched_setscheduler(2).
pub fn sched_setscheduler(pid: i32, policy: i32, param: u64) -> Result {
    let Ok(policy) = u32::try_from(policy) else { return Err(EINVAL) };
    set_scheduler(pid, Some(policy), param)
}

/// sched_setparam(2).
pub fn sched_setparam(pid: i32, param: u64) -> Result {
    set_scheduler(pid, None, param)
}

/// Sets policy and priority. No policy: the one there is.
fn set_scheduler(pid: i32, number: Option<u32>, param: u64) -> Result {
    if param == 0 || pid < 0 {
        return Err(EINVAL);
    }
    let priority = uaccess::read::<u32>(param)?;
    let thread = find(pid)?;
    let (present, _, nice) = parts_of(sched::policy(&thread));
    set(&thread, policy_of(number.unwrap_or(present), priority, nice)?);
    Ok(0)
}

/// sched_getscheduler(2).
pub fn sched_getscheduler(pid: i32) -> Result {
    Ok(parts_of(sched::policy(&*find_positive(pid)?)).0.into())
}

/// sched_getparam(2).
pub fn sched_getparam(pid: i32, param: u64) -> Result {
    if param == 0 {
        return Err(EINVAL);
    }
    let (_, priority, _) = parts_of(sched::policy(&*find_positive(pid)?));
    uaccess::write(param, priority)?;
    Ok(0)
}

/// sizeof(struct sched_attr) in its first version (size, policy, flags, nice, priority, runtime, deadline, period), and with
/// the bounds of utilization.
const ATTR_SIZE_VER0: usize = 48;
const ATTR_SIZE: usize = 56;

/// sched_setattr(2).
pub fn sched_setattr(pid: i32, attr: u64, flags: u32) -> Result {
    const KEEP_POLICY: u64 = 8;
    const KEEP_PARAMS: u64 = 0x10;
    if attr == 0 || pid < 0 || flags != 0 {
        return Err(EINVAL);
    }
    let size = match uaccess::read::<u32>(attr)? as usize {
        0 => ATTR_SIZE_VER0,
        size => size,
    };
    if !(ATTR_SIZE_VER0..=PAGE_SIZE as usize).contains(&size) || !is_zero_behind(attr, size)? {
        uaccess::write(attr, ATTR_SIZE as u32)?;
        return Err(E2BIG);
    }
    let [_, number, flags_low, flags_high, nice, priority] = uaccess::read::<[u32; 6]>(attr)?;
    let flags = u64::from(flags_low) | u64::from(flags_high) << 32;
    if (number as i32) < 0 || flags & !(KEEP_POLICY | KEEP_PARAMS) != 0 {
        return Err(EINVAL);
    }
    let thread = find(pid)?;
    let present = sched::policy(&thread);
    let (present_number, present_priority, present_nice) = parts_of(present);
    let number = if flags & KEEP_POLICY != 0 { present_number } else { number };
    let nice = (nice as i32).clamp(NICE_MIN, NICE_MAX) as i8;
    let (priority, nice) =
        if flags & KEEP_PARAMS != 0 { (present_priority, present_nice) } else { (priority, nice) };
    set(&thread, policy_of(number, priority, nice)?);
    Ok(0)
}

/// Whether a structure is all zero behind what is known of it.
fn is_zero_behind(address: u64, size: usize) -> core::result::Result<bool, Errno> {
    for offset in ATTR_SIZE..size {
        if uaccess::read::<u8>(address.checked_add(offset as u64).ok_or(EFAULT)?)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// sched_getattr(2).
pub fn sched_getattr(pid: i32, attr: u64, size: u32, flags: u32) -> Result {
    let size = size as usize;
    if attr == 0 || !(ATTR_SIZE_VER0..=PAGE_SIZE as usize).contains(&size) || flags != 0 {
        return Err(EINVAL);
    }
    let (number, priority, nice) = parts_of(sched::policy(&*find_positive(pid)?));
    let known = size.min(ATTR_SIZE);
    let mut words = [0u32; ATTR_SIZE / 4];
    words[0] = known as u32;
    words[1] = number;
    words[4] = i32::from(nice) as u32;
    words[5] = priority;
    uaccess::check_range(attr, size as u64)?;
    for (offset, word) in (0..known).step_by(4).zip(words) {
        uaccess::write(attr + offset as u64, word)?;
    }
    for offset in known..size {
        uaccess::write(attr + offset as u64, 0u8)?;
    }
    Ok(0)
}

/// sched_get_priority_max(2).
pub fn sched_get_priority_max(policy: u32) -> Result {
    match policy {
        FIFO | RR => Ok(PRIORITY_MAX.into()),
        OTHER | BATCH | IDLE | DEADLINE => Ok(0),
        _ => Err(EINVAL),
    }
}

/// sched_get_priority_min(2).
pub fn sched_get_priority_min(policy: u32) -> Result {
    sched_get_priority_max(policy).map(|max| max.min(1))
}

/// sched_rr_get_interval(2).
pub fn sched_rr_get_interval(pid: i32, tp: u64) -> Result {
    let ns = match sched::policy(&*find_positive(pid)?) {
        Policy::Fifo { .. } => 0,
        _ => SLICE_NS,
    };
    uaccess::write(tp, [0, ns])?;
    Ok(0)
}

/// sched_yield(2).
pub fn sched_yield() -> Result {
    sched::yield_now();
    Ok(0)
}

/// sched_setaffinity(2).
pub fn sched_setaffinity(pid: i32, size: u32, mask: u64) -> Result {
    let mut octets = [0; 8];
    let len = octets.len().min(size as usize);
    uaccess::read_bytes(mask, &mut octets[..len])?;
    sched::set_affinity(&find(pid)?, u64::from_le_bytes(octets)).map_err(|_| EINVAL)?;
    Ok(0)
}

/// sched_getaffinity(2); the system call returns the octets written.
pub fn sched_getaffinity(pid: i32, size: u32, mask: u64) -> Result {
    if size < 8 || !size.is_multiple_of(8) {
        return Err(EINVAL);
    }
    let thread = find(pid)?;
    uaccess::write(mask, sched::affinity(&thread) & sched::online_mask())?;
    Ok(8)
}

/// getcpu(2).
pub fn getcpu(cpu: u64, node: u64, _unused: u64) -> Result {
    for (address, value) in [(cpu, sched::this_cpu()), (node, 0)] {
        if address != 0 {
            uaccess::write(address, value)?;
        }
    }
    Ok(0)
}

/// Whom getpriority(2) and setpriority(2) mean.
enum Whom {
    Thread(Arc<Thread>),
    Everybody,
}

fn whom(which: i32, who: i32) -> core::result::Result<Whom, Errno> {
    const PROCESS: i32 = 0;
    const GROUP: i32 = 1;
    const USER: i32 = 2;
    match (which, who) {
        (PROCESS, who) => find(who).map(Whom::Thread),
        // The process is its group; its user is root.
        (GROUP | USER, 0) => Ok(Whom::Everybody),
        (GROUP, who) if who as u64 == PID => Ok(Whom::Everybody),
        (GROUP | USER, _) => Err(ESRCH),
        _ => Err(EINVAL),
    }
}

/// getpriority(2); the system call returns 20 less the nice level, and of several threads the best.
pub fn getpriority(which: i32, who: i32) -> Result {
    let level = |thread: &Arc<Thread>| (20 - i32::from(parts_of(sched::policy(thread)).2)) as u64;
    match whom(which, who)? {
        Whom::Thread(thread) => Ok(level(&thread)),
        Whom::Everybody => {
            let mut best = 0;
            sched::for_each_thread(|thread| best = best.max(level(thread)));
            Ok(best)
        }
    }
}

/// setpriority(2).
pub fn setpriority(which: i32, who: i32, nice: i32) -> Result {
    let nice = nice.clamp(NICE_MIN, NICE_MAX) as i8;
    match whom(which, who)? {
        Whom::Thread(thread) => set_nice(&thread, nice),
        Whom::Everybody => sched::for_each_thread(|thread| set_nice(thread, nice)),
    }
    Ok(0)
}

fn set_nice(thread: &Arc<Thread>, nice: i8) {
    match sched::policy(thread) {
        Policy::Fair { .. } => sched::set_policy(thread, Policy::Fair { nice }),
        Policy::Batch { .. } => sched::set_policy(thread, Policy::Batch { nice }),
        Policy::Idle { .. } => sched::set_policy(thread, Policy::Idle { nice }),
        Policy::Fifo { .. } | Policy::RoundRobin { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_their_numbers() {
        for policy in [
            Policy::Fair { nice: -20 },
            Policy::Batch { nice: 19 },
            Policy::Idle { nice: 1 },
            Policy::Fifo { priority: 1 },
            Policy::RoundRobin { priority: 99 },
        ] {
            let (number, priority, nice) = parts_of(policy);
            assert_eq!(policy_of(number, priority, nice), Ok(policy));
        }
        for (number, priority) in [(OTHER, 1), (FIFO, 0), (RR, 100), (4, 0), (DEADLINE, 0), (1 << 30, 0)] {
            assert_eq!(policy_of(number, priority, 0), Err(EINVAL));
        }
    }

    #[test]
    fn bounds_of_priorities() {
        let bounds = |policy| (sched_get_priority_min(policy), sched_get_priority_max(policy));
        assert_eq!(bounds(FIFO), (Ok(1), Ok(99)));
        assert_eq!(bounds(OTHER), (Ok(0), Ok(0)));
        assert_eq!(bounds(4), (Err(EINVAL), Err(EINVAL)));
    }
}
