//! epoll(7).
//!
//! A registration ([`Item`]) stands in its object's list of those who wait. When the object says that an event came, the item
//! goes into the instance's ready list, once, and epoll_wait(2) takes it from there: a step for each event, whatever the number
//! of registered objects. Level-triggered items go back to the list's end as long as the object is ready; edge-triggered ones
//! wait for the object to say so again.
//!
//! Lock order: an object's list, then the ready list, then the list of those who wait for the instance.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::uaccess;
use sync::SpinLock;

use crate::errno::{
    EAGAIN, EBADF, EEXIST, EFAULT, EINTR, EINVAL, ELOOP, ENOENT, ENOMEM, EPERM, ERESTARTSYS, Errno, Result,
};
use crate::fd::{self, Description, File, Stat};
use crate::file::O_CLOEXEC;
use crate::readiness::{Readiness, events};
use crate::signal;

const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const WAKEUP: u32 = 1 << 29;
const EXCLUSIVE: u32 = 1 << 28;
/// What may go with `EXCLUSIVE` (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = events::IN | events::OUT | events::ALWAYS | WAKEUP | EDGE | EXCLUSIVE;
/// Most instances inside each other.
const MAX_NESTED: u32 = 5;
/// Held while an instance goes into another one. Outermost of this file's locks.
static NESTING: SpinLock<()> = SpinLock::new(());
/// Octets of `struct epoll_event`, which is packed on x86_64.
const EVENT_SIZE: u64 = 12;

/// What is asked of an item: events and flags, and the program's word.
#[derive(Clone, Copy)]
struct Interest {
    events: u32,
    data: u64,
}

/// A registration.
pub struct Item {
    instance: Arc<Instance>,
    description: Weak<Description>,
    interest: SpinLock<Interest>,
    /// In the ready list.
    queued: AtomicBool,
}

impl Item {
    /// The object says that these events came. Inside the lock of its list.
    pub(crate) fn notify(self: &Arc<Self>, came: u32) {
        let wanted = self.interest.lock().events;
        // Disarmed after `ONESHOT`: nothing is wanted, not even errors.
        if wanted & !(EDGE | ONESHOT | WAKEUP | EXCLUSIVE) != 0 && (wanted | events::ALWAYS) & came != 0 {
            self.instance.queue(self);
        }
    }

    /// The list of those who wait for the instance.
    pub(crate) fn instance_readiness(&self) -> &Readiness {
        &self.instance.readiness
    }

    /// Whether the registration is of this description.
    pub(crate) fn is_of(&self, description: *const Description) -> bool {
        core::ptr::eq(self.description.as_ptr(), description)
    }

    /// The events that hold now and are wanted, with the program's word.
    fn ready(&self, description: &Description) -> Option<(u32, u64)> {
        let Interest { events: wanted, data } = *self.interest.lock();
        if wanted & !(EDGE | ONESHOT | WAKEUP | EXCLUSIVE) == 0 {
            return None;
        }
        let came = description.file().events() & (wanted | events::ALWAYS);
        (came != 0).then_some((came, data))
    }
}

/// What items need of their instance.
struct Instance {
    /// Room for all items is made when they are added.
    ready: SpinLock<VecDeque<Arc<Item>>>,
    readiness: Readiness,
}

impl Instance {
    fn queue(&self, item: &Arc<Item>) {
        if !item.queued.swap(true, Ordering::AcqRel) {
            self.ready.lock().push_back(item.clone());
            self.readiness.notify(events::IN | events::RDNORM);
        }
    }
}

/// An epoll instance.
pub struct Epoll {
    instance: Arc<Instance>,
    /// By descriptor and description, as Linux keys them.
    items: SpinLock<BTreeMap<(i32, usize), Arc<Item>>>,
    inode: u64,
}

/// epoll_create1(2).
pub fn epoll_create1(flags: i32) -> Result {
    if flags & !O_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let instance = Instance { ready: SpinLock::new(VecDeque::new()), readiness: Readiness::new() };
    let epoll = Epoll {
        instance: Arc::new(instance),
        items: SpinLock::new(BTreeMap::new()),
        inode: fd::next_inode(),
    };
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
    let interest = if op == DEL {
        Interest { events: 0, data: 0 }
    } else {
        let words = uaccess::read::<[u32; 3]>(event)?;
        Interest { events: words[0], data: u64::from(words[2]) << 32 | u64::from(words[1]) }
    };
    let holder = fd::get(epfd)?;
    let target = fd::get(fd)?;
    if target.file().readiness().is_none() {
        return Err(EPERM);
    }
    let epoll = holder.downcast::<Epoll>().ok_or(EINVAL)?;
    if Arc::ptr_eq(&holder, &target) {
        return Err(EINVAL);
    }
    if interest.events & EXCLUSIVE != 0 {
        let nested = target.downcast::<Epoll>().is_some();
        if op == MOD || op == ADD && (nested || interest.events & !WITH_EXCLUSIVE != 0) {
            return Err(EINVAL);
        }
    }
    let key = (fd, Arc::as_ptr(&target) as usize);
    match op {
        ADD => epoll.add(&holder, &target, key, interest),
        MOD => epoll.modify(&target, key, interest),
        DEL => epoll.delete(&target, key),
        _ => Err(EINVAL),
    }
}

