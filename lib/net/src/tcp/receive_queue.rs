//! [`ReceiveQueue`]: what arrived, in order for the program, or waiting for what is before it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::iter::Sum;
use core::ops::{Add, AddAssign, SubAssign};

use frame::Frame;
use wire::SeqNumber;
use wire::tcp::{Options, SackBlock};

/// Most runs that wait for what is before them, one for each gap: the bound of work for a peer that sends octets one by
/// one with gaps.
pub(crate) const MAX_RUNS: usize = 256;
/// A segment as small as that is copied behind the one before, if that has room: else a peer that sends octets one by
/// one got a block of memory for each.
const COPIED: usize = 512;
/// Memory of frames for each octet of a receive buffer (Linux: `tcp_adv_win_scale`, and `tcp_collapse` where it is not
/// enough). Segments of a path's usual size need less than twice theirs.
const MEMORY_FACTOR: usize = 4;
/// Memory that every flow may have beside, in bytes: some blocks, so that the smallest buffer works.
const FREE_MEMORY: usize = 32 * 1024;

/// Received octets, and the memory they keep.
///
/// Memory is counted by whole blocks ([`Frame::footprint`]), of what is here and of what the program was given and has not
/// read. It stays within [`MEMORY_FACTOR`] times the receive buffer, and [`FREE_MEMORY`].
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    ready: Chain,
    /// Out of order: ascending, disjoint, not touching.
    runs: Vec<Run>,
    /// In `runs`.
    waiting: Charge,
    /// Given to the program, which has not read it.
    given: Charge,
    /// Counts arrivals; the latest block is reported first (RFC 2018 § 4).
    arrivals: u64,
    /// Octets that arrived twice, to be reported once (RFC 2883).
    duplicate: Option<SackBlock>,
}

/// Octets, and bytes of memory for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Charge {
    octets: usize,
    memory: usize,
}

/// Frames one behind the other.
#[derive(Debug, Default)]
struct Chain {
    frames: VecDeque<Frame>,
    charge: Charge,
}

/// Octets without a gap.
#[derive(Debug)]
struct Run {
    seq: SeqNumber,
    end: SeqNumber,
    chain: Chain,
    /// The last arrival that belongs to it.
    arrival: u64,
}

impl ReceiveQueue {
    /// Takes octets that begin at `seq`, not before `rcv_nxt`, and returns the next octet expected. Work: for the gaps
    /// that are closed, and the smaller of two runs that are joined.
    pub(crate) fn insert(&mut self, rcv_nxt: SeqNumber, seq: SeqNumber, frame: Frame) -> SeqNumber {
        let before = self.waiting;
        let next = if seq == rcv_nxt {
            self.insert_ready(rcv_nxt, frame)
        } else {
            self.insert_run(seq, frame);
            rcv_nxt
        };
        if !self.runs.is_empty() || before != Charge::default() {
            self.waiting = self.runs.iter().map(|run| run.chain.charge).sum();
        }
        next
    }

    fn insert_ready(&mut self, rcv_nxt: SeqNumber, frame: Frame) -> SeqNumber {
        let mut next = rcv_nxt + frame.len() as u32;
        self.ready.push(frame);
        // Ascending: the runs that are reached stand in front.
        let reached = self.runs.iter().take_while(|run| run.seq <= next).count();
        for run in self.runs.drain(..reached) {
            if run.end <= next {
                continue;
            }
            // What the frame brought once more is cut off.
            let mut known = next.since(run.seq) as usize;
            for mut frame in run.chain.frames {
                let len = frame.len();
                if known >= len {
                    known -= len;
                    continue;
                }
                frame.pull(known);
                known = 0;
                self.ready.push(frame);
            }
            next = run.end;
        }
        next
    }

