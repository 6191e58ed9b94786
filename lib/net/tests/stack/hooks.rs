//! The five hook points, each in its place.

use std::sync::{Arc, Mutex};

use net::hooks::{Point, Verdict, View};
use net::{DropReason, IfaceId};

use crate::harness::{Net, Wire, ip};

const POINTS: [Point; 5] =
    [Point::Prerouting, Point::Input, Point::Forward, Point::Output, Point::Postrouting];

type Seen = Arc<Mutex<Vec<(usize, Point, Option<IfaceId>, Option<IfaceId>)>>>;

fn watch(net: &mut Net) -> Seen {
    let seen = Seen::default();
    for host in 0..3 {
        for point in POINTS {
            let seen = seen.clone();
            let hook = move |packet: &View<'_>| {
                assert!(!packet.payload.is_empty());
                seen.lock().unwrap().push((host, point, packet.input, packet.output));
                Verdict::Accept
            };
            net.stacks[host].hooks.append(point, Box::new(hook));
        }
    }
    seen
}

fn ping(net: &mut Net) -> bool {
    let payload = net.frame(b"across");
    let sent = net.stacks[0].send_echo_request(ip("10.0.1.1"), 1, 1, payload, net.now);
    net.run(100);
    sent.is_ok() && net.stacks[0].poll_event().is_some()
}

#[test]
fn a_packet_passes_all_in_order() {
    let mut net = Net::with_router(Wire::default(), 0, 1500);
    let seen = watch(&mut net);
    assert!(ping(&mut net));
    let (left, right) = (Some(IfaceId(1)), Some(IfaceId(2)));
    let there = [
        (0, Point::Output, None, left),
        (0, Point::Postrouting, None, left),
        (1, Point::Prerouting, left, None),
        (1, Point::Forward, left, right),
        (1, Point::Postrouting, left, right),
        (2, Point::Prerouting, left, None),
        (2, Point::Input, left, None),
    ];
    assert_eq!(seen.lock().unwrap()[..7], there);
}

#[test]
fn each_point_may_drop() {
    let rows = [
        (0, Point::Output, None, DropReason::Output),
        (0, Point::Postrouting, None, DropReason::Postrouting),
        (1, Point::Prerouting, Some(1), DropReason::Prerouting),
        (1, Point::Forward, Some(1), DropReason::Forward),
        (1, Point::Postrouting, Some(1), DropReason::Postrouting),
        (2, Point::Prerouting, Some(1), DropReason::Prerouting),
        (2, Point::Input, Some(1), DropReason::Input),
    ];
    for (host, point, counted_at, reason) in rows {
        let mut net = Net::with_router(Wire::default(), 0, 1500);
        assert!(ping(&mut net));
        net.stacks[host].hooks.append(point, Box::new(|_: &View<'_>| Verdict::Drop));
        assert!(!ping(&mut net), "{host} {point:?}");
        if let Some(iface) = counted_at {
            assert_eq!(net.stacks[host].interface(IfaceId(iface)).unwrap().counters().rx_drops(reason), 1);
        }
        net.stacks[host].hooks.clear(point);
        assert!(ping(&mut net));
        net.check_memory();
    }
}
