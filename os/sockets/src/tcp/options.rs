//! What can be set at a stream socket (tcp(7), ip(7)).

use alloc::vec::Vec;
use core::time::Duration;

use linux::errno::{EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPROTO, Errno};
use net::Instant;
use net::tcp::{Algorithm, Config, Flow, KeepAlive};
use wire::Port;

use crate::ip_options::{self, Ip};
use crate::options::{Common, IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET, int, of_int};

/// Names at `IPPROTO_TCP`.
pub(super) mod name {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const USER_TIMEOUT: i32 = 18;
    pub const NOTSENT_LOWAT: i32 = 25;
}

/// Names of `TCP_CONGESTION`.
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("cubic", Algorithm::Cubic), ("reno", Algorithm::NewReno), ("bbr", Algorithm::Bbr)];
/// `TCP_CA_NAME_MAX`.
const ALGORITHM_LEN: usize = 16;
/// How long the peer of a closed connection may leave it half open, in seconds (`net.ipv4.tcp_fin_timeout`), and most that a
/// program may say.
const FIN_TIMEOUT: i32 = 60;
const MAX_FIN_TIMEOUT: i32 = 120;
/// The least window that a program may ask for (half of the least buffer).
const MIN_WINDOW_CLAMP: i32 = 1152;
/// `TCP_MIN_MSS` and `MAX_TCP_WINDOW`.
const SEGMENTS: core::ops::RangeInclusive<i32> = 88..=32_767;
/// What is sent to a peer that did not say what it takes.
const DEFAULT_SEGMENT: i32 = 536;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) common: Common,
    pub(super) ip: Ip,
    nodelay: bool,
    cork: bool,
    keep_idle: u32,
    keep_interval: u32,
    keep_count: u32,
    syn_count: u8,
    /// Seconds; 0: as the system has it; -1: not at all.
    linger2: i32,
    user_timeout_ms: u32,
    /// Seconds, as they come out of [`whole_backoff`].
    defer_accept: u32,
    quick_ack: bool,
    /// Octets; 0: as the path has it.
    max_segment: u16,
    /// Octets; 0: none.
    window_clamp: i32,
    /// Octets; 0: none.
    not_sent_low_water: u32,
    algorithm: Algorithm,
}

impl Options {
    pub(super) const fn new() -> Self {
        Self {
            common: Common::new(),
            ip: Ip::new(true),
            nodelay: false,
            cork: false,
            keep_idle: 7200,
            keep_interval: 75,
            keep_count: 9,
            syn_count: 6,
            linger2: 0,
            user_timeout_ms: 0,
            defer_accept: 0,
            quick_ack: true,
            max_segment: 0,
            window_clamp: 0,
            not_sent_low_water: 0,
            algorithm: Algorithm::Cubic,
        }
    }

