//! [`TimeWaitTable`]: connections of which nothing is left but TIME-WAIT (RFC 9293 § 3.6.1, RFC 1337, RFC 6191).

use alloc::collections::VecDeque;

use hashbrown::HashTable;
use wire::SeqNumber;
use wire::tcp::{Flags, Options, Repr, Timestamps};

use crate::tcp::options::TimestampState;
use crate::tcp::segment::bare;
use crate::tcp::state::{State, is_later_connection};
use crate::tcp::timers::MSL;
use crate::tcp::{Flow, FourTuple, Segment};
use crate::{Instant, Key};

/// Between answers to segments that nobody should send: two sides in TIME-WAIT must not answer each other for ever.
const ANSWER_INTERVAL_NS: u64 = 500_000_000;

/// What is left of a connection. Some 60 bytes, where a [`Flow`] takes a kilobyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWait {
    snd_nxt: SeqNumber,
    rcv_nxt: SeqNumber,
    window: u16,
    timestamps: Option<TimestampState>,
    timestamp_offset: u32,
    until: Instant,
    answered_at: Option<Instant>,
}

/// What is to be done with a segment.
#[derive(Debug)]
pub enum TimeWaitAnswer {
    /// It belongs to no connection in the table; it comes back.
    Unknown(Segment),
    /// Nothing.
    Ignore,
    /// Send this.
    Reply(Repr),
    /// It may open a new connection (RFC 6191): give it to the listener. The old one is gone.
    Reopen(Segment),
}

/// Connections in TIME-WAIT, at most a fixed number: where there are more, that which has waited longest goes, as every
/// system does. Found in constant time by a keyed hash.
#[derive(Debug)]
pub struct TimeWaitTable {
    key: Key,
    max: usize,
    entries: HashTable<(FourTuple, TimeWait)>,
    /// By the time at which they were due when they were put here; who is due later by now is put here again.
    due: VecDeque<(Instant, FourTuple)>,
    /// How many had to go early.
    pub evicted: u64,
}

impl Flow {
    /// What is left of this connection, if it is in TIME-WAIT and has nothing to send and nothing for the program: the
    /// flow may be dropped, and a [`TimeWaitTable`] goes on.
    pub fn time_wait(&self) -> Option<TimeWait> {
        if self.state != State::TimeWait || self.unread > 0 || self.ack.now || self.reset.is_some() {
            return None;
        }
        Some(TimeWait {
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            window: (self.rcv_wnd.size(self.rcv_nxt) >> self.rcv_shift()).min(u16::MAX.into()) as u16,
            timestamps: self.negotiated.timestamps,
            timestamp_offset: self.config.timestamp_offset,
            until: self.timers.time_wait?,
            answered_at: None,
        })
    }
}

impl TimeWaitTable {
    /// An empty table for at most `max` connections. `key` is used for nothing else.
    pub const fn new(key: Key, max: usize) -> Self {
        Self { key, max, entries: HashTable::new(), due: VecDeque::new(), evicted: 0 }
    }

    /// Takes over from a flow. Allocates when the table grows.
    pub fn insert(&mut self, tuple: FourTuple, time_wait: TimeWait) {
        if self.max == 0 {
            return;
        }
        self.remove(&tuple);
        while self.entries.len() >= self.max
            && let Some((_, oldest)) = self.due.pop_front()
        {
            self.evicted += u64::from(self.remove(&oldest).is_some());
        }
        let key = self.key;
        let hash = move |(tuple, _): &(FourTuple, TimeWait)| tuple.hash(&key, 0);
        self.entries.insert_unique(hash(&(tuple, time_wait)), (tuple, time_wait), hash);
        self.due.push_back((time_wait.until, tuple));
        // Of connections that were reopened a place stays here; they must not become more than those that count.
        if self.due.len() > 2 * self.max {
            let (entries, key) = (&self.entries, self.key);
            self.due.retain(|(_, tuple)| find(entries, &key, tuple).is_some());
        }
    }

    /// Takes a segment from `tuple.remote` to `tuple.local`.
    pub fn handle_segment(&mut self, now: Instant, tuple: &FourTuple, segment: Segment) -> TimeWaitAnswer {
        let hash = tuple.hash(&self.key, 0);
        let Some((_, time_wait)) = self.entries.find_mut(hash, |(known, _)| known == tuple) else {
            return TimeWaitAnswer::Unknown(segment);
        };
        let repr = &segment.repr;
        if repr.flags.has(Flags::RST) {
            // RFC 1337: a reset must not end TIME-WAIT.
            return TimeWaitAnswer::Ignore;
        }
        if is_later_connection(now, time_wait.timestamps, time_wait.rcv_nxt, repr) {
            self.remove(tuple);
            return TimeWaitAnswer::Reopen(segment);
        }
        if repr.flags.has(Flags::FIN) {
            // RFC 9293 § 3.10.7.4, eighth check: our last acknowledgment was lost.
            time_wait.until = now + MSL * 2;
        } else if segment.is_empty() && repr.seq == time_wait.rcv_nxt {
            return TimeWaitAnswer::Ignore;
        } else {
            let is_due = |at: Instant| now.0.saturating_sub(at.0) >= ANSWER_INTERVAL_NS;
            if !time_wait.answered_at.is_none_or(is_due) {
                return TimeWaitAnswer::Ignore;
            }
            time_wait.answered_at = Some(now);
        }
        TimeWaitAnswer::Reply(time_wait.acknowledgment(now, tuple))
    }

