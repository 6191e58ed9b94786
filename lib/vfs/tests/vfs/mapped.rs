//! Pages that are mapped: what a mapping gets, and what is taken from it.

use vfs::{Limits, MapPage, PAGE_SIZE, PackedTree, Page};

use super::Files;
use super::files::{GENEROUS, Host, HostPage, Node, Unmapped, file_system};
use super::packed::some_tree;

/// A tmpfs, over the packed tree or not, and what was unmapped there.
fn files(over: bool, limits: Limits) -> (Files, Host) {
    let octets: &[u8] = Box::leak(some_tree().into_boxed_slice());
    let tree = over.then(|| PackedTree::new(octets).unwrap());
    let host = Host::default();
    (Files::on(file_system(tree, limits, host.clone())), host)
}

fn unmapped(host: &Host) -> Vec<Unmapped> {
    std::mem::take(&mut host.unmapped.lock().unwrap())
}

fn map(files: &Files, node: &Node, index: u64, write: bool) -> Option<MapPage<HostPage>> {
    node.map_page(index, write, files.now()).unwrap()
}

fn own(page: Option<MapPage<HostPage>>) -> HostPage {
    match page {
        Some(MapPage::Page(page)) => page,
        _ => panic!("not a page of the file's own"),
    }
}

#[test]
fn a_mapping_has_the_files_own_pages() {
    let (files, host) = files(false, GENEROUS);
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 0, b"octets").unwrap();
    let page = own(map(&files, &node, 0, false));
    page.write(1, b"XX");
    assert_eq!(files.read("f").unwrap(), b"oXXets");
    files.write_at(&node, 3, b"YY").unwrap();
    let mut octets = [0; 6];
    page.read(0, &mut octets);
    assert_eq!(&octets, b"oXXYYs");
    assert!(map(&files, &node, 1, true).is_none(), "a page behind the end");
    assert_eq!(unmapped(&host), []);
}

#[test]
fn a_hole_becomes_a_page_once() {
    let (files, host) = files(false, GENEROUS);
    let node = files.create("f", false).unwrap();
    node.truncate(3 * PAGE_SIZE as u64, files.now()).unwrap();
    own(map(&files, &node, 1, false)).write(0, b"x");
    own(map(&files, &node, 1, true)).write(1, b"y");
    assert_eq!(node.stat().blocks, 8);
    assert_eq!(files.read_at(&node, 4096, 3).unwrap(), b"xy\0");
    assert_eq!(unmapped(&host), []);
}

#[test]
fn what_is_cut_off_is_unmapped_with_its_copies() {
    let (files, host) = files(false, GENEROUS);
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 0, &[1; 5 * PAGE_SIZE]).unwrap();
    node.truncate(4 * PAGE_SIZE as u64, files.now()).unwrap();
    assert_eq!(unmapped(&host), [], "nothing was mapped");
    map(&files, &node, 0, false);
    node.truncate(3 * PAGE_SIZE as u64, files.now()).unwrap();
    assert_eq!(unmapped(&host), [(3..u64::MAX, true)]);
    node.truncate(2 * PAGE_SIZE as u64 - 1, files.now()).unwrap();
    assert_eq!(unmapped(&host), [(1..2, false), (2..u64::MAX, true)]);
    node.truncate(9 * PAGE_SIZE as u64, files.now()).unwrap();
    assert_eq!(unmapped(&host), [], "it became longer");
    assert_eq!(node.stat().blocks, 16);
}

#[test]
fn a_hole_is_unmapped_without_its_copies() {
    let (files, host) = files(false, GENEROUS);
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 0, &[1; 5 * PAGE_SIZE]).unwrap();
    map(&files, &node, 0, false);
    node.punch_hole(PAGE_SIZE as u64, 2 * PAGE_SIZE as u64, files.now()).unwrap();
    assert_eq!(unmapped(&host), [(1..3, false)]);
}

#[test]
fn pages_of_the_tree_are_mapped_as_they_are_until_they_are_written() {
    let (files, host) = files(true, GENEROUS);
    let node = files.node("sub/b").unwrap();
    for (index, len) in [(0, PAGE_SIZE), (1, 5_000 - PAGE_SIZE)] {
        match map(&files, &node, index, false) {
            Some(MapPage::Packed(octets)) => assert_eq!(octets.len(), len),
            _ => panic!("page {index} was copied"),
        }
    }
    assert_eq!(files.root.block().stat().pages_free, GENEROUS.pages);
    // By write(2), at an offset and at the end, and by way of a mapping: each takes the tree's page away.
    files.write_at(&node, 5, b"new").unwrap();
    assert_eq!(unmapped(&host), [(0..1, false)]);
    files.write_at(&node, 6, b"newer").unwrap();
    assert_eq!(unmapped(&host), []);
    node.append(b"more", files.now()).unwrap();
    assert_eq!(unmapped(&host), [(1..2, false)]);
    let node = files.node("sub/a").unwrap();
    map(&files, &node, 0, false);
    own(map(&files, &node, 0, true)).write(0, b"Z");
    assert_eq!(unmapped(&host), [(0..1, false)]);
    assert_eq!(files.read_at(&node, 0, 3).unwrap(), b"Zaa");
}

#[test]
fn a_page_of_the_tree_that_was_cut_is_not_mapped_as_it_is() {
    let (files, host) = files(true, GENEROUS);
    let node = files.node("sub/b").unwrap();
    map(&files, &node, 0, false);
    node.truncate(10, files.now()).unwrap();
    assert_eq!(unmapped(&host), [(0..1, false), (1..u64::MAX, true)]);
    let page = own(map(&files, &node, 0, false));
    let mut octets = [9; 20];
    page.read(0, &mut octets);
    assert_eq!(&octets, b"bbbbbbbbbb\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn without_space_there_is_no_page_for_a_hole() {
    let (files, _) = files(false, Limits { pages: 1, nodes: 10 });
    let node = files.create("f", false).unwrap();
    node.truncate(2 * PAGE_SIZE as u64, files.now()).unwrap();
    own(map(&files, &node, 1, true));
    assert_eq!(node.map_page(0, false, files.now()).map(drop).map_err(|error| error.errno()), Err(28));
    // Space that was promised in vain goes back, and so do mappings of it.
    let other = files.create("g", false).unwrap();
    assert_eq!(other.allocate(0, 2 * PAGE_SIZE as u64, false, files.now()).map_err(|e| e.errno()), Err(28));
    node.truncate(0, files.now()).unwrap();
    other.truncate(1, files.now()).unwrap();
    own(map(&files, &other, 0, true));
}
