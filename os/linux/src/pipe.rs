//! pipe(2): octets in one end, out of the other (pipe(7)); with a name, fifo(7).

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use kernel::mm::pages::Promise;
use kernel::uaccess;
use sync::SpinLock;

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, EBADF, EBUSY, EINVAL, ENOMEM, ENOTTY, ENXIO, EPERM, EPIPE, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::files::Node;
use crate::files::open::{O_ACCMODE, O_RDWR, O_WRONLY};
use crate::files::opened::Place;
use crate::pace::Pace;
use crate::readiness::{Readiness, events};
use crate::signal;

/// Octets that are written in one piece (`PIPE_BUF`).
const PIPE_BUF: usize = 4096;
/// Octets that a pipe holds, unless it is told otherwise.
const CAPACITY: usize = 16 * PIPE_BUF;
/// Most octets that it can be told to hold (`/proc/sys/fs/pipe-max-size`).
const CAPACITY_MAX: usize = 1 << 20;
/// Says how much a pipe shall hold (fcntl(2)).
pub const SETPIPE_SZ: i32 = 1031;
/// Asks how much a pipe holds.
pub const GETPIPE_SZ: i32 = 1032;
/// Octets that are read at once.
const STEP: usize = 1024;

type Outcome<T> = core::result::Result<T, Errno>;

/// A pipe. It is there as long as one of its ends is.
pub struct Pipe {
    state: SpinLock<State>,
    /// Who waits for octets, who for room, and who, opening a pipe with a name, for the other end.
    filled: Readiness,
    emptied: Readiness,
    opened: Readiness,
    inode: u64,
}

struct State {
    octets: VecDeque<u8>,
    /// For the memory of `octets`.
    memory: Promise,
    capacity: usize,
    /// Ends that read and that write; those that do both are counted in both, and once more.
    readers: u32,
    writers: u32,
    both: u32,
    /// How many there ever were.
    readers_ever: u64,
    writers_ever: u64,
}

/// An end of a pipe: it reads, writes, or, of a pipe with a name, both.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// Writers there had ever been when it was opened, if it did not wait for one: without another one it is not at its end.
    writers_before: Option<u64>,
    /// Its name.
    named: Option<(Arc<Node>, Place)>,
}

/// pipe(2).
pub fn pipe(fds: u64) -> Result {
    pipe2(fds, 0)
}

/// pipe2(2). Packets (`O_DIRECT`) are refused.
pub fn pipe2(fds: u64, flags: i32) -> Result {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let pipe = Arc::new(Pipe::new());
    let end = |writes: bool| {
        let end = Pipe::end(&pipe, !writes, writes, None, None);
        Description::new(Arc::new(end), flags & O_NONBLOCK != 0)
    };
    let (read_fd, write_fd) = (fd::reserve(0)?, fd::reserve(0)?);
    uaccess::write(fds, [read_fd.number(), write_fd.number()])?;
    let close_on_exec = flags & O_CLOEXEC != 0;
    // Both before either: nobody is to find a pipe with one end.
    let (reader, writer) = (end(false), end(true));
    read_fd.install(reader, close_on_exec);
    write_fd.install(writer, close_on_exec);
    Ok(0)
}

/// The pipe behind a name, which is made if nobody has it open.
///
/// # Errors
/// `ENXIO`: another object is behind it.
pub fn behind(object: &SpinLock<Option<Weak<dyn Any + Send + Sync>>>) -> Outcome<Arc<Pipe>> {
    let mut object = object.lock();
    if let Some(there) = object.as_ref().and_then(Weak::upgrade) {
        return there.downcast().map_err(|_| ENXIO);
    }
    let pipe = Arc::new(Pipe::new());
    let shared: Arc<dyn Any + Send + Sync> = pipe.clone();
    *object = Some(Arc::downgrade(&shared));
    Ok(pipe)
}

