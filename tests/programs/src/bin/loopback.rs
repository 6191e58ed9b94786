//! Sockets inside one machine: streams and datagrams over 127.0.0.1, blocking, with timeouts, and polled.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    echo()?;
    bulk()?;
    many()?;
    closing()?;
    shared()?;
    nested();
    refused();
    again()?;
    disconnected()?;
    outcome()?;
    unlistened()?;
    bad_address()?;
    tiny_writes()?;
    late_reset()?;
    together()?;
    backlog()?;
    over()?;
    nothing()?;
    misuse()?;
    datagrams()?;
    names();
    Ok(())
}

/// The end of a connection is seen by all threads that wait for it.
fn shared() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let stream = TcpStream::connect(address)?;
    let (peer, _) = listener.accept()?;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut stream = stream.try_clone()?;
        readers.push(thread::spawn(move || stream.read(&mut [0; 8])));
    }
    thread::sleep(Duration::from_millis(100));
    drop(peer);
    for reader in readers {
        println!("one reader at the end: {}", reader.join().expect("a reader does not panic")?);
    }
    Ok(())
}

/// Epoll instances inside each other, put together from the outside in: not more than five.
fn nested() {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: no pointer is passed; the descriptors are this function's alone.
    let instances: Vec<i32> = (0..8).map(|_| unsafe { libc::epoll_create1(0) }).collect();
    let added = instances
        .windows(2)
        // SAFETY: the event is alive for the call.
        .take_while(|two| unsafe { libc::epoll_ctl(two[0], libc::EPOLL_CTL_ADD, two[1], &mut event) } == 0)
        .count();
    println!("epoll in epoll: {added}, then {:?}", std::io::Error::last_os_error().raw_os_error());
    for instance in instances {
        // SAFETY: opened above, closed once.
        unsafe { libc::close(instance) };
    }
}

/// What one call sends stays together, and so does what one call receives, whoever else uses the stream.
fn together() -> std::io::Result<()> {
    const BLOCK: usize = 3 << 10;
    const BLOCKS: usize = 3;
    let (listener, address) = listen()?;
    for _ in 0..20 {
        let stream = TcpStream::connect(address)?;
        let (peer, _) = listener.accept()?;
        thread::scope(|scope| {
            for letter in *b"abcd" {
                let mut stream = &stream;
                scope.spawn(move || {
                    (0..BLOCKS).for_each(|_| stream.write_all(&[letter; BLOCK]).expect("sent"))
                });
            }
        });
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        (&peer).read_to_end(&mut received)?;
        let whole =
            received.chunks(BLOCK).filter(|block| block.iter().all(|octet| *octet == block[0])).count();
        assert_eq!((received.len(), whole), (4 * BLOCKS * BLOCK, 4 * BLOCKS), "octets, and whole blocks");
    }
    println!("together: 20 times");
    Ok(())
}

/// How many connections wait to be accepted.
fn backlog() -> std::io::Result<()> {
    for backlog in [0, 2] {
        // SAFETY: no pointer is passed; the descriptor is new.
        let listener = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        // SAFETY: no pointer is passed.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), backlog) }, 0);
        let listener = TcpListener::from(listener);
        let to = sockaddr(SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr()?.port())));
        let mut connecting = Vec::new();
        for _ in 0..6 {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            // SAFETY: as above.
            let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, kind, 0)) };
            // SAFETY: the address is alive for the call.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const to.0).cast(), to.1) };
            connecting.push(socket);
            // One after the other: those in the midst of a handshake do not count yet.
            thread::sleep(Duration::from_millis(30));
        }
        let connected = |socket: &&OwnedFd| {
            let mut pollfd = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
            // SAFETY: one element, alive for the call.
            unsafe { libc::poll(&mut pollfd, 1, 0) == 1 }
        };
        println!("listen({backlog}): {} of 6", connecting.iter().filter(connected).count());
    }
    Ok(())
}

