//! Sockets in pairs: streams, datagrams and messages in order, blocking and polled.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    streams()?;
    datagrams()?;
    messages();
    polled()?;
    peeked()?;
    reset()?;
    misuse();
    Ok(())
}

/// Two threads that look at the next message, and one that takes them: always the first.
fn peeked() -> std::io::Result<()> {
    const MESSAGES: u32 = 2000;
    let (left, right) = UnixDatagram::pair()?;
    let peek = |octets: &mut [u8; 4]| {
        // SAFETY: the buffer and its length.
        unsafe { libc::recv(right.as_raw_fd(), octets.as_mut_ptr().cast(), 4, libc::MSG_PEEK) }
    };
    let in_order = thread::scope(|scope| {
        scope.spawn(|| (0..=MESSAGES).for_each(|n| drop(left.send(&n.to_le_bytes()))));
        let lookers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut octets) = (0, [0; 4]);
                    while last < MESSAGES {
                        assert_eq!(peek(&mut octets), 4);
                        let seen = u32::from_le_bytes(octets);
                        if seen < last {
                            return false;
                        }
                        last = seen;
                    }
                    true
                })
            })
            .collect();
        let mut octets = [0; 4];
        let taken = (0..MESSAGES).all(|n| right.recv(&mut octets).is_ok() && octets == n.to_le_bytes());
        // The last one stays for those who look.
        lookers.into_iter().fold(taken, |all, looker| looker.join().expect("no panic") && all)
    });
    println!("peeked in order: {in_order}");
    Ok(())
}

/// A stream that is closed with something unread.
fn reset() -> std::io::Result<()> {
    let (mut left, right) = UnixStream::pair()?;
    left.write_all(b"unread")?;
    drop(right);
    let mut read = || left.read(&mut [0; 8]).map_err(|error| error.raw_os_error());
    println!("unread: {:?}, then {:?}", read(), read());
    Ok(())
}

fn streams() -> std::io::Result<()> {
    let (mut left, mut right) = UnixStream::pair()?;
    println!("names: {:?} {:?}", left.local_addr()?.is_unnamed(), left.peer_addr()?.is_unnamed());
    left.write_all(b"hello")?;
    let mut octets = [0; 3];
    right.read_exact(&mut octets)?;
    println!("{:?}", String::from_utf8_lossy(&octets));
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let octets: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        left.write_all(&octets)
    });
    let mut all = Vec::new();
    right.read_to_end(&mut all)?;
    sender.join().expect("no panic")?;
    let right_ones = all[2..].iter().enumerate().all(|(n, octet)| *octet == (n % 251) as u8);
    println!("{} in order: {right_ones}", all.len());
    println!("to nobody: {:?}", right.write(b"x").map_err(|error| error.kind()));

    let (left, mut right) = UnixStream::pair()?;
    left.shutdown(std::net::Shutdown::Write)?;
    println!("after shutdown: {}", right.read(&mut [0; 8])?);
    println!("shut: {:?}", (&left).write(b"x").map_err(|error| error.kind()));
    right.set_read_timeout(Some(Duration::from_millis(20)))?;
    drop(left);

    let (left, mut right) = UnixStream::pair()?;
    right.set_read_timeout(Some(Duration::from_millis(20)))?;
    println!("nothing in time: {:?}", right.read(&mut [0; 8]).map_err(|error| error.kind()));
    left.set_nonblocking(true)?;
    let full = loop {
        match (&left).write(&[0; 1000]) {
            Ok(written) => assert!(written > 0),
            Err(error) => break error.kind(),
        }
    };
    println!("full: {full:?}");
    Ok(())
}

fn datagrams() -> std::io::Result<()> {
    let (left, right) = UnixDatagram::pair()?;
    for word in ["one", "", "three"] {
        left.send(word.as_bytes())?;
    }
    let mut octets = [0; 4];
    for _ in 0..3 {
        println!("{} octets", right.recv(&mut octets)?);
    }
    println!("too long: {:?}", left.send(&vec![0; 1 << 20]).map_err(|error| error.raw_os_error()));
    right.set_nonblocking(true)?;
    println!("no more: {:?}", right.recv(&mut octets).map_err(|error| error.kind()));
    drop(right);
    println!("to nobody: {:?}", left.send(b"x").map_err(|error| error.kind()));
    Ok(())
}

fn pair(kind: i32) -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors, which are owned from here on.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

/// Messages in order, with an end.
fn messages() {
    let (left, right) = pair(libc::SOCK_SEQPACKET);
    let send = |octets: &[u8]| {
        // SAFETY: the octets are alive for the call.
        unsafe { libc::send(left.as_raw_fd(), octets.as_ptr().cast(), octets.len(), 0) }
    };
    println!("sent {} {}", send(b"first"), send(b"second message"));
    let receive = |flags| {
        let mut octets = [0u8; 8];
        // SAFETY: the buffer is alive for the call.
        unsafe { libc::recv(right.as_raw_fd(), octets.as_mut_ptr().cast(), octets.len(), flags) }
    };
    println!("peeked {}, received {}", receive(libc::MSG_PEEK), receive(0));
    println!("whole length {}", receive(libc::MSG_TRUNC));
    drop(left);
    println!("the end: {}", receive(0));
}

fn polled() -> std::io::Result<()> {
    let (left, mut right) = UnixStream::pair()?;
    let events = |fd: &UnixStream| {
        let mut entry = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: one entry, alive for the call.
        unsafe { libc::poll(&raw mut entry, 1, 0) };
        entry.revents
    };
    println!("at first {:#x}", events(&right));
    (&left).write_all(b"x")?;
    println!("with an octet {:#x}", events(&right));
    right.read_exact(&mut [0; 1])?;
    left.shutdown(std::net::Shutdown::Write)?;
    println!("half closed {:#x}", events(&right));
    drop(left);
    println!("closed {:#x}", events(&right));
    Ok(())
}

fn misuse() {
    let mut fds = [0; 2];
    for (domain, kind) in [(libc::AF_UNIX, 99), (libc::AF_INET, libc::SOCK_STREAM), (77, libc::SOCK_STREAM)] {
        // SAFETY: there is room for two descriptors.
        let result = unsafe { libc::socketpair(domain, kind, 0, fds.as_mut_ptr()) };
        println!("{result} {:?}", std::io::Error::last_os_error().raw_os_error());
    }
    // SAFETY: the kernel finds out that nothing may be written there.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, 8 as *mut i32) };
    println!("{result} {:?}", std::io::Error::last_os_error().raw_os_error());
}