/// Opens a pipe by its name, or by /proc/self/fd: waits for the other end, as fifo(7) says.
///
/// # Errors
/// `ENXIO`: it is only written, without waiting, and nobody reads; `ERESTARTSYS`; `EINVAL`.
pub fn open(pipe: Arc<Pipe>, named: Option<(Arc<Node>, Place)>, flags: i32) -> Outcome<Arc<dyn File>> {
    let (reads, writes) = match flags & O_ACCMODE {
        0 => (true, false),
        O_WRONLY => (false, true),
        O_RDWR => (true, true),
        _ => return Err(EINVAL),
    };
    let nonblocking = flags & O_NONBLOCK != 0;
    if writes && !reads && nonblocking && pipe.state.lock().readers == 0 {
        return Err(ENXIO);
    }
    let (before, alone) = {
        let state = pipe.state.lock();
        let (others_ever, others) = match writes {
            true => (state.readers_ever, state.readers),
            false => (state.writers_ever, state.writers),
        };
        (others_ever, others == 0 && !(reads && writes))
    };
    let writers_before = Some(before).filter(|_| !writes && nonblocking && alone);
    // Counted from here on; given back if the wait is broken off.
    let end = Pipe::end(&pipe, reads, writes, writers_before, named);
    pipe.opened.notify(events::IN);
    if alone && !nonblocking {
        let came = || {
            let state = pipe.state.lock();
            let ever = if writes { state.readers_ever } else { state.writers_ever };
            if ever == before { Err(EAGAIN) } else { Ok(()) }
        };
        if let Err(error) = pipe.opened.block_on(events::IN, false, None, came) {
            end.close();
            return Err(error);
        }
    }
    Ok(Arc::new(end))
}

impl Pipe {
    fn new() -> Self {
        let state = State {
            octets: VecDeque::new(),
            memory: Promise::none(),
            capacity: CAPACITY,
            readers: 0,
            writers: 0,
            both: 0,
            readers_ever: 0,
            writers_ever: 0,
        };
        Self {
            state: SpinLock::new(state),
            filled: Readiness::new(),
            emptied: Readiness::new(),
            opened: Readiness::new(),
            inode: fd::next_inode(),
        }
    }

    /// Another end; [`File::close`] ends it.
    fn end(
        this: &Arc<Self>,
        reads: bool,
        writes: bool,
        writers_before: Option<u64>,
        named: Option<(Arc<Node>, Place)>,
    ) -> PipeEnd {
        let mut state = this.state.lock();
        state.readers += u32::from(reads);
        state.writers += u32::from(writes);
        state.both += u32::from(reads && writes);
        state.readers_ever += u64::from(reads);
        state.writers_ever += u64::from(writes);
        drop(state);
        PipeEnd { pipe: this.clone(), reads, writes, writers_before, named }
    }

    /// There is room, or nobody who reads any more.
    fn tell_writers(&self, events: u32) {
        self.emptied.notify(events);
        // Ends that do both stand in the readers' list.
        if self.state.lock().both > 0 {
            self.filled.notify(events);
        }
    }

    /// Changes how much it holds: a power of two, not less than is in it.
    fn resize(&self, capacity: u64) -> Result {
        if capacity as u32 > 1 << 31 {
            return Err(EINVAL);
        }
        let capacity = (capacity as u32 as usize).max(PIPE_BUF).next_power_of_two();
        if capacity > CAPACITY_MAX {
            return Err(EPERM);
        }
        let mut state = self.state.lock();
        if state.octets.len() > capacity {
            return Err(EBUSY);
        }
        state.capacity = capacity;
        drop(state);
        self.tell_writers(events::OUT | events::WRNORM);
        Ok(capacity as u64)
    }

    /// Whether a read would wait.
    fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.octets.is_empty() && state.writers > 0
    }

    /// Takes octets out, as many as there are and fit; 0 is the end.
    fn take(&self, to: &mut [u8]) -> Outcome<usize> {
        let mut state = self.state.lock();
        let len = state.octets.len().min(to.len());
        if len == 0 {
            return if state.writers == 0 { Ok(0) } else { Err(EAGAIN) };
        }
        let (front, back) = state.octets.as_slices();
        let first = front.len().min(len);
        to[..first].copy_from_slice(&front[..first]);
        to[first..len].copy_from_slice(&back[..len - first]);
        state.octets.drain(..len);
        if state.octets.is_empty() {
            // Octets that wait take memory, and an idle pipe takes none.
            state.octets = VecDeque::new();
            state.memory = Promise::none();
        }
        Ok(len)
    }

    /// Puts octets in: all of them if that is possible in one piece at all, and otherwise as many as there is room for.
    fn put(&self, octets: &[u8], whole: bool) -> Outcome<usize> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(EPIPE);
        }
        let room = state.capacity.saturating_sub(state.octets.len());
        if room == 0 || whole && room < octets.len() {
            return Err(EAGAIN);
        }
        let len = room.min(octets.len());
        let needed = state.octets.len() + len;
        if needed > state.octets.capacity() {
            // As much again for the copy while it grows.
            let grown = needed.next_power_of_two();
            if !state.memory.grow(2 * grown) {
                return Err(ENOMEM);
            }
            let more = grown - state.octets.len();
            state.octets.try_reserve_exact(more).map_err(|_| ENOMEM)?;
        }
        state.octets.extend(&octets[..len]);
        Ok(len)
    }
}

