use super::*;
use crate::virtio::fake::{Device, Offer, RX, TX};
use crate::virtio::feature;
use crate::virtio::transport::{Found, Negotiated};

const WANTED: u64 = feature::VERSION_1 | feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC;

fn negotiated(offer: Offer) -> (Device, Negotiated) {
    let (device, transport) = Device::new(offer);
    (device, Found::new(transport).unwrap().acknowledge().negotiate(WANTED).unwrap())
}

fn offer(without: u64) -> Offer {
    let all = Offer::default();
    Offer { features: all.features & !without, queue_max: 4, ..all }
}

fn pieces(count: usize) -> Vec<Piece> {
    (0..count).map(|at| Piece { dma: DmaAddr(0x1000 * (at as u64 + 1)), len: 10 + at as u32 }).collect()
}

#[test]
fn chains_go_and_come_back() {
    for without in [0, feature::RING_EVENT_IDX, feature::RING_INDIRECT_DESC] {
        let (device, mut negotiated) = negotiated(offer(without));
        let mut queue: Queue<u32> = negotiated.queue(TX as u16, 256, true).unwrap();
        assert_eq!(queue.size(), 4);
        // Often enough for the rings to wrap, and for indices to.
        for round in 0..70_000 {
            queue.add(&pieces(2), Direction::ToDevice, round).unwrap();
            queue.add(&pieces(1), Direction::FromDevice, round + 1).unwrap();
            assert!(device.take(TX).is_none(), "nothing was published");
            queue.publish();
            let first = device.take(TX).unwrap();
            assert_eq!(first.readable, [(0x1000, 10), (0x2000, 11)]);
            assert_eq!(first.indirect, without != feature::RING_INDIRECT_DESC);
            let second = device.take(TX).unwrap();
            assert_eq!(second.writable, [(0x1000, 10)]);
            // Not in the order in which they came.
            device.put_used(TX, second.id, 7);
            assert!(queue.pop().is_none(), "nothing was shown");
            device.put_used(TX, first.id, 0);
            device.show(TX);
            let used = queue.pop().unwrap();
            assert_eq!((used.token, used.written), (round + 1, 7));
            let used = queue.pop().unwrap();
            assert_eq!((used.token, used.written), (round, 0));
            assert!(queue.pop().is_none());
        }
        assert_eq!((queue.faults(), queue.outstanding()), (QueueFaults::default(), 0));
    }
}

#[test]
fn a_full_queue_takes_no_more() {
    let (device, mut negotiated) = negotiated(offer(feature::RING_INDIRECT_DESC));
    let mut queue: Queue<u32> = negotiated.queue(0, 256, true).unwrap();
    queue.add(&pieces(3), Direction::ToDevice, 1).unwrap();
    assert_eq!(queue.add(&pieces(2), Direction::ToDevice, 2), Err(2));
    queue.add(&pieces(1), Direction::ToDevice, 2).unwrap();
    assert_eq!(queue.add(&pieces(1), Direction::ToDevice, 3), Err(3));
    assert_eq!(queue.add(&[], Direction::ToDevice, 3), Err(3));
    queue.publish();
    let chain = device.take(0).unwrap();
    device.put_used(0, chain.id, 0);
    device.show(0);
    assert_eq!(queue.pop().unwrap().token, 1);
    assert!(queue.has_room(3) && !queue.has_room(4) && !queue.has_room(MAX_PIECES + 1));
}

#[test]
fn a_device_is_told_only_if_it_wants_to_be() {
    for without in [0, feature::RING_EVENT_IDX] {
        let (device, mut negotiated) = negotiated(offer(without));
        let mut queue: Queue<u32> = negotiated.queue(0, 256, false).unwrap();
        queue.add(&pieces(1), Direction::ToDevice, 0).unwrap();
        assert!(queue.publish(), "it waits for the first one");
        assert!(!queue.publish(), "it was told");
        device.want_notifications(0, false);
        queue.add(&pieces(1), Direction::ToDevice, 1).unwrap();
        assert!(!queue.publish());
        device.want_notifications(0, true);
        queue.add(&pieces(1), Direction::ToDevice, 2).unwrap();
        assert!(queue.publish());
    }
}

#[test]
fn interrupts_come_when_they_are_wanted() {
    for without in [0, feature::RING_EVENT_IDX] {
        let (device, mut negotiated) = negotiated(offer(without));
        let mut queue: Queue<u32> = negotiated.queue(0, 256, false).unwrap();
        let give_back = |queue: &mut Queue<u32>| {
            queue.add(&pieces(1), Direction::ToDevice, 0).unwrap();
            queue.publish();
            let chain = device.take(0).unwrap();
            device.put_used(0, chain.id, 0);
            device.show(0)
        };
        queue.disable_interrupts();
        assert!(!give_back(&mut queue));
        assert!(queue.enable_interrupts(1), "one came meanwhile");
        queue.pop().unwrap();
        assert!(!queue.enable_interrupts(1));
        assert!(give_back(&mut queue));
        queue.disable_interrupts();
        assert!(!give_back(&mut queue));
        assert_eq!(core::iter::from_fn(|| queue.pop()).count(), 2);
        if without == 0 {
            assert!(!queue.enable_interrupts(2));
            assert!(!give_back(&mut queue), "one of two");
            assert!(give_back(&mut queue));
        }
    }
}

#[test]
fn what_a_device_claims_is_checked() {
    let (device, mut negotiated) = negotiated(offer(0));
    let mut queue: Queue<u32> = negotiated.queue(RX as u16, 256, false).unwrap();
    for token in 0..4 {
        queue.add(&pieces(1), Direction::FromDevice, token).unwrap();
    }
    queue.publish();
    // More than there is room for; the same again; never handed out.
    device.claim_used(RX, 2, 1_000_000);
    device.show(RX);
    let used = queue.pop().unwrap();
    assert_eq!((used.token, used.written), (2, 0));
    device.claim_used(RX, 2, 1);
    device.show(RX);
    assert!(queue.pop().is_none());
    device.claim_used(RX, 1 << 16, 1);
    device.show(RX);
    assert!(queue.pop().is_none());
    assert_eq!(queue.faults(), QueueFaults { bad_id: 2, bad_length: 1, bad_index: 0 });
    assert_eq!(queue.outstanding(), 3);
    device.claim_used(RX, 0, 10);
    device.show(RX);
    assert_eq!(queue.pop().unwrap().token, 0, "it goes on");
    // Added, and not shown to the device yet.
    queue.add(&pieces(1), Direction::FromDevice, 9).unwrap();
    device.claim_used(RX, 0, 1);
    device.show(RX);
    assert!(queue.pop().is_none());
    assert_eq!(queue.faults().bad_id, 3);
    // More chains than it has.
    device.claim_index(RX, device.used_index(RX).wrapping_add(4));
    assert!(queue.pop().is_none() && queue.pop().is_none());
    assert_eq!(queue.faults().bad_index, 1);
    assert!(!queue.enable_interrupts(1), "nothing to wait for");
}

#[test]
fn an_index_passes_an_event() {
    assert!(passes(5, 6, 5) && !passes(5, 5, 4) && !passes(5, 7, 6) && passes(5, 9, 3));
    assert!(passes(u16::MAX, 0, u16::MAX) && !passes(0, 0, u16::MAX));
}
