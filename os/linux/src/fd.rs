//! File descriptors: numbers for open file descriptions, which stand for objects ([`File`]).

mod numbers;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};

use sync::SpinLock;

use self::numbers::Numbers;
use crate::buffers::UserBuffers;
use crate::errno::{EBADF, EBUSY, EINVAL, EMFILE, ENOTTY, ESPIPE, Errno, Result};
use crate::files::opened::{OpenPath, Place};
use crate::files::{self, Node};
use crate::limits;
use crate::readiness::Readiness;
use crate::socket::Socket;

type Outcome<T> = core::result::Result<T, Errno>;

/// What fstat(2) tells of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stat {
    /// Kind and permissions.
    pub mode: u32,
    /// Tells objects apart.
    pub inode: u64,
    /// Octets.
    pub size: u64,
    /// Device number, of a device file.
    pub device: u64,
}

/// An object behind a descriptor. Methods run in a kernel section; those that may have to wait do so only if
/// `nonblocking` is false, and otherwise return `EAGAIN`.
pub trait File: Any + Send + Sync {
    /// read(2): moves octets to the program; 0 is the end.
    fn read(&self, _to: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        Err(EINVAL)
    }

    /// write(2): takes octets from the program.
    fn write(&self, _from: &mut UserBuffers, _nonblocking: bool) -> Outcome<usize> {
        Err(EINVAL)
    }

    /// The events that hold now (poll(2)).
    fn events(&self) -> u32;

    /// Where to wait for events. `None`: the events never change.
    fn readiness(&self) -> Option<&Readiness>;

    /// lseek(2).
    fn seek(&self, _offset: i64, _whence: i32) -> Result {
        Err(ESPIPE)
    }

    /// fstat(2), of an object without a node.
    fn stat(&self) -> Stat;

    /// What it was opened by, if that was a path.
    fn node(&self) -> Option<&Arc<Node>> {
        None
    }

    /// Where it was found, if it is something with a name.
    fn place(&self) -> Option<&Place> {
        None
    }

    /// ioctl(2), but for what concerns all descriptors.
    fn ioctl(&self, _op: u32, _arg: u64) -> Result {
        Err(ENOTTY)
    }

    /// fcntl(2), but for what concerns all descriptors. `None`: it is nothing of this object's.
    fn fcntl(&self, _op: i32, _arg: u64) -> Option<Result> {
        None
    }

    /// The last descriptor of its description was closed.
    fn close(&self) {}

    /// The object as a socket, if it is one.
    fn as_socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// `fcntl(F_GETFL)`: how it was opened, without the status flags.
    fn access_mode(&self) -> u32 {
        2
    }
}

/// An open file description: what descriptors share after dup(2).
pub struct Description {
    file: Arc<dyn File>,
    nonblocking: AtomicBool,
}

impl Description {
    /// A description of an object.
    pub fn new(file: Arc<dyn File>, nonblocking: bool) -> Arc<Self> {
        Arc::new(Self { file, nonblocking: AtomicBool::new(nonblocking) })
    }

    /// The object.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The object as one of a kind. `None`: it is another kind.
    pub fn downcast<T: File>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.file;
        any.downcast_ref()
    }

    /// Whether it stands for a path alone (`O_PATH`).
    pub fn is_path(&self) -> bool {
        self.downcast::<OpenPath>().is_some()
    }

    /// Whether it was opened for reading.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_readable(&self) -> Outcome<()> {
        if matches!(self.file.access_mode() & 3, 0 | 2) { Ok(()) } else { Err(EBADF) }
    }

    /// Whether it was opened for writing.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_writable(&self) -> Outcome<()> {
        if matches!(self.file.access_mode() & 3, 1 | 2) { Ok(()) } else { Err(EBADF) }
    }

    /// `O_NONBLOCK`.
    pub fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Sets `O_NONBLOCK`.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if let Some(readiness) = self.file.readiness() {
            readiness.forget_observers(self);
        }
        if let Some(files) = files::operations() {
            (files.forget)(self);
        }
        self.file.close();
    }
}

#[derive(Clone)]
struct Slot {
    description: Arc<Description>,
    close_on_exec: bool,
}

/// Most descriptors there may be, whatever `RLIMIT_NOFILE` says.
pub const MAX: usize = 1 << 20;

/// A number that is taken and has no description is [`Reserved`].
struct Table {
    slots: Vec<Option<Slot>>,
    numbers: Numbers,
}

static TABLE: SpinLock<Table> = SpinLock::new(Table { slots: Vec::new(), numbers: Numbers::new() });

impl Table {
    fn get(&self, fd: i32) -> Outcome<&Slot> {
        usize::try_from(fd).ok().and_then(|fd| self.slots.get(fd)?.as_ref()).ok_or(EBADF)
    }

