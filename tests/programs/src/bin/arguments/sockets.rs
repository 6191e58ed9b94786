//! Calls on local sockets: each with sockets of every kind and in every state, and with arguments that are good, odd, or none.

use std::os::fd::AsRawFd;

use programs::{Shown, syscall};

use super::{KERNEL_HALF, MAX, UNMAPPED, show, show_outcome};

const IOCTL: u64 = 16;
const SOCKET: u64 = 41;
const CONNECT: u64 = 42;
const ACCEPT: u64 = 43;
const SENDTO: u64 = 44;
const RECVFROM: u64 = 45;
const SENDMSG: u64 = 46;
const RECVMSG: u64 = 47;
const SHUTDOWN: u64 = 48;
const BIND: u64 = 49;
const LISTEN: u64 = 50;
const GETSOCKNAME: u64 = 51;
const GETPEERNAME: u64 = 52;
const SOCKETPAIR: u64 = 53;
const SETSOCKOPT: u64 = 54;
const GETSOCKOPT: u64 = 55;
const ACCEPT4: u64 = 288;
const RECVMMSG: u64 = 299;
const SENDMMSG: u64 = 307;

const AF_UNIX: u64 = 1;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const SEQPACKET: u64 = 5;
const NONBLOCK: u64 = 0o4000;
const KINDS: [(&str, u64); 3] = [("stream", STREAM), ("datagram", DATAGRAM), ("seqpacket", SEQPACKET)];
const DONTWAIT: u64 = 0x40;
const NOSIGNAL: u64 = 0x4000;

fn call(number: u64, arguments: [u64; 6]) -> u64 {
    // SAFETY: calls that make a socket, or work on what is ours.
    let result = unsafe { syscall(number, arguments) };
    assert!(result >= 0, "{number}: {}", Shown(result));
    result as u64
}

fn socket(kind: u64) -> u64 {
    call(SOCKET, [AF_UNIX, kind | NONBLOCK, 0, 0, 0, 0])
}

fn pair(kind: u64) -> [u64; 2] {
    let mut fds = [0i32; 2];
    call(SOCKETPAIR, [AF_UNIX, kind | NONBLOCK, 0, fds.as_mut_ptr() as u64, 0, 0]);
    std::hint::black_box(fds).map(|fd| fd as u64)
}

/// A `struct sockaddr_un`.
fn address(path: &[u8]) -> Vec<u8> {
    [&[1, 0], path].concat()
}

pub fn wrong() {
    std::env::set_current_dir(super::folder()).expect("the folder is there");
    creation();
    let folder = std::fs::File::open(".").expect("the folder can be opened");
    let mut sockets: Vec<(String, u64)> = vec![
        ("negative".into(), MAX),
        ("not open".into(), 999),
        ("no socket".into(), folder.as_raw_fd() as u64),
    ];
    let mut kept = Vec::new();
    for (kind, number) in KINDS {
        sockets.push((format!("new {kind}"), socket(number)));
        let [one, other] = pair(number);
        sockets.push((format!("{kind} of a pair"), one));
        kept.push(other);
        let [orphan, gone] = pair(number);
        call(3, [gone, 0, 0, 0, 0, 0]);
        sockets.push((format!("{kind} without its peer"), orphan));
        let bound = socket(number);
        let name = address(format!("bound-{kind}").as_bytes());
        call(BIND, [bound, name.as_ptr() as u64, name.len() as u64, 0, 0, 0]);
        sockets.push((format!("bound {kind}"), bound));
        if number != DATAGRAM {
            call(LISTEN, [bound, 4, 0, 0, 0, 0]);
        }
        let connected = socket(number);
        call(CONNECT, [connected, name.as_ptr() as u64, name.len() as u64, 0, 0, 0]);
        sockets.push((format!("connected {kind}"), connected));
    }
    for (name, fd) in &sockets {
        names(name, *fd);
        options(name, *fd);
        octets(name, *fd);
        messages(name, *fd);
        requests(name, *fd);
    }
    for (name, fd) in &sockets {
        states(name, *fd);
    }
}

fn creation() {
    for kind in [0, 1, 2, 4, 5, 6, 7, 11, 99, MAX, 1 << 31 | 1, 0x100 | 1] {
        show_outcome(&format!("socket of kind {kind:#x}"), SOCKET, &[AF_UNIX, kind, 0]);
    }
    for protocol in [1, 2, 99, MAX] {
        show_outcome(&format!("socket of protocol {protocol:#x}"), SOCKET, &[AF_UNIX, STREAM, protocol]);
        show(&format!("socketpair of protocol {protocol:#x}"), SOCKETPAIR, &[AF_UNIX, STREAM, protocol, 0]);
    }
    for at in [0, UNMAPPED, KERNEL_HALF] {
        show(&format!("socketpair at {at:#x}"), SOCKETPAIR, &[AF_UNIX, STREAM, 0, at]);
    }
    show("socketpair of kind 0", SOCKETPAIR, &[AF_UNIX, 0, 0, 0]);
}

