//! [`Peer`]: makes the frames of another host, and reads what it gets for them.

use std::net::Ipv4Addr;

use wire::checksum::Sum;
use wire::ethernet::{self, EtherType};
use wire::tcp::{Flags, Options, Packet, Repr};
use wire::{MacAddr, Port, Protocol, SeqNumber, arp, ipv4};

use crate::host::{ADDRESS, Host, MAC, PORT};

const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// Largest segment.
pub const MSS: usize = 1460;
/// Ends that have one address.
pub const BLOCK: u32 = 30_000;
/// The peer's window is 128 KiB.
const WINDOW_SHIFT: u8 = 1;

/// One end of a connection with the host.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    address: Ipv4Addr,
    port: Port,
    /// The next octet it sends.
    pub seq: SeqNumber,
    /// The next octet it expects.
    pub ack: SeqNumber,
}

impl Peer {
    /// The end number `n`.
    pub fn new(n: u32) -> Self {
        let [_, _, c, d] = (2 + n / BLOCK).to_be_bytes();
        Self {
            address: Ipv4Addr::new(10, 0, c, d),
            port: Port(10_000 + (n % BLOCK) as u16),
            seq: SeqNumber(n.wrapping_mul(0x9e37_79b9)),
            ack: SeqNumber(0),
        }
    }

    /// Has the host learn where it is: it asks for the host. All numbers of one [`BLOCK`] have the same address.
    pub fn introduce<H: Host>(&self, host: &mut H) {
        let request = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: PEER_MAC,
            sender_ip: self.address,
            target_mac: MacAddr([0; 6]),
            target_ip: ADDRESS,
        };
        let mut frame = vec![0; ethernet::HEADER_LEN + arp::LEN];
        ethernet_header(&mut frame, MacAddr::BROADCAST, EtherType::ARP);
        request.emit(&mut arp::Packet::new_unchecked(&mut frame[ethernet::HEADER_LEN..]));
        host.load(&frame);
        host.run(0);
    }

    /// Opens the connection.
    pub fn open<H: Host>(&mut self, host: &mut H, now_us: u64) {
        host.load(&self.syn());
        host.run(now_us);
        let sent = host.sent();
        self.take_syn_ack(&sent[0]);
        host.load(&self.segment(Flags::ACK, 0));
        host.run(now_us);
    }

    pub fn syn(&mut self) -> Vec<u8> {
        let options = Options {
            mss: Some(MSS as u16),
            window_scale: Some(WINDOW_SHIFT),
            sack_permitted: true,
            ..Options::NONE
        };
        self.frame(Flags::SYN, options, 0)
    }

    /// Reads the answer to [`Self::syn`].
    pub fn take_syn_ack(&mut self, frame: &[u8]) {
        let repr = read(frame).expect("a segment");
        assert!(repr.flags.has(Flags::SYN | Flags::ACK), "{repr:?}");
        assert_eq!(repr.dst_port, self.port);
        self.ack = repr.seq + 1;
    }

    /// Reads what the host sent: how many octets, and whether it closed.
    pub fn take(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            let Some(repr) = read(frame).filter(|repr| repr.dst_port == self.port) else { continue };
            assert!(!repr.flags.has(Flags::RST), "{repr:?}");
            let payload = frame.len() - HEADERS - repr.header_len();
            let end = repr.seq + payload as u32 + u32::from(repr.flags.has(Flags::FIN));
            self.ack = self.ack.latest(end);
        }
    }

    /// The next segment, with so many octets.
    pub fn segment(&mut self, flags: Flags, payload: usize) -> Vec<u8> {
        self.frame(flags, Options::NONE, payload)
    }

    fn frame(&mut self, flags: Flags, options: Options, payload: usize) -> Vec<u8> {
        let repr = Repr {
            src_port: self.port,
            dst_port: Port(PORT),
            seq: self.seq,
            ack: if flags.has(Flags::ACK) { self.ack } else { SeqNumber(0) },
            flags,
            window: u16::MAX,
            urgent: 0,
            options,
        };
        let control = flags.has(Flags::SYN) || flags.has(Flags::FIN);
        self.seq += payload as u32 + u32::from(control);
        let mut frame = vec![7; HEADERS + repr.header_len() + payload];
        ethernet_header(&mut frame, MacAddr(MAC), EtherType::IPV4);
        let len = (frame.len() - HEADERS) as u16;
        let header = ipv4::Repr {
            src: self.address,
            dst: ADDRESS,
            protocol: Protocol::TCP,
            traffic_class: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            payload_len: len,
        };
        header.emit(&mut ipv4::Packet::new_unchecked(&mut frame[ethernet::HEADER_LEN..HEADERS]));
        let mut packet = Packet::new_unchecked(&mut frame[HEADERS..]);
        repr.emit(&mut packet);
        packet.fill_checksum(Sum::pseudo_v4(header.src, header.dst, Protocol::TCP, len));
        frame
    }
}

/// Ethernet and IPv4.
const HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

fn ethernet_header(frame: &mut [u8], dst: MacAddr, ethertype: EtherType) {
    let header = ethernet::Repr { dst, src: PEER_MAC, ethertype };
    header.emit(&mut ethernet::Packet::new_unchecked(&mut frame[..ethernet::HEADER_LEN]));
}

/// The segment in a frame, if it is one.
fn read(frame: &[u8]) -> Option<Repr> {
    let is_ipv4 = frame.get(12..14)? == [8, 0];
    let packet = Packet::new_checked(frame.get(HEADERS..)?).ok().filter(|_| is_ipv4)?;
    Repr::parse(&packet, None).ok()
}
