//! /proc/self: what is told of memory, threads and environment is true.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Barrier;

use programs::{Shown, number, syscall};

const PAGE: u64 = 4096;

fn main() -> io::Result<()> {
    maps()?;
    mapped_file()?;
    threads()?;
    stat()?;
    environment()
}

/// A line of /proc/self/maps.
struct Line {
    start: u64,
    end: u64,
    rights: String,
    offset: u64,
    ino: u64,
    name: String,
}

fn lines() -> io::Result<Vec<Line>> {
    let parse = |line: &str| {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (rights, offset) = (fields.next()?.to_owned(), hex(fields.next()?)?);
        let (major, minor) = fields.next()?.split_once(':')?;
        let _ = (hex(major)?, hex(minor)?);
        let ino = fields.next()?.parse().ok()?;
        let name = fields.collect::<Vec<_>>().join(" ");
        if !name.is_empty() && line.find(&name) != Some(73) {
            return None;
        }
        Some(Line { start: hex(start)?, end: hex(end)?, rights, offset, ino, name })
    };
    let text = fs::read_to_string("/proc/self/maps")?;
    text.lines()
        .map(|line| parse(line).ok_or_else(|| io::Error::other(format!("not a line: {line}"))))
        .collect()
}

fn at(address: u64) -> io::Result<Option<Line>> {
    Ok(lines()?.into_iter().find(|line| (line.start..line.end).contains(&address)))
}

fn rights(address: u64) -> io::Result<String> {
    Ok(at(address)?.map_or_else(|| "nothing".to_owned(), |line| line.rights))
}

static CONSTANT: [u8; 8] = *b"constant";
static mut VARIABLE: [u8; 8] = [1; 8];

fn maps() -> io::Result<()> {
    let all = lines()?;
    println!("in order: {}", all.windows(2).all(|two| two[0].end <= two[1].start));
    println!(
        "whole pages: {}",
        all.iter().all(|line| line.start % PAGE == 0 && line.end % PAGE == 0 && line.start < line.end)
    );
    println!("constant {}", rights((&raw const CONSTANT) as u64)?);
    println!("variable {}", rights((&raw const VARIABLE) as u64)?);
    println!("code {}", rights(maps as *const () as u64)?);
    let local = 5u8;
    let stack = at((&raw const local) as u64)?.expect("the stack is mapped");
    println!("stack {} {}", stack.rights, stack.name);
    let exe = fs::read_link("/proc/self/exe")?;
    let image = at(maps as *const () as u64)?.expect("code is mapped");
    println!("the image has its name: {}", exe.to_str() == Some(&image.name));
    // SAFETY: asks for the heap's end, and moves it.
    let heap = unsafe { syscall(number::BRK, [0; 6]) } as u64;
    // SAFETY: as above.
    unsafe { syscall(number::BRK, [heap + 4 * PAGE, 0, 0, 0, 0, 0]) };
    println!("heap {:?}", at(heap + 2 * PAGE)?.map(|line| (line.rights, line.name)));

    // SAFETY: fresh memory that only the calls below see.
    let fresh = unsafe { syscall(number::MMAP, [0, 8 * PAGE, 3, 0x22, u64::MAX, 0]) } as u64;
    let call = |number, arguments| {
        // SAFETY: as above.
        Shown(unsafe { syscall(number, arguments) })
    };
    println!("fresh {}", rights(fresh)?);
    println!("a part closed: {}", call(number::MPROTECT, [fresh + 2 * PAGE, PAGE, 0, 0, 0, 0]));
    println!("a part gone: {}", call(number::MUNMAP, [fresh + 5 * PAGE, PAGE, 0, 0, 0, 0]));
    for page in 1..7 {
        println!("page {page} {}", rights(fresh + page * PAGE)?);
    }
    println!("gone: {} {}", call(number::MUNMAP, [fresh, 8 * PAGE, 0, 0, 0, 0]), rights(fresh + PAGE)?);
    Ok(())
}

