//! Frames, calls of a program and time, in any order, for a stack with all that it can have.

use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Duration;

use frame::{Frame, HeapPool, RxFrame};
use net::stack::{ListenOptions, UdpSend};
use net::tcp::Config;
use net::udp::BindOptions;
use net::{IfaceId, Instant, Key, Link, ProbeTiming, Settings, Stack};
use wire::vlan::VlanId;
use wire::{MacAddr, Port, ipv4};

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn pool() -> &'static HeapPool {
    static POOL: OnceLock<&'static HeapPool> = OnceLock::new();
    POOL.get_or_init(|| HeapPool::leak(10_000))
}

fn frame(octets: &[u8]) -> Frame {
    let mut frame = Frame::allocate(pool(), 64, octets.len()).unwrap();
    frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
    frame
}

fn stack(now: Instant) -> Stack {
    let mut stack = Stack::new(Settings::new(Key([1, 2])), pool());
    let link = Link { mac: OURS, mtu: 1500, tx_checksum: true, tx_segmentation: true, up: true };
    let iface = stack.add_device("eth0", link).unwrap();
    stack.add_address(iface, "10.0.0.1/24".parse().unwrap(), now).unwrap();
    let other =
        stack.add_device("eth1", Link { mtu: 600, mac: MacAddr([2, 0, 0, 0, 0, 9]), ..link }).unwrap();
    stack.add_address(other, "10.0.1.1/24".parse().unwrap(), now).unwrap();
    let vlan = stack.add_vlan("eth0.5", iface, VlanId::new(5).unwrap()).unwrap();
    stack.set_probe_timing(vlan, ProbeTiming::FAST);
    stack.start_dhcp(vlan, "fuzz", None, now);
    stack.forwarding = true;
    stack
}

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let mut now = Instant(0);
    let mut stack = stack(now);
    let config = Config::new(Port(80), Port(0));
    let listener = stack.tcp_listen(None, Port(80), ListenOptions::new(4), config).unwrap();
    let socket = stack.udp_bind(None, Port(53), BindOptions::default()).unwrap();
    stack.udp_join(socket, IfaceId(1), Ipv4Addr::new(239, 1, 1, 1), now);
    let flow = stack.tcp_connect((None, Port(1000)), (PEER, Port(80)), config, now).unwrap();
    let mut accepted = Vec::new();
    let mut rest = octets;
    // A step: what, how many octets belong to it, these.
    while let [what, len, behind @ ..] = rest {
        let (data, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = behind;
        match what % 8 {
            0..=4 => {
                let mut data = data.to_vec();
                if what & 8 != 0 && data.len() >= 6 {
                    data[..6].copy_from_slice(&OURS.0);
                }
                if what & 16 != 0 && data.len() >= 34 && data[14] >> 4 == 4 {
                    let header_len = usize::from(data[14] & 15) * 4;
                    if header_len >= 20 && data.len() >= 14 + header_len {
                        ipv4::Packet::new_unchecked(&mut data[14..]).fill_checksum();
                    }
                }
                let mut received = frame(&data);
                if what & 32 != 0 && data.len() > 20 {
                    let (first, second) = received.split(20).unwrap();
                    received = first;
                    received.append(second).unwrap();
                }
                let iface = IfaceId(1 + u16::from(what >> 7));
                let segment_size = (what & 96 == 96).then_some(500);
                let received = RxFrame { frame: received, checksum_valid: what & 64 != 0, segment_size };
                stack.receive(iface, [received], now);
            }
            5 => now += Duration::from_millis(u64::from(*len) * u64::from(*len)),
            6 => {
                let to = Some((PEER, Port(9)));
                let _ = stack.udp_send(
                    socket,
                    UdpSend { to, from: None, payload: frame(data), segment_size: None, overrides: Default::default() },
                    now,
                );
                let _ = stack.tcp_send(flow, frame(data), now);
                for flow in accepted.drain(..) {
                    while let Some(frame) = stack.tcp_receive(flow) {
                        let _ = stack.tcp_send(flow, frame, now);
                    }
                    stack.tcp_close(flow, now);
                }
            }
            _ => {
                accepted.extend(stack.tcp_accept(listener));
                while stack.udp_receive(socket).is_some() {}
                while stack.poll_event().is_some() {}
            }
        }
        for round in 0.. {
            if stack.poll_timeout().is_none_or(|at| at > now) {
                break;
            }
            assert!(round < 1000, "it is never done");
            stack.handle_timeout(now);
        }
        for iface in [IfaceId(1), IfaceId(2)] {
            for burst in 0.. {
                let Some(sent) = stack.poll_transmit(iface, now) else { break };
                assert!(burst < 1000, "it does not stop sending");
                let cut = sent.segmentation.map(|cut| usize::from(cut.header_len) + usize::from(cut.size));
                assert!(cut.unwrap_or(sent.frame.len()) <= 18 + 1500);
            }
        }
        for (_, iface) in stack.interfaces() {
            assert!(iface.counters().add_up());
        }
    }
    drop(stack);
    assert_eq!(pool().out(), (0, 0));
}
