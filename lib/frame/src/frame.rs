//! [`Frame`].

use core::fmt;

use crate::block::{BlockRef, LinkRef};
use crate::pool::{DmaAddr, Pool};

/// A packet, or a part of one: octets in one or more blocks.
///
/// The first block's free space before the octets is the *headroom*; headers are put there by [`Self::push_front`].
/// Operations on the front and on one segment are what packets of one block need; chains come from devices that
/// spread a packet over several buffers, and from headers put before payload that is shared.
pub struct Frame {
    pub(crate) block: BlockRef,
    /// The octets of the first segment: offset in the block, count.
    pub(crate) start: u32,
    pub(crate) head_len: u32,
    rest: Option<LinkRef>,
}

/// A contiguous part of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The octets.
    pub octets: &'a [u8],
    /// Where devices find them.
    pub dma: DmaAddr,
}

impl Frame {
    /// An empty frame in one block, with `headroom` before it and room for `octets` in it. `None`: the pool has no
    /// such block.
    pub fn allocate(pool: &'static dyn Pool, headroom: usize, octets: usize) -> Option<Self> {
        let block = BlockRef::allocate(pool, headroom.checked_add(octets)?)?;
        let start = headroom.min(block.capacity()) as u32;
        Some(Self { block, start, head_len: 0, rest: None })
    }

    /// Octets in all segments.
    pub fn len(&self) -> usize {
        self.views().map(|view| view.head_len as usize).sum()
    }

    /// Whether there are no octets.
    pub fn is_empty(&self) -> bool {
        self.views().all(|view| view.head_len == 0)
    }

    /// Bytes of memory the frame keeps from being freed: whole blocks, whoever else shares them. What a socket is
    /// charged, so that small packets in large blocks do not come cheap.
    pub fn footprint(&self) -> usize {
        self.views().map(|view| view.block.footprint()).sum()
    }

    /// The first segment's octets. All octets, if [`Self::is_contiguous`].
    #[inline]
    pub fn head(&self) -> &[u8] {
        self.block.octets(self.start as usize, self.head_len as usize)
    }

    /// The first segment's octets, to be written. `None`: the block is shared.
    #[inline]
    pub fn head_mut(&mut self) -> Option<&mut [u8]> {
        self.block.octets_mut(self.start as usize, self.head_len as usize)
    }

    /// Whether there is one segment only.
    pub fn is_contiguous(&self) -> bool {
        self.rest.is_none()
    }

