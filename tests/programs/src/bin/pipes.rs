//! Pipes: order, ends, atomic writes, sizes, readiness. Prints what comes of each call.

use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::thread;

fn main() -> std::io::Result<()> {
    // SAFETY: nothing else handles signals here.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let (mut reader, mut writer) = pipe()?;
    writer.write_all(b"hello")?;
    let mut octets = [0; 100];
    println!("{}", reader.read(&mut octets)?);
    let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 253) as u8).collect();
    let expected = content.clone();
    let thread = thread::spawn(move || writer.write_all(&content));
    let mut arrived = Vec::new();
    reader.read_to_end(&mut arrived)?;
    println!("{} {:?}", arrived == expected, thread.join().unwrap().is_ok());

    let (reader, mut writer) = pipe()?;
    drop(reader);
    println!("{:?}", writer.write(b"x").map_err(|error| error.raw_os_error()));

    // A write that was in part taken when the reader goes.
    let (reader, mut writer) = pipe()?;
    let writes = thread::spawn(move || writer.write(&[0; 200_000]).map_err(|error| error.raw_os_error()));
    thread::sleep(std::time::Duration::from_millis(100));
    drop(reader);
    println!("in part: {:?}", writes.join().expect("no panic"));

    let (reader, writer) = pipe()?;
    let (read_fd, write_fd) = (reader.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: descriptors that are open, and buffers with their lengths.
    unsafe {
        println!("{}", libc::fcntl(write_fd, libc::F_GETPIPE_SZ));
        println!("{}", libc::fcntl(write_fd, libc::F_SETPIPE_SZ, 5000));
        libc::fcntl(write_fd, libc::F_SETFL, libc::O_NONBLOCK);
        libc::fcntl(read_fd, libc::F_SETFL, libc::O_NONBLOCK);
        println!("{:o}", libc::fcntl(write_fd, libc::F_GETFL));
        let poll = |name: &str| {
            let entry = |fd| libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
            let mut entries = [entry(read_fd), entry(write_fd)];
            let count = libc::poll(entries.as_mut_ptr(), 2, 0);
            println!("{name}: {count} {:#x} {:#x}", entries[0].revents, entries[1].revents);
        };
        poll("empty");
        let zeroes = [0u8; 10_000];
        println!("{}", libc::write(write_fd, zeroes.as_ptr().cast(), 10_000));
        poll("full");
        println!("{}", libc::write(write_fd, zeroes.as_ptr().cast(), 10));
        let mut left = 0i32;
        libc::ioctl(read_fd, libc::FIONREAD, &mut left);
        println!("left {left}");
        drop(writer);
        let mut octets = [0u8; 10_000];
        println!("{}", libc::read(read_fd, octets.as_mut_ptr().cast(), 10_000));
        println!("{}", libc::read(read_fd, octets.as_mut_ptr().cast(), 10_000));
        println!("{}", libc::lseek(read_fd, 0, libc::SEEK_SET));
    }

    // Lines of up to PIPE_BUF octets are never mixed.
    let (mut reader, writer) = pipe()?;
    let threads: Vec<_> = (0..4u8)
        .map(|n| {
            let mut writer = writer.try_clone().unwrap();
            thread::spawn(move || (0..100).try_for_each(|_| writer.write_all(&[n; 1000])))
        })
        .collect();
    drop(writer);
    let mut arrived = Vec::new();
    reader.read_to_end(&mut arrived)?;
    let whole = arrived.chunks(1000).all(|line| line.iter().all(|octet| *octet == line[0]));
    println!(
        "{} {whole} {}",
        arrived.len(),
        threads.into_iter().all(|thread| thread.join().unwrap().is_ok())
    );
    Ok(())
}
