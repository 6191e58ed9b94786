//! epoll(7).
//!
//! A registration ([`Item`]) stands in its object's list of those who wait. When the object says that an event came, the item
//! goes into the instance's ready list, once, and epoll_wait(2) takes it from there: a step for each event, whatever the number
//! of registered objects. Level-triggered items go back to the list's end as long as the object is ready; edge-triggered ones
//! wait for the object to say so again.
//!
//! Lock order: the nesting, an instance's items, an object's list, then the ready list, an item's interest, then the list of those
//! who wait for the instance. Of these only the nesting may be held when a description is let go: the last one closes its object.

mod items;

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::uaccess;
use sync::SpinLock;

use self::items::Items;
use crate::errno::{
    EAGAIN, EBADF, EEXIST, EFAULT, EINTR, EINVAL, ELOOP, ENOENT, ENOMEM, EPERM, ERESTARTSYS, Errno, Result,
};
use crate::fd::{self, Description, File, Stat};
use crate::file::O_CLOEXEC;
use crate::readiness::{Observer, Readiness, events};
use crate::signal;

type Outcome<T> = core::result::Result<T, Errno>;

const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const WAKEUP: u32 = 1 << 29;
const EXCLUSIVE: u32 = 1 << 28;
/// What is no event (`EP_PRIVATE_BITS` of Linux).
const FLAGS: u32 = EDGE | ONESHOT | WAKEUP | EXCLUSIVE;
/// What may go with `EXCLUSIVE` (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = events::IN | events::OUT | events::ALWAYS | WAKEUP | EDGE | EXCLUSIVE;
/// Most instances inside each other.
const MAX_NESTED: u32 = 5;
/// Most steps from instance to instance that are made before one goes into another. (Linux bounds the ways that a wake-up goes.)
const MAX_STEPS: u32 = 1000;
/// Held while an instance goes into another one. Outermost of this file's locks.
static NESTING: SpinLock<()> = SpinLock::new(());
/// Octets of `struct epoll_event`, which is packed on x86_64.
const EVENT_SIZE: u64 = 12;

/// What is asked of an item: events and flags, and the program's word.
#[derive(Clone, Copy)]
struct Interest {
    /// Without events: disarmed after `ONESHOT`. 0: deleted.
    events: u32,
    data: u64,
    /// Counts changes: who looked at the object before one has to look again.
    version: u32,
}

impl Interest {
    /// Asked for by the program: errors and ends are always reported.
    fn new(events: u32, data: u64) -> Self {
        Self { events: events | events::ALWAYS, data, version: 0 }
    }

    fn change(&mut self, events: u32, data: u64) {
        *self = Self { events, data, version: self.version.wrapping_add(1) };
    }
}

/// A registration.
pub struct Item {
    /// Itself.
    this: Weak<Item>,
    instance: Arc<Instance>,
    fd: usize,
    description: Weak<Description>,
    /// The object is an instance, too.
    nested: bool,
    interest: SpinLock<Interest>,
    /// In the ready list.
    queued: AtomicBool,
}

impl Observer for Item {
    fn notify(&self, came: u32) -> bool {
        let wanted = self.interest.lock().events & !FLAGS;
        wanted & came != 0 && self.instance.queue(self)
    }

    fn is_exclusive(&self) -> bool {
        self.interest.lock().events & EXCLUSIVE != 0
    }

    fn readiness(&self) -> &Readiness {
        &self.instance.readiness
    }

    fn is_of(&self, description: *const Description) -> bool {
        core::ptr::eq(self.description.as_ptr(), description)
    }

    fn forget(&self) {
        let removed = self.instance.items.lock().remove(self.fd, |item| core::ptr::eq(item, self));
        self.interest.lock().change(0, 0);
        drop(removed);
    }
}

impl Item {
    fn is_deleted(&self) -> bool {
        self.interest.lock().events == 0
    }

    /// Whether events hold now that are wanted.
    fn is_ready(&self) -> bool {
        let wanted = self.interest.lock().events & !FLAGS;
        wanted != 0
            && self.description.upgrade().is_some_and(|description| description.file().events() & wanted != 0)
    }

