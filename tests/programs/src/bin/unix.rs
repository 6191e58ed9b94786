//! Local sockets (unix(7)): names, connections, datagrams, descriptors and credentials that are passed. The same on Linux.

use std::collections::HashSet;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use libc::{SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM};

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(format!("/tmp/includeos-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::env::set_current_dir(&folder)?;
    names()?;
    abstract_names();
    backlog();
    connections()?;
    datagrams()?;
    full_queues();
    sequenced();
    rights()?;
    rights_in_streams()?;
    truncated_rights();
    cycles();
    credentials()?;
    peeked();
    readiness();
    deep();
    storm();
    std::env::set_current_dir("/")?;
    std::fs::remove_dir_all(&folder)
}

// Calls.

fn told<T>(result: std::io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().unwrap_or(0))
}

fn checked(result: isize) -> Result<usize, i32> {
    if result < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(result as usize)
    }
}

fn socket(kind: i32) -> OwnedFd {
    // SAFETY: the descriptor is new, and owned from here on.
    unsafe {
        OwnedFd::from_raw_fd(
            checked(libc::socket(libc::AF_UNIX, kind, 0) as isize).expect("a socket") as RawFd
        )
    }
}

fn pair(kind: i32) -> [OwnedFd; 2] {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors, which are owned from here on.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()), 0);
        fds.map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// A `struct sockaddr_un` with these octets of a path.
fn address(path: &[u8]) -> Vec<u8> {
    [&(libc::AF_UNIX as u16).to_le_bytes()[..], path].concat()
}

fn bind(fd: &OwnedFd, address: &[u8]) -> Result<usize, i32> {
    // SAFETY: the octets and their length.
    checked(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) } as isize)
}

fn connect(fd: &OwnedFd, address: &[u8]) -> Result<usize, i32> {
    // SAFETY: the octets and their length.
    checked(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) } as isize)
}

fn listen(fd: &OwnedFd, backlog: i32) -> Result<usize, i32> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::listen(fd.as_raw_fd(), backlog) } as isize)
}

fn accept(fd: &OwnedFd) -> Result<OwnedFd, i32> {
    // SAFETY: no address is asked for; the descriptor is new.
    let accepted =
        checked(unsafe { libc::accept(fd.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut()) } as isize);
    // SAFETY: it is new, and owned from here on.
    accepted.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

type Named = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut u32) -> i32;

/// What a call says of an address with so much room for it.
fn name_of(call: Named, fd: &OwnedFd, room: u32) -> Result<Vec<u8>, i32> {
    let (mut octets, mut len) = ([0xaau8; 128], room);
    // SAFETY: there is room for more than `room` octets.
    checked(unsafe { call(fd.as_raw_fd(), octets.as_mut_ptr().cast(), &raw mut len) } as isize)?;
    assert!(
        octets[(room.min(len)) as usize..].iter().all(|octet| *octet == 0xaa),
        "no more than fits was written"
    );
    Ok([&len.to_le_bytes()[..1], &octets[..room.min(len) as usize]].concat())
}

fn own(fd: &OwnedFd) -> String {
    shown(name_of(libc::getsockname, fd, 128))
}

fn peer(fd: &OwnedFd) -> String {
    shown(name_of(libc::getpeername, fd, 128))
}

fn shown(name: Result<Vec<u8>, i32>) -> String {
    match name {
        Ok(name) => format!("{} {}", name[0], name[1..].escape_ascii()),
        Err(error) => format!("error {error}"),
    }
}

fn send(fd: &OwnedFd, octets: &[u8], flags: i32) -> Result<usize, i32> {
    // SAFETY: the octets and their length.
    checked(unsafe {
        libc::send(fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), flags | libc::MSG_NOSIGNAL)
    })
}

fn sendto(fd: &OwnedFd, octets: &[u8], to: &[u8]) -> Result<usize, i32> {
    // SAFETY: the octets, the address, and their lengths.
    checked(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            octets.as_ptr().cast(),
            octets.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            to.as_ptr().cast(),
            to.len() as u32,
        )
    })
}

fn receive(fd: &OwnedFd, room: usize, flags: i32) -> Result<String, i32> {
    let mut octets = vec![0; room];
    // SAFETY: the buffer and its length.
    let len = checked(unsafe { libc::recv(fd.as_raw_fd(), octets.as_mut_ptr().cast(), room, flags) })?;
    Ok(format!("{len} {}", octets[..len.min(room)].escape_ascii()))
}

/// What is received, and from whom.
fn receive_from(fd: &OwnedFd) -> String {
    let (mut octets, mut name, mut len) = ([0u8; 64], [0xaau8; 128], 128);
    // SAFETY: the buffers and their lengths.
    let received = checked(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            octets.as_mut_ptr().cast(),
            64,
            libc::MSG_DONTWAIT,
            name.as_mut_ptr().cast(),
            &raw mut len,
        )
    });
    match received {
        Ok(received) => format!(
            "{} from {len} {}",
            octets[..received].escape_ascii(),
            name[..len as usize].escape_ascii()
        ),
        Err(error) => format!("error {error}"),
    }
}

