//! The packed tree: what is packed is read back, and what is damaged is refused.

use vfs::pack::{Directory, PackError, Packable, pack};
use vfs::{Damage, PackedTree, Time};

const TIME: Time = Time { sec: 77, nsec: 5 };

pub fn file(content: &[u8]) -> Packable {
    Packable::File { mode: 0o644, mtime: TIME, content: content.to_vec() }
}

pub fn some_tree() -> Vec<u8> {
    let mut sub = Directory::new(0o700, TIME);
    for name in ["b", "a", "c"] {
        sub.add(name.as_bytes(), file(name.repeat(5_000).as_bytes())).unwrap();
    }
    let mut root = Directory::new(0o755, TIME);
    root.add(b"sub", Packable::Directory(sub)).unwrap();
    root.add(b"empty", Packable::Directory(Directory::new(0o755, TIME))).unwrap();
    root.add(b"same", file("a".repeat(5_000).as_bytes())).unwrap();
    root.add(b"nothing", file(b"")).unwrap();
    root.add(b"link", Packable::Symlink { mtime: TIME, target: b"sub/a".to_vec() }).unwrap();
    pack(&root).unwrap()
}

#[test]
fn what_was_packed_is_found() {
    let octets = some_tree();
    let tree = PackedTree::new(&octets).unwrap();
    tree.check_hash().unwrap();
    assert_eq!(tree.len(), 9);
    let sub = tree.lookup(0, b"sub").unwrap();
    let a = tree.lookup(sub, b"a").unwrap();
    assert_eq!(tree.content(a), "a".repeat(5_000).as_bytes());
    let same = tree.lookup(0, b"same").unwrap();
    assert_eq!(tree.content(same).as_ptr(), tree.content(a).as_ptr(), "the same content is there once");
    assert_eq!((tree.content(a).as_ptr() as usize - octets.as_ptr() as usize) % 4096, 0);
    assert_eq!(tree.content(tree.lookup(0, b"link").unwrap()), b"sub/a");
    assert_eq!(tree.entry(a).mtime, TIME);
    assert_eq!(tree.lookup(sub, b"d"), None);
    assert_eq!(tree.lookup(a, b"a"), None);
}

#[test]
fn names_that_are_none_are_not_packed() {
    let mut root = Directory::new(0o755, TIME);
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert_eq!(root.add(name.as_bytes(), file(b"")), Err(PackError::Name), "{name:?}");
    }
    root.add(b"a", file(b"")).unwrap();
    assert_eq!(root.add(b"a", file(b"")), Err(PackError::Exists));
    let link = Packable::Symlink { mtime: TIME, target: Vec::new() };
    assert_eq!(root.add(b"b", link), Err(PackError::Target));
}

#[test]
fn a_directory_is_added_to_or_made() {
    let mut root = Directory::new(0o755, TIME);
    root.directory(b"a", 0o700, TIME).unwrap().add(b"one", file(b"1")).unwrap();
    root.directory(b"a", 0o755, TIME).unwrap().add(b"two", file(b"2")).unwrap();
    root.add(b"file", file(b"")).unwrap();
    assert_eq!(root.directory(b"file", 0o755, TIME).unwrap_err(), PackError::Exists);
    assert_eq!(root.directory(b"..", 0o755, TIME).unwrap_err(), PackError::Name);
    let octets = pack(&root).unwrap();
    let tree = PackedTree::new(&octets).unwrap();
    let a = tree.lookup(0, b"a").unwrap();
    assert_eq!(tree.content(tree.lookup(a, b"two").unwrap()), b"2");
    assert!(tree.lookup(a, b"one").is_some());
    assert_eq!(tree.entry(a).mode & 0o777, 0o700);
}

#[test]
fn damage_is_named() {
    let octets = some_tree();
    assert_eq!(PackedTree::new(b"").unwrap_err(), Damage::NotATree);
    let damaged = |at: usize, with: &[u8]| {
        let mut octets = octets.clone();
        octets[at..at + with.len()].copy_from_slice(with);
        PackedTree::new(&octets).map(|tree| tree.check_hash()).map_err(|damage| damage.to_string())
    };
    let table: &[(usize, &[u8], &str)] = &[
        (0, b"X", "not a packed tree of this version"),
        (8, &[1], "octets, and its header tells"),
        (24, &[0xff; 4], "4294967295 entries do not fit into it"),
        (24, &[8], "outside of the tree"),
        (32 + 8, &0o100644u32.to_le_bytes(), "entry 0: the root is no directory"),
        (32 + 4, &[3], "entry 0: the root has a name"),
        (80, &[0xff; 4], "entry 1: its name is outside of the tree"),
        (80 + 12, &[1], "entry 1: it is not where it says it is"),
        (80 + 4, &[0], "entry 1: its name is none"),
        (80 + 6, &[1], "entry 1: what must be zero is not"),
        (80 + 24, &[0xff; 4], "entry 1: its time is none"),
        (32 + 32, &[2], "entry 0: its children are not those that follow"),
        (32 + 40, &[9], "entry 0: its children are outside of the tree"),
        (32 + 40, &[4], "entry 1: its children are not those that follow"),
    ];
    for (at, with, expected) in table {
        let found = damaged(*at, with).unwrap_err();
        assert!(found.contains(expected), "{at}: {found}");
    }
    let last = octets.len() - 1;
    assert_eq!(damaged(last, &[1]), Ok(Err(Damage::Hash)));
}

/// Found by the fuzz target: what an entry says of its directory was followed before it was known to come before.
#[test]
fn a_parent_that_was_not_checked_is_not_asked() {
    let mut octets = some_tree();
    let entry = |number: usize| 32 + number * 48;
    // Entry 1 names entry 2, which says that its children are at the end of all numbers.
    octets[entry(1) + 12] = 2;
    octets[entry(2) + 8..entry(2) + 12].copy_from_slice(&0o040_755u32.to_le_bytes());
    octets[entry(2) + 32..entry(2) + 48].fill(0xff);
    let damage = PackedTree::new(&octets).unwrap_err();
    assert_eq!(damage.to_string(), "entry 1: it is not where it says it is");
}

#[test]
fn no_damage_of_one_octet_leads_out_of_it() {
    let octets = some_tree();
    for at in 0..600 {
        for with in [0, 1, 0x7f, 0x80, 0xff, octets[at].wrapping_add(1)] {
            let mut octets = octets.clone();
            octets[at] = with;
            if let Ok(tree) = PackedTree::new(&octets) {
                for number in 0..tree.len() {
                    tree.content(number);
                    tree.children(number).for_each(|child| assert!(tree.entry(child).name.len() < 256));
                }
            }
        }
    }
}
