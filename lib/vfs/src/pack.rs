//! [`Tree`]: makes a packed tree (the format is in [`crate::PackedTree`]'s file).

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry as MapEntry;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::node::{FileType, Time};
use crate::packed::{ENTRY_LEN, HASHED_FROM, HEADER_LEN, MAGIC, hash, is_name};
use crate::{PAGE_SIZE, PATH_MAX};

/// A directory to be packed.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Permissions.
    pub mode: u32,
    /// When it was changed last.
    pub mtime: Time,
    children: BTreeMap<Vec<u8>, Packable>,
}

/// Something to be packed.
#[derive(Clone, Debug)]
pub enum Packable {
    /// A directory with what is in it.
    Directory(Directory),
    /// A file.
    File {
        /// Permissions.
        mode: u32,
        /// When it was changed last.
        mtime: Time,
        /// What is in it.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// When it was made.
        mtime: Time,
        /// Where it leads.
        target: Vec<u8>,
    },
}

/// Why something cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackError {
    /// Not a name: empty, too long, `.`, `..`, or with a slash or a zero octet.
    Name,
    /// The name is taken.
    Exists,
    /// A target that is empty, too long, or has a zero octet.
    Target,
    /// More than four gigabytes of names, or as many entries.
    TooLarge,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "not a name of 1 to 255 octets without slash and zero",
            Self::Exists => "there twice",
            Self::Target => "a symbolic link whose target is not a path of 1 to 4095 octets without zero",
            Self::TooLarge => "more names than a tree can have",
        })
    }
}

impl core::error::Error for PackError {}

impl Directory {
    /// An empty directory.
    pub fn new(mode: u32, mtime: Time) -> Self {
        Self { mode, mtime, children: BTreeMap::new() }
    }

    /// Adds something.
    ///
    /// # Errors
    /// [`PackError::Name`], [`PackError::Exists`], [`PackError::Target`].
    pub fn add(&mut self, name: &[u8], what: Packable) -> Result<(), PackError> {
        if !is_name(name) {
            return Err(PackError::Name);
        }
        if let Packable::Symlink { target, .. } = &what
            && (target.is_empty() || target.len() >= PATH_MAX || target.contains(&0))
        {
            return Err(PackError::Target);
        }
        match self.children.entry(name.to_vec()) {
            MapEntry::Occupied(_) => Err(PackError::Exists),
            MapEntry::Vacant(vacant) => {
                vacant.insert(what);
                Ok(())
            }
        }
    }

    /// The directory with this name in it, added empty with these permissions if there is none.
    ///
    /// # Errors
    /// [`PackError::Name`]; [`PackError::Exists`]: the name is that of something else.
    pub fn directory(&mut self, name: &[u8], mode: u32, mtime: Time) -> Result<&mut Self, PackError> {
        if !is_name(name) {
            return Err(PackError::Name);
        }
        let empty = || Packable::Directory(Self::new(mode, mtime));
        match self.children.entry(name.to_vec()).or_insert_with(empty) {
            Packable::Directory(directory) => Ok(directory),
            Packable::File { .. } | Packable::Symlink { .. } => Err(PackError::Exists),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }
}

/// Packs a root with all that is in it. Files with the same content share it.
///
/// # Errors
/// [`PackError::TooLarge`].
pub fn pack(root: &Directory) -> Result<Vec<u8>, PackError> {
    let mut writer = Writer::default();
    writer.directory(b"", 0, root)?;
    // Breadth first: whoever is numbered waits until its children's turn comes.
    let mut at = 0;
    let mut directories = vec![(0usize, root)];
    while let Some(&(number, directory)) = directories.get(at) {
        at += 1;
        let first = writer.entries.len();
        for (name, child) in &directory.children {
            let child_number = writer.entries.len();
            match child {
                Packable::Directory(child) => {
                    writer.directory(name, number, child)?;
                    directories.push((child_number, child));
                }
                Packable::File { mode, mtime, content } => {
                    writer.file(name, number, *mode, *mtime, content)?;
                }
                Packable::Symlink { mtime, target } => writer.symlink(name, number, *mtime, target)?,
            }
        }
        writer.entries[number].start = first as u64;
    }
    writer.finish()
}

/// An entry whose offsets count from the start of the names or contents.
struct Entry {
    name: usize,
    name_len: usize,
    kind: FileType,
    mode: u32,
    parent: usize,
    mtime: Time,
    start: u64,
    count: u64,
}

#[derive(Default)]
struct Writer<'a> {
    entries: Vec<Entry>,
    names: Vec<u8>,
    contents: Vec<&'a [u8]>,
    contents_len: u64,
    shared: BTreeMap<&'a [u8], u64>,
}