fn events(fd: &impl AsRawFd) -> i16 {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one entry, alive for the call.
    unsafe { libc::poll(&raw mut entry, 1, 0) };
    entry.revents
}

fn option(fd: &impl AsRawFd, name: i32) -> Result<Vec<i32>, i32> {
    let (mut value, mut len) = ([0i32; 4], 16u32);
    // SAFETY: the buffer and its length.
    checked(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut len)
    } as isize)?;
    Ok(value[..len as usize / 4].to_vec())
}

fn set_option(fd: &impl AsRawFd, name: i32, value: i32) -> Result<usize, i32> {
    // SAFETY: the value and its length.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const value).cast(), 4) }
        as isize)
}

/// One control message.
fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut octets = (16 + data.len() as u64).to_le_bytes().to_vec();
    octets.extend(level.to_le_bytes());
    octets.extend(kind.to_le_bytes());
    octets.extend(data);
    octets.resize(octets.len().next_multiple_of(8), 0);
    octets
}

fn descriptors(fds: &[RawFd]) -> Vec<u8> {
    control(
        libc::SOL_SOCKET,
        libc::SCM_RIGHTS,
        &fds.iter().flat_map(|fd| fd.to_le_bytes()).collect::<Vec<_>>(),
    )
}

fn sendmsg(fd: &impl AsRawFd, octets: &[u8], control: &[u8]) -> Result<usize, i32> {
    let pieces = [IoSlice::new(octets)];
    // SAFETY: all zeroes is an empty header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = pieces.as_ptr().cast_mut().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len();
    // SAFETY: the header's buffers are alive for the call.
    checked(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    })
}

/// A message that was received.
struct Message {
    text: String,
    descriptors: Vec<OwnedFd>,
}

/// Receives with room for so many octets and so many control octets.
fn recvmsg(fd: &impl AsRawFd, room: usize, control_room: usize, flags: i32) -> Result<Message, i32> {
    let (mut octets, mut control) = (vec![0u8; room], vec![0u64; control_room.div_ceil(8) + 1]);
    let mut piece = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: room };
    // SAFETY: all zeroes is an empty header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control_room;
    // SAFETY: the header's buffers are alive for the call.
    let len = checked(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT) })?;
    let mut text = format!(
        "{len} {} flags {:#x} control {}",
        octets[..len.min(room)].escape_ascii(),
        header.msg_flags,
        header.msg_controllen
    );
    let control: Vec<u8> =
        control.iter().flat_map(|word| word.to_le_bytes()).take(header.msg_controllen).collect();
    let (mut at, mut descriptors) = (0, Vec::new());
    while let Some(header) = control.get(at..at + 16) {
        let word =
            |at: usize| i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let len = word(0) as usize;
        let data = &control[at + 16..(at + len).min(control.len())];
        text += &format!(" [{len} {} {}", word(8), word(12));
        let numbers = data.chunks_exact(4).map(|number| i32::from_le_bytes(number.try_into().expect("four")));
        if (word(8), word(12)) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: they are new, and owned from here on.
            descriptors.extend(numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        } else {
            let numbers: Vec<i32> = numbers.collect();
            text += &format!(
                " {}",
                if numbers.first() == Some(&(std::process::id() as i32)) { "own" } else { "other" }
            );
            text += &format!(" {:?}", &numbers.get(1..).unwrap_or_default());
        }
        text += "]";
        at += len.next_multiple_of(8);
    }
    Ok(Message { text, descriptors })
}

fn show(message: Result<Message, i32>) -> String {
    message.map_or_else(|error| format!("error {error}"), |message| message.text)
}

/// Descriptors that are open.
fn open_descriptors() -> usize {
    // SAFETY: asking for flags changes nothing.
    (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).count()
}

// What is looked at.