/// A connection that both sides have ended has no peer.
fn over() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let stream = TcpStream::connect(address)?;
    let (peer, _) = listener.accept()?;
    for (own, mut other) in [(&stream, &peer), (&peer, &stream)] {
        own.shutdown(Shutdown::Write)?;
        other.read_to_end(&mut Vec::new())?;
    }
    thread::sleep(Duration::from_millis(50));
    for own in [&stream, &peer] {
        let errno = |result: std::io::Result<()>| result.map_err(|error| error.raw_os_error());
        println!("over: {:?} {:?}", errno(own.peer_addr().map(drop)), errno(own.shutdown(Shutdown::Both)));
    }
    Ok(())
}

/// Receiving nothing: recv(2) says when there is something, read(2) does not wait.
fn nothing() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let stream = TcpStream::connect(address)?;
    let (mut peer, _) = listener.accept()?;
    let receive = || {
        // SAFETY: no octets are asked for.
        outcome_of(
            unsafe { libc::recv(stream.as_raw_fd(), [0u8].as_mut_ptr().cast(), 0, libc::MSG_DONTWAIT) }
                as i32,
        )
    };
    // SAFETY: as above.
    let read = unsafe { libc::read(stream.as_raw_fd(), [0u8].as_mut_ptr().cast(), 0) };
    println!("nothing of nothing: {}, {read}", receive());
    peer.write_all(b"x")?;
    stream.peek(&mut [0])?;
    println!("nothing of something: {}", receive());
    Ok(())
}

/// A `struct sockaddr_in` and its length.
fn sockaddr(address: SocketAddr) -> (libc::sockaddr_in, libc::socklen_t) {
    let SocketAddr::V4(address) = address else { panic!("{address}: not IPv4") };
    let octets = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    (octets, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

/// What a call returned: 0, or the error.
fn outcome_of(result: libc::c_int) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

fn connect(socket: &impl AsRawFd, to: SocketAddr) -> i32 {
    let (address, len) = sockaddr(to);
    // SAFETY: the address is alive for the call, and as long as it says.
    outcome_of(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })
}

fn stream_socket() -> OwnedFd {
    // SAFETY: no pointer is passed; the descriptor is owned from here on.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) }
}

/// A port where nobody listens.
fn closed_port() -> std::io::Result<SocketAddr> {
    let (listener, address) = listen()?;
    drop(listener);
    Ok(address)
}

/// Who was refused may try again, from the same address.
fn again() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let socket = stream_socket();
    let (any, len) = sockaddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    // SAFETY: the address is alive for the call, and as long as it says.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const any).cast(), len) };
    println!("bound: {}, refused: {}", outcome_of(bound), connect(&socket, closed_port()?));
    println!("then accepted: {}, twice: {}", connect(&socket, address), connect(&socket, address));
    let (peer, from) = listener.accept()?;
    let stream = TcpStream::from(socket);
    println!("from where it was bound: {}", from == stream.local_addr()?);
    drop(peer);
    // With the connection gone, its port is free for who asks so often: bind(2) with SO_REUSEADDR is what std does.
    drop(stream);
    for _ in 0..100 {
        let (listener, address) = listen()?;
        drop(listener);
        TcpListener::bind(address)?;
    }
    Ok(())
}

/// connect(2) with AF_UNSPEC ends a connection; the socket can be used again.
fn disconnected() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let socket = stream_socket();
    println!("connected: {}", connect(&socket, address));
    let (mut peer, _) = listener.accept()?;
    let unspecified = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    // SAFETY: the address is alive for the call, and as long as it says.
    let gone = unsafe { libc::connect(socket.as_raw_fd(), &raw const unspecified, 16) };
    println!("disconnected: {}", outcome_of(gone));
    println!("the peer: {:?}", peer.read(&mut [0; 8]).map_err(|error| error.kind()));
    println!("connected anew: {}", connect(&socket, address));
    let (mut peer, _) = listener.accept()?;
    TcpStream::from(socket).write_all(b"hello")?;
    let mut heard = String::new();
    peer.read_to_string(&mut heard)?;
    println!("the new peer heard: {heard}");
    Ok(())
}

