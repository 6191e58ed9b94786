//! Socket options (socket(7), tcp(7), ip(7)): those that all sockets have, and how values look. Which option does what, and which
//! are refused, is in docs/sockets.md.

use alloc::vec::Vec;
use core::time::Duration;

use linux::errno::{EDOM, EINVAL, ENODEV, ENOPROTOOPT, Errno};
use net::IfaceId;

use crate::pass;

/// Levels.
pub const SOL_SOCKET: i32 = 1;
pub const IPPROTO_IP: i32 = 0;
pub const IPPROTO_TCP: i32 = 6;
pub const IPPROTO_UDP: i32 = 17;

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
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const TIMESTAMPNS: i32 = 35;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const MAX_PACING_RATE: i32 = 47;
    pub const INCOMING_CPU: i32 = 49;
    pub const MEMINFO: i32 = 55;
    pub const COOKIE: i32 = 57;
    pub const BINDTOIFINDEX: i32 = 62;
    /// The same as the old ones where times have 64 bits.
    pub const TIMESTAMP_NEW: i32 = 63;
    pub const TIMESTAMPNS_NEW: i32 = 64;
    /// `SO_RCVTIMEO_NEW` and `SO_SNDTIMEO_NEW`, the same where times have 64 bits.
    pub const RCVTIMEO_NEW: i32 = 66;
    pub const SNDTIMEO_NEW: i32 = 67;
}

/// Most octets that a program may ask its buffers to have (`net.core.rmem_max`); Linux doubles what it is told.
const MAX_BUFFER: i32 = 4 << 20;
/// The same for those who insist (`SO_RCVBUFFORCE`).
const MAX_FORCED_BUFFER: i32 = 64 << 20;
/// Linux' least buffers.
const MIN_SEND_BUFFER: i32 = 4608;
const MIN_RECEIVE_BUFFER: i32 = 2304;
/// What `SO_MAX_PACING_RATE` says where there is none.
const UNPACED: u64 = u64::MAX;

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
    /// `SO_DONTROUTE`.
    pub only_on_link: bool,
    /// `SO_OOBINLINE`: urgent data is always in line (RFC 6093).
    oob_inline: bool,
    /// `SO_NO_CHECK`.
    pub no_checksum: bool,
    /// `SO_LINGER`: whether, and seconds.
    lingers: bool,
    linger_seconds: i32,
    /// `SO_SNDBUF`, in octets.
    pub send_buffer: i32,
    /// `SO_RCVBUF`, in octets.
    pub receive_buffer: i32,
    /// The program said what the receive buffer is.
    pub receive_buffer_fixed: bool,
    /// `SO_RCVLOWAT`, in octets, at least 1.
    pub receive_low_water: i32,
    /// `SO_SNDTIMEO`.
    pub send_timeout: Option<Duration>,
    /// `SO_RCVTIMEO`.
    pub receive_timeout: Option<Duration>,
    /// `SO_BINDTODEVICE`.
    pub device: Option<IfaceId>,
    /// `SO_MAX_PACING_RATE`, in octets a second.
    max_pacing_rate: u64,
}

impl Common {
    /// What a socket has at first.
    pub const fn new() -> Self {
        Self::with_buffers(128 * 1024)
    }