fn names() -> std::io::Result<()> {
    let unbound = socket(SOCK_STREAM);
    println!("unbound: {} / {}", own(&unbound), peer(&unbound));
    println!("bind: {:?}", bind(&unbound, &address(b"one\0rest")));
    println!("own: {}", own(&unbound));
    println!("own, little room: {}", shown(name_of(libc::getsockname, &unbound, 4)));
    println!("own, no room: {}", shown(name_of(libc::getsockname, &unbound, 0)));
    let stat = std::fs::symlink_metadata("one")?;
    println!(
        "node: {} {:o} {}",
        stat.file_type().is_socket(),
        stat.permissions().mode() & 0o777,
        stat.nlink()
    );
    // SAFETY: one number.
    unsafe { libc::umask(0o077) };
    println!("again, other name: {:?} {}", bind(&unbound, &address(b"two")), std::fs::exists("two")?);
    println!("again, same name: {:?}", bind(&unbound, &address(b"one")));
    println!("taken: {:?}", bind(&socket(SOCK_DGRAM), &address(b"one")));
    println!("opened: {:?}", told(std::fs::File::open("one").map(drop)));
    let private = socket(SOCK_DGRAM);
    println!("private: {:?}", bind(&private, &address(b"private")));
    println!("{:o}", std::fs::metadata("private")?.permissions().mode() & 0o777);
    // SAFETY: one number.
    unsafe { libc::umask(0o022) };
    std::fs::write("file", "x")?;
    std::os::unix::fs::symlink("nothing", "dangling")?;
    std::os::unix::fs::symlink("one", "link")?;
    for path in ["missing/x", "file/x", "x/", ".", "..", "/", "dangling", "link"] {
        println!("bind {path}: {:?}", bind(&socket(SOCK_STREAM), &address(path.as_bytes())));
    }
    println!("bind /proc/x: {:?}", bind(&socket(SOCK_STREAM), &address(b"/proc/x")).is_err());
    let long = [b'l'; 108];
    println!("long: {:?}", bind(&socket(SOCK_STREAM), &address(&long)));
    println!("too long: {:?}", bind(&socket(SOCK_STREAM), &address(&[b'l'; 109])));
    println!("family alone of another: {:?}", bind(&socket(SOCK_STREAM), &[2, 0]));
    println!("one octet: {:?}", bind(&socket(SOCK_STREAM), &[1]));

    for path in ["missing", "file", "file/x", "one", "link", "dangling", "private"] {
        println!("connect {path}: {:?}", connect(&socket(SOCK_STREAM), &address(path.as_bytes())));
    }
    println!("connect, no name: {:?}", connect(&socket(SOCK_STREAM), &address(b"")));
    println!("connect, no family: {:?}", connect(&socket(SOCK_STREAM), &[0, 0]));
    println!("listen: {:?}", listen(&unbound, 5));
    println!("connect: {:?}", connect(&socket(SOCK_STREAM), &address(b"one")));
    println!("by a link: {:?}", connect(&socket(SOCK_STREAM), &address(b"link")));
    println!(
        "other kinds: {:?} {:?}",
        connect(&socket(SOCK_DGRAM), &address(b"one")),
        connect(&socket(SOCK_SEQPACKET), &address(b"one"))
    );
    std::fs::rename("one", "moved")?;
    println!("moved: {:?} {}", connect(&socket(SOCK_STREAM), &address(b"moved")), own(&unbound));
    std::fs::hard_link("moved", "hard")?;
    std::fs::remove_file("moved")?;
    println!(
        "unlinked: {:?} {:?}",
        connect(&socket(SOCK_STREAM), &address(b"moved")),
        connect(&socket(SOCK_STREAM), &address(b"hard"))
    );
    drop(unbound);
    println!("closed: {:?}", connect(&socket(SOCK_STREAM), &address(b"hard")));
    println!("still there: {}", std::fs::exists("hard")?);
    Ok(())
}

fn abstract_names() {
    let one = socket(SOCK_STREAM);
    let name = format!("\0includeos-{}", std::process::id());
    let name = address(name.as_bytes());
    println!("bind: {:?} {}", bind(&one, &name), own(&one).len() == 3 + 1 + 3 + 4 + 4 + name.len() - 3);
    println!(
        "taken: {:?}, of another kind: {:?}",
        bind(&socket(SOCK_STREAM), &name),
        bind(&socket(SOCK_DGRAM), &name)
    );
    println!("longer: {:?}", bind(&socket(SOCK_STREAM), &[&name[..], b"\0"].concat()));
    println!("not listening: {:?}", connect(&socket(SOCK_STREAM), &name));
    println!("other kind: {:?}", connect(&socket(SOCK_DGRAM), &name));
    println!("listen: {:?}, {:?}", listen(&one, 1), connect(&socket(SOCK_STREAM), &name));
    drop(one);
    println!(
        "closed: {:?}, free: {:?}",
        connect(&socket(SOCK_STREAM), &name),
        bind(&socket(SOCK_STREAM), &name)
    );
    let auto = [socket(SOCK_DGRAM), socket(SOCK_DGRAM)];
    println!("autobind: {:?} {:?}", bind(&auto[0], &address(b"")), bind(&auto[1], &address(b"")));
    let names = auto.each_ref().map(|fd| name_of(libc::getsockname, fd, 128).expect("it has one"));
    println!("{} {}, they differ: {}", names[0][0], names[0][3], names[0] != names[1]);
    println!("again: {:?} {:?}", bind(&auto[0], &address(b"")), bind(&auto[0], &address(b"x")));
    println!("still: {}", name_of(libc::getsockname, &auto[0], 128).as_ref() == Ok(&names[0]));
}

