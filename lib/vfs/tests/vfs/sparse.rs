//! Holes.

use vfs::Seek;

use super::Files;

#[test]
fn holes_read_as_zeroes_and_take_no_page() {
    let files = Files::new();
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 100_000, b"data").unwrap();
    assert_eq!(node.stat().blocks, 8);
    assert_eq!(files.read_at(&node, 99_998, 10).unwrap(), b"\0\0data");
    assert_eq!(node.seek(Seek::Data, 5), Ok(98_304));
    assert_eq!(node.seek(Seek::Hole, 5), Ok(5));
    assert_eq!(node.seek(Seek::Hole, 99_000), Ok(100_004));
    assert_eq!(node.seek(Seek::Data, 100_004).map_err(|error| error.errno()), Err(6));
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let files = Files::new();
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 0, &[9; 9_000]).unwrap();
    node.truncate(5_000, files.now()).unwrap();
    node.truncate(9_000, files.now()).unwrap();
    let octets = files.read_at(&node, 0, 20_000).unwrap();
    assert!(
        octets[..5_000].iter().all(|octet| *octet == 9) && octets[5_000..].iter().all(|octet| *octet == 0)
    );
    assert_eq!(octets.len(), 9_000);
}

#[test]
fn punched_holes_are_holes() {
    let files = Files::new();
    let node = files.create("f", false).unwrap();
    files.write_at(&node, 0, &[9; 5 * 4096]).unwrap();
    node.punch_hole(1_000, 3 * 4096, files.now()).unwrap();
    assert_eq!(node.stat().blocks, 3 * 8);
    let octets = files.read_at(&node, 0, 5 * 4096).unwrap();
    for (at, octet) in octets.iter().enumerate() {
        assert_eq!(*octet == 0, (1_000..1_000 + 3 * 4096).contains(&at), "{at}");
    }
    node.allocate(0, 8 * 4096, true, files.now()).unwrap();
    assert_eq!((node.stat().blocks, node.size()), (64, 5 * 4096));
    node.allocate(0, 8 * 4096, false, files.now()).unwrap();
    assert_eq!(node.size(), 8 * 4096);
}

#[test]
fn appends_are_whole() {
    let files = Files::new();
    let node = files.create("f", false).unwrap();
    std::thread::scope(|scope| {
        for n in 1..5u8 {
            let node = &node;
            let files = &files;
            scope.spawn(move || {
                for _ in 0..50 {
                    node.append(&[n; 1_000], files.now()).unwrap();
                }
            });
        }
    });
    let octets = files.read_at(&node, 0, usize::MAX).unwrap();
    assert_eq!(octets.len(), 200_000);
    assert!(octets.chunks(1_000).all(|line| line.iter().all(|octet| *octet == line[0])));
}
