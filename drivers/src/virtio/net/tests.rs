use alloc::vec;

use frame::ChecksumOffload;

use super::*;
use crate::virtio::fake::{Device, FakePool, MAC, Offer, RX, TX, play};
use crate::virtio::transport::status;

fn up(offer: Offer) -> (Device, VirtioNet, &'static FakePool) {
    let pool = FakePool::leak(1000);
    let (device, net) = Device::net(offer, pool).unwrap();
    (device, net, pool)
}

fn offer(without: u64) -> Offer {
    let all = Offer::default();
    Offer { features: all.features & !without, ..all }
}

/// A device from before version 1.
fn legacy(without: u64) -> Offer {
    Offer { legacy: true, ..offer(without | feature::VERSION_1) }
}

fn packet(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + seed) as u8).collect()
}

fn frame(pool: &'static FakePool, headroom: usize, octets: &[u8]) -> Frame {
    let mut frame = Frame::allocate(pool, headroom, octets.len()).unwrap();
    frame.push_back(octets.len()).unwrap().copy_from_slice(octets);
    frame
}

fn octets(frame: &Frame) -> Vec<u8> {
    frame.segments().flat_map(|segment| segment.octets).copied().collect()
}

fn receive(net: &mut VirtioNet, budget: usize) -> Vec<RxFrame> {
    let mut burst = Vec::with_capacity(64);
    let count = net.receive(&mut burst, budget);
    assert_eq!(count, burst.len());
    burst
}

fn send(net: &mut VirtioNet, frame: Frame) -> Result<(), TxError> {
    net.transmit(TxFrame { frame, checksum: None, segmentation: None })
}

#[test]
fn a_device_comes_up_step_by_step() {
    let (device, net, pool) = up(Offer::default());
    let steps = [1, 3, 3 | status::FEATURES_OK, 3 | status::FEATURES_OK | status::DRIVER_OK];
    assert_eq!(device.statuses()[1..], steps);
    assert_eq!((net.mac(), net.mtu(), net.link_up()), (MAC, 1500, true));
    assert_eq!(net.offloads(), Offloads { tx_checksum: true, tx_segmentation: true, rx_checksum: true });
    assert_eq!(pool.out(), 16, "all receive buffers are there");
    drop(net);
    assert_eq!(device.statuses().last(), Some(&0), "it is reset");
    assert_eq!(pool.out(), 0, "and has no buffers any more");

    let (device, net, _) = up(legacy(0));
    assert_eq!(device.statuses()[1..], [1, 3, 3 | status::DRIVER_OK]);
    assert_eq!(device.driver_features() >> 32, 0);
    drop(net);
}

#[test]
fn a_device_that_will_not_is_given_up() {
    let pool = FakePool::leak(1000);
    for offer in [Offer { accepts: false, ..Offer::default() }, offer(feature::VERSION_1)] {
        let (device, transport) = Device::new(offer.clone());
        let error = VirtioNet::new(Found::new(transport).unwrap(), pool).err();
        assert_eq!(error, Some(Error::Features(offer.features)));
        assert_eq!(device.statuses().last(), Some(&(3 | status::FAILED)));
    }
    let offer = Offer { queue_max: 0, ..Offer::default() };
    assert_eq!(Device::net(offer, pool).err(), Some(Error::NoQueue(0)));
    assert_eq!(Device::net(Offer::default(), FakePool::leak(0)).err(), Some(Error::NoMemory));
    assert_eq!(pool.out(), 0);
}

#[test]
fn without_an_address_one_is_made_up() {
    let (_, net, _) = up(offer(net_feature::MAC | net_feature::MTU | net_feature::STATUS));
    assert_eq!(net.mac()[0] & 3, 2, "local, and not a group's");
    assert_eq!((net.mtu(), net.link_up()), (1500, true));
}

