//! [`Path`]: one direction of a link of a given rate, with a queue, delay and losses that follow from a seed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Octets a second: 100 Mbit/s.
const RATE: f64 = 12.5e6;
/// Octets that may wait for the link: half of the bandwidth-delay product of the longest path, as much as cheap routers have.
const QUEUE: Duration = Duration::from_millis(50);

/// How good a path is.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// In one direction.
    delay: Duration,
    /// Part of the frames that is lost.
    loss: f64,
}

impl Quality {
    /// A round trip without load, and the part of frames that is lost in each direction.
    pub fn new(round_trip: Duration, loss: f64) -> Self {
        Self { delay: round_trip / 2, loss }
    }
}

/// One direction. What goes in first comes out first.
pub struct Path {
    quality: Quality,
    seed: u64,
    /// When the link has sent all that waits.
    busy_until: Option<Instant>,
    frames: VecDeque<(Instant, Vec<u8>)>,
}

impl Path {
    /// An empty path.
    pub fn new(quality: Quality, seed: u64) -> Self {
        Self { quality, seed, busy_until: None, frames: VecDeque::new() }
    }

    /// A frame goes in.
    pub fn put(&mut self, now: Instant, frame: &[u8]) {
        let begins = self.busy_until.map_or(now, |until| until.max(now));
        if begins - now > QUEUE || self.next() < self.quality.loss {
            return;
        }
        let ends = begins + Duration::from_secs_f64(frame.len() as f64 / RATE);
        self.busy_until = Some(ends);
        self.frames.push_back((ends + self.quality.delay, frame.to_vec()));
    }

    /// When the next frame comes out.
    pub fn next_arrival(&self) -> Option<Instant> {
        Some(self.frames.front()?.0)
    }

    /// The next frame, if it is there.
    pub fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        Some(self.frames.pop_front_if(|(at, _)| *at <= now)?.1)
    }

    /// A number in `0..1` (Steele, Lea, Flood: SplitMix64).
    fn next(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_delay_and_queue() {
        let now = Instant::now();
        let mut path = Path::new(Quality::new(Duration::from_millis(20), 0.0), 1);
        for _ in 0..1000 {
            path.put(now, &[0; 1250]);
        }
        // 0.1 ms each; what waits for more than 50 ms was dropped.
        assert_eq!(path.next_arrival(), Some(now + Duration::from_micros(10_100)));
        assert!(path.take(now + Duration::from_micros(10_099)).is_none());
        let came = std::iter::from_fn(|| path.take(now + Duration::from_secs(1))).count();
        assert!((500..=502).contains(&came), "{came}");
    }

    #[test]
    fn losses_are_as_many_as_asked_for_and_the_same_again() {
        let lost = |seed| {
            let now = Instant::now();
            let mut path = Path::new(Quality::new(Duration::ZERO, 0.03), seed);
            let kept = |n: u64| {
                path.put(now + Duration::from_secs(n), &[0; 100]);
                path.take(now + Duration::from_secs(n + 1)).is_some()
            };
            (0..10_000).map(kept).collect::<Vec<_>>()
        };
        let kept = lost(7);
        assert_eq!(kept, lost(7));
        assert_ne!(kept, lost(8));
        let count = kept.iter().filter(|kept| !**kept).count();
        assert!((250..350).contains(&count), "{count}");
    }
}
