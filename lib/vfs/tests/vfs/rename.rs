//! renameat2(2).

use vfs::namespace::{EXCHANGE, NO_REPLACE, WHITEOUT};

use super::Files;

fn tree() -> Files {
    let files = Files::new();
    for dir in ["a", "a/b", "a/b/c", "empty", "full"] {
        files.mkdir(dir).unwrap();
    }
    for file in ["file", "other", "full/x"] {
        files.write(file, file.as_bytes()).unwrap();
    }
    files
}

#[test]
fn errors_are_those_of_linux() {
    let table: &[(&str, &str, u32, Result<(), u16>)] = &[
        ("file", "new", 0, Ok(())),
        ("file", "other", 0, Ok(())),
        ("file", "file", 0, Ok(())),
        ("file", "new/", 0, Err(20)),
        ("file/", "new", 0, Err(20)),
        ("none", "new", 0, Err(2)),
        ("file", "none/new", 0, Err(2)),
        ("file", "empty", 0, Err(21)),
        ("a", "file", 0, Err(20)),
        ("a", "empty", 0, Ok(())),
        ("a/", "empty/", 0, Ok(())),
        ("a", "full", 0, Err(39)),
        ("a", "a/b/new", 0, Err(22)),
        ("a", "a", 0, Ok(())),
        ("a/b", "a", 0, Err(39)),
        ("a/.", "new", 0, Err(16)),
        ("a", "full/..", 0, Err(16)),
        ("/", "new", 0, Err(16)),
        ("a", "/", NO_REPLACE, Err(17)),
        ("file", "other", NO_REPLACE, Err(17)),
        ("file", "new", NO_REPLACE, Ok(())),
        ("file", "none", EXCHANGE, Err(2)),
        ("file", "full", EXCHANGE, Ok(())),
        ("file", "full/x", EXCHANGE, Ok(())),
        ("a", "a/b", EXCHANGE, Err(22)),
        ("a/b", "a", EXCHANGE, Err(22)),
        ("file", "new", NO_REPLACE | EXCHANGE, Err(22)),
        ("file", "new", 8, Err(22)),
        ("file", "new", WHITEOUT, Ok(())),
    ];
    for (from, to, flags, expected) in table {
        assert_eq!(tree().rename(from, to, *flags), *expected, "{from} {to} {flags}");
    }
}

#[test]
fn directories_take_their_place_along() {
    let files = tree();
    files.rename("a/b", "full/moved", 0).unwrap();
    let links = |path: &str| files.stat(path).unwrap().nlink;
    assert_eq!((links("a"), links("full"), links("/")), (2, 3, 5));
    assert_eq!(files.stat("full/moved/c/../..").unwrap().ino, files.stat("full").unwrap().ino);
    files.rename("full/moved", "file", EXCHANGE).unwrap();
    assert_eq!((links("full"), links("/")), (2, 6));
    assert_eq!(files.read("full/moved").unwrap(), b"file");
    assert_eq!(files.node("file/c").unwrap().directory_path(&files.root).unwrap(), b"/file/c");
}

#[test]
fn a_whiteout_is_a_device_of_number_0() {
    let files = tree();
    files.rename("file", "new", WHITEOUT).unwrap();
    let stat = files.lstat("file").unwrap();
    assert_eq!((stat.mode, stat.rdev), (0o020_000, 0));
    assert_eq!(files.read("new").unwrap(), b"file");
}
