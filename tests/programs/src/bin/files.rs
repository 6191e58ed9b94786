//! Files by `std::fs`: prints what comes of each call. Works in a folder of its own below /tmp, and removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use programs::in_folder;

fn main() -> io::Result<()> {
    in_folder(&std::env::temp_dir(), "files", all)
}

fn all() -> io::Result<()> {
    contents()?;
    names()?;
    attributes()?;
    errors();
    large()?;
    threads()?;
    shared_offset()?;
    bad_buffers()?;
    devices()?;
    locks()?;
    proc()
}

fn contents() -> io::Result<()> {
    fs::write("text", "one\ntwo\nthree\n")?;
    println!("{:?}", fs::read_to_string("text")?);
    let lines: Result<Vec<_>, _> = BufReader::new(File::open("text")?).lines().collect();
    println!("{:?}", lines?);
    let mut file = OpenOptions::new().read(true).append(true).open("text")?;
    file.write_all(b"four\n")?;
    println!("position {}", file.stream_position()?);
    file.rewind()?;
    let mut octets = [0; 4];
    file.read_exact(&mut octets)?;
    println!("{octets:?} {}", file.seek(SeekFrom::End(-5))?);
    file.read_exact_at(&mut octets, 4)?;
    println!("{octets:?}");
    let file = OpenOptions::new().write(true).open("text")?;
    file.write_all_at(b"TWO", 4)?;
    file.set_len(9)?;
    println!("{:?}", fs::read_to_string("text")?);
    file.set_len(12)?;
    println!("{:?}", fs::read("text")?);
    println!("copied {}", fs::copy("text", "copy")?);
    println!("{}", fs::read("text")? == fs::read("copy")?);
    Ok(())
}

fn names() -> io::Result<()> {
    fs::create_dir_all("a/b/c")?;
    fs::write("a/b/file", "x")?;
    symlink("b/file", "a/link")?;
    println!("{:?} {:?}", fs::read_link("a/link")?, fs::read_to_string("a/link")?);
    fs::hard_link("a/b/file", "hard")?;
    println!("links {}", fs::metadata("hard")?.nlink());
    fs::rename("a/b", "moved")?;
    println!("{:?}", fs::read_to_string("a/link").map_err(|error| error.kind()));
    let mut names: Vec<_> = fs::read_dir(".")?
        .map(|entry| {
            entry.map(|entry| (entry.file_name(), entry.file_type().map(|kind| kind.is_dir()).unwrap()))
        })
        .collect::<Result<_, _>>()?;
    names.sort();
    println!("{names:?}");
    println!(
        "{:?}",
        fs::canonicalize("moved/../a/.")?.strip_prefix(std::env::current_dir()?).map(Path::to_owned)
    );
    fs::remove_file("hard")?;
    println!("links {}", fs::metadata("moved/file")?.nlink());
    for n in 0..200 {
        fs::write(format!("moved/c/{n}"), n.to_string())?;
    }
    println!("{}", fs::read_dir("moved/c")?.count());
    fs::remove_dir_all("moved")?;
    println!("{}", Path::new("moved").exists());
    let mut open = File::options().read(true).write(true).create_new(true).open("unlinked")?;
    fs::remove_file("unlinked")?;
    open.write_all(b"still here")?;
    open.rewind()?;
    println!("{:?} {}", io::read_to_string(&open)?, open.metadata()?.nlink());
    Ok(())
}

fn attributes() -> io::Result<()> {
    let file = File::create("attributes")?;
    fs::set_permissions("attributes", fs::Permissions::from_mode(0o640))?;
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time))?;
    let data = fs::metadata("attributes")?;
    println!("{:o} {} {}", data.mode(), data.modified()? == time, data.accessed()? == time);
    println!("{} {} {}", data.is_file(), data.len(), data.blocks());
    file.set_len(100_000)?;
    file.write_all_at(b"end", 99_000)?;
    let data = file.metadata()?;
    println!("{} {}", data.len(), data.blocks());
    let before = SystemTime::now() - Duration::from_secs(60);
    println!("{} {}", data.modified()? > before, data.created()? > before);
    let folder = fs::metadata(".")?;
    println!("{} {}", folder.is_dir(), folder.permissions().readonly());
    Ok(())
}

fn errors() {
    let kind = |result: io::Result<()>| result.map_err(|error| (error.kind(), error.raw_os_error()));
    println!("{:?}", kind(File::open("none").map(drop)));
    println!("{:?}", kind(File::open("none/file").map(drop)));
    println!("{:?}", kind(File::open("text/file").map(drop)));
    println!("{:?}", kind(File::create_new("text").map(drop)));
    println!("{:?}", kind(fs::create_dir("text")));
    println!("{:?}", kind(fs::remove_dir("text")));
    println!("{:?}", kind(fs::remove_file("a")));
    println!("{:?}", kind(fs::remove_dir("..")));
    println!("{:?}", kind(fs::read_dir("text").map(drop)));
    println!("{:?}", kind(File::create(".").map(drop)));
    println!("{:?}", kind(fs::read_link("text").map(drop)));
    println!("{:?}", kind(symlink("self", "self").and_then(|()| File::open("self").map(drop))));
    println!("{:?}", kind(File::open("x".repeat(256)).map(drop)));
    println!("{:?}", kind(File::open("x/".repeat(3000)).map(drop)));
    println!("{:?}", kind(File::open("text").and_then(|mut file| file.write_all(b"x"))));
    println!(
        "{:?}",
        kind(File::create("new").and_then(|mut file| file.read_to_end(&mut Vec::new()).map(drop)))
    );
    println!("{:?}", kind(File::open(".").and_then(|mut file| file.read_to_end(&mut Vec::new()).map(drop))));
    let denied = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open("a/link").map(drop);
    println!("{:?}", kind(denied));
}

