//! Data in both directions (RFC 9293 § 3.4, § 3.7, § 3.8.6.3, § 3.10.7.4; RFC 5681 § 4.2).

use crate::script::{Script, pattern, plain};
use net::tcp::{Config, Events};

#[test]
fn segments_of_the_maximum_size() {
    // RFC 9293 § 3.7.1.
    let mut t = Script::established(plain());
    t.send(2500);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1001:2001(1000) ack 1");
    expect!(t, "P. 2001:2501(500) ack 1");
    inject!(t, ". 1:1(0) ack 2501");
    assert!(t.events.has(Events::WRITABLE));
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn a_peer_that_names_no_size_takes_536() {
    // RFC 9293 § 3.7.1, MUST-15.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0)");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.send(600);
    expect!(t, ". 1:537(536) ack 1");
    expect!(t, "P. 537:601(64) ack 1");
}

#[test]
fn a_silly_segment_size_has_a_floor() {
    // As Linux's tcp_min_snd_mss: else a peer gets a header for every octet.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.send(50);
    expect!(t, ". 1:49(48) ack 1");
    expect!(t, "P. 49:51(2) ack 1");
}

#[test]
fn a_silly_segment_size_has_a_floor_beside_options() {
    // What is left beside a report: not an octet each.
    let mut t = Script::listen(Config { sack: true, ..plain() });
    inject!(t, "S 0:0(0) <mss 1,sackOK>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    inject!(t, ". 101:201(100) ack 1");
    expect!(t, ". 1:1(0) ack 1 <sack 101:201>");
    t.send(10);
    expect!(t, ". 1:9(8) ack 1");
    expect!(t, "P. 9:11(2) ack 1");
}

#[test]
fn the_first_segments_are_acknowledged_at_once_then_every_second() {
    // RFC 9293 § 3.8.6.3, RFC 5681 § 4.2.
    let mut t = Script::established(Config { receive_buffer: 60_000, receive_buffer_max: 60_000, ..plain() });
    for n in 0..16 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        expect!(t, ". 1:1(0) ack {}", 1001 + n * 1000);
    }
    inject!(t, ". 16001:17001(1000) ack 1");
    t.assert_quiet();
    inject!(t, ". 17001:18001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 18001");
    inject!(t, ". 18001:19001(1000) ack 1");
    t.wait(40);
    expect_at!(t, 40, ". 1:1(0) ack 19001");
}

#[test]
fn data_carries_the_acknowledgment() {
    // RFC 9293 § 3.8.6.3: piggybacked.
    let mut t = Script::established(Config { receive_buffer: 60_000, receive_buffer_max: 60_000, ..plain() });
    for n in 0..16 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        expect!(t, ". 1:1(0) ack {}", 1001 + n * 1000);
    }
    inject!(t, ". 16001:17001(1000) ack 1");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 17001");
    inject!(t, ". 17001:17001(0) ack 11");
    t.wait(1000);
    t.assert_quiet();
}

