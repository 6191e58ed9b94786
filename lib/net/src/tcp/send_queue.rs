//! [`SendQueue`]: what the program wants to send and the peer has not acknowledged.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use frame::Frame;

/// Frames in the order in which they were given, found by their distance from the first octet not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Each with the number of its first octet; numbers count from the first octet ever queued.
    frames: VecDeque<(u64, Frame)>,
    /// Number of the first octet not acknowledged.
    start: u64,
    /// Number behind the last octet.
    end: u64,
    /// Bytes of memory that the frames take.
    footprint: usize,
}

impl SendQueue {
    /// Octets not acknowledged.
    pub(crate) fn len(&self) -> u32 {
        (self.end - self.start) as u32
    }

    /// Bytes of memory that they take, room in blocks that is not used among them.
    pub(crate) fn footprint(&self) -> usize {
        self.footprint
    }

    /// Puts a frame at the end: into the last one's block, if that has the room and nothing of it is under way.
    pub(crate) fn push(&mut self, frame: Frame) {
        let len = frame.len() as u64;
        if len == 0 {
            return;
        }
        let own = match self.frames.back_mut() {
            Some((_, last)) => last.absorb(frame).err(),
            None => Some(frame),
        };
        if let Some(frame) = own {
            self.footprint += frame.footprint();
            self.frames.push_back((self.end, frame));
        }
        self.end += len;
    }

    /// Lets the first `octets` go.
    pub(crate) fn acknowledge(&mut self, octets: u32) {
        self.start = (self.start + u64::from(octets)).min(self.end);
        let done = |(at, frame): &mut (u64, Frame)| *at + frame.len() as u64 <= self.start;
        while let Some((_, frame)) = self.frames.pop_front_if(done) {
            self.footprint -= frame.footprint();
        }
    }

    /// A copy of all octets, for saving.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let Some((first, _)) = self.frames.front() else { return Vec::new() };
        let acknowledged = (self.start - first) as usize;
        let octets = self.frames.iter().flat_map(|(_, frame)| frame.segments()).flat_map(|part| part.octets);
        octets.skip(acknowledged).copied().collect()
    }

    /// A frame of up to `len` octets from `offset` on, sharing memory with the queue. Fewer where the pool has no
    /// link to chain what lies in several frames; `None` where there is nothing, or not even a link to begin with.
    pub(crate) fn view(&self, offset: u32, len: u32) -> Option<Frame> {
        let from = self.start + u64::from(offset);
        let index = self.frames.partition_point(|(at, _)| *at <= from).checked_sub(1)?;
        let (at, first) = self.frames.get(index)?;
        let mut view = part(first, (from - at) as usize, len as usize)?;
        let mut left = (len as usize).checked_sub(view.len())?;
        for (_, next) in self.frames.range(index + 1..) {
            if left == 0 {
                break;
            }
            let Some(next) = part(next, 0, left) else { break };
            let octets = next.len();
            if view.append(next).is_err() {
                break;
            }
            left -= octets;
        }
        (!view.is_empty()).then_some(view)
    }
}

/// Octets `from..from + len` of a frame, or as many as there are.
fn part(frame: &Frame, from: usize, len: usize) -> Option<Frame> {
    let mut part = frame.try_clone()?;
    if !part.pull(from) {
        return None;
    }
    part.truncate(len);
    Some(part)
}
