//! Input that nobody should send: bounded work and memory, and nothing gained (RFC 5961, RFC 3465 § 2, RFC 4953).

use std::collections::VecDeque;

use crate::script::{Script, plain};
use net::tcp::{Config, State};

#[track_caller]
fn ten_segments(t: &mut Script) {
    t.send(10_000);
    assert_eq!(t.discard(), 10);
}

#[test]
fn an_acknowledgment_in_a_thousand_parts_counts_once() {
    // RFC 3465 § 2.1: ACK splitting.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    for n in 0..1000 {
        inject!(t, ". 1:1(0) ack {}", 2 + n);
    }
    assert!(t.flow().cwnd() <= 11_000, "{}", t.flow().cwnd());
}

#[test]
fn an_acknowledgment_ahead_of_what_was_sent_gains_nothing() {
    // RFC 9293 § 3.10.7.4: optimistic ACKs of what was never sent.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    let mut answers = 0;
    for n in 0..100 {
        inject!(t, ". 1:1(0) ack {}", 10_002 + n);
        answers += t.discard();
    }
    assert_eq!((answers, t.flow().cwnd()), (10, 10_000));
}

#[test]
fn reports_of_single_octets_make_no_work() {
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    for n in 0..1000 {
        let at = 1002 + n * 8;
        inject!(t, ". 1:1(0) ack 1 <sack {at}:{} {}:{}>", at + 1, at + 2, at + 3);
    }
    assert_eq!((t.discard(), t.flow().cwnd()), (0, 10_000));
}

#[test]
fn a_report_that_is_repeated_says_nothing_new() {
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:5001>");
    expect!(t, ". 1:1001(1000) ack 1");
    for _ in 0..1000 {
        inject!(t, ". 1:1(0) ack 1 <sack 1001:5001>");
    }
    t.assert_quiet();
}

#[test]
fn claims_of_duplicates_do_not_widen_the_window() {
    // RFC 2883: reported without end.
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    t.wait(100);
    inject!(t, ". 1:1(0) ack 5001");
    for _ in 0..1000 {
        inject!(t, ". 1:1(0) ack 5001 <sack 1:1001>");
    }
    assert_eq!((t.discard(), t.flow().cwnd()), (0, 15_000));
}

#[test]
fn claims_of_duplicates_long_ago_are_refused() {
    let mut t = Script::established_with_sack();
    ten_segments(&mut t);
    inject!(t, ". 1:1(0) ack 1 <sack -100000:-99000>");
    inject!(t, ". 1:1(0) ack 1 <sack 20001:21001 19001:22001>");
    t.assert_quiet();
}

#[test]
fn duplicates_without_end_get_no_more_than_the_window() {
    // RFC 5681 § 3.2: each stands for a segment that has left the network, as long as there is one.
    let mut t = Script::established(plain());
    t.send(100_000);
    let mut sent = t.discard();
    for _ in 0..1000 {
        inject!(t, ". 1:1(0) ack 1");
        sent += t.discard();
    }
    // 50 segments, and the first once more.
    assert!(sent <= 51, "{sent}");
}

#[test]
fn a_window_that_shrinks_is_borne() {
    // RFC 9293 § 3.8.6, MUST-34.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    inject!(t, ". 1:1(0) ack 1001 win 500");
    t.send(1000);
    t.assert_quiet();
    t.wait(200);
    assert!(t.discard() > 0, "what was sent is sent again");
    inject!(t, ". 1:1(0) ack 10001 win 50000");
    expect!(t, "P. 10001:11001(1000) ack 1");
}

#[test]
fn options_of_a_syn_say_nothing_later() {
    // RFC 9293 § 3.7.1, RFC 7323 § 2.2, RFC 2018 § 2.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 3000 <mss 100,sackOK,TS val 1 ecr 2,wscale 14>");
    t.send(4000);
    for n in 0..3 {
        expect!(t, ". {}:{}(1000) ack 1 <>", 1 + n * 1000, 1001 + n * 1000);
    }
    t.assert_quiet();
}

#[test]
fn reports_without_permission_are_ignored() {
    // RFC 2018 § 2.
    let mut t = Script::established(plain());
    ten_segments(&mut t);
    inject!(t, ". 1:1(0) ack 1 win 49999 <sack 1001:10001>");
    t.assert_quiet();
}

#[test]
fn small_segments_share_memory() {
    // A block for each octet would be two thousand.
    let mut t = Script::established(plain());
    for n in 0..2000 {
        inject!(t, ". {}:{}(1) ack 1", 1 + n, 2 + n);
        t.discard();
    }
    assert!(t.blocks() <= 2, "{}", t.blocks());
    t.read(2000);
}

#[test]
fn small_segments_that_the_program_keeps_share_memory() {
    let mut t = Script::established(plain());
    let mut queue = VecDeque::new();
    for n in 0..2000 {
        inject!(t, ". {}:{}(1) ack 1", 1 + n, 2 + n);
        t.discard();
        assert_eq!(t.flow().receive_into(&mut queue), 1);
    }
    assert!(t.blocks() <= 2, "{}", t.blocks());
    assert_eq!(queue.iter().map(frame::Frame::len).sum::<usize>(), 2000);
}