    /// Makes room for a number.
    fn reserve(&mut self, number: usize) -> Outcome<()> {
        if number >= MAX || number as u64 >= limits::files() {
            return Err(EMFILE);
        }
        if let Some(more) = (number + 1).checked_sub(self.slots.len()) {
            self.slots.try_reserve(more).map_err(|_| EMFILE)?;
            self.slots.resize(number + 1, None);
        }
        self.numbers.reserve(number)
    }
}

/// A descriptor number that nobody else gets, and behind which nothing is yet. Given back when dropped.
pub struct Reserved(usize);

/// Reserves the lowest free number from `from` on.
///
/// # Errors
/// `EMFILE`.
pub fn reserve(from: usize) -> Outcome<Reserved> {
    let mut table = TABLE.lock();
    let number = table.numbers.first_free(from);
    table.reserve(number)?;
    table.numbers.take(number);
    Ok(Reserved(number))
}

impl Reserved {
    /// The number.
    pub fn number(&self) -> i32 {
        self.0 as i32
    }

    /// Puts a description behind the number, which is returned.
    pub fn install(self, description: Arc<Description>, close_on_exec: bool) -> u64 {
        let number = self.0;
        core::mem::forget(self);
        let mut slot = Some(Slot { description, close_on_exec });
        // As the program ends there is no table any more; the description is dropped when the lock is open, then.
        if let Some(place) = TABLE.lock().slots.get_mut(number) {
            core::mem::swap(place, &mut slot);
        }
        number as u64
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        TABLE.lock().numbers.give_back(self.0);
    }
}

/// The description behind a descriptor.
///
/// # Errors
/// `EBADF`.
pub fn get(fd: i32) -> Outcome<Arc<Description>> {
    TABLE.lock().get(fd).map(|slot| slot.description.clone())
}

/// The description behind a descriptor, of more than a path.
///
/// # Errors
/// `EBADF`.
pub fn get_open(fd: i32) -> Outcome<Arc<Description>> {
    get(fd).and_then(|description| if description.is_path() { Err(EBADF) } else { Ok(description) })
}

/// Gives a description the lowest free number from `from` on.
///
/// # Errors
/// `EMFILE`.
pub fn install(description: Arc<Description>, close_on_exec: bool, from: usize) -> Result {
    Ok(reserve(from)?.install(description, close_on_exec))
}

/// Gives a description this number; returns the one that had it, for the caller to drop.
///
/// # Errors
/// `EMFILE`; `EBUSY`: the number is [`Reserved`].
pub fn replace(
    fd: usize,
    description: &Arc<Description>,
    close_on_exec: bool,
) -> Outcome<Option<Arc<Description>>> {
    let mut table = TABLE.lock();
    table.reserve(fd)?;
    if table.slots[fd].is_none() {
        if table.numbers.first_free(fd) != fd {
            return Err(EBUSY);
        }
        table.numbers.take(fd);
    }
    let slot = Slot { description: description.clone(), close_on_exec };
    Ok(table.slots[fd].replace(slot).map(|before| before.description))
}

/// Takes a number away; the description goes with the last one.
///
/// # Errors
/// `EBADF`.
pub fn remove(fd: i32) -> Outcome<Arc<Description>> {
    let mut table = TABLE.lock();
    table.get(fd)?;
    let number = fd as usize;
    let slot = table.slots[number].take();
    table.numbers.give_back(number);
    slot.map(|slot| slot.description).ok_or(EBADF)
}

/// The program ends.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether descriptors are closed because the program ends, so that no close waits.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Closes all descriptors, as the program ends.
pub(crate) fn close_all() {
    ENDING.store(true, Ordering::Relaxed);
    // Dropped one by one when the lock is open: a close may take other locks.
    let all = core::mem::take(&mut TABLE.lock().slots);
    drop(all);
}

/// One more than the highest descriptor there ever was.
pub(crate) fn table_len() -> usize {
    TABLE.lock().slots.len()
}

/// `FD_CLOEXEC`.
///
/// # Errors
/// `EBADF`.
pub fn close_on_exec(fd: i32) -> Outcome<bool> {
    TABLE.lock().get(fd).map(|slot| slot.close_on_exec)
}

/// Sets `FD_CLOEXEC`.
///
/// # Errors
/// `EBADF`.
pub fn set_close_on_exec(fd: i32, close_on_exec: bool) -> Outcome<()> {
    let mut table = TABLE.lock();
    let slot = usize::try_from(fd).ok().and_then(|fd| table.slots.get_mut(fd)?.as_mut()).ok_or(EBADF)?;
    slot.close_on_exec = close_on_exec;
    Ok(())
}

/// A number for objects without a file (`st_ino`).
pub fn next_inode() -> u64 {
    use core::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
