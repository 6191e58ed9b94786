//! The same calls, drawn at random, to this crate and to Linux' tmpfs: the same results, errors and attributes.
//!
//! Linux is asked from inside a chroot, so that no `..` leads out of it.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vfs::pack::{Directory, Packable, pack};
use vfs::{PackedTree, Seek, Time};

use super::Files;

const STEPS: usize = 4_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        if self.below(8) == 0 {
            path.push('/');
        }
        for at in 0..=self.below(4) {
            if at > 0 {
                path.push_str(if self.below(10) == 0 { "//" } else { "/" });
            }
            path.push_str(self.one_of(&["a", "b", "c", "d", "a", "b", "c", "e", ".", ".."]));
        }
        if self.below(10) == 0 {
            path.push('/');
        }
        path
    }
}

#[derive(Debug)]
enum Call {
    Create(String, bool),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Symlink(String, String),
    Readlink(String),
    Link(String, String),
    Rename(String, String, u32),
    Write(String, u64, usize),
    Read(String, u64, usize),
    Truncate(String, u64),
    Punch(String, u64, u64),
    Chmod(String, u32),
    Utimens(String, i64, i64),
    Stat(String),
    Lstat(String),
    List(String),
    Data(String, u64),
    Hole(String, u64),
}

fn draw(random: &mut Random) -> Call {
    let path = random.path();
    match random.below(24) {
        0..=2 => Call::Create(path, random.below(3) == 0),
        3..=5 => Call::Mkdir(path),
        6 => Call::Rmdir(path),
        7 => Call::Unlink(path),
        8 => Call::Symlink(random.path(), path),
        9 => Call::Readlink(path),
        10 => Call::Link(random.path(), path),
        11..=13 => Call::Rename(random.path(), path, random.one_of(&[0, 0, 0, 1, 2, 3, 4, 8])),
        14 => Call::Write(path, random.below(20_000), random.below(9_000) as usize),
        15 => Call::Read(path, random.below(20_000), random.below(9_000) as usize),
        16 => Call::Truncate(path, random.below(30_000)),
        17 => Call::Punch(path, random.below(20_000), 1 + random.below(20_000)),
        18 => Call::Chmod(path, random.below(0o10000) as u32),
        19 => Call::Utimens(path, random.below(1 << 20) as i64 - (1 << 19), random.below(1 << 32) as i64),
        20 => Call::Stat(path),
        21 => Call::Lstat(path),
        22 => Call::List(path),
        _ if random.below(2) == 0 => Call::Data(path, random.below(30_000)),
        _ => Call::Hole(path, random.below(30_000)),
    }
}

/// What a call answers, as text.
type Answer = Result<String, u16>;

fn content(offset: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((offset as usize + at) % 250) as u8 + 1).collect()
}

