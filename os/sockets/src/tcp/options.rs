//! What can be set at a stream socket (tcp(7), ip(7)).

use alloc::vec::Vec;
use core::time::Duration;

use linux::errno::{EINVAL, ENOPROTOOPT, Errno};
use net::Instant;
use net::tcp::{Config, Flow, KeepAlive};
use wire::Port;

use super::CHUNK;
use crate::options::{Common, IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET, int, of_int};

/// Names at `IPPROTO_TCP`.
mod name {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const QUICKACK: i32 = 12;
    pub const USER_TIMEOUT: i32 = 18;
}

/// Names at `IPPROTO_IP`.
mod ip_name {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) common: Common,
    nodelay: bool,
    cork: bool,
    keep_idle: u32,
    keep_interval: u32,
    keep_count: u32,
    user_timeout_ms: u32,
    defer_accept: i32,
    traffic_class: i32,
    ttl: i32,
}

impl Options {
    pub(super) const fn new() -> Self {
        Self {
            common: Common::new(),
            nodelay: false,
            cork: false,
            keep_idle: 7200,
            keep_interval: 75,
            keep_count: 9,
            user_timeout_ms: 0,
            defer_accept: 0,
            traffic_class: 0,
            ttl: 64,
        }
    }

    /// What a flow is made with.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(Port::NONE, Port::NONE);
        config.nagle = !self.nodelay;
        config.keep_alive = self.keep_alive();
        config.user_timeout = self.user_timeout();
        if let Some(window) = self.window() {
            config.receive_buffer = window;
            config.receive_buffer_max = window;
        }
        config
    }

    /// Has a flow follow what was changed.
    pub(super) fn apply(&self, flow: &mut Flow, now: Instant) {
        flow.set_nagle(!self.nodelay);
        flow.set_cork(self.cork);
        flow.set_keep_alive(now, self.keep_alive());
        flow.set_user_timeout(self.user_timeout());
    }

    pub(super) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name) {
            (SOL_SOCKET, _) => self.common.set(name, value)?,
            (IPPROTO_TCP, name::NODELAY) => self.nodelay = int(value)? != 0,
            (IPPROTO_TCP, name::CORK) => self.cork = int(value)? != 0,
            (IPPROTO_TCP, name::KEEPIDLE) => self.keep_idle = positive(int(value)?, 32_767)?,
            (IPPROTO_TCP, name::KEEPINTVL) => self.keep_interval = positive(int(value)?, 32_767)?,
            (IPPROTO_TCP, name::KEEPCNT) => self.keep_count = positive(int(value)?, 127)?,
            (IPPROTO_TCP, name::USER_TIMEOUT) => {
                self.user_timeout_ms = u32::try_from(int(value)?).map_err(|_| EINVAL)?;
            }
            (IPPROTO_TCP, name::DEFER_ACCEPT) => self.defer_accept = int(value)?,
            (IPPROTO_TCP, name::QUICKACK) => drop(int(value)?),
            (IPPROTO_IP, ip_name::TOS) => self.traffic_class = int(value)? & 0xff,
            (IPPROTO_IP, ip_name::TTL) => self.ttl = positive(int(value)?, 255)? as i32,
            _ => return Err(ENOPROTOOPT),
        }
        Ok(())
    }

    pub(super) fn get(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        Ok(match (level, name) {
            (SOL_SOCKET, _) => self.common.get(name)?,
            (IPPROTO_TCP, name::NODELAY) => of_int(self.nodelay.into()),
            (IPPROTO_TCP, name::MAXSEG) => of_int(CHUNK as i32),
            (IPPROTO_TCP, name::CORK) => of_int(self.cork.into()),
            (IPPROTO_TCP, name::KEEPIDLE) => of_int(self.keep_idle as i32),
            (IPPROTO_TCP, name::KEEPINTVL) => of_int(self.keep_interval as i32),
            (IPPROTO_TCP, name::KEEPCNT) => of_int(self.keep_count as i32),
            (IPPROTO_TCP, name::USER_TIMEOUT) => of_int(self.user_timeout_ms as i32),
            (IPPROTO_TCP, name::DEFER_ACCEPT) => of_int(self.defer_accept),
            (IPPROTO_TCP, name::QUICKACK) => of_int(1),
            (IPPROTO_IP, ip_name::TOS) => of_int(self.traffic_class),
            (IPPROTO_IP, ip_name::TTL) => of_int(self.ttl),
            _ => return Err(ENOPROTOOPT),
        })
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

    /// The window that a program asked for, which then does not grow by itself: half of the buffer, as on Linux
    /// (`tcp_adv_win_scale`). `None`: it said nothing.
    fn window(&self) -> Option<u32> {
        self.common.receive_buffer_fixed.then_some(self.common.receive_buffer as u32 / 2)
    }
}

fn positive(value: i32, most: i32) -> Result<u32, Errno> {
    if (1..=most).contains(&value) { Ok(value as u32) } else { Err(EINVAL) }
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
    }

    #[test]
    fn ranges_are_linuxs() {
        let mut options = Options::new();
        let mut set = |name, value: i32| options.set(IPPROTO_TCP, name, &value.to_le_bytes());
        assert_eq!(set(name::KEEPIDLE, 0), Err(EINVAL));
        assert_eq!(set(name::KEEPIDLE, 32_768), Err(EINVAL));
        assert_eq!(set(name::KEEPCNT, 127), Ok(()));
        assert_eq!(set(name::KEEPCNT, 128), Err(EINVAL));
        assert_eq!(set(name::USER_TIMEOUT, -1), Err(EINVAL));
        assert_eq!(set(999, 1), Err(ENOPROTOOPT));
        assert_eq!(options.get(IPPROTO_TCP, name::KEEPCNT).unwrap(), 127i32.to_le_bytes());
    }
}
