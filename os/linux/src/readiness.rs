//! [`Readiness`]: who waits for an object, and how they learn that it changed.
//!
//! Blocked threads, poll(2) and epoll(7) stand in the same list. An object that becomes readable, writable or broken calls
//! [`Readiness::notify`] once, after the change; who waits registers first and looks at the object after, so that nothing is
//! missed. The work of a notification is a step for each that waits for this object, whatever else there is.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel::sched::{self, Waiter, Wake};
use sync::SpinLock;

use crate::errno::{EAGAIN, EINVAL, ELOOP, ENOMEM, ERESTARTSYS, Errno};
use crate::fd::Description;

/// Events as in poll(2).
pub mod events {
    /// There is something to read, or to accept, or the end.
    pub const IN: u32 = 0x1;
    /// There is urgent data.
    pub const PRI: u32 = 0x2;
    /// There is room to write.
    pub const OUT: u32 = 0x4;
    /// The object is broken; always reported.
    pub const ERR: u32 = 0x8;
    /// Both directions have ended; always reported.
    pub const HUP: u32 = 0x10;
    /// The descriptor is not open.
    pub const NVAL: u32 = 0x20;
    /// `IN` for ordinary data.
    pub const RDNORM: u32 = 0x40;
    /// `OUT` for ordinary data.
    pub const WRNORM: u32 = 0x100;
    /// The other side has ended its direction.
    pub const RDHUP: u32 = 0x2000;
    /// Reported whether asked for or not.
    pub const ALWAYS: u32 = ERR | HUP;
}

/// A registration that outlives a call: epoll(7)'s.
pub(crate) trait Observer: Send + Sync {
    /// The object says that these events came. Inside the lock of its list. Returns whether somebody woke who waited.
    fn notify(&self, came: u32) -> bool;

    /// Whether one of its kind is enough to be told (`EPOLLEXCLUSIVE`).
    fn is_exclusive(&self) -> bool;

    /// The list of those who wait for whoever observes.
    fn readiness(&self) -> &Readiness;

    /// Whether the registration is of this description.
    fn is_of(&self, description: *const Description) -> bool;

    /// The description is gone, and the registration is out of the object's list. Outside of all locks.
    fn forget(&self);
}

enum Registered {
    /// A thread in a blocking call or in poll(2), and the events it waits for. All are woken: one may take only a part of what
    /// came.
    Thread(Waiter, u32),
    /// A thread that takes all of what it is woken for, such as a connection: one of these is woken, unless it is an end or an error,
    /// which is for everybody.
    Taker(Waiter, u32),
    /// An epoll instance: all are told, but of those that are exclusive one that wakes somebody.
    Observer(Arc<dyn Observer>),
}

impl Registered {
    fn is_thread(&self, waiter: &Waiter) -> bool {
        matches!(self, Self::Thread(other, _) | Self::Taker(other, _) if other.is_same_thread(waiter))
    }
}

/// The list of those who wait for one object.
pub struct Readiness {
    registered: SpinLock<Vec<Registered>>,
    /// Length of the list, to be looked at without its lock.
    count: AtomicUsize,
}

