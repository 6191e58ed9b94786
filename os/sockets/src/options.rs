//! Socket options (socket(7), tcp(7), ip(7)): those that all sockets have, and how values look.

use alloc::vec::Vec;
use core::time::Duration;

use linux::errno::{EINVAL, ENOPROTOOPT, Errno};

/// Levels.
pub const SOL_SOCKET: i32 = 1;
pub const IPPROTO_IP: i32 = 0;
pub const IPPROTO_TCP: i32 = 6;

/// Names at `SOL_SOCKET`.
pub mod name {
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const ACCEPTCONN: i32 = 30;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
}

/// Most octets that a program may ask its buffers to have (`net.core.rmem_max`); Linux doubles what it is told.
const MAX_BUFFER: i32 = 4 << 20;
const MIN_BUFFER: i32 = 2048;

/// Options that every socket has.
#[derive(Clone, Debug)]
pub struct Common {
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `SO_KEEPALIVE`.
    pub keep_alive: bool,
    /// `SO_LINGER`, in seconds.
    pub linger: Option<u32>,
    /// `SO_SNDBUF`, in octets.
    pub send_buffer: i32,
    /// `SO_RCVBUF`, in octets.
    pub receive_buffer: i32,
    /// The program said what the receive buffer is.
    pub receive_buffer_fixed: bool,
    /// `SO_SNDTIMEO`.
    pub send_timeout: Option<Duration>,
    /// `SO_RCVTIMEO`.
    pub receive_timeout: Option<Duration>,
}

impl Common {
    pub const fn new() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keep_alive: false,
            linger: None,
            send_buffer: 128 * 1024,
            receive_buffer: 128 * 1024,
            receive_buffer_fixed: false,
            send_timeout: None,
            receive_timeout: None,
        }
    }

    /// Sets an option at `SOL_SOCKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`.
    pub fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        match name {
            name::REUSEADDR => self.reuse_address = int(value)? != 0,
            name::REUSEPORT => self.reuse_port = int(value)? != 0,
            name::BROADCAST => self.broadcast = int(value)? != 0,
            name::KEEPALIVE => self.keep_alive = int(value)? != 0,
            // All that goes to a link goes there directly.
            name::DONTROUTE => drop(int(value)?),
            name::SNDBUF => self.send_buffer = buffer(int(value)?),
            name::RCVBUF => {
                self.receive_buffer = buffer(int(value)?);
                self.receive_buffer_fixed = true;
            }
            name::LINGER => {
                let (on, seconds) = (int(value)?, int(value.get(4..).ok_or(EINVAL)?)?);
                self.linger = (on != 0).then_some(seconds.max(0) as u32);
            }
            name::SNDTIMEO => self.send_timeout = timeout(value)?,
            name::RCVTIMEO => self.receive_timeout = timeout(value)?,
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    /// An option at `SOL_SOCKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub fn get(&self, name: i32) -> Result<Vec<u8>, Errno> {
        Ok(match name {
            name::REUSEADDR => of_int(self.reuse_address.into()),
            name::REUSEPORT => of_int(self.reuse_port.into()),
            name::BROADCAST => of_int(self.broadcast.into()),
            name::KEEPALIVE => of_int(self.keep_alive.into()),
            name::DONTROUTE => of_int(0),
            name::SNDBUF => of_int(self.send_buffer),
            name::RCVBUF => of_int(self.receive_buffer),
            name::LINGER => {
                let mut octets = of_int(self.linger.is_some().into());
                octets.extend(of_int(self.linger.unwrap_or(0) as i32));
                octets
            }
            name::SNDTIMEO => of_timeout(self.send_timeout),
            name::RCVTIMEO => of_timeout(self.receive_timeout),
            _ => return Err(ENOPROTOOPT),
        })
    }
}

/// Linux doubles what it is told, for its own book-keeping, and says so.
fn buffer(wanted: i32) -> i32 {
    wanted.clamp(0, MAX_BUFFER / 2).saturating_mul(2).max(MIN_BUFFER)
}

/// An `int`.
///
/// # Errors
/// `EINVAL`: it is shorter.
pub fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().copied().map(i32::from_le_bytes).ok_or(EINVAL)
}

/// An `int` as octets.
pub fn of_int(value: i32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// A `struct timeval`; zero is none.
fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let word = |at: usize| -> Result<i64, Errno> {
        value.get(at..).and_then(|rest| rest.first_chunk()).copied().map(i64::from_le_bytes).ok_or(EINVAL)
    };
    let (seconds, microseconds) = (word(0)?, word(8)?);
    // EDOM of Linux.
    let microseconds = u32::try_from(microseconds).ok().filter(|&us| us < 1_000_000).ok_or(Errno(33))?;
    let Ok(seconds) = u64::try_from(seconds) else { return Ok(Some(Duration::ZERO)) };
    let span = Duration::new(seconds, microseconds * 1000);
    Ok((span != Duration::ZERO).then_some(span))
}

fn of_timeout(timeout: Option<Duration>) -> Vec<u8> {
    let span = timeout.unwrap_or_default();
    let mut octets = (span.as_secs() as i64).to_le_bytes().to_vec();
    octets.extend(i64::from(span.subsec_micros()).to_le_bytes());
    octets
}

/// The deadline of a call that starts now.
pub fn deadline(timeout: Option<Duration>) -> Option<u64> {
    timeout
        .map(|span| kernel::time::now_ns().saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_doubled_and_bounded() {
        let mut common = Common::new();
        common.set(name::SNDBUF, &10_000i32.to_le_bytes()).unwrap();
        assert_eq!(common.get(name::SNDBUF).unwrap(), 20_000i32.to_le_bytes());
        common.set(name::SNDBUF, &i32::MAX.to_le_bytes()).unwrap();
        assert_eq!(common.send_buffer, MAX_BUFFER);
        common.set(name::SNDBUF, &(-1i32).to_le_bytes()).unwrap();
        assert_eq!(common.send_buffer, MIN_BUFFER);
    }

    #[test]
    fn what_is_too_short_is_refused() {
        let mut common = Common::new();
        assert_eq!(common.set(name::KEEPALIVE, &[1, 0]), Err(EINVAL));
        assert_eq!(common.set(name::LINGER, &[1, 0, 0, 0]), Err(EINVAL));
        assert_eq!(common.set(name::RCVTIMEO, &[0; 8]), Err(EINVAL));
        assert_eq!(common.set(999, &[0; 4]), Err(ENOPROTOOPT));
    }

    #[test]
    fn timeouts_come_back() {
        let mut common = Common::new();
        let mut value = 2i64.to_le_bytes().to_vec();
        value.extend(500_000i64.to_le_bytes());
        common.set(name::RCVTIMEO, &value).unwrap();
        assert_eq!(common.receive_timeout, Some(Duration::from_millis(2500)));
        assert_eq!(common.get(name::RCVTIMEO).unwrap(), value);
        common.set(name::RCVTIMEO, &[0; 16]).unwrap();
        assert_eq!(common.receive_timeout, None);
    }
}
