//! Priority-inheriting futexes: `FUTEX_LOCK_PI` and its kin.
//!
//! The word holds its owner's number, and `WAITERS` once somebody waits: from then on the owner gives it back through
//! [`unlock`], which writes the next owner's number into it before that one runs. So a waiter that finds itself gone from
//! [`WAITS`] is the owner. While a thread waits, the owner runs at least at its real-time priority, and so does the one that
//! the owner waits for, and on.
//!
//! All waits are in one list under one lock: they are few, and chains cross any other order.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel::sched::thread::{Thread, Tid};
use kernel::sched::{self, Waiter, Wake};
use kernel::uaccess;
use sync::SpinLock;

use super::{Stopped, check, look, replace, retry};
use crate::errno::{EAGAIN, EDEADLK, EINVAL, ENOMEM, EPERM, ERESTARTNOINTR, ESRCH, ETIMEDOUT, Errno, Result};

/// Somebody waits: the owner must call [`unlock`].
pub const WAITERS: u32 = 1 << 31;
/// The owner ended and left the lock as it was.
pub const OWNER_DIED: u32 = 1 << 30;
/// The owner's number.
pub const TID_MASK: u32 = OWNER_DIED - 1;

/// Longest chain of owners that is followed (`max_lock_depth` of Linux).
const DEPTH_MAX: usize = 1024;

struct Wait {
    address: u64,
    waiter: Waiter,
    owner: Arc<Thread>,
    /// Real-time priority of the waiter, inherited or its own.
    priority: Option<u8>,
}

/// Who waits for which lock, first come first.
static WAITS: SpinLock<Waits> = SpinLock::new(Waits(Vec::new()));
/// Length of [`WAITS`]: plain futexes look here first.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Waits(Vec<Wait>);

/// Whether anybody waits for the lock at an address.
pub fn is_waited_for(address: u64) -> bool {
    COUNT.load(Ordering::Acquire) > 0 && WAITS.lock().at(address).next().is_some()
}

/// Takes the lock at `uaddr`, waiting for it until `deadline` on the monotonic clock.
pub fn lock(uaddr: u64, deadline: Option<u64>) -> Result {
    check(uaddr)?;
    let current = sched::current();
    let Some(waiter) = retry(|| {
        let mut waits = WAITS.lock();
        match waits.claim(uaddr, &current)? {
            None => Ok(None),
            Some(owner) => {
                waits.check_chain(&owner, &current)?;
                waits.reserve(1)?;
                let waiter = sched::prepare_wait();
                waits.push(uaddr, waiter.clone(), &owner);
                Ok(Some(waiter))
            }
        }
    })?
    else {
        return Ok(0);
    };
    let wake = sched::wait(deadline);
    match (settle(&waiter, uaddr)?, wake) {
        (true, _) => Ok(0),
        (false, Wake::Deadline) => Err(ETIMEDOUT),
        (false, _) => Err(ERESTARTNOINTR),
    }
}

/// Takes the lock at `uaddr` if it is free.
pub fn try_lock(uaddr: u64) -> Result {
    check(uaddr)?;
    let current = sched::current();
    match retry(|| WAITS.lock().claim(uaddr, &current))? {
        None => Ok(0),
        Some(_) => Err(EAGAIN),
    }
}

/// Gives the lock at `uaddr` to the first of those with the highest priority, or to nobody.
pub fn unlock(uaddr: u64) -> Result {
    check(uaddr)?;
    let current = sched::current();
    retry(|| {
        let mut waits = WAITS.lock();
        let word = look(uaddr)?;
        if word & TID_MASK != current.tid {
            return Err(EPERM.into());
        }
        let Some(next) = waits.first(uaddr) else { return replace(uaddr, word, 0) };
        if waits.0[next].owner.tid != current.tid {
            return Err(EINVAL.into());
        }
        replace(uaddr, word, waits.tid(next) | WAITERS)?;
        waits.hand_over(next);
        Ok(())
    })?;
    Ok(0)
}