/// A connection in the background: connect(2) tells once how it went.
fn outcome() -> std::io::Result<()> {
    let (_listener, address) = listen()?;
    for (name, to) in [("listening", address), ("closed", closed_port()?)] {
        let stream = TcpStream::from(stream_socket());
        stream.set_nonblocking(true)?;
        let first = connect(&stream, to);
        let mut waits =
            libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT | libc::POLLIN, revents: 0 };
        // SAFETY: one entry, alive for the call.
        unsafe { libc::poll(&raw mut waits, 1, 5000) };
        println!("{name}: {first}, events {:#x}, then {}", waits.revents, connect(&stream, to));
        if name == "listening" {
            println!("{name}: once more {}", connect(&stream, to));
        }
    }
    Ok(())
}

/// shutdown(2) of a listener wakes who waits for connections; it can listen again.
fn unlistened() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let waiting = listener.try_clone()?;
    let waiter = thread::spawn(move || waiting.accept().map(drop).map_err(|error| error.raw_os_error()));
    thread::sleep(Duration::from_millis(100));
    // SAFETY: no pointer is passed.
    println!("shut down: {}", outcome_of(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) }));
    println!("who waited: {:?}", waiter.join().expect("it does not panic"));
    println!("meanwhile: {:?}", TcpStream::connect(address).map(drop).map_err(|error| error.kind()));
    // SAFETY: no pointer is passed.
    println!("listening again: {}", outcome_of(unsafe { libc::listen(listener.as_raw_fd(), 8) }));
    // Perhaps at another port: this one was not asked for by number.
    TcpStream::connect(listener.local_addr()?)?;
    listener.accept()?;
    Ok(())
}

/// What cannot be delivered is not lost.
fn bad_address() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let mut stream = TcpStream::connect(address)?;
    let (mut peer, _) = listener.accept()?;
    peer.write_all(b"kept")?;
    // SAFETY: the kernel finds out that nothing may be written there.
    let result = unsafe { libc::recv(stream.as_raw_fd(), 8 as *mut libc::c_void, 4, 0) };
    println!("to nowhere: {}", outcome_of(result as i32));
    let mut octets = [0; 4];
    stream.read_exact(&mut octets)?;
    println!("later: {}", String::from_utf8_lossy(&octets));
    Ok(())
}

/// Writes of one octet to a peer that does not read: they end with EAGAIN, not with the memory, and nothing is lost.
fn tiny_writes() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let mut stream = TcpStream::connect(address)?;
    let (mut peer, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut written = 0u64;
    let refused = loop {
        match stream.write(&[written as u8]) {
            Ok(octets) => written += octets as u64,
            Err(error) => break error,
        }
        if written > 40_000_000 {
            break ErrorKind::OutOfMemory.into();
        }
    };
    println!("{:?} after more than 10,000: {}", refused.kind(), written > 10_000);
    let reader = thread::spawn(move || -> std::io::Result<(u64, bool)> {
        let (mut octets, mut count, mut right) = (vec![0; 65536], 0u64, true);
        loop {
            let read = peer.read(&mut octets)?;
            if read == 0 {
                return Ok((count, right));
            }
            for octet in &octets[..read] {
                right &= *octet == count as u8;
                count += 1;
            }
        }
    });
    stream.set_nonblocking(false)?;
    stream.write_all(&[written as u8])?;
    stream.shutdown(Shutdown::Write)?;
    let (count, right) = reader.join().expect("the reader does not panic")?;
    println!("all arrived: {}, in order: {right}", count == written + 1);
    Ok(())
}

