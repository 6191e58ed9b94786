//! [`InFlight`]: the segments that were sent and not acknowledged, each with what loss detection and rate estimation
//! want to know of it (RFC 8985 § 5.1, draft-ietf-ccwg-bbr § 4.1).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wire::SeqNumber;

use crate::Instant;
use crate::tcp::rate::SentRate;

/// Most segments in flight: the bound of memory (about 8 MiB) for a program that sends octets one by one, and for a
/// peer that takes only small segments.
pub(crate) const MAX_SEGMENTS: usize = 1 << 16;

/// Where a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On its way, as far as is known.
    Flying,
    /// Reported by a selective acknowledgment.
    Sacked,
    /// Lost, and not yet sent again.
    Lost,
}

/// A segment that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub(crate) seq: SeqNumber,
    /// Sequence numbers it takes, FIN included; not 0.
    pub(crate) len: u32,
    /// When it was sent last.
    pub(crate) at: Instant,
    pub(crate) status: Status,
    /// How often it was sent again.
    pub(crate) retransmissions: u8,
    /// It is larger than segments usually are, to find out whether the path takes that (RFC 4821).
    pub(crate) mtu_probe: bool,
    pub(crate) rate: SentRate,
}

impl Sent {
    pub(crate) fn end(&self) -> SeqNumber {
        self.seq + self.len
    }
}

/// Which segment; stays the same while others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// A segment and its neighbours in the list of its status.
#[derive(Clone, Copy, Debug)]
struct Node {
    sent: Sent,
    previous: Option<Id>,
    next: Option<Id>,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: Option<Id>,
    last: Option<Id>,
}

/// Segments in the order of their sequence numbers, without gaps from SND.UNA to SND.NXT.
///
/// Those that fly are also in a list in the order in which they were sent last, and those that are lost in one in the
/// order in which they are to be sent again. So each acknowledgment costs work for the segments whose status it
/// changes, however many there are.
#[derive(Debug)]
pub(crate) struct InFlight {
    nodes: VecDeque<Node>,
    /// Id of the first node.
    base: u32,
    flying: List,
    lost: List,
    /// Octets that fly.
    flying_octets: u32,
    lost_octets: u32,
    sacked_segments: u32,
}

