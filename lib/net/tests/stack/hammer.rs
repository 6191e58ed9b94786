//! Whatever arrives, nothing panics, nothing is lost count of, and no memory stays.

use net::stack::ListenOptions;
use net::tcp::Config;
use net::udp::BindOptions;
use net::{IfaceId, ProbeTiming};
use wire::vlan::VlanId;
use wire::{Port, ipv4};

use crate::harness::{Net, Wire, ip};
use crate::rng::{Rng, for_seeds};
use crate::udp::send;

/// Frames that hosts really send, as material.
fn material() -> Vec<Vec<u8>> {
    let mut net = Net::with_router(Wire::default(), 7, 600);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    net.stacks[2].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    let now = net.now;
    net.stacks[2].tcp_listen(None, Port(80), ListenOptions::new(8), Config::new(Port(80), Port(0))).unwrap();
    let flow = net.stacks[0]
        .tcp_connect((None, Port::NONE), (ip("10.0.1.1"), Port(80)), Config::new(Port(0), Port(0)), now)
        .unwrap();
    net.run(100);
    let octets = net.frame(&[7; 3000]);
    net.stacks[0].tcp_send(flow, octets, net.now).unwrap();
    net.stacks[0].udp_options(a).unwrap().broadcast = true;
    for to in ["10.0.1.1", "10.0.0.255", "239.1.1.1"] {
        send(&mut net, 0, a, to, 2000, &[1; 1400]).unwrap();
    }
    net.stacks[0].join_group(IfaceId(1), ip("239.1.1.1"), net.now);
    net.stacks[0].start_dhcp(IfaceId(1), "host", None, net.now);
    let payload = net.frame(&[3; 50]);
    net.stacks[0].send_echo_request(ip("10.0.1.1"), 1, 1, payload, net.now).unwrap();
    net.run(5000);
    net.log.into_iter().map(|(.., octets)| octets).collect()
}

/// Mends the IP header's checksum, so that more gets past it.
fn mend(octets: &mut [u8]) {
    if octets.len() > 34 && octets[12..14] == [8, 0] && octets[14] >> 4 == 4 {
        let header_len = usize::from(octets[14] & 15) * 4;
        if header_len >= 20 && octets.len() >= 14 + header_len {
            ipv4::Packet::new_unchecked(&mut octets[14..]).fill_checksum();
        }
    }
}

fn frame(rng: &mut Rng, material: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = material[rng.below(material.len())].clone();
    if rng.one_in(20) {
        octets = (0..rng.below(100)).map(|_| rng.next() as u8).collect();
    }
    for _ in 0..rng.below(4) {
        if octets.is_empty() {
            break;
        }
        let at = rng.below(octets.len().min(80));
        match rng.below(3) {
            0 => octets[at] = rng.next() as u8,
            1 => octets[at] ^= 1 << rng.below(8),
            _ => {
                let other = &material[rng.below(material.len())];
                let len = other.len().min(octets.len()).saturating_sub(at).min(20);
                if let Some(other) = other.get(at..at + len) {
                    octets[at..at + len].copy_from_slice(other);
                }
            }
        }
    }
    if rng.one_in(4) {
        octets.truncate(rng.below(octets.len() + 1));
    }
    if rng.one_in(3) && octets.len() >= 6 {
        // For the router or the host, whoever it was for.
        octets[..6].copy_from_slice(&[2, 0, 0, 0, 1, 0]);
    }
    if !rng.one_in(3) {
        mend(&mut octets);
    }
    octets
}

#[test]
fn anything_at_all() {
    let material = material();
    assert!(material.len() > 30);
    for_seeds(40, |rng| {
        // What the router sends on is not its own.
        let wire = Wire { damage: 1, ..Wire::default() };
        let mut net = Net::with_router(wire, u64::from(rng.next()), 600);
        for host in 0..3 {
            let now = net.now;
            let stack = &mut net.stacks[host];
            let vlan = stack.add_vlan("eth0.5", IfaceId(1), VlanId::new(5).unwrap()).unwrap();
            stack.set_probe_timing(vlan, ProbeTiming::FAST);
            stack.start_dhcp(vlan, "h", None, now);
            stack.tcp_listen(None, Port(80), ListenOptions::new(8), Config::new(Port(80), Port(0))).unwrap();
            let socket = stack.udp_bind(None, Port(2000), BindOptions::default()).unwrap();
            stack.udp_join(socket, IfaceId(1), ip("239.1.1.1"), now);
        }
        for _ in 0..1500 {
            let octets = frame(rng, &material);
            let (host, iface) = [(0, 1), (1, 1), (1, 2), (2, 1)][rng.below(4)];
            net.inject(host, IfaceId(iface), &octets);
            if rng.one_in(10) {
                net.run(rng.below(2000) as u64);
            }
            while net.stacks[host].poll_event().is_some() {}
        }
        net.run(60_000);
        for stack in &net.stacks {
            for (_, iface) in stack.interfaces() {
                assert!(iface.counters().add_up(), "{:?}", iface.counters());
            }
        }
        net.check_memory();
    });
}