/// Addresses as arguments: in words, where, and how long.
fn addresses() -> Vec<(&'static str, Vec<u8>, u64)> {
    let whole = |name, octets: Vec<u8>| {
        let len = octets.len() as u64;
        (name, octets, len)
    };
    vec![
        ("no octets", vec![1, 0], 0),
        ("one octet", vec![1, 0], 1),
        ("family alone", vec![1, 0], 2),
        ("no family", vec![0, 0], 2),
        ("no family, long", vec![0; 16], 16),
        ("another family", [&[2, 0][..], &[0; 14]].concat(), 16),
        whole("nothing there", address(b"missing")),
        whole("a folder", address(b".")),
        whole("no folder", address(b"missing/x")),
        whole("free", address(b"\0missing")),
        whole("longest", address(&[b'/'; 108])),
        whole("too long", address(&[b'/'; 109])),
        ("longer than any", vec![1; 200], 129),
        ("negative length", address(b"missing"), MAX),
    ]
}

fn names(name: &str, fd: u64) {
    for (call, number) in [("getsockname", GETSOCKNAME), ("getpeername", GETPEERNAME)] {
        let mut octets = [0u8; 128];
        for room in [0u32, 1, 2, 128, u32::MAX, 1 << 31] {
            let mut len = [room, 0];
            let at = len.as_mut_ptr() as u64;
            show(&format!("{call} into {room:#x}, {name}"), number, &[fd, octets.as_mut_ptr() as u64, at]);
            println!("{call}, {name}: {:?}", std::hint::black_box(len)[0]);
        }
        let mut len = [16u32; 1];
        let at = len.as_mut_ptr() as u64;
        for wrong in [0, UNMAPPED, KERNEL_HALF] {
            show(&format!("{call} to {wrong:#x}, {name}"), number, &[fd, wrong, at]);
            show(
                &format!("{call}, length at {wrong:#x}, {name}"),
                number,
                &[fd, octets.as_mut_ptr() as u64, wrong],
            );
        }
    }
}

fn options(name: &str, fd: u64) {
    const KNOWN: [u64; 16] = [2, 3, 4, 6, 7, 8, 9, 13, 16, 17, 20, 21, 30, 38, 39, 42];
    let mut value = [0u64; 4];
    let at = value.as_mut_ptr() as u64;
    for option in KNOWN.into_iter().chain([999, MAX]) {
        let mut len = [32u32; 1];
        let len_at = len.as_mut_ptr() as u64;
        show(&format!("getsockopt {option:#x}, {name}"), GETSOCKOPT, &[fd, 1, option, at, len_at]);
        println!("getsockopt {option:#x}, {name}: {}", std::hint::black_box(len)[0]);
    }
    for (words, level, at, room) in [
        ("little room", 1, at, 2u32),
        ("no room", 1, at, 0),
        ("negative room", 1, at, u32::MAX),
        ("nowhere", 1, 0, 4),
        ("unmapped", 1, UNMAPPED, 4),
        ("of IP", 0, at, 4),
        ("of TCP", 6, at, 4),
        ("of no level", 999, at, 4),
    ] {
        let mut len = [room; 1];
        show(
            &format!("getsockopt, {words}, {name}"),
            GETSOCKOPT,
            &[fd, level, 3, at, len.as_mut_ptr() as u64],
        );
    }
    show(&format!("getsockopt, length nowhere, {name}"), GETSOCKOPT, &[fd, 1, 3, at, 0]);
    for (words, level, option, at, len) in [
        ("too short", 1, 16, at, 3),
        ("no value", 1, 16, at, 0),
        ("negative length", 1, 16, at, MAX),
        ("nowhere", 1, 16, 0, 4),
        ("unmapped", 1, 16, UNMAPPED, 4),
        ("off", 1, 16, at, 4),
        ("longer", 1, 16, at, 32),
        ("what can be read only", 1, 3, at, 4),
        ("no such option", 1, 999, at, 4),
        ("of IP", 0, 1, at, 4),
        ("of TCP", 6, 1, at, 4),
    ] {
        show(&format!("setsockopt, {words}, {name}"), SETSOCKOPT, &[fd, level, option, at, len]);
    }
}

