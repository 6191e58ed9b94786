//! Descriptor numbers: the lowest one is given out, and what happens when there are no more.

use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

fn main() -> std::io::Result<()> {
    // Whoever started this as a Linux process may have left some open.
    for fd in 3..2000 {
        // SAFETY: nothing in this program has opened any of them.
        unsafe { libc::close(fd) };
    }
    lowest_first();
    chosen();
    none_left()
}

/// A new descriptor, or the error.
fn open() -> Result<i32, Option<i32>> {
    // SAFETY: no pointer is passed.
    checked(unsafe { libc::eventfd(0, 0) })
}

fn close(fd: i32) {
    // SAFETY: opened by this program, and closed once.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

fn checked(result: i32) -> Result<i32, Option<i32>> {
    if result >= 0 { Ok(result) } else { Err(Error::last_os_error().raw_os_error()) }
}

fn lowest_first() {
    let first = open().expect("a descriptor");
    let last = (1..900).map(|_| open().expect("a descriptor")).max();
    println!("900 in a row: {}", last == Some(first + 899));
    for nth in [899, 500, 64, 63, 0] {
        close(first + nth);
    }
    let again: Vec<_> = (0..6).map(|_| open().map(|fd| fd - first)).collect();
    println!("given out again: {again:?}");
    (0..=900).for_each(|nth| close(first + nth));
    println!("closed: {:?}", open().map(|fd| fd - first));
    close(first);
}

fn chosen() {
    let fd = open().expect("a descriptor");
    // SAFETY: no pointer is passed.
    unsafe {
        println!("from 700 on: {:?}", checked(libc::fcntl(fd, libc::F_DUPFD, 700)));
        println!("from 700 on: {:?}", checked(libc::fcntl(fd, libc::F_DUPFD, 700)));
        println!("dup2: {:?}", checked(libc::dup2(fd, 702)));
        println!("dup2 again: {:?}", checked(libc::dup2(fd, 702)));
        println!("from 700 on: {:?}", checked(libc::fcntl(fd, libc::F_DUPFD, 700)));
        println!("dup2 to nowhere: {:?}", checked(libc::dup2(fd, 1 << 30)));
        println!("dup3 to itself: {:?}", checked(libc::dup3(fd, fd, 0)));
    }
    (700..704).chain([fd]).for_each(close);
}

/// A connection for which there is no number waits until there is one.
fn none_left() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.write_all(b"still here")?;
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the structure is alive for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let taken: Vec<_> = std::iter::from_fn(|| open().ok()).collect();
    println!("the last number: {:?}, then {:?}", taken.last(), open());
    for _ in 0..3 {
        println!("accept: {:?}", listener.accept().map(drop).map_err(|error| error.raw_os_error()));
    }
    close(taken[0]);
    let (mut stream, _) = listener.accept()?;
    println!("accepted: {}", stream.as_raw_fd() == taken[0]);
    drop(client);
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    println!("what was sent: {text}");
    Ok(())
}