fn ours(files: &Files, call: &Call) -> Answer {
    let done = |()| String::new();
    let seek = |path: &str, what, offset| {
        let node = files.node(path)?;
        openable(&node)?;
        node.seek(what, offset).map(|at| at.to_string()).map_err(|error| error.errno())
    };
    match call {
        Call::Create(path, exclusive) => files.create(path, *exclusive).map(|_| String::new()),
        Call::Mkdir(path) => files.mkdir(path).map(done),
        Call::Rmdir(path) => files.rmdir(path).map(done),
        Call::Unlink(path) => files.unlink(path).map(done),
        Call::Symlink(target, path) => files.symlink(target, path).map(done),
        Call::Readlink(path) => files.readlink(path),
        Call::Link(from, to) => files.link(from, to).map(done),
        Call::Rename(from, to, flags) => files.rename(from, to, *flags).map(done),
        Call::Write(path, offset, len) => {
            let node = files.node(path)?;
            openable(&node)?;
            files.write_at(&node, *offset, &content(*offset, *len)).map(|done| done.to_string())
        }
        Call::Read(path, offset, len) => {
            let node = files.node(path)?;
            // A directory is opened; reading it is what fails.
            openable(&node).or_else(|error| if error == 21 { Ok(()) } else { Err(error) })?;
            files.read_at(&node, *offset, *len).map(|octets| format!("{octets:?}"))
        }
        Call::Truncate(path, size) => {
            files.node(path)?.truncate(*size, files.now()).map(done).map_err(|error| error.errno())
        }
        Call::Punch(path, offset, len) => {
            let node = files.node(path)?;
            openable(&node)?;
            node.punch_hole(*offset, *len, files.now()).map(done).map_err(|error| error.errno())
        }
        Call::Chmod(path, mode) => files.chmod(path, *mode).map(done),
        Call::Utimens(path, atime, mtime) => {
            files.utimens(path, *atime, *mtime)?;
            let stat = files.lstat(path)?;
            Ok(times_of(
                stat.mode,
                [stat.atime.sec, stat.atime.nsec.into()],
                [stat.mtime.sec, stat.mtime.nsec.into()],
            ))
        }
        Call::Stat(path) => {
            files.stat(path).map(|stat| attributes(stat.mode, stat.nlink, stat.size, stat.blocks))
        }
        Call::Lstat(path) => {
            files.lstat(path).map(|stat| attributes(stat.mode, stat.nlink, stat.size, stat.blocks))
        }
        Call::List(path) => files.list(path).map(|names| format!("{names:?}")),
        Call::Data(path, offset) => seek(path, Seek::Data, *offset),
        Call::Hole(path, offset) => seek(path, Seek::Hole, *offset),
    }
}

/// Whether a node can be opened for writing.
fn openable(node: &super::files::Node) -> Result<(), u16> {
    match node.kind() {
        vfs::FileType::Directory => Err(21),
        vfs::FileType::CharDevice => Err(6),
        _ => Ok(()),
    }
}

fn attributes(mode: u32, nlink: u32, size: u64, blocks: u64) -> String {
    format!("{mode:o} {nlink} {size} {blocks}")
}

/// The times that were set. Linux takes going through a symbolic link for an access, perhaps before it is asked what it says.
fn times_of(mode: u32, atime: [i64; 2], mtime: [i64; 2]) -> String {
    if mode & 0o170_000 == 0o120_000 { format!("{mtime:?}") } else { format!("{atime:?} {mtime:?}") }
}

fn cstr(path: &str) -> CString {
    CString::new(path).unwrap()
}

fn check(result: i64) -> Result<i64, u16> {
    if result < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap() as u16) } else { Ok(result) }
}

fn open(path: &str, flags: i32) -> Result<i32, u16> {
    // SAFETY: a string with its end; the flags take a mode.
    check(unsafe { libc::open(cstr(path).as_ptr(), flags | libc::O_CLOEXEC, 0o644) }.into())
        .map(|fd| fd as i32)
}

/// Calls `on` with an open file.
fn with(path: &str, flags: i32, on: impl FnOnce(i32) -> Result<i64, u16>) -> Result<i64, u16> {
    let fd = open(path, flags)?;
    let result = on(fd);
    // SAFETY: the descriptor is ours.
    unsafe { libc::close(fd) };
    result
}