#[test]
fn out_of_order_data_waits() {
    // RFC 9293 § 3.10.7.4, seventh check; RFC 5681 § 4.2: acknowledged at once.
    let mut t = Script::established(plain());
    inject!(t, ". 1001:2001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, ". 2001:3001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    t.read(0);
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 3001");
    t.read(3000);
}

#[test]
fn overlaps_are_cut() {
    // RFC 9293 § 3.10.7.4: only new octets.
    let mut t = Script::established(plain());
    inject!(t, ". 101:201(100) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, ". 51:251(200) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, ". 1:151(150) ack 1");
    expect!(t, ". 1:1(0) ack 251");
    inject!(t, ". 201:301(100) ack 1");
    expect!(t, ". 1:1(0) ack 301");
    t.read(300);
}

#[test]
fn data_before_the_window_is_acknowledged_again() {
    // RFC 9293 § 3.10.7.4, first check.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 101");
    inject!(t, "P. 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 101");
    t.read(100);
}

#[test]
fn data_behind_the_window_is_cut() {
    // RFC 9293 § 3.10.7.4: trimmed to fit.
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    inject!(t, "P. 1:1501(1500) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
    t.read(1000);
    expect!(t, ". 1:1(0) ack 1001 win 1000");
}

#[test]
fn gaps_have_a_bound() {
    // A peer that sends octets one by one with gaps: 256 wait, the others are to be sent again.
    let mut t = Script::established(plain());
    for n in 0..400 {
        let at = 3 + 2 * n;
        inject!(t, ". {at}:{}(1) ack 1", at + 1);
        expect!(t, ". 1:1(0) ack 1");
    }
    inject!(t, ". 1:2(1) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    inject!(t, ". 2:3(1) ack 1");
    expect!(t, ". 1:1(0) ack 4");
    inject!(t, ". 4:803(799) ack 1");
    expect!(t, ". 1:1(0) ack 803");
    t.read(802);
}

#[test]
fn nagle_waits_for_an_acknowledgment() {
    // RFC 9293 § 3.7.4.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(10);
    t.send(10);
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 11");
    expect!(t, "P. 11:31(20) ack 1");
    t.send(1000);
    expect!(t, "P. 31:1031(1000) ack 1");
}

#[test]
fn without_nagle_nothing_waits() {
    // RFC 9293 § 3.7.4, MUST-17.
    let mut t = Script::established(plain());
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(10);
    expect!(t, "P. 11:21(10) ack 1");
}

#[test]
fn full_segments_leave_as_one_where_a_device_cuts() {
    // RFC 9293 § 3.7.3: each piece is a segment of its own, acknowledged, timed and lost alone.
    let mut t = Script::established(plain());
    let (now, pool) = (t.now, t.pool);
    for n in 0..5 {
        t.flow().send(pattern(pool, n * 900, 900)).unwrap();
    }
    let flow = t.flow();
    let first = flow.poll_transmit_many(now, 3).unwrap();
    assert_eq!((first.payload_len(), first.size), (3000, Some(1000)));
    assert!(!first.repr.flags.has(wire::tcp::Flags::PSH));
    let second = flow.poll_transmit_many(now, 3).unwrap();
    assert_eq!((second.payload_len(), second.size), (1000, None));
    let last = flow.poll_transmit_many(now, 3).unwrap();
    assert_eq!((last.repr.seq, last.payload_len(), last.size), (first.repr.seq + 4000, 500, None));
    assert!(last.repr.flags.has(wire::tcp::Flags::PSH));
    assert!(flow.poll_transmit_many(now, 3).is_none());
    // The middle one of the first three was lost, and is found by duplicates of what is before it.
    inject!(t, ". 1:1(0) ack 1001");
    inject!(t, ". 1:1(0) ack 1001");
    inject!(t, ". 1:1(0) ack 1001");
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 1001:2001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 4501");
    t.assert_quiet();
}

#[test]
fn urgent_data_is_delivered_in_line() {
    // RFC 6093 § 4.
    let mut t = Script::established(plain());
    inject!(t, "PU. 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 11");
    t.read(10);
}

#[test]
fn an_urgent_pointer_beyond_the_data_changes_nothing() {
    // RFC 6093 § 3.2: pointers lie.
    let mut t = Script::established(plain());
    inject!(t, ".U 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 11");
    inject!(t, ".U 11:11(0) ack 1");
    t.assert_quiet();
    t.read(10);
}

#[test]
fn a_delayed_acknowledgment_does_not_wait_for_long() {
    // RFC 9293 § 3.8.6.3, MUST-40: below 500 ms.
    let large = Config { receive_buffer: 60_000, receive_buffer_max: 60_000, ..plain() };
    let mut t = Script::established(large);
    for n in 0..16 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        t.discard();
    }
    inject!(t, "P. 16001:16011(10) ack 1");
    t.wait(39);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 40, ". 1:1(0) ack 16011");
}

#[test]
fn what_fills_a_gap_is_acknowledged_at_once() {
    // RFC 5681 § 4.2.
    let large = Config { receive_buffer: 60_000, receive_buffer_max: 60_000, ..plain() };
    let mut t = Script::established(large);
    for n in 0..16 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        t.discard();
    }
    inject!(t, ". 17001:18001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 16001");
    inject!(t, ". 16001:16501(500) ack 1");
    expect!(t, ". 1:1(0) ack 16501");
}
