//! The page frames of one zone, handed out in blocks of `1 << order` frames.
//!
//! A block of order `k` starts at a multiple of `1 << k`. Two free halves of a block always become the block again,
//! so a range is free exactly when the aligned blocks it is made of are.
//!
//! All knowledge is in bitmaps beside the frames; the frames themselves are never touched, so RAM that nobody uses
//! stays untouched. The zone is divided into *groups* of 64 frames:
//!
//! * A group of which some frames are free and some are not has a word that says which. Splitting and joining within
//!   it is arithmetic on that word. It is listed under the order of the largest free block inside: a [`Bitmap`] of
//!   groups for each order below 6.
//! * Whole free groups, and larger blocks, are listed as blocks: a [`Bitmap`] of blocks for each order from 6 on. The
//!   words of the groups inside are 0, as they are for groups without a free frame.
//!
//! A word mask says which orders have anything listed. So taking and freeing a single frame is mostly one change
//! of one word, and no operation on a block takes more than a few words per order.
//!
//! That is 1.2 bits per frame: 37 MiB for 1 TiB of RAM, too much to clear at boot. Hence the words that describe
//! only the inside of one region of `1 << MAX_ORDER` frames mean nothing until the region is *prepared*, and a region
//! is prepared when for the first time anything but a whole free block of it is needed. The words that cover
//! more than one region are few and are cleared at once.
#![forbid(unsafe_code)]

use core::fmt;

use crate::bitmap::{Bitmap, MAX_LEVELS, WORD_ORDER};

/// Largest order of a block: 1 GiB of 4 KiB frames.
pub const MAX_ORDER: u8 = 18;

const TOP: usize = MAX_ORDER as usize;
/// Order of a group: the frames that one word tells of.
const GROUP: usize = WORD_ORDER;
/// 256 TiB.
const MAX_FRAMES: usize = 1 << (GROUP + WORD_ORDER * MAX_LEVELS);

/// The allocator of one zone. Frames are numbered from the start of the zone, which should be as aligned as the
/// largest block that is asked for.
pub struct Buddy {
    /// First a word per group, its free frames; then the words of `lists`, then those of `prepared`.
    words: &'static mut [u64],
    lists: [Bitmap; TOP + 1],
    /// Regions of which all words are valid.
    prepared: Bitmap,
    /// Orders whose list is not empty, as a bit mask.
    available: u32,
    frames: usize,
    free_frames: usize,
}

/// Why frames could not be freed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The order is above [`MAX_ORDER`], or the block or range does not lie within the zone.
    OutOfZone,
    /// The block's first frame is not a multiple of its size.
    Misaligned,
    /// Some of the frames are free already, or were never handed out.
    NotAllocated,
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FreeError::OutOfZone => "frames outside the zone",
            FreeError::Misaligned => "block not aligned to its order",
            FreeError::NotAllocated => "frames not allocated",
        })
    }
}

impl core::error::Error for FreeError {}

impl Buddy {
    /// Words of storage that [`Buddy::new`] needs for a zone of `frames` frames: 1.2 bits a frame, and a word for each
    /// order. `usize::MAX` if a zone cannot be as large.
    pub const fn storage_words(frames: usize) -> usize {
        if frames > MAX_FRAMES { usize::MAX } else { Layout::new(frames).words }
    }

    /// A zone of `frames` frames, all of them in use: RAM is added with [`Buddy::free_range`].
    ///
    /// `storage` may hold anything; little of it is written here (under 20 KiB for 1 TiB). `None`: it is shorter than
    /// [`Buddy::storage_words`].
    pub fn new(frames: usize, storage: &'static mut [u64]) -> Option<Self> {
        if storage.len() < Self::storage_words(frames) {
            return None;
        }
        let Layout { lists, prepared, .. } = Layout::new(frames);
        for range in prepared.levels() {
            storage[range].fill(0);
        }
        for (order, list) in lists.iter().enumerate() {
            for (level, range) in list.levels().enumerate() {
                if words_per_region(order, level).is_none() {
                    storage[range].fill(0);
                }
            }
        }
        Some(Self { words: storage, lists, prepared, available: 0, frames, free_frames: 0 })
    }