fn linux(call: &Call) -> Answer {
    let done = |_| String::new();
    let at = libc::AT_FDCWD;
    // SAFETY: all strings have their ends, and all buffers their lengths, for as long as the call takes.
    unsafe {
        match call {
            Call::Create(path, exclusive) => {
                let exclusive = if *exclusive { libc::O_EXCL } else { 0 };
                with(path, libc::O_CREAT | libc::O_RDWR | exclusive, |_| Ok(0)).map(done)
            }
            Call::Mkdir(path) => check(libc::mkdir(cstr(path).as_ptr(), 0o755).into()).map(done),
            Call::Rmdir(path) => check(libc::rmdir(cstr(path).as_ptr()).into()).map(done),
            Call::Unlink(path) => check(libc::unlink(cstr(path).as_ptr()).into()).map(done),
            Call::Symlink(target, path) => {
                check(libc::symlink(cstr(target).as_ptr(), cstr(path).as_ptr()).into()).map(done)
            }
            Call::Readlink(path) => {
                let mut buffer = [0u8; 4096];
                let len = libc::readlink(cstr(path).as_ptr(), buffer.as_mut_ptr().cast(), buffer.len());
                check(len as i64).map(|len| String::from_utf8(buffer[..len as usize].to_vec()).unwrap())
            }
            Call::Link(from, to) => {
                check(libc::linkat(at, cstr(from).as_ptr(), at, cstr(to).as_ptr(), 0).into()).map(done)
            }
            Call::Rename(from, to, flags) => {
                let (from, to) = (cstr(from), cstr(to));
                check(libc::syscall(libc::SYS_renameat2, at, from.as_ptr(), at, to.as_ptr(), *flags))
                    .map(done)
            }
            Call::Write(path, offset, len) => {
                let octets = content(*offset, *len);
                with(path, libc::O_WRONLY, |fd| {
                    check(libc::pwrite(fd, octets.as_ptr().cast(), octets.len(), *offset as i64) as i64)
                })
                .map(|done| done.to_string())
            }
            Call::Read(path, offset, len) => {
                let mut octets = vec![0u8; *len];
                let done = with(path, libc::O_RDONLY, |fd| {
                    check(libc::pread(fd, octets.as_mut_ptr().cast(), octets.len(), *offset as i64) as i64)
                })?;
                Ok(format!("{:?}", &octets[..done as usize]))
            }
            Call::Truncate(path, size) => {
                check(libc::truncate(cstr(path).as_ptr(), *size as i64).into()).map(done)
            }
            Call::Punch(path, offset, len) => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                with(path, libc::O_WRONLY, |fd| {
                    check(libc::fallocate(fd, mode, *offset as i64, *len as i64).into())
                })
                .map(done)
            }
            Call::Chmod(path, mode) => check(libc::chmod(cstr(path).as_ptr(), *mode).into()).map(done),
            Call::Utimens(path, atime, mtime) => {
                let times = [*atime, *mtime].map(|tv_sec| libc::timespec { tv_sec, tv_nsec: 5 });
                let path = cstr(path);
                check(libc::utimensat(at, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW).into())?;
                let stat = stat_of(&path, libc::AT_SYMLINK_NOFOLLOW)?;
                Ok(times_of(
                    stat.st_mode,
                    [stat.st_atime, stat.st_atime_nsec],
                    [stat.st_mtime, stat.st_mtime_nsec],
                ))
            }
            Call::Stat(path) => stat_of(&cstr(path), 0).map(|stat| told(&stat)),
            Call::Lstat(path) => stat_of(&cstr(path), libc::AT_SYMLINK_NOFOLLOW).map(|stat| told(&stat)),
            Call::List(path) => list(path),
            Call::Data(path, offset) => {
                with(path, libc::O_WRONLY, |fd| check(libc::lseek(fd, *offset as i64, libc::SEEK_DATA)))
                    .map(|at| at.to_string())
            }
            Call::Hole(path, offset) => {
                with(path, libc::O_WRONLY, |fd| check(libc::lseek(fd, *offset as i64, libc::SEEK_HOLE)))
                    .map(|at| at.to_string())
            }
        }
    }
}

fn stat_of(path: &CString, flags: i32) -> Result<libc::stat, u16> {
    // SAFETY: a structure of numbers, and a string with its end.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &mut stat, flags).into())?;
        Ok(stat)
    }
}

fn told(stat: &libc::stat) -> String {
    attributes(stat.st_mode, stat.st_nlink as u32, stat.st_size as u64, stat.st_blocks as u64)
}

fn list(path: &str) -> Answer {
    let failed = |error: std::io::Error| error.raw_os_error().unwrap() as u16;
    let mut names = vec![(".".to_owned(), 4), ("..".to_owned(), 4)];
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        use std::os::unix::fs::FileTypeExt;
        let kind = match () {
            () if kind.is_dir() => 4,
            () if kind.is_symlink() => 10,
            () if kind.is_char_device() => 2,
            () => 8,
        };
        names.push((String::from_utf8(entry.file_name().as_bytes().to_vec()).unwrap(), kind));
    }
    names.sort();
    Ok(format!("{names:?}"))
}

