//! [`ReceiveQueue`] and [`SendQueue`]: what a stream socket holds between its flow and the program.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use frame::Frame;
use linux::buffers::UserBuffers;
use linux::errno::{ENOBUFS, Errno};

/// What was received and the program has not read. The flow bounds it: its window counts what is not read.
#[derive(Debug, Default)]
pub(super) struct ReceiveQueue {
    frames: VecDeque<Frame>,
    octets: usize,
    /// The peer has ended its direction.
    pub(super) finished: bool,
    /// After what is here comes the end, of that or of another kind.
    pub(super) ended: bool,
    /// The program wants no more.
    pub(super) shut: bool,
}

impl ReceiveQueue {
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// After what is here nothing comes that the program would get.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended || self.shut
    }

    /// Lets `take` put frames at the end; it says how many octets these are.
    pub(super) fn take_from(&mut self, take: impl FnOnce(&mut VecDeque<Frame>) -> usize) {
        self.octets += take(&mut self.frames);
    }

    /// The next octets, at most `most`.
    ///
    /// # Errors
    /// `ENOBUFS`: no memory for a second view of a frame.
    pub(super) fn pop(&mut self, most: usize) -> Result<Option<Frame>, Errno> {
        let Some(mut frame) = self.frames.pop_front() else { return Ok(None) };
        if frame.len() > most {
            frame = match frame.split(most) {
                Ok((first, rest)) => {
                    self.frames.push_front(rest);
                    first
                }
                Err(frame) => {
                    self.frames.push_front(frame);
                    return Err(ENOBUFS);
                }
            };
        }
        self.octets -= frame.len();
        Ok(Some(frame))
    }

    /// Puts back the rest of what was taken out.
    pub(super) fn put_back(&mut self, frame: Frame) {
        self.octets += frame.len();
        self.frames.push_front(frame);
    }

    /// Views of the next octets, for `MSG_PEEK`: those of the frames that `wanted` reaches into.
    ///
    /// # Errors
    /// `ENOBUFS`.
    pub(super) fn views(&self, mut wanted: usize) -> Result<Vec<Frame>, Errno> {
        let mut views = Vec::new();
        for frame in &self.frames {
            if wanted == 0 {
                break;
            }
            views.push(frame.try_clone().ok_or(ENOBUFS)?);
            wanted = wanted.saturating_sub(frame.len());
        }
        Ok(views)
    }
}

/// What the program has written and the flow has not taken.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    frames: VecDeque<Frame>,
    octets: usize,
    /// Bytes of memory that the frames take.
    footprint: usize,
    /// The program will send no more, or cannot.
    pub(super) shut: bool,
    /// Somebody found no room, and is told when there is.
    pub(super) wanted: bool,
    /// Octets that the flow had not sent either when it was last looked at.
    pub(super) held_by_flow: usize,
}

/// How much a send queue takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendLimits {
    /// Octets (`SO_SNDBUF`).
    pub(super) buffer: usize,
    /// Octets not sent yet, those that the flow has among them (`TCP_NOTSENT_LOWAT`).
    pub(super) not_sent: Option<usize>,
}

impl SendQueue {
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether more may be written. Frames of few octets use up the memory before: twice as much is theirs, as on Linux.
    pub(super) fn has_room(&self, limits: SendLimits) -> bool {
        let SendLimits { buffer, not_sent } = limits;
        let is_low = not_sent.is_none_or(|limit| self.octets + self.held_by_flow < limit);
        self.octets < buffer && self.footprint < 2 * buffer && is_low
    }

    /// Whether poll(2) says so: with a third free, so that a writer is not woken for each segment; of what is not sent half, as
    /// Linux has it.
    pub(super) fn is_writable(&self, limits: SendLimits) -> bool {
        let SendLimits { buffer, not_sent } = limits;
        let is_low = not_sent.is_none_or(|limit| 2 * (self.octets + self.held_by_flow) < limit);
        self.octets < buffer * 2 / 3 && self.footprint < buffer * 4 / 3 && is_low
    }

