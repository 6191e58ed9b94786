//! sendfile(2) and copy_file_range(2): from files to files, pipes and sockets.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use programs::{Shown, in_folder, number, syscall};

fn main() -> io::Result<()> {
    in_folder(Path::new("/dev/shm"), "transfers", all)
}

fn all() -> io::Result<()> {
    // SAFETY: whoever reads a pipe that is closed is told so, and nothing else happens.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    to_a_pipe()?;
    to_a_socket()?;
    much()?;
    between_files()?;
    from_elsewhere()
}

fn open(name: &str) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(name)
}

fn sendfile(to: &impl AsRawFd, from: &impl AsRawFd, offset: Option<&mut i64>, len: usize) -> Shown {
    let offset = offset.map_or(0, |offset| std::ptr::from_mut(offset) as u64);
    let arguments = [to.as_raw_fd() as u64, from.as_raw_fd() as u64, offset, len as u64, 0, 0];
    // SAFETY: `offset` is ours.
    Shown(unsafe { syscall(number::SENDFILE, arguments) })
}

fn text(from: &mut impl Read, len: usize) -> io::Result<String> {
    let mut octets = vec![0; len];
    from.read_exact(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn position(file: &File) -> io::Result<u64> {
    let mut file = file;
    io::Seek::stream_position(&mut file)
}

fn to_a_pipe() -> io::Result<()> {
    fs::write("text", "0123456789")?;
    let file = open("text")?;
    let (mut reader, writer) = io::pipe()?;
    println!("{} {:?} {}", sendfile(&writer, &file, None, 4), text(&mut reader, 4)?, position(&file)?);
    println!("{} {:?}", sendfile(&writer, &file, None, 100), text(&mut reader, 6)?);
    println!("at the end: {}", sendfile(&writer, &file, None, 100));
    let mut offset = 3;
    println!("{} {:?}", sendfile(&writer, &file, Some(&mut offset), 2), text(&mut reader, 2)?);
    println!("offset {offset}, position {}", position(&file)?);
    let mut offset = -1;
    println!("before the start: {}", sendfile(&writer, &file, Some(&mut offset), 2));
    println!("to the wrong end: {}", sendfile(&reader, &file, Some(&mut 0), 2));
    println!("nothing: {}", sendfile(&writer, &file, Some(&mut 0), 0));
    drop(reader);
    println!("nobody reads: {}", sendfile(&writer, &file, Some(&mut 0), 2));
    Ok(())
}

fn to_a_socket() -> io::Result<()> {
    let file = open("text")?;
    let (one, mut other) = UnixStream::pair()?;
    println!("{} {:?}", sendfile(&one, &file, None, 10), text(&mut other, 10)?);
    drop(other);
    println!("nobody reads: {}", sendfile(&one, &file, Some(&mut 0), 2));
    Ok(())
}

/// More than a pipe holds, while another thread reads, and without one.
fn much() -> io::Result<()> {
    let octets: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write("much", &octets)?;
    let file = open("much")?;
    let (mut reader, writer) = io::pipe()?;
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    let mut done = 0;
    while done < octets.len() {
        let sent = sendfile(&writer, &file, None, octets.len()).0;
        assert!(sent > 0, "{}", Shown(sent));
        done += sent as usize;
    }
    drop(writer);
    println!("{done} octets, as they were: {}", thread.join().expect("it reads")? == octets);
    let (_reader, writer) = io::pipe()?;
    // SAFETY: a flag of a pipe of ours.
    unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let mut offset = 0;
    println!("as much as there is room for: {}", sendfile(&writer, &file, Some(&mut offset), octets.len()));
    println!("offset {offset}, then: {}", sendfile(&writer, &file, Some(&mut offset), 1));
    Ok(())
}

fn between_files() -> io::Result<()> {
    let (from, to) = (open("text")?, open("to")?);
    println!("{} {} {}", sendfile(&to, &from, None, 8), position(&from)?, position(&to)?);
    println!("{:?}", fs::read_to_string("to")?);
    let appends = File::options().append(true).open("to")?;
    println!("to the end: {}", sendfile(&appends, &from, Some(&mut 0), 8));
    let copy = |from: &File, mut at: i64, to: &File, mut to_at: i64, len: u64| {
        let arguments = [
            from.as_raw_fd() as u64,
            (&raw mut at) as u64,
            to.as_raw_fd() as u64,
            (&raw mut to_at) as u64,
            len,
            0,
        ];
        // SAFETY: the offsets are ours.
        let done = Shown(unsafe { syscall(number::COPY_FILE_RANGE, arguments) });
        // SAFETY: written by the call.
        unsafe {
            println!("{done} {} {}", (&raw const at).read_volatile(), (&raw const to_at).read_volatile())
        };
    };
    copy(&from, 2, &to, 20, 5);
    copy(&from, 8, &to, 0, 5);
    copy(&from, 10, &to, 0, 5);
    copy(&from, 0, &from, 5, 5);
    copy(&from, 0, &from, 3, 5);
    copy(&appends, 0, &to, 0, 1);
    copy(&from, -1, &to, 0, 1);
    println!("{:?}", fs::read("to")?);
    Ok(())
}

fn from_elsewhere() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    println!("from a pipe: {}", sendfile(&open("to")?, &reader, None, 1));
    println!("from a folder: {}", sendfile(&writer, &File::open(".")?, None, 1));
    println!(
        "from what is not read: {}",
        sendfile(&writer, &File::options().write(true).open("to")?, None, 1)
    );
    let mut reader = reader;
    let version = File::open("/proc/sys/kernel/ostype")?;
    println!("from /proc: {} {:?}", sendfile(&writer, &version, None, 100), text(&mut reader, 6)?);
    Ok(())
}
