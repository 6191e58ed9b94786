//! Sockets inside one machine: streams and datagrams over 127.0.0.1, blocking, with timeouts, and polled.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
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