#[test]
fn frames_come_in() {
    let everything = net_feature::MRG_RXBUF | feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC;
    for offer in [Offer::default(), offer(everything), legacy(0), legacy(everything)] {
        let (device, mut net, pool) = up(offer);
        for round in 0..100 {
            let sent: Vec<_> = (0..round % 16).map(|at| packet(60 + 91 * at, round)).collect();
            for (at, packet) in sent.iter().enumerate() {
                device.deliver(if at % 2 == 0 { 2 } else { 0 }, packet).unwrap();
            }
            let first = receive(&mut net, 3);
            assert!(first.len() <= 3);
            let received: Vec<_> = first.into_iter().chain(receive(&mut net, 64)).collect();
            assert_eq!(received.iter().map(|rx| octets(&rx.frame)).collect::<Vec<_>>(), sent);
            assert!(received.iter().enumerate().all(|(at, rx)| rx.checksum_valid == (at % 2 == 0)));
        }
        let counters = net.counters();
        assert_eq!(counters.rx_frames, (0..100).map(|round| round % 16).sum::<u64>());
        assert_eq!(NetCounters { rx_frames: 0, rx_octets: 0, ..counters }, NetCounters::default());
        assert_eq!(pool.out(), 16);
    }
}

#[test]
fn a_packet_over_several_buffers_is_one_chain() {
    let mut offer = Offer::default();
    offer.config[10..].copy_from_slice(&9000_u16.to_le_bytes());
    let (device, mut net, pool) = up(offer);
    for len in [1530, 1531, 5000, 9018] {
        device.deliver(0, &packet(len, len)).unwrap();
        let received = receive(&mut net, 64);
        assert_eq!(received.len(), 1);
        assert_eq!(octets(&received[0].frame), packet(len, len));
    }
    device.deliver(0, &packet(9019, 0)).unwrap();
    assert_eq!(receive(&mut net, 64).len(), 0, "longer than the MTU allows");
    assert_eq!((net.counters().rx_bad_length, pool.out()), (1, 16));
}

#[test]
fn a_packet_whose_buffers_come_one_by_one() {
    let mut offer = Offer::default();
    offer.config[10..].copy_from_slice(&9000_u16.to_le_bytes());
    let (device, mut net, _) = up(offer);
    let sent = packet(3000, 1);
    let mut first = vec![0; 12];
    first[10] = 2;
    first.extend_from_slice(&sent[..1518]);
    for part in [&first[..], &sent[1518..]] {
        assert_eq!(receive(&mut net, 64).len(), 0);
        let chain = device.take(RX).unwrap();
        let written = chain.write(part);
        device.put_used(RX, chain.id, written as u32);
        device.show(RX);
    }
    assert_eq!(octets(&receive(&mut net, 64)[0].frame), sent);
}

#[test]
fn lies_about_packets_are_counted() {
    let (device, mut net, pool) = up(Offer::default());
    let mut lie = |gso: u8, buffers: u16, len: u32| {
        let chain = device.take(RX).unwrap();
        let mut octets = vec![0; 100];
        octets[1] = gso;
        octets[10..12].copy_from_slice(&buffers.to_le_bytes());
        chain.write(&octets);
        device.put_used(RX, chain.id, len);
        device.show(RX);
        assert_eq!(receive(&mut net, 64).len(), 0, "{gso} {buffers} {len}");
        net.counters()
    };
    assert_eq!(lie(1, 1, 100).rx_bad_header, 1);
    assert_eq!(lie(0, 0, 100).rx_bad_header, 2);
    assert_eq!(lie(0, 1, 11).rx_bad_header, 3);
    assert_eq!(lie(0, 17, 100).rx_bad_buffers, 1);
    assert_eq!(lie(0, 1, 25).rx_bad_length, 1);
    let counters = lie(0, 1, u32::MAX);
    assert_eq!((counters.bad_length, counters.rx_bad_header), (1, 4), "more than a buffer holds is nothing");
    assert_eq!(pool.out(), 16);
}

#[test]
fn without_memory_buffers_are_missing_until_there_is_some() {
    let (device, mut net, pool) = up(Offer::default());
    pool.set_max(16);
    for _ in 0..16 {
        device.deliver(0, &packet(60, 0)).unwrap();
    }
    let received = receive(&mut net, 64);
    assert_eq!((received.len(), net.counters().rx_no_memory), (16, 1));
    assert!(device.deliver(0, &packet(60, 0)).is_none());
    drop(received);
    assert_eq!(receive(&mut net, 64).len(), 0);
    assert!(device.deliver(0, &packet(60, 0)).is_some());
}