    /// Takes a block of `1 << order` frames and returns its first frame. Of the places it could be cut from, it is the
    /// smallest, then the lowest. `None`: there is no free block as large.
    pub fn alloc(&mut self, order: u8) -> Option<usize> {
        match order {
            // Most calls are for single frames; `inline(always)` below gives them code of their own.
            0 => self.alloc_block(0),
            1..=MAX_ORDER => self.alloc_block(order.into()),
            _ => None,
        }
    }

    /// Takes the frames `start..start + count`. `false`, and nothing is taken: they are not all free.
    ///
    /// As many steps as [`Buddy::free_range`].
    pub fn alloc_range(&mut self, start: usize, count: usize) -> bool {
        let Some(blocks) = self.blocks_of(start, count) else { return false };
        if !blocks.clone().all(|(frame, order)| self.place_of(frame, order).is_some()) {
            return false;
        }
        for (frame, order) in blocks {
            match self.place_of(frame, order) {
                Some(Place::Group(listed)) => self.take_in_group(frame, order, listed),
                Some(Place::Block(from)) => self.take_in_block(frame, order, from),
                None => {}
            }
        }
        true
    }

    /// Gives back a block of [`Buddy::alloc`]. The owner of a block may also give back aligned parts of it, one by
    /// one.
    ///
    /// Refuses a block any part of which is free. What is freed with a smaller order than it was allocated with cannot
    /// be noticed.
    pub fn free(&mut self, frame: usize, order: u8) -> Result<(), FreeError> {
        match order {
            0 => self.free_block(frame, 0),
            1..=MAX_ORDER => self.free_block(frame, order.into()),
            _ => Err(FreeError::OutOfZone),
        }
    }

    /// Frees the frames `start..start + count`, in as many aligned blocks as needed: RAM at boot, the unused end of
    /// a block later. Refuses a range of which any frame is free.
    ///
    /// At most two blocks per order and one for each GiB.
    pub fn free_range(&mut self, start: usize, count: usize) -> Result<(), FreeError> {
        let blocks = self.blocks_of(start, count).ok_or(FreeError::OutOfZone)?;
        if blocks.clone().any(|(frame, order)| self.overlaps_free(frame, order)) {
            return Err(FreeError::NotAllocated);
        }
        for (frame, order) in blocks {
            if order < TOP {
                self.prepare(frame);
            }
            self.put(frame, order);
        }
        Ok(())
    }

    /// Frames in the zone, RAM or not.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Frames that are free.
    pub fn free_frames(&self) -> usize {
        self.free_frames
    }

    /// Order of the largest free block; `None`: nothing is free.
    pub fn largest_free_order(&self) -> Option<u8> {
        self.available.checked_ilog2().map(|order| order as u8)
    }

    /// Free blocks of exactly this order. Looks at every one of them, or at every group of which some frames are free:
    /// for reports.
    pub fn free_blocks(&self, order: u8) -> usize {
        let order = order as usize;
        let listed = |order: &usize| self.available & (1 << order) != 0;
        if order >= GROUP {
            return if order <= TOP && listed(&order) {
                self.lists[order].iter(self.words).count()
            } else {
                0
            };
        }
        let count = |word, order| group::blocks(word, order).count_ones() as usize;
        let groups = (order..GROUP).filter(listed).flat_map(|largest| self.lists[largest].iter(self.words));
        // Those that are halves of a free block are not blocks themselves.
        groups
            .map(|group| self.words[group])
            .map(|word| count(word, order) - 2 * count(word, order + 1))
            .sum()
    }

    #[inline(always)]
    fn alloc_block(&mut self, order: usize) -> Option<usize> {
        let candidates = self.available & (u32::MAX << order);
        if candidates == 0 {
            return None;
        }
        let from = candidates.trailing_zeros() as usize;
        let first = self.lists[from].first(self.words);
        if from >= GROUP {
            self.take_in_block(first << from, order, from);
            return Some(first << from);
        }
        let frame = first * 64 + group::blocks(self.words[first], order).trailing_zeros() as usize;
        self.take_in_group(frame, order, from);
        Some(frame)
    }