    /// The segments, first to last. There is at least one; some may be empty.
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self) }
    }

    /// Octets that may still be put in front: 0 while the first block is shared.
    pub fn headroom(&self) -> usize {
        if self.block.is_sole() { self.start as usize } else { 0 }
    }

    /// Octets that may still be put behind the last segment: 0 while its block is shared.
    pub fn tailroom(&self) -> usize {
        let last = self.views().last().unwrap_or(self);
        if last.block.is_sole() { last.block.capacity() - (last.start + last.head_len) as usize } else { 0 }
    }

    /// Grows the frame at the front by `octets`, to be written by the caller; they hold whatever was there. `None`:
    /// more than the [`Self::headroom`], and the frame is unchanged.
    #[inline]
    pub fn push_front(&mut self, octets: usize) -> Option<&mut [u8]> {
        if octets > self.headroom() {
            return None;
        }
        self.start -= octets as u32;
        self.head_len += octets as u32;
        self.block.octets_mut(self.start as usize, octets)
    }

    /// Grows the frame at the end by `octets`, to be written by the caller; they hold whatever was there. `None`:
    /// more than the [`Self::tailroom`], and the frame is unchanged.
    #[inline]
    pub fn push_back(&mut self, octets: usize) -> Option<&mut [u8]> {
        if octets > self.tailroom() {
            return None;
        }
        let last = self.last_mut();
        let end = (last.start + last.head_len) as usize;
        last.head_len += octets as u32;
        last.block.octets_mut(end, octets)
    }

    /// Takes octets off the front, such as a header that was read; they become headroom, and blocks that are
    /// empty then are let go. `false`: there are fewer, and the frame is unchanged.
    #[inline]
    pub fn pull(&mut self, octets: usize) -> bool {
        if octets <= self.head_len as usize {
            self.start += octets as u32;
            self.head_len -= octets as u32;
            return true;
        }
        self.pull_segments(octets)
    }

    fn pull_segments(&mut self, mut octets: usize) -> bool {
        if octets > self.len() {
            return false;
        }
        while octets > self.head_len as usize {
            octets -= self.head_len as usize;
            let Some(rest) = self.rest.take() else { return false };
            *self = rest.into_frame();
        }
        self.pull(octets)
    }

    /// Keeps the first `len` octets, such as those that are not padding; blocks behind them are let go. Longer than
    /// the frame: nothing happens.
    pub fn truncate(&mut self, len: usize) {
        let mut view = self;
        let mut left = len;
        while left > view.head_len as usize {
            left -= view.head_len as usize;
            match &mut view.rest {
                Some(rest) => view = rest.frame_mut(),
                None => return,
            }
        }
        view.head_len = left as u32;
        view.rest = None;
    }

    /// Cuts the frame in two: the first has `at` octets. Nothing is copied; the two share the block in which the cut
    /// lies. `Err`: `at` is behind the end, and the frame is unchanged.
    pub fn split(mut self, at: usize) -> Result<(Self, Self), Self> {
        let mut left = at;
        let mut view = &mut self;
        while left > view.head_len as usize {
            left -= view.head_len as usize;
            match &view.rest {
                Some(_) => view = view.rest.as_mut().expect("matched above").frame_mut(),
                None => return Err(self),
            }
        }
        let second = Self {
            block: view.block.clone(),
            start: view.start + left as u32,
            head_len: view.head_len - left as u32,
            rest: view.rest.take(),
        };
        view.head_len = left as u32;
        Ok((self, second))
    }

    /// Chains another frame behind this one. `Err`: the pool has no memory for the link; both are unchanged. Blocks
    /// bring a link each, so that can only be where one block stands in several chains.
    pub fn append(&mut self, other: Frame) -> Result<(), Frame> {
        let link = LinkRef::new(other)?;
        self.last_mut().rest = Some(link);
        Ok(())
    }

    /// Copies another frame's octets behind this one's and lets it go: many small frames become few whose memory is used.
    /// `Err`: they do not fit into the [`Self::tailroom`], and both are unchanged.
    pub fn absorb(&mut self, other: Frame) -> Result<(), Frame> {
        let Some(room) = self.push_back(other.len()) else { return Err(other) };
        other.copy_to(0, room);
        Ok(())
    }

    /// Another frame of the same octets; both are read-only until one is gone. `None`: the pool has no memory for
    /// the links of a chain. A contiguous frame is always cloned.
    pub fn try_clone(&self) -> Option<Self> {
        let clone = |view: &Self| Self {
            block: view.block.clone(),
            start: view.start,
            head_len: view.head_len,
            rest: None,
        };
        let mut first = clone(self);
        let mut last = &mut first;
        for view in self.views().skip(1) {
            let link = LinkRef::new(clone(view)).ok()?;
            last = last.rest.insert(link).frame_mut();
        }
        Some(first)
    }

    /// Copies octets from `offset` on into `buffer`; returns how many there were.
    pub fn copy_to(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let (mut skip, mut copied) = (offset, 0);
        for Segment { octets, .. } in self.segments() {
            let skipped = skip.min(octets.len());
            skip -= skipped;
            let octets = &octets[skipped..];
            let count = octets.len().min(buffer.len() - copied);
            buffer[copied..copied + count].copy_from_slice(&octets[..count]);
            copied += count;
        }
        copied
    }

    fn views(&self) -> impl Iterator<Item = &Frame> {
        core::iter::successors(Some(self), |view| view.rest.as_ref().map(LinkRef::frame))
    }

    fn last_mut(&mut self) -> &mut Frame {
        let mut view = self;
        while view.rest.is_some() {
            view = view.rest.as_mut().expect("looked at above").frame_mut();
        }
        view
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // One link after the other: a long chain must not need a deep stack.
        let mut rest = self.rest.take();
        while let Some(link) = rest {
            rest = link.into_frame().rest.take();
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len()).field("segments", &self.segments().count()).finish()
    }
}

