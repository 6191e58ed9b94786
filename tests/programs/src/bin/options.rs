//! What options of sockets do, and operations on interfaces, inside one machine.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libc::{IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, SOL_SOCKET, c_int};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Long enough for what happens at once to have happened.
const A_WHILE: Duration = Duration::from_millis(100);

fn main() -> std::io::Result<()> {
    lingering()?;
    low_water()?;
    segments()?;
    deferred()?;
    not_sent()?;
    figures()?;
    algorithms()?;
    times()?;
    shared_listeners()?;
    shared_datagrams()?;
    late_port()?;
    foreign_address()?;
    devices()?;
    many_datagrams()?;
    groups()?;
    errors_of_datagrams()?;
    interfaces()?;
    queues()
}

fn set(socket: &impl AsRawFd, level: c_int, name: c_int, value: &[u8]) -> i32 {
    // SAFETY: the value is alive for the call, and as long as it says.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    outcome(result)
}

fn set_int(socket: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> i32 {
    set(socket, level, name, &value.to_ne_bytes())
}

fn get(socket: &impl AsRawFd, level: c_int, name: c_int) -> Result<Vec<u8>, i32> {
    let mut octets = vec![0u8; 512];
    let mut len = octets.len() as libc::socklen_t;
    // SAFETY: the buffer is as long as the length says.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, octets.as_mut_ptr().cast(), &raw mut len)
    };
    octets.truncate(len as usize);
    if result == 0 { Ok(octets) } else { Err(outcome(result)) }
}

fn get_int(socket: &impl AsRawFd, level: c_int, name: c_int) -> Result<i32, i32> {
    get(socket, level, name).map(|octets| word(&octets, 0) as i32)
}

fn word(octets: &[u8], at: usize) -> u32 {
    octets.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

/// What a call returned: 0, or the error.
fn outcome(result: c_int) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

fn sockaddr(address: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(address) = address else { panic!("{address}: not IPv4") };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn socket(kind: c_int) -> OwnedFd {
    // SAFETY: no pointer is passed; the descriptor is owned from here on.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, kind, 0)) }
}

fn bind(socket: &impl AsRawFd, to: impl Into<SocketAddr>) -> i32 {
    let address = sockaddr(to.into());
    // SAFETY: the address is alive for the call.
    outcome(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), 16) })
}

fn connect(socket: &impl AsRawFd, to: SocketAddr) -> i32 {
    let address = sockaddr(to);
    // SAFETY: the address is alive for the call.
    outcome(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), 16) })
}

fn listen(socket: &impl AsRawFd) -> i32 {
    // SAFETY: no pointer is passed.
    outcome(unsafe { libc::listen(socket.as_raw_fd(), 128) })
}

fn port(socket: &OwnedFd) -> std::io::Result<u16> {
    Ok(TcpListener::from(socket.try_clone()?).local_addr()?.port())
}

fn poll(socket: &impl AsRawFd, events: i16, timeout: c_int) -> i16 {
    let mut pollfd = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // SAFETY: one element, alive for the call.
    unsafe { libc::poll(&raw mut pollfd, 1, timeout) };
    pollfd.revents
}

fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    Ok((stream, listener.accept()?.0))
}

fn linger(socket: &impl AsRawFd, seconds: c_int) -> i32 {
    let value: Vec<u8> = [1, seconds].iter().flat_map(|word: &c_int| word.to_ne_bytes()).collect();
    set(socket, SOL_SOCKET, libc::SO_LINGER, &value)
}

/// close(2) returns when the peer has taken everything, or at once, with a reset.
fn lingering() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    set_int(&listener, SOL_SOCKET, libc::SO_RCVBUF, 8192);
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    set_int(&stream, SOL_SOCKET, libc::SO_SNDBUF, 200_000);
    let (mut peer, _) = listener.accept()?;
    // Fits this side, and not the other one.
    let octets = vec![7; 100_000];
    println!("linger: {}", linger(&stream, 60));
    let is_reading = AtomicBool::new(false);
    thread::scope(|scope| {
        stream.write_all(&octets)?;
        let reader = scope.spawn(|| {
            thread::sleep(A_WHILE);
            is_reading.store(true, Ordering::SeqCst);
            peer.read_to_end(&mut Vec::new())
        });
        drop(stream);
        println!("waited: {}", is_reading.load(Ordering::SeqCst));
        println!("all of it: {}", reader.join().expect("it does not panic")? == octets.len());
        std::io::Result::Ok(())
    })?;
    let (mut stream, mut peer) = pair()?;
    linger(&stream, 1);
    stream.write_all(b"x")?;
    drop(stream);
    println!("at once where all is taken: {:?}", peer.read(&mut [0; 8])?);
    let (mut stream, mut peer) = pair()?;
    linger(&stream, 0);
    stream.write_all(b"x")?;
    drop(stream);
    let mut octets = [0; 8];
    let mut outcome = peer.read(&mut octets);
    if outcome.as_ref().is_ok_and(|len| *len == 1) {
        outcome = peer.read(&mut octets);
    }
    println!("without time: {:?}", outcome.map_err(|error| error.kind()));
    Ok(())
}