    #[inline(always)]
    fn free_block(&mut self, frame: usize, order: usize) -> Result<(), FreeError> {
        if frame >> order >= self.frames >> order {
            return Err(FreeError::OutOfZone);
        }
        if frame >> order << order != frame {
            return Err(FreeError::Misaligned);
        }
        // Of a region that is not prepared nothing was ever handed out.
        if !self.is_prepared(frame) {
            return Err(FreeError::NotAllocated);
        }
        let word = self.words[frame / 64];
        let overlaps = if order < GROUP && word != 0 {
            // The group has frames that are listed, so it is not within a larger free block.
            word & group::bits(frame, order) != 0
        } else {
            self.overlaps_free(frame, order)
        };
        if overlaps {
            return Err(FreeError::NotAllocated);
        }
        self.put(frame, order);
        Ok(())
    }

    /// Takes a free block of order below `GROUP` in a group that is listed under the order `listed`.
    #[inline(always)]
    fn take_in_group(&mut self, frame: usize, order: usize, listed: usize) {
        self.free_frames -= 1 << order;
        let before = self.words[frame / 64];
        let after = before & !group::bits(frame, order);
        self.words[frame / 64] = after;
        // The listing holds if the block was no part of a largest one, or not of the only one.
        if group::is_free(before, frame, listed) && group::blocks(after, listed) == 0 {
            self.relist(frame / 64, Some(listed), group::largest(after));
        }
    }

    /// Frees a block of order below `GROUP`. `false`: the group is now wholly free, has no frame listed any more, and
    /// is to be freed as a block.
    #[inline(always)]
    fn put_in_group(&mut self, frame: usize, order: usize) -> bool {
        let before = self.words[frame / 64];
        let after = before | group::bits(frame, order);
        if after == u64::MAX {
            self.words[frame / 64] = 0;
            self.relist(frame / 64, group::largest(before), None);
            return false;
        }
        self.words[frame / 64] = after;
        // The listing holds if there was a block as large as the one that the freed one is now part of.
        let order = group::joined(after, frame, order);
        if group::blocks(before, order) == 0 {
            self.relist(frame / 64, group::largest(before), Some(order));
        }
        true
    }

    /// Takes a block out of the free block of order `from`, at least `GROUP`, that is around it.
    #[inline(never)]
    fn take_in_block(&mut self, frame: usize, order: usize, from: usize) {
        self.free_frames -= 1 << order;
        self.unlist(from, frame >> from);
        if from == TOP {
            self.prepare(frame);
        }
        for order in (order.max(GROUP)..from).rev() {
            self.list(order, (frame >> order) ^ 1);
        }
        if order < GROUP {
            self.words[frame / 64] = !group::bits(frame, order);
            self.list(GROUP - 1, frame / 64);
        }
    }

    /// Frees the block around a frame, of order `GROUP` at least, and joins it with its buddies as far as they are free.
    #[inline(never)]
    fn put_block(&mut self, frame: usize, mut order: usize) {
        let mut index = frame >> order;
        // A buddy that would reach over the end of the zone has a bit in the list (in the same word), which is never
        // set.
        while order < TOP && self.lists[order].contains(self.words, index ^ 1) {
            self.unlist(order, index ^ 1);
            order += 1;
            index >>= 1;
        }
        self.list(order, index);
    }

    #[inline(always)]
    fn put(&mut self, frame: usize, order: usize) {
        self.free_frames += 1 << order;
        if order >= GROUP {
            self.put_block(frame, order);
        } else if !self.put_in_group(frame, order) {
            self.put_block(frame, GROUP);
        }
    }

    #[inline(never)]
    fn relist(&mut self, group: usize, from: Option<usize>, to: Option<usize>) {
        if let Some(order) = from {
            self.unlist(order, group);
        }
        if let Some(order) = to {
            self.list(order, group);
        }
    }

    #[inline]
    fn list(&mut self, order: usize, index: usize) {
        if self.lists[order].insert(self.words, index) {
            self.available |= 1 << order;
        }
    }

    #[inline]
    fn unlist(&mut self, order: usize, index: usize) {
        if self.lists[order].remove(self.words, index) {
            self.available &= !(1 << order);
        }
    }