/// A reset after the peer's end, and one in the middle of a long write.
fn late_reset() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let mut stream = TcpStream::connect(address)?;
    let (peer, _) = listener.accept()?;
    drop(peer);
    println!("the end: {}", stream.read(&mut [0; 8])?);
    stream.write_all(b"too late")?;
    thread::sleep(Duration::from_millis(100));
    println!("still the end: {:?}", stream.read(&mut [0; 8]).map_err(|error| error.kind()));
    println!("writing: {:?}", stream.write(b"x").map_err(|error| error.kind()));

    let mut stream = TcpStream::connect(address)?;
    let (peer, _) = listener.accept()?;
    let writer = thread::spawn(move || {
        let written = stream.write(&vec![7; 16 << 20]).map(|written| written > 0);
        (written.map_err(|error| error.kind()), stream.write(b"x").map_err(|error| error.kind()))
    });
    // Something was received, and is not read.
    peer.peek(&mut [0])?;
    drop(peer);
    println!("in the middle: {:?}", writer.join().expect("it does not panic"));
    Ok(())
}

/// Calls that make no sense.
fn misuse() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let stream = TcpStream::connect(address)?;
    let _peer = listener.accept()?;
    let mut octets = [0u8; 8];
    // SAFETY: the buffer is alive for the call.
    let urgent = unsafe { libc::recv(stream.as_raw_fd(), octets.as_mut_ptr().cast(), 8, libc::MSG_OOB) };
    println!("no urgent data: {}", outcome_of(urgent as i32));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to_port_0 = socket.send_to(b"x", (Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.raw_os_error());
    println!("to port 0: {to_port_0:?}");
    println!("bound twice: {}", {
        let (any, len) = sockaddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        // SAFETY: the address is alive for the call, and as long as it says.
        outcome_of(unsafe { libc::bind(socket.as_raw_fd(), (&raw const any).cast(), len) })
    });
    socket.connect(socket.local_addr()?)?;
    // SAFETY: no pointer is passed.
    let shut = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    println!("shut for sending: {}", outcome_of(shut));
    println!("then: {:?}", socket.send(b"x").map_err(|error| error.kind()));
    Ok(())
}

fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn echo() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    println!("port chosen: {}", address.port() >= 1024);
    let server = thread::spawn(move || -> std::io::Result<bool> {
        let (mut stream, peer) = listener.accept()?;
        let mut octets = [0; 5];
        stream.read_exact(&mut octets)?;
        stream.write_all(&octets)?;
        Ok(peer.ip().is_loopback())
    });
    let mut stream = TcpStream::connect(address)?;
    println!("peer address: {}", stream.peer_addr()? == address);
    stream.set_nodelay(true)?;
    println!("nodelay: {}", stream.nodelay()?);
    stream.write_all(b"hello")?;
    let mut back = String::new();
    stream.read_to_string(&mut back)?;
    println!("echo: {back}");
    println!("the server saw a local peer: {}", server.join().expect("the server does not panic")?);
    Ok(())
}

fn bulk() -> std::io::Result<()> {
    const OCTETS: usize = 8 << 20;
    let (listener, address) = listen()?;
    let server = thread::spawn(move || -> std::io::Result<u64> {
        let (mut stream, _) = listener.accept()?;
        let (mut sum, mut total, mut buffer) = (0u64, 0, vec![0; 70_000]);
        loop {
            let len = stream.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            for octet in &buffer[..len] {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*octet));
            }
            total += len;
        }
        assert_eq!(total, OCTETS);
        Ok(sum)
    });
    let mut stream = TcpStream::connect(address)?;
    let octets: Vec<u8> = (0..OCTETS).map(|i| ((i * i) >> 7) as u8).collect();
    let wanted = octets.iter().fold(0u64, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(*octet)));
    stream.write_all(&octets)?;
    stream.shutdown(Shutdown::Write)?;
    let sum = server.join().expect("the server does not panic")?;
    println!("8 MiB arrive: {}", sum == wanted);
    Ok(())
}