/// A receive waits until so much is there, and poll(2) says nothing before.
fn low_water() -> std::io::Result<()> {
    let (mut stream, mut peer) = pair()?;
    println!("SO_RCVLOWAT: {}", set_int(&peer, SOL_SOCKET, libc::SO_RCVLOWAT, 20));
    stream.write_all(&[1; 10])?;
    thread::sleep(A_WHILE);
    println!("readable with ten: {:#x}", poll(&peer, libc::POLLIN, 0));
    println!("ten of ten: {}", peer.read(&mut [0; 10])?);
    let reader = thread::spawn(move || peer.read(&mut [0; 100]).map(|len| (len, peer)));
    for _ in 0..2 {
        thread::sleep(A_WHILE);
        stream.write_all(&[2; 10])?;
    }
    let (len, mut peer) = reader.join().expect("it does not panic")?;
    println!("read: {len}");
    // What is less than the mark wakes nobody on Linux, but is read where it is asked for.
    stream.write_all(&[3; 5])?;
    thread::sleep(A_WHILE);
    println!("asked for less: {}", peer.read(&mut [0; 5])?);
    stream.write_all(&[3; 5])?;
    stream.shutdown(Shutdown::Write)?;
    println!("at the end: {}", peer.read(&mut [0; 100])?);
    Ok(())
}

/// `TCP_MAXSEG` bounds both directions.
fn segments() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let stream = socket(libc::SOCK_STREAM);
    println!("unset: {:?}", get_int(&stream, IPPROTO_TCP, libc::TCP_MAXSEG));
    println!("too small: {}", set_int(&stream, IPPROTO_TCP, libc::TCP_MAXSEG, 87));
    println!("set: {}", set_int(&stream, IPPROTO_TCP, libc::TCP_MAXSEG, 600));
    println!("connected: {}", connect(&stream, listener.local_addr()?));
    let (peer, _) = listener.accept()?;
    for socket in [&stream as &dyn AsRawFd, &peer] {
        let mss = get_int(&socket.as_raw_fd(), IPPROTO_TCP, libc::TCP_MAXSEG);
        println!("segments as small: {}", mss.is_ok_and(|mss| (500..=600).contains(&mss)));
    }
    Ok(())
}

/// A connection without data is not there yet.
fn deferred() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    println!("TCP_DEFER_ACCEPT: {}", set_int(&listener, IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 30));
    println!("as it counts: {:?}", get_int(&listener, IPPROTO_TCP, libc::TCP_DEFER_ACCEPT));
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    println!("without data: {:#x}", poll(&listener, libc::POLLIN, 100));
    stream.write_all(b"here")?;
    println!("with data: {:#x}", poll(&listener, libc::POLLIN, 5000));
    let (mut peer, _) = listener.accept()?;
    let mut octets = [0; 4];
    peer.read_exact(&mut octets)?;
    println!("heard: {}", String::from_utf8_lossy(&octets));
    Ok(())
}

