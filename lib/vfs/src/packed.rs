//! [`PackedTree`]: the read-only tree of an image, read where it lies.
//!
//! The format, little-endian; made by [`crate::pack`]:
//!
//! | octets | what |
//! | --- | --- |
//! | 0..8 | `MAGIC`, which has the version in it |
//! | 8..16 | octets of the whole |
//! | 16..24 | hash of all that follows ([`hash`]) |
//! | 24..28 | number of entries |
//! | 28..32 | zero |
//! | 32.. | entries, 48 octets each |
//! | behind | names and targets of symbolic links, then at multiples of 4096 the contents of files |
//!
//! An entry is a node and its name: each node has one. Entries are in breadth-first order, so that the children of a directory
//! are next to each other, and among themselves sorted by name: looking a name up is a binary search. Contents start at a page
//! and are filled up with zeroes to the next, so that their pages can be mapped as they are.
//!
//! | octets | field of an entry |
//! | --- | --- |
//! | 0..4 | where the name is |
//! | 4..6 | its length |
//! | 6..8 | zero |
//! | 8..12 | kind and permissions, as `st_mode` |
//! | 12..16 | entry of the directory that it is in |
//! | 16..28 | time of change: seconds since 1970 (signed), nanoseconds |
//! | 28..32 | zero |
//! | 32..40 | where the content or the target is; of a directory the first child's number |
//! | 40..48 | octets of the content or the target; of a directory the number of children |

use core::fmt;
use core::ops::Range;

use crate::node::{FileType, Time};
use crate::{NAME_MAX, PAGE_SIZE, PATH_MAX};

pub(crate) const MAGIC: [u8; 8] = *b"IncTree1";
pub(crate) const HEADER_LEN: usize = 32;
pub(crate) const ENTRY_LEN: usize = 48;
/// Where the hashed part begins.
pub(crate) const HASHED_FROM: usize = 24;

/// A tree whose structure was checked: no read of it can leave it, and no walk through it is endless.
#[derive(Clone, Copy, Debug)]
pub struct PackedTree<'a> {
    octets: &'a [u8],
    len: u32,
}

/// Why octets are no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// They do not begin as a tree of this version does.
    NotATree,
    /// The header tells another length than there is.
    Length {
        /// What the header tells.
        told: u64,
        /// What there is.
        found: u64,
    },
    /// The entries are longer than the whole.
    TooManyEntries(u32),
    /// An entry breaks a rule.
    Entry {
        /// Its number.
        number: u32,
        /// The rule.
        rule: &'static str,
    },
    /// The hash is another one.
    Hash,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotATree => f.write_str("not a packed tree of this version"),
            Self::Length { told, found } => write!(f, "{found} octets, and its header tells {told}"),
            Self::TooManyEntries(count) => write!(f, "{count} entries do not fit into it"),
            Self::Entry { number, rule } => write!(f, "entry {number}: {rule}"),
            Self::Hash => f.write_str("its hash is not that of its octets"),
        }
    }
}

/// One node of a tree, with its name.
#[derive(Clone, Copy, Debug)]
pub struct PackedEntry<'a> {
    /// Its name; the root has none.
    pub name: &'a [u8],
    /// What it is.
    pub kind: FileType,
    /// Permissions.
    pub mode: u32,
    /// When it was changed last.
    pub mtime: Time,
    parent: u32,
    start: u64,
    count: u64,
}