    /// The same, with buffers of so many octets.
    pub const fn with_buffers(buffer: i32) -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keep_alive: false,
            only_on_link: false,
            oob_inline: false,
            no_checksum: false,
            lingers: false,
            linger_seconds: 0,
            send_buffer: buffer,
            receive_buffer: buffer,
            receive_buffer_fixed: false,
            receive_low_water: 1,
            send_timeout: None,
            receive_timeout: None,
            device: None,
            max_pacing_rate: UNPACED,
        }
    }

    /// How long close(2) waits until all is sent; zero: nothing is sent any more. `None`: it does not wait.
    pub fn linger(&self) -> Option<Duration> {
        // A negative time is a long one, as on Linux.
        self.lingers.then(|| Duration::from_secs(u64::from(self.linger_seconds as u32)))
    }

    /// `SO_MAX_PACING_RATE`, where there is a limit.
    pub fn max_pacing_rate(&self) -> Option<u64> {
        (self.max_pacing_rate != UNPACED).then_some(self.max_pacing_rate)
    }

    /// Sets an option at `SOL_SOCKET`.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `EDOM`, `ENODEV`.
    pub fn set(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == name::BINDTODEVICE {
            self.device = device_named(value)?;
            return Ok(());
        }
        let number = int(value)?;
        let flag = number != 0;
        match name {
            name::REUSEADDR => self.reuse_address = flag,
            name::REUSEPORT => self.reuse_port = flag,
            name::BROADCAST => self.broadcast = flag,
            name::KEEPALIVE => self.keep_alive = flag,
            name::DONTROUTE => self.only_on_link = flag,
            name::OOBINLINE => self.oob_inline = flag,
            name::NO_CHECK => self.no_checksum = flag,
            name::SNDBUF => self.send_buffer = buffer(number as u32, MAX_BUFFER, MIN_SEND_BUFFER),
            name::SNDBUFFORCE => {
                self.send_buffer = buffer(number.max(0) as u32, MAX_FORCED_BUFFER, MIN_SEND_BUFFER);
            }
            name::RCVBUF => self.set_receive_buffer(buffer(number as u32, MAX_BUFFER, MIN_RECEIVE_BUFFER)),
            name::RCVBUFFORCE => {
                let octets = buffer(number.max(0) as u32, MAX_FORCED_BUFFER, MIN_RECEIVE_BUFFER);
                self.set_receive_buffer(octets);
            }
            name::LINGER => {
                let seconds = int(value.get(4..).ok_or(EINVAL)?)?;
                self.lingers = flag;
                if flag {
                    self.linger_seconds = seconds;
                }
            }
            name::RCVLOWAT => {
                self.receive_low_water = if number < 0 { i32::MAX } else { number.max(1) };
            }
            name::SNDTIMEO | name::SNDTIMEO_NEW => self.send_timeout = timeout(value)?,
            name::RCVTIMEO | name::RCVTIMEO_NEW => self.receive_timeout = timeout(value)?,
            name::BINDTOIFINDEX => self.device = device_numbered(number)?,
            name::MAX_PACING_RATE => {
                self.max_pacing_rate = match value.first_chunk() {
                    Some(octets) => u64::from_le_bytes(*octets),
                    None if number == -1 => UNPACED,
                    None => u64::from(number as u32),
                };
            }
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    fn set_receive_buffer(&mut self, octets: i32) {
        self.receive_buffer = octets;
        self.receive_buffer_fixed = true;
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
            name::DONTROUTE => of_int(self.only_on_link.into()),
            name::OOBINLINE => of_int(self.oob_inline.into()),
            name::NO_CHECK => of_int(self.no_checksum.into()),
            name::SNDBUF => of_int(self.send_buffer),
            name::RCVBUF => of_int(self.receive_buffer),
            name::LINGER => {
                let mut octets = of_int(self.lingers.into());
                octets.extend(of_int(self.linger_seconds));
                octets
            }
            name::RCVLOWAT => of_int(self.receive_low_water),
            name::SNDLOWAT => of_int(1),
            name::SNDTIMEO | name::SNDTIMEO_NEW => of_timeout(self.send_timeout),
            name::RCVTIMEO | name::RCVTIMEO_NEW => of_timeout(self.receive_timeout),
            name::BINDTODEVICE => device_name(self.device),
            name::BINDTOIFINDEX => of_int(self.device.map_or(0, index_of)),
            name::MAX_PACING_RATE => self.max_pacing_rate.to_le_bytes().to_vec(),
            // The CPU that looks after all sockets.
            name::INCOMING_CPU => of_int(pass::OWNER as i32),
            _ => return Err(ENOPROTOOPT),
        })
    }
}