    /// Writes the events that hold now and are wanted to `out`, and takes them: of several threads that look at a `ONESHOT` item
    /// at once, one does. Returns its flags; `None`: there are none.
    ///
    /// # Errors
    /// `EFAULT`; nothing was taken.
    fn take(&self, out: u64) -> Outcome<Option<u32>> {
        let Some(description) = self.description.upgrade() else { return Ok(None) };
        loop {
            let Interest { events: wanted, data, version } = *self.interest.lock();
            // Without the lock: an object may notify with its own locks held.
            let came = description.file().events() & wanted & !FLAGS;
            if came == 0 {
                return Ok(None);
            }
            uaccess::write(out, [came, data as u32, (data >> 32) as u32])?;
            let mut interest = self.interest.lock();
            if interest.version == version {
                if wanted & ONESHOT != 0 {
                    interest.change(wanted & FLAGS, data);
                }
                return Ok(Some(wanted & FLAGS));
            }
        }
    }
}

/// What items need of their instance.
struct Instance {
    items: SpinLock<Items>,
    /// Items that may be ready. Room for twice as many as are registered is made when they are added.
    ready: SpinLock<VecDeque<Arc<Item>>>,
    readiness: Readiness,
}

impl Instance {
    /// Puts an item into the ready list unless it is there, and wakes who waits. Returns whether somebody did.
    fn queue(&self, item: &Item) -> bool {
        self.put(item) && self.readiness.notify(events::IN | events::RDNORM)
    }

    /// Puts an item at the end of the ready list; false if it is there already.
    fn put(&self, item: &Item) -> bool {
        if item.queued.swap(true, Ordering::AcqRel) {
            return false;
        }
        // Who calls this holds it.
        let Some(item) = item.this.upgrade() else { return false };
        let mut ready = self.ready.lock();
        if ready.len() == ready.capacity() {
            // Half of them at least were deleted since they came.
            ready.retain(|item| !item.is_deleted());
        }
        ready.push_back(item);
        true
    }

    /// Takes the first item off the ready list.
    fn next(&self) -> Option<Arc<Item>> {
        let item = self.ready.lock().pop_front()?;
        // Before the look at the object: what comes after it queues the item again.
        item.queued.store(false, Ordering::SeqCst);
        Some(item)
    }
}

/// An epoll instance.
pub struct Epoll {
    instance: Arc<Instance>,
    inode: u64,
}

/// epoll_create1(2).
pub fn epoll_create1(flags: i32) -> Result {
    if flags & !O_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let instance = Instance {
        items: SpinLock::new(Items::new()),
        ready: SpinLock::new(VecDeque::new()),
        readiness: Readiness::new(),
    };
    let epoll = Epoll { instance: Arc::new(instance), inode: fd::next_inode() };
    fd::install(Description::new(Arc::new(epoll), false), flags & O_CLOEXEC != 0, 0)
}

/// epoll_create(2): the size is a hint of old.
pub fn epoll_create(size: i32) -> Result {
    if size <= 0 { Err(EINVAL) } else { epoll_create1(0) }
}

/// epoll_ctl(2).
pub fn epoll_ctl(epfd: i32, op: i32, fd: i32, event: u64) -> Result {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    const MOD: i32 = 3;
    let (asked, data) = if op == DEL {
        (0, 0)
    } else {
        let words = uaccess::read::<[u32; 3]>(event)?;
        (words[0], u64::from(words[2]) << 32 | u64::from(words[1]))
    };
    let holder = fd::get(epfd)?;
    let target = fd::get(fd)?;
    let object = target.file().readiness().ok_or(EPERM)?;
    let epoll = holder.downcast::<Epoll>().ok_or(EINVAL)?;
    if Arc::ptr_eq(&holder, &target) {
        return Err(EINVAL);
    }
    if asked & EXCLUSIVE != 0 {
        let nested = target.downcast::<Epoll>().is_some();
        if op == MOD || op == ADD && (nested || asked & !WITH_EXCLUSIVE != 0) {
            return Err(EINVAL);
        }
    }
    // It was found in the table: not negative.
    let fd = fd as usize;
    match op {
        ADD => epoll.add(&holder, fd, &target, object, Interest::new(asked, data)),
        MOD => epoll.modify(fd, &target, Interest::new(asked, data)),
        DEL => epoll.delete(fd, &target, object),
        _ => Err(EINVAL),
    }
}

