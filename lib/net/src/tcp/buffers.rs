//! [`ReceiveTuner`]: how large the receive buffer has to be for the path to be the limit; and the same for the send
//! buffer. (Dynamic right-sizing: Fisk and Feng, 2001; as Linux's `tcp_rcv_space_adjust`.)

use core::time::Duration;

use crate::Instant;

/// Counts what the program reads in a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveTuner {
    /// When the round trip began.
    pub(crate) since: Instant,
    /// Octets read since.
    pub(crate) octets: u32,
}

impl ReceiveTuner {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, octets: 0 }
    }

    /// The program has read octets. Returns what the buffer should be now: twice what it read in a round trip, so that a
    /// sender whose window doubles in each is never held up; never less than it is.
    pub(crate) fn on_read(
        &mut self,
        now: Instant,
        octets: u32,
        round_trip: Option<Duration>,
        capacity: u32,
        max: u32,
    ) -> u32 {
        self.octets = self.octets.saturating_add(octets);
        // A path that takes no time needs a buffer, too: as much as is read between two timers.
        let Some(round_trip) = round_trip.map(|rtt| rtt.max(Duration::from_millis(1))) else {
            return capacity;
        };
        if now.since(self.since) < round_trip {
            return capacity;
        }
        // Over a longer time it read more than in a round trip.
        let round_trips = now.since(self.since).as_nanos() / round_trip.as_nanos();
        let in_one = u64::from(self.octets) / u64::try_from(round_trips).unwrap_or(u64::MAX);
        *self = Self::new(now);
        let wanted = in_one.saturating_mul(2).min(max.into()) as u32;
        // With room for a window that grows meanwhile.
        if wanted > capacity { wanted.saturating_add(wanted / 2).min(max) } else { capacity }
    }
}

/// What may wait to be acknowledged: at least `least`; where the window is large, the window being sent and the one to
/// follow; at most `max`.
pub(crate) fn send_buffer(least: u32, max: u32, cwnd: u32) -> u32 {
    cwnd.saturating_mul(2).max(least).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_reader_gets_more_up_to_the_bound() {
        let mut tuner = ReceiveTuner::new(Instant(0));
        let rtt = Some(Duration::from_millis(100));
        let at = Instant::from_millis;
        assert_eq!(tuner.on_read(at(50), 50_000, rtt, 60_000, 1_000_000), 60_000);
        assert_eq!(tuner.on_read(at(100), 10_000, rtt, 60_000, 1_000_000), 180_000);
        assert_eq!(tuner.on_read(at(200), 180_000, rtt, 180_000, 400_000), 400_000);
        assert_eq!(
            tuner.on_read(at(300), 1000, rtt, 400_000, 400_000),
            400_000,
            "it never shrinks by itself"
        );
    }

    #[test]
    fn a_pause_is_no_round_trip() {
        let mut tuner = ReceiveTuner::new(Instant(0));
        let rtt = Some(Duration::from_millis(100));
        assert_eq!(tuner.on_read(Instant::from_millis(10_000), 60_000, rtt, 60_000, 1_000_000), 60_000);
    }

    #[test]
    fn send_buffers() {
        assert_eq!(send_buffer(64_000, 1_000_000, 14_600), 64_000);
        assert_eq!(send_buffer(64_000, 1_000_000, 100_000), 200_000);
        assert_eq!(send_buffer(64_000, 1_000_000, 1 << 30), 1_000_000);
    }
}
