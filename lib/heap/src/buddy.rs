//! The page frames of one zone, handed out in blocks of `1 << order` frames.
//!
//! A block of order `k` starts at a multiple of `1 << k`. Two free halves of a block always become the block again,
//! so a range is free exactly when the aligned blocks it is made of are.
//!
//! All knowledge is in bitmaps beside the frames; the frames themselves are never touched, so RAM that nobody uses
//! stays untouched. For each order there is one bit per block, set while the block is free *as a block of that
//! order*, and above it summary levels, 64 words to one, whose bit says "some bit below is set". Finding, setting
//! and clearing take at most one word per level; a word mask says which orders have anything at all.
//!
//! Bitmaps take two bits per frame, which is 64 MiB for 1 TiB of RAM: too much to clear at boot. Hence the words that
//! describe only the inside of one region of `1 << MAX_ORDER` frames mean nothing until the region is *prepared*,
//! and a region is prepared when for the first time anything but a whole free block of it is needed. The words
//! that cover more than one region are few and are cleared at once.
#![forbid(unsafe_code)]

use core::fmt;

/// Largest order of a block: 1 GiB of 4 KiB frames.
pub const MAX_ORDER: u8 = 18;

const TOP: usize = MAX_ORDER as usize;
/// Bits in a word and words under a summary word, as a power of two.
const FAN_OUT: usize = 6;
/// Bitmap levels of one order, at most. Bounds the zone to `64^6` frames, 256 TiB.
const MAX_LEVELS: usize = 6;
const MAX_FRAMES: usize = 1 << (FAN_OUT * MAX_LEVELS);

/// The allocator of one zone. Frames are numbered from the start of the zone, which should be as aligned as the
/// largest block that is asked for.
pub struct Buddy {
    words: &'static mut [u64],
    bitmaps: [Bitmap; TOP + 1],
    /// Word where the bitmap of prepared regions starts.
    prepared: usize,
    /// Orders with a free block, as a bit mask.
    available: u32,
    frames: usize,
    free_frames: usize,
}

/// Where the free blocks of one order are recorded.
#[derive(Clone, Copy)]
struct Bitmap {
    /// First word of each level; level 0 has a bit per block.
    start: [u32; MAX_LEVELS],
    /// Levels in use; the uppermost is a single word. 0: the zone is smaller than a block of this order.
    levels: u8,
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

impl Buddy {
    /// Words of storage that [`Buddy::new`] needs for a zone of `frames` frames: 2 bits a frame, and about a word for
    /// each order. `usize::MAX` if a zone cannot be as large.
    pub const fn storage_words(frames: usize) -> usize {
        if frames > MAX_FRAMES { usize::MAX } else { lay_out(frames).words }
    }

    /// A zone of `frames` frames, all of them in use: RAM is added with [`Buddy::free_range`].
    ///
    /// `storage` may hold anything; little of it is written here (24 KiB for 1 TiB). `None`: it is shorter than
    /// [`Buddy::storage_words`].
    pub fn new(frames: usize, storage: &'static mut [u64]) -> Option<Self> {
        if storage.len() < Self::storage_words(frames) {
            return None;
        }
        let Layout { bitmaps, prepared, words } = lay_out(frames);
        storage[prepared..words].fill(0);
        for (order, bitmap) in bitmaps.iter().enumerate() {
            for level in 0..bitmap.levels as usize {
                if frames_per_word(order, level) > TOP {
                    let start = bitmap.start[level] as usize;
                    storage[start..start + level_words(frames, order, level)].fill(0);
                }
            }
        }
        Some(Self { words: storage, bitmaps, prepared, available: 0, frames, free_frames: 0 })
    }

    /// Takes a block of `1 << order` frames and returns its first frame; of the smallest blocks that do, the one at
    /// the lowest address. `None`: there is no such block.
    ///
    /// Splits at most one block per order.
    #[inline]
    pub fn alloc(&mut self, order: u8) -> Option<usize> {
        if order > MAX_ORDER {
            return None;
        }
        let candidates = self.available & (u32::MAX << order);
        if candidates == 0 {
            return None;
        }
        let from = candidates.trailing_zeros() as usize;
        let frame = self.first(from) << from;
        self.take(frame, order as usize, from);
        Some(frame)
    }

    /// Takes the frames `start..start + count`. `false`, and nothing is taken: they are not all free.
    ///
    /// As many steps as [`Buddy::free_range`].
    pub fn alloc_range(&mut self, start: usize, count: usize) -> bool {
        let Some(blocks) = self.blocks_of(start, count) else { return false };
        if !blocks.clone().all(|(frame, order)| self.free_block_around(frame, order).is_some()) {
            return false;
        }
        for (frame, order) in blocks {
            if let Some(from) = self.free_block_around(frame, order) {
                self.take(frame, order, from);
            }
        }
        true
    }