/// Little waits that is not sent.
fn not_sent() -> std::io::Result<()> {
    let taken = |limit: c_int| -> std::io::Result<usize> {
        let (mut stream, _peer) = pair()?;
        stream.set_nonblocking(true)?;
        if limit > 0 {
            println!("TCP_NOTSENT_LOWAT: {}", set_int(&stream, IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, limit));
        }
        let mut all = 0;
        for _ in 0..100 {
            loop {
                match stream.write(&[0; 1000]) {
                    Ok(len) => all += len,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if poll(&stream, libc::POLLOUT, 20) == 0 {
                break;
            }
        }
        Ok(all)
    };
    let (without, with) = (taken(0)?, taken(20_000)?);
    println!("less is taken: {}", with < without);
    Ok(())
}

/// `TCP_INFO`.
fn figures() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let state = |socket: &dyn AsRawFd| {
        get(&socket.as_raw_fd(), IPPROTO_TCP, libc::TCP_INFO).map(|info| info.first().copied())
    };
    println!("states: {:?} {:?}", state(&socket(libc::SOCK_STREAM)), state(&listener));
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut peer, _) = listener.accept()?;
    stream.write_all(&[5; 10_000])?;
    peer.read_exact(&mut [0; 10_000])?;
    peer.write_all(b"and back")?;
    stream.read_exact(&mut [0; 8])?;
    let info = get(&stream, IPPROTO_TCP, libc::TCP_INFO).expect("a connection has figures");
    let wide = |at: usize| u64::from(word(&info, at + 4)) << 32 | u64::from(word(&info, at));
    println!("whole: {}, state {}, retransmits {}", info.len() >= 248, info[0], info[2]);
    println!("options with timestamps, SACK, scaling: {:#x}", info[5] & 7);
    println!("acknowledged {}, received {}, sent {}", wide(120), wide(128), wide(200));
    println!("again {}, not sent {}, unacknowledged {}", word(&info, 100), word(&info, 144), word(&info, 24));
    let plausible = [
        word(&info, 8) >= 200_000,
        word(&info, 16) > 1000,
        word(&info, 68) < 1_000_000,
        word(&info, 80) >= 2,
        word(&info, 136) > 0,
        word(&info, 140) > 0,
        word(&info, 156) > 0,
        word(&info, 152) > 0,
        word(&info, 192) > 0,
        word(&info, 228) > 10_000,
        word(&info, 148) < 1_000_000,
    ];
    println!("figures: {plausible:?}");
    drop(peer);
    stream.read_to_end(&mut Vec::new())?;
    println!("half closed: {:?}", state(&stream));
    Ok(())
}

/// `TCP_CONGESTION`, also of a connection that is open.
fn algorithms() -> std::io::Result<()> {
    let (mut stream, mut peer) = pair()?;
    let name = |stream: &TcpStream| {
        let octets = get(stream, IPPROTO_TCP, libc::TCP_CONGESTION).expect("it has one");
        (
            octets.len(),
            String::from_utf8_lossy(octets.split(|octet| *octet == 0).next().unwrap_or_default())
                .into_owned(),
        )
    };
    println!("reno: {}", set(&stream, IPPROTO_TCP, libc::TCP_CONGESTION, b"reno"));
    println!("it is {:?}", name(&stream));
    println!("none of that name: {}", set(&stream, IPPROTO_TCP, libc::TCP_CONGESTION, b"no such one"));
    stream.write_all(&[9; 100_000])?;
    peer.read_exact(&mut [0; 100_000])?;
    println!("cubic: {}", set(&stream, IPPROTO_TCP, libc::TCP_CONGESTION, b"cubic\0"));
    stream.write_all(&[9; 100_000])?;
    peer.read_exact(&mut [0; 100_000])?;
    println!("it is {:?}", name(&stream));
    Ok(())
}

/// Options that are numbers: what is set is told, what cannot be is refused.
fn times() -> std::io::Result<()> {
    let (stream, _peer) = pair()?;
    for (name, option, values) in [
        ("TCP_SYNCNT", libc::TCP_SYNCNT, [0, 3, 128]),
        ("TCP_LINGER2", libc::TCP_LINGER2, [-5, 0, 30]),
        ("TCP_KEEPIDLE", libc::TCP_KEEPIDLE, [0, 10, 32_768]),
        ("TCP_USER_TIMEOUT", libc::TCP_USER_TIMEOUT, [-1, 0, 5000]),
        ("TCP_QUICKACK", libc::TCP_QUICKACK, [1, 0, 1]),
        ("TCP_CORK", libc::TCP_CORK, [1, 2, 0]),
        ("TCP_NODELAY", libc::TCP_NODELAY, [1, 2, 0]),
    ] {
        for value in values {
            let set = set_int(&stream, IPPROTO_TCP, option, value);
            println!("{name} {value}: {set} {:?}", get_int(&stream, IPPROTO_TCP, option));
        }
    }
    for (name, option, values) in [
        ("IP_TTL", libc::IP_TTL, [0, 5, 256]),
        ("IP_TOS", libc::IP_TOS, [0x10, 0xff, 0x100]),
        ("IP_MTU_DISCOVER", libc::IP_MTU_DISCOVER, [-1, 3, 6]),
    ] {
        for value in values {
            let set = set_int(&stream, IPPROTO_IP, option, value);
            println!("{name} {value}: {set} {:?}", get_int(&stream, IPPROTO_IP, option));
        }
    }
    Ok(())
}

