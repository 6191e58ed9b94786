//! Fragments of a few datagrams in any order, honest and not. What comes out is what one sender meant.

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Duration;

use frame::{Frame, HeapPool};
use net::reassembly::{MAX_BYTES, Reassembly};
use net::{IfaceId, Instant, Key};
use wire::{Protocol, ipv4};

fn pool() -> &'static HeapPool {
    static POOL: OnceLock<&'static HeapPool> = OnceLock::new();
    POOL.get_or_init(|| HeapPool::leak(10_000))
}

fn value_at(offset: usize) -> u8 {
    (offset.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let mut reassembly = Reassembly::new(Key([1, 2]));
    let mut now = Instant(0);
    for step in octets.chunks_exact(4) {
        let &[which, start, len, how] = step else { break };
        if how & 0xf0 == 0xf0 {
            now += Duration::from_secs(u64::from(len));
            while reassembly.poll(now).is_some() {}
            continue;
        }
        let start = usize::from(start) * 8;
        let more_fragments = how & 1 != 0;
        let payload_len = if more_fragments { (usize::from(len) + 1) * 8 } else { usize::from(len) };
        let header = ipv4::Repr {
            src: Ipv4Addr::from_bits(u32::from(which >> 2)),
            dst: Ipv4Addr::LOCALHOST,
            protocol: if how & 2 != 0 { Protocol::TCP } else { Protocol::UDP },
            traffic_class: 0,
            ident: u16::from(which & 3),
            dont_fragment: false,
            more_fragments,
            fragment_offset: start as u16,
            ttl: 1,
            payload_len: payload_len as u16,
        };
        let mut packet = vec![0; 20 + payload_len];
        header.emit(&mut ipv4::Packet::new_unchecked(&mut packet[..]));
        for (at, octet) in packet[20..].iter_mut().enumerate() {
            *octet = value_at(start + at);
        }
        let mut frame = Frame::allocate(pool(), 0, packet.len()).unwrap();
        frame.push_back(packet.len()).unwrap().copy_from_slice(&packet);
        let shared = (how & 4 != 0).then(|| frame.try_clone());
        if let Ok(Some(whole)) = reassembly.insert(now, IfaceId(1), &header, frame, pool(), |_| {}) {
            let octets: Vec<u8> = whole.segments().flat_map(|part| part.octets).copied().collect();
            let packet = ipv4::Packet::new_checked(&octets[..]).unwrap();
            let repr = ipv4::Repr::parse(&packet).unwrap();
            assert!(!repr.is_fragment() && usize::from(packet.total_len()) == octets.len());
            assert!(packet.payload().iter().enumerate().all(|(at, octet)| *octet == value_at(at)));
        }
        drop(shared);
        assert!(pool().out().0 * 128 <= MAX_BYTES + 1_000_000);
    }
    drop(reassembly);
    assert_eq!(pool().out(), (0, 0));
}