impl Epoll {
    fn add(
        &self,
        holder: &Arc<Description>,
        fd: usize,
        target: &Arc<Description>,
        object: &Readiness,
        interest: Interest,
    ) -> Result {
        // Whoever puts an instance into another one has looked at all that is around it, and nobody else changes that.
        let mut _nesting = None;
        let inner = target.downcast::<Epoll>();
        if let Some(inner) = inner {
            _nesting = Some(NESTING.lock());
            let mut steps = MAX_STEPS;
            let levels = inner.levels(holder, MAX_NESTED, &mut steps)?
                + self.instance.readiness.levels_above(MAX_NESTED, &mut steps)?;
            if levels >= MAX_NESTED {
                return Err(ELOOP);
            }
        }
        let item = Arc::new_cyclic(|this| Item {
            this: this.clone(),
            instance: self.instance.clone(),
            fd,
            description: Arc::downgrade(target),
            nested: inner.is_some(),
            interest: SpinLock::new(interest),
            queued: AtomicBool::new(false),
        });
        {
            // Who deletes it finds it in both lists or in none.
            let mut items = self.instance.items.lock();
            if items.get(fd, Arc::as_ptr(target)).is_some() {
                return Err(EEXIST);
            }
            items.reserve(fd)?;
            let room = 2 * (items.len() + 1);
            let mut ready = self.instance.ready.lock();
            let more = room.saturating_sub(ready.len());
            ready.try_reserve(more).map_err(|_| ENOMEM)?;
            drop(ready);
            object.start_observing(item.clone())?;
            items.insert(item.clone());
        }
        self.look(&item);
        Ok(0)
    }

    fn modify(&self, fd: usize, target: &Arc<Description>, interest: Interest) -> Result {
        let item = {
            let items = self.instance.items.lock();
            let item = items.get(fd, Arc::as_ptr(target)).ok_or(ENOENT)?;
            let mut before = item.interest.lock();
            if before.events & EXCLUSIVE != 0 {
                return Err(EINVAL);
            }
            before.change(interest.events, interest.data);
            item.clone()
        };
        self.look(&item);
        Ok(0)
    }

    fn delete(&self, fd: usize, target: &Arc<Description>, object: &Readiness) -> Result {
        let item = {
            let mut items = self.instance.items.lock();
            let item = items.remove(fd, |item| item.is_of(Arc::as_ptr(target))).ok_or(ENOENT)?;
            item.interest.lock().change(0, 0);
            object.stop_observing(&*item);
            item
        };
        drop(item);
        Ok(0)
    }

    /// An item that is new or has changed: it may be ready already.
    fn look(&self, item: &Arc<Item>) {
        if item.is_ready() {
            self.instance.queue(item);
        }
    }

    /// How many instances are inside each other, from this one on: `most` at most.
    ///
    /// # Errors
    /// `ELOOP`: there are more, or `holder`'s is one of them. `EINVAL`: so many that they are not looked at. `ENOMEM`.
    fn levels(&self, holder: &Arc<Description>, most: u32, steps: &mut u32) -> Outcome<u32> {
        let most = most.checked_sub(1).ok_or(ELOOP)?;
        let mut deepest = 0;
        for inner in self.inner()? {
            *steps = steps.checked_sub(1).ok_or(EINVAL)?;
            if Arc::ptr_eq(&inner, holder) {
                return Err(ELOOP);
            }
            if let Some(inner) = inner.downcast::<Epoll>() {
                deepest = deepest.max(inner.levels(holder, most, steps)?);
            }
        }
        Ok(1 + deepest)
    }

    /// The instances among the registered objects.
    fn inner(&self) -> Outcome<Vec<Arc<Description>>> {
        let items = self.instance.items.lock();
        let nested = || items.iter().filter(|item| item.nested);
        let mut inner = Vec::new();
        inner.try_reserve_exact(nested().count()).map_err(|_| ENOMEM)?;
        inner.extend(nested().filter_map(|item| item.description.upgrade()));
        Ok(inner)
    }