/// Several listeners at one port: peers are spread over them.
fn shared_listeners() -> std::io::Result<()> {
    let first = socket(libc::SOCK_STREAM);
    let second = socket(libc::SOCK_STREAM);
    let alone = socket(libc::SOCK_STREAM);
    for shared in [&first, &second] {
        set_int(shared, SOL_SOCKET, libc::SO_REUSEPORT, 1);
    }
    println!("first: {}", bind(&first, (LOCALHOST, 0)));
    let address = SocketAddr::from((LOCALHOST, port(&first)?));
    println!("second: {}, without: {}", bind(&second, address), bind(&alone, address));
    println!("listening: {} {}", listen(&first), listen(&second));
    let streams: Vec<_> = (0..64).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let mut counts = [0, 0];
    for (listener, count) in [first, second].into_iter().zip(&mut counts) {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        while listener.accept().is_ok() {
            *count += 1;
        }
    }
    println!("all: {}, each has some: {}", counts[0] + counts[1] == streams.len(), counts[0] * counts[1] > 0);
    Ok(())
}

/// The same for datagrams; with `SO_REUSEADDR` alone the last one hears.
fn shared_datagrams() -> std::io::Result<()> {
    for option in [libc::SO_REUSEPORT, libc::SO_REUSEADDR] {
        let first = socket(libc::SOCK_DGRAM);
        let second = socket(libc::SOCK_DGRAM);
        for shared in [&first, &second] {
            set_int(shared, SOL_SOCKET, option, 1);
        }
        println!("first: {}", bind(&first, (LOCALHOST, 0)));
        let first = UdpSocket::from(first);
        let address = first.local_addr()?;
        println!("second: {}", bind(&second, address));
        let second = UdpSocket::from(second);
        for _ in 0..64 {
            UdpSocket::bind((LOCALHOST, 0))?.send_to(b"x", address)?;
        }
        let count = |socket: &UdpSocket| -> std::io::Result<usize> {
            socket.set_nonblocking(true)?;
            Ok(std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count())
        };
        let counts = [count(&first)?, count(&second)?];
        let each = counts[0] * counts[1] > 0;
        println!(
            "all: {}, each has some: {each}, the last has all: {}",
            counts[0] + counts[1] == 64,
            counts[1] == 64
        );
    }
    Ok(())
}

/// `IP_BIND_ADDRESS_NO_PORT`: the port is chosen when there is a peer.
fn late_port() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let stream = socket(libc::SOCK_STREAM);
    println!("IP_BIND_ADDRESS_NO_PORT: {}", set_int(&stream, IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1));
    println!("bound: {}, port {}", bind(&stream, (LOCALHOST, 0)), port(&stream)?);
    println!("again: {}", bind(&stream, (LOCALHOST, 0)));
    println!("connected: {}, with a port: {}", connect(&stream, listener.local_addr()?), port(&stream)? != 0);
    let datagram = socket(libc::SOCK_DGRAM);
    set_int(&datagram, IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
    println!("bound: {}, port {}", bind(&datagram, (LOCALHOST, 0)), port(&datagram)?);
    println!(
        "connected: {}, with a port: {}",
        connect(&datagram, listener.local_addr()?),
        port(&datagram)? != 0
    );
    Ok(())
}

/// `IP_FREEBIND`: an address that this host does not have.
fn foreign_address() -> std::io::Result<()> {
    let foreign = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0));
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        let socket = socket(kind);
        println!("foreign: {}", bind(&socket, foreign));
        println!("IP_FREEBIND: {}", set_int(&socket, IPPROTO_IP, libc::IP_FREEBIND, 1));
        println!("foreign: {}", bind(&socket, foreign));
        if kind == libc::SOCK_STREAM {
            println!("listening: {}", listen(&socket));
        }
    }
    Ok(())
}