    /// When the next one is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Forgets those that are over. Looks at those that were due by now.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..self.due.len() {
            let Some((_, tuple)) = self.due.pop_front_if(|(at, _)| *at <= now) else { break };
            match find(&self.entries, &self.key, &tuple).map(|time_wait| time_wait.until) {
                Some(until) if until > now => self.due.push_back((until, tuple)),
                _ => drop(self.remove(&tuple)),
            }
        }
    }

    /// Connections in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, tuple: &FourTuple) -> Option<TimeWait> {
        let hash = tuple.hash(&self.key, 0);
        let entry = self.entries.find_entry(hash, |(known, _)| known == tuple).ok()?;
        Some(entry.remove().0.1)
    }
}

fn find<'a>(
    entries: &'a HashTable<(FourTuple, TimeWait)>,
    key: &Key,
    tuple: &FourTuple,
) -> Option<&'a TimeWait> {
    let hash = tuple.hash(key, 0);
    Some(&entries.find(hash, |(known, _)| known == tuple)?.1)
}

impl TimeWait {
    fn acknowledgment(&self, now: Instant, tuple: &FourTuple) -> Repr {
        let val = (now.as_millis() as u32).wrapping_add(self.timestamp_offset);
        let timestamps = self.timestamps.map(|state| Timestamps { val, ecr: state.recent });
        let options = Options { timestamps, ..Options::NONE };
        let repr = bare(tuple.local_port, tuple.remote_port, self.snd_nxt, self.rcv_nxt, Flags::ACK);
        Repr { window: self.window, options, ..repr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};
    use core::time::Duration;
    use wire::Port;

    const RCV_NXT: SeqNumber = SeqNumber(u32::MAX);

    fn tuple(n: u16) -> FourTuple {
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        FourTuple { local: ip(1), local_port: Port(80), remote: ip(2), remote_port: Port(n) }
    }

    fn time_wait(at: Instant) -> TimeWait {
        TimeWait {
            snd_nxt: SeqNumber(7),
            rcv_nxt: RCV_NXT,
            window: 100,
            timestamps: None,
            timestamp_offset: 0,
            until: at + MSL * 2,
            answered_at: None,
        }
    }

    fn segment(seq: SeqNumber, flags: Flags) -> Segment {
        Segment::new(bare(Port(1), Port(80), seq, SeqNumber(7), flags), None)
    }

    fn table(count: u16) -> TimeWaitTable {
        let mut table = TimeWaitTable::new(Key([1, 2]), 100);
        for n in 0..count {
            table.insert(tuple(n), time_wait(Instant::from_millis(n.into())));
        }
        table
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let mut table = table(150);
        assert_eq!((table.len(), table.evicted), (100, 50));
        let old = table.handle_segment(Instant(0), &tuple(49), segment(RCV_NXT, Flags::FIN | Flags::ACK));
        assert!(matches!(old, TimeWaitAnswer::Unknown(_)));
        let new = table.handle_segment(Instant(0), &tuple(50), segment(RCV_NXT, Flags::FIN | Flags::ACK));
        assert!(matches!(new, TimeWaitAnswer::Reply(_)));
    }

    #[test]
    fn a_fin_again_is_answered_and_restarts() {
        let mut table = table(1);
        let later = Instant(0) + Duration::from_secs(50);
        let answer = table.handle_segment(later, &tuple(0), segment(RCV_NXT - 1, Flags::FIN | Flags::ACK));
        let TimeWaitAnswer::Reply(repr) = answer else { panic!("{answer:?}") };
        assert_eq!((repr.seq, repr.ack, repr.window, repr.dst_port), (SeqNumber(7), RCV_NXT, 100, Port(0)));
        table.handle_timeout(Instant(0) + Duration::from_secs(60));
        assert_eq!((table.len(), table.poll_timeout()), (1, Some(later + MSL * 2)));
        table.handle_timeout(later + MSL * 2);
        assert_eq!((table.len(), table.poll_timeout()), (0, None));
    }

    #[test]
    fn resets_and_bare_acknowledgments_change_nothing() {
        // RFC 1337 § 3.
        let mut table = table(1);
        for flags in [Flags::RST, Flags::ACK] {
            let answer = table.handle_segment(Instant(0), &tuple(0), segment(RCV_NXT, flags));
            assert!(matches!(answer, TimeWaitAnswer::Ignore));
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn strange_segments_are_answered_twice_a_second() {
        let mut table = table(1);
        let mut answers = 0;
        for n in 0..100 {
            let now = Instant::from_millis(n * 10);
            let answer = table.handle_segment(now, &tuple(0), segment(RCV_NXT - 100, Flags::ACK));
            answers += u32::from(matches!(answer, TimeWaitAnswer::Reply(_)));
        }
        assert_eq!(answers, 2);
    }

    #[test]
    fn a_later_syn_reopens() {
        // RFC 6191 § 2.
        let mut table = table(1);
        let old = table.handle_segment(Instant(0), &tuple(0), segment(RCV_NXT - 1, Flags::SYN));
        assert!(matches!(old, TimeWaitAnswer::Reply(_)));
        let new = table.handle_segment(Instant(0), &tuple(0), segment(RCV_NXT + 1, Flags::SYN));
        assert!(matches!(new, TimeWaitAnswer::Reopen(_)));
        assert!(table.is_empty());
    }
}
