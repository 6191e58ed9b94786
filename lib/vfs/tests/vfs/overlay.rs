//! tmpfs over the packed tree.

use std::sync::atomic::Ordering::Relaxed;

use vfs::{Limits, PackedTree};

use super::files::{Files, GENEROUS, Host, file_system};
use super::packed::some_tree;

fn over() -> Files {
    let octets = Box::leak(some_tree().into_boxed_slice());
    Files::over(Some(PackedTree::new(octets).unwrap()))
}

#[test]
fn what_is_read_takes_no_page() {
    let files = over();
    assert_eq!(files.names("/"), ["empty", "link", "nothing", "same", "sub"]);
    assert_eq!(files.names("sub"), ["a", "b", "c"]);
    assert_eq!(files.read("link").unwrap(), "a".repeat(5_000).as_bytes());
    let stat = files.stat("sub/b").unwrap();
    assert_eq!((stat.size, stat.blocks, stat.mode, stat.mtime.sec), (5_000, 16, 0o100_644, 77));
    assert_eq!(files.root.block().stat().pages_free, GENEROUS.pages);
    assert_eq!(files.stat("/").unwrap().nlink, 4);
    assert_eq!(files.stat("sub/b").unwrap().ino, stat.ino);
}

#[test]
fn a_page_that_is_written_is_copied_first() {
    let files = over();
    let node = files.node("sub/b").unwrap();
    files.write_at(&node, 4_500, b"new").unwrap();
    let octets = files.read("sub/b").unwrap();
    assert_eq!(octets.len(), 5_000);
    assert_eq!(&octets[4_498..4_505], b"bbnewbb");
    assert_eq!((node.stat().blocks, node.ino()), (16, files.stat("sub/b").unwrap().ino));
    files.write_at(&node, 6_000, b"end").unwrap();
    let octets = files.read("sub/b").unwrap();
    assert!(octets[5_000..6_000].iter().all(|octet| *octet == 0) && octets.ends_with(b"end"));
    assert_eq!(files.read("same").unwrap(), "a".repeat(5_000).as_bytes());
    files.write_at(&files.node("same").unwrap(), 0, b"x").unwrap();
    assert_eq!(files.read("sub/a").unwrap()[0], b'a', "shared content is the others' still");
}

#[test]
fn what_was_cut_off_of_the_tree_stays_cut_off() {
    let files = over();
    let node = files.node("sub/c").unwrap();
    node.truncate(10, files.now()).unwrap();
    node.truncate(20, files.now()).unwrap();
    assert_eq!(files.read("sub/c").unwrap(), b"cccccccccc\0\0\0\0\0\0\0\0\0\0");
    node.punch_hole(2, 4, files.now()).unwrap();
    assert_eq!(&files.read("sub/c").unwrap()[..10], b"cc\0\0\0\0cccc");
}

#[test]
fn removed_names_stay_away_and_new_ones_come() {
    let files = over();
    files.unlink("sub/a").unwrap();
    assert_eq!(files.stat("sub/a").map(drop), Err(2));
    assert_eq!(files.names("sub"), ["b", "c"]);
    files.write("sub/a", b"new").unwrap();
    assert_eq!(files.read("link").unwrap(), b"new");
    assert_eq!(files.names("sub"), ["a", "b", "c"]);
    files.rename("sub/b", "sub/a", 0).unwrap();
    assert_eq!((files.names("sub"), files.read("sub/a").unwrap()[0]), (vec!["a".into(), "c".into()], b'b'));
    files.unlink("sub/a").unwrap();
    files.unlink("sub/c").unwrap();
    files.rmdir("sub").unwrap();
    files.mkdir("sub").unwrap();
    assert!(files.names("sub").is_empty(), "nothing of the tree shines through");
}

#[test]
fn directories_of_the_tree_can_be_renamed() {
    let files = over();
    files.rename("sub", "empty", 0).unwrap();
    assert_eq!(files.names("/"), ["empty", "link", "nothing", "same"]);
    assert_eq!(files.names("empty"), ["a", "b", "c"]);
    assert_eq!(files.node("empty").unwrap().directory_path(&files.root).unwrap(), b"/empty");
    assert_eq!(files.stat("/").unwrap().nlink, 3);
}

#[test]
fn a_directory_that_was_not_replaced_is_not_removed() {
    const ENOSPC: u16 = 28;
    let octets = Box::leak(some_tree().into_boxed_slice());
    let host = Host::default();
    let files = Files::on(file_system(Some(PackedTree::new(octets).unwrap()), GENEROUS, host.clone()));
    files.mkdir("new").unwrap();
    files.stat("empty").unwrap();
    // The name takes an entry of the directory's own, for which there is no memory.
    host.is_short.store(true, Relaxed);
    assert_eq!(files.rename("new", "empty", 0), Err(ENOSPC));
    host.is_short.store(false, Relaxed);
    assert_eq!(files.mkdir("empty/inner"), Ok(()));
}

#[test]
fn space_is_told_of_files_of_the_tree_too() {
    let files = over();
    let blocks = |path: &str| files.stat(path).unwrap().blocks;
    assert_eq!((blocks("sub/a"), blocks("sub")), (16, 0));
    let node = files.node("sub/a").unwrap();
    files.write_at(&node, 100, b"in the first page").unwrap();
    files.write_at(&node, 40_960, b"behind").unwrap();
    assert_eq!(blocks("sub/a"), 24);
    node.truncate(4_096, files.now()).unwrap();
    assert_eq!(blocks("sub/a"), 8);
    node.truncate(100_000, files.now()).unwrap();
    assert_eq!(blocks("sub/a"), 8);
    node.truncate(0, files.now()).unwrap();
    assert_eq!(blocks("sub/a"), 0);
}

#[test]
fn reading_a_directory_goes_on_while_names_are_removed() {
    let files = over();
    for n in 0..20 {
        files.write(&format!("sub/{n}"), b"").unwrap();
    }
    let node = files.node("sub").unwrap();
    let (mut position, mut seen) = (0, Vec::new());
    loop {
        let mut one = None;
        let mut take = |entry: vfs::DirEntry<'_>| {
            if one.is_some() {
                return false;
            }
            one = Some((String::from_utf8(entry.name.to_vec()).unwrap(), entry.next));
            true
        };
        node.entries(position, &mut take).unwrap();
        let Some((name, next)) = one else { break };
        position = next;
        if name != "." && name != ".." {
            files.unlink(&format!("sub/{name}")).unwrap();
            seen.push(name);
        }
    }
    assert_eq!(seen.len(), 23);
    assert!(files.names("sub").is_empty());
}

#[test]
fn a_file_that_memory_is_too_short_to_look_up() {
    const ENOMEM: u16 = 12;
    let octets = Box::leak(some_tree().into_boxed_slice());
    let limits = Limits { pages: 1, nodes: 2 };
    let files = Files::on(file_system(Some(PackedTree::new(octets).unwrap()), limits, Host::default()));
    assert_eq!(files.stat("sub").map(drop), Ok(()));
    assert_eq!(files.stat("sub/b").map(drop), Err(ENOMEM));
}
