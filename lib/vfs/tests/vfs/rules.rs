//! Paths and names, one rule a line.

use super::Files;
use super::files::{Host, file_system};
use vfs::Limits;

const EPERM: u16 = 1;
const ENOENT: u16 = 2;
const EBUSY: u16 = 16;
const EEXIST: u16 = 17;
const EXDEV: u16 = 18;
const ENOTDIR: u16 = 20;
const EISDIR: u16 = 21;
const EINVAL: u16 = 22;
const ENOSPC: u16 = 28;
const EROFS: u16 = 30;
const ENAMETOOLONG: u16 = 36;
const ENOTEMPTY: u16 = 39;
const ELOOP: u16 = 40;

type Outcome = Result<(), u16>;
type Call = fn(&Files) -> Outcome;

fn some_files() -> Files {
    let files = Files::new();
    files.mkdir("dir").unwrap();
    files.mkdir("dir/sub").unwrap();
    files.write("file", b"content").unwrap();
    files.write("dir/file", b"inner").unwrap();
    files.symlink("dir", "to_dir").unwrap();
    files.symlink("file", "to_file").unwrap();
    files.symlink("nowhere", "dangling").unwrap();
    files.symlink("loop", "loop").unwrap();
    files.symlink("/dir/file", "absolute").unwrap();
    files
}

#[test]
fn paths_lead_where_linux_goes() {
    let files = some_files();
    let long = "x".repeat(256);
    let table: &[(&str, Outcome)] = &[
        ("", Err(ENOENT)),
        ("/", Ok(())),
        ("//", Ok(())),
        ("/..", Ok(())),
        (".", Ok(())),
        ("./", Ok(())),
        ("dir", Ok(())),
        ("dir/", Ok(())),
        ("dir//sub/..///file", Ok(())),
        ("file/", Err(ENOTDIR)),
        ("file/.", Err(ENOTDIR)),
        ("file/..", Err(ENOTDIR)),
        ("file/x", Err(ENOTDIR)),
        ("none", Err(ENOENT)),
        ("none/", Err(ENOENT)),
        ("none/..", Err(ENOENT)),
        ("to_dir/file", Ok(())),
        ("to_dir/", Ok(())),
        ("to_file", Ok(())),
        ("to_file/", Err(ENOTDIR)),
        ("dangling", Err(ENOENT)),
        ("dangling/", Err(ENOENT)),
        ("dangling/x", Err(ENOENT)),
        ("loop", Err(ELOOP)),
        ("loop/x", Err(ELOOP)),
        ("absolute", Ok(())),
        (&long, Err(ENAMETOOLONG)),
    ];
    for (path, expected) in table {
        assert_eq!(files.stat(path).map(drop), *expected, "{path:?}");
    }
    assert_eq!(files.stat(&"./".repeat(2047)).map(drop), Ok(()), "4094 octets");
    assert_eq!(files.stat(&"./".repeat(2048)).map(drop), Err(ENAMETOOLONG), "4096 octets");
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let files = Files::new();
    files.write("0", b"end").unwrap();
    for n in 1..=41 {
        files.symlink(&(n - 1).to_string(), &n.to_string()).unwrap();
    }
    assert_eq!(files.read("40").unwrap(), b"end");
    assert_eq!(files.stat("41").map(drop), Err(ELOOP));
    assert_eq!(files.readlink("41").unwrap(), "40");
}

