//! Finding and repairing losses (RFC 5681, RFC 6582, RFC 3042, RFC 2018, RFC 6675, RFC 2883).

use crate::script::{Script, plain};

/// Sends ten segments, all there are.
#[track_caller]
fn ten_segments(t: &mut Script) {
    t.send(10_000);
    for n in 0..9 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 9001:10001(1000) ack 1");
}

#[test]
fn three_duplicates_are_a_loss() {
    // RFC 5681 § 3.2.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    inject!(t, ". 1:1(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!((t.flow().cwnd(), t.flow().poll_timeout()), (5000, None));
}

#[test]
fn two_duplicates_let_new_data_go() {
    // RFC 3042 § 2.
    let mut t = Script::established(plain());
    t.send(12_000);
    for n in 0..10 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, ". 10001:11001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, "P. 11001:12001(1000) ack 1");
}

#[test]
fn a_partial_acknowledgment_is_the_next_loss() {
    // RFC 6582 § 3.2, step 3.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    for _ in 0..3 {
        inject!(t, ". 1:1(0) ack 1");
    }
    expect!(t, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 3001");
    expect!(t, ". 3001:4001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!((t.flow().cwnd(), t.flow().poll_timeout()), (5000, None));
}

#[test]
fn duplicates_with_a_window_update_do_not_count() {
    // RFC 5681 § 2: the advertised window is the same.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    for n in 1..6 {
        inject!(t, ". 1:1(0) ack 1 win {}", 50_000 + n);
    }
    t.assert_quiet();
}

#[test]
fn duplicates_with_data_do_not_count() {
    // RFC 5681 § 2.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    for n in 0..5 {
        inject!(t, "P. {}:{}(10) ack 1", 1 + n * 10, 11 + n * 10);
        expect!(t, ". 10001:10001(0) ack {}", 11 + n * 10);
    }
}

#[test]
fn three_segments_beyond_a_gap_are_a_loss() {
    // RFC 8985 § 6.2, step 4: without sign of reordering, as soon as three are reported.
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    inject!(t, ". 1:1(0) ack 1 <sack 1001:3001>");
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 1 <sack 1001:4001>");
    expect_at!(t, 200, ". 1:1001(1000) ack 1");
}

#[test]
fn one_segment_beyond_a_gap_is_a_loss_after_the_window() {
    // RFC 8985 § 6.2, step 4: a quarter of the least round-trip time.
    let mut t = Script::established_with_sack();
    t.send(2000);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:2001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(24);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 225, ". 1:1001(1000) ack 1");
}

#[test]
fn only_the_holes_are_sent_again() {
    // RFC 2018 § 5, RFC 8985 § 6.2.
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    inject!(t, ". 1:1(0) ack 1 <sack 3001:6001 1001:2001>");
    expect!(t, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1 <sack 3001:9001 1001:2001>");
    expect!(t, ". 2001:3001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn blocks_of_what_was_never_sent_are_ignored() {
    // RFC 2018 § 5, and common sense.
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    for n in 0..5 {
        inject!(t, ". 1:1(0) ack 1 <sack {}:{}>", 20_001 + n * 1000, 21_001 + n * 1000);
        inject!(t, ". 1:1(0) ack 1 <sack 2001:1001>");
    }
    t.assert_quiet();
}

#[test]
fn what_arrived_out_of_order_is_reported() {
    // RFC 2018 § 4: the latest block first.
    let mut t = Script::established_with_sack();
    inject!(t, ". 1001:2001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    inject!(t, ". 3001:4001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1 <sack 3001:4001 1001:2001>");
    inject!(t, ". 5001:6001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1 <sack 5001:6001 3001:4001 1001:2001>");
    inject!(t, ". 2001:3001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1 <sack 1001:4001 5001:6001>");
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 4001 <sack 5001:6001>");
    inject!(t, ". 4001:5001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 6001 <>");
}

#[test]
fn what_arrived_twice_is_reported_once() {
    // RFC 2883 § 4.
    let mut t = Script::established_with_sack();
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 <>");
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 <sack 1:1001>");
    inject!(t, ". 2001:3001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 <sack 2001:3001>");
    inject!(t, ". 2001:3001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 <sack 2001:3001 2001:3001>");
}

#[test]
fn without_permission_nothing_is_reported() {
    // RFC 2018 § 2.
    let mut t = Script::established(plain());
    inject!(t, ". 1001:2001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1 <>");
}

#[test]
fn a_timeout_sends_what_is_missing_only() {
    // RFC 6675 § 5.1: what was reported is kept at the first timeout.
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(25);
    expect_at!(t, 225, ". 1:1001(1000) ack 1");
    t.wait(290);
    expect_at!(t, 515, ". 1:1001(1000) ack 1");
    t.wait(50);
    inject!(t, ". 1:1(0) ack 2001");
    expect!(t, ". 2001:3001(1000) ack 1");
    expect!(t, ". 3001:4001(1000) ack 1");
}

#[test]
fn a_peer_that_takes_back_is_served() {
    // RFC 2018 § 8: at the second timeout nothing reported counts.
    let mut t = Script::established_with_sack();
    t.send(2000);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:2001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(25);
    expect!(t, ". 1:1001(1000) ack 1");
    t.wait(250);
    expect_at!(t, 475, ". 1:1001(1000) ack 1");
    t.wait(500);
    expect_at!(t, 975, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, "P. 1001:2001(1000) ack 1");
}

#[test]
fn a_report_of_what_is_not_acknowledged_was_taken_back() {
    // RFC 2018 § 8: at the first timeout.
    let mut t = Script::established_with_sack();
    t.send(2000);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:2001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1:2001>");
    t.wait(200);
    expect_at!(t, 400, ". 1:1001(1000) ack 1");
    t.wait(10);
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, "P. 1001:2001(1000) ack 1");
}