/// After a wait: whether the lock at `uaddr` is the current thread's. If it is not, the thread waits for it no more.
///
/// # Errors
/// The lock's word is gone, or does not say so any more.
pub fn settle(waiter: &Waiter, uaddr: u64) -> core::result::Result<bool, Errno> {
    if WAITS.lock().remove_waiter(waiter).is_some() {
        return Ok(false);
    }
    let owner = uaccess::read::<u32>(uaddr)? & TID_MASK;
    if owner == waiter.thread().tid { Ok(true) } else { Err(EINVAL) }
}

/// Has threads that wait elsewhere wait for the lock at `uaddr` from now on; the first gets it if it is free. Returns how
/// many it took over.
pub(super) fn adopt<'a>(
    uaddr: u64,
    waiters: impl Iterator<Item = &'a Waiter> + Clone,
) -> core::result::Result<usize, Stopped> {
    let mut waits = WAITS.lock();
    let count = waiters.clone().count();
    let Some(first) = waiters.clone().next() else { return Ok(0) };
    waits.reserve(count)?;
    let mut rest = waiters;
    let (owner, mut adopted) = match waits.claim_for(uaddr, first.thread(), count > 1)? {
        None => {
            rest.next();
            sched::wake(first);
            (first.thread().clone(), 1)
        }
        Some(owner) => (owner, 0),
    };
    for waiter in rest {
        match waits.check_chain(&owner, waiter.thread()) {
            Err(errno) if adopted == 0 => return Err(errno.into()),
            Err(_) => break,
            Ok(()) => waits.push(uaddr, waiter.clone(), &owner),
        }
        adopted += 1;
    }
    Ok(adopted)
}

/// A thread's own priority has changed: whoever it waits for inherits the new one.
pub fn on_priority_change(thread: &Arc<Thread>) {
    if COUNT.load(Ordering::Acquire) > 0 {
        WAITS.lock().update(thread.clone());
    }
}

/// A thread ends: its locks go to those that wait for them, marked as left in disorder. Nobody waits for it from here on.
pub fn on_exit(thread: &Arc<Thread>) {
    loop {
        let mut waits = WAITS.lock();
        thread.exiting.store(true, Ordering::Relaxed);
        let Some(wait) = waits.0.iter().find(|wait| Arc::ptr_eq(&wait.owner, thread)) else { return };
        let address = wait.address;
        let Some(next) = waits.first(address) else { return };
        let step = look(address).and_then(|word| {
            let owner = word & TID_MASK;
            if owner != 0 && owner != thread.tid {
                // Taken between the end of a robust list and here.
                let taker = sched::find(owner).ok_or(Stopped::Failed(ESRCH))?;
                waits.set_owner(address, &taker);
                return Ok(false);
            }
            replace(address, word, waits.tid(next) | WAITERS | OWNER_DIED)?;
            Ok(true)
        });
        match step {
            Ok(true) => waits.hand_over(next),
            Ok(false) | Err(Stopped::Changed) => {}
            Err(Stopped::Fault(address, access)) => {
                drop(waits);
                if uaccess::page_in_word(address, access).is_err() {
                    abandon(address);
                }
            }
            Err(Stopped::Failed(_)) => {
                drop(waits);
                abandon(address);
            }
        }
    }
}

/// Sends those that wait for a lock away whose word is gone, or means nobody: they look at it themselves.
fn abandon(address: u64) {
    let mut waits = WAITS.lock();
    while let Some(next) = waits.first(address) {
        waits.hand_over(next);
    }
}

impl Waits {
    fn at(&self, address: u64) -> impl Iterator<Item = &Wait> {
        self.0.iter().filter(move |wait| wait.address == address)
    }

    /// Index of the one that is next at an address: the highest priority, and of these the first.
    fn first(&self, address: u64) -> Option<usize> {
        let here = self.0.iter().enumerate().filter(|(_, wait)| wait.address == address);
        here.rev().max_by_key(|(_, wait)| wait.priority).map(|(index, _)| index)
    }

    fn tid(&self, index: usize) -> Tid {
        self.0[index].waiter.thread().tid
    }

    /// Takes a free lock for `thread`; otherwise marks it as waited for and returns its owner.
    fn claim(
        &mut self,
        uaddr: u64,
        thread: &Arc<Thread>,
    ) -> core::result::Result<Option<Arc<Thread>>, Stopped> {
        self.claim_for(uaddr, thread, false)
    }