/// `SO_BINDTODEVICE`.
fn devices() -> std::io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let stream = socket(libc::SOCK_STREAM);
    let name = |socket: &OwnedFd| get(socket, SOL_SOCKET, libc::SO_BINDTODEVICE);
    println!("none: {:?}", name(&stream));
    println!("no such device: {}", set(&stream, SOL_SOCKET, libc::SO_BINDTODEVICE, b"nonesuch0"));
    println!("lo: {}, {:?}", set(&stream, SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo"), name(&stream));
    println!("connected: {}", connect(&stream, listener.local_addr()?));
    Ok(())
}

/// `UDP_SEGMENT`.
fn many_datagrams() -> std::io::Result<()> {
    const UDP_SEGMENT: c_int = 103;
    let [from, to] = [UdpSocket::bind((LOCALHOST, 0))?, UdpSocket::bind((LOCALHOST, 0))?];
    println!(
        "UDP_SEGMENT: {} {}",
        set_int(&from, IPPROTO_UDP, UDP_SEGMENT, 65_536),
        set_int(&from, IPPROTO_UDP, UDP_SEGMENT, 1000)
    );
    println!("told: {:?}", get_int(&from, IPPROTO_UDP, UDP_SEGMENT));
    println!("sent: {}", from.send_to(&[1; 2500], to.local_addr()?)?);
    let mut lengths = Vec::new();
    for _ in 0..3 {
        lengths.push(to.recv(&mut [0; 4000])?);
    }
    println!("received: {lengths:?}");
    Ok(())
}

/// Groups at the loopback interface, which both systems have.
fn groups() -> std::io::Result<()> {
    let group = Ipv4Addr::new(239, 77, 1, 2);
    let hears = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = hears.local_addr()?.port();
    let from = UdpSocket::bind((LOCALHOST, 0))?;
    println!("TTL {:?} {}", from.multicast_ttl_v4(), set_int(&from, IPPROTO_IP, libc::IP_MULTICAST_TTL, 256));
    println!("interface: {}", set(&from, IPPROTO_IP, libc::IP_MULTICAST_IF, &LOCALHOST.octets()));
    println!("it is {:?}", get(&from, IPPROTO_IP, libc::IP_MULTICAST_IF));
    println!(
        "no group: {:?}",
        hears.join_multicast_v4(&LOCALHOST, &LOCALHOST).map_err(|error| error.raw_os_error())
    );
    println!("joined: {:?}", hears.join_multicast_v4(&group, &LOCALHOST));
    println!(
        "twice: {:?}",
        hears.join_multicast_v4(&group, &LOCALHOST).map_err(|error| error.raw_os_error())
    );
    from.send_to(b"to the group", (group, port))?;
    let mut octets = [0; 32];
    let (len, _) = hears.recv_from(&mut octets)?;
    println!("heard: {}", String::from_utf8_lossy(&octets[..len]));
    println!("left: {:?}", hears.leave_multicast_v4(&group, &LOCALHOST));
    println!(
        "twice: {:?}",
        hears.leave_multicast_v4(&group, &LOCALHOST).map_err(|error| error.raw_os_error())
    );
    let stream = socket(libc::SOCK_STREAM);
    let request: Vec<u8> = [group.octets(), LOCALHOST.octets()].concat();
    println!("a stream: {}", set(&stream, IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request));
    println!("a stream: {}", set_int(&stream, IPPROTO_IP, libc::IP_MULTICAST_TTL, 3));
    Ok(())
}

/// A port where nobody listens is told to who is connected, and to who wants to know.
fn errors_of_datagrams() -> std::io::Result<()> {
    let nobody = UdpSocket::bind((LOCALHOST, 0))?.local_addr()?;
    let plain = UdpSocket::bind((LOCALHOST, 0))?;
    plain.send_to(b"x", nobody)?;
    thread::sleep(A_WHILE);
    println!("not connected: {:?}", plain.take_error()?.map(|error| error.kind()));
    println!("IP_RECVERR: {}", set_int(&plain, IPPROTO_IP, libc::IP_RECVERR, 1));
    plain.send_to(b"x", nobody)?;
    thread::sleep(A_WHILE);
    println!("told: {:?}", plain.take_error()?.map(|error| error.kind()));
    println!("IP_MTU without a peer: {:?}", get_int(&plain, IPPROTO_IP, libc::IP_MTU));
    plain.connect(nobody)?;
    println!("IP_MTU with one: {}", get_int(&plain, IPPROTO_IP, libc::IP_MTU).is_ok_and(|mtu| mtu >= 65_535));
    Ok(())
}

/// netdevice(7), of the loopback interface.
fn interfaces() -> std::io::Result<()> {
    let socket = socket(libc::SOCK_DGRAM);
    let ask = |op: libc::Ioctl, name: &[u8]| -> (i32, Vec<u8>) {
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name);
        // SAFETY: a `struct ifreq`, alive for the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), op, request.as_mut_ptr()) };
        (outcome(result), request[16..].to_vec())
    };
    let (status, index) = ask(libc::SIOCGIFINDEX, b"lo");
    println!("index: {status} {}", word(&index, 0));
    let (status, flags) = ask(libc::SIOCGIFFLAGS, b"lo");
    println!("flags: {status} {:#x}", word(&flags, 0) & 0xffff);
    for (name, op) in [
        ("address", libc::SIOCGIFADDR),
        ("mask", libc::SIOCGIFNETMASK),
        ("broadcast", libc::SIOCGIFBRDADDR),
        ("destination", libc::SIOCGIFDSTADDR),
    ] {
        let (status, address) = ask(op, b"lo");
        println!("{name}: {status} {:?}", &address[..8]);
    }
    let (status, hardware) = ask(libc::SIOCGIFHWADDR, b"lo");
    println!("hardware: {status} {:?}", &hardware[..8]);
    let (status, mtu) = ask(libc::SIOCGIFMTU, b"lo");
    println!("MTU: {status} {}", word(&mtu, 0) >= 65_535);
    println!("nobody: {} {}", ask(libc::SIOCGIFADDR, b"nonesuch0").0, ask(libc::SIOCGIFINDEX, b"").0);
    let mut request = [0u8; 40];
    request[16..20].copy_from_slice(&1i32.to_ne_bytes());
    // SAFETY: a `struct ifreq`, alive for the call.
    let status = outcome(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, request.as_mut_ptr()) });
    println!("name of 1: {status} {}", String::from_utf8_lossy(&request[..2]));
    let mut list = vec![0u8; 40 * 16];
    let mut conf = [list.len() as u64, list.as_mut_ptr() as u64];
    // SAFETY: a `struct ifconf` that names a buffer of as many octets.
    let status = outcome(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF, conf.as_mut_ptr()) });
    let entries = &list[..conf[0] as u32 as usize];
    let is_loopback = |entry: &[u8]| entry.starts_with(b"lo\0") && entry[20..24] == [127, 0, 0, 1];
    println!("list: {status} {} {}", entries.len() % 40, entries.chunks(40).any(is_loopback));
    let mut size = [0u64; 2];
    // SAFETY: a `struct ifconf` without a buffer.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF, size.as_mut_ptr()) };
    println!("its size: {}", size[0] as usize == entries.len());
    Ok(())
}