    /// Where a block lies if it is free.
    fn place_of(&self, frame: usize, order: usize) -> Option<Place> {
        let mut smallest = TOP;
        if self.is_prepared(frame) {
            let word = self.words[frame / 64];
            if order < GROUP && group::is_free(word, frame, order) {
                return group::largest(word).map(Place::Group);
            }
            smallest = order.max(GROUP);
        }
        (smallest..=TOP)
            .take_while(|&order| frame >> order < self.lists[order].bound())
            .find(|&order| self.lists[order].contains(self.words, frame >> order))
            .map(Place::Block)
    }

    /// Whether any frame of a block is free.
    #[inline(never)]
    fn overlaps_free(&self, frame: usize, order: usize) -> bool {
        self.place_of(frame, order).is_some()
            || (self.is_prepared(frame) && self.has_free_inside(frame, order))
    }

    /// Whether a block of a prepared region has smaller free blocks inside.
    fn has_free_inside(&self, frame: usize, order: usize) -> bool {
        if order < GROUP {
            return self.words[frame / 64] & group::bits(frame, order) != 0;
        }
        (0..order).any(|smaller| {
            let unit = smaller.max(GROUP);
            self.lists[smaller].contains_any(self.words, frame >> unit, order - unit)
        })
    }

    /// The aligned blocks that make up a range, as first frame and order. `None`: it is not within the zone.
    fn blocks_of(
        &self,
        start: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (usize, usize)> + Clone + use<>> {
        let end = start.checked_add(count).filter(|&end| end <= self.frames)?;
        let mut frame = start;
        Some(core::iter::from_fn(move || {
            let fits = (end - frame).checked_ilog2()?;
            let order = fits.min(frame.trailing_zeros()).min(MAX_ORDER.into()) as usize;
            let block = (frame, order);
            frame += 1 << order;
            Some(block)
        }))
    }

    /// Whether the words about the inside of the region around `frame` are valid.
    #[inline]
    fn is_prepared(&self, frame: usize) -> bool {
        self.prepared.contains(self.words, frame >> TOP)
    }

    /// Makes them valid: no block inside the region is free.
    fn prepare(&mut self, frame: usize) {
        if self.is_prepared(frame) {
            return;
        }
        let region = frame >> TOP;
        self.prepared.insert(self.words, region);
        let within = |all: usize, words: usize| (region * words).min(all)..((region + 1) * words).min(all);
        self.words[within(self.frames.div_ceil(64), 1 << (TOP - GROUP))].fill(0);
        for (order, list) in self.lists.iter().enumerate() {
            for (level, range) in list.levels().enumerate() {
                if let Some(words) = words_per_region(order, level) {
                    self.words[range.clone()][within(range.len(), words)].fill(0);
                }
            }
        }
    }
}

/// Where a free block lies.
enum Place {
    /// In a group that is listed under this order.
    Group(usize),
    /// In, or as, a free block of this order, at least `GROUP`.
    Block(usize),
}

/// How the storage of a zone is divided.
struct Layout {
    lists: [Bitmap; TOP + 1],
    prepared: Bitmap,
    words: usize,
}

impl Layout {
    const fn new(frames: usize) -> Self {
        let groups = frames.div_ceil(64);
        let mut words = groups;
        let mut lists = [Bitmap::new(0, &mut words); TOP + 1];
        let mut order = 0;
        while order <= TOP {
            lists[order] = Bitmap::new(if order < GROUP { groups } else { frames >> order }, &mut words);
            order += 1;
        }
        let prepared = Bitmap::new(frames.div_ceil(1 << TOP), &mut words);
        Self { lists, prepared, words }
    }
}

/// How many words of a level of a list tell of the inside of one region alone. `None`: a word tells of several.
const fn words_per_region(order: usize, level: usize) -> Option<usize> {
    let unit = if order < GROUP { GROUP } else { order };
    match TOP.checked_sub(unit + WORD_ORDER * (level + 1)) {
        Some(words) => Some(1 << words),
        None => None,
    }
}

/// A group's word: which of 64 frames are free. Splitting and joining blocks within is arithmetic on it. Frames are
/// given by their number in the zone.
mod group {
    use super::GROUP;