impl PipeEnd {
    /// What it is an end of.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl File for PipeEnd {
    fn fcntl(&self, op: i32, arg: u64) -> Option<Result> {
        match op {
            GETPIPE_SZ => Some(Ok(self.pipe.state.lock().capacity as u64)),
            SETPIPE_SZ => Some(self.pipe.resize(arg)),
            _ => None,
        }
    }

    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> Outcome<usize> {
        if !self.reads {
            return Err(EBADF);
        }
        let mut chunk = [0; STEP];
        let (mut done, mut pace) = (0, Pace::new());
        while let Some((_, len)) = to.front() {
            let len = len.min(STEP);
            // Octets that were taken and cannot be delivered would be lost.
            let prepared = match to.prepare(len) {
                Err(_) if nonblocking && self.pipe.is_empty() => Err(EAGAIN),
                prepared => prepared,
            };
            let wait = nonblocking || done > 0;
            let taken = prepared.and_then(|()| {
                self.pipe.filled.block_on(events::IN, wait, None, || self.pipe.take(&mut chunk[..len]))
            });
            match taken {
                Ok(0) => break,
                Ok(len) => {
                    done += len;
                    self.pipe.tell_writers(events::OUT | events::WRNORM);
                    to.write(&chunk[..len])?;
                    if pace.moved(len) {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write(&self, from: &mut UserBuffers, nonblocking: bool) -> Outcome<usize> {
        if !self.writes {
            return Err(EBADF);
        }
        let whole = from.len() <= PIPE_BUF;
        let mut octets: Vec<u8> = Vec::new();
        octets.try_reserve_exact(from.len().min(PIPE_BUF)).map_err(|_| ENOMEM)?;
        let (mut done, mut pace) = (0, Pace::new());
        while !from.is_empty() {
            octets.resize(from.len().min(PIPE_BUF), 0);
            let mut result = from.read(&mut octets);
            let mut rest: &[u8] = &octets[..*result.as_ref().unwrap_or(&0)];
            while !rest.is_empty() {
                let put =
                    self.pipe.emptied.block_on(events::OUT, nonblocking, None, || self.pipe.put(rest, whole));
                match put {
                    Ok(len) => {
                        done += len;
                        rest = &rest[len..];
                        self.pipe.filled.notify(events::IN | events::RDNORM);
                    }
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            if result == Err(EPIPE) {
                signal::raise_broken_pipe();
            }
            match result {
                Ok(moved) if pace.moved(moved) => break,
                Ok(_) => {}
                // Part of it went: that is what is told.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn events(&self) -> u32 {
        let state = self.pipe.state.lock();
        let mut events = 0;
        if self.reads {
            if !state.octets.is_empty() {
                events |= events::IN | events::RDNORM;
            }
            if state.writers == 0 && self.writers_before != Some(state.writers_ever) {
                events |= events::HUP;
            }
        }
        if self.writes {
            if state.capacity.saturating_sub(state.octets.len()) >= PIPE_BUF {
                events |= events::OUT | events::WRNORM;
            }
            if state.readers == 0 {
                events |= events::ERR;
            }
        }
        events
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(if self.reads { &self.pipe.filled } else { &self.pipe.emptied })
    }

    fn stat(&self) -> Stat {
        const S_IFIFO: u32 = 0o010_000;
        Stat { mode: S_IFIFO | 0o600, inode: self.pipe.inode, size: 0, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> Result {
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(ENOTTY);
        }
        let len = self.pipe.state.lock().octets.len();
        uaccess::write(arg, len as i32)?;
        Ok(0)
    }

    fn close(&self) {
        let mut state = self.pipe.state.lock();
        state.readers -= u32::from(self.reads);
        state.writers -= u32::from(self.writes);
        state.both -= u32::from(self.reads && self.writes);
        drop(state);
        self.pipe.filled.notify(events::HUP);
        self.pipe.tell_writers(events::ERR);
    }

    fn access_mode(&self) -> u32 {
        match (self.reads, self.writes) {
            (true, true) => O_RDWR as u32,
            (_, writes) => u32::from(writes),
        }
    }

    fn node(&self) -> Option<&Arc<Node>> {
        self.named.as_ref().map(|(node, _)| node)
    }

    fn place(&self) -> Option<&Place> {
        self.named.as_ref().map(|(_, place)| place)
    }
}