/// See [`Frame::segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    next: Option<&'a Frame>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let view = self.next?;
        self.next = view.rest.as_ref().map(LinkRef::frame);
        Some(Segment { octets: view.head(), dma: view.block.dma().offset(view.start as usize) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::vec::Vec;

    use super::*;
    use crate::HeapPool;

    /// A pool for ever that is still referred to at the end, so that Miri names only what was lost.
    fn pool(max_links: usize) -> &'static HeapPool {
        static POOLS: Mutex<Vec<&HeapPool>> = Mutex::new(Vec::new());
        let pool = HeapPool::leak(max_links);
        POOLS.lock().unwrap().push(pool);
        pool
    }

    fn frame(pool: &'static HeapPool, octets: &[u8]) -> Frame {
        let mut frame = Frame::allocate(pool, 16, octets.len()).unwrap();
        frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
        frame
    }

    fn chain(pool: &'static HeapPool, parts: &[&[u8]]) -> Frame {
        let mut whole = frame(pool, parts[0]);
        for part in &parts[1..] {
            whole.append(frame(pool, part)).unwrap();
        }
        whole
    }

    fn octets(frame: &Frame) -> Vec<u8> {
        frame.segments().flat_map(|segment| segment.octets).copied().collect()
    }

    #[test]
    fn headers_in_front_without_a_copy() {
        let pool = pool(0);
        let mut frame = frame(pool, b"payload");
        frame.push_front(4).unwrap().copy_from_slice(b"tcp ");
        frame.push_front(3).unwrap().copy_from_slice(b"ip ");
        assert_eq!((frame.head(), frame.headroom()), (&b"ip tcp payload"[..], 9));
        assert_eq!(frame.segments().next().unwrap().dma, frame.block.dma().offset(9));
        assert!(frame.push_front(10).is_none());
        assert!(frame.pull(3) && frame.pull(4));
        assert_eq!((frame.head(), frame.headroom()), (&b"payload"[..], 16));
        assert!(!frame.pull(8));
        drop(frame);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn what_is_shared_is_read_only() {
        let pool = pool(0);
        let mut one = frame(pool, b"abc");
        let two = one.try_clone().unwrap();
        assert!(one.head_mut().is_none() && one.push_front(1).is_none() && one.push_back(0).is_none());
        assert_eq!((one.headroom(), one.tailroom()), (0, 0));
        drop(two);
        one.head_mut().unwrap()[0] = b'x';
        assert_eq!((one.head(), one.headroom()), (&b"xbc"[..], 16));
    }

    #[test]
    fn chains() {
        let pool = pool(0);
        let mut whole = chain(pool, &[b"ab", b"", b"cde", b"f"]);
        assert_eq!((whole.len(), whole.segments().count(), whole.is_contiguous()), (6, 4, false));
        assert_eq!(octets(&whole), b"abcdef");
        assert_eq!(whole.footprint(), 4 * crate::BLOCK_OVERHEAD + 4 * 16 + 6);
        assert!(whole.pull(3));
        assert_eq!((whole.head(), pool.out().0), (&b"de"[..], 2));
        whole.truncate(2);
        assert_eq!((octets(&whole), pool.out().0), (b"de".to_vec(), 1));
        whole.truncate(9);
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn small_frames_are_absorbed_while_there_is_room() {
        let pool = pool(0);
        let mut one = Frame::allocate(pool, 0, 4).unwrap();
        one.absorb(chain(pool, &[b"a", b"bc"])).unwrap();
        let two = one.try_clone().unwrap();
        let rest = one.absorb(frame(pool, b"d")).unwrap_err();
        drop(two);
        one.absorb(rest).unwrap();
        assert_eq!((octets(&one), one.is_contiguous()), (b"abcd".to_vec(), true));
        assert_eq!(octets(&one.absorb(frame(pool, b"e")).unwrap_err()), b"e");
        assert_eq!(pool.out().0, 1);
    }

    #[test]
    fn split_at_every_place() {
        let pool = pool(0);
        for at in 0..=6 {
            let (first, second) = chain(pool, &[b"ab", b"cde", b"f"]).split(at).unwrap();
            assert_eq!(
                (octets(&first), octets(&second)),
                (b"abcdef"[..at].to_vec(), b"abcdef"[at..].to_vec())
            );
            drop(first);
            assert_eq!(octets(&second), b"abcdef"[at..], "the second half lives on");
        }
        let whole = chain(pool, &[b"ab", b"c"]).split(4).unwrap_err();
        assert_eq!(octets(&whole), b"abc");
        drop(whole);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn copies_from_any_offset() {
        let pool = pool(0);
        let whole = chain(pool, &[b"ab", b"", b"cde", b"f"]);
        for from in 0..=7 {
            for len in 0..=7 {
                let mut buffer = [0; 7];
                let count = whole.copy_to(from, &mut buffer[..len]);
                let expected = b"abcdef".get(from..).unwrap_or(&[]);
                assert_eq!(buffer[..count], expected[..expected.len().min(len)], "{from} {len}");
            }
        }
    }

    #[test]
    fn payload_in_two_chains_at_once() {
        // A segment that is sent again while its first copy still waits in the device.
        let pool = pool(1);
        let payload = frame(pool, b"data");
        let mut first = frame(pool, b"h1");
        first.append(payload.try_clone().unwrap()).unwrap();
        assert_eq!(pool.out().1, 0, "the block's own link");
        let mut second = frame(pool, b"h2");
        second.append(payload.try_clone().unwrap()).unwrap();
        assert_eq!(pool.out().1, 1);
        let third = payload.try_clone().unwrap();
        assert_eq!(frame(pool, b"h3").append(third).unwrap_err().head(), b"data");
        assert!(first.try_clone().is_none());
        drop(first);
        assert_eq!(octets(&second), b"h2data");
        frame(pool, b"h3").append(payload).unwrap();
        drop(second);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn a_clone_of_a_chain_outlives_it() {
        let pool = pool(9);
        let whole = chain(pool, &[b"ab", b"cde", b"f"]);
        let clone = whole.try_clone().unwrap();
        drop(whole);
        assert_eq!(octets(&clone), b"abcdef");
        drop(clone);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let pool = pool(0);
        let mut whole = frame(pool, b"");
        for _ in 0..if cfg!(miri) { 20 } else { 20_000 } {
            // In front, as appending walks the chain.
            let mut longer = frame(pool, b"x");
            longer.append(whole).unwrap();
            whole = longer;
        }
        drop(whole);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn clones_go_to_other_threads() {
        let pool = pool(9);
        let whole = chain(pool, &[b"ab", b"cd"]);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let clone = whole.try_clone().unwrap();
                scope.spawn(move || {
                    for _ in 0..20 {
                        assert_eq!(octets(&clone.try_clone().unwrap()), b"abcd");
                    }
                });
            }
        });
        drop(whole);
        assert_eq!(pool.out(), (0, 0));
    }

    #[test]
    fn a_device_fills_a_frame() {
        let pool = pool(0);
        let empty = Frame::allocate(pool, 16, 100).unwrap();
        let lent = empty.lend().unwrap();
        assert_eq!((lent.capacity(), lent.dma()), (100, HeapPool::DMA.offset(crate::BLOCK_OVERHEAD + 16)));
        // SAFETY: there is no device.
        let frame = unsafe { lent.returned(9_999) };
        assert_eq!(frame.len(), 100, "a device's claim is not believed");
        let clone = frame.try_clone().unwrap();
        assert!(frame.lend().is_err(), "somebody still reads it");
        drop(clone);
        assert_eq!(pool.out(), (0, 0));
    }
}