    /// As [`Self::claim`]; `with_waiters`: others will wait for it at once.
    fn claim_for(
        &mut self,
        uaddr: u64,
        thread: &Arc<Thread>,
        with_waiters: bool,
    ) -> core::result::Result<Option<Arc<Thread>>, Stopped> {
        let word = look(uaddr)?;
        let owner = word & TID_MASK;
        let recorded = self.at(uaddr).next().map(|wait| wait.owner.tid);
        if owner == thread.tid {
            return Err(EDEADLK.into());
        }
        if owner == 0 {
            let waiters = if recorded.is_some() || with_waiters { WAITERS } else { 0 };
            replace(uaddr, word, thread.tid | word & OWNER_DIED | waiters)?;
            self.set_owner(uaddr, thread);
            return Ok(None);
        }
        let owner_thread =
            sched::find(owner).filter(|owner| !owner.exiting.load(Ordering::Relaxed)).ok_or(ESRCH)?;
        if recorded.is_some_and(|recorded| recorded != owner) {
            return Err(EINVAL.into());
        }
        if word & WAITERS == 0 {
            replace(uaddr, word, word | WAITERS)?;
        }
        Ok(Some(owner_thread))
    }

    /// Refuses that `thread` waits for `owner` if `owner` waits, through others perhaps, for `thread`.
    fn check_chain(&self, owner: &Arc<Thread>, thread: &Arc<Thread>) -> core::result::Result<(), Errno> {
        let mut at = owner;
        for _ in 0..DEPTH_MAX {
            if Arc::ptr_eq(at, thread) {
                return Err(EDEADLK);
            }
            match self.0.iter().find(|wait| Arc::ptr_eq(wait.waiter.thread(), at)) {
                Some(wait) => at = &wait.owner,
                None => return Ok(()),
            }
        }
        Err(EDEADLK)
    }

    fn reserve(&mut self, more: usize) -> core::result::Result<(), Errno> {
        self.0.try_reserve(more).map_err(|_| ENOMEM)
    }

    fn push(&mut self, address: u64, waiter: Waiter, owner: &Arc<Thread>) {
        let thread = waiter.thread().clone();
        self.0.push(Wait { address, waiter, owner: owner.clone(), priority: None });
        COUNT.store(self.0.len(), Ordering::Release);
        self.update(thread);
    }

    fn remove(&mut self, index: usize) -> Wait {
        let wait = self.0.remove(index);
        COUNT.store(self.0.len(), Ordering::Release);
        wait
    }

    /// Takes a thread's wait off the list: its owner no longer inherits from it.
    fn remove_waiter(&mut self, waiter: &Waiter) -> Option<()> {
        let index = self.0.iter().position(|wait| wait.waiter.is_same_thread(waiter))?;
        let wait = self.remove(index);
        self.update(wait.owner);
        Some(())
    }

    /// Makes the waiter at `index`, whose number is in the word, the owner, and wakes it.
    fn hand_over(&mut self, index: usize) {
        let wait = self.remove(index);
        self.set_owner(wait.address, wait.waiter.thread());
        self.update(wait.owner);
        sched::wake(&wait.waiter);
    }

    fn set_owner(&mut self, address: u64, owner: &Arc<Thread>) {
        let mut any = false;
        for wait in self.0.iter_mut().filter(|wait| wait.address == address) {
            wait.owner = owner.clone();
            any = true;
        }
        if any {
            self.update(owner.clone());
        }
    }

    /// Has a thread inherit the highest priority of those that wait for it, and passes a change on along the chain.
    fn update(&mut self, mut thread: Arc<Thread>) {
        for _ in 0..DEPTH_MAX {
            let inherited = self
                .0
                .iter()
                .filter(|wait| Arc::ptr_eq(&wait.owner, &thread))
                .filter_map(|w| w.priority)
                .max();
            sched::inherit(&thread, inherited);
            let priority = sched::real_time_priority(&thread);
            let waits_itself = |wait: &&mut Wait| Arc::ptr_eq(wait.waiter.thread(), &thread);
            let Some(wait) = self.0.iter_mut().find(waits_itself) else { return };
            if wait.priority == priority {
                return;
            }
            wait.priority = priority;
            thread = wait.owner.clone();
        }
    }
}