    /// Puts octets among the runs; of what is there already the first copy stays.
    fn insert_run(&mut self, seq: SeqNumber, frame: Frame) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let end = seq + frame.len() as u32;
        let at = self.runs.partition_point(|run| run.end < seq);
        let touching = self.runs[at..].iter().take_while(|run| run.seq <= end).count();
        if touching == 0 {
            if self.runs.len() < MAX_RUNS {
                self.runs.insert(at, Run { seq, end, chain: Chain::of(frame), arrival });
            }
            return;
        }
        let overlaps =
            self.runs[at..at + touching].iter().map(|run| (seq.latest(run.seq), end.earliest(run.end)));
        for (left, right) in overlaps {
            if left < right && self.duplicate.is_none() {
                self.duplicate = Some(SackBlock { left, right });
            }
        }
        let mut later = self.runs.drain(at + 1..at + touching).collect::<Vec<_>>().into_iter();
        let run = &mut self.runs[at];
        // The block that this segment belongs to is reported first, whatever of it is new.
        run.arrival = arrival;
        // Of what is cut in two the part that is not needed goes first: a block with two views cannot grow.
        let (mut from, mut rest) = (seq, frame);
        if from < run.seq {
            let Ok((before, behind)) = rest.split(run.seq.since(from) as usize) else { return };
            let behind = Some(behind).filter(|_| end > run.end);
            run.chain.push_front(before);
            from = core::mem::replace(&mut run.seq, seq);
            let Some(behind) = behind else { return };
            rest = behind;
        }
        while end > run.end {
            // `from` lies within the run or at its end.
            rest.pull(run.end.since(from) as usize);
            from = run.end;
            let next = later.next();
            let until = next.as_ref().map_or(end, |next: &Run| next.seq);
            let Ok((gap, behind)) = rest.split(until.since(from) as usize) else { return };
            let behind = Some(behind).filter(|_| until < end);
            run.chain.push(gap);
            run.end = until;
            if let Some(next) = next {
                run.end = next.end;
                run.chain.append(next.chain);
            }
            let Some(behind) = behind else { return };
            (from, rest) = (until, behind);
        }
    }

    /// Bytes of memory beyond what [`MEMORY_FACTOR`] allows for so many octets, as octets of a receive buffer: what a window
    /// is to be smaller by.
    pub(crate) fn excess(&self) -> u32 {
        let Charge { octets, memory } = self.charge();
        let excess = memory.saturating_sub(FREE_MEMORY + MEMORY_FACTOR * octets) / MEMORY_FACTOR;
        excess.try_into().unwrap_or(u32::MAX)
    }

    /// Whether there is memory for a frame in a receive buffer of `capacity` octets. Where there is not, octets that are next
    /// in order take the place of runs, the last first: a receiver may take back what it reported (RFC 2018 § 8).
    pub(crate) fn make_room(&mut self, capacity: u32, frame: &Frame, in_order: bool) -> bool {
        let limit = FREE_MEMORY + MEMORY_FACTOR * capacity as usize;
        let wanted = frame.footprint();
        while self.charge().memory + wanted > limit {
            let Some(last) = self.runs.pop_if(|_| in_order) else { return false };
            self.waiting -= last.chain.charge;
        }
        true
    }

    fn charge(&self) -> Charge {
        self.ready.charge + self.waiting + self.given
    }

    /// Remembers that octets came again that were delivered before.
    pub(crate) fn note_duplicate(&mut self, left: SeqNumber, right: SeqNumber) {
        if left < right {
            self.duplicate = Some(SackBlock { left, right });
        }
    }

    /// The next frame for the program.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        let frame = self.ready.pop()?;
        self.given += Charge::of(&frame);
        Some(frame)
    }

    /// All frames for the program, small ones copied into the last one that it has. Returns how many octets.
    pub(crate) fn take_into(&mut self, queue: &mut VecDeque<Frame>) -> usize {
        let octets = self.ready.charge.octets;
        while let Some(frame) = self.ready.pop() {
            self.given += push(queue, frame, self.given.is_sparse());
        }
        octets
    }

    /// The program has read so many octets of what it was given. Their memory is a part of it: which blocks it has freed is
    /// not known.
    pub(crate) fn release(&mut self, octets: u32) {
        let Charge { octets: all, memory } = self.given;
        let octets = (octets as usize).min(all);
        let part = memory as u128 * octets as u128 / all.max(1) as u128;
        self.given -= Charge { octets, memory: part as usize };
    }

    /// Whether something waits for what is before it, or came twice.
    pub(crate) fn has_report(&self) -> bool {
        !self.runs.is_empty() || self.duplicate.is_some()
    }

    /// Writes at most `room` SACK blocks into `options`: first what came twice, then the block that grew last, and so on
    /// (RFC 2018 § 4, RFC 2883 § 4).
    pub(crate) fn report(&mut self, options: &mut Options, room: usize) {
        let duplicate = self.duplicate.take_if(|_| room > 0);
        options.sack.extend(duplicate);
        // Repeatedly the latest block not yet reported: at most four times through the runs.
        let mut before = u64::MAX;
        while options.sack.len() < room {
            let earlier = self.runs.iter().filter(|run| run.arrival < before);
            let Some(latest) = earlier.max_by_key(|run| run.arrival) else { break };
            before = latest.arrival;
            options.sack.push(SackBlock { left: latest.seq, right: latest.end });
        }
    }

    /// Frames in order, and runs out of order with their arrivals, for saving.
    pub(crate) fn contents(
        &self,
    ) -> (impl Iterator<Item = &Frame>, impl Iterator<Item = (SeqNumber, u64, impl Iterator<Item = &Frame>)>)
    {
        let runs = self.runs.iter().map(|run| (run.seq, run.arrival, run.chain.frames.iter()));
        (self.ready.frames.iter(), runs)
    }

    /// What is to be reported as having arrived twice.
    pub(crate) fn duplicate(&self) -> Option<SackBlock> {
        self.duplicate
    }

    /// From what [`Self::contents`] and [`Self::duplicate`] gave. Runs are ascending and do not touch. `given`: octets that
    /// the program was given; what memory they keep is not known.
    pub(crate) fn restore(
        ready: Vec<Frame>,
        runs: Vec<(SeqNumber, u64, Frame)>,
        duplicate: Option<SackBlock>,
        given: u32,
    ) -> Self {
        let runs: Vec<_> = runs
            .into_iter()
            .map(|(seq, arrival, frame)| {
                let end = seq + frame.len() as u32;
                Run { seq, end, chain: Chain::of(frame), arrival }
            })
            .collect();
        let charge = ready.iter().map(Charge::of).sum();
        Self {
            ready: Chain { frames: ready.into(), charge },
            waiting: runs.iter().map(|run| run.chain.charge).sum(),
            arrivals: runs.iter().map(|run| run.arrival).max().unwrap_or(0),
            runs,
            given: Charge { octets: given as usize, memory: given as usize },
            duplicate,
        }
    }
}

