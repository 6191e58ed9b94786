use vfs::PackedTree;

/// Plays the octets. The hash is left out: whoever damages a tree on purpose can make one.
pub fn run(octets: &[u8]) {
    let Ok(tree) = PackedTree::new(octets) else { return };
    let mut children = 0;
    for number in 0..tree.len() {
        let entry = tree.entry(number);
        assert!(entry.name.len() <= 255);
        assert!(tree.content(number).len() <= octets.len());
        for child in tree.children(number) {
            children += 1;
            assert!(child > number);
            assert_eq!(tree.lookup(number, tree.entry(child).name), Some(child));
        }
    }
    assert_eq!(children, tree.len() - 1);
}
