//! [`ReceiveQueue`]: what arrived, in order for the program, or waiting for what is before it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use frame::Frame;
use wire::SeqNumber;
use wire::tcp::{Options, SackBlock};

/// Most pieces that wait for what is before them: the bound of work and memory for a peer that sends octets one by
/// one with gaps.
const MAX_PIECES: usize = 64;

/// Received octets.
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    ready: VecDeque<Frame>,
    /// Out of order: ascending, disjoint.
    pieces: Vec<Piece>,
    /// Counts arrivals; the latest block is reported first (RFC 2018 § 4).
    arrivals: u64,
    /// Octets that arrived twice, to be reported once (RFC 2883).
    duplicate: Option<SackBlock>,
}

#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    frame: Frame,
    arrival: u64,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq + self.frame.len() as u32
    }
}

impl ReceiveQueue {
    /// Takes octets that begin at `seq`, not before `rcv_nxt`, and returns the next octet expected.
    pub(crate) fn insert(&mut self, rcv_nxt: SeqNumber, seq: SeqNumber, frame: Frame) -> SeqNumber {
        if seq != rcv_nxt {
            self.insert_piece(seq, frame);
            return rcv_nxt;
        }
        let frame_len = frame.len() as u32;
        let mut next = rcv_nxt + frame_len;
        self.ready.push_back(frame);
        // Disjoint and ascending: the pieces that are reached stand in front.
        let mut reached = 0;
        for piece in &self.pieces {
            if piece.seq > next {
                break;
            }
            next = next.latest(piece.end());
            reached += 1;
        }
        let mut delivered = rcv_nxt + frame_len;
        for mut piece in self.pieces.drain(..reached) {
            let end = piece.end();
            // What the frame brought once more is cut off.
            if delivered < end && piece.frame.pull(delivered.since(piece.seq) as usize) {
                self.ready.push_back(piece.frame);
                delivered = end;
            }
        }
        next
    }

    /// Puts octets among the pieces; of what is there already the first copy stays.
    fn insert_piece(&mut self, mut seq: SeqNumber, mut frame: Frame) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let mut at = self.pieces.partition_point(|piece| piece.end() <= seq);
        loop {
            let end = seq + frame.len() as u32;
            let Some(next) = self.pieces.get_mut(at).filter(|next| next.seq < end) else {
                if seq < end && self.pieces.len() < MAX_PIECES {
                    self.pieces.insert(at, Piece { seq, frame, arrival });
                }
                return;
            };
            // The block that this segment belongs to is reported first, whatever of it is new.
            next.arrival = arrival;
            let (next_seq, next_end) = (next.seq, next.end());
            let duplicate = SackBlock { left: seq.latest(next_seq), right: end.earliest(next_end) };
            self.duplicate.get_or_insert(duplicate);
            if seq < next_seq {
                let Ok((before, rest)) = frame.split(next_seq.since(seq) as usize) else { return };
                if self.pieces.len() < MAX_PIECES {
                    self.pieces.insert(at, Piece { seq, frame: before, arrival });
                    at += 1;
                }
                (seq, frame) = (next_seq, rest);
            }
            if end <= next_end || !frame.pull(next_end.since(seq) as usize) {
                return;
            }
            seq = next_end;
            at += 1;
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
        !self.pieces.is_empty() || self.duplicate.is_some()
    }

    /// Writes SACK blocks into `options`, as many as there is room for: first what came twice, then the block that
    /// grew last, and so on (RFC 2018 § 4, RFC 2883 § 4).
    pub(crate) fn report(&mut self, options: &mut Options) {
        let room = options.sack_room();
        let duplicate = self.duplicate.take();
        options.sack.extend(duplicate.into_iter().take(room));
        // Repeatedly the latest block not yet reported: at most four times through at most 64 pieces.
        let mut before = u64::MAX;
        while options.sack.len() < room {
            let mut latest: Option<(u64, SackBlock)> = None;
            for (arrival, block) in self.blocks() {
                if arrival < before && latest.is_none_or(|(other, _)| arrival > other) {
                    latest = Some((arrival, block));
                }
            }
            let Some((arrival, block)) = latest else { break };
            before = arrival;
            options.sack.push(block);
        }
    }

    /// Frames in order and pieces out of order, for saving.
    pub(crate) fn contents(
        &self,
    ) -> (impl Iterator<Item = &Frame>, impl Iterator<Item = (SeqNumber, &Frame)>) {
        (self.ready.iter(), self.pieces.iter().map(|piece| (piece.seq, &piece.frame)))
    }

    /// Stretches of pieces without a gap, each with its last arrival.
    fn blocks(&self) -> impl Iterator<Item = (u64, SackBlock)> {
        let mut rest = &self.pieces[..];
        core::iter::from_fn(move || {
            let (first, mut others) = rest.split_first()?;
            let (mut arrival, mut right) = (first.arrival, first.end());
            while let Some((next, behind)) = others.split_first()
                && next.seq == right
            {
                (arrival, right, others) = (arrival.max(next.arrival), next.end(), behind);
            }
            rest = others;
            Some((arrival, SackBlock { left: first.seq, right }))
        })
    }
}