    /// The bits of a block, of order below `GROUP`.
    #[inline]
    pub(super) const fn bits(frame: usize, order: usize) -> u64 {
        BLOCKS[order] << (frame % 64)
    }

    /// Whether the block of this order around a frame is free.
    #[inline]
    pub(super) const fn is_free(word: u64, frame: usize, order: usize) -> bool {
        !word & bits(frame >> order << order, order) == 0
    }

    /// First frames of the blocks of an order that are free, or parts of larger ones that are.
    #[inline]
    pub(super) const fn blocks(mut word: u64, order: usize) -> u64 {
        let mut joined = 1;
        while joined < 1 << order {
            word &= word >> joined;
            joined *= 2;
        }
        word & STARTS[order]
    }

    /// Order of the largest free block, in a group that is not wholly free.
    pub(super) const fn largest(mut word: u64) -> Option<usize> {
        if word == 0 {
            return None;
        }
        let mut order = 0;
        while order < GROUP - 1 {
            word &= word >> (1 << order);
            if word & STARTS[order + 1] == 0 {
                break;
            }
            order += 1;
        }
        Some(order)
    }

    /// Order of the free block, in a group that is not wholly free, that the free block at `frame` is part of.
    #[inline]
    pub(super) const fn joined(word: u64, frame: usize, mut order: usize) -> usize {
        while order < GROUP - 1 && is_free(word, frame, order + 1) {
            order += 1;
        }
        order
    }

    /// A block of each order at the group's start.
    const BLOCKS: [u64; GROUP] = [0x1, 0x3, 0xf, 0xff, 0xffff, 0xffff_ffff];

