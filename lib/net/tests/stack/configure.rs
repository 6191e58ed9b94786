//! Stacks set up from words of a command line.

use net::config::Config;
use net::{IfaceId, Settings, Stack};

use crate::harness::{Net, Wire, ip, mac};

fn configure(stack: &mut Stack, words: &[&str]) -> Result<(), String> {
    let mut config = Config::default();
    for word in words {
        config.set(word).map_err(|error| error.to_string())?;
    }
    stack.configure(&config, net::Instant(0)).map_err(|error| error.to_string())
}

#[test]
fn words_become_interfaces() {
    let mut net = Net::new(Wire::default(), 0);
    for host in 0..2 {
        net.add_host();
        net.attach(host, 0, 1500, "");
    }
    let words = ["net.eth0=10.0.0.1/24,gw=10.0.0.2,mtu=1400", "net.eth0.7=10.7.0.1/16", "net.forward=on"];
    configure(&mut net.stacks[0], &words).unwrap();
    configure(&mut net.stacks[1], &["net.eth0=10.0.0.2/24"]).unwrap();
    assert!(net.stacks[0].forwarding && !net.stacks[1].forwarding);
    assert_eq!(net.stacks[0].interface(IfaceId(1)).unwrap().mtu(), 1400);
    assert_eq!(net.stacks[0].interface_named("eth0.7"), Some(IfaceId(2)));
    let payload = net.frame(b"x");
    net.stacks[0].send_echo_request(ip("10.0.0.2"), 1, 1, payload, net.now).unwrap();
    net.run(10);
    assert!(net.stacks[0].poll_event().is_some());
    let default = net.stacks[0].routes().iter().find(|route| route.prefix_len == 0).unwrap();
    assert_eq!(default.gateway, Some(ip("10.0.0.2")));
}

#[test]
fn what_cannot_be_done_is_named() {
    let pool = frame::HeapPool::leak(10);
    let mut stack = Stack::new(Settings::new(net::Key([1, 2])), pool);
    let link = net::Link { mac: mac(0, 0), mtu: 1500, tx_checksum: false, tx_segmentation: false, up: true };
    stack.add_device("eth0", link).unwrap();
    for (word, reason) in [
        ("net.eth1=dhcp", "\"net.eth1\": the machine has no such network device"),
        ("net.eth0=10.0.0.1/24,mtu=9000", "\"net.eth0\": mtu is more than the device takes"),
    ] {
        let error = configure(&mut stack, &[word]).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