impl Readiness {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { registered: SpinLock::new(Vec::new()), count: AtomicUsize::new(0) }
    }

    fn add(&self, entry: Registered) -> Result<(), Errno> {
        let mut registered = self.registered.lock();
        registered.try_reserve(1).map_err(|_| ENOMEM)?;
        registered.push(entry);
        self.count.store(registered.len(), Ordering::SeqCst);
        Ok(())
    }

    fn remove(&self, is: impl Fn(&Registered) -> bool) {
        let mut registered = self.registered.lock();
        // Dropped when the lock is open.
        let removed = registered.iter().position(is).map(|at| registered.remove(at));
        self.count.store(registered.len(), Ordering::SeqCst);
        drop(registered);
        drop(removed);
    }

    /// Registers a poll(2) for events; [`Self::stop_polling`] ends it.
    pub fn start_polling(&self, waiter: &Waiter, events: u32) -> Result<(), Errno> {
        self.add(Registered::Thread(waiter.clone(), events | events::ALWAYS))
    }

    /// Takes the thread's registration back.
    pub fn stop_polling(&self, waiter: &Waiter) {
        self.remove(|entry| entry.is_thread(waiter));
    }

    pub(crate) fn start_observing(&self, item: Arc<dyn Observer>) -> Result<(), Errno> {
        self.add(Registered::Observer(item))
    }

    /// How many epoll instances are around the object, one inside the other: `most` at most.
    ///
    /// # Errors
    /// `ELOOP`: there are more. `EINVAL`: so many that `steps` do not do.
    pub(crate) fn levels_above(&self, most: u32, steps: &mut u32) -> Result<u32, Errno> {
        let mut above = 0;
        for entry in self.registered.lock().iter() {
            if let Registered::Observer(item) = entry {
                let most = most.checked_sub(1).ok_or(ELOOP)?;
                *steps = steps.checked_sub(1).ok_or(EINVAL)?;
                above = above.max(1 + item.readiness().levels_above(most, steps)?);
            }
        }
        Ok(above)
    }

    pub(crate) fn stop_observing(&self, item: &dyn Observer) {
        self.remove(|entry| matches!(entry, Registered::Observer(other) if core::ptr::addr_eq(Arc::as_ptr(other), item)));
    }

    /// A description of the object is gone, and with it its registrations.
    pub(crate) fn forget_observers(&self, description: *const Description) {
        while self.count.load(Ordering::SeqCst) > 0 {
            let mut registered = self.registered.lock();
            let of_it =
                |entry: &Registered| matches!(entry, Registered::Observer(item) if item.is_of(description));
            let Some(at) = registered.iter().position(of_it) else { return };
            let removed = registered.swap_remove(at);
            self.count.store(registered.len(), Ordering::SeqCst);
            drop(registered);
            if let Registered::Observer(item) = removed {
                item.forget();
            }
        }
    }

    /// The object has changed: these events may hold now that did not, or hold anew (edges are counted by calls).
    ///
    /// In a kernel section; takes no lock but this list's and those of the epoll instances in it. Returns whether somebody woke.
    pub fn notify(&self, events: u32) -> bool {
        // Paired with `add`: either we see the entry, or who added it sees the change that was made before this.
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let for_all = events & events::ALWAYS != 0;
        let (mut any, mut one) = (false, false);
        for entry in self.registered.lock().iter() {
            let is_alone = match entry {
                Registered::Thread(..) => false,
                Registered::Taker(..) => true,
                Registered::Observer(item) => item.is_exclusive(),
            };
            if is_alone && one && !for_all {
                continue;
            }
            let is_woken = match entry {
                Registered::Thread(waiter, wanted) | Registered::Taker(waiter, wanted) => {
                    wanted & events != 0 && sched::wake(waiter)
                }
                Registered::Observer(item) => item.notify(events),
            };
            any |= is_woken;
            one |= is_woken && is_alone;
        }
        any
    }

    /// Repeats `attempt` until it gives something else than `EAGAIN`, waiting for `events` in between, at most until the
    /// deadline. `nonblocking`: once.
    ///
    /// # Errors
    /// What `attempt` gives; `ERESTARTSYS`: a signal came; `EAGAIN`: the deadline.
    pub fn block_on<T>(
        &self,
        events: u32,
        nonblocking: bool,
        deadline: Option<u64>,
        attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.block(Registered::Thread, events, nonblocking, deadline, attempt)
    }

    /// As [`Self::block_on`], for an attempt that takes all of what one notification is about, such as a connection: of those who
    /// wait so, each notification wakes one.
    ///
    /// # Errors
    /// As [`Self::block_on`].
    pub fn take_on<T>(
        &self,
        events: u32,
        nonblocking: bool,
        deadline: Option<u64>,
        attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.block(Registered::Taker, events, nonblocking, deadline, attempt)
    }

    fn block<T>(
        &self,
        kind: fn(Waiter, u32) -> Registered,
        events: u32,
        nonblocking: bool,
        deadline: Option<u64>,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        loop {
            match attempt() {
                Err(EAGAIN) if !nonblocking => {}
                result => return result,
            }
            let waiter = sched::prepare_wait();
            if let Err(error) = self.add(kind(waiter.clone(), events | events::ALWAYS)) {
                sched::cancel_wait(&waiter);
                return Err(error);
            }
            // The second look: a change before we were in the list is seen here, one after it ends the wait.
            let second = attempt();
            if !matches!(second, Err(EAGAIN)) {
                let is_chosen = !sched::cancel_wait(&waiter);
                self.stop_polling(&waiter);
                // It was woken for what another one is to take now.
                if is_chosen && matches!(kind(waiter, 0), Registered::Taker(..)) {
                    self.notify(events);
                }
                return second;
            }
            let wake = sched::wait(deadline);
            self.stop_polling(&waiter);
            match wake {
                Wake::Woken => {}
                Wake::Deadline => return attempt(),
                Wake::Notified => return Err(ERESTARTSYS),
            }
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}