#[test]
fn names_are_made_and_removed_as_on_linux() {
    let table: &[(&str, Call, Outcome)] = &[
        ("mkdir of what is there", |f| f.mkdir("file"), Err(EEXIST)),
        ("mkdir of /", |f| f.mkdir("/"), Err(EEXIST)),
        ("mkdir of .", |f| f.mkdir("dir/."), Err(EEXIST)),
        ("mkdir with a slash", |f| f.mkdir("new/"), Ok(())),
        ("mkdir of a dangling link", |f| f.mkdir("dangling"), Err(EEXIST)),
        ("mkdir below nothing", |f| f.mkdir("none/new"), Err(ENOENT)),
        ("mkdir below a file", |f| f.mkdir("file/new"), Err(ENOTDIR)),
        ("rmdir", |f| f.rmdir("dir/sub"), Ok(())),
        ("rmdir with entries", |f| f.rmdir("dir"), Err(ENOTEMPTY)),
        ("rmdir of a file", |f| f.rmdir("file"), Err(ENOTDIR)),
        ("rmdir of a link", |f| f.rmdir("to_dir"), Err(ENOTDIR)),
        ("rmdir of .", |f| f.rmdir("dir/."), Err(EINVAL)),
        ("rmdir of ..", |f| f.rmdir("dir/.."), Err(ENOTEMPTY)),
        ("rmdir of /", |f| f.rmdir("/"), Err(EBUSY)),
        ("unlink", |f| f.unlink("file"), Ok(())),
        ("unlink of a directory", |f| f.unlink("dir"), Err(EISDIR)),
        ("unlink with a slash", |f| f.unlink("file/"), Err(ENOTDIR)),
        ("unlink of a link", |f| f.unlink("loop"), Ok(())),
        ("unlink of .", |f| f.unlink("."), Err(EISDIR)),
        ("create", |f| f.create("new", false).map(drop), Ok(())),
        ("create with a slash", |f| f.create("new/", false).map(drop), Err(EISDIR)),
        ("create through a dangling link", |f| f.create("dangling", false).map(drop), Ok(())),
        ("create of a dangling link, exclusively", |f| f.create("dangling", true).map(drop), Err(EEXIST)),
        ("create of a directory", |f| f.create("dir", false).map(drop), Err(EISDIR)),
        ("symlink with a slash", |f| f.symlink("x", "new/"), Err(ENOENT)),
        ("symlink to nothing", |f| f.symlink("", "new"), Err(ENOENT)),
        ("link of a directory", |f| f.link("dir", "new"), Err(EPERM)),
        ("link", |f| f.link("file", "dir/new"), Ok(())),
        ("link over a file", |f| f.link("file", "dir/file"), Err(EEXIST)),
        ("link of a link", |f| f.link("dangling", "new"), Ok(())),
    ];
    for (what, call, expected) in table {
        assert_eq!(call(&some_files()), *expected, "{what}");
        if *expected == Ok(()) {
            let files = some_files();
            files.root.block().set_read_only(true);
            assert_eq!(call(&files), Err(EROFS), "{what}, read-only");
        }
    }
}

#[test]
fn a_file_without_names_stays_until_it_is_closed() {
    let source = Host::default();
    let files = Files::on(file_system(None, Limits { pages: 10, nodes: 10 }, source.clone()));
    let at_first = source.charged.load(std::sync::atomic::Ordering::Relaxed);
    let node = files.create("file", false).unwrap();
    files.write_at(&node, 0, &[7; 10_000]).unwrap();
    files.link("file", "other").unwrap();
    assert_eq!(files.stat("other").unwrap().nlink, 2);
    files.unlink("file").unwrap();
    files.unlink("other").unwrap();
    assert_eq!((files.names("/").len(), node.stat().nlink), (0, 0));
    assert_eq!(files.read_at(&node, 9_000, 2_000).unwrap(), [7; 1_000]);
    assert_eq!(files.root.block().stat().pages_free, 7);
    drop(node);
    let stat = files.root.block().stat();
    assert_eq!((stat.pages_free, stat.nodes_free), (10, 9));
    assert_eq!(source.charged.load(std::sync::atomic::Ordering::Relaxed), at_first);
}

#[test]
fn the_limits_hold() {
    let files = Files::on(file_system(None, Limits { pages: 3, nodes: 4 }, Host::default()));
    let node = files.create("a", false).unwrap();
    assert_eq!(files.write_at(&node, 0, &[1; 5 * 4096]), Err(ENOSPC));
    assert_eq!(node.size(), 3 * 4096);
    node.truncate(0, files.now()).unwrap();
    assert_eq!(files.write_at(&node, 1 << 40, &[1; 4096]), Ok(4096));
    assert_eq!(files.mkdir("b"), Ok(()));
    assert_eq!(files.mkdir("c"), Ok(()));
    assert_eq!(files.mkdir("d"), Err(ENOSPC));
    files.rmdir("b").unwrap();
    assert_eq!(files.symlink("x", "d"), Ok(()));
}