fn mapped_file() -> io::Result<()> {
    let path = format!("/dev/shm/includeos-proc-{} with blanks", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    file.set_len(4 * PAGE)?;
    let map = |protection, flags, offset| {
        // SAFETY: a new mapping.
        unsafe {
            syscall(number::MMAP, [0, 2 * PAGE, protection, flags, file.as_raw_fd() as u64, offset]) as u64
        }
    };
    let (shared, private) = (map(3, 1, PAGE), map(1, 2, 0));
    let ino = std::os::unix::fs::MetadataExt::ino(&file.metadata()?);
    let shown = |address: u64, path: &str| -> io::Result<()> {
        let line = at(address)?.expect("it is mapped");
        println!(
            "{} {} its number: {}, its path: {}",
            line.rights,
            line.offset,
            line.ino == ino,
            line.name == path
        );
        Ok(())
    };
    shown(shared, &path)?;
    shown(private, &path)?;
    drop(file);
    fs::remove_file(&path)?;
    shown(shared, &format!("{path} (deleted)"))
}

fn comm(of: &str) -> String {
    fs::read_to_string(format!("/proc/self/{of}/comm")).unwrap_or_else(|error| error.to_string())
}

fn threads() -> io::Result<()> {
    let tids = || -> io::Result<Vec<u64>> {
        let mut tids = fs::read_dir("/proc/self/task")?
            .map(|entry| {
                Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok()).expect("a number"))
            })
            .collect::<io::Result<Vec<u64>>>()?;
        tids.sort_unstable();
        Ok(tids)
    };
    println!("threads: {}", tids()?.len());
    println!("the first one is the process: {}", tids()? == [u64::from(std::process::id())]);
    let (ready, done) = (Barrier::new(3), Barrier::new(3));
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let (ready, done) = (&ready, &done);
            let run = move || {
                ready.wait();
                let link = fs::read_link("/proc/thread-self").expect("a link");
                let tid = link.file_name().and_then(|tid| tid.to_str()).expect("a number").to_owned();
                // SAFETY: takes nothing.
                assert_eq!(tid.parse(), Ok(unsafe { syscall(number::GETTID, [0; 6]) }));
                assert_eq!(fs::read_to_string("/proc/thread-self/comm").expect("a name").trim(), name);
                done.wait();
            };
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).expect("a thread");
        }
        ready.wait();
        let tids = tids().expect("a folder");
        let mut names: Vec<_> = tids[1..].iter().map(|tid| comm(&format!("task/{tid}"))).collect();
        names.sort();
        println!("threads: {} {names:?}", tids.len());
        let status = fs::read_to_string(format!("/proc/self/task/{}/status", tids[1])).expect("a text");
        let line = |key: &str| status.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        println!("{:?} {}", line("Threads:"), line("Pid:") == Some(format!("Pid:\t{}", tids[1])));
        done.wait();
    });
    println!(
        "no such thread: {:?}",
        fs::metadata("/proc/self/task/4000000").map_err(|error| error.kind()).map(drop)
    );
    let mut file =
        File::options().write(true).open(format!("/proc/self/task/{}/comm", std::process::id()))?;
    file.write_all(b"another name that is long")?;
    println!("{:?}", fs::read_to_string("/proc/self/comm")?);
    Ok(())
}

fn stat() -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (front, behind) = text.rsplit_once(')').expect("a name");
    println!("{}", front == format!("{} (another name th", std::process::id()));
    let fields: Vec<&str> = behind.split_whitespace().collect();
    println!("{} fields, {}", fields.len(), fields[0]);
    Ok(())
}

fn environment() -> io::Result<()> {
    let octets = fs::read("/proc/self/environ")?;
    let variables: Vec<_> =
        octets.split_inclusive(|octet| *octet == 0).map(String::from_utf8_lossy).collect();
    println!("{variables:?}");
    let name = CString::new(std::env::args().next().unwrap_or_default())?;
    println!("{}", fs::read("/proc/self/cmdline")?.starts_with(name.as_bytes_with_nul()));
    Ok(())
}
