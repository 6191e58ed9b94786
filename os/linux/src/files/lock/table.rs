//! [`Locks`]: who has locked which octets of which file.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// Locks of different kinds do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of flock(2).
    Flock,
    /// Of fcntl(2).
    Record,
}

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The process' (`F_SETLK`).
    Process,
    /// An open file description's, by its address: it lives as long as the lock.
    Description(usize),
}

/// File system and number of a node.
pub type FileId = (u64, u64);

/// Whose locks, and of which octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which locks it meets.
    pub kind: Kind,
    /// Of this file.
    pub file: FileId,
    /// Whose.
    pub owner: Owner,
    /// The octets.
    pub range: Range<u64>,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub owner: Owner,
    /// The octets.
    pub range: Range<u64>,
    /// Nobody else may have any.
    pub exclusive: bool,
}

/// Where a lock begins: where it ends, and whether it is exclusive. None overlaps another.
type Ranges = BTreeMap<u64, (u64, bool)>;

/// There are as many locks as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// All locks.
pub struct Locks {
    files: BTreeMap<(Kind, FileId), BTreeMap<Owner, Ranges>>,
    count: usize,
}

impl Locks {
    /// Most locks there may be.
    pub const MAX: usize = 1 << 16;

    /// None.
    pub const fn new() -> Self {
        Self { files: BTreeMap::new(), count: 0 }
    }

    /// Number of locks.
    pub fn len(&self) -> usize {
        self.count
    }

    /// A lock that is in the way of another owner's, exclusive or shared. A step for each other owner of locks of the file, and for
    /// each shared lock that a shared one meets.
    pub fn in_the_way(&self, wanted: &Wanted, exclusive: bool) -> Option<Held> {
        let owners = self.files.get(&(wanted.kind, wanted.file))?;
        let mut others = owners.iter().filter(|(owner, _)| **owner != wanted.owner);
        others.find_map(|(owner, ranges)| {
            let before = ranges.range(..wanted.range.start).next_back();
            let before = before.filter(|(_, (end, _))| *end > wanted.range.start);
            let mut met = before.into_iter().chain(ranges.range(wanted.range.clone()));
            let (start, (end, is_exclusive)) = met.find(|(_, (_, held))| *held || exclusive)?;
            Some(Held { owner: *owner, range: *start..*end, exclusive: *is_exclusive })
        })
    }

    /// By how many there may be more when `wanted` is set, or cleared.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn growth(&self, wanted: &Wanted, sets: bool) -> Result<usize, TooMany> {
        // A range in the midst of a lock makes two of it.
        let of_file = self.files.get(&(wanted.kind, wanted.file));
        let before = of_file
            .and_then(|owners| owners.get(&wanted.owner)?.range(..wanted.range.start).next_back())
            .is_some_and(|(_, (end, _))| *end > wanted.range.end);
        let more = usize::from(sets) + usize::from(before);
        if more > 0 && self.count + more > Self::MAX { Err(TooMany) } else { Ok(more) }
    }

    /// Gives the owner a lock, in place of what it has of the range. A neighbour of the same kind becomes one with it.
    pub fn set(&mut self, wanted: &Wanted, exclusive: bool) {
        let owners = self.files.entry((wanted.kind, wanted.file)).or_default();
        let ranges = owners.entry(wanted.owner).or_default();
        let before = ranges.len();
        let Range { mut start, mut end } = wanted.range;
        cut(ranges, &wanted.range, usize::MAX);
        if let Some((before, held)) = ranges.range(..start).next_back()
            && *held == (start, exclusive)
        {
            start = *before;
        }
        if let Some((behind, is_exclusive)) = ranges.get(&end).copied()
            && is_exclusive == exclusive
        {
            ranges.remove(&end);
            end = behind;
        }
        ranges.insert(start, (end, exclusive));
        self.count = self.count - before + ranges.len();
    }

    /// Takes all locks of a file from an owner; the caller drops them when it holds no lock.
    pub fn release(&mut self, kind: Kind, file: FileId, owner: Owner) -> Released {
        let mut released = Ranges::new();
        if let Some(owners) = self.files.get_mut(&(kind, file)) {
            released = owners.remove(&owner).unwrap_or_default();
            if owners.is_empty() {
                self.files.remove(&(kind, file));
            }
        }
        self.count -= released.len();
        Released(released)
    }

    /// Takes what the owner has of the range from it, up to so many locks; returns whether there may be more.
    pub fn clear(&mut self, wanted: &Wanted, most: usize) -> bool {
        let place = (wanted.kind, wanted.file);
        let Some(owners) = self.files.get_mut(&place) else { return false };
        let Some(ranges) = owners.get_mut(&wanted.owner) else { return false };
        let before = ranges.len();
        let more = cut(ranges, &wanted.range, most);
        self.count = self.count - before + ranges.len();
        if ranges.is_empty() {
            owners.remove(&wanted.owner);
        }
        if owners.is_empty() {
            self.files.remove(&place);
        }
        more
    }
}

/// Locks that nobody has any more.
pub struct Released(Ranges);