#[test]
fn frames_go_out() {
    let checksum = Some(ChecksumOffload { start: 34, offset: 6 });
    let expected = |header_len: usize, packet: &[u8]| {
        let mut octets = vec![1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
        octets.truncate(header_len);
        octets.extend_from_slice(packet);
        octets
    };
    let sent = packet(100, 3);
    for (offer, header_len) in [
        (Offer::default(), 12),
        (offer(feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX), 12),
        (legacy(net_feature::MRG_RXBUF), 10),
        (legacy(feature::RING_INDIRECT_DESC), 12),
    ] {
        let (device, mut net, pool) = up(offer);
        for headroom in [0, 12, 64] {
            let whole = frame(pool, headroom, &sent);
            net.transmit(TxFrame { frame: whole, checksum, segmentation: None }).unwrap();
            let mut chain = frame(pool, headroom, &sent[..20]);
            chain.append(frame(pool, 0, &sent[20..20])).unwrap();
            chain.append(frame(pool, 0, &sent[20..])).unwrap();
            net.transmit(TxFrame { frame: chain, checksum, segmentation: None }).unwrap();
            // Shared: a header cannot be put in front of what somebody else reads.
            let shared = frame(pool, headroom, &sent);
            net.transmit(TxFrame { frame: shared.try_clone().unwrap(), checksum, segmentation: None })
                .unwrap();
            assert_eq!(device.send_all().0.len(), 0, "nothing was flushed");
            net.flush();
            assert_eq!(octets(&shared), sent);
            assert_eq!(device.send_all().0, [(); 3].map(|()| expected(header_len, &sent)));
            assert_eq!(net.reclaim(), 3);
        }
        assert_eq!((net.counters().tx_frames, net.counters().tx_octets), (9, 900));
        assert_eq!(pool.out(), 16);
    }
}

#[test]
fn a_sent_frame_is_freed_when_the_device_says_so() {
    let (device, mut net, pool) = up(Offer::default());
    send(&mut net, frame(pool, 64, &packet(60, 0))).unwrap();
    net.flush();
    let chain = device.take(TX).unwrap();
    assert_eq!((net.reclaim(), pool.out()), (0, 17));
    device.put_used(TX, chain.id, 0);
    device.show(TX);
    assert_eq!((net.reclaim(), pool.out()), (1, 16));
}

#[test]
fn one_notification_a_burst() {
    let (device, mut net, pool) = up(Offer::default());
    for _ in 0..5 {
        send(&mut net, frame(pool, 64, &packet(60, 0))).unwrap();
    }
    assert_eq!(device.notified(TX), 0);
    net.flush();
    net.flush();
    assert_eq!(device.notified(TX), 1);
    device.want_notifications(TX, false);
    send(&mut net, frame(pool, 64, &packet(60, 0))).unwrap();
    net.flush();
    assert_eq!(device.notified(TX), 1, "it is looking anyway");
}

#[test]
fn a_full_device_interrupts_when_it_has_room() {
    for without in [0, feature::RING_EVENT_IDX] {
        let (device, mut net, pool) = up(offer(without));
        while send(&mut net, frame(pool, 64, &packet(60, 0))).is_ok() {}
        let error = send(&mut net, frame(pool, 64, &packet(60, 7))).unwrap_err();
        assert!(matches!(error, TxError::Full(_)));
        assert_eq!(octets(&error.into_frame().frame), packet(60, 7));
        net.flush();
        let (packets, interrupt) = device.send_all();
        assert_eq!((packets.len(), interrupt), (16, true));
        send(&mut net, frame(pool, 64, &packet(60, 0))).unwrap();
        net.flush();
        assert!(!device.send_all().1, "and not for every frame afterwards");
        assert_eq!(net.counters().tx_full, 2);
    }
}

#[test]
fn a_frame_of_many_pieces_is_copied() {
    let (device, mut net, pool) = up(Offer::default());
    let mut whole = frame(pool, 0, &packet(20, 0));
    for at in 1..20 {
        whole.append(frame(pool, 0, &packet(20, at))).unwrap();
    }
    let expected = octets(&whole);
    send(&mut net, whole).unwrap();
    net.flush();
    assert_eq!(device.send_all().0[0][12..], expected);
    assert_eq!(net.counters().tx_copied, 1);
}

#[test]
fn what_cannot_be_sent_comes_back() {
    let (_, mut net, pool) = up(Offer::default());
    let at = |start, offset| Some(ChecksumOffload { start, offset });
    for (len, checksum) in
        [(0, None), (13, None), (1519, None), (60, at(59, 0)), (60, at(0, 59)), (60, at(u16::MAX, u16::MAX))]
    {
        let error = net
            .transmit(TxFrame { frame: frame(pool, 64, &packet(len, 0)), checksum, segmentation: None })
            .unwrap_err();
        assert!(matches!(error, TxError::Unsendable(_)), "{len}");
    }
    let (_, mut net, pool) = up(offer(net_feature::CSUM));
    let error = net.transmit(TxFrame {
        frame: frame(pool, 64, &packet(60, 0)),
        checksum: at(14, 16),
        segmentation: None,
    });
    assert!(matches!(error, Err(TxError::Unsendable(_))));
}

#[test]
fn segments_are_left_for_the_device_to_cut() {
    let (device, mut net, pool) = up(Offer { queue_max: 64, ..Offer::default() });
    let sent = packet(66 + 13 * 1448, 5);
    let checksum = Some(ChecksumOffload { start: 34, offset: 16 });
    let cut = |header_len, size| Some(Segmentation { header_len, size });
    let mut chain = frame(pool, 64, &sent[..66]);
    for piece in sent[66..].chunks(1448) {
        chain.append(frame(pool, 0, piece)).unwrap();
    }
    net.transmit(TxFrame { frame: chain, checksum, segmentation: cut(66, 1448) }).unwrap();
    net.flush();
    let packets = device.send_all().0;
    assert_eq!(packets[0][..12], [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
    assert_eq!(packets[0][12..], sent);
    assert_eq!(net.counters().tx_copied, 0);

    let refused = |net: &mut VirtioNet, checksum, segmentation, len| {
        let error = net.transmit(TxFrame { frame: frame(pool, 64, &packet(len, 0)), checksum, segmentation });
        assert!(matches!(error, Err(TxError::Unsendable(_))), "{segmentation:?}");
    };
    refused(&mut net, None, cut(66, 1448), 4000);
    refused(&mut net, checksum, cut(66, 0), 4000);
    refused(&mut net, checksum, cut(66, 1453), 4000);
    refused(&mut net, checksum, cut(4000, 1), 4000);
    refused(&mut net, checksum, cut(66, 1448), 18 + 65_536);
    for feature in [net_feature::HOST_TSO4, net_feature::CSUM] {
        let (_device, mut net, _) = up(offer(feature));
        refused(&mut net, checksum, cut(66, 1448), 4000);
    }
}

#[test]
fn a_device_that_lied_about_its_index_is_not_believed_again() {
    // Fuzzing found that the fake device took for the driver's fault what followed from its own lie.
    let (device, mut net, pool) = up(Offer::default());
    device.deliver(0, &packet(60, 0)).unwrap();
    device.claim_index(RX, device.used_index(RX).wrapping_add(20));
    for _ in 0..3 {
        assert_eq!(receive(&mut net, 64).len(), 0);
        assert_eq!(net.counters().bad_index, 1, "counted once");
        device.deliver(0, &packet(60, 0));
        device.show(RX);
    }
    send(&mut net, frame(pool, 64, &packet(60, 0))).unwrap();
    net.flush();
    assert_eq!(device.send_all().0.len(), 1, "the other queue works");
    drop(net);
    assert_eq!(pool.out(), 0);
}

#[test]
fn the_link_goes_down_and_up() {
    let (device, mut net, _) = up(Offer::default());
    assert_eq!(net.acknowledge(), Interrupt { frames: true, link: false });
    device.set_config(config::STATUS, &[0, 0]);
    assert_eq!(net.acknowledge(), Interrupt { frames: true, link: true });
    assert!(!net.link_up());
    device.set_config(config::STATUS, &[1, 0]);
    assert!(net.acknowledge().link && net.link_up());
}

#[test]
fn interrupts_for_received_frames() {
    for without in [0, feature::RING_EVENT_IDX] {
        let (device, mut net, _) = up(offer(without));
        assert!(!device.deliver(0, &packet(60, 0)).unwrap());
        assert!(net.enable_interrupts(), "one came meanwhile");
        receive(&mut net, 64);
        assert!(!net.enable_interrupts());
        assert!(device.deliver(0, &packet(60, 0)).unwrap());
        net.disable_interrupts();
        assert!(!device.deliver(0, &packet(60, 0)).unwrap());
        assert_eq!(receive(&mut net, 64).len(), 2);
    }
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
fn random_octets(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn no_device_panics_the_driver() {
    std::println!("seeds 0..2000");
    for seed in 0..if cfg!(miri) { 3 } else { 2000 } {
        let result = std::panic::catch_unwind(|| play(&random_octets(seed, 1500)));
        assert!(result.is_ok(), "seed {seed}");
    }
}
