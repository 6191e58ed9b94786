//! [`ReceiveQueue`]: what arrived, in order for the program, or waiting for what is before it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use frame::Frame;
use wire::SeqNumber;
use wire::tcp::{Options, SackBlock};

/// Most runs that wait for what is before them, one for each gap: the bound of work for a peer that sends octets one by
/// one with gaps. Memory is bounded by the window.
pub(crate) const MAX_RUNS: usize = 256;
/// A segment as small as that is copied behind the one before, if that has room: else a peer that sends octets one by
/// one got a block of memory for each.
const COPIED: usize = 512;

/// Received octets.
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    ready: VecDeque<Frame>,
    /// Out of order: ascending, disjoint, not touching.
    runs: Vec<Run>,
    /// Counts arrivals; the latest block is reported first (RFC 2018 § 4).
    arrivals: u64,
    /// Octets that arrived twice, to be reported once (RFC 2883).
    duplicate: Option<SackBlock>,
}

/// Octets without a gap.
#[derive(Debug)]
struct Run {
    seq: SeqNumber,
    end: SeqNumber,
    frames: VecDeque<Frame>,
    /// The last arrival that belongs to it.
    arrival: u64,
}

impl ReceiveQueue {
    /// Takes octets that begin at `seq`, not before `rcv_nxt`, and returns the next octet expected. Work: for the gaps
    /// that are closed, and the smaller of two runs that are joined.
    pub(crate) fn insert(&mut self, rcv_nxt: SeqNumber, seq: SeqNumber, frame: Frame) -> SeqNumber {
        if seq != rcv_nxt {
            self.insert_run(seq, frame);
            return rcv_nxt;
        }
        let mut next = rcv_nxt + frame.len() as u32;
        push(&mut self.ready, frame);
        // Ascending: the runs that are reached stand in front.
        let reached = self.runs.iter().take_while(|run| run.seq <= next).count();
        for run in self.runs.drain(..reached) {
            if run.end <= next {
                continue;
            }
            // What the frame brought once more is cut off.
            let mut known = next.since(run.seq) as usize;
            for mut frame in run.frames {
                let len = frame.len();
                if known >= len {
                    known -= len;
                    continue;
                }
                frame.pull(known);
                known = 0;
                push(&mut self.ready, frame);
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
                self.runs.insert(at, Run { seq, end, frames: VecDeque::from([frame]), arrival });
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
        let (mut from, mut rest) = (seq, frame);
        if from < run.seq {
            let Ok((before, behind)) = rest.split(run.seq.since(from) as usize) else { return };
            run.frames.push_front(before);
            (from, rest) = (run.seq, behind);
            run.seq = seq;
        }
        loop {
            // `from` lies within the run or at its end.
            if end > run.end {
                rest.pull(run.end.since(from) as usize);
                from = run.end;
                let next = later.next();
                let until = next.as_ref().map_or(end, |next: &Run| next.seq);
                let Ok((gap, behind)) = rest.split(until.since(from) as usize) else { return };
                push(&mut run.frames, gap);
                (from, rest, run.end) = (until, behind, until);
                if let Some(next) = next {
                    run.end = next.end;
                    run.frames = join(core::mem::take(&mut run.frames), next.frames);
                    continue;
                }
            }
            return;
        }
    }

    /// Remembers that octets came again that were delivered before.
    pub(crate) fn note_duplicate(&mut self, left: SeqNumber, right: SeqNumber) {
        if left < right {
            self.duplicate = Some(SackBlock { left, right });
        }
    }

    /// The next frame for the program.
    pub(crate) fn take(&mut self) -> Option<Frame> {
        self.ready.pop_front()
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
        (self.ready.iter(), self.runs.iter().map(|run| (run.seq, run.arrival, run.frames.iter())))
    }

    /// What is to be reported as having arrived twice.
    pub(crate) fn duplicate(&self) -> Option<SackBlock> {
        self.duplicate
    }

    /// From what [`Self::contents`] and [`Self::duplicate`] gave. Runs are ascending and do not touch.
    pub(crate) fn restore(
        ready: Vec<Frame>,
        runs: Vec<(SeqNumber, u64, Frame)>,
        duplicate: Option<SackBlock>,
    ) -> Self {
        let runs: Vec<_> = runs
            .into_iter()
            .map(|(seq, arrival, frame)| {
                let end = seq + frame.len() as u32;
                Run { seq, end, frames: VecDeque::from([frame]), arrival }
            })
            .collect();
        let arrivals = runs.iter().map(|run| run.arrival).max().unwrap_or(0);
        Self { ready: ready.into(), runs, arrivals, duplicate }
    }
}

/// Puts a frame behind the others, or its octets into the last one.
fn push(frames: &mut VecDeque<Frame>, frame: Frame) {
    let len = frame.len();
    if len <= COPIED
        && let Some(room) = frames.back_mut().and_then(|last| last.push_back(len))
    {
        frame.copy_to(0, room);
        return;
    }
    frames.push_back(frame);
}

/// One behind the other; the fewer are moved.
fn join(mut first: VecDeque<Frame>, mut second: VecDeque<Frame>) -> VecDeque<Frame> {
    if first.len() >= second.len() {
        first.append(&mut second);
        return first;
    }
    while let Some(frame) = first.pop_back() {
        second.push_front(frame);
    }
    second
}
