//! futex(2). All futexes are private: there is one address space.
//!
//! Who waits stands in a bucket, found by the address, a [`WaitList`]; a bucket's lock covers the look at the word, too, so that
//! a waker that changed it before cannot be missed. Under the lock the word is never paged in: where its page is missing, the lock is
//! opened, the page brought, and all of it done again. Waking allocates nothing.
//!
//! Here are waiting and waking, which every program does; what else there is, is a service ([`operations`]).
//!
//! Lock order: buckets by their index, then the waits of [`pi`], then threads and run queues.

pub mod operations;
pub mod pi;
pub mod robust;
pub mod waitv;

use alloc::sync::Arc;

use abi::service::Service;
use kernel::mm::Access;
use kernel::sched;
use kernel::sched::thread::Thread;
use kernel::sched::{Waiter, Wake};
use kernel::uaccess::{self, Fault};
use sync::{Once, WaitList, Waiters};

use crate::errno::{EAGAIN, EINVAL, ENOMEM, ENOSYS, ERESTARTNOHAND, ERESTARTSYS, ETIMEDOUT, Errno, Result};
use crate::{service, time};

/// What a waiter waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A wake-up.
    Plain,
    /// To be moved to the priority-inheriting futex at this address (`FUTEX_WAIT_REQUEUE_PI`).
    RequeuePi(u64),
    /// A wake-up at one of several addresses (futex_waitv(2)): its index.
    Vector(usize),
}

struct FutexWaiter {
    waiter: Waiter,
    bitset: u32,
    kind: Kind,
}

impl FutexWaiter {
    fn is_of(&self, waiter: &Waiter) -> bool {
        self.waiter.is_same_thread(waiter)
    }

    fn wake(&self) {
        sched::wake(&self.waiter);
    }
}

type Bucket = Waiters<u64, FutexWaiter>;

/// Who waits, by address.
static BUCKETS: [WaitList<u64, FutexWaiter>; 64] = [const { WaitList::new() }; 64];

fn bucket(address: u64) -> &'static WaitList<u64, FutexWaiter> {
    // Multiplicative hashing (Knuth, vol. 3 § 6.4): the top bits depend on all of the address.
    &BUCKETS[((address / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize]
}

/// Why a step under a lock did not come to its end.
enum Stopped {
    /// A word's page is missing: bring it in for this access, and do it again.
    Fault(u64, Access),
    /// Another CPU was quicker: do it again.
    Changed,
    /// This is the call's error.
    Failed(Errno),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// Does `step`, which locks what it needs, until it comes to an end.
fn retry<R>(mut step: impl FnMut() -> core::result::Result<R, Stopped>) -> core::result::Result<R, Errno> {
    loop {
        match step() {
            Ok(result) => return Ok(result),
            Err(Stopped::Fault(address, access)) => uaccess::page_in_word(address, access)?,
            Err(Stopped::Changed) => core::hint::spin_loop(),
            Err(Stopped::Failed(errno)) => return Err(errno),
        }
    }
}

/// The word at an address, under a lock.
fn look(address: u64) -> core::result::Result<u32, Stopped> {
    uaccess::try_read_word(address).map_err(|Fault| Stopped::Fault(address, Access::Read))
}

/// Replaces a word, under a lock; [`Stopped::Changed`] if it was not `old`.
fn replace(address: u64, old: u32, new: u32) -> core::result::Result<(), Stopped> {
    match uaccess::try_compare_exchange(address, old, new) {
        Ok(found) if found == old => Ok(()),
        Ok(_) => Err(Stopped::Changed),
        Err(Fault) => Err(Stopped::Fault(address, Access::Write)),
    }
}

/// A call that is neither a wait nor a wake-up.
struct Operation {
    op: i32,
    realtime: bool,
    uaddr: u64,
    val: u32,
    timeout: u64,
    uaddr2: u64,
    val3: u32,
}

/// What the service `futexes` does beyond waiting and waking ([`operations`]).
struct More {
    carry_out: fn(Operation) -> Result,
    /// [`pi::is_waited_for`].
    is_waited_for: fn(u64) -> bool,
    /// [`pi::on_exit`].
    on_exit: fn(&Arc<Thread>),
    /// [`pi::on_priority_change`].
    on_priority_change: fn(&Arc<Thread>),
}

static MORE: Once<More> = Once::new();

/// A thread ends: what it holds goes to others.
pub fn on_exit(thread: &Arc<Thread>) {
    robust::on_exit(thread);
    if let Some(more) = MORE.get() {
        (more.on_exit)(thread);
    }
}

/// A thread's own priority has changed: whoever it waits for inherits the new one.
pub fn on_priority_change(thread: &Arc<Thread>) {
    if let Some(more) = MORE.get() {
        (more.on_priority_change)(thread);
    }
}

/// futex(2).
pub fn futex(uaddr: u64, op: i32, val: u32, timeout: u64, uaddr2: u64, val3: u32) -> Result {
    const PRIVATE: i32 = 128;
    const CLOCK_REALTIME: i32 = 256;
    const WAIT: i32 = 0;
    const WAKE: i32 = 1;
    const WAIT_BITSET: i32 = 9;
    const WAKE_BITSET: i32 = 10;
    const WAIT_REQUEUE_PI: i32 = 11;
    const LOCK_PI2: i32 = 13;
    let realtime = op & CLOCK_REALTIME != 0;
    let op = op & !(PRIVATE | CLOCK_REALTIME);
    if realtime && !matches!(op, WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2) {
        return Err(ENOSYS);
    }
    match op {
        WAIT => wait(uaddr, val, !0, relative(timeout)?),
        WAIT_BITSET => wait(uaddr, val, val3, absolute(timeout, realtime)?),
        WAKE => wake_call(uaddr, val, !0),
        WAKE_BITSET if val3 == 0 => Err(EINVAL),
        WAKE_BITSET => wake_call(uaddr, val, val3),
        op => match MORE.get() {
            Some(more) => (more.carry_out)(Operation { op, realtime, uaddr, val, timeout, uaddr2, val3 }),
            None => service::absent(Service::Futexes),
        },
    }
}

/// Whether a word can be at an address at all. It need not be mapped for a wake.
fn check(uaddr: u64) -> core::result::Result<(), Errno> {
    if !uaddr.is_multiple_of(4) {
        return Err(EINVAL);
    }
    Ok(uaccess::check_range(uaddr, 4)?)
}

fn relative(timeout: u64) -> core::result::Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    Ok(Some(kernel::time::now_ns().saturating_add(time::read_timespec(timeout)?)))
}

/// A moment on the realtime or the monotonic clock, as one on the monotonic clock. 0: none.
fn absolute(timeout: u64, realtime: bool) -> core::result::Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    let at = time::read_timespec(timeout)?;
    let offset = if realtime { kernel::time::realtime_offset_ns() } else { 0 };
    Ok(Some(at.saturating_sub(offset)))
}