impl<'a> Writer<'a> {
    fn directory(&mut self, name: &[u8], parent: usize, directory: &Directory) -> Result<(), PackError> {
        let count = directory.children.len() as u64;
        self.entry(name, FileType::Directory, directory.mode, parent, directory.mtime, 0, count)
    }

    fn file(
        &mut self,
        name: &[u8],
        parent: usize,
        mode: u32,
        mtime: Time,
        content: &'a [u8],
    ) -> Result<(), PackError> {
        let start = *self.shared.entry(content).or_insert_with(|| {
            let start = self.contents_len;
            self.contents.push(content);
            self.contents_len += (content.len() as u64).next_multiple_of(PAGE_SIZE as u64);
            start
        });
        self.entry(name, FileType::Regular, mode, parent, mtime, start, content.len() as u64)
    }

    fn symlink(&mut self, name: &[u8], parent: usize, mtime: Time, target: &[u8]) -> Result<(), PackError> {
        let start = self.names.len() as u64;
        self.names.extend_from_slice(target);
        self.entry(name, FileType::Symlink, 0o777, parent, mtime, start, target.len() as u64)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an entry, in their order")]
    fn entry(
        &mut self,
        name: &[u8],
        kind: FileType,
        mode: u32,
        parent: usize,
        mtime: Time,
        start: u64,
        count: u64,
    ) -> Result<(), PackError> {
        let name_at = self.names.len();
        self.names.extend_from_slice(name);
        if u32::try_from(self.names.len()).is_err() || u32::try_from(self.entries.len() * ENTRY_LEN).is_err()
        {
            return Err(PackError::TooLarge);
        }
        self.entries.push(Entry {
            name: name_at,
            name_len: name.len(),
            kind,
            mode,
            parent,
            mtime,
            start,
            count,
        });
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, PackError> {
        let names_at = HEADER_LEN + self.entries.len() * ENTRY_LEN;
        let contents_at = (names_at + self.names.len()).next_multiple_of(PAGE_SIZE);
        let len = contents_at + self.contents_len as usize;
        if u32::try_from(contents_at).is_err() {
            return Err(PackError::TooLarge);
        }
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&(len as u64).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for entry in &self.entries {
            let start = match entry.kind {
                FileType::Directory => entry.start,
                FileType::Symlink => entry.start + names_at as u64,
                _ => entry.start + contents_at as u64,
            };
            out.extend_from_slice(&((names_at + entry.name) as u32).to_le_bytes());
            out.extend_from_slice(&(entry.name_len as u32).to_le_bytes());
            out.extend_from_slice(&(entry.kind as u32 | entry.mode & 0o7777).to_le_bytes());
            out.extend_from_slice(&(entry.parent as u32).to_le_bytes());
            out.extend_from_slice(&entry.mtime.sec.to_le_bytes());
            out.extend_from_slice(&entry.mtime.nsec.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&entry.count.to_le_bytes());
        }
        out.extend_from_slice(&self.names);
        out.resize(contents_at, 0);
        for content in &self.contents {
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(PAGE_SIZE), 0);
        }
        let hash = hash(&out[HASHED_FROM..]);
        out[16..24].copy_from_slice(&hash.to_le_bytes());
        Ok(out)
    }
}