    /// Writes up to `most` events to `out`; returns how many.
    ///
    /// # Errors
    /// `EAGAIN`: there are none; `EFAULT`.
    fn take(&self, out: u64, most: usize) -> Outcome<usize> {
        let (mut taken, mut stay_ready, mut fault) = (0, false, None);
        // Each item once: level-triggered ones come back to the end.
        let count = self.instance.ready.lock().len();
        for _ in 0..count {
            if taken == most {
                break;
            }
            let Some(item) = self.instance.next() else { break };
            match item.take(out + taken as u64 * EVENT_SIZE) {
                Ok(None) => {}
                Ok(Some(flags)) => {
                    taken += 1;
                    stay_ready |= flags & (ONESHOT | EDGE) == 0 && self.instance.put(&item);
                }
                Err(error) => {
                    self.instance.queue(&item);
                    fault = Some(error);
                    break;
                }
            }
        }
        if stay_ready {
            // For others, who may have looked while the items were not in the list.
            self.instance.readiness.notify(events::IN | events::RDNORM);
        }
        match (taken, fault) {
            (0, fault) => Err(fault.unwrap_or(EAGAIN)),
            (taken, _) => Ok(taken),
        }
    }
}

impl File for Epoll {
    fn events(&self) -> u32 {
        let count = self.instance.ready.lock().len();
        for _ in 0..count {
            let Some(first) = self.instance.ready.lock().front().cloned() else { break };
            if first.is_ready() {
                return events::IN | events::RDNORM;
            }
            if let Some(item) = self.instance.next() {
                self.look(&item);
            }
        }
        0
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.instance.readiness)
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, inode: self.inode, size: 0, device: 0 }
    }

    fn close(&self) {
        let items = core::mem::replace(&mut *self.instance.items.lock(), Items::new());
        for item in items.iter() {
            if let Some(description) = item.description.upgrade()
                && let Some(readiness) = description.file().readiness()
            {
                readiness.stop_observing(&**item);
            }
        }
        // Items refer to the instance, and its list to them.
        let ready = core::mem::take(&mut *self.instance.ready.lock());
        drop((items, ready));
    }
}

/// epoll_wait(2).
pub fn epoll_wait(epfd: i32, out: u64, most: i32, timeout: i32) -> Result {
    let deadline = u64::try_from(timeout).ok().map(|ms| kernel::time::now_ns() + ms * 1_000_000);
    wait(epfd, out, most, timeout == 0, deadline)
}

/// epoll_pwait(2).
pub fn epoll_pwait(epfd: i32, out: u64, most: i32, timeout: i32, mask: u64, size: usize) -> Result {
    signal::with_mask(mask, size, || epoll_wait(epfd, out, most, timeout))
}

/// epoll_pwait2(2).
pub fn epoll_pwait2(epfd: i32, out: u64, most: i32, timeout: u64, mask: u64, size: usize) -> Result {
    let (nonblocking, deadline) = match timeout {
        0 => (false, None),
        timeout => {
            let span = crate::time::read_timespec(timeout)?;
            (span == 0, Some(kernel::time::now_ns().saturating_add(span)))
        }
    };
    signal::with_mask(mask, size, || wait(epfd, out, most, nonblocking, deadline))
}

fn wait(epfd: i32, out: u64, most: i32, nonblocking: bool, deadline: Option<u64>) -> Result {
    const MAX_EVENTS: i32 = i32::MAX / EVENT_SIZE as i32;
    if !(1..=MAX_EVENTS).contains(&most) {
        return Err(EINVAL);
    }
    let most = most as usize;
    uaccess::check_range(out, most as u64 * EVENT_SIZE).map_err(|_| EFAULT)?;
    let description = fd::get(epfd).map_err(|_| EBADF)?;
    let epoll = description.downcast::<Epoll>().ok_or(EINVAL)?;
    let taken =
        epoll.instance.readiness.block_on(events::IN, nonblocking, deadline, || epoll.take(out, most));
    match taken {
        Ok(taken) => Ok(taken as u64),
        Err(EAGAIN) => Ok(0),
        // Never made again, even with SA_RESTART (signal(7)).
        Err(ERESTARTSYS) => Err(EINTR),
        Err(error) => Err(error),
    }
}
