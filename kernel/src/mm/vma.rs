//! Which addresses of the program's half are in use, and for what: mmap(2)'s book-keeping, without page tables.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use super::file::FileBacking;
use crate::arch::current::paging::{PAGE_SIZE, Protection};

/// What backs an area.
#[derive(Clone, PartialEq, Eq)]
pub enum Backing {
    /// Zero-filled at first touch.
    Anonymous,
    /// The image's own segments: there from the start, never given back.
    Image,
    /// A file, from a page on.
    File(FileBacking),
}

impl Backing {
    /// What backs the pages from so many bytes behind the start on.
    pub fn from(&self, bytes: u64) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Image => Self::Image,
            Self::File(file) => Self::File(file.from(bytes)),
        }
    }

    /// Whether what is written stays with the mapping: such pages are counted against RAM when they may be written.
    fn is_private(&self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::Image => false,
            Self::File(file) => !file.shared,
        }
    }
}

/// One area: addresses with one protection and one backing.
#[derive(Clone, PartialEq, Eq)]
pub struct Area {
    /// First address behind.
    pub end: u64,
    /// What may be done with its pages.
    pub protection: Protection,
    /// Where its content comes from.
    pub backing: Backing,
    /// Not counted against RAM until touched (`MAP_NORESERVE`, stacks).
    pub no_reserve: bool,
    /// Its pages are promised: counted against RAM since they could first be written, until they are unmapped (they may hold
    /// content even when they cannot be written any more).
    pub promised: bool,
}

impl Area {
    /// An area with `protection`, promised if it has to be.
    pub fn new(end: u64, protection: Protection, backing: Backing, no_reserve: bool) -> Self {
        let mut area = Self { end, protection, backing, no_reserve, promised: false };
        area.protect(protection);
        area
    }

    /// Gives it another protection.
    fn protect(&mut self, protection: Protection) {
        self.promised = self.promised_with(protection);
        self.protection = protection;
    }

    /// Whether it would be promised with this protection.
    fn promised_with(&self, protection: Protection) -> bool {
        self.promised || protection.write && !self.no_reserve && self.backing.is_private()
    }

    /// The part from `address` on; it starts at `start`.
    pub fn from(&self, start: u64, address: u64) -> Self {
        Self { backing: self.backing.from(address - start), ..self.clone() }
    }

    /// Whether it starts at `start` and goes on as `next`, which begins where it ends.
    fn goes_on_as(&self, start: u64, next: &Self) -> bool {
        self.protection == next.protection
            && self.no_reserve == next.no_reserve
            && self.promised == next.promised
            && self.backing.from(self.end - start) == next.backing
    }
}

/// Most areas there may be (`vm.max_map_count` on Linux).
pub const MAX_AREAS: usize = 65_530;

/// There are as many areas as there may be, or no memory for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The areas, by start address, never overlapping; all bounds are multiples of the page size.
///
/// A sorted vector: programs have tens of areas, looked up at each page fault and changed rarely. A change moves what lies
/// above, 64 bytes an area.
#[derive(Default)]
pub struct Areas {
    sorted: Vec<(u64, Area)>,
    /// What [`Self::ending_above`] found last: one call asks for the same addresses several times.
    last: Cell<usize>,
}

impl Areas {
    /// No areas.
    pub const fn new() -> Self {
        Self { sorted: Vec::new(), last: Cell::new(0) }
    }

    /// Index of the first area that starts at `address` or above.
    fn at_or_above(&self, address: u64) -> usize {
        let at = self.ending_above(address);
        at + usize::from(self.sorted.get(at).is_some_and(|(start, _)| *start < address))
    }

    /// Index of the first area that ends above `address`.
    fn ending_above(&self, address: u64) -> usize {
        let last = self.last.get();
        let ends_above = |at: usize| self.sorted.get(at).is_none_or(|(_, area)| area.end > address);
        if ends_above(last) && last.checked_sub(1).is_none_or(|before| !ends_above(before)) {
            return last;
        }
        let found = self.sorted.partition_point(|(_, area)| area.end <= address);
        self.last.set(found);
        found
    }