    /// What a flow is made with.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(Port::NONE, Port::NONE);
        config.nagle = !self.nodelay;
        config.algorithm = self.algorithm;
        config.keep_alive = self.keep_alive();
        config.user_timeout = self.user_timeout();
        config.syn_retries = Some(self.syn_count);
        config.fin_wait_2 = self.fin_wait_2();
        config.max_pacing_rate = self.common.max_pacing_rate();
        config.defer_accept = (self.defer_accept > 0).then(|| Duration::from_secs(self.defer_accept.into()));
        config.ip = self.ip.for_stack(&self.common);
        if self.max_segment > 0 {
            config.max_segment = self.max_segment;
        }
        if let Some(window) = self.window() {
            config.receive_buffer = config.receive_buffer.min(window);
            config.receive_buffer_max = window;
            if self.common.receive_buffer_fixed {
                config.receive_buffer = window;
            }
        }
        config
    }

    /// Has a flow follow what was changed.
    pub(super) fn apply(&self, flow: &mut Flow, now: Instant) {
        flow.set_nagle(!self.nodelay);
        flow.set_cork(self.cork);
        flow.set_keep_alive(now, self.keep_alive());
        flow.set_user_timeout(self.user_timeout());
        flow.set_syn_retries(Some(self.syn_count));
        flow.set_fin_wait_2(self.fin_wait_2());
        flow.set_max_pacing_rate(self.common.max_pacing_rate());
        flow.set_algorithm(now, self.algorithm);
        flow.set_ip(self.ip.for_stack(&self.common));
        if let Some(window) = self.window() {
            flow.set_receive_limit(window);
        }
    }

    pub(super) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match level {
            SOL_SOCKET => self.common.set(name, value),
            IPPROTO_TCP => self.set_tcp(name, value),
            IPPROTO_IP => match name {
                // Groups have no connections.
                ip_options::name::MULTICAST_TTL | ip_options::name::MULTICAST_IF => Err(EINVAL),
                ip_options::name::ADD_MEMBERSHIP | ip_options::name::DROP_MEMBERSHIP => Err(EPROTO),
                _ => self.ip.set(name, value),
            },
            _ => Err(ENOPROTOOPT),
        }
    }

    fn set_tcp(&mut self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == name::CONGESTION {
            self.algorithm = algorithm(value)?;
            return Ok(());
        }
        let number = int(value)?;
        let flag = number != 0;
        match name {
            name::NODELAY => self.nodelay = flag,
            name::CORK => self.cork = flag,
            name::MAXSEG if number == 0 || SEGMENTS.contains(&number) => self.max_segment = number as u16,
            name::MAXSEG => return Err(EINVAL),
            name::KEEPIDLE => self.keep_idle = positive(number, 32_767)?,
            name::KEEPINTVL => self.keep_interval = positive(number, 32_767)?,
            name::KEEPCNT => self.keep_count = positive(number, 127)?,
            name::SYNCNT => self.syn_count = positive(number, 127)? as u8,
            name::LINGER2 => self.linger2 = number.clamp(-1, MAX_FIN_TIMEOUT),
            name::DEFER_ACCEPT => self.defer_accept = whole_backoff(number.max(0) as u32),
            name::WINDOW_CLAMP => {
                self.window_clamp = if flag { number.max(MIN_WINDOW_CLAMP) } else { 0 };
            }
            name::QUICKACK => self.quick_ack = flag,
            name::USER_TIMEOUT => {
                self.user_timeout_ms = u32::try_from(number).map_err(|_| EINVAL)?;
            }
            name::NOTSENT_LOWAT => self.not_sent_low_water = number as u32,
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    pub(super) fn get(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        match level {
            SOL_SOCKET => self.common.get(name),
            IPPROTO_TCP => self.get_tcp(name),
            IPPROTO_IP => self.ip.get(name),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn get_tcp(&self, name: i32) -> Result<Vec<u8>, Errno> {
        Ok(of_int(match name {
            name::NODELAY => self.nodelay.into(),
            // Of one that has no connection; another has what that came to.
            name::MAXSEG if self.max_segment == 0 => DEFAULT_SEGMENT,
            name::MAXSEG => self.max_segment.into(),
            name::CORK => self.cork.into(),
            name::KEEPIDLE => self.keep_idle as i32,
            name::KEEPINTVL => self.keep_interval as i32,
            name::KEEPCNT => self.keep_count as i32,
            name::SYNCNT => self.syn_count.into(),
            name::LINGER2 if self.linger2 == 0 => FIN_TIMEOUT,
            name::LINGER2 => self.linger2,
            name::DEFER_ACCEPT => self.defer_accept as i32,
            name::WINDOW_CLAMP => self.window_clamp,
            name::QUICKACK => self.quick_ack.into(),
            name::USER_TIMEOUT => self.user_timeout_ms as i32,
            name::NOTSENT_LOWAT => self.not_sent_low_water as i32,
            name::CONGESTION => return Ok(algorithm_name(self.algorithm)),
            _ => return Err(ENOPROTOOPT),
        }))
    }

    /// Octets that may wait to be sent before no more is taken (`TCP_NOTSENT_LOWAT`).
    pub(super) fn not_sent_low_water(&self) -> Option<usize> {
        (self.not_sent_low_water > 0).then_some(self.not_sent_low_water as usize)
    }

    /// `TCP_QUICKACK`.
    pub(super) fn quick_ack(&self) -> bool {
        self.quick_ack
    }

    /// Octets that have to be there before a receive of `wanted` octets returns (`SO_RCVLOWAT`). No more than the window holds.
    pub(super) fn receive_low_water(&self, wanted: usize) -> usize {
        let window = self.window().unwrap_or(self.common.receive_buffer as u32 / 2) as usize;
        (self.common.receive_low_water as usize).min(window).min(wanted).max(1)
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        self.common.keep_alive.then(|| KeepAlive {
            idle: Duration::from_secs(self.keep_idle.into()),
            interval: Duration::from_secs(self.keep_interval.into()),
            probes: self.keep_count,
        })
    }

    fn user_timeout(&self) -> Option<Duration> {
        (self.user_timeout_ms > 0).then(|| Duration::from_millis(self.user_timeout_ms.into()))
    }

    fn fin_wait_2(&self) -> Option<Duration> {
        let seconds = if self.linger2 == 0 { FIN_TIMEOUT } else { self.linger2 };
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// The window that a program asked for, which then does not grow by itself: half of the buffer, as on Linux
    /// (`tcp_adv_win_scale`), and no more than the clamp. `None`: it said nothing.
    fn window(&self) -> Option<u32> {
        let buffer = self.common.receive_buffer_fixed.then_some(self.common.receive_buffer as u32 / 2);
        let clamp = u32::try_from(self.window_clamp).ok().filter(|clamp| *clamp > 0);
        buffer.into_iter().chain(clamp).min()
    }
}

fn positive(value: i32, most: i32) -> Result<u32, Errno> {
    if (1..=most).contains(&value) { Ok(value as u32) } else { Err(EINVAL) }
}

/// The time after which a SYN-ACK is sent again so often that it is at least as long: Linux counts in these (`secs_to_retrans`).
fn whole_backoff(seconds: u32) -> u32 {
    const MOST: u32 = 120;
    const MOST_TIMES: u32 = 255;
    if seconds == 0 {
        return 0;
    }
    let (mut period, mut timeout) = (1, 1);
    for _ in 1..MOST_TIMES {
        if period >= seconds {
            break;
        }
        timeout = MOST.min(timeout * 2);
        period += timeout;
    }
    period
}

fn algorithm(value: &[u8]) -> Result<Algorithm, Errno> {
    if value.is_empty() {
        return Err(EINVAL);
    }
    let name = value.get(..ALGORITHM_LEN - 1).unwrap_or(value);
    let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
    let found = ALGORITHMS.iter().find(|(known, _)| known.as_bytes() == name);
    found.map(|(_, algorithm)| *algorithm).ok_or(ENOENT)
}

fn algorithm_name(algorithm: Algorithm) -> Vec<u8> {
    let name = ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("", |(name, _)| name);
    let mut octets = name.as_bytes().to_vec();
    octets.resize(ALGORITHM_LEN, 0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::name as socket_name;

    #[test]
    fn the_window_is_half_of_what_was_asked_for() {
        let mut options = Options::new();
        let config = options.config();
        assert!(config.receive_buffer < config.receive_buffer_max, "it grows");
        options.set(SOL_SOCKET, socket_name::RCVBUF, &20_000i32.to_le_bytes()).unwrap();
        let config = options.config();
        assert_eq!((config.receive_buffer, config.receive_buffer_max), (20_000, 20_000));
        options.set(IPPROTO_TCP, name::WINDOW_CLAMP, &5000i32.to_le_bytes()).unwrap();
        let config = options.config();
        assert_eq!((config.receive_buffer, config.receive_buffer_max), (5000, 5000));
    }

    #[test]
    fn ranges_are_linuxs() {
        let mut options = Options::new();
        let mut set = |name, value: i32| options.set(IPPROTO_TCP, name, &value.to_le_bytes());
        assert_eq!(set(name::KEEPIDLE, 0), Err(EINVAL));
        assert_eq!(set(name::KEEPIDLE, 32_768), Err(EINVAL));
        assert_eq!(set(name::KEEPCNT, 127), Ok(()));
        assert_eq!(set(name::KEEPCNT, 128), Err(EINVAL));
        assert_eq!(set(name::SYNCNT, 128), Err(EINVAL));
        assert_eq!(set(name::MAXSEG, 87), Err(EINVAL));
        assert_eq!(set(name::MAXSEG, 32_768), Err(EINVAL));
        assert_eq!(set(name::MAXSEG, 1000), Ok(()));
        assert_eq!(set(name::USER_TIMEOUT, -1), Err(EINVAL));
        assert_eq!(set(name::LINGER2, 1000), Ok(()));
        assert_eq!(set(999, 1), Err(ENOPROTOOPT));
        let get = |name| options.get(IPPROTO_TCP, name).unwrap();
        assert_eq!(get(name::KEEPCNT), 127i32.to_le_bytes());
        assert_eq!(get(name::MAXSEG), 1000i32.to_le_bytes());
        assert_eq!(get(name::LINGER2), 120i32.to_le_bytes());
    }

    #[test]
    fn times_are_rounded_to_whole_backoffs() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 60].map(whole_backoff), [0, 1, 3, 3, 7, 7, 15, 63]);
        assert!(whole_backoff(u32::MAX) < 32_768);
    }

    #[test]
    fn algorithms_have_names() {
        let mut options = Options::new();
        assert_eq!(options.get(IPPROTO_TCP, name::CONGESTION).unwrap(), *b"cubic\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(options.set(IPPROTO_TCP, name::CONGESTION, b"reno"), Ok(()));
        assert_eq!(options.config().algorithm, Algorithm::NewReno);
        assert_eq!(options.set(IPPROTO_TCP, name::CONGESTION, b"vegas"), Err(ENOENT));
        assert_eq!(options.set(IPPROTO_TCP, name::CONGESTION, b""), Err(EINVAL));
    }

    #[test]
    fn a_low_water_mark_can_be_reached() {
        let mut options = Options::new();
        assert_eq!(options.receive_low_water(100), 1);
        options.set(SOL_SOCKET, socket_name::RCVLOWAT, &50i32.to_le_bytes()).unwrap();
        assert_eq!([10, 50, 100].map(|wanted| options.receive_low_water(wanted)), [10, 50, 50]);
        options.set(SOL_SOCKET, socket_name::RCVLOWAT, &i32::MAX.to_le_bytes()).unwrap();
        options.set(SOL_SOCKET, socket_name::RCVBUF, &10_000i32.to_le_bytes()).unwrap();
        assert_eq!(options.receive_low_water(usize::MAX), 10_000);
    }
}