fn backlog() {
    let listener = socket(SOCK_STREAM);
    println!("listen unbound: {:?}", listen(&listener, 1));
    let name = address(b"backlog");
    bind(&listener, &name).expect("a name");
    println!("accept: {:?}", accept(&listener).map(drop));
    println!(
        "options: {:?} {:?}",
        option(&listener, libc::SO_ACCEPTCONN),
        option(&listener, libc::SO_PEERCRED)
    );
    listen(&listener, 1).expect("it can");
    println!("options: {:?}", option(&listener, libc::SO_ACCEPTCONN));
    println!("events: {:#x}", events(&listener));
    println!("connect itself: {:?}", connect(&listener, &name));
    let clients: Vec<OwnedFd> = (0..4).map(|_| socket(SOCK_STREAM | SOCK_NONBLOCK)).collect();
    println!("{:?}", clients.iter().map(|client| connect(client, &name)).collect::<Vec<_>>());
    println!("events: {:#x}", events(&listener));
    println!("read and write: {:?} {:?}", receive(&listener, 4, 0), send(&listener, b"x", 0));
    println!("connect again: {:?}", connect(&clients[0], &name));
    println!("more room: {:?} {:?}", listen(&listener, 2), connect(&clients[2], &name));
    println!("names: {} | {} | {}", own(&clients[0]), peer(&clients[0]), peer(&clients[3]));
    // Blocked until one is accepted.
    let waiting = thread::spawn(move || connect(&socket(SOCK_STREAM), &address(b"backlog")));
    let accepted: Vec<_> = (0..4).map(|_| accept(&listener).expect("one after the other")).collect();
    println!("waited: {:?}", waiting.join().expect("no panic"));
    println!("accepted: {} | {}", own(&accepted[0]), peer(&accepted[0]));
    drop(accepted);
    let last = socket(SOCK_STREAM);
    println!("last: {:?} {:?}", connect(&last, &name), send(&last, b"lost", 0));
    drop(listener);
    println!("reset: {:?} {:?} {:?}", receive(&last, 4, 0), receive(&last, 4, 0), send(&last, b"x", 0));

    let listener = socket(SOCK_STREAM);
    bind(&listener, &address(b"shut")).expect("a name");
    listen(&listener, 1).expect("it can");
    // SAFETY: no memory is passed.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) };
    println!(
        "shut: {:?} {:?} {:#x}",
        connect(&socket(SOCK_STREAM), &address(b"shut")),
        accept(&listener).map(drop),
        events(&listener)
    );
}

fn connections() -> std::io::Result<()> {
    let listener = UnixListener::bind("listener")?;
    let server = thread::spawn(move || -> std::io::Result<usize> {
        let mut total = 0;
        for stream in listener.incoming().take(20) {
            let mut stream = stream?;
            let mut request = Vec::new();
            stream.read_to_end(&mut request)?;
            total += request.len();
            stream.write_all(format!("{} octets", request.len()).as_bytes())?;
        }
        Ok(total)
    });
    let clients: Vec<_> = (0..20u32)
        .map(|n| {
            thread::spawn(move || -> std::io::Result<bool> {
                let mut stream = UnixStream::connect("listener")?;
                let request = vec![n as u8; 10_000 * n as usize];
                stream.write_all(&request)?;
                stream.shutdown(std::net::Shutdown::Write)?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer == format!("{} octets", request.len()))
            })
        })
        .collect();
    let answers = clients.into_iter().all(|client| client.join().expect("no panic").expect("it is served"));
    println!("answers: {answers}, octets: {}", server.join().expect("no panic")?);

    let unconnected = socket(SOCK_STREAM);
    println!(
        "unconnected: {:?} {:?} {:?} {:#x}",
        receive(&unconnected, 4, 0),
        send(&unconnected, b"x", 0),
        sendto(&unconnected, b"x", &address(b"x")),
        events(&unconnected)
    );
    println!(
        "peer: {:?} {:?}",
        option(&unconnected, libc::SO_PEERCRED),
        option(&unconnected, libc::SO_ERROR)
    );
    for name in [
        libc::SO_TYPE,
        libc::SO_DOMAIN,
        libc::SO_PROTOCOL,
        libc::SO_SNDBUF,
        libc::SO_RCVBUF,
        libc::SO_PASSCRED,
        libc::SO_PEEK_OFF,
    ] {
        println!("option {name}: {:?}", option(&unconnected, name));
    }
    let [left, right] = pair(SOCK_STREAM);
    println!(
        "connected: {:?} {:?}",
        sendto(&left, b"x", &address(b"x")),
        connect(&left, &address(b"listener"))
    );
    println!("nothing: {:?} {:?}", send(&left, b"", 0), receive(&right, 0, libc::MSG_DONTWAIT));
    send(&left, b"abc", 0).expect("room");
    println!("none of it: {:?}, some: {:?}", receive(&right, 0, 0), receive(&right, 2, 0));
    println!("urgent: {:?} {:?}", receive(&right, 1, libc::MSG_OOB), receive(&right, 9, 0));
    // SAFETY: no memory is passed.
    unsafe { libc::shutdown(right.as_raw_fd(), libc::SHUT_RD) };
    println!("reader shut: {:?} {:#x} {:#x}", send(&left, b"x", 0), events(&left), events(&right));
    println!("the other way: {:?} {:?}", send(&right, b"back", 0), receive(&left, 9, 0));
    Ok(())
}