fn many() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let server = thread::spawn(move || -> std::io::Result<()> {
        let mut threads = Vec::new();
        for _ in 0..100 {
            let (mut stream, _) = listener.accept()?;
            threads.push(thread::spawn(move || -> std::io::Result<()> {
                let mut octets = [0; 8];
                while stream.read_exact(&mut octets).is_ok() {
                    let n = u64::from_le_bytes(octets);
                    stream.write_all(&(n + 1).to_le_bytes())?;
                }
                Ok(())
            }));
        }
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    });
    let clients: Vec<_> = (0..100u64)
        .map(|n| {
            thread::spawn(move || -> std::io::Result<u64> {
                let mut stream = TcpStream::connect(address)?;
                let mut value = n;
                for _ in 0..20 {
                    stream.write_all(&value.to_le_bytes())?;
                    let mut octets = [0; 8];
                    stream.read_exact(&mut octets)?;
                    value = u64::from_le_bytes(octets);
                }
                Ok(value - n)
            })
        })
        .collect();
    let mut right = 0;
    for client in clients {
        right += u32::from(client.join().expect("no panic")? == 20);
    }
    server.join().expect("no panic")?;
    println!("connections that counted to 20: {right}");
    Ok(())
}

fn closing() -> std::io::Result<()> {
    let (listener, address) = listen()?;
    let stream = TcpStream::connect(address)?;
    let (mut accepted, _) = listener.accept()?;
    accepted.set_read_timeout(Some(Duration::from_millis(50)))?;
    let kind = accepted.read(&mut [0; 10]).map_err(|error| error.kind());
    println!("read with nothing there: {}", matches!(kind, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)));
    accepted.set_nonblocking(true)?;
    println!("without waiting: {:?}", accepted.read(&mut [0; 10]).map_err(|error| error.kind()));
    accepted.set_nonblocking(false)?;
    accepted.set_read_timeout(None)?;
    drop(stream);
    println!("after the peer's close: {:?}", accepted.read(&mut [0; 10]).map_err(|error| error.kind()));
    // A peer that closes without having read resets.
    let mut stream = TcpStream::connect(address)?;
    let (mut accepted, _) = listener.accept()?;
    accepted.write_all(b"unread")?;
    let mut first = [0; 1];
    stream.read_exact(&mut first)?;
    drop(stream);
    thread::sleep(Duration::from_millis(50));
    println!("after a reset: {:?}", accepted.read(&mut [0; 10]).map_err(|error| error.kind()));
    println!("writing then: {:?}", accepted.write(b"x").map_err(|error| error.kind()));
    Ok(())
}

fn refused() {
    let (listener, address) = listen().expect("a free port");
    drop(listener);
    println!("nobody listens: {:?}", TcpStream::connect(address).map(drop).map_err(|error| error.kind()));
    let (listener, address) = listen().expect("a free port");
    println!("twice: {:?}", TcpListener::bind(address).map(drop).map_err(|error| error.kind()));
    drop(listener);
}

fn datagrams() -> std::io::Result<()> {
    let a = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let b = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    a.send_to(b"one", b.local_addr()?)?;
    let mut buffer = [0; 100];
    let (len, from) = b.recv_from(&mut buffer)?;
    println!("datagram: {:?} from the other: {}", &buffer[..len], from == a.local_addr()?);
    b.connect(a.local_addr()?)?;
    b.send(b"two")?;
    println!("connected: {}", a.recv(&mut buffer)?);
    a.send_to(&[7; 50], b.local_addr()?)?;
    println!("cut: {}", b.recv(&mut buffer[..10])?);
    b.set_read_timeout(Some(Duration::from_millis(20)))?;
    println!("nothing more: {:?}", b.recv(&mut buffer).map_err(|error| error.kind()));
    println!("too long: {}", a.send_to(&vec![0; 70_000], b.local_addr()?).is_err());
    let big = vec![3; 60_000];
    a.send_to(&big, b.local_addr()?)?;
    let mut room = vec![0; 65_536];
    println!("a large one: {}", b.recv(&mut room)?);
    Ok(())
}

fn names() {
    use std::net::ToSocketAddrs;
    let found =
        ("localhost", 80).to_socket_addrs().map(|found| found.into_iter().any(|a| a.ip().is_loopback()));
    println!("localhost: {found:?}");
}