    /// Gives back a block of [`Buddy::alloc`]. The owner of a block may also give back aligned parts of it, one by
    /// one.
    ///
    /// Always refuses a block that is free at this very order; builds with debug assertions refuse every block any
    /// part of which is free. An order that is smaller than what was allocated cannot be noticed.
    #[inline]
    pub fn free(&mut self, frame: usize, order: u8) -> Result<(), FreeError> {
        let order = order as usize;
        if order > TOP || frame >> order >= self.frames >> order {
            return Err(FreeError::OutOfZone);
        }
        if frame & ((1 << order) - 1) != 0 {
            return Err(FreeError::Misaligned);
        }
        // Of a region that is not prepared nothing was ever handed out.
        if !self.is_prepared(frame >> TOP)
            || self.is_set(order, frame >> order)
            || (cfg!(debug_assertions) && self.overlaps_free(frame, order))
        {
            return Err(FreeError::NotAllocated);
        }
        self.put(frame, order);
        Ok(())
    }

    /// Frees the frames `start..start + count`, in as many aligned blocks as needed: RAM at boot, the unused end of
    /// a block later.
    ///
    /// At most two blocks per order and one for each GiB. Refuses a range of which any frame is free.
    pub fn free_range(&mut self, start: usize, count: usize) -> Result<(), FreeError> {
        let blocks = self.blocks_of(start, count).ok_or(FreeError::OutOfZone)?;
        if blocks.clone().any(|(frame, order)| self.overlaps_free(frame, order)) {
            return Err(FreeError::NotAllocated);
        }
        for (frame, order) in blocks {
            if order < TOP {
                self.prepare(frame >> TOP);
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

    /// Free blocks of exactly this order. Looks at every word with a free block in it: for reports.
    pub fn free_blocks(&self, order: u8) -> usize {
        if order > MAX_ORDER || self.available & (1 << order) == 0 {
            return 0;
        }
        let bitmap = &self.bitmaps[order as usize];
        self.count_set(bitmap, bitmap.levels as usize - 1, 0)
    }

    /// Takes the block at `frame` out of the free block of order `from` around it, and frees the rest of that.
    #[inline]
    fn take(&mut self, frame: usize, order: usize, from: usize) {
        self.clear(from, frame >> from);
        if from == TOP {
            self.prepare(frame >> TOP);
        }
        for order in (order..from).rev() {
            self.set(order, (frame >> order) ^ 1);
        }
        self.free_frames -= 1 << order;
    }

    /// Frees a block and joins it with its buddies as far as they are free.
    #[inline]
    fn put(&mut self, frame: usize, mut order: usize) {
        self.free_frames += 1 << order;
        let mut index = frame >> order;
        // A buddy that would reach over the end of the zone has a bit too (in the same word), which is never set.
        while order < TOP && self.is_set(order, index ^ 1) {
            self.clear(order, index ^ 1);
            order += 1;
            index >>= 1;
        }
        self.set(order, index);
    }

    /// Order of the free block that contains this block, if there is one.
    fn free_block_around(&self, frame: usize, order: usize) -> Option<usize> {
        let first = if self.is_prepared(frame >> TOP) { order } else { TOP };
        (first..=TOP)
            .take_while(|&order| frame >> order < self.frames >> order)
            .find(|&order| self.is_set(order, frame >> order))
    }

    /// Whether any frame of this block is free.
    fn overlaps_free(&self, frame: usize, order: usize) -> bool {
        self.free_block_around(frame, order).is_some()
            || (self.is_prepared(frame >> TOP)
                && (0..order).any(|smaller| self.any_set(smaller, frame >> smaller, order - smaller)))
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

    fn is_prepared(&self, region: usize) -> bool {
        self.words[self.prepared + region / 64] & (1 << (region % 64)) != 0
    }

    /// Makes the words inside a region valid: no block in it is free, except perhaps the whole.
    fn prepare(&mut self, region: usize) {
        if self.is_prepared(region) {
            return;
        }
        self.words[self.prepared + region / 64] |= 1 << (region % 64);
        for (order, bitmap) in self.bitmaps.iter().enumerate() {
            for level in 0..bitmap.levels as usize {
                let Some(words) = TOP.checked_sub(frames_per_word(order, level)) else { break };
                let all = level_words(self.frames, order, level);
                let first = (region << words).min(all);
                let end = ((region + 1) << words).min(all);
                let start = bitmap.start[level] as usize;
                self.words[start + first..start + end].fill(0);
            }
        }
    }

    /// The lowest set bit. There is one: the order is in `available`.
    #[inline]
    fn first(&self, order: usize) -> usize {
        let bitmap = &self.bitmaps[order];
        let mut index = 0;
        for &start in bitmap.start[..bitmap.levels as usize].iter().rev() {
            index = index * 64 + self.words[start as usize + index].trailing_zeros() as usize;
        }
        index
    }

    /// Whether a block is free. The block, or its buddy, lies in the zone, and its region is prepared or is it itself.
    #[inline]
    fn is_set(&self, order: usize, index: usize) -> bool {
        let bitmap = &self.bitmaps[order];
        self.words[bitmap.start[0] as usize + index / 64] & (1 << (index % 64)) != 0
    }

    /// Whether any of the `1 << count` bits from `index` is set; `index` is a multiple of that.
    fn any_set(&self, order: usize, mut index: usize, mut count: usize) -> bool {
        let mut level = 0;
        while count > FAN_OUT {
            index >>= FAN_OUT;
            count -= FAN_OUT;
            level += 1;
        }
        let bits = u64::MAX >> (64 - (1 << count));
        self.words[self.bitmaps[order].start[level] as usize + index / 64] & (bits << (index % 64)) != 0
    }

    #[inline]
    fn set(&mut self, order: usize, mut index: usize) {
        let bitmap = &self.bitmaps[order];
        for &start in &bitmap.start[..bitmap.levels as usize] {
            let word = &mut self.words[start as usize + index / 64];
            let before = *word;
            *word = before | 1 << (index % 64);
            if before != 0 {
                return;
            }
            index /= 64;
        }
        self.available |= 1 << order;
    }

    #[inline]
    fn clear(&mut self, order: usize, mut index: usize) {
        let bitmap = &self.bitmaps[order];
        for &start in &bitmap.start[..bitmap.levels as usize] {
            let word = &mut self.words[start as usize + index / 64];
            *word &= !(1 << (index % 64));
            if *word != 0 {
                return;
            }
            index /= 64;
        }
        self.available &= !(1 << order);
    }

    fn count_set(&self, bitmap: &Bitmap, level: usize, index: usize) -> usize {
        let mut word = self.words[bitmap.start[level] as usize + index];
        if level == 0 {
            return word.count_ones() as usize;
        }
        let mut count = 0;
        while word != 0 {
            count += self.count_set(bitmap, level - 1, index * 64 + word.trailing_zeros() as usize);
            word &= word - 1;
        }
        count
    }
}

/// How the storage of a zone is divided.
struct Layout {
    bitmaps: [Bitmap; TOP + 1],
    prepared: usize,
    words: usize,
}

const fn lay_out(frames: usize) -> Layout {
    let mut bitmaps = [Bitmap { start: [0; MAX_LEVELS], levels: 0 }; TOP + 1];
    let mut words = 0;
    let mut order = 0;
    while order <= TOP && frames >> order > 0 {
        let mut level = 0;
        loop {
            let len = level_words(frames, order, level);
            bitmaps[order].start[level] = words as u32;
            words += len;
            level += 1;
            if len == 1 {
                break;
            }
        }
        bitmaps[order].levels = level as u8;
        order += 1;
    }
    let prepared = words;
    words += frames.div_ceil(1 << TOP).div_ceil(64);
    Layout { bitmaps, prepared, words }
}

const fn level_words(frames: usize, order: usize, level: usize) -> usize {
    (frames >> order).div_ceil(1 << (FAN_OUT * (level + 1)))
}

/// Frames that a word of this level speaks of, as a power of two.
const fn frames_per_word(order: usize, level: usize) -> usize {
    order + FAN_OUT * (level + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::{Rng, for_seeds};
    use std::vec;
    use std::vec::Vec;

    /// A zone on storage full of rubbish, exactly as long as needed.
    fn zone(frames: usize) -> Buddy {
        let storage = vec![0xdead_beef_5555_aaaa; Buddy::storage_words(frames)];
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
        for frames in [1, 3, 65, 255, 257, 700, 4097] {
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
        if cfg!(debug_assertions) {
            assert_eq!(buddy.free(frame, 4), Err(FreeError::NotAllocated), "half of it is free");
            assert_eq!(buddy.free(frame + 16, 0), Err(FreeError::NotAllocated), "inside a larger free block");
        }
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
        for frames in 1000..1300 {
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

        let mut taken = Vec::new();
        while let Some(frame) = buddy.alloc(9) {
            taken.push(frame);
        }
        for frame in taken {
            buddy.free(frame, 9).unwrap();
        }
        assert_eq!(shape(&buddy), before);
    }

    #[test]
    fn storage_is_small() {
        assert!(Buddy::storage_words(256) * 8 <= 128);
        for shift in 16..28 {
            let frames = 1_usize << shift;
            let bits = Buddy::storage_words(frames) * 64;
            assert!(bits as f64 / (frames as f64) < 2.05, "{bits} bits for {frames} frames");
        }
        assert_eq!(Buddy::storage_words(MAX_FRAMES + 1), usize::MAX);
        assert!(Buddy::storage_words(MAX_FRAMES) < u32::MAX as usize);
        assert!(Buddy::new(256, vec![0; Buddy::storage_words(256) - 1].leak()).is_none());
        assert!(Buddy::new(usize::MAX, &mut []).is_none());
        assert!(Buddy::new(0, &mut []).is_some());
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
        for_seeds(if cfg!(miri) { 3 } else { 300 }, |mut rng| {
            let frames = 1 + rng.below(3000);
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
            for _ in 0..600 {
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