impl Chain {
    fn of(frame: Frame) -> Self {
        let charge = Charge::of(&frame);
        Self { frames: VecDeque::from([frame]), charge }
    }

    fn push(&mut self, frame: Frame) {
        self.charge += push(&mut self.frames, frame, self.charge.is_sparse());
    }

    fn push_front(&mut self, frame: Frame) {
        let Some(first) = self.pop() else { return self.push(frame) };
        // The same as when they come the other way round.
        let mut both = VecDeque::from([frame]);
        self.charge += Charge::of(&both[0]) + push(&mut both, first, self.charge.is_sparse());
        while let Some(frame) = both.pop_back() {
            self.frames.push_front(frame);
        }
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.charge -= Charge::of(&frame);
        Some(frame)
    }

    /// One behind the other; the fewer are moved.
    fn append(&mut self, mut behind: Self) {
        if let Some(first) = behind.pop() {
            self.push(first);
        }
        self.charge += behind.charge;
        if self.frames.len() >= behind.frames.len() {
            self.frames.append(&mut behind.frames);
            return;
        }
        while let Some(frame) = self.frames.pop_back() {
            behind.frames.push_front(frame);
        }
        self.frames = behind.frames;
    }
}

/// Puts a frame behind the others, or its octets into the last one: if they are few, or if the frames are `sparse`. Returns
/// what came to them.
fn push(frames: &mut VecDeque<Frame>, frame: Frame, sparse: bool) -> Charge {
    let charge = Charge::of(&frame);
    if (charge.octets <= COPIED || sparse)
        && let Some(room) = frames.back_mut().and_then(|last| last.push_back(charge.octets))
    {
        frame.copy_to(0, room);
        return Charge { memory: 0, ..charge };
    }
    frames.push_back(frame);
    charge
}

impl Charge {
    fn of(frame: &Frame) -> Self {
        Self { octets: frame.len(), memory: frame.footprint() }
    }

    /// Less than half of the memory is octets, and it is worth the copying to change that.
    fn is_sparse(self) -> bool {
        self.memory > FREE_MEMORY && self.memory / 2 > self.octets
    }
}

impl Add for Charge {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { octets: self.octets + other.octets, memory: self.memory + other.memory }
    }
}

impl AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Charge {
    fn sub_assign(&mut self, other: Self) {
        self.octets -= other.octets;
        self.memory -= other.memory;
    }
}

impl Sum for Charge {
    fn sum<I: Iterator<Item = Self>>(charges: I) -> Self {
        charges.fold(Self::default(), Add::add)
    }
}
