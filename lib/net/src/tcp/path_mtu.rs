//! [`PathMtu`]: the largest segment that the path takes (RFC 1191, RFC 8201, RFC 4821).
//!
//! Routers tell (ICMP, believed only as RFC 5927 has it). Where they do not, segments that vanish again and again find a
//! black hole, and probes, which are data in a larger segment, find the way up again. Sizes are those of RFC 6691:
//! octets without IP and TCP headers, options included.

use core::time::Duration;

use crate::Instant;

/// No router makes segments smaller than this by telling so: else a forged message made a header of every octet. As
/// Linux's 552 octets with headers. Segments the peer asked to be smaller are.
const MIN: u32 = 512;
/// Where probing begins after a black hole (RFC 4821 § 7.2: 1024 octets with headers).
const BASE: u32 = 984;
/// So many timeouts of one segment are a black hole, as Linux's `tcp_retries1`.
const BLACK_HOLE: u8 = 3;
/// After how long a path may have become wider (RFC 1191 § 6.3, RFC 8201 § 4: 10 minutes).
const RAISE: Duration = Duration::from_secs(600);
/// A search as exact as that is over (RFC 4821 § 7.6.1 leaves it open).
const EXACT: u32 = 32;

/// The search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// What is sent.
    pub(crate) mss: u32,
    /// What may work: search_high.
    pub(crate) high: u32,
    /// What both hosts take.
    pub(crate) limit: u32,
    /// Whether more is to be tried.
    pub(crate) is_searching: bool,
    /// The size of a probe that is in flight.
    pub(crate) probe: Option<u32>,
    /// When all sizes are to be tried again.
    pub(crate) raise_at: Option<Instant>,
    /// Timeouts since something was acknowledged.
    pub(crate) timeouts: u8,
}

impl PathMtu {
    /// The local link and the peer take segments of `limit` octets.
    pub(crate) const fn new(limit: u32) -> Self {
        Self { mss: limit, high: limit, limit, is_searching: false, probe: None, raise_at: None, timeouts: 0 }
    }

    /// A router takes only segments of `mss` octets. `true`: they are smaller from now on.
    pub(crate) fn on_too_big(&mut self, now: Instant, mss: u32) -> bool {
        let mss = mss.max(MIN);
        if mss < self.high {
            self.high = mss;
            self.raise_at = Some(now + RAISE);
        }
        if mss >= self.mss {
            return false;
        }
        self.mss = mss;
        self.is_searching = false;
        true
    }

    /// A segment of `len` octets was sent in vain once more. `true`: segments are smaller from now on.
    pub(crate) fn on_timeout(&mut self, now: Instant, len: u32) -> bool {
        self.timeouts = self.timeouts.saturating_add(1);
        let smaller = if self.mss > BASE { BASE } else { (self.mss / 2).max(MIN) };
        if self.timeouts < BLACK_HOLE || len <= smaller || smaller >= self.mss {
            return false;
        }
        self.timeouts = 0;
        self.mss = smaller;
        // Nothing says how much smaller it had to be, nor whether it was the size at all.
        self.is_searching = true;
        self.raise_at = Some(now + RAISE);
        true
    }

    /// New data was acknowledged.
    pub(crate) fn on_progress(&mut self) {
        self.timeouts = 0;
    }

    /// The size of a segment that is to be tried now, if there is one. RFC 4821 § 7.6.1 leaves the choice open: what
    /// was possible before, then halves.
    pub(crate) fn next_probe(&mut self, now: Instant) -> Option<u32> {
        if self.raise_at.take_if(|at| *at <= now).is_some() {
            self.high = self.limit;
            self.is_searching = true;
        }
        if !self.is_searching || self.probe.is_some() {
            return None;
        }
        if self.high < self.mss + EXACT && self.high < self.limit || self.high <= self.mss {
            self.is_searching = false;
            self.raise_at = Some(now + RAISE).filter(|_| self.mss < self.limit);
            return None;
        }
        Some(if self.high == self.limit { self.high } else { self.mss + (self.high - self.mss).div_ceil(2) })
    }

    /// The probe arrived. `true`: segments are larger from now on.
    pub(crate) fn on_probe_delivered(&mut self) -> bool {
        let Some(size) = self.probe.take().filter(|size| *size > self.mss) else { return false };
        self.mss = size;
        self.high = self.high.max(size);
        true
    }

    /// The probe was lost, and nothing else.
    pub(crate) fn on_probe_lost(&mut self) {
        if let Some(size) = self.probe.take() {
            self.high = self.high.min(size - 1).max(self.mss);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(0);

    /// Probes until there is none, on a path that takes `path` octets.
    fn search(mtu: &mut PathMtu, path: u32) -> u32 {
        for probes in 0.. {
            assert!(probes < 20, "{mtu:?}");
            let Some(size) = mtu.next_probe(NOW) else { break };
            mtu.probe = Some(size);
            if size <= path {
                assert!(mtu.on_probe_delivered());
            } else {
                mtu.on_probe_lost();
            }
        }
        mtu.mss
    }

    #[test]
    fn what_routers_tell() {
        let mut mtu = PathMtu::new(1460);
        assert!(!mtu.on_too_big(NOW, 1460) && !mtu.on_too_big(NOW, 9000));
        assert!(mtu.on_too_big(NOW, 1400));
        assert_eq!(mtu.mss, 1400);
        assert!(mtu.on_too_big(NOW, 1));
        assert_eq!(mtu.mss, 512, "there is a floor");
        assert!(!PathMtu::new(100).on_too_big(NOW, 1), "below which the peer may go, not the routers");
    }

    #[test]
    fn a_black_hole_is_found_and_left() {
        let mut mtu = PathMtu::new(1460);
        assert!(!mtu.on_timeout(NOW, 1460) && !mtu.on_timeout(NOW, 1460));
        assert!(mtu.on_timeout(NOW, 1460));
        assert_eq!(mtu.mss, 984);
        let found = search(&mut mtu, 1300);
        assert!((1300 - 32..=1300).contains(&found), "{found}");
    }

    #[test]
    fn a_path_that_takes_all_is_found_by_one_probe() {
        let mut mtu = PathMtu::new(1460);
        for _ in 0..3 {
            mtu.on_timeout(NOW, 1460);
        }
        assert_eq!(mtu.next_probe(NOW), Some(1460));
        assert_eq!(search(&mut mtu, 1460), 1460);
        assert_eq!(mtu.raise_at, None, "there is no more to find");
    }

    #[test]
    fn small_segments_are_no_black_hole() {
        let mut mtu = PathMtu::new(1460);
        assert!((0..10).all(|_| !mtu.on_timeout(NOW, 984)));
    }

    #[test]
    fn after_ten_minutes_more_is_tried() {
        let mut mtu = PathMtu::new(1460);
        mtu.on_too_big(NOW, 1400);
        assert_eq!(mtu.next_probe(NOW + Duration::from_secs(599)), None);
        assert_eq!(mtu.next_probe(NOW + Duration::from_secs(600)), Some(1460));
    }
}