/// Runs `test` as root in a chroot of an empty folder on tmpfs: here if that is allowed, and otherwise in a user namespace.
fn in_chroot(name: &str, test: fn()) {
    // SAFETY: a number.
    if unsafe { libc::geteuid() } != 0 {
        let exe = std::env::current_exe().unwrap();
        let status =
            Command::new("unshare").arg("-Ur").arg(exe).args(["--exact", name, "--nocapture"]).status();
        assert!(status.expect("unshare (util-linux) is there").success());
        return;
    }
    let folder = Folder::new(name);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = CString::new(folder.0.as_os_str().as_bytes()).unwrap();
            // SAFETY: a string with its end; this thread alone gets another root.
            unsafe {
                assert_eq!(libc::unshare(libc::CLONE_FS), 0);
                assert_eq!(libc::chroot(path.as_ptr()), 0);
                assert_eq!(libc::chdir(c"/".as_ptr()), 0);
                libc::umask(0);
            }
            test();
        });
    });
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("includeos-vfs-{}-{}", std::process::id(), name.replace(':', "-")));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn compare(files: &Files, seed: u64, over_a_tree: bool) {
    let mut random = Random(seed);
    let punches = !over_a_tree || seed.is_multiple_of(2);
    for step in 0..STEPS {
        let call = draw(&mut random);
        // A tree's contents are never holes: neither for lseek(2), nor for the blocks after one was punched.
        let skipped = over_a_tree && matches!(call, Call::Data(..) | Call::Hole(..))
            || !punches && matches!(call, Call::Punch(..));
        if skipped {
            continue;
        }
        let (mut ours, mut linux) = (ours(files, &call), linux(&call));
        if over_a_tree && punches && matches!(call, Call::Stat(_) | Call::Lstat(_)) {
            let without_blocks =
                |answer: Answer| answer.map(|text| text.rsplit_once(' ').unwrap().0.to_owned());
            (ours, linux) = (without_blocks(ours), without_blocks(linux));
        }
        assert!(ours == linux, "seed {seed}, step {step}: {call:?}\n ours: {ours:?}\nlinux: {linux:?}");
    }
}

#[test]
fn tmpfs_answers_as_linux() {
    in_chroot("differential::tmpfs_answers_as_linux", || {
        for seed in 1..=8 {
            clear();
            compare(&Files::new(), seed, false);
        }
    });
}

#[test]
fn the_overlay_answers_as_linux() {
    in_chroot("differential::the_overlay_answers_as_linux", || {
        for seed in 101..=108 {
            clear();
            let octets = Box::leak(tree(seed, "", 0).1.into_boxed_slice());
            compare(&Files::over(Some(PackedTree::new(octets).unwrap())), seed, true);
        }
    });
}

/// Empties the chroot.
fn clear() {
    fs::set_permissions("/", std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    for entry in fs::read_dir("/").unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}

/// A tree at random, made on Linux too; returns it packed.
fn tree(seed: u64, path: &str, depth: usize) -> (Directory, Vec<u8>) {
    let mut random = Random(seed * 31 + depth as u64 + path.len() as u64 * 7);
    let time = Time { sec: 1_000_000, nsec: 0 };
    let mut directory = Directory::new(if depth == 0 { 0o1777 } else { 0o755 }, time);
    for name in ["a", "b", "c", "d", "e"] {
        let at = format!("{path}/{name}");
        let what = match random.below(4) {
            0 if depth < 3 => {
                fs::create_dir(&at).unwrap();
                fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                Packable::Directory(tree(seed, &at, depth + 1).0)
            }
            1 => {
                let octets = content(0, random.below(20_000) as usize);
                fs::write(&at, &octets).unwrap();
                fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
                Packable::File { mode: 0o640, mtime: time, content: octets }
            }
            2 => {
                let target = random.path();
                std::os::unix::fs::symlink(&target, &at).unwrap();
                Packable::Symlink { mtime: time, target: target.into_bytes() }
            }
            _ => continue,
        };
        directory.add(name.as_bytes(), what).unwrap();
    }
    let octets = if depth == 0 { pack(&directory).unwrap() } else { Vec::new() };
    (directory, octets)
}