#[test]
fn names_and_targets_count() {
    let source = Host::default();
    let charged = || source.charged.load(std::sync::atomic::Ordering::Relaxed);
    let files = Files::on(file_system(None, Limits { pages: 3, nodes: 6 }, source.clone()));
    let at_first = charged();
    let free = || files.root.block().stat().nodes_free;
    files.mkdir("dir").unwrap();
    drop(files.create("file", false).unwrap());
    let before = charged();
    files.link("file", "dir/a_name_of_twenty_oct").unwrap();
    assert!(charged() >= before + 20);
    files.link("file", "b").unwrap();
    assert_eq!((free(), files.symlink(&"t".repeat(4000), "c")), (1, Ok(())));
    assert!(charged() >= before + 4000);
    assert_eq!((free(), files.link("file", "d")), (0, Err(ENOSPC)));
    files.rename("c", "b", 0).unwrap();
    assert_eq!(free(), 1, "a name that is renamed over counts no more");
    files.rename("b", "dir/c", 0).unwrap();
    files.rename("file", "dir/c", vfs::namespace::EXCHANGE).unwrap();
    assert_eq!(free(), 1);
    for name in ["file", "dir/c", "dir/a_name_of_twenty_oct"] {
        files.unlink(name).unwrap();
    }
    files.rmdir("dir").unwrap();
    assert_eq!((free(), charged()), (5, at_first));
    files.mkdir("dir").unwrap();
    files.symlink("target", "dir/link").unwrap();
    drop(files);
    assert_eq!(charged(), 0, "a file system that is gone leaves nothing");
}

#[test]
fn a_removed_directory_takes_nothing_more() {
    let mut files = some_files();
    files.cwd = files.node("dir/sub").unwrap();
    files.rmdir("/dir/sub").unwrap();
    assert_eq!(files.mkdir("x"), Err(ENOENT));
    assert_eq!(files.create("x", false).map(drop), Err(ENOENT));
    assert_eq!(files.list("."), Err(ENOENT));
    assert_eq!(files.stat("..").map(|stat| stat.ino), files.stat("/dir").map(|stat| stat.ino));
    assert_eq!(files.cwd.directory_path(&files.root), Err(vfs::Error::NotFound));
}

#[test]
fn above_a_directory_that_is_gone_is_where_it_was() {
    let source = Host::default();
    let charged = || source.charged.load(std::sync::atomic::Ordering::Relaxed);
    let mut files = Files::on(file_system(None, Limits { pages: 1, nodes: 100_000 }, source.clone()));
    let at_first = charged();
    files.mkdir("a").unwrap();
    files.mkdir("a/b").unwrap();
    let above = files.stat("a").unwrap().ino;
    files.cwd = files.node("a/b").unwrap();
    files.rmdir("/a/b").unwrap();
    files.rmdir("/a").unwrap();
    assert_eq!(files.stat("..").map(|stat| (stat.ino, stat.nlink)), Ok((above, 0)));
    assert_eq!(files.stat("../..").map(|stat| stat.ino), files.stat("/").map(|stat| stat.ino));
    assert_eq!(files.create("../file", false).map(drop), Err(ENOENT));
    assert_eq!(files.list("..").map(drop), Err(ENOENT));
    assert!(files.names("/").is_empty());
    // Very deep: what goes at the end goes one by one.
    files.cwd = files.root.clone();
    for _ in 0..20_000 {
        files.mkdir("d").unwrap();
        files.cwd = files.node("d").unwrap();
    }
    let deepest = files.cwd.clone();
    for _ in 0..20_000 {
        files.cwd = files.node("..").unwrap();
        files.rmdir("d").unwrap();
    }
    assert_eq!(deepest.stat().nlink, 0);
    assert!(charged() > at_first);
    drop(deepest);
    assert_eq!(charged(), at_first);
}

#[test]
fn paths_longer_than_a_call_takes_are_told_so() {
    let mut files = Files::new();
    for _ in 0..20 {
        let name = "n".repeat(200);
        files.mkdir(&name).unwrap();
        files.cwd = files.node(&name).unwrap();
    }
    assert_eq!(files.cwd.directory_path(&files.root).map(|path| path.len()), Ok(20 * 201));
    files.mkdir("one more, of seventy-five octets: with the zero behind it this is too long.").unwrap();
    let last =
        files.node("one more, of seventy-five octets: with the zero behind it this is too long.").unwrap();
    assert_eq!(last.directory_path(&files.root), Err(vfs::Error::NameTooLong));
}

