//! The first process of a Linux guest that is compared with images: drivers in, address set, then the program.
//!
//! `netinit ADDRESS PREFIX-LENGTH PROGRAM [ARGUMENT...]`; the drivers are the files of /modules, in the order of their names.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

fn main() {
    if let Err(error) = run() {
        println!("netinit: {error}");
    }
}

fn run() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, prefix_len, program, rest @ ..] = args.as_slice() else {
        return Err(io::Error::other("expected ADDRESS PREFIX-LENGTH PROGRAM"));
    };
    let address: Ipv4Addr = address.parse().map_err(io::Error::other)?;
    let prefix_len: u32 = prefix_len.parse().map_err(io::Error::other)?;
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - prefix_len).unwrap_or(0));
    insert_modules()?;
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    up(&socket, b"lo")?;
    set(&socket, libc::SIOCSIFADDR, address)?;
    set(&socket, libc::SIOCSIFNETMASK, mask)?;
    up(&socket, b"eth0")?;
    drop(socket);
    // As the image has it; Linux alone gives its first process 4096.
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 524_288 };
    // SAFETY: `limit` is read.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Err(Command::new(program).args(rest).exec())
}

fn insert_modules() -> io::Result<()> {
    let entries = std::fs::read_dir("/modules")?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        let file = File::open(&path)?;
        let options = CString::default();
        // SAFETY: the descriptor is open and the string alive for the call.
        let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), options.as_ptr(), 0) };
        if result != 0 {
            return Err(io::Error::other(format!("{}: {}", path.display(), io::Error::last_os_error())));
        }
    }
    Ok(())
}

fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: all zeroes is a value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request
}

fn call(socket: &impl AsRawFd, op: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: these operations read and write one `struct ifreq`, which is alive for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), op, request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an address of eth0, which appears some time after its driver.
fn set(socket: &impl AsRawFd, op: libc::Ioctl, address: Ipv4Addr) -> io::Result<()> {
    let started = Instant::now();
    let mut request = request(b"eth0");
    let value = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: a `sockaddr_in` is one of the shapes of a `sockaddr`, of the same size.
    request.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(value) };
    loop {
        match call(socket, op, &mut request) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) && started.elapsed().as_secs() < 10 => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn up(socket: &impl AsRawFd, name: &[u8]) -> io::Result<()> {
    let mut request = request(name);
    call(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call before has set this one.
    unsafe { request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short };
    call(socket, libc::SIOCSIFFLAGS, &mut request)
}