impl Epoll {
    fn add(
        &self,
        holder: &Arc<Description>,
        target: &Arc<Description>,
        key: (i32, usize),
        interest: Interest,
    ) -> Result {
        // Whoever puts an instance into another one has looked at all that is around it, and nobody else changes that.
        let mut _nesting = None;
        if let Some(inner) = target.downcast::<Epoll>() {
            _nesting = Some(NESTING.lock());
            let levels = inner.depth(MAX_NESTED) + self.instance.readiness.levels_above(MAX_NESTED);
            if levels >= MAX_NESTED || inner.reaches(holder, MAX_NESTED) {
                return Err(ELOOP);
            }
        }
        let item = Arc::new(Item {
            instance: self.instance.clone(),
            description: Arc::downgrade(target),
            interest: SpinLock::new(interest),
            queued: AtomicBool::new(false),
        });
        {
            let mut items = self.items.lock();
            if items.contains_key(&key) {
                return Err(EEXIST);
            }
            // Registrations of what has been closed go when as many have come since: room for the rest is made here.
            if items.len().is_power_of_two() {
                items.retain(|_, item| item.description.strong_count() > 0);
            }
            let mut ready = self.instance.ready.lock();
            let more = (items.len() + 1).saturating_sub(ready.len());
            ready.try_reserve(more).map_err(|_| ENOMEM)?;
            items.insert(key, item.clone());
        }
        let readiness = target.file().readiness().ok_or(EPERM)?;
        if let Err(error) = readiness.start_epoll(&item) {
            self.items.lock().remove(&key);
            return Err(error);
        }
        self.look(&item, target);
        Ok(0)
    }

    fn find(&self, key: (i32, usize)) -> core::result::Result<Arc<Item>, Errno> {
        self.items.lock().get(&key).cloned().ok_or(ENOENT)
    }

    fn modify(&self, target: &Arc<Description>, key: (i32, usize), interest: Interest) -> Result {
        let item = self.find(key)?;
        let before = core::mem::replace(&mut *item.interest.lock(), interest);
        if before.events & EXCLUSIVE != 0 {
            *item.interest.lock() = before;
            return Err(EINVAL);
        }
        self.look(&item, target);
        Ok(0)
    }

    fn delete(&self, target: &Arc<Description>, key: (i32, usize)) -> Result {
        let item = self.items.lock().remove(&key).ok_or(ENOENT)?;
        item.interest.lock().events = 0;
        if let Some(readiness) = target.file().readiness() {
            readiness.stop_epoll(&item);
        }
        Ok(0)
    }

    /// An item that is new or has changed: it may be ready already.
    fn look(&self, item: &Arc<Item>, target: &Description) {
        if item.ready(target).is_some() {
            self.instance.queue(item);
        }
    }

    /// The instances among the registered objects.
    fn inner(&self) -> Vec<Arc<Description>> {
        let items = self.items.lock();
        let alive = items.values().filter_map(|item| item.description.upgrade());
        alive.filter(|description| description.downcast::<Epoll>().is_some()).collect()
    }

    /// Whether `holder` is this instance's description, or in it.
    fn reaches(&self, holder: &Arc<Description>, depth: u32) -> bool {
        let inner = self.inner();
        depth == 0
            || inner.iter().any(|inner| {
                Arc::ptr_eq(inner, holder)
                    || inner.downcast::<Epoll>().is_some_and(|epoll| epoll.reaches(holder, depth - 1))
            })
    }

    /// How many instances are inside each other, from this one on.
    fn depth(&self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let depths = self.inner().into_iter();
        1 + depths
            .filter_map(|inner| inner.downcast::<Epoll>().map(|epoll| epoll.depth(most - 1)))
            .max()
            .unwrap_or(0)
    }

    /// Takes up to `most` events; `EAGAIN`: there are none.
    fn take(&self, most: usize) -> core::result::Result<Vec<(u32, u64)>, Errno> {
        let mut taken = Vec::new();
        // Each item once: level-triggered ones come back to the end.
        let count = self.instance.ready.lock().len();
        for _ in 0..count {
            if taken.len() == most {
                break;
            }
            let Some(item) = self.instance.ready.lock().pop_front() else { break };
            // Before the look at the object: what comes after it queues the item again.
            item.queued.store(false, Ordering::SeqCst);
            let Some(description) = item.description.upgrade() else { continue };
            let Some(event) = item.ready(&description) else { continue };
            taken.push(event);
            let mut interest = item.interest.lock();
            if interest.events & ONESHOT != 0 {
                interest.events &= EDGE | ONESHOT | WAKEUP | EXCLUSIVE;
            } else if interest.events & EDGE == 0 && !item.queued.swap(true, Ordering::AcqRel) {
                drop(interest);
                self.instance.ready.lock().push_back(item);
            }
        }
        if taken.is_empty() { Err(EAGAIN) } else { Ok(taken) }
    }
}

impl File for Epoll {
    fn events(&self) -> u32 {
        let ready: Vec<_> = self.instance.ready.lock().iter().cloned().collect();
        let any = ready.iter().any(|item| {
            item.description.upgrade().is_some_and(|description| item.ready(&description).is_some())
        });
        if any { events::IN | events::RDNORM } else { 0 }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.instance.readiness)
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, inode: self.inode, size: 0, device: 0 }
    }

    fn close(&self) {
        let items = core::mem::take(&mut *self.items.lock());
        for item in items.values() {
            if let Some(description) = item.description.upgrade()
                && let Some(readiness) = description.file().readiness()
            {
                readiness.stop_epoll(item);
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
    let taken = epoll.instance.readiness.block_on(events::IN, nonblocking, deadline, || epoll.take(most));
    let taken = match taken {
        Ok(taken) => taken,
        Err(EAGAIN) => return Ok(0),
        // Never made again, even with SA_RESTART (signal(7)).
        Err(ERESTARTSYS) => return Err(EINTR),
        Err(error) => return Err(error),
    };
    for (i, (came, data)) in taken.iter().enumerate() {
        let words = [*came, *data as u32, (*data >> 32) as u32];
        uaccess::write(out + i as u64 * EVENT_SIZE, words)?;
    }
    Ok(taken.len() as u64)
}