/// How much waits.
fn queues() -> std::io::Result<()> {
    let (mut stream, mut peer) = pair()?;
    let ask = |socket: &dyn AsRawFd, op: libc::Ioctl| {
        let mut value = MaybeUninit::<c_int>::new(-1);
        // SAFETY: the value is alive for the call and as long as the operations write.
        let result = outcome(unsafe { libc::ioctl(socket.as_raw_fd(), op, value.as_mut_ptr()) });
        // SAFETY: it was set above.
        (result, unsafe { value.assume_init() })
    };
    stream.write_all(&[0; 777])?;
    peer.peek(&mut [0; 777])?;
    thread::sleep(A_WHILE);
    println!("to read: {:?}", ask(&peer, libc::FIONREAD));
    println!("to be sent: {:?}", ask(&stream, libc::TIOCOUTQ));
    println!("at the mark: {:?}", ask(&peer, 0x8905));
    peer.read_exact(&mut [0; 777])?;
    println!("to read: {:?}", ask(&peer, libc::FIONREAD));
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    println!("of a listener: {:?} {:?}", ask(&listener, libc::FIONREAD), ask(&listener, libc::TIOCOUTQ));
    println!("no such operation: {:?}", ask(&listener, 0x1234));
    println!(
        "the memory of a socket has {} octets",
        get(&stream, SOL_SOCKET, 55).map_or(0, |info| info.len())
    );
    println!("a cookie has {} octets", get(&stream, SOL_SOCKET, 57).map_or(0, |info| info.len()));
    Ok(())
}