    /// Frames at which a block of each order can start.
    const STARTS: [u64; GROUP + 1] = [
        u64::MAX,
        0x5555_5555_5555_5555,
        0x1111_1111_1111_1111,
        0x0101_0101_0101_0101,
        0x0001_0001_0001_0001,
        0x0000_0001_0000_0001,
        1,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::{Rng, for_seeds};
    use std::vec;
    use std::vec::Vec;

    const RUBBISH: u64 = 0xdead_beef_5555_aaaa;

    /// A zone on storage full of rubbish, exactly as long as needed.
    fn zone(frames: usize) -> Buddy {
        let storage = vec![RUBBISH; Buddy::storage_words(frames)];
        Buddy::new(frames, storage.leak()).unwrap()
    }

    fn zone_of_ram(frames: usize) -> Buddy {
        let mut buddy = zone(frames);
        buddy.free_range(0, frames).unwrap();
        buddy
    }

    /// Free blocks of every order: equal means the same free memory, equally joined.
    fn shape(buddy: &Buddy) -> Vec<usize> {
        (0..=MAX_ORDER).map(|order| buddy.free_blocks(order)).collect()
    }

    #[test]
    fn starts_without_a_free_frame() {
        for frames in [0, 1, 63, 64, 65, 256, 1 << TOP, (5 << TOP) + 3] {
            let mut buddy = zone(frames);
            assert_eq!((buddy.free_frames(), buddy.largest_free_order()), (0, None));
            assert_eq!(buddy.alloc(0), None);
            assert!(shape(&buddy).iter().all(|&blocks| blocks == 0));
        }
    }

    #[test]
    fn splits_and_joins() {
        let mut buddy = zone_of_ram(16);
        assert_eq!(buddy.largest_free_order(), Some(4));
        assert_eq!(buddy.alloc(0), Some(0));
        assert_eq!(shape(&buddy)[..5], [1, 1, 1, 1, 0]);
        assert_eq!(buddy.alloc(1), Some(2));
        assert_eq!(buddy.alloc(0), Some(1));
        assert_eq!(buddy.alloc(3), Some(8));
        assert_eq!(buddy.alloc(3), None);
        assert_eq!(buddy.free_frames(), 4);
        for (frame, order) in [(8, 3), (1, 0), (2, 1), (0, 0)] {
            buddy.free(frame, order).unwrap();
        }
        assert_eq!(shape(&buddy)[..5], [0, 0, 0, 0, 1]);
        assert_eq!(buddy.free_frames(), 16);
    }

    #[test]
    fn frame_counts_that_are_no_power_of_two() {
        for frames in
            if cfg!(miri) { [1, 3, 65, 255, 257, 258, 300] } else { [1, 3, 65, 255, 257, 700, 4097] }
        {
            let mut buddy = zone_of_ram(frames);
            assert_eq!(buddy.free_frames(), frames);
            assert_eq!(buddy.largest_free_order(), Some(frames.ilog2() as u8));
            let before = shape(&buddy);
            let mut taken: Vec<_> = core::iter::from_fn(|| buddy.alloc(0)).collect();
            assert_eq!(buddy.free_frames(), 0);
            taken.sort_unstable();
            assert!(taken.iter().copied().eq(0..frames));
            for frame in taken {
                buddy.free(frame, 0).unwrap();
            }
            assert_eq!(shape(&buddy), before);
        }
    }

    #[test]
    fn orders_larger_than_the_zone() {
        let mut buddy = zone_of_ram(300);
        for order in [9, MAX_ORDER, MAX_ORDER + 1, 31, 32, 64, u8::MAX] {
            assert_eq!(buddy.alloc(order), None);
            assert_eq!(buddy.free(0, order), Err(FreeError::OutOfZone));
            assert_eq!(buddy.free_blocks(order), 0);
        }
    }

    #[test]
    fn refuses_wrong_frees() {
        let mut buddy = zone_of_ram(1024);
        let frame = buddy.alloc(3).unwrap();
        let before = shape(&buddy);
        assert_eq!(buddy.free(1024, 0), Err(FreeError::OutOfZone));
        assert_eq!(buddy.free(usize::MAX, 0), Err(FreeError::OutOfZone));
        assert_eq!(buddy.free(frame + 1, 3), Err(FreeError::Misaligned));
        assert_eq!(buddy.free(frame + 8, 3), Err(FreeError::NotAllocated));
        assert_eq!(buddy.free(frame, 4), Err(FreeError::NotAllocated), "half of it is free");
        assert_eq!(buddy.free(frame, 7), Err(FreeError::NotAllocated), "most of it is free");
        assert_eq!(buddy.free(frame + 16, 0), Err(FreeError::NotAllocated), "inside a larger free block");
        assert_eq!(buddy.free(frame + 513, 0), Err(FreeError::NotAllocated), "inside a larger free block");
        assert_eq!(shape(&buddy), before);
        buddy.free(frame, 3).unwrap();
        assert!(buddy.free(0, 10).is_err());
    }

    #[test]
    fn refuses_to_free_what_was_never_ram() {
        let mut buddy = zone(3 << TOP);
        assert_eq!(buddy.free(1 << TOP, 0), Err(FreeError::NotAllocated));
    }

    #[test]
    fn ranges() {
        let mut buddy = zone(10_000);
        buddy.free_range(3, 9_000).unwrap();
        assert_eq!(buddy.free_range(9_002, 2), Err(FreeError::NotAllocated));
        assert_eq!(buddy.free_range(9_003, 998), Err(FreeError::OutOfZone));
        assert_eq!(buddy.free_range(9_003, usize::MAX), Err(FreeError::OutOfZone));
        assert_eq!(buddy.free_range(10_000, 0), Ok(()));
        let before = shape(&buddy);

        assert!(!buddy.alloc_range(2, 5));
        assert!(!buddy.alloc_range(9_000, 5));
        assert!(!buddy.alloc_range(9_000, usize::MAX));
        assert_eq!(shape(&buddy), before);

        assert!(buddy.alloc_range(1_000, 1_234));
        assert!(!buddy.alloc_range(2_233, 1));
        assert!(buddy.alloc_range(2_234, 1));
        assert_eq!(buddy.free_frames(), 9_000 - 1_235);
        buddy.free_range(1_000, 1_235).unwrap();
        assert_eq!(shape(&buddy), before);
    }

    /// The last frames lie in no whole block of the higher orders, which have no bit for them.
    #[test]
    fn the_last_frames_of_a_zone() {
        for frames in (1000..1300).step_by(if cfg!(miri) { 61 } else { 1 }) {
            let mut buddy = zone(frames);
            buddy.free_range(0, frames - 7).unwrap();
            buddy.free_range(frames - 7, 7).unwrap();
            assert_eq!(shape(&buddy), shape(&zone_of_ram(frames)));
        }
    }

    #[test]
    fn the_end_of_a_block_can_go_back() {
        let mut buddy = zone_of_ram(64);
        let frame = buddy.alloc(4).unwrap();
        buddy.free_range(frame + 9, 7).unwrap();
        assert_eq!(buddy.free_frames(), 64 - 9);
        buddy.free_range(frame, 9).unwrap();
        assert_eq!(shape(&buddy), shape(&zone_of_ram(64)));
    }

    #[test]
    fn several_regions() {
        let frames = (3 << TOP) + 12_345;
        let mut buddy = zone(frames);
        // As at boot: a hole in the first region, a short last one.
        buddy.free_range(1, 159).unwrap();
        buddy.free_range(256, frames - 256).unwrap();
        let before = shape(&buddy);
        assert_eq!(before[TOP], 2);
        assert_eq!(buddy.free_frames(), frames - 97);

        assert_eq!(buddy.alloc(MAX_ORDER), Some(1 << TOP));
        assert_eq!(buddy.alloc(MAX_ORDER - 1), Some(1 << (TOP - 1)));
        assert_eq!(buddy.alloc(MAX_ORDER - 1), Some(2 << TOP));
        assert_eq!(buddy.alloc(MAX_ORDER), None);
        // Whole blocks may be given back in parts.
        for part in 0..4 {
            buddy.free((1 << TOP) + (part << (TOP - 2)), MAX_ORDER - 2).unwrap();
        }
        buddy.free(1 << (TOP - 1), MAX_ORDER - 1).unwrap();
        buddy.free(2 << TOP, MAX_ORDER - 1).unwrap();
        assert_eq!(shape(&buddy), before);

        let order = if cfg!(miri) { 14 } else { 9 };
        let mut taken = Vec::new();
        while let Some(frame) = buddy.alloc(order) {
            taken.push(frame);
        }
        for frame in taken {
            buddy.free(frame, order).unwrap();
        }
        assert_eq!(shape(&buddy), before);
    }

    #[test]
    fn storage_is_small() {
        assert!(Buddy::storage_words(256) * 8 <= 128);
        for shift in 16..28 {
            let frames = 1_usize << shift;
            let bits = Buddy::storage_words(frames) * 64;
            assert!(bits as f64 / (frames as f64) < 1.2, "{bits} bits for {frames} frames");
        }
        assert_eq!(Buddy::storage_words(MAX_FRAMES + 1), usize::MAX);
        assert!(Buddy::storage_words(MAX_FRAMES) < u32::MAX as usize);
        assert!(Buddy::new(256, vec![0; Buddy::storage_words(256) - 1].leak()).is_none());
        assert!(Buddy::new(usize::MAX, &mut []).is_none());
        assert!(Buddy::new(0, &mut []).is_some());
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn a_large_zone_touches_little_of_its_storage() {
        let terabyte = 1 << 28;
        let mut buddy = zone(terabyte);
        buddy.free_range(0, terabyte).unwrap();
        let touched = buddy.words.iter().filter(|&&word| word != RUBBISH).count();
        assert!(touched * 8 < 20 << 10, "{touched} words");
        assert_eq!(buddy.free_blocks(MAX_ORDER), 1024);
        assert_eq!(buddy.alloc(0), Some(0));
        buddy.free(0, 0).unwrap();
        assert_eq!(buddy.free_blocks(MAX_ORDER), 1024);
    }

    #[test]
    fn groups_agree_with_looking_at_every_frame() {
        for_seeds(if cfg!(miri) { 5 } else { 2000 }, |mut rng| {
            let density = 1 + rng.below(12);
            let word = (0..64)
                .fold(0, |word, frame| word | u64::from(rng.below(density) != 0 || density == 1) << frame);
            let is_free = |order: usize, start: usize| {
                (start..start + (1 << order)).all(|frame| word >> frame & 1 == 1)
            };
            for order in 0..=GROUP {
                let blocks = (0..64).step_by(1 << order).filter(|&start| is_free(order, start));
                assert_eq!(group::blocks(word, order), blocks.fold(0, |blocks, start| blocks | 1 << start));
            }
            if word == u64::MAX {
                return;
            }
            let largest = (0..GROUP).filter(|&order| group::blocks(word, order) != 0).max();
            assert_eq!(group::largest(word), largest);
            for frame in (0..64).filter(|&frame| is_free(0, frame)) {
                let around = |&order: &usize| is_free(order, frame >> order << order);
                assert_eq!(group::joined(word, 640 + frame, 0), (0..GROUP).filter(around).max().unwrap());
            }
        });
    }

    /// What the allocator must do, told frame by frame.
    struct Model {
        free: Vec<bool>,
    }

    impl Model {
        fn is_free(&self, frame: usize, count: usize) -> bool {
            self.free[frame..frame + count].iter().all(|&free| free)
        }

        fn has_block(&self, order: u8) -> bool {
            let size = 1 << order;
            (0..self.free.len() / size).any(|index| self.is_free(index * size, size))
        }

        fn mark(&mut self, frame: usize, count: usize, free: bool) {
            for state in &mut self.free[frame..frame + count] {
                assert_ne!(*state, free);
                *state = free;
            }
        }
    }

    #[test]
    fn agrees_with_the_model() {
        for_seeds(if cfg!(miri) { 3 } else { 120 }, |mut rng| {
            let magnitude = if cfg!(miri) { 300 } else { [100, 3000, 3000, 20_000][rng.below(4)] };
            let frames = 1 + rng.below(magnitude);
            let mut buddy = zone(frames);
            let mut model = Model { free: vec![false; frames] };
            // RAM with holes.
            let mut start = rng.below(8);
            while start < frames {
                let count = 1 + rng.below(frames - start);
                buddy.free_range(start, count).unwrap();
                model.mark(start, count, true);
                start += count + 1 + rng.below(40);
            }
            let before = shape(&buddy);
            let mut blocks: Vec<(usize, u8)> = Vec::new();
            let mut ranges: Vec<(usize, usize)> = Vec::new();
            for _ in 0..if cfg!(miri) { 100 } else { 600 } {
                step(&mut rng, &mut buddy, &mut model, &mut blocks, &mut ranges);
                assert_eq!(buddy.free_frames(), model.free.iter().filter(|&&free| free).count());
            }
            for (frame, order) in blocks {
                buddy.free(frame, order).unwrap();
            }
            for (start, count) in ranges {
                buddy.free_range(start, count).unwrap();
            }
            assert_eq!(shape(&buddy), before);
        });
    }

    fn step(
        rng: &mut Rng,
        buddy: &mut Buddy,
        model: &mut Model,
        blocks: &mut Vec<(usize, u8)>,
        ranges: &mut Vec<(usize, usize)>,
    ) {
        match rng.below(16) {
            0..8 => {
                let bound = 1 + rng.below(12);
                let order = rng.below(bound) as u8;
                let Some(frame) = buddy.alloc(order) else {
                    assert!(!model.has_block(order), "order {order} refused");
                    return;
                };
                assert_eq!(frame % (1 << order), 0);
                model.mark(frame, 1 << order, false);
                blocks.push((frame, order));
            }
            8..14 if !blocks.is_empty() => {
                let (frame, order) = blocks.swap_remove(rng.below(blocks.len()));
                buddy.free(frame, order).unwrap();
                model.mark(frame, 1 << order, true);
                assert_eq!(buddy.free_range(frame, 1 << order), Err(FreeError::NotAllocated));
            }
            14 => {
                let start = rng.below(model.free.len());
                let count = rng.below(1 + (model.free.len() - start).min(70));
                let expected = model.is_free(start, count);
                assert_eq!(buddy.alloc_range(start, count), expected);
                if expected {
                    model.mark(start, count, false);
                    ranges.push((start, count));
                }
            }
            15 if !ranges.is_empty() => {
                let (start, count) = ranges.swap_remove(rng.below(ranges.len()));
                buddy.free_range(start, count).unwrap();
                model.mark(start, count, true);
            }
            _ => {}
        }
    }
}