fn large() -> io::Result<()> {
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write("large", &content)?;
    println!("{}", fs::read("large")? == content);
    println!("{}", fs::copy("large", "larger")?);
    println!("{}", fs::read("larger")? == content);
    fs::remove_file("larger")?;
    fs::remove_file("large")
}

/// All lines of all threads are there, none in another.
fn threads() -> io::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || -> io::Result<()> {
                    let mut log = OpenOptions::new().append(true).create(true).open("log")?;
                    let line = format!("{}\n", n.to_string().repeat(100));
                    for at in 0..50 {
                        log.write_all(line.as_bytes())?;
                        fs::write(format!("{n}-{at}"), "x")?;
                        fs::rename(format!("{n}-{at}"), "target")?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    let log = fs::read_to_string("log")?;
    let whole =
        log.lines().all(|line| line.len() == 100 && line.bytes().all(|octet| octet == line.as_bytes()[0]));
    println!("{} {whole} {}", log.lines().count(), Path::new("target").exists());
    Ok(())
}

/// Threads that share an offset: each octet is written once, and read once.
fn shared_offset() -> io::Result<()> {
    const RECORD: usize = 16;
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open("records")?;
    let shared = &file;
    let record = |n: usize, at: usize| -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[0] = n as u8;
        record[8..].copy_from_slice(&at.to_le_bytes());
        record
    };
    std::thread::scope(|scope| {
        for n in 0..4 {
            let mut file = shared;
            scope.spawn(move || {
                (0..500).for_each(|at| file.write_all(&record(n, at)).expect("there is room"))
            });
        }
    });
    file.rewind()?;
    let shared = &file;
    let mut read: Vec<[u8; RECORD]> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut file = shared;
                scope.spawn(move || {
                    let (mut records, mut record) = (Vec::new(), [0; RECORD]);
                    while file.read(&mut record).expect("it is open") == RECORD {
                        records.push(record);
                    }
                    records
                })
            })
            .collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect()
    });
    read.sort_unstable();
    read.dedup();
    println!("records: {} of {}", read.len(), file.metadata()?.len() / RECORD as u64);
    Ok(())
}

/// Buffers that end where nothing is mapped: what is before is moved, and nothing else is seen.
fn bad_buffers() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const PAGE: usize = 4096;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open("partial")?;
    let fd = file.as_raw_fd();
    // SAFETY: two fresh pages, of which the second goes again; the calls stay in the first or are refused.
    unsafe {
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let pages =
            libc::mmap(std::ptr::null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, anonymous, -1, 0);
        assert_ne!(pages, libc::MAP_FAILED);
        assert_eq!(libc::munmap(pages.byte_add(PAGE), PAGE), 0);
        pages.cast::<u8>().write_bytes(7, PAGE);
        for before in [100, 61, 1, 0] {
            let at = pages.byte_add(PAGE - before);
            println!("write: {}", libc::write(fd, at, 500));
            println!("pread: {}", libc::pread(fd, at, 150, 0));
        }
        println!("beyond: {}", libc::pwrite(fd, pages, 1, 300));
    }
    let content = fs::read("partial")?;
    println!(
        "{} octets, {} of them written",
        content.len(),
        content.iter().filter(|octet| **octet != 0).count()
    );
    Ok(())
}

fn devices() -> io::Result<()> {
    let mut octets = [1; 10_000];
    println!("{}", File::open("/dev/null")?.read(&mut octets)?);
    File::open("/dev/zero")?.read_exact(&mut octets)?;
    println!("{}", octets.iter().all(|octet| *octet == 0));
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    println!("{}", octets.iter().any(|octet| *octet != 0));
    OpenOptions::new().write(true).open("/dev/null")?.write_all(&octets)?;
    let full = OpenOptions::new().write(true).open("/dev/full")?.write_all(b"x");
    println!("{:?}", full.map_err(|error| error.kind()));
    println!("{:o}", fs::metadata("/dev/null")?.mode());
    Ok(())
}

fn locks() -> io::Result<()> {
    let (first, second) = (File::create("lock")?, File::open("lock")?);
    first.lock_shared()?;
    second.lock_shared()?;
    println!("{:?}", first.try_lock().is_err());
    second.unlock()?;
    first.lock()?;
    println!("{:?}", second.try_lock_shared().is_err());
    let waiter = std::thread::spawn(move || second.lock());
    std::thread::sleep(Duration::from_millis(20));
    drop(first);
    println!("{:?}", waiter.join().unwrap().is_ok());
    Ok(())
}

fn proc() -> io::Result<()> {
    let file = File::open("text")?;
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    println!("{}", fs::read_link(&link)? == std::env::current_dir()?.join("text"));
    println!("{}", fs::read(&link)? == fs::read("text")?);
    println!("{}", std::env::current_exe().is_ok());
    println!("{}", fs::read("/proc/self/cmdline")?.ends_with(b"\0"));
    // A long chain of descriptors, each of the link to the one before.
    let path_of = |fd: i32| std::ffi::CString::new(format!("/proc/self/fd/{fd}")).expect("no zero octet");
    let mut last = file.as_raw_fd();
    for _ in 0..500 {
        // SAFETY: a path that ends with zero; each descriptor of the chain is closed once.
        unsafe {
            let next = libc::open(path_of(last).as_ptr(), libc::O_PATH | libc::O_NOFOLLOW);
            assert!(next >= 0, "{}", io::Error::last_os_error());
            if last != file.as_raw_fd() {
                libc::close(last);
            }
            last = next;
        }
    }
    // SAFETY: as above.
    println!("{}", unsafe { libc::close(last) });
    println!("{:?}", fs::read_to_string("/etc/none").map_err(|error| error.kind() == ErrorKind::NotFound));
    Ok(())
}