fn datagrams() -> std::io::Result<()> {
    let (server, client) = (socket(SOCK_DGRAM), socket(SOCK_DGRAM));
    bind(&server, &address(b"server")).expect("a name");
    println!(
        "unconnected: {:?} {:?} {:#x}",
        send(&client, b"x", 0),
        receive(&client, 4, libc::MSG_DONTWAIT),
        events(&client)
    );
    println!(
        "to nobody: {:?} {:?}",
        sendto(&client, b"x", &address(b"missing")),
        sendto(&client, b"x", &address(b"file"))
    );
    println!(
        "to none: {:?} {:?} {:?}",
        sendto(&client, b"x", &address(b"")),
        sendto(&client, b"x", &[2; 16]),
        sendto(&client, b"x", &[0, 0])
    );
    println!(
        "sent: {:?} {:?}",
        sendto(&client, b"unnamed", &address(b"server")),
        sendto(&server, b"self", &address(b"server"))
    );
    println!("{} / {}", receive_from(&server), receive_from(&server));
    bind(&client, &address(b"client")).expect("a name");
    println!("connect: {:?}, {}", connect(&client, &address(b"server")), peer(&client));
    println!("sent: {:?} {:?}", send(&client, b"", 0), send(&client, b"named", 0));
    println!("{} / {}", receive_from(&server), receive_from(&server));
    println!("cut: {:?} {:?}", send(&client, b"long message", 0), receive(&server, 4, libc::MSG_TRUNC));
    let other = socket(SOCK_DGRAM);
    println!("to one that is not connected: {:?}", sendto(&other, b"x", &address(b"server")));
    println!(
        "to one that is: {:?} {:?}",
        sendto(&other, b"x", &address(b"client")),
        connect(&other, &address(b"client"))
    );
    println!("back: {:?} {:?}", sendto(&server, b"answer", &address(b"client")), receive(&client, 9, 0));
    println!(
        "both ways: {:?} {:?} {:?}",
        connect(&server, &address(b"client")),
        receive(&server, 9, 0),
        sendto(&other, b"x", &address(b"server"))
    );
    send(&client, b"lost", 0).expect("room");
    println!("disconnected: {:?} {}", connect(&server, &[0, 0]), peer(&server));
    println!(
        "told: {:?} {:?} {:?}",
        option(&client, libc::SO_ERROR),
        receive(&server, 9, libc::MSG_DONTWAIT),
        send(&client, b"x", 0)
    );
    println!(
        "too long: {:?} {:?}",
        send(&client, &vec![0; 212_960], libc::MSG_DONTWAIT),
        send(&client, &vec![0; 212_961], libc::MSG_DONTWAIT)
    );
    println!("no more: {:?}", send(&client, b"x", libc::MSG_DONTWAIT));
    drop(server);
    println!("closed: {:?} {:?} {:#x}", send(&client, b"x", 0), send(&client, b"x", 0), events(&client));
    println!("its name: {:?}", connect(&client, &address(b"server")));
    println!("listen, accept: {:?} {:?}", listen(&client, 1), accept(&client).map(drop));
    // SAFETY: no memory is passed.
    unsafe { libc::shutdown(client.as_raw_fd(), libc::SHUT_RDWR) };
    println!(
        "shut: {:?} {:?} {:?} {:#x}",
        sendto(&client, b"x", &address(b"client")),
        receive(&client, 4, libc::MSG_DONTWAIT),
        receive(&client, 4, 0),
        events(&client)
    );

    let (left, right) = UnixDatagram::pair()?;
    right.set_read_timeout(Some(Duration::from_millis(10)))?;
    println!("pair: {:?} {:?}", told(right.recv(&mut [0; 4])), told(left.send(b"x")));
    Ok(())
}

/// Senders that wait for room in the receiver's queue, and those that ask whether there is.
fn full_queues() {
    let server = socket(SOCK_DGRAM);
    bind(&server, &address(b"queue")).expect("a name");
    let client = socket(SOCK_DGRAM);
    connect(&client, &address(b"queue")).expect("it is there");
    let sent = (0..100).take_while(|_| send(&client, b"x", libc::MSG_DONTWAIT).is_ok()).count();
    println!(
        "sent {sent}, then {:?} {:?}",
        send(&client, b"x", libc::MSG_DONTWAIT),
        sendto(&socket(SOCK_DGRAM), b"x", &address(b"queue"))
    );
    println!("events: {:#x}", events(&client));
    // SAFETY: an instance, and one event for one descriptor.
    let (epoll, added) = unsafe {
        let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(0));
        let mut event = libc::epoll_event { events: (libc::EPOLLOUT | libc::EPOLLET) as u32, u64: 7 };
        let added =
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, client.as_raw_fd(), &raw mut event);
        (epoll, added)
    };
    let wait = |timeout| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event.
        let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, timeout) };
        (count, if count > 0 { event.events } else { 0 })
    };
    println!("added {added}, full: {:?}", wait(0));
    let reader = thread::spawn(move || {
        let read = (0..sent).filter(|_| receive(&server, 4, 0).is_ok()).count();
        (server, read)
    });
    println!("drained: {:?}", wait(10_000));
    let (server, read) = reader.join().expect("no panic");
    println!("read {read}, events: {:#x}", events(&client));
    // A sender that waits.
    let sender = thread::spawn(move || (0..200).filter(|_| send(&client, b"y", 0).is_ok()).count());
    let received = (0..200).filter(|_| receive(&server, 4, 0).is_ok()).count();
    println!("waited for room: {} {received}", sender.join().expect("no panic"));
    let client = socket(SOCK_DGRAM);
    connect(&client, &address(b"queue")).expect("it is there");
    while send(&client, b"x", libc::MSG_DONTWAIT).is_ok() {}
    let sender = thread::spawn(move || send(&client, b"z", 0));
    thread::sleep(Duration::from_millis(20));
    drop(server);
    println!("receiver closed: {:?}", sender.join().expect("no panic"));
}

