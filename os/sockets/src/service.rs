//! The service's record, and the libc symbol that brings it in.

use alloc::sync::Arc;

use abi::service::Service;
use linux::errno::{EAFNOSUPPORT, EOPNOTSUPP, EPROTONOSUPPORT, ESOCKTNOSUPPORT, Errno};
use linux::service::{Network, Record};
use linux::socket::{AF_INET, AF_UNIX, Family, Kind, Socket};
use linux::table;

use crate::{config, pass, tcp, udp, unix};

/// The record's content.
#[cfg_attr(
    not(includeos_metal),
    expect(dead_code, reason = "the record below is the only thing that refers to it")
)]
static SERVICE: Record = Record {
    service: Service::Net,
    calls: table::call_of::<{ Service::Net as u8 }>,
    start: config::start,
    network: Some(&Network { seed: config::seed, stop: pass::drain, sockets: &Inet }),
};

/// `AF_UNIX` as a protocol.
const PF_UNIX: i32 = 1;

/// What makes sockets of the internet protocols, and pairs.
struct Inet;

impl Family for Inet {
    fn socket(&self, domain: u16, kind: Kind, protocol: i32) -> Result<Arc<dyn Socket>, Errno> {
        const IPPROTO_TCP: i32 = 6;
        const IPPROTO_UDP: i32 = 17;
        // IPv6 comes later; who asks for it is told at once, and libc goes on with IPv4.
        if domain != AF_INET {
            return Err(EAFNOSUPPORT);
        }
        match (kind, protocol) {
            (Kind::Stream, 0 | IPPROTO_TCP) => Ok(tcp::TcpSocket::new()),
            (Kind::Datagram, 0 | IPPROTO_UDP) => Ok(udp::UdpSocket::new()),
            (Kind::Stream | Kind::Datagram, _) => Err(EPROTONOSUPPORT),
            (Kind::SeqPacket, _) => Err(ESOCKTNOSUPPORT),
        }
    }

    fn pair(&self, domain: u16, kind: Kind, protocol: i32) -> Result<[Arc<dyn Socket>; 2], Errno> {
        match (domain, protocol) {
            (AF_UNIX, 0 | PF_UNIX) => Ok(unix::pair(kind).map(|socket| socket as Arc<dyn Socket>)),
            (AF_UNIX, _) => Err(EPROTONOSUPPORT),
            (AF_INET, _) => Err(EOPNOTSUPP),
            _ => Err(EAFNOSUPPORT),
        }
    }
}

// `socket` of libc is weak, so that this one wins: nothing but the plain system call, which also works on Linux and at ring 3.
// The record lives exactly as long as the function (SHF_LINK_ORDER). `includeos_net` names the place for those who force the
// service in.
#[cfg(includeos_metal)]
#[expect(unsafe_code, reason = "a symbol of libc's, in assembly")]
mod hook {
    core::arch::global_asm!(
        ".section .hook.socket,\"ax\",@progbits",
        ".globl socket",
        ".globl includeos_net",
        ".type socket,@function",
        "includeos_net:",
        "socket:",
        "mov eax, 41",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        "2: push rbx",
        "mov ebx, eax",
        "neg ebx",
        "call __errno_location",
        "mov [rax], ebx",
        "pop rbx",
        "mov eax, -1",
        "ret",
        ".section inc_services,\"ao\",@progbits,.hook.socket",
        ".balign 8",
        ".quad {service}",
        // A program may have pairs and no other sockets.
        ".section .hook.socketpair,\"ax\",@progbits",
        ".globl socketpair",
        ".type socketpair,@function",
        "socketpair:",
        "mov r10, rcx",
        "mov eax, 53",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        "2: push rbx",
        "mov ebx, eax",
        "neg ebx",
        "call __errno_location",
        "mov [rax], ebx",
        "pop rbx",
        "mov eax, -1",
        "ret",
        ".section inc_services,\"ao\",@progbits,.hook.socketpair",
        ".balign 8",
        ".quad {service}",
        ".text",
        service = sym super::SERVICE,
    );
}