#[test]
fn where_blocks_are_half_empty_the_next_segment_fills_them() {
    // As Linux' `tcp_collapse`: 33 segments of 600 octets, of which two fit a block.
    let mut t = Script::established(plain());
    for n in 0..33 {
        inject!(t, ". {}:{}(600) ack 1", 1 + n * 600, 601 + n * 600);
        t.discard();
    }
    assert!(t.blocks() <= 28, "{}", t.blocks());
    t.read(19_800);
}

/// Four times the receive buffer of scripts, and 32 KiB, in blocks as drivers fill them.
const MOST_BLOCKS: usize = (4 * 20_000 + 32 * 1024) / (1500 + frame::BLOCK_OVERHEAD);

#[test]
fn octets_with_gaps_keep_no_more_memory_than_the_buffer_is_for() {
    let mut t = Script::established(plain());
    for n in 0..250 {
        inject!(t, ". {}:{}(1) ack 1", 3 + n * 2, 4 + n * 2);
        t.discard();
    }
    assert_eq!((t.blocks(), t.flow().refused()), (MOST_BLOCKS, 250 - MOST_BLOCKS as u64));
}

#[test]
fn the_next_octets_take_the_place_of_those_that_wait() {
    // RFC 2018 § 8: what was reported may be dropped. The rest is sent again, so nothing is stuck.
    let mut t = Script::established_with_sack();
    for n in 0..250 {
        inject!(t, ". {}:{}(1) ack 1", 3 + n * 2, 4 + n * 2);
        t.discard();
    }
    t.keeps_sent = true;
    inject!(t, ". 1:2(1) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    inject!(t, ". 2:1002(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1002");
    t.read(1001);
}

#[test]
fn memory_that_cannot_be_shared_closes_the_window() {
    let mut t = Script::established(plain());
    t.keeps_sent = true;
    for n in 0..MOST_BLOCKS {
        inject!(t, ". {}:{}(1) ack 1", 1 + n, 2 + n);
        t.discard();
    }
    let next = 1 + MOST_BLOCKS;
    inject!(t, ". {next}:{}(1) ack 1", next + 1);
    expect!(t, ". 1:1(0) ack {next}");
    assert_eq!(t.flow().refused(), 1);
    // No more is promised than when memory became short, until the program has read.
    t.read(MOST_BLOCKS as u32);
    inject!(t, ". {next}:{}(1000) ack 1", next + 1000);
    t.wait(40);
    expect!(t, ". 1:1(0) ack {} win 18931", next + 1000);
}

#[test]
fn gaps_that_close_in_reverse() {
    // Work for each segment is bounded: runs are joined from the smaller side.
    let mut t = Script::established(plain());
    for n in (1..200).rev() {
        inject!(t, ". {}:{}(10) ack 1", 1 + n * 10, 11 + n * 10);
        t.discard();
    }
    inject!(t, ". 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 2001");
    t.read(2000);
}

#[test]
fn a_segment_over_many_gaps() {
    // RFC 9293 § 3.10.7.4: of what is there the first copy stays.
    let mut t = Script::established(plain());
    for n in 1..50 {
        inject!(t, ". {}:{}(10) ack 1", 1 + n * 20, 11 + n * 20);
        t.discard();
    }
    inject!(t, ". 6:1006(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, ". 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 1006");
    t.read(1005);
}

#[test]
fn every_flag_at_once() {
    // A "Christmas tree": RST is looked at first (RFC 9293 § 3.10.7.4), and its number is not the expected one.
    let mut t = Script::established(plain());
    inject!(t, "FSRP.U 5:15(10) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn no_flag_at_all() {
    // RFC 9293 § 3.10.7.4, fifth check.
    let mut t = Script::established(plain());
    inject!(t, " 1:11(10)");
    t.assert_quiet();
    t.read(0);
}

#[test]
fn text_with_a_syn_in_the_window_is_not_taken() {
    // RFC 5961 § 4.2.
    let mut t = Script::established(plain());
    inject!(t, "S. 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    t.read(0);
}

#[test]
fn an_end_outside_of_the_window_is_no_end() {
    // RFC 9293 § 3.10.7.4, first check.
    let mut t = Script::established(plain());
    inject!(t, "F. 20001:20001(0) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, "F. -1:-1(0) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_second_end_does_not_count() {
    // The stream has one end.
    let mut t = Script::established(plain());
    inject!(t, "F. 101:101(0) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, "F. 51:51(0) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, ". 1:201(200) ack 1");
    expect!(t, ". 1:1(0) ack 102");
    t.read(100);
}

#[test]
fn a_timestamp_from_the_future_makes_no_timeout() {
    // RFC 7323 § 4.1: an echo of what was never sent is no measure.
    let mut t = Script::listen(Config { timestamps: true, ..plain() });
    inject!(t, "S 0:0(0) <mss 1000,TS val 100 ecr 0>");
    expect!(t, "S. 0:0(0) ack 1");
    t.wait(1000);
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1 <TS val 100 ecr 4000000000>");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    // As after a lost SYN without any measure (RFC 6298 § 5.7).
    t.wait(3000);
    expect_at!(t, 4000, "P. 1:11(10) ack 1");
}