fn sequenced() {
    let listener = socket(SOCK_SEQPACKET);
    bind(&listener, &address(b"packets")).expect("a name");
    listen(&listener, 4).expect("it can");
    let client = socket(SOCK_SEQPACKET);
    println!("before: {:?} {:?} {:#x}", send(&client, b"x", 0), receive(&client, 4, 0), events(&client));
    println!("connect: {:?}", connect(&client, &address(b"packets")));
    let server = accept(&listener).expect("it is connected");
    println!(
        "sent: {:?} {:?} {:?}",
        send(&client, b"one", 0),
        send(&client, b"", 0),
        send(&client, b"three", 0)
    );
    println!(
        "received: {:?} {:?} {:?}",
        receive(&server, 9, 0),
        receive(&server, 9, 0),
        receive(&server, 2, libc::MSG_TRUNC)
    );
    println!(
        "an address is not looked at: {:?} {:?}",
        sendto(&client, b"x", &address(b"nobody")),
        receive(&server, 9, 0)
    );
    let sent = (0..40).take_while(|_| send(&client, b"x", libc::MSG_DONTWAIT).is_ok()).count();
    println!("many: {sent}");
    drop(server);
    println!(
        "reset: {:?} {:?} {:?} {:#x}",
        send(&client, b"x", 0),
        send(&client, b"x", 0),
        receive(&client, 9, 0),
        events(&client)
    );
}

