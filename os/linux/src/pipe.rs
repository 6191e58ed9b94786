//! pipe(2): octets in one end, out of the other (pipe(7)).

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel::uaccess;
use sync::SpinLock;

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, EBADF, EBUSY, EINVAL, ENOMEM, ENOTTY, EPERM, EPIPE, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
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

struct Pipe {
    state: SpinLock<State>,
    /// Who waits for octets, and who for room.
    filled: Readiness,
    emptied: Readiness,
    inode: u64,
}

struct State {
    octets: VecDeque<u8>,
    capacity: usize,
    readers: u32,
    writers: u32,
}

/// An end of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    writes: bool,
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
    let state = State { octets: VecDeque::new(), capacity: CAPACITY, readers: 1, writers: 1 };
    let pipe = Arc::new(Pipe {
        state: SpinLock::new(state),
        filled: Readiness::new(),
        emptied: Readiness::new(),
        inode: fd::next_inode(),
    });
    let end =
        |writes| Description::new(Arc::new(PipeEnd { pipe: pipe.clone(), writes }), flags & O_NONBLOCK != 0);
    let (read_fd, write_fd) = (fd::reserve(0)?, fd::reserve(0)?);
    uaccess::write(fds, [read_fd.number(), write_fd.number()])?;
    let close_on_exec = flags & O_CLOEXEC != 0;
    read_fd.install(end(false), close_on_exec);
    write_fd.install(end(true), close_on_exec);
    Ok(0)
}

impl Pipe {
    /// Changes how much it holds: a power of two, not less than is in it.
    fn resize(&self, capacity: u64) -> Result {
        if capacity as u32 == 0 || capacity as u32 > 1 << 31 {
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
        self.emptied.notify(events::OUT | events::WRNORM);
        Ok(capacity as u64)
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
        state.octets.try_reserve(len).map_err(|_| ENOMEM)?;
        state.octets.extend(&octets[..len]);
        Ok(len)
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
        if self.writes {
            return Err(EBADF);
        }
        let mut chunk = [0; STEP];
        let mut done = 0;
        while let Some((_, len)) = to.front() {
            let len = len.min(STEP);
            // Octets that were taken and cannot be delivered would be lost.
            let prepared = to.prepare(len);
            let wait = nonblocking || done > 0;
            let taken = prepared.and_then(|()| {
                self.pipe.filled.block_on(events::IN, wait, None, || self.pipe.take(&mut chunk[..len]))
            });
            match taken {
                Ok(0) => break,
                Ok(len) => {
                    done += len;
                    self.pipe.emptied.notify(events::OUT | events::WRNORM);
                    to.write(&chunk[..len])?;
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
        let mut done = 0;
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
            match result {
                Ok(_) => {}
                // Part of it went: that is what is told, unless nobody can read it.
                Err(error) if error != EPIPE && done > 0 => break,
                Err(error) => {
                    if error == EPIPE {
                        signal::raise_broken_pipe();
                    }
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    fn events(&self) -> u32 {
        let state = self.pipe.state.lock();
        if self.writes {
            let has_room = state.capacity.saturating_sub(state.octets.len()) >= PIPE_BUF;
            let room = if has_room { events::OUT | events::WRNORM } else { 0 };
            return room | if state.readers == 0 { events::ERR } else { 0 };
        }
        let octets = if state.octets.is_empty() { 0 } else { events::IN | events::RDNORM };
        octets | if state.writers == 0 { events::HUP } else { 0 }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(if self.writes { &self.pipe.emptied } else { &self.pipe.filled })
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
        if self.writes {
            state.writers -= 1;
        } else {
            state.readers -= 1;
        }
        drop(state);
        self.pipe.filled.notify(events::HUP);
        self.pipe.emptied.notify(events::ERR);
    }

    fn access_mode(&self) -> u32 {
        u32::from(self.writes)
    }
}