/// Puts the current thread into a bucket if the word is `expected`.
fn enter(uaddr: u64, expected: u32, bitset: u32, kind: Kind) -> core::result::Result<Waiter, Errno> {
    retry(|| {
        let mut bucket = bucket(uaddr).lock();
        if look(uaddr)? != expected {
            return Err(EAGAIN.into());
        }
        bucket.reserve().map_err(|_| ENOMEM)?;
        let waiter = sched::prepare_wait();
        bucket.enter(uaddr, FutexWaiter { waiter: waiter.clone(), bitset, kind });
        Ok(waiter)
    })
}

/// Takes the current thread out of the buckets, wherever it was moved; false if it was in none.
fn leave(waiter: &Waiter) -> bool {
    BUCKETS.iter().any(|bucket| bucket.lock().leave(|entry| entry.is_of(waiter)))
}

fn wait(uaddr: u64, expected: u32, bitset: u32, deadline: Option<u64>) -> Result {
    if bitset == 0 {
        return Err(EINVAL);
    }
    check(uaddr)?;
    let waiter = enter(uaddr, expected, bitset, Kind::Plain)?;
    let wake = sched::wait(deadline);
    // Whoever took it out of the bucket has counted it as woken, even if the deadline was the quicker one.
    if wake == Wake::Woken || !leave(&waiter) {
        return Ok(0);
    }
    match (wake, deadline) {
        (Wake::Deadline, _) => Err(ETIMEDOUT),
        (_, None) => Err(ERESTARTSYS),
        (_, Some(_)) => Err(ERESTARTNOHAND),
    }
}

/// Wakes up to `count` threads that wait at `uaddr` for any bit of `bitset`; returns how many.
pub fn wake(uaddr: u64, count: u32, bitset: u32) -> u64 {
    wake_in(&mut bucket(uaddr).lock(), uaddr, count, bitset)
}

fn wake_in(bucket: &mut Bucket, uaddr: u64, count: u32, bitset: u32) -> u64 {
    // Linux wakes one even for a count of 0.
    let max = count.max(1) as usize;
    bucket.wake(uaddr, max, |entry| entry.bitset & bitset != 0, FutexWaiter::wake) as u64
}

/// Refuses an address where threads wait for a priority-inheriting futex: there a wake-up would hand nothing over.
fn check_plain(bucket: &Bucket, uaddr: u64) -> core::result::Result<(), Errno> {
    let plain = |entry: &FutexWaiter| !matches!(entry.kind, Kind::RequeuePi(_));
    if bucket.at(uaddr).all(plain) && !MORE.get().is_some_and(|more| (more.is_waited_for)(uaddr)) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn wake_call(uaddr: u64, count: u32, bitset: u32) -> Result {
    check(uaddr)?;
    let mut bucket = bucket(uaddr).lock();
    check_plain(&bucket, uaddr)?;
    Ok(wake_in(&mut bucket, uaddr, count, bitset))
}