fn octets(name: &str, fd: u64) {
    // Far from the end of the program's part.
    let mut buffer = vec![7u8; 64];
    let at = buffer.as_mut_ptr() as u64;
    for (words, to, len) in addresses() {
        let to = to.as_ptr() as u64;
        show(&format!("sendto, {words}, {name}"), SENDTO, &[fd, at, 3, NOSIGNAL | DONTWAIT, to, len]);
    }
    for wrong in [UNMAPPED, KERNEL_HALF] {
        show(&format!("sendto, to {wrong:#x}, {name}"), SENDTO, &[fd, at, 3, NOSIGNAL, wrong, 16]);
        show(&format!("sendto, from {wrong:#x}, {name}"), SENDTO, &[fd, wrong, 3, NOSIGNAL, 0, 0]);
        show(&format!("recvfrom, to {wrong:#x}, {name}"), RECVFROM, &[fd, wrong, 3, DONTWAIT, 0, 0]);
    }
    show(&format!("sendto, nothing, {name}"), SENDTO, &[fd, at, 0, NOSIGNAL, 0, 0]);
    // How much of it a stream takes is the kernel's affair.
    if !matches!(name, "connected stream" | "stream of a pair") {
        show(&format!("sendto, too much, {name}"), SENDTO, &[fd, at, 1 << 62, NOSIGNAL, 0, 0]);
    }
    for (words, flags) in
        [("waiting for all", 0x100), ("errors", 0x2000), ("peek", 2), ("unknown flags", 1 << 20)]
    {
        show(&format!("recvfrom, {words}, {name}"), RECVFROM, &[fd, at, 8, flags | DONTWAIT, 0, 0]);
    }
    show(&format!("recvfrom nothing, {name}"), RECVFROM, &[fd, at, 0, DONTWAIT, 0, 0]);
    let mut len = [128u32, 0];
    let mut from = [0u8; 128];
    show(
        &format!("recvfrom with an address, {name}"),
        RECVFROM,
        &[fd, at, 8, DONTWAIT, from.as_mut_ptr() as u64, len.as_mut_ptr() as u64],
    );
    println!("recvfrom with an address, {name}: {}", std::hint::black_box(len)[0]);
}

/// Words of a `struct msghdr`.
fn messages(name: &str, fd: u64) {
    let mut buffer = [7u8; 64];
    let piece = [buffer.as_mut_ptr() as u64, 3];
    let pieces = piece.as_ptr() as u64;
    let control = [16u64, 1 << 32 | 99, 0, 0];
    let empty = [16u64, 1 << 32 | 1];
    let short = [15u64, 1 << 32 | 1];
    let elsewhere = [20u64, 5 << 32 | 77, 0];
    let at = |control: &[u64]| control.as_ptr() as u64;
    for (words, header) in [
        ("plain", [0, 0, pieces, 1, 0, 0, 0]),
        ("no pieces", [0, 0, 0, 0, 0, 0, 0]),
        ("too many pieces", [0, 0, pieces, 1025, 0, 0, 0]),
        ("pieces nowhere", [0, 0, UNMAPPED, 1, 0, 0, 0]),
        ("a name nowhere", [UNMAPPED, 16, pieces, 1, 0, 0, 0]),
        ("a name of no octets", [UNMAPPED, 0, pieces, 1, 0, 0, 0]),
        ("a name of negative length", [pieces, 0xffff_ffff, pieces, 1, 0, 0, 0]),
        ("control nowhere", [0, 0, pieces, 1, UNMAPPED, 32, 0]),
        ("control of no octets", [0, 0, pieces, 1, UNMAPPED, 0, 0]),
        ("much control", [0, 0, pieces, 1, UNMAPPED, 1 << 20, 0]),
        ("too much control", [0, 0, pieces, 1, UNMAPPED, 1 << 32, 0]),
        ("control without a header", [0, 0, pieces, 1, at(&control), 8, 0]),
        ("unknown control", [0, 0, pieces, 1, at(&control), 32, 0]),
        ("no descriptors", [0, 0, pieces, 1, at(&empty), 16, 0]),
        ("short control", [0, 0, pieces, 1, at(&short), 16, 0]),
        ("control of another level", [0, 0, pieces, 1, at(&elsewhere), 24, 0]),
    ] {
        show(
            &format!("sendmsg, {words}, {name}"),
            SENDMSG,
            &[fd, header.as_ptr() as u64, NOSIGNAL | DONTWAIT],
        );
        let mut header = std::hint::black_box(header);
        header[4] = if header[4] == UNMAPPED { UNMAPPED } else { 0 };
        show(&format!("recvmsg, {words}, {name}"), RECVMSG, &[fd, header.as_mut_ptr() as u64, DONTWAIT]);
        println!(
            "recvmsg, {words}, {name}: {:?}",
            std::hint::black_box(header)[5..].iter().collect::<Vec<_>>()
        );
    }
    for wrong in [0, UNMAPPED, KERNEL_HALF] {
        show(&format!("sendmsg at {wrong:#x}, {name}"), SENDMSG, &[fd, wrong, NOSIGNAL]);
        show(&format!("recvmsg at {wrong:#x}, {name}"), RECVMSG, &[fd, wrong, DONTWAIT]);
        show(&format!("sendmmsg at {wrong:#x}, {name}"), SENDMMSG, &[fd, wrong, 1, NOSIGNAL]);
        show(&format!("recvmmsg at {wrong:#x}, {name}"), RECVMMSG, &[fd, wrong, 1, DONTWAIT, 0]);
    }
    let mut two = [0, 0, pieces, 1, 0, 0, 0, 0, 0, 0, pieces, 2000, 0, 0, 0, 0];
    let two_at = two.as_mut_ptr() as u64;
    show(&format!("sendmmsg of one and a wrong one, {name}"), SENDMMSG, &[fd, two_at, 2, NOSIGNAL]);
    show(&format!("recvmmsg of one and a wrong one, {name}"), RECVMMSG, &[fd, two_at, 2, DONTWAIT, 0]);
    show(&format!("sendmmsg of none, {name}"), SENDMMSG, &[fd, two_at, 0, NOSIGNAL]);
    show(&format!("recvmmsg, time nowhere, {name}"), RECVMMSG, &[fd, two_at, 1, DONTWAIT, UNMAPPED]);
    show(&format!("sendmsg for 32 bits, {name}"), SENDMSG, &[fd, two_at, NOSIGNAL | 1 << 31]);
}