impl Released {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Cuts a range out of locks, up to so many of them; returns whether there may be more.
fn cut(ranges: &mut Ranges, range: &Range<u64>, most: usize) -> bool {
    if let Some((_, (end, exclusive))) = ranges.range_mut(..range.start).next_back()
        && *end > range.start
    {
        let behind = (*end, *exclusive);
        *end = range.start;
        if behind.0 > range.end {
            ranges.insert(range.end, behind);
        }
    }
    for _ in 0..most {
        let Some((start, _)) = ranges.range(range.clone()).next() else { return false };
        let start = *start;
        if let Some((end, exclusive)) = ranges.remove(&start)
            && end > range.end
        {
            ranges.insert(range.end, (end, exclusive));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn wanted(owner: usize, range: Range<u64>) -> Wanted {
        Wanted { kind: Kind::Record, file: (1, 1), owner: Owner::Description(owner), range }
    }

    fn all(locks: &Locks, owner: usize) -> Vec<(u64, u64, bool)> {
        let of_file = locks.files.get(&(Kind::Record, (1, 1)));
        let ranges = of_file.and_then(|owners| owners.get(&Owner::Description(owner)));
        let all: Vec<_> =
            ranges.into_iter().flatten().map(|(start, held)| (*start, held.0, held.1)).collect();
        assert_eq!(
            locks.files.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum::<usize>(),
            locks.len()
        );
        all
    }

    #[test]
    fn ranges_are_cut_and_joined() {
        let mut locks = Locks::new();
        locks.set(&wanted(1, 0..100), true);
        assert_eq!(locks.growth(&wanted(1, 40..60), false), Ok(1));
        assert!(!locks.clear(&wanted(1, 40..60), 10));
        assert_eq!(all(&locks, 1), [(0, 40, true), (60, 100, true)]);
        assert!(locks.in_the_way(&wanted(2, 30..50), false).is_some());
        assert!(locks.in_the_way(&wanted(2, 40..60), true).is_none());
        assert!(locks.in_the_way(&wanted(1, 0..100), true).is_none(), "one's own is not in the way");
        locks.set(&wanted(1, 40..60), true);
        assert_eq!(all(&locks, 1), [(0, 100, true)]);
        locks.set(&wanted(1, 10..20), false);
        assert_eq!(all(&locks, 1), [(0, 10, true), (10, 20, false), (20, 100, true)]);
        locks.set(&wanted(1, 5..25), false);
        assert_eq!(all(&locks, 1), [(0, 5, true), (5, 25, false), (25, 100, true)]);
        locks.set(&wanted(2, 100..110), false);
        let held = Held { owner: Owner::Description(1), range: 25..100, exclusive: true };
        assert_eq!(locks.in_the_way(&wanted(2, 50..51), false), Some(held));
        assert_eq!(locks.release(Kind::Record, (1, 1), Owner::Description(3)).len(), 0);
        assert!(locks.clear(&wanted(1, 0..1000), 2), "one is left");
        assert!(!locks.clear(&wanted(1, 0..1000), 2));
        assert_eq!((all(&locks, 1), locks.len()), (Vec::new(), 1));
        assert_eq!(locks.release(Kind::Record, (1, 1), Owner::Description(2)).len(), 1);
        assert_eq!((locks.files.len(), locks.len()), (0, 0));
    }

    #[test]
    fn kinds_and_files_do_not_see_each_other() {
        let mut locks = Locks::new();
        locks.set(&wanted(1, 0..10), true);
        let other_file = Wanted { file: (1, 2), ..wanted(2, 0..10) };
        let other_kind = Wanted { kind: Kind::Flock, ..wanted(2, 0..10) };
        assert_eq!([other_file, other_kind].map(|wanted| locks.in_the_way(&wanted, true)), [None, None]);
        let of_the_process = Wanted { owner: Owner::Process, ..wanted(2, 0..10) };
        assert!(locks.in_the_way(&of_the_process, false).is_some());
    }

    #[test]
    fn the_most_locks_are_not_exceeded_by_giving_up_either() {
        let mut locks = Locks::new();
        (0..Locks::MAX as u64).for_each(|at| locks.set(&wanted(1, at * 10..at * 10 + 9), true));
        assert_eq!(locks.len(), Locks::MAX);
        assert_eq!(locks.growth(&wanted(1, 3..5), false), Err(TooMany));
        assert_eq!(locks.growth(&wanted(1, 9..10), true), Err(TooMany));
        assert_eq!(locks.growth(&wanted(1, 0..9), false), Ok(0));
        assert!(!locks.clear(&wanted(1, 0..9), 10));
        assert_eq!(locks.len(), Locks::MAX - 1);
    }

    #[test]
    fn octet_by_octet_it_is_the_same() {
        const SEED: u64 = 5;
        const LEN: u64 = 40;
        let (mut locks, mut random) = (Locks::new(), SEED);
        let mut model = [[None; LEN as usize]; 3];
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        for step in 0..20_000 {
            let owner = below(3) as usize;
            let start = below(LEN);
            let wanted = wanted(owner, start..start + 1 + below(LEN - start));
            let octets = wanted.range.start as usize..wanted.range.end as usize;
            let exclusive = below(2) == 0;
            let expected = (0..3)
                .filter(|other| *other != owner)
                .any(|other| model[other][octets.clone()].iter().flatten().any(|held| *held || exclusive));
            let found = locks.in_the_way(&wanted, exclusive);
            assert_eq!(found.is_some(), expected, "seed {SEED}, step {step}");
            match below(3) {
                0 => {
                    while locks.clear(&wanted, 2) {}
                    model[owner][octets].fill(None);
                }
                _ if found.is_none() => {
                    let most = locks.len() + locks.growth(&wanted, true).unwrap();
                    locks.set(&wanted, exclusive);
                    assert!(locks.len() <= most);
                    model[owner][octets].fill(Some(exclusive));
                }
                _ => {}
            }
            for (owner, model) in model.iter().enumerate() {
                let mut octets = [None; LEN as usize];
                for (start, end, exclusive) in all(&locks, owner) {
                    octets[start as usize..end as usize].fill(Some(exclusive));
                }
                assert_eq!(octets, *model, "seed {SEED}, step {step}");
            }
        }
    }
}