impl<'a> PackedTree<'a> {
    /// Takes octets for a tree if their structure is one: a step for each entry. The hash is [`Self::check_hash`]'s.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn new(octets: &'a [u8]) -> Result<Self, Damage> {
        if octets.get(..8) != Some(&MAGIC) || octets.len() < HEADER_LEN {
            return Err(Damage::NotATree);
        }
        let told = u64_at(octets, 8);
        if told != octets.len() as u64 {
            return Err(Damage::Length { told, found: octets.len() as u64 });
        }
        let len = u32_at(octets, 24);
        if len == 0 || (octets.len() - HEADER_LEN) / ENTRY_LEN < len as usize {
            return Err(Damage::TooManyEntries(len));
        }
        let tree = Self { octets, len };
        tree.check()?;
        Ok(tree)
    }

    /// Compares the hash: a step for each octet.
    ///
    /// # Errors
    /// [`Damage::Hash`].
    pub fn check_hash(&self) -> Result<(), Damage> {
        let hashed = self.octets.get(HASHED_FROM..).unwrap_or_default();
        if u64_at(self.octets, 16) == hash(hashed) { Ok(()) } else { Err(Damage::Hash) }
    }

    /// Number of entries; the root is number 0.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Always false: there is a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// An entry. `number` is below [`Self::len`].
    pub fn entry(&self, number: u32) -> PackedEntry<'a> {
        let at = HEADER_LEN + number.min(self.len - 1) as usize * ENTRY_LEN;
        let octets = self.octets.get(at..at + ENTRY_LEN).unwrap_or(&[0; ENTRY_LEN]);
        let mode = u32_at(octets, 8);
        let name_len = u64::from(u32_at(octets, 4) & 0xffff);
        PackedEntry {
            name: self.piece(u64::from(u32_at(octets, 0)), name_len).unwrap_or_default(),
            kind: FileType::from_mode(mode).unwrap_or(FileType::Regular),
            mode: mode & 0o7777,
            mtime: Time { sec: u64_at(octets, 16) as i64, nsec: u32_at(octets, 24) },
            parent: u32_at(octets, 12),
            start: u64_at(octets, 32),
            count: u64_at(octets, 40),
        }
    }

    /// The children of a directory; of anything else none.
    pub fn children(&self, number: u32) -> Range<u32> {
        let entry = self.entry(number);
        match entry.kind {
            FileType::Directory => entry.start as u32..(entry.start + entry.count) as u32,
            _ => 0..0,
        }
    }

    /// A file's content, at a multiple of 4096 octets from the tree's start, or a symbolic link's target.
    pub fn content(&self, number: u32) -> &'a [u8] {
        let entry = self.entry(number);
        match entry.kind {
            FileType::Directory => &[],
            _ => self.piece(entry.start, entry.count).unwrap_or_default(),
        }
    }

    /// The child of a directory with this name.
    pub fn lookup(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let Range { start: mut low, end: mut high } = self.children(directory);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle).name.cmp(name) {
                core::cmp::Ordering::Equal => return Some(middle),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn piece(&self, start: u64, len: u64) -> Option<&'a [u8]> {
        let end = start.checked_add(len)?;
        self.octets.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Checks each entry. That the children of the directories, one directory after the other, are all the entries but the first
    /// proves that each entry is in exactly one directory, and that this one comes before it.
    fn check(&self) -> Result<(), Damage> {
        let mut next = 1u64;
        for number in 0..self.len {
            let faulty = |rule| Err(Damage::Entry { number, rule });
            let at = HEADER_LEN + number as usize * ENTRY_LEN;
            let octets = self.octets.get(at..at + ENTRY_LEN).unwrap_or(&[0; ENTRY_LEN]);
            let entry = self.entry(number);
            let name_len = u32_at(octets, 4);
            if name_len >> 16 != 0 || u32_at(octets, 28) != 0 {
                return faulty("what must be zero is not");
            }
            if entry.name.len() != name_len as usize {
                return faulty("its name is outside of the tree");
            }
            if number == 0 && entry.kind != FileType::Directory {
                return faulty("the root is no directory");
            }
            if number == 0 && !entry.name.is_empty() {
                return faulty("the root has a name");
            }
            if number > 0 {
                if !is_name(entry.name) {
                    return faulty("its name is none");
                }
                if u64::from(number) >= next {
                    return faulty("it is in no directory");
                }
                // What comes before was checked.
                let siblings = if entry.parent < number { self.children(entry.parent) } else { 0..0 };
                if !siblings.contains(&number) {
                    return faulty("it is not where it says it is");
                }
                if number > siblings.start && self.entry(number - 1).name >= entry.name {
                    return faulty("its name is not behind the one before it");
                }
            }
            if entry.mtime.nsec >= 1_000_000_000 {
                return faulty("its time is none");
            }
            match FileType::from_mode(u32_at(octets, 8)) {
                Some(FileType::Directory) => {
                    if entry.start != next || entry.count > u64::from(self.len) {
                        return faulty("its children are not those that follow");
                    }
                    next += entry.count;
                    if next > u64::from(self.len) {
                        return faulty("its children are outside of the tree");
                    }
                }
                Some(FileType::Regular) => {
                    if !entry.start.is_multiple_of(PAGE_SIZE as u64) {
                        return faulty("its content does not begin at a page");
                    }
                    // With the rest of its last page.
                    let padded = entry.count.checked_next_multiple_of(PAGE_SIZE as u64);
                    if padded.and_then(|padded| self.piece(entry.start, padded)).is_none() {
                        return faulty("its content is outside of the tree");
                    }
                }
                Some(FileType::Symlink) => {
                    if entry.count == 0 || entry.count >= PATH_MAX as u64 {
                        return faulty("its target is no path");
                    }
                    match self.piece(entry.start, entry.count) {
                        Some(target) if !target.contains(&0) => {}
                        Some(_) => return faulty("its target has a zero octet"),
                        None => return faulty("its target is outside of the tree"),
                    }
                }
                _ => return faulty("it is neither a directory, nor a file, nor a symbolic link"),
            }
        }
        if next == u64::from(self.len) {
            return Ok(());
        }
        Err(Damage::Entry { number: next as u32, rule: "it is in no directory" })
    }
}

/// Whether octets can be the name of an entry.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

/// FNV-1a of 64 bits: against damage, not against malice.
pub(crate) fn hash(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    octets.get(at..at + 8).and_then(|octets| octets.try_into().ok()).map_or(0, u64::from_le_bytes)
}