fn requests(name: &str, fd: u64) {
    let mut number = [0u32; 2];
    let at = number.as_mut_ptr() as u64;
    show(&format!("FIONREAD, {name}"), IOCTL, &[fd, 0x541b, at]);
    println!("FIONREAD, {name}: {}", std::hint::black_box(number)[0]);
    show(&format!("FIONREAD nowhere, {name}"), IOCTL, &[fd, 0x541b, 0]);
    show(&format!("SIOCOUTQ nowhere, {name}"), IOCTL, &[fd, 0x5411, UNMAPPED]);
    show(&format!("no such request, {name}"), IOCTL, &[fd, 0x9999, at]);
}

/// Calls that change what a socket is.
fn states(name: &str, fd: u64) {
    let mut len = [16u32; 1];
    let len_at = len.as_mut_ptr() as u64;
    show(&format!("accept4, unknown flags, {name}"), ACCEPT4, &[fd, 0, 0, 1]);
    show(&format!("accept, no length, {name}"), ACCEPT, &[fd, len_at, 0]);
    show_outcome(&format!("accept, {name}"), ACCEPT, &[fd, 0, 0]);
    show_outcome(&format!("accept once more, {name}"), ACCEPT4, &[fd, 0, len_at, NONBLOCK]);
    for (words, to, len) in addresses() {
        let to = to.as_ptr() as u64;
        show(&format!("connect, {words}, {name}"), CONNECT, &[fd, to, len]);
    }
    for wrong in [0, UNMAPPED, KERNEL_HALF] {
        show(&format!("connect at {wrong:#x}, {name}"), CONNECT, &[fd, wrong, 16]);
        show(&format!("bind at {wrong:#x}, {name}"), BIND, &[fd, wrong, 16]);
    }
    let taken = address(b"bound-stream");
    show(&format!("bind, taken, {name}"), BIND, &[fd, taken.as_ptr() as u64, taken.len() as u64]);
    for (words, to, len) in addresses() {
        let to = to.as_ptr() as u64;
        show(&format!("bind, {words}, {name}"), BIND, &[fd, to, len]);
    }
    let _ = std::fs::remove_file("missing");
    show(&format!("listen, {name}"), LISTEN, &[fd, MAX]);
    for how in [3, MAX, 0, 1, 2] {
        show(&format!("shutdown {how:#x}, {name}"), SHUTDOWN, &[fd, how]);
    }
    // What Linux says of sequenced packets then depends on what was sent before.
    if !name.contains("seqpacket") {
        let buffer = [7u8; 8];
        let arguments = [fd, buffer.as_ptr() as u64, 3, NOSIGNAL | DONTWAIT, 0, 0];
        show(&format!("sendto afterwards, {name}"), SENDTO, &arguments);
    }
}
