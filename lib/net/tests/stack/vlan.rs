//! Several networks on one link, told apart by tags.

use net::stack::IfaceError;
use net::udp::BindOptions;
use net::{DropReason, IfaceId};
use wire::Port;
use wire::vlan::VlanId;

use crate::harness::{Net, ip};
use crate::udp::{received, send};

fn id(n: u16) -> VlanId {
    VlanId::new(n).unwrap()
}

#[test]
fn each_tag_is_a_network_of_its_own() {
    let mut net = Net::with_hosts(2);
    for host in 0..2 {
        for vlan in [5, 6] {
            let stack = &mut net.stacks[host];
            let iface = stack.add_vlan(format!("eth0.{vlan}"), IfaceId(1), id(vlan)).unwrap();
            let cidr = format!("10.{vlan}.0.{}/24", host + 1).parse().unwrap();
            stack.add_address(iface, cidr, net.now).unwrap();
        }
    }
    assert_eq!(net.stacks[0].add_vlan("x", IfaceId(1), id(5)), Err(IfaceError::Exists));
    assert_eq!(net.stacks[0].add_vlan("x", IfaceId(2), id(5)), Err(IfaceError::Parent), "no tag in a tag");
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    for (to, from) in [("10.0.0.2", "10.0.0.1"), ("10.5.0.2", "10.5.0.1"), ("10.6.0.2", "10.6.0.1")] {
        send(&mut net, 0, a, to, 2000, to.as_bytes()).unwrap();
        net.run(10);
        assert_eq!(received(&mut net, 1, b), Some((to.as_bytes().to_vec(), from.into(), 1000)));
    }
    let tags: Vec<u16> = net
        .log
        .iter()
        .filter(|(word, ..)| *word == "udp")
        .map(|(.., octets)| if octets[12] == 0x81 { u16::from(octets[15]) } else { 0 })
        .collect();
    assert_eq!(tags, [0, 5, 6]);
    for (_, iface) in net.stacks[1].interfaces().skip(1) {
        assert!(
            iface.counters().add_up() && iface.counters().delivered > 0 && iface.counters().tx_frames > 0
        );
    }
}

#[test]
fn unknown_tags_are_dropped_and_priorities_ignored() {
    let mut net = Net::with_hosts(2);
    let a = net.stacks[0].udp_bind(None, Port(1000), BindOptions::default()).unwrap();
    let b = net.stacks[1].udp_bind(None, Port(2000), BindOptions::default()).unwrap();
    send(&mut net, 0, a, "10.0.0.2", 2000, b"plain").unwrap();
    net.run(10);
    received(&mut net, 1, b).unwrap();
    let plain = net.log.iter().find(|(word, ..)| *word == "udp").unwrap().3.clone();
    for (tag, taken) in [([0x00, 0x07], false), ([0xa0, 0x00], true), ([0x0f, 0xff], false)] {
        let tagged = [&plain[..12], &[0x81, 0], &tag, &plain[12..]].concat();
        net.inject(1, IfaceId(1), &tagged);
        assert_eq!(received(&mut net, 1, b).is_some(), taken, "{tag:?}");
    }
    let drops = |reason| net.stacks[1].interface(IfaceId(1)).unwrap().counters().rx_drops(reason);
    assert_eq!((drops(DropReason::UnknownVlan), drops(DropReason::Ethernet)), (1, 1));
    assert!(net.stacks[1].is_own(ip("10.0.0.2")));
}
