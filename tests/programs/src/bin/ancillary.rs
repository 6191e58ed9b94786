//! What comes and goes beside the octets of datagrams, and several messages with one call.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libc::{IPPROTO_IP, IPPROTO_UDP, SOL_SOCKET, c_int};

const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn main() -> std::io::Result<()> {
    let to = UdpSocket::bind((LOCALHOST, 0))?;
    let from = UdpSocket::bind((LOCALHOST, 0))?;
    from.connect(to.local_addr()?)?;
    received(&from, &to)?;
    sent(&from, &to)?;
    too_little_room(&from, &to)?;
    wrong(&from);
    several(&from, &to)?;
    many(&from, &to)
}

fn set(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) {
    // SAFETY: the value is alive for the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
    println!("option {level} {name} = {value}: {result}");
}

/// A control message: level, type, data.
type Message = (c_int, c_int, Vec<u8>);

/// Receives one datagram: its length, its flags, its control messages.
fn receive(socket: &UdpSocket, room: usize, flags: c_int) -> Result<(usize, c_int, Vec<Message>), i32> {
    let mut octets = [0u8; 65_536];
    let mut control = [0u64; 64];
    let mut piece = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: plain data, filled in below.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = room.min(512) as _;
    // SAFETY: all that the header names is alive for the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if len < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(-1));
    }
    let mut messages = Vec::new();
    // SAFETY: the kernel has written messages into as much of the buffer as it says.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(message) = next.as_ref() {
            let data_len = message.cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(next), data_len).to_vec();
            messages.push((message.cmsg_level, message.cmsg_type, data));
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    Ok((len as usize, header.msg_flags, messages))
}

/// Sends octets with control messages.
fn send(socket: &UdpSocket, octets: &[u8], messages: &[(c_int, c_int, &[u8])]) -> Result<usize, i32> {
    let mut control = Vec::new();
    for (level, kind, data) in messages {
        control.extend((16 + data.len()).to_ne_bytes());
        control.extend(level.to_ne_bytes());
        control.extend(kind.to_ne_bytes());
        control.extend(*data);
        control.resize(control.len().next_multiple_of(8), 0);
    }
    let mut piece = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    // SAFETY: plain data, filled in below.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: all that the header names is alive for the call.
    let len = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    usize::try_from(len).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(-1))
}

/// What is asked for is told, in this order.
fn received(from: &UdpSocket, to: &UdpSocket) -> std::io::Result<()> {
    from.send(b"plain")?;
    println!("nothing asked for: {:?}", receive(to, 512, 0));
    for (level, name) in [
        (IPPROTO_IP, libc::IP_PKTINFO),
        (IPPROTO_IP, libc::IP_RECVTTL),
        (IPPROTO_IP, libc::IP_RECVTOS),
        (IPPROTO_IP, libc::IP_RECVORIGDSTADDR),
    ] {
        set(to, level, name, 1);
    }
    from.set_ttl(7)?;
    set(from, IPPROTO_IP, libc::IP_TOS, 0x2e);
    from.send(b"told of")?;
    let (len, flags, mut messages) = receive(to, 512, 0).expect("it is there");
    for (_, kind, data) in &mut messages {
        if *kind == libc::IP_RECVORIGDSTADDR {
            let port = u16::from_be_bytes([data[2], data[3]]);
            println!("sent to this port: {}", port == to.local_addr()?.port());
            data[2..4].fill(0);
        }
    }
    println!("all: {len} {flags} {messages:?}");
    from.send(b"a peek")?;
    println!(
        "at a peek: {}",
        receive(to, 512, libc::MSG_PEEK).is_ok_and(|(_, _, messages)| messages.len() == 4)
    );
    println!("and again: {}", receive(to, 512, 0).is_ok_and(|(_, _, messages)| messages.len() == 4));
    for (name, kind, unit) in
        [("SO_TIMESTAMP", libc::SO_TIMESTAMP, 1000), ("SO_TIMESTAMPNS", libc::SO_TIMESTAMPNS, 1)]
    {
        set(to, SOL_SOCKET, kind, 1);
        let before = SystemTime::now();
        from.send(b"now")?;
        let (_, _, messages) = receive(to, 512, 0).expect("it is there");
        let (level, told, data) = &messages[0];
        let word = |at: usize| i64::from_ne_bytes(data[at..at + 8].try_into().expect("eight octets")) as u64;
        let at = UNIX_EPOCH + Duration::new(word(0), (word(8) * unit) as u32);
        let is_right =
            at + Duration::from_millis(1) >= before && at <= SystemTime::now() + Duration::from_millis(1);
        println!("{name}: {level} {}, right: {is_right}, of {}", *told == kind, messages.len());
    }
    set(to, SOL_SOCKET, libc::SO_TIMESTAMPNS, 0);
    Ok(())
}

/// What one send asks for holds for it alone.
fn sent(from: &UdpSocket, to: &UdpSocket) -> std::io::Result<()> {
    let ttl_and_tos = |messages: Vec<Message>| -> Vec<Vec<u8>> {
        let is = |kind| kind == libc::IP_TTL || kind == libc::IP_TOS;
        messages.into_iter().filter(|(_, kind, _)| is(*kind)).map(|(.., data)| data).collect()
    };
    let ttl = 33i32.to_ne_bytes();
    let info = [[0; 4], LOCALHOST.octets(), [0; 4]].concat();
    let with: [(c_int, c_int, &[u8]); 3] = [
        (IPPROTO_IP, libc::IP_TTL, &ttl),
        (IPPROTO_IP, libc::IP_TOS, &[0x68]),
        (IPPROTO_IP, libc::IP_PKTINFO, &info),
    ];
    for with in [&with[..], &[]] {
        println!("sent with {}: {:?}", with.len(), send(from, b"x", with));
        let (_, _, messages) = receive(to, 512, 0).expect("it is there");
        println!("it has {:?}", ttl_and_tos(messages));
    }
    Ok(())
}