/// An interface's number as programs see it: from 1 on.
pub fn index_of(iface: IfaceId) -> i32 {
    i32::from(iface.0) + 1
}

/// The interface of a number that programs use.
pub fn of_index(index: i32) -> Option<IfaceId> {
    index.checked_sub(1).and_then(|index| u16::try_from(index).ok()).map(IfaceId)
}

/// The interface of a name; none of an empty name.
fn device_named(value: &[u8]) -> Result<Option<IfaceId>, Errno> {
    /// `IFNAMSIZ`, without the octet that ends it.
    const MAX: usize = 15;
    let name = value.get(..MAX).unwrap_or(value);
    let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let name = core::str::from_utf8(name).map_err(|_| ENODEV)?;
    pass::look(|net| net.stack.interface_named(name)).flatten().map(Some).ok_or(ENODEV)
}

fn device_numbered(index: i32) -> Result<Option<IfaceId>, Errno> {
    if index < 0 {
        return Err(EINVAL);
    }
    let Some(iface) = of_index(index) else { return Ok(None) };
    pass::look(|net| net.stack.interface(iface).map(|_| iface)).flatten().map(Some).ok_or(ENODEV)
}

fn device_name(device: Option<IfaceId>) -> Vec<u8> {
    let Some(device) = device else { return Vec::new() };
    let name = pass::look(|net| net.stack.interface(device).map(|iface| iface.name().as_bytes().to_vec()));
    let mut octets = name.flatten().unwrap_or_default();
    octets.push(0);
    octets
}

/// `SO_MEMINFO`: octets of memory that are received and to be sent, with the bounds of both, and datagrams dropped.
pub fn memory_info(common: &Common, received: usize, to_send: usize, dropped: u64) -> Vec<u8> {
    let (received, to_send) = (received as i32, to_send as i32);
    // SK_MEMINFO_RMEM_ALLOC, RCVBUF, WMEM_ALLOC, SNDBUF, FWD_ALLOC, WMEM_QUEUED, OPTMEM, BACKLOG, DROPS.
    let words =
        [received, common.receive_buffer, to_send, common.send_buffer, 0, to_send, 0, 0, dropped as i32];
    words.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// Linux doubles what it is told, for its own book-keeping, and says so. A negative number is a large one there, too.
fn buffer(wanted: u32, max: i32, min: i32) -> i32 {
    (wanted.min(max as u32 / 2) as i32 * 2).max(min)
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
    let microseconds = u32::try_from(microseconds).ok().filter(|&us| us < 1_000_000).ok_or(EDOM)?;
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
        assert_eq!(common.send_buffer, MAX_BUFFER, "as a number without a sign");
        common.set(name::SNDBUF, &0i32.to_le_bytes()).unwrap();
        assert_eq!(common.send_buffer, MIN_SEND_BUFFER);
        common.set(name::RCVBUFFORCE, &i32::MAX.to_le_bytes()).unwrap();
        assert_eq!(common.receive_buffer, MAX_FORCED_BUFFER);
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
    fn linger_keeps_its_time_when_it_is_off() {
        let mut common = Common::new();
        let mut set = |on: i32, seconds: i32| {
            let value: Vec<u8> = [on, seconds].into_iter().flat_map(i32::to_le_bytes).collect();
            common.set(name::LINGER, &value).unwrap();
            (common.linger(), common.get(name::LINGER).unwrap())
        };
        assert_eq!(set(1, 5), (Some(Duration::from_secs(5)), [1, 0, 0, 0, 5, 0, 0, 0].into()));
        assert_eq!(set(0, 9), (None, [0, 0, 0, 0, 5, 0, 0, 0].into()));
        assert!(set(1, -1).0 > Some(Duration::from_secs(1 << 30)), "not at once");
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