impl InFlight {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: VecDeque::new(),
            base: 0,
            flying: List { first: None, last: None },
            lost: List { first: None, last: None },
            flying_octets: 0,
            lost_octets: 0,
            sacked_segments: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_SEGMENTS
    }

    pub(crate) fn segments(&self) -> usize {
        self.nodes.len()
    }

    /// Octets that fly.
    pub(crate) fn flying_octets(&self) -> u32 {
        self.flying_octets
    }

    pub(crate) fn lost_octets(&self) -> u32 {
        self.lost_octets
    }

    pub(crate) fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Sent> {
        Some(&self.nodes.get(self.index(id))?.sent)
    }

    /// The segment at SND.UNA.
    pub(crate) fn first(&self) -> Option<(Id, &Sent)> {
        Some((Id(self.base), &self.nodes.front()?.sent))
    }

    /// The segment before SND.NXT.
    pub(crate) fn last(&self) -> Option<(Id, &Sent)> {
        let node = self.nodes.back()?;
        Some((self.id(self.nodes.len() - 1), &node.sent))
    }

    /// The segment that was sent longest ago and still flies.
    pub(crate) fn first_flying(&self) -> Option<(Id, &Sent)> {
        let id = self.flying.first?;
        Some((id, self.get(id)?))
    }

    /// The lost segment to be sent again first: that at SND.UNA, which all others wait for, or the one that was lost
    /// first.
    pub(crate) fn first_lost(&self) -> Option<(Id, &Sent)> {
        if let Some(first) = self.first().filter(|(_, sent)| sent.status == Status::Lost) {
            return Some(first);
        }
        let id = self.lost.first?;
        Some((id, self.get(id)?))
    }

    /// All, by sequence number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Sent)> {
        self.nodes.iter().enumerate().map(|(index, node)| (self.id(index), &node.sent))
    }

    /// A segment is sent for the first time. It follows the last one.
    pub(crate) fn push(&mut self, sent: Sent) {
        self.nodes.push_back(Node { sent, previous: None, next: None });
        self.link(self.id(self.nodes.len() - 1));
    }

    /// A segment is sent again now.
    pub(crate) fn retransmit(&mut self, id: Id, at: Instant, rate: SentRate) {
        self.unlink(id);
        if let Some(sent) = self.get_mut(id) {
            sent.status = Status::Flying;
            sent.at = at;
            sent.retransmissions = sent.retransmissions.saturating_add(1);
            sent.rate = rate;
        }
        self.link(id);
    }

    /// A segment that flew is lost.
    pub(crate) fn mark_lost(&mut self, id: Id) {
        self.set_status(id, Status::Lost);
    }

    /// Lost segments that were never sent again fly after all: they were only late. For once in a recovery: looks at
    /// every lost segment.
    pub(crate) fn unmark_lost(&mut self) {
        let lost = self.ids(self.lost);
        // They were sent before everything that flies now, in the order of their numbers.
        for &id in lost.iter().rev() {
            if self.get(id).is_some_and(|sent| sent.retransmissions == 0) {
                self.unlink(id);
                if let Some(sent) = self.get_mut(id) {
                    sent.status = Status::Flying;
                }
                self.link_first(id);
            }
        }
    }

    /// Everything before `una` is acknowledged; `delivered` sees what was not reported before.
    pub(crate) fn acknowledge(&mut self, una: SeqNumber, mut delivered: impl FnMut(&Sent)) {
        while let Some((id, sent)) = self.first() {
            let sent = *sent;
            if sent.end() <= una {
                self.unlink(id);
                if sent.status != Status::Sacked {
                    delivered(&sent);
                }
                self.nodes.pop_front();
                self.base = self.base.wrapping_add(1);
                continue;
            }
            if sent.seq < una {
                let octets = una.since(sent.seq);
                self.unlink(id);
                if let Some(sent) = self.get_mut(id) {
                    sent.seq = una;
                    sent.len -= octets;
                }
                self.relink(id, &sent);
                if sent.status != Status::Sacked {
                    delivered(&Sent { len: octets, ..sent });
                }
            }
            return;
        }
    }

    /// Puts a segment back where it was after its length changed. It is the first one by number, and was the first of
    /// its list or near to it.
    fn relink(&mut self, id: Id, before: &Sent) {
        match before.status {
            Status::Flying if before.retransmissions > 0 => self.link(id),
            _ => self.link_first(id),
        }
    }

    /// The segments that lie wholly in `left..right`, as the range that they cover. `None`: there is none.
    pub(crate) fn whole(&self, left: SeqNumber, right: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let from = self.nodes.partition_point(|node| node.sent.seq < left);
        let to = self.nodes.partition_point(|node| node.sent.end() <= right);
        (from < to).then(|| (self.nodes[from].sent.seq, self.nodes[to - 1].sent.end()))
    }

    /// The segments in `left..right` are reported for the first time; `delivered` sees each. The range is one of whole
    /// segments.
    pub(crate) fn sack(&mut self, left: SeqNumber, right: SeqNumber, mut delivered: impl FnMut(&Sent)) {
        let mut index = self.nodes.partition_point(|node| node.sent.seq < left);
        while let Some(node) = self.nodes.get(index)
            && node.sent.end() <= right
        {
            let sent = node.sent;
            if sent.status != Status::Sacked {
                delivered(&sent);
                self.set_status(self.id(index), Status::Sacked);
            }
            index += 1;
        }
    }

    /// What was reported does not count any more (RFC 2018 § 8): it is lost. Looks at every segment.
    pub(crate) fn renege(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].sent.status == Status::Sacked {
                self.set_status(self.id(index), Status::Lost);
            }
        }
    }

    /// Cuts segments that are longer than `mss` into pieces, which are sent again one by one. Of no use to a path that
    /// takes less: what flies and is longer is lost. Looks at every segment.
    pub(crate) fn cut(&mut self, mss: u32) {
        let mss = mss.max(1);
        if self.nodes.iter().all(|node| node.sent.len <= mss) {
            return;
        }
        let (flying, lost) = (self.ids(self.flying), self.ids(self.lost));
        let old = core::mem::replace(self, Self { base: self.base, ..Self::new() });
        // Where the pieces of each segment begin.
        let mut starts = Vec::with_capacity(old.nodes.len());
        for node in &old.nodes {
            starts.push(self.nodes.len());
            let mut sent = node.sent;
            let too_long = sent.len > mss;
            if too_long && sent.status == Status::Flying {
                sent.status = Status::Lost;
            }
            sent.mtu_probe &= !too_long;
            let mut left = sent.len;
            while left > 0 {
                sent.len = left.min(mss);
                self.nodes.push_back(Node { sent, previous: None, next: None });
                self.sacked_segments += u32::from(sent.status == Status::Sacked);
                sent.seq += sent.len;
                left -= sent.len;
            }
        }
        starts.push(self.nodes.len());
        let mut newly_lost = Vec::new();
        for id in flying {
            for index in starts[old.index(id)]..starts[old.index(id) + 1] {
                match self.nodes[index].sent.status {
                    Status::Flying => self.link(self.id(index)),
                    _ => newly_lost.push(index),
                }
            }
        }
        for id in lost {
            newly_lost.extend(starts[old.index(id)]..starts[old.index(id) + 1]);
        }
        newly_lost.sort_unstable();
        for index in newly_lost {
            self.link(self.id(index));
        }
    }

    /// Indices of the segments that fly and of those that are lost, in their orders.
    pub(crate) fn orders(&self) -> [Vec<u32>; 2] {
        [self.flying, self.lost].map(|list| self.ids(list).iter().map(|id| self.index(*id) as u32).collect())
    }

    /// From what [`Self::iter`] and [`Self::orders`] gave. `None`: the orders do not fit the segments.
    pub(crate) fn restore(segments: &[Sent], orders: &[Vec<u32>; 2]) -> Option<Self> {
        let mut in_flight = Self::new();
        for &sent in segments {
            in_flight.nodes.push_back(Node { sent, previous: None, next: None });
            in_flight.sacked_segments += u32::from(sent.status == Status::Sacked);
        }
        let mut seen = alloc::vec![false; segments.len()];
        for (order, status) in orders.iter().zip([Status::Flying, Status::Lost]) {
            for &index in order {
                let index = index as usize;
                let sent = segments.get(index)?;
                if sent.status != status || core::mem::replace(&mut seen[index], true) {
                    return None;
                }
                in_flight.link_last(in_flight.id(index));
            }
        }
        let all = segments.iter().zip(&seen).all(|(sent, seen)| *seen || sent.status == Status::Sacked);
        all.then_some(in_flight)
    }

    fn id(&self, index: usize) -> Id {
        Id(self.base.wrapping_add(index as u32))
    }

    fn index(&self, id: Id) -> usize {
        id.0.wrapping_sub(self.base) as usize
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Sent> {
        let index = self.index(id);
        Some(&mut self.nodes.get_mut(index)?.sent)
    }

    fn ids(&self, list: List) -> Vec<Id> {
        let mut ids = Vec::new();
        let mut next = list.first;
        while let Some(id) = next {
            ids.push(id);
            next = self.nodes.get(self.index(id)).and_then(|node| node.next);
        }
        ids
    }

    fn set_status(&mut self, id: Id, status: Status) {
        self.unlink(id);
        if let Some(sent) = self.get_mut(id) {
            sent.status = status;
        }
        self.link(id);
    }

    /// Enters a segment where its status says.
    fn link(&mut self, id: Id) {
        match self.get(id).map(|sent| sent.status) {
            Some(Status::Sacked) => self.sacked_segments += 1,
            _ => self.link_last(id),
        }
    }

    fn link_last(&mut self, id: Id) {
        let Some((list, octets, len)) = self.list(id) else { return };
        *octets += len;
        let last = list.last.replace(id);
        if last.is_none() {
            list.first = Some(id);
        }
        self.connect(last, Some(id));
        self.connect(Some(id), None);
    }

    fn link_first(&mut self, id: Id) {
        let Some((list, octets, len)) = self.list(id) else {
            self.sacked_segments += 1;
            return;
        };
        *octets += len;
        let first = list.first.replace(id);
        if first.is_none() {
            list.last = Some(id);
        }
        self.connect(Some(id), first);
        self.connect(None, Some(id));
    }

    fn unlink(&mut self, id: Id) {
        let Some(node) = self.nodes.get(self.index(id)) else { return };
        let (previous, next) = (node.previous, node.next);
        let Some((list, octets, len)) = self.list(id) else {
            self.sacked_segments -= 1;
            return;
        };
        *octets -= len;
        if list.first == Some(id) {
            list.first = next;
        }
        if list.last == Some(id) {
            list.last = previous;
        }
        self.connect(previous, next);
    }

    /// The list of a segment, the octets in that list, and the segment's length. `None`: it is in none.
    fn list(&mut self, id: Id) -> Option<(&mut List, &mut u32, u32)> {
        let &Sent { status, len, .. } = self.get(id)?;
        match status {
            Status::Flying => Some((&mut self.flying, &mut self.flying_octets, len)),
            Status::Lost => Some((&mut self.lost, &mut self.lost_octets, len)),
            Status::Sacked => None,
        }
    }

    fn connect(&mut self, previous: Option<Id>, next: Option<Id>) {
        for (end, id, other) in [(true, previous, next), (false, next, previous)] {
            let Some(index) = id.map(|id| self.index(id)) else { continue };
            if let Some(node) = self.nodes.get_mut(index) {
                *(if end { &mut node.next } else { &mut node.previous }) = other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Close to the wrap, so that every test crosses it.
    const UNA: SeqNumber = SeqNumber(u32::MAX - 20);

    fn sent(n: u32) -> Sent {
        Sent {
            seq: UNA + 10 * n,
            len: 10,
            at: Instant(n.into()),
            status: Status::Flying,
            retransmissions: 0,
            mtu_probe: false,
            rate: SentRate::default(),
        }
    }

    fn ten() -> InFlight {
        let mut in_flight = InFlight::new();
        (0..10).for_each(|n| in_flight.push(sent(n)));
        in_flight
    }

    fn numbers(in_flight: &InFlight, list: List) -> Vec<u32> {
        in_flight.ids(list).iter().map(|id| in_flight.get(*id).unwrap().seq.since(UNA)).collect()
    }

    /// What is counted is what is there.
    fn check(in_flight: &InFlight) {
        let sum = |status| {
            in_flight.iter().filter(|(_, sent)| sent.status == status).map(|(_, sent)| sent.len).sum::<u32>()
        };
        assert_eq!(in_flight.flying_octets, sum(Status::Flying));
        assert_eq!(in_flight.lost_octets, sum(Status::Lost));
        let segments: Vec<_> = in_flight.iter().map(|(_, sent)| *sent).collect();
        let again = InFlight::restore(&segments, &in_flight.orders()).unwrap();
        assert_eq!(again.orders(), in_flight.orders());
        assert_eq!(again.sacked_segments, in_flight.sacked_segments);
    }

    #[test]
    fn segments_go_from_list_to_list() {
        let mut in_flight = ten();
        let mut delivered = 0;
        in_flight.sack(UNA + 30, UNA + 60, |sent| delivered += sent.len);
        assert_eq!((delivered, in_flight.sacked_segments(), in_flight.flying_octets()), (30, 3, 70));
        for _ in 0..3 {
            let id = in_flight.first_flying().unwrap().0;
            in_flight.mark_lost(id);
        }
        assert_eq!((in_flight.lost_octets(), in_flight.flying_octets()), (30, 40));
        let id = in_flight.first_lost().unwrap().0;
        in_flight.retransmit(id, Instant(100), SentRate::default());
        assert_eq!(numbers(&in_flight, in_flight.flying), [60, 70, 80, 90, 0]);
        assert_eq!(numbers(&in_flight, in_flight.lost), [10, 20]);
        check(&in_flight);
        in_flight.acknowledge(UNA + 65, |sent| delivered += sent.len);
        assert_eq!((delivered, in_flight.segments()), (65, 4));
        check(&in_flight);
    }

    #[test]
    fn blocks_count_for_whole_segments() {
        let in_flight = ten();
        assert_eq!(in_flight.whole(UNA + 11, UNA + 29), None);
        assert_eq!(in_flight.whole(UNA + 11, UNA + 30), Some((UNA + 20, UNA + 30)));
        assert_eq!(in_flight.whole(UNA + 10, UNA + 49), Some((UNA + 10, UNA + 40)));
    }

    #[test]
    fn what_all_wait_for_goes_first() {
        let mut in_flight = ten();
        let ids: Vec<_> = in_flight.iter().map(|(id, _)| id).collect();
        in_flight.mark_lost(ids[4]);
        in_flight.mark_lost(ids[6]);
        in_flight.mark_lost(ids[0]);
        assert_eq!(in_flight.first_lost().unwrap().0, ids[0]);
        in_flight.retransmit(ids[0], Instant(100), SentRate::default());
        assert_eq!(in_flight.first_lost().unwrap().0, ids[4]);
        in_flight.unmark_lost();
        assert_eq!(numbers(&in_flight, in_flight.flying)[..2], [40, 60]);
        check(&in_flight);
    }

    #[test]
    fn pieces_of_what_is_too_long() {
        let mut in_flight = ten();
        in_flight.sack(UNA + 30, UNA + 40, |_| ());
        in_flight.cut(4);
        assert_eq!(in_flight.segments(), 30);
        assert_eq!((in_flight.flying_octets(), in_flight.lost_octets()), (0, 90));
        assert_eq!(numbers(&in_flight, in_flight.lost)[..4], [0, 4, 8, 10]);
        check(&in_flight);
        in_flight.renege();
        assert_eq!(in_flight.lost_octets(), 100);
        check(&in_flight);
    }

    #[test]
    fn a_part_of_a_segment_is_acknowledged() {
        let mut in_flight = ten();
        let mut delivered = Vec::new();
        in_flight.acknowledge(UNA + 13, |sent| delivered.push(sent.len));
        assert_eq!(delivered, [10, 3]);
        assert_eq!(in_flight.first().unwrap().1.len, 7);
        check(&in_flight);
    }
}