#[test]
fn long_work_lets_others_run() {
    const PAGE: u64 = 4096;
    let source = Host::default();
    let files = Files::on(file_system(None, Limits { pages: 4096, nodes: 100 }, source.clone()));
    let breaths = || source.breaths.swap(0, std::sync::atomic::Ordering::Relaxed);
    let node = files.create("file", false).unwrap();
    breaths();
    node.allocate(0, 4000 * PAGE, false, files.now()).unwrap();
    assert!(breaths() >= 60);
    node.punch_hole(10, 2000 * PAGE, files.now()).unwrap();
    assert!(breaths() >= 30);
    node.truncate(3, files.now()).unwrap();
    assert!(breaths() >= 30);
    node.allocate(0, 4000 * PAGE, false, files.now()).unwrap();
    drop(node);
    breaths();
    files.unlink("file").unwrap();
    assert!(breaths() >= 60);
    assert_eq!(files.root.block().stat().pages_free, 4096);
    drop(files.create("end", false).unwrap());
    files.symlink(&format!("{}end", "./".repeat(2000)), "0").unwrap();
    for n in 1..40 {
        files.symlink(&format!("{}{}", "./".repeat(2000), n - 1), &n.to_string()).unwrap();
    }
    breaths();
    assert_eq!(files.stat("39").map(|stat| stat.size), Ok(0));
    assert!(breaths() >= 40 * 2000 / 64);
}

#[test]
fn mounts_are_crossed_both_ways() {
    let mut files = some_files();
    let other = file_system(None, Limits { pages: 3, nodes: 10 }, Host::default());
    files.node("dir/sub").unwrap().mount(&other).unwrap();
    assert!(files.node("dir/sub").unwrap().mount(&other).is_err(), "twice");
    files.mkdir("dir/sub/inner").unwrap();
    assert_eq!(files.names("dir/sub/../sub"), ["inner"]);
    assert_eq!(files.stat("dir/sub/inner/../../file").unwrap().size, 5);
    assert_eq!(files.rename("file", "dir/sub/file", 0), Err(EXDEV));
    assert_eq!(files.link("file", "dir/sub/file"), Err(EXDEV));
    assert_eq!(files.rmdir("dir/sub"), Err(EBUSY));
    assert_eq!(files.rename("dir/sub", "elsewhere", 0), Err(EBUSY));
    files.rename("dir", "renamed", 0).unwrap();
    files.cwd = files.node("renamed/sub/inner").unwrap();
    assert_eq!(files.cwd.directory_path(&files.root).unwrap(), b"/renamed/sub/inner");
    assert_eq!(files.root.directory_path(&files.root).unwrap(), b"/");
}

#[test]
fn a_name_that_others_make_and_remove_can_be_opened_or_made() {
    const ROUNDS: usize = 20_000;
    let files = Files::new();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|_| _ = files.unlink("made")));
        for _ in 0..ROUNDS {
            assert_eq!(files.create("made", false).map(drop), Ok(()));
        }
    });
}

#[test]
fn a_name_that_others_rename_over_can_be_removed() {
    const ROUNDS: usize = 5_000;
    let files = Files::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                drop(files.create("new", false).unwrap());
                files.rename("new", "name", 0).unwrap();
            }
        });
        let mut removed = Ok(());
        for _ in 0..ROUNDS {
            while files.stat("name").is_err() {
                std::thread::yield_now();
            }
            removed = removed.and(files.unlink("name"));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(removed, Ok(()));
    });
}

#[test]
fn an_allocation_that_fails_changes_nothing() {
    const PAGE: u64 = 4096;
    const ROUNDS: usize = 2_000;
    let files = Files::on(file_system(None, Limits { pages: 64, nodes: 4 }, Host::default()));
    let node = files.create("f", false).unwrap();
    let free = || files.root.block().stat().pages_free;
    let allocate = || node.allocate(0, 40 * PAGE, true, files.now()).map_err(|error| error.errno());
    files.write_at(&node, 1000 * PAGE, &[1; 32 * 4096]).unwrap();
    assert_eq!((allocate(), free()), (Err(ENOSPC), 32));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|_| _ = allocate()));
        for _ in 0..ROUNDS {
            let _ = files.write_at(&node, 1000 * PAGE, &[1; 32 * 4096]);
            node.truncate(0, files.now()).unwrap();
        }
    });
    node.truncate(0, files.now()).unwrap();
    assert_eq!(free(), 64);
}
