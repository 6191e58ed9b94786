//! Losses found by time, and probes of the tail (RFC 8985).

use crate::script::{Script, plain};
use net::tcp::Config;

/// Sends so many segments of 1000 octets, all there are.
#[track_caller]
fn segments(t: &mut Script, from: u32, count: u32) {
    t.send(count * 1000);
    for n in 0..count - 1 {
        expect!(t, ". {}:{}(1000) ack 1", from + n * 1000, from + 1000 + n * 1000);
    }
    let last = from + (count - 1) * 1000;
    expect!(t, "P. {last}:{}(1000) ack 1", last + 1000);
}

/// A connection that has seen segments overtake one another; it is 210 ms and ten segments are in flight since 100 ms.
#[track_caller]
fn reordered() -> Script {
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 10);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(10);
    inject!(t, ". 1:1(0) ack 2001");
    t
}

#[test]
fn a_segment_that_is_late_within_the_window_is_not_lost() {
    // § 6.2, step 5.
    let mut t = reordered();
    t.wait(10);
    t.assert_quiet();
}

#[test]
fn after_reordering_three_segments_are_no_loss_at_once() {
    // § 6.2, step 4: the window counts from then on.
    let mut t = reordered();
    inject!(t, ". 1:1(0) ack 2001 <sack 3001:6001>");
    t.wait(24);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 235, ". 2001:3001(1000) ack 1");
}

#[test]
fn a_lost_retransmission_is_found() {
    // § 6.2: what was sent after it has arrived.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 10);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:4001>");
    expect_at!(t, 200, ". 1:1001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:10001>");
    segments(&mut t, 10_001, 2);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:12001>");
    expect_at!(t, 400, ". 1:1001(1000) ack 1");
}

#[test]
fn many_losses_of_one_window_are_repaired_in_a_round_trip() {
    // § 3.1, RFC 9937 § 6.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 10);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001 3001:4001 5001:6001 7001:10001>");
    for from in [1, 2001, 4001, 6001] {
        expect_at!(t, 200, ". {from}:{}(1000) ack 1", from + 1000);
    }
    t.wait(100);
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn a_segment_that_came_twice_widens_the_window() {
    // § 6.2, step 4: RACK.reo_wnd_mult.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(25);
    expect_at!(t, 225, ". 1:1001(1000) ack 1");
    t.wait(5);
    inject!(t, ". 1:1(0) ack 2001");
    t.wait(10);
    inject!(t, ". 1:1(0) ack 2001 <sack 1:1001>");
    segments(&mut t, 2001, 2);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 2001 <sack 3001:4001>");
    t.wait(49);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 390, ". 2001:3001(1000) ack 1");
}

#[test]
fn a_loss_that_was_none_is_undone() {
    // RFC 3708 § 2, RFC 4015 § 3: all that was sent again arrived twice.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    t.wait(25);
    expect!(t, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 2001");
    assert_eq!(t.flow().cwnd(), 2000);
    inject!(t, ". 1:1(0) ack 2001 <sack 1:1001>");
    assert_eq!(t.flow().cwnd(), 10_000);
}

#[test]
fn a_report_of_what_was_not_sent_again_undoes_nothing() {
    // RFC 2883 § 5: the network repeated it.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 2001 <sack 1:1001>");
    assert_eq!(t.flow().cwnd(), 10_000);
}

#[test]
fn parts_of_segments_say_nothing() {
    // RFC 2018 § 4: blocks grow; what is half there is not there.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 10);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1501:2001>");
    inject!(t, ". 1:1(0) ack 1 <sack 2001:2999>");
    inject!(t, ". 1:1(0) ack 1 <sack 3500:4500>");
    t.wait(50);
    t.assert_quiet();
}

#[test]
fn the_tail_is_probed_with_its_last_segment() {
    // § 7.2, § 7.3: after two round trips.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(200);
    expect_at!(t, 300, "P. 1001:2001(1000) ack 1");
}

#[test]
fn a_probe_finds_the_loss_of_a_whole_flight() {
    // § 7.1.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(200);
    expect_at!(t, 300, "P. 1001:2001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    expect_at!(t, 400, ". 1:1001(1000) ack 1");
}

#[test]
fn new_data_is_the_better_probe() {
    // § 7.3: whatever the congestion window says.
    let mut t = Script::established_with_sack();
    t.send(12_000);
    for n in 0..10 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    t.wait(200);
    expect_at!(t, 300, ". 10001:11001(1000) ack 1");
}

#[test]
fn one_probe_then_the_timeout() {
    // § 7.3: the timer is set anew by the probe.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(200);
    expect_at!(t, 300, "P. 1001:2001(1000) ack 1");
    t.wait(299);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 600, ". 1:1001(1000) ack 1");
}

#[test]
fn a_probe_that_was_not_needed_costs_nothing() {
    // § 7.4.2: reported as having arrived twice.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(200);
    expect!(t, "P. 1001:2001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 2001");
    inject!(t, ". 1:1(0) ack 2001 <sack 1001:2001>");
    segments(&mut t, 2001, 1);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 3001");
    assert_eq!(t.flow().cwnd(), 10_000);
}

#[test]
fn a_probe_that_repaired_a_loss_counts_as_one() {
    // § 7.4.2.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 3);
    t.wait(200);
    expect!(t, "P. 2001:3001(1000) ack 1");
    t.wait(10);
    inject!(t, ". 1:1(0) ack 3001");
    segments(&mut t, 3001, 4);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 7001");
    assert_eq!(t.flow().cwnd(), 2000);
}

#[test]
fn without_selective_acknowledgments_there_is_no_probe() {
    // § 7.2: the probe's answer would say nothing.
    let mut t = Script::established_at_100_ms(Config { sack: false, ..plain() });
    segments(&mut t, 1, 2);
    t.wait(299);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 400, ". 1:1001(1000) ack 1");
}

#[test]
fn a_closed_window_is_no_lost_tail() {
    // § 7.2; the persist timer is for that.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 2);
    t.wait(50);
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1001 win 0");
    t.wait(100);
    t.assert_quiet();
}

#[test]
fn a_repair_comes_down_in_proportion() {
    // RFC 9937 § 6: half of what is delivered, until what is in flight is at the threshold.
    let mut t = Script::established(plain());
    t.send(20_000);
    for n in 0..10 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    for n in 10..12 {
        inject!(t, ". 1:1(0) ack 1");
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, ". 1:1001(1000) ack 1");
    for _ in 0..3 {
        inject!(t, ". 1:1(0) ack 1");
        t.assert_quiet();
    }
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, ". 12001:13001(1000) ack 1");
}

#[test]
fn a_repair_ends_at_the_threshold() {
    // RFC 9937 § 6, RFC 5681 § 3.2, step 6.
    let mut t = Script::established_with_sack();
    segments(&mut t, 1, 10);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:10001>");
    expect!(t, ". 1:1001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!(t.flow().cwnd(), 5000);
}

#[test]
fn limited_transmit_keeps_acknowledgments_coming() {
    // RFC 3042 § 2, with selective acknowledgments: what is reported has left the network.
    let mut t = Script::established_with_sack();
    t.send(12_000);
    for n in 0..10 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    expect!(t, ". 10001:11001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1 <sack 1001:3001>");
    expect!(t, "P. 11001:12001(1000) ack 1");
}