fn rights() -> std::io::Result<()> {
    let before = open_descriptors();
    let (left, right) = UnixDatagram::pair()?;
    let (mut reader, writer) = std::io::pipe()?;
    println!("sent: {:?}", sendmsg(&left, b"pipe", &descriptors(&[writer.as_raw_fd(), left.as_raw_fd()])));
    drop(writer);
    let message = recvmsg(&right, 16, 64, libc::MSG_PEEK).expect("it is there");
    println!("peeked: {}", message.text);
    drop(message);
    let message = recvmsg(&right, 16, 64, libc::MSG_CMSG_CLOEXEC).expect("it is there");
    println!("received: {}", message.text);
    // SAFETY: asking for flags changes nothing.
    let flags = |fd: &OwnedFd| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    println!("flags: {:?}", message.descriptors.iter().map(flags).collect::<Vec<_>>());
    let mut descriptors_of = message.descriptors.into_iter();
    let mut writer = std::fs::File::from(descriptors_of.next().expect("two"));
    writer.write_all(b"by the pipe")?;
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    println!("{text}, {:?}", send(&descriptors_of.next().expect("two"), b"by itself", 0));
    println!("{:?}", told(right.recv(&mut [0; 16])));
    drop((left, reader));
    // Closed with a descriptor on its way.
    let (mut reader, writer) = std::io::pipe()?;
    let (left, other) = UnixDatagram::pair()?;
    sendmsg(&left, b"x", &descriptors(&[writer.as_raw_fd()])).expect("room");
    drop((writer, left, other));
    println!("closed on its way: {:?}", told(reader.read(&mut [0; 4])));
    // What is wrong.
    let (left, other) = UnixStream::pair()?;
    let fd = left.as_raw_fd();
    println!(
        "no descriptor: {:?} {:?}",
        sendmsg(&left, b"x", &descriptors(&[-1])),
        sendmsg(&left, b"x", &descriptors(&[fd, 1000]))
    );
    println!(
        "too many: {:?} {:?}",
        sendmsg(&left, b"x", &descriptors(&[fd; 253])),
        sendmsg(&left, b"x", &descriptors(&[fd; 254]))
    );
    println!(
        "twice: {:?}",
        sendmsg(&left, b"x", &[descriptors(&[fd; 200]), descriptors(&[fd; 54])].concat())
    );
    println!("none: {:?}", sendmsg(&left, b"x", &descriptors(&[])));
    for (name, control) in [
        ("short", vec![0; 15]),
        ("zero length", vec![0; 16]),
        ("too long", [&17u64.to_le_bytes()[..], &[1, 0, 0, 0, 1, 0, 0, 0]].concat()),
        ("no such kind", control(libc::SOL_SOCKET, 99, &[])),
        ("no such level", control(99, 1, &[1; 8])),
        ("credentials, short", control(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[0; 8])),
        (
            "of nobody",
            control(
                libc::SOL_SOCKET,
                libc::SCM_CREDENTIALS,
                &[0xff, 0xff, 0xff, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        ),
    ] {
        println!("{name}: {:?}", sendmsg(&left, b"x", &control));
    }
    // SAFETY: no memory is passed.
    let closed = unsafe { BorrowedFd::borrow_raw(fd) };
    println!("without octets: {:?}", sendmsg(&closed, b"", &descriptors(&[fd])));
    let inet = std::net::UdpSocket::bind("127.0.0.1:0")?;
    inet.connect(inet.local_addr()?)?;
    println!("by UDP: {:?}", sendmsg(&inet, b"x", &descriptors(&[fd])));
    drop((left, other, right, reader, inet));
    println!("left open: {}", open_descriptors() - before);
    Ok(())
}

/// A message with descriptors ends what one receive gives, and begins none.
fn rights_in_streams() -> std::io::Result<()> {
    let (left, right) = UnixStream::pair()?;
    for (octets, with) in [("aa", false), ("bb", true), ("cc", false), ("dd", true), ("ee", true)] {
        let control = if with { descriptors(&[left.as_raw_fd()]) } else { Vec::new() };
        sendmsg(&left, octets.as_bytes(), &control).expect("room");
    }
    println!("{}", show(recvmsg(&right, 16, 24, libc::MSG_PEEK)));
    for room in [1, 16, 3, 16, 16, 16] {
        println!("{}", show(recvmsg(&right, room, 24, 0)));
    }
    sendmsg(&left, b"read", &descriptors(&[left.as_raw_fd()])).expect("room");
    println!("by read: {:?}", told((&right).read(&mut [0; 16])));
    Ok(())
}

fn truncated_rights() {
    let before = open_descriptors();
    for room in [0, 8, 16, 19, 20, 23, 24, 27, 28, 32, 40] {
        let [left, right] = pair(SOCK_DGRAM);
        let fd = left.as_raw_fd();
        sendmsg(&left, b"x", &descriptors(&[fd, fd, fd])).expect("room");
        println!("room for {room}: {}", show(recvmsg(&right, 16, room, 0)));
    }
    println!("left open: {}", open_descriptors() - before);
}

/// Sockets that are kept by nothing but messages in their own queues are closed.
fn cycles() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let with_pipe = |fd: &OwnedFd| descriptors(&[fd.as_raw_fd(), writer.as_raw_fd()]);
    let [a, b] = pair(SOCK_DGRAM);
    // Itself.
    sendmsg(&b, b"x", &with_pipe(&a)).expect("room");
    // Both ends of a pair in each other's queue.
    let [c, d] = pair(SOCK_STREAM);
    sendmsg(&c, b"x", &with_pipe(&d)).expect("room");
    sendmsg(&d, b"x", &with_pipe(&c)).expect("room");
    // A listener in the queue of a connection that was not accepted.
    let listener = socket(SOCK_STREAM);
    bind(&listener, &address(b"cycle")).expect("a name");
    listen(&listener, 4).expect("it can");
    let client = socket(SOCK_STREAM);
    connect(&client, &address(b"cycle")).expect("it listens");
    sendmsg(&client, b"x", &with_pipe(&listener)).expect("room");
    drop((a, b, c, d, listener, client, writer));
    // One more that is closed: Linux looks for the others then, and takes its time.
    drop(socket(SOCK_STREAM));
    let mut reader = reader;
    println!("all are closed: {:?}", told(reader.read(&mut [0; 1])));
}

fn credentials() -> std::io::Result<()> {
    let [left, right] = pair(SOCK_DGRAM);
    println!(
        "peer: {}",
        option(&left, libc::SO_PEERCRED).is_ok_and(|peer| peer[0] == std::process::id() as i32)
    );
    send(&left, b"before", 0).expect("room");
    println!(
        "asked for: {:?} {:?}",
        set_option(&right, libc::SO_PASSCRED, 1),
        option(&right, libc::SO_PASSCRED)
    );
    send(&left, b"after", 0).expect("room");
    let mut own = std::process::id().to_le_bytes().to_vec();
    own.extend([0; 8]);
    let mut other = std::process::id().to_le_bytes().to_vec();
    other.extend([1, 0, 0, 0, 2, 0, 0, 0]);
    for given in [own, other] {
        sendmsg(&left, b"given", &control(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &given)).expect("it may");
    }
    for room in [64, 64, 64, 20, 8] {
        println!("{}", show(recvmsg(&right, 16, room, 0)));
    }
    let [left, right] = pair(SOCK_STREAM);
    set_option(&right, libc::SO_PASSCRED, 1).expect("it can be asked for");
    send(&left, b"one", 0).expect("room");
    send(&left, b"two", 0).expect("room");
    let mut given = std::process::id().to_le_bytes().to_vec();
    given.extend([7, 0, 0, 0, 7, 0, 0, 0]);
    sendmsg(&left, b"three", &control(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &given)).expect("it may");
    sendmsg(&left, b"four", &descriptors(&[left.as_raw_fd()])).expect("room");
    for _ in 0..3 {
        println!("{}", show(recvmsg(&right, 64, 64, 0)));
    }
    Ok(())
}

fn peeked() {
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let [left, right] = pair(kind);
        println!(
            "offset: {:?} {:?}",
            set_option(&right, libc::SO_PEEK_OFF, 1),
            option(&right, libc::SO_PEEK_OFF)
        );
        for octets in [b"abcd", b"efgh", b"ijkl"] {
            send(&left, octets, 0).expect("room");
        }
        let peek = || receive(&right, 2, libc::MSG_PEEK | libc::MSG_DONTWAIT);
        println!("{:?} {:?} {:?}", peek(), peek(), peek());
        println!("{:?} {:?}", receive(&right, 3, 0), option(&right, libc::SO_PEEK_OFF));
        println!("{:?} {:?}", peek(), option(&right, libc::SO_PEEK_OFF));
        set_option(&right, libc::SO_PEEK_OFF, -1).expect("off");
        println!("{:?} {:?}", receive(&right, 64, libc::MSG_PEEK), receive(&right, 64, libc::MSG_PEEK));
        let mut queued = 0;
        // SAFETY: one number is written.
        unsafe { libc::ioctl(right.as_raw_fd(), libc::FIONREAD, &raw mut queued) };
        println!("queued: {queued}");
    }
    let [left, right] = pair(SOCK_STREAM);
    let waiter = thread::spawn(move || receive(&right, 6, libc::MSG_WAITALL));
    send(&left, b"abc", 0).expect("room");
    thread::sleep(Duration::from_millis(10));
    send(&left, b"defg", 0).expect("room");
    println!("all: {:?}", waiter.join().expect("no panic"));
}