    /// Puts a frame at the end: into the last one's block, if that has the room.
    pub(super) fn push(&mut self, frame: Frame) {
        self.octets += frame.len();
        let own = match self.frames.back_mut() {
            Some(last) => last.absorb(frame).err(),
            None => Some(frame),
        };
        if let Some(frame) = own {
            self.footprint += frame.footprint();
            self.frames.push_back(frame);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.octets -= frame.len();
        self.footprint -= frame.footprint();
        Some(frame)
    }

    /// Puts back what the flow did not take.
    pub(super) fn put_back(&mut self, frame: Frame) {
        self.octets += frame.len();
        self.footprint += frame.footprint();
        self.frames.push_front(frame);
    }

    /// Lets go what nobody will send any more.
    pub(super) fn take(&mut self) -> Self {
        core::mem::take(self)
    }
}

/// Moves a frame's octets into the program's buffers. Returns how many; what is left of the frame stays in it.
///
/// # Errors
/// `EFAULT`: not all fit, because the rest of the buffers cannot be written; the octets before are delivered.
pub(super) fn deliver(frame: &mut Frame, to: &mut UserBuffers) -> (usize, Result<(), Errno>) {
    let mut done = 0;
    let mut result = Ok(());
    'all: for segment in frame.segments() {
        let mut rest = segment.octets;
        while !rest.is_empty() && !to.is_empty() {
            match to.write(rest) {
                Ok(written) => {
                    done += written;
                    rest = &rest[written..];
                }
                Err(fault) => {
                    result = Err(fault);
                    break 'all;
                }
            }
        }
    }
    frame.pull(done);
    (done, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frame::HeapPool;

    fn pool() -> &'static HeapPool {
        HeapPool::leak(0)
    }

    fn frame(pool: &'static HeapPool, room: usize, octets: &[u8]) -> Frame {
        let mut frame = Frame::allocate(pool, 0, room).unwrap();
        frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
        frame
    }

    #[test]
    fn small_writes_share_a_frame() {
        let pool = pool();
        let mut queue = SendQueue::default();
        for octet in *b"abc" {
            queue.push(frame(pool, 4, &[octet]));
        }
        queue.push(frame(pool, 4, b"defg"));
        assert_eq!(queue.octets(), 7);
        assert_eq!(queue.pop().unwrap().head(), b"abc");
        assert_eq!(queue.pop().unwrap().head(), b"defg");
        assert_eq!((queue.octets(), queue.footprint, queue.is_empty()), (0, 0, true));
    }

    #[test]
    fn memory_is_what_fills_it() {
        let pool = pool();
        let mut queue = SendQueue::default();
        let mut octets = 0;
        let limits = SendLimits { buffer: 8192, not_sent: None };
        while queue.has_room(limits) {
            queue.push(frame(pool, 1, b"x"));
            octets += 1;
        }
        assert!(octets < 1000, "{octets}");
        assert!(!queue.is_writable(limits));
        while !queue.is_writable(limits) {
            queue.pop().unwrap();
        }
        assert!(queue.footprint <= 8192 * 4 / 3);
    }

    #[test]
    fn what_the_flow_has_not_sent_fills_it_too() {
        let limits = SendLimits { buffer: 8192, not_sent: Some(100) };
        let mut queue = SendQueue { held_by_flow: 99, ..SendQueue::default() };
        assert!(queue.has_room(limits) && !queue.is_writable(limits));
        queue.push(frame(pool(), 1, b"x"));
        assert!(!queue.has_room(limits));
        queue.held_by_flow = 48;
        assert!(queue.has_room(limits) && queue.is_writable(limits));
    }

    #[test]
    fn reads_of_any_length() {
        let pool = pool();
        let mut queue = ReceiveQueue::default();
        queue.take_from(|frames| {
            frames.push_back(frame(pool, 8, b"abcdef"));
            frames.push_back(frame(pool, 8, b"gh"));
            8
        });
        assert_eq!(queue.pop(4).unwrap().unwrap().head(), b"abcd");
        assert_eq!(queue.octets(), 4);
        let mut rest = queue.pop(4).unwrap().unwrap();
        assert!(rest.pull(1));
        queue.put_back(rest);
        assert_eq!(queue.octets(), 3);
        let views = queue.views(2).unwrap();
        assert_eq!(views.iter().map(Frame::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.pop(9).unwrap().unwrap().head(), b"f");
        assert_eq!(queue.pop(9).unwrap().unwrap().head(), b"gh");
        assert!(queue.pop(9).unwrap().is_none());
    }
}
