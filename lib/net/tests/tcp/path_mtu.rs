//! The path's MTU (RFC 1191, RFC 8201, RFC 4821) and what ICMP is believed (RFC 5927).

use crate::script::{Script, plain};
use net::tcp::{Config, Error, IcmpError, State};

const TOO_BIG: fn(u32) -> IcmpError = |mss| IcmpError::TooBig { mss };

/// Three segments of 1000 octets are in flight.
#[track_caller]
fn three_segments() -> Script {
    let mut t = Script::established(plain());
    t.send(3000);
    assert_eq!(t.discard(), 3);
    t
}

#[test]
fn what_was_too_big_is_sent_again_in_pieces() {
    // RFC 1191 § 6.5; no sign of congestion.
    let mut t = three_segments();
    t.icmp(1, TOO_BIG(600));
    for (from, to) in [(1, 601), (601, 1001), (1001, 1601), (1601, 2001), (2001, 2601)] {
        expect!(t, ". {from}:{to}({}) ack 1", to - from);
    }
    expect!(t, "P. 2601:3001(400) ack 1");
    assert_eq!((t.flow().mss(), t.flow().cwnd()), (600, 10_000));
    inject!(t, ". 1:1(0) ack 3001");
    t.send(1000);
    expect!(t, ". 3001:3601(600) ack 1");
    expect!(t, "P. 3601:4001(400) ack 1");
}

#[test]
fn a_message_about_what_is_not_in_flight_is_forged() {
    // RFC 5927 § 4.1.
    let mut t = three_segments();
    for seq in [0, 3001, 100_000] {
        t.icmp(seq, TOO_BIG(600));
    }
    assert_eq!(t.flow().mss(), 1000);
    inject!(t, ". 1:1(0) ack 3001");
    t.icmp(1, TOO_BIG(600));
    assert_eq!(t.flow().mss(), 1000);
}

#[test]
fn a_message_of_what_fits_changes_nothing() {
    // RFC 5927 § 7.2.
    let mut t = three_segments();
    t.icmp(1, TOO_BIG(1000));
    t.icmp(1, TOO_BIG(9000));
    t.assert_quiet();
    assert_eq!(t.flow().mss(), 1000);
}

#[test]
fn no_message_makes_segments_tiny() {
    // RFC 5927 § 7.2, Linux's min_pmtu.
    let mut t = three_segments();
    t.icmp(1, TOO_BIG(28));
    assert_eq!((t.flow().mss(), t.discard()), (512, 6));
}

#[test]
fn a_handshake_has_no_segment_that_is_too_big() {
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.icmp(0, TOO_BIG(600));
    inject!(t, "S. 0:0(0) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.flow().mss(), 1000);
}

#[test]
fn nobody_there_ends_a_handshake() {
    // RFC 5461 § 4.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.icmp(0, IcmpError::Unreachable);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::Unreachable)));
}

#[test]
fn a_forged_message_does_not_end_a_handshake() {
    // RFC 5927 § 4.1.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.icmp(1, IcmpError::Unreachable);
    assert_eq!(t.state(), State::SynSent);
}

#[test]
fn what_may_pass_does_not_end_a_handshake() {
    // RFC 1122 § 4.2.3.9.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.icmp(0, IcmpError::Transient);
    assert_eq!(t.state(), State::SynSent);
}

#[test]
fn no_message_ends_a_connection() {
    // RFC 5927 § 5.2.
    let mut t = three_segments();
    t.icmp(1, IcmpError::Unreachable);
    assert_eq!((t.state(), t.flow().error()), (State::Established, None));
}

#[test]
fn a_black_hole_is_found_by_three_timeouts() {
    // RFC 4821 § 7.7.
    let mut t = Script::listen(Config { mss: 1460, ..plain() });
    inject!(t, "S 0:0(0) win 50000 <mss 1460>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.send(1460);
    expect!(t, "P. 1:1461(1460) ack 1");
    for at in [200, 600] {
        t.wait(at - t.now.as_millis());
        expect_at!(t, at, "P. 1:1461(1460) ack 1");
    }
    t.wait(800);
    expect_at!(t, 1400, ". 1:985(984) ack 1");
    expect!(t, "P. 985:1461(476) ack 1");
    assert_eq!(t.flow().mss(), 984);
}

#[test]
fn small_segments_that_vanish_are_no_black_hole() {
    // RFC 4821 § 7.7.
    let mut t = Script::listen(Config { mss: 1460, ..plain() });
    inject!(t, "S 0:0(0) win 50000 <mss 1460>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    for at in [200, 600, 1400, 3000] {
        t.wait(at - t.now.as_millis());
        expect_at!(t, at, "P. 1:101(100) ack 1");
    }
    assert_eq!(t.flow().mss(), 1460);
}

#[test]
fn after_ten_minutes_a_larger_segment_is_tried() {
    // RFC 1191 § 6.3, RFC 4821 § 7.
    let mut t = Script::established_with_sack();
    t.send(3000);
    assert_eq!(t.discard(), 3);
    t.icmp(1, TOO_BIG(600));
    assert_eq!(t.discard(), 6);
    inject!(t, ". 1:1(0) ack 3001");
    t.wait(600_000);
    t.send(10_000);
    expect!(t, ". 3001:4001(1000) ack 1");
    expect!(t, ". 4001:4601(600) ack 1");
    t.discard();
    inject!(t, ". 1:1(0) ack 4001");
    assert_eq!(t.flow().mss(), 1000);
}

#[test]
fn a_probe_that_is_lost_is_no_congestion() {
    // RFC 4821 § 7.6.2.
    let mut t = Script::established_with_sack();
    t.send(3000);
    assert_eq!(t.discard(), 3);
    t.icmp(1, TOO_BIG(600));
    assert_eq!(t.discard(), 6);
    inject!(t, ". 1:1(0) ack 3001");
    t.wait(600_000);
    t.send(5200);
    expect!(t, ". 3001:4001(1000) ack 1");
    t.discard();
    let window = t.flow().cwnd();
    t.wait(100);
    inject!(t, ". 1:1(0) ack 3001 <sack 4001:8201>");
    expect!(t, ". 3001:3601(600) ack 1");
    expect!(t, ". 3601:4001(400) ack 1");
    assert_eq!((t.flow().mss(), t.flow().cwnd()), (600, window));
}