    /// The area that holds `address`, with its start.
    pub fn find(&self, address: u64) -> Option<(u64, &Area)> {
        let (start, area) = self.sorted.get(self.ending_above(address))?;
        (*start <= address).then_some((*start, area))
    }

    /// The areas that touch `range`, ascending. `range` is not empty.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Area)> {
        debug_assert!(range.start < range.end);
        let from = self.sorted.get(self.ending_above(range.start)..).unwrap_or_default();
        from.iter().take_while(move |(start, _)| *start < range.end).map(|(start, area)| (*start, area))
    }

    /// Where these pages of a file are mapped. Looks at all areas.
    pub fn of_file(&self, file: usize, pages: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.sorted.iter().filter_map(move |(start, area)| {
            let Backing::File(backing) = &area.backing else { return None };
            let place = |page: u64| {
                let bytes = page.saturating_sub(backing.first).saturating_mul(PAGE_SIZE);
                start.saturating_add(bytes).min(area.end)
            };
            let range = place(pages.start)..place(pages.end);
            (backing.file.id() == file && !range.is_empty()).then_some(range)
        })
    }

    /// Whether nothing is in `range`.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// The highest gap of `len` bytes inside `within`; top-down, as Linux places mappings. Walks the areas above it.
    pub fn find_gap(&self, len: u64, within: Range<u64>) -> Option<u64> {
        let mut top = within.end;
        for (start, area) in self.sorted[..self.at_or_above(within.end)].iter().rev() {
            if let Some(candidate) = top.checked_sub(len)
                && candidate >= area.end.max(within.start)
            {
                return Some(candidate);
            }
            top = top.min(*start);
            if top <= within.start {
                return None;
            }
        }
        top.checked_sub(len).filter(|&candidate| candidate >= within.start)
    }

    /// Adds an area. The range must be free; joined with its neighbours where they are alike.
    pub fn insert(&mut self, start: u64, area: Area) {
        debug_assert!(
            start < area.end && start.is_multiple_of(PAGE_SIZE) && area.end.is_multiple_of(PAGE_SIZE)
        );
        debug_assert!(self.is_free(start..area.end));
        let at = self.at_or_above(start);
        let joins_next = self
            .sorted
            .get(at)
            .is_some_and(|(next, other)| *next == area.end && area.goes_on_as(start, other));
        let joins = |(first, other): &(u64, Area)| other.end == start && other.goes_on_as(*first, &area);
        let before = at.checked_sub(1).filter(|&i| joins(&self.sorted[i]));
        match (before, joins_next) {
            (Some(before), true) => {
                self.sorted[before].1.end = self.sorted[at].1.end;
                self.sorted.remove(at);
            }
            (Some(before), false) => self.sorted[before].1.end = area.end,
            (None, true) => {
                let end = self.sorted[at].1.end;
                self.sorted[at] = (start, Area { end, ..area });
            }
            (None, false) => self.sorted.insert(at, (start, area)),
        }
    }

    /// Makes room for a change of `range`: the areas at its ends may be split, and `new` areas are added. Without it a change
    /// may panic for want of memory.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn reserve(&mut self, range: Range<u64>, new: usize) -> Result<(), TooMany> {
        let splits = |address| self.find(address).is_some_and(|(start, _)| start < address);
        let more = new + usize::from(splits(range.start)) + usize::from(splits(range.end));
        if more > 0 && self.sorted.len() + more > MAX_AREAS {
            return Err(TooMany);
        }
        self.sorted.try_reserve(more).map_err(|_| TooMany)
    }

    /// Takes out whatever is in `range`, splitting areas at its ends; returns whether anything was.
    pub fn remove(&mut self, range: Range<u64>) -> bool {
        let (from, to) = self.cut(range);
        self.sorted.drain(from..to).next().is_some()
    }

    /// Gives whatever is in `range` another protection, splitting areas at its ends and joining those that become alike.
    pub fn protect(&mut self, range: Range<u64>, protection: Protection) {
        let (from, to) = self.cut(range);
        for (_, area) in &mut self.sorted[from..to] {
            area.protect(protection);
        }
        // The neighbours on both sides, too, may be alike now.
        let (first, mut behind) = (from.saturating_sub(1), (to + 1).min(self.sorted.len()));
        let mut kept = first;
        for i in first + 1..behind {
            let (below, above) = self.sorted.split_at_mut(i);
            let ((first, before), (start, area)) = (&mut below[kept], &above[0]);
            if before.end == *start && before.goes_on_as(*first, area) {
                before.end = area.end;
            } else {
                kept += 1;
                self.sorted.swap(kept, i);
            }
        }
        behind = behind.max(first);
        if kept + 1 < behind {
            self.sorted.drain(kept + 1..behind);
        }
    }

    /// Splits areas at the ends of `range`; returns the indices of those inside.
    fn cut(&mut self, range: Range<u64>) -> (usize, usize) {
        self.split_at(range.start);
        self.split_at(range.end);
        let (from, to) = (self.at_or_above(range.start), self.at_or_above(range.end));
        (from, to.max(from))
    }

    /// Whether `range` is covered without a gap.
    pub fn covers(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for (start, area) in self.overlapping(range.clone()) {
            if start > at {
                return false;
            }
            at = area.end;
        }
        at >= range.end
    }

    /// Bytes in `range` that are promised to the program.
    pub fn committed(&self, range: Range<u64>) -> u64 {
        self.bytes_where(range, |area| area.promised)
    }

    /// Bytes in `range` that would be promised if its areas had `protection`.
    pub fn committed_if(&self, range: Range<u64>, protection: Protection) -> u64 {
        self.bytes_where(range, |area| area.promised_with(protection))
    }

    fn bytes_where(&self, range: Range<u64>, counts: impl Fn(&Area) -> bool) -> u64 {
        let part = |(start, area): (u64, &Area)| area.end.min(range.end) - start.max(range.start);
        self.overlapping(range.clone()).filter(|(_, area)| counts(area)).map(part).sum()
    }

    fn split_at(&mut self, address: u64) {
        let at = self.ending_above(address);
        if let Some((start, area)) = self.sorted.get_mut(at)
            && *start < address
        {
            let upper = area.from(*start, address);
            area.end = address;
            self.sorted.insert(at + 1, (address, upper));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::file::{FilePage, MappedFile, NoPage};
    use alloc::sync::Arc;
    use alloc::vec;
    use core::any::Any;

    const P: u64 = PAGE_SIZE;

    fn area(end: u64) -> Area {
        Area::new(end * P, Protection::READ_WRITE, Backing::Anonymous, false)
    }

    fn closed(end: u64) -> Area {
        Area::new(end * P, Protection::NONE, Backing::Anonymous, false)
    }

    fn areas(ranges: &[(u64, u64)]) -> Areas {
        let mut areas = Areas::new();
        for &(start, end) in ranges {
            areas.insert(start * P, area(end));
        }
        areas
    }

    fn ranges(areas: &Areas) -> Vec<(u64, u64)> {
        areas.sorted.iter().map(|(start, area)| (start / P, area.end / P)).collect()
    }

    #[test]
    fn neighbours_that_are_alike_join() {
        assert_eq!(ranges(&areas(&[(1, 2), (3, 4), (2, 3)])), vec![(1, 4)]);
        let mut unlike = areas(&[(1, 2)]);
        unlike.insert(2 * P, closed(3));
        assert_eq!(ranges(&unlike), vec![(1, 2), (2, 3)]);
    }

    #[test]
    fn removal_splits() {
        let mut areas = areas(&[(1, 10)]);
        assert!(areas.remove(3 * P..5 * P));
        assert_eq!(ranges(&areas), vec![(1, 3), (5, 10)]);
        assert!(!areas.remove(3 * P..5 * P));
        assert!(areas.is_free(3 * P..5 * P));
        assert!(!areas.is_free(2 * P..5 * P));
    }

    #[test]
    fn gaps_are_found_from_the_top() {
        let areas = areas(&[(10, 20), (30, 40)]);
        assert_eq!(areas.find_gap(5 * P, P..50 * P), Some(45 * P));
        assert_eq!(areas.find_gap(10 * P, P..50 * P), Some(40 * P));
        assert_eq!(areas.find_gap(10 * P, P..45 * P), Some(20 * P));
        assert_eq!(areas.find_gap(10 * P, 21 * P..45 * P), None);
        assert_eq!(areas.find_gap(9 * P, P..35 * P), Some(21 * P));
        assert_eq!(areas.find_gap(11 * P, P..45 * P), None);
        assert_eq!(areas.find_gap(9 * P, P..25 * P), Some(P));
        assert_eq!(Areas::new().find_gap(9 * P, P..10 * P), Some(P));
        assert_eq!(Areas::new().find_gap(10 * P, P..10 * P), None);
    }

    #[test]
    fn cover_and_commit_are_counted_by_the_byte() {
        let mut areas = areas(&[(1, 3), (5, 7)]);
        assert!(areas.covers(P..3 * P) && !areas.covers(P..6 * P) && !areas.covers(4 * P..6 * P));
        assert_eq!(areas.committed(2 * P..6 * P), 2 * P);
        areas.insert(3 * P, closed(5));
        assert!(areas.covers(P..7 * P));
        assert_eq!(areas.committed(0..10 * P), 4 * P);
        assert_eq!(areas.committed_if(0..10 * P, Protection::READ_WRITE), 6 * P);
    }

    #[test]
    fn protection_splits_and_joins() {
        let none = Protection::NONE;
        let mut areas = areas(&[(1, 10)]);
        areas.protect(3 * P..5 * P, none);
        assert_eq!(ranges(&areas), vec![(1, 3), (3, 5), (5, 10)]);
        areas.protect(5 * P..7 * P, none);
        assert_eq!(ranges(&areas), vec![(1, 3), (3, 7), (7, 10)]);
        areas.protect(2 * P..8 * P, none);
        assert_eq!(ranges(&areas), vec![(1, 2), (2, 8), (8, 10)]);
        areas.protect(0..20 * P, Protection::READ_WRITE);
        assert_eq!(ranges(&areas), vec![(1, 10)]);
        areas.protect(P..2 * P, none);
        areas.protect(9 * P..10 * P, none);
        assert_eq!(ranges(&areas), vec![(1, 2), (2, 9), (9, 10)]);
        areas.protect(20 * P..30 * P, none);
        assert_eq!(ranges(&areas), vec![(1, 2), (2, 9), (9, 10)]);
        Areas::new().protect(0..P, none);
    }

    #[test]
    fn what_was_promised_stays_promised_until_it_is_unmapped() {
        let mut areas = Areas::new();
        areas.insert(P, closed(5));
        assert_eq!(areas.committed(0..9 * P), 0);
        areas.protect(P..3 * P, Protection::READ_WRITE);
        assert_eq!(areas.committed(0..9 * P), 2 * P);
        areas.protect(P..5 * P, Protection::NONE);
        assert_eq!(areas.committed(0..9 * P), 2 * P);
        areas.remove(2 * P..5 * P);
        assert_eq!(areas.committed(0..9 * P), P);
    }

    struct AFile(usize);

    impl MappedFile for AFile {
        fn page(&self, _index: u64, _write: bool) -> Result<FilePage, NoPage> {
            Err(NoPage::BehindEnd)
        }

        fn id(&self) -> usize {
            self.0
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn mapping(file: &Arc<AFile>, first: u64, shared: bool) -> Backing {
        Backing::File(FileBacking { file: file.clone(), first, shared, may_write: true })
    }

    fn mapped(end: u64, backing: Backing) -> Area {
        Area::new(end * P, Protection::READ_WRITE, backing, false)
    }

    #[test]
    fn parts_of_a_file_join_where_it_goes_on_and_split_where_it_is_cut() {
        let file = Arc::new(AFile(1));
        let mut areas = Areas::new();
        areas.insert(10 * P, mapped(12, mapping(&file, 5, true)));
        areas.insert(12 * P, mapped(14, mapping(&file, 7, true)));
        assert_eq!(ranges(&areas), vec![(10, 14)]);
        areas.insert(8 * P, mapped(10, mapping(&file, 3, true)));
        assert_eq!(ranges(&areas), vec![(8, 14)]);
        // The same pages once more, another page, private ones.
        areas.insert(14 * P, mapped(15, mapping(&file, 3, true)));
        areas.insert(15 * P, mapped(16, mapping(&file, 4, false)));
        assert_eq!(ranges(&areas), vec![(8, 14), (14, 15), (15, 16)]);
        assert!(areas.remove(9 * P..12 * P));
        assert_eq!(ranges(&areas), vec![(8, 9), (12, 14), (14, 15), (15, 16)]);
        let firsts: Vec<_> = areas
            .sorted
            .iter()
            .filter_map(
                |(_, area)| if let Backing::File(file) = &area.backing { Some(file.first) } else { None },
            )
            .collect();
        assert_eq!(firsts, vec![3, 7, 3, 4]);
        // A hole that is filled again in the same way leaves no trace.
        areas.insert(9 * P, mapped(12, mapping(&file, 4, true)));
        assert_eq!(ranges(&areas), vec![(8, 14), (14, 15), (15, 16)]);
        areas.protect(10 * P..11 * P, Protection::NONE);
        assert_eq!(ranges(&areas), vec![(8, 10), (10, 11), (11, 14), (14, 15), (15, 16)]);
        areas.protect(10 * P..11 * P, Protection::READ_WRITE);
        assert_eq!(ranges(&areas), vec![(8, 14), (14, 15), (15, 16)]);
        drop(areas);
        assert_eq!(Arc::strong_count(&file), 1, "an area that is gone holds the file");
    }

    #[test]
    fn pages_of_a_file_are_found_wherever_they_are_mapped() {
        let (file, other) = (Arc::new(AFile(1)), Arc::new(AFile(2)));
        let mut areas = areas(&[(1, 2)]);
        areas.insert(10 * P, mapped(14, mapping(&file, 0, true)));
        areas.insert(20 * P, mapped(22, mapping(&file, 3, false)));
        areas.insert(30 * P, mapped(34, mapping(&other, 0, true)));
        let found = |pages| areas.of_file(1, pages).map(|r| (r.start / P, r.end / P)).collect::<Vec<_>>();
        assert_eq!(found(0..u64::MAX), vec![(10, 14), (20, 22)]);
        assert_eq!(found(3..4), vec![(13, 14), (20, 21)]);
        assert_eq!(found(4..u64::MAX), vec![(21, 22)]);
        assert_eq!(found(5..9), vec![]);
    }

    #[test]
    fn only_what_stays_with_the_mapping_is_promised() {
        let file = Arc::new(AFile(1));
        let mut areas = Areas::new();
        areas.insert(P, mapped(3, mapping(&file, 0, true)));
        assert_eq!(areas.committed(0..99 * P), 0);
        areas.insert(3 * P, mapped(5, mapping(&file, 0, false)));
        assert_eq!(areas.committed(0..99 * P), 2 * P);
    }

    #[test]
    fn areas_are_bounded() {
        let mut areas = Areas::new();
        let mut at = 1;
        while areas.reserve(at * P..(at + 2) * P, 1).is_ok() {
            areas.insert(at * P, closed(at + 2));
            at += 3;
        }
        assert_eq!(areas.sorted.len(), MAX_AREAS);
        // No more splits; whole areas can go.
        assert_eq!(areas.reserve(P..2 * P, 0), Err(TooMany));
        assert_eq!(areas.reserve(P..3 * P, 0), Ok(()));
    }
}
