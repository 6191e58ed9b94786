//! signalfd(2): signals that are read from a descriptor.
//!
//! Whoever reads takes signals that are pending for its own thread or for the process, as sigwaitinfo(2) does; poll(2) looks at those
//! of the thread that polls. So a descriptor holds nothing but a set.
//!
//! The list of descriptors is locked before their readiness, and inside of nothing.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::sched;
use kernel::sched::thread::SignalInfo;
use kernel::uaccess;
use sync::SpinLock;

use crate::buffers::UserBuffers;
use crate::errno::{EAGAIN, EINVAL, ENOMEM, Errno, Result};
use crate::fd::{self, Description, File, Stat};
use crate::file::{O_CLOEXEC, O_NONBLOCK};
use crate::readiness::{Readiness, events};
use crate::signal::{self, SET_SIZE, SI_TIMER, SI_TKILL, UNBLOCKABLE, bit};

/// All of them, for [`became_pending`].
static DESCRIPTORS: SpinLock<Vec<Weak<SignalFd>>> = SpinLock::new(Vec::new());

/// Octets of `struct signalfd_siginfo`.
const INFO_LEN: usize = 128;

struct SignalFd {
    /// The signals that are read.
    set: AtomicU64,
    readiness: Readiness,
    inode: u64,
}

/// signalfd(2), without flags.
pub fn signalfd(fd: i32, mask: u64, size: usize) -> Result {
    signalfd4(fd, mask, size, 0)
}

/// signalfd(2).
pub fn signalfd4(fd: i32, mask: u64, size: usize, flags: i32) -> Result {
    if size != SET_SIZE {
        return Err(EINVAL);
    }
    let set = uaccess::read::<u64>(mask)? & !UNBLOCKABLE;
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    if fd != -1 {
        let description = fd::get(fd)?;
        let signals = description.downcast::<SignalFd>().ok_or(EINVAL)?;
        signals.set.store(set, Ordering::SeqCst);
        // Of what is pending more may be wanted now.
        signals.readiness.notify(events::IN | events::RDNORM);
        return Ok(fd as u64);
    }
    signal::tell_descriptors(became_pending);
    let signals =
        Arc::new(SignalFd { set: AtomicU64::new(set), readiness: Readiness::new(), inode: fd::next_inode() });
    {
        let mut descriptors = DESCRIPTORS.lock();
        descriptors.try_reserve(1).map_err(|_| ENOMEM)?;
        descriptors.push(Arc::downgrade(&signals));
    }
    fd::install(Description::new(signals, flags & O_NONBLOCK != 0), flags & O_CLOEXEC != 0, 0)
}

/// A signal has become pending for some thread or for the process.
fn became_pending(signal: u8) {
    for signals in DESCRIPTORS.lock().iter().filter_map(Weak::upgrade) {
        if signals.set.load(Ordering::SeqCst) & bit(signal) != 0 {
            signals.readiness.notify(events::IN | events::RDNORM);
        }
    }
}

impl File for SignalFd {
    fn read(&self, to: &mut UserBuffers, nonblocking: bool) -> core::result::Result<usize, Errno> {
        if to.len() < INFO_LEN {
            return Err(EINVAL);
        }
        let thread = sched::current();
        let take = || signal::take(&thread, self.set.load(Ordering::SeqCst)).ok_or(EAGAIN);
        let mut next = Some(self.readiness.block_on(events::IN, nonblocking, None, take)?);
        let mut done = 0;
        while let Some(info) = next {
            // What was taken is gone if it cannot be delivered, as on Linux.
            match to.write(&info_octets(&info)) {
                Ok(written) => done += written,
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault),
            }
            next = if to.len() >= INFO_LEN { take().ok() } else { None };
        }
        Ok(done)
    }

    fn events(&self) -> u32 {
        let pending = signal::pending(&sched::current()) & self.set.load(Ordering::SeqCst);
        if pending != 0 { events::IN | events::RDNORM } else { 0 }
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.readiness)
    }

    fn stat(&self) -> Stat {
        Stat { mode: 0o600, inode: self.inode, size: 0, device: 0 }
    }

    fn close(&self) {
        DESCRIPTORS.lock().retain(|other| !core::ptr::eq(other.as_ptr(), self));
    }
}

/// `struct signalfd_siginfo`.
fn info_octets(info: &SignalInfo) -> [u8; INFO_LEN] {
    let SignalInfo { signal, code, words: [first, value, _] } = *info;
    let (low, high) = (first as u32, (first >> 32) as u32);
    let mut octets = [0; INFO_LEN];
    let mut put = |at: usize, word: u32| octets[at..at + 4].copy_from_slice(&word.to_le_bytes());
    put(0, signal.into());
    put(8, code as u32);
    if code == SI_TIMER {
        // ssi_tid, ssi_overrun
        put(24, low);
        put(32, high);
    } else {
        // ssi_pid, ssi_uid
        put(12, low);
        put(16, high);
    }
    if code < 0 && code != SI_TKILL {
        // ssi_int, ssi_ptr
        put(44, value as u32);
        put(48, value as u32);
        put(52, (value >> 32) as u32);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_linux_has_them() {
        let word = |octets: &[u8], at: usize| u32::from_le_bytes(*octets[at..].first_chunk().unwrap());
        let info = |code| SignalInfo { signal: 10, code, words: [7 | 8 << 32, 0x1_0000_0009, 5] };
        let sent = info_octets(&info(0));
        assert_eq!([0, 8, 12, 16, 44].map(|at| word(&sent, at)), [10, 0, 7, 8, 0]);
        let queued = info_octets(&info(-1));
        assert_eq!([12, 16, 44, 48, 52].map(|at| word(&queued, at)), [7, 8, 9, 9, 1]);
        let timed = info_octets(&info(SI_TIMER));
        assert_eq!([12, 24, 32, 44].map(|at| word(&timed, at)), [0, 7, 8, 9]);
    }
}