fn readiness() {
    for kind in [SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM] {
        let [left, right] = pair(kind);
        print!("{:#x}", events(&left));
        while send(&left, &[0; 1000], libc::MSG_DONTWAIT).is_ok() {}
        print!(" {:#x} {:#x}", events(&left), events(&right));
        while receive(&right, 5000, libc::MSG_DONTWAIT).is_ok() {}
        print!(" {:#x} {:#x}", events(&left), events(&right));
        // SAFETY: no memory is passed.
        unsafe { libc::shutdown(left.as_raw_fd(), libc::SHUT_WR) };
        print!(" {:#x} {:#x}", events(&left), events(&right));
        drop(left);
        println!(" {:#x}", events(&right));
    }
}

/// Sockets in each other's queues, many deep, that all go when the last one is closed.
fn deep() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let [mut outer, mut keep] = pair(SOCK_DGRAM);
    sendmsg(&outer, b"x", &descriptors(&[writer.as_raw_fd()])).expect("room");
    drop(writer);
    for _ in 0..500 {
        let [next, next_keep] = pair(SOCK_DGRAM);
        sendmsg(&next, b"x", &descriptors(&[keep.as_raw_fd()])).expect("room");
        (outer, keep) = (next, next_keep);
    }
    drop((outer, keep));
    println!("deep: {:?}", told(reader.read(&mut [0; 1])));
}

/// Threads that connect, pass descriptors of what they are connected by, and close, all at once.
fn storm() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 60;
    let before = open_descriptors();
    let listener = UnixListener::bind("storm").expect("a name");
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    let mut done = false;
                    let mut seen = HashSet::new();
                    loop {
                        match recvmsg(&stream, 16, 128, 0) {
                            Ok(message) if message.text.starts_with("0 ") => break,
                            Ok(message) => {
                                done |= message.text.starts_with("4 stop");
                                passed.fetch_add(message.descriptors.len(), Ordering::Relaxed);
                                seen.extend(message.descriptors.iter().map(AsRawFd::as_raw_fd));
                                // Back into the queues it came out of.
                                for fd in &message.descriptors {
                                    let _ = sendmsg(&stream, b"back", &descriptors(&[fd.as_raw_fd()]));
                                }
                            }
                            Err(libc::EAGAIN) => thread::yield_now(),
                            Err(_) => break,
                        }
                    }
                    if done {
                        break;
                    }
                }
            });
        }
        let clients: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        let stream = UnixStream::connect("storm").expect("it listens");
                        let (left, right) = UnixStream::pair().expect("a pair");
                        let fds = [stream.as_raw_fd(), left.as_raw_fd(), right.as_raw_fd()];
                        let count = 1 + round % fds.len();
                        let _ = sendmsg(&left, b"in", &descriptors(&[right.as_raw_fd(), left.as_raw_fd()]));
                        sendmsg(&stream, b"pass", &descriptors(&fds[..count])).expect("room");
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        for _ in 0..2 {
            let stream = UnixStream::connect("storm").expect("it listens");
            sendmsg(&stream, b"stop", &[]).expect("room");
        }
    });
    drop(listener);
    println!("passed: {}", passed.load(Ordering::Relaxed));
    println!("left open: {}", open_descriptors() - before);
}
