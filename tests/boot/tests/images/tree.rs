//! The tree of files that an image carries.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use boot_tests::boot::everywhere;
use boot_tests::{Boot, Image, tool};

/// A folder to be packed, in the target folder.
fn folder() -> PathBuf {
    let root = tool::target_dir().join("boot-tests").join("root");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("data/sub")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/hosts"), "10.0.0.1 mine\n").unwrap();
    fs::write(root.join("data/text"), "as it was packed").unwrap();
    let large: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    fs::write(root.join("data/large"), large).unwrap();
    symlink("text", root.join("data/link")).unwrap();
    root
}

#[test]
fn a_tree_is_read_as_it_was_packed_and_cannot_be_changed() {
    let root = folder();
    let target = tool::target_dir().join("boot-tests").join("tree");
    let [target_dir, root] = [&target, &root].map(|path| path.to_str().expect("a path of text"));
    let project = tool::repository().join("tests/programs");
    let options = ["build", "--release", "--bin", "tree", "--target-dir", target_dir, "--root", root];
    tool::succeed(&project, &options);
    let image = Image::at(&target, "release", "tree");
    let expected = "[\"large\", \"link\", \"sub\", \"text\"]\n\"as it was packed\"\n100000 true\n100644 8\n\
                    \"10.0.0.1 mine\\n\"\nErr(Some(30))\nErr(Some(30))\nErr(Some(30))\nErr(Some(30))\nErr(Some(30))\n\
                    Err(Some(30))\nErr(Some(30)) Err(Some(30))\ntrue\ntrue true Err(Some(13))\n[230, 111, 119, 110, 234] true\n";
    everywhere(&Boot::new(&image), 0, |ended| assert_eq!(ended.programs(), expected));

    // What is in the way of what every program finds is named.
    symlink("nowhere", folder().join("tmp")).unwrap();
    tool::succeed(&project, &options);
    let ended = Boot::new(&image).expect(125);
    assert!(ended.console.contains("has something else where /tmp is to be mounted"), "{}", ended.console);

    // Another tree comes into the image although Cargo sees no change.
    fs::write(folder().join("data/text"), "another").unwrap();
    tool::succeed(&project, &options);
    let ended = Boot::new(&image).expect(0);
    assert!(ended.programs().contains("\"another\""), "{}", ended.console);
}
