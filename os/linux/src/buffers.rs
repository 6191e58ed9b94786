//! [`UserBuffers`]: the program's buffers of one read or write, in one piece or in several (readv(2)); or, for sendfile(2), what is to be
//! written, which the kernel has.

use alloc::vec::Vec;

use kernel::uaccess;
use sync::SpinLock;

use crate::errno::{EFAULT, EINVAL, Errno};

/// Most octets of one read or write (`MAX_RW_COUNT`).
pub(crate) const MAX_COUNT: usize = 0x7fff_f000;
/// Most pieces (`IOV_MAX`).
const MAX_PIECES: u64 = 1024;

/// A spin lock that is held while program memory is copied, which may page in: for one attempt of a call, in which nobody else
/// runs on this CPU. The page-in's locks come after it, and it comes after none.
pub type CopyLock = SpinLock<()>;

/// Buffers of the program, filled or emptied from the front. All of them lie in the program's part; whether they are mapped shows
/// when they are used.
pub struct UserBuffers {
    pieces: Pieces,
    /// Octets left.
    left: usize,
}

enum Pieces {
    One(u64, usize),
    /// The pieces, the present one, and octets of it that are done.
    Many(Vec<(u64, usize)>, usize, usize),
    /// Octets that the kernel has, and how many of them are done. Only [`UserBuffers::read`] takes of them.
    Kernel(Vec<u8>, usize),
}

impl UserBuffers {
    /// One buffer.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn one(address: u64, len: usize) -> Result<Self, Errno> {
        uaccess::check_range(address, len as u64)?;
        let left = len.min(MAX_COUNT);
        Ok(Self { pieces: Pieces::One(address, left), left })
    }

    /// Octets that the kernel has, to be written.
    pub fn of_kernel(octets: Vec<u8>) -> Self {
        Self { left: octets.len(), pieces: Pieces::Kernel(octets, 0) }
    }

    /// The buffers of an array of `struct iovec`.
    ///
    /// # Errors
    /// `EINVAL`: too many, or too long; `EFAULT`.
    pub fn from_iovec(iov: u64, count: u64) -> Result<Self, Errno> {
        if count > MAX_PIECES {
            return Err(EINVAL);
        }
        let mut pieces = Vec::with_capacity(count as usize);
        let mut left = 0;
        for i in 0..count {
            let [base, len] = uaccess::read::<[u64; 2]>(iov.wrapping_add(16 * i))?;
            if len > i64::MAX as u64 {
                return Err(EINVAL);
            }
            uaccess::check_range(base, len)?;
            let len = (len as usize).min(MAX_COUNT - left);
            left += len;
            if len > 0 {
                pieces.push((base, len));
            }
        }
        Ok(Self { pieces: Pieces::Many(pieces, 0, 0), left })
    }

    /// Octets left.
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Address and octets of the front piece. `None`: nothing of the program's is left.
    pub fn front(&self) -> Option<(u64, usize)> {
        if self.left == 0 {
            return None;
        }
        match &self.pieces {
            Pieces::One(address, len) => Some((*address, *len)),
            Pieces::Many(pieces, at, done) => {
                pieces.get(*at).map(|&(address, len)| (address + *done as u64, len - *done))
            }
            Pieces::Kernel(..) => None,
        }
    }

    /// Passes over octets at the front.
    pub fn advance(&mut self, mut octets: usize) {
        octets = octets.min(self.left);
        self.left -= octets;
        match &mut self.pieces {
            Pieces::One(address, len) => {
                *address += octets as u64;
                *len -= octets;
            }
            Pieces::Many(pieces, at, done) => {
                while let Some(&(_, len)) = pieces.get(*at)
                    && octets > 0
                {
                    let step = octets.min(len - *done);
                    octets -= step;
                    *done += step;
                    if *done == len {
                        *at += 1;
                        *done = 0;
                    }
                }
            }
            Pieces::Kernel(_, done) => *done += octets,
        }
    }

    /// Takes octets out of the program's buffers; returns how many: all that fit into `to` or are left.
    ///
    /// # Errors
    /// `EFAULT`, if not one octet could be read.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, Errno> {
        let len = to.len();
        if let Pieces::Kernel(octets, done) = &self.pieces {
            let from = octets.get(*done..).unwrap_or_default();
            let len = len.min(from.len());
            to[..len].copy_from_slice(&from[..len]);
            self.advance(len);
            return Ok(len);
        }
        self.transfer(len, &mut |address, at, len| uaccess::read_some(address, &mut to[at..at + len]))
    }

    /// Puts octets into the program's buffers; returns how many: all of `from` that fit.
    ///
    /// # Errors
    /// `EFAULT`, if not one octet could be written.
    pub fn write(&mut self, from: &[u8]) -> Result<usize, Errno> {
        self.transfer(from.len(), &mut |address, at, len| uaccess::write_some(address, &from[at..at + len]))
    }

    /// Has `copy` move octets from or to the program, piece by piece, up to so many: it gets an address of the program, how many
    /// octets were moved before, and how many to move; it says how many it has moved, fewer where the program's memory ends.
    /// Returns how many were moved.
    ///
    /// # Errors
    /// `EFAULT`, if not one octet could be moved.
    pub fn transfer(
        &mut self,
        octets: usize,
        copy: &mut dyn FnMut(u64, usize, usize) -> usize,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < octets
            && let Some((address, len)) = self.front()
        {
            let step = len.min(octets - done);
            let moved = copy(address, done, step);
            self.advance(moved);
            done += moved;
            if moved < step {
                return if done > 0 { Ok(done) } else { Err(EFAULT) };
            }
        }
        Ok(done)
    }

    /// Backs the front piece for writing, up to `octets`: what is taken for it then can be delivered.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn prepare(&self, octets: usize) -> Result<(), Errno> {
        if let Some((address, len)) = self.front() {
            uaccess::prepare_write(address, len.min(octets))?;
        }
        Ok(())
    }
}