/// Messages that do not fit are left out or cut off, which a flag says.
fn too_little_room(from: &UdpSocket, to: &UdpSocket) -> std::io::Result<()> {
    for room in [0, 8, 16, 20, 32, 56] {
        from.send(b"x")?;
        let (len, flags, messages) = receive(to, room, 0).expect("it is there");
        let lengths: Vec<_> = messages.iter().map(|(.., data)| data.len()).collect();
        println!("room for {room}: {len} {flags:#x} {lengths:?}");
    }
    Ok(())
}

fn wrong(from: &UdpSocket) {
    let int = |value: i32| value.to_ne_bytes();
    println!("TTL 0: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_TTL, &int(0))]));
    println!("TTL 256: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_TTL, &int(256))]));
    println!("TTL of an octet: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_TTL, &[5])]));
    println!("TOS 256: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_TOS, &int(256))]));
    println!("short PKTINFO: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_PKTINFO, &[0; 8])]));
    let foreign = [[0; 4], [192, 0, 2, 1], [0; 4]].concat();
    println!("foreign PKTINFO: {:?}", send(from, b"x", &[(IPPROTO_IP, libc::IP_PKTINFO, &foreign)]));
    println!("unknown: {:?}", send(from, b"x", &[(IPPROTO_IP, 99, &int(1))]));
    println!("UDP_SEGMENT of an int: {:?}", send(from, b"x", &[(IPPROTO_UDP, UDP_SEGMENT, &int(1))]));
}

/// `UDP_SEGMENT` and `UDP_GRO`, as quinn uses them.
fn several(from: &UdpSocket, to: &UdpSocket) -> std::io::Result<()> {
    for (level, name) in [
        (IPPROTO_IP, libc::IP_PKTINFO),
        (IPPROTO_IP, libc::IP_RECVTTL),
        (IPPROTO_IP, libc::IP_RECVTOS),
        (IPPROTO_IP, libc::IP_RECVORIGDSTADDR),
    ] {
        set(to, level, name, 0);
    }
    let size = 1000u16.to_ne_bytes();
    let segment: [(c_int, c_int, &[u8]); 1] = [(IPPROTO_UDP, UDP_SEGMENT, &size)];
    println!("sent: {:?}", send(from, &[3; 2500], &segment));
    for _ in 0..3 {
        println!("apart: {:?}", receive(to, 512, 0));
    }
    set(to, IPPROTO_UDP, UDP_GRO, 1);
    println!("sent: {:?}", send(from, &[3; 2500], &segment));
    let (mut all, mut is_told) = (0, true);
    while all < 2500 {
        let (len, _, messages) = receive(to, 512, 0).expect("it is there");
        is_told &= match &messages[..] {
            [(17, UDP_GRO, size)] => *size == 1000i32.to_ne_bytes(),
            [] => len <= 1000,
            _ => false,
        };
        all += len;
    }
    println!("together: {all}, told how: {is_told}");
    Ok(())
}

/// sendmmsg(2) and recvmmsg(2).
fn many(from: &UdpSocket, to: &UdpSocket) -> std::io::Result<()> {
    set(to, IPPROTO_UDP, UDP_GRO, 0);
    let mut octets = [[7u8; 100]; 5];
    let mut pieces: Vec<_> = octets
        .iter_mut()
        .enumerate()
        .map(|(n, octets)| libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: 10 * (n + 1) })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = pieces
        .iter_mut()
        .map(|piece| {
            // SAFETY: plain data.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut *piece;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    // SAFETY: all that the headers name is alive for the calls.
    let sent = unsafe { libc::sendmmsg(from.as_raw_fd(), headers.as_mut_ptr(), 5, 0) };
    let lengths =
        |headers: &[libc::mmsghdr]| -> Vec<u32> { headers.iter().map(|header| header.msg_len).collect() };
    println!("sendmmsg: {sent} {:?}", lengths(&headers));
    pieces.iter_mut().for_each(|piece| piece.iov_len = 100);
    // SAFETY: as above.
    let mut receive = |count: u32, flags: c_int, timeout: Option<libc::timespec>| unsafe {
        headers.iter_mut().for_each(|header| header.msg_len = 0);
        let mut timeout = timeout;
        let at = timeout.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let received = libc::recvmmsg(to.as_raw_fd(), headers.as_mut_ptr(), count, flags, at);
        (received, std::io::Error::last_os_error().raw_os_error().filter(|_| received < 0), lengths(&headers))
    };
    println!("recvmmsg of two: {:?}", receive(2, 0, None));
    println!("recvmmsg for one: {:?}", receive(5, libc::MSG_WAITFORONE, None));
    println!("recvmmsg of none: {:?}", receive(5, libc::MSG_DONTWAIT, None));
    println!("no such time: {:?}", receive(5, 0, Some(libc::timespec { tv_sec: 0, tv_nsec: -1 })));
    from.send(b"one")?;
    let began = Instant::now();
    // The time is looked at after each message only (recvmmsg(2), BUGS).
    println!("at its time: {:?}", receive(1, 0, Some(libc::timespec { tv_sec: 0, tv_nsec: 1 })));
    println!("it did not wait: {}", began.elapsed() < Duration::from_secs(5));
    Ok(())
}
