//! The services' records, and the libc symbols that bring them in.

use alloc::sync::Arc;

use abi::service::Service;
use linux::errno::{EAFNOSUPPORT, EOPNOTSUPP, EPROTONOSUPPORT, ESOCKTNOSUPPORT, Errno};
use linux::service::{Network, Record};
use linux::socket::{AF_INET, Family, Kind, Socket};
use linux::table;

use crate::{config, pass, tcp, udp};

/// The record's content.
#[cfg_attr(
    not(includeos_metal),
    expect(dead_code, reason = "the record below is the only thing that refers to it")
)]
static SERVICE: Record = Record {
    service: Service::Net,
    calls: table::call_of::<{ Service::Net as u8 }>,
    start: config::start,
    network: Some(&Network { seed: config::seed, stop: pass::drain }),
    sockets: Some(&Inet),
};

/// What makes sockets of the internet protocols.
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

    fn pair(&self, domain: u16, _kind: Kind, _protocol: i32) -> Result<[Arc<dyn Socket>; 2], Errno> {
        Err(if domain == AF_INET { EOPNOTSUPP } else { EAFNOSUPPORT })
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
        // Pairs are local sockets. `includeos_local` names these for the tool, which sees a use of others; their calls are the
        // network's.
        ".section .hook.socketpair,\"ax\",@progbits",
        ".globl socketpair",
        ".globl includeos_local",
        ".type socketpair,@function",
        "includeos_local:",
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
        ".quad {local}",
        ".text",
        service = sym super::SERVICE,
        local = sym crate::unix::SERVICE,
    );
}
