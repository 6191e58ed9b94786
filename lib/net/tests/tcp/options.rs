//! Options: window scale, timestamps and PAWS (RFC 7323), what is negotiated (RFC 2018 § 2).

use crate::script::{Script, plain};
use net::tcp::{Config, State};

fn full() -> Config {
    Config {
        sack: true,
        timestamps: true,
        window_scale: true,
        receive_buffer: 200_000,
        receive_buffer_max: 200_000,
        ..plain()
    }
}

/// A connection with timestamps that the peer opened at its time 100.
#[track_caller]
fn with_timestamps() -> Script {
    let mut t = Script::listen(Config { timestamps: true, ..plain() });
    inject!(t, "S 0:0(0) <mss 1000,TS val 100 ecr 0>");
    expect!(t, "S. 0:0(0) ack 1 <mss 1000,TS val 0 ecr 100>");
    inject!(t, ". 1:1(0) ack 1 <TS val 100 ecr 0>");
    t
}

#[test]
fn a_syn_offers_all() {
    // RFC 7323 § 2.2, § 3.2; the window of a SYN is not scaled.
    let mut t = Script::connect(full());
    expect!(t, "S 0:0(0) win 65535 <mss 1000,sackOK,TS val 0 ecr 0,wscale 2>");
}

#[test]
fn an_answer_has_what_the_syn_had() {
    // RFC 7323 § 2.2, § 3.2.
    let mut t = Script::listen(full());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1 <mss 1000>");
    let mut t = Script::listen(full());
    inject!(t, "S 0:0(0) <mss 1000,wscale 0>");
    expect!(t, "S. 0:0(0) ack 1 <mss 1000,wscale 2>");
    let mut t = Script::listen(full());
    inject!(t, "S 0:0(0) <mss 1000,sackOK,TS val 7 ecr 0,wscale 7>");
    expect!(t, "S. 0:0(0) ack 1 <mss 1000,sackOK,TS val 0 ecr 7,wscale 2>");
}

#[test]
fn windows_are_scaled_after_the_syn() {
    // RFC 7323 § 2.2, § 2.3.
    let mut t = Script::listen(Config {
        window_scale: true,
        receive_buffer: 200_000,
        receive_buffer_max: 200_000,
        ..plain()
    });
    inject!(t, "S 0:0(0) win 1000 <mss 1000,wscale 3>");
    expect!(t, "S. 0:0(0) ack 1 win 65535 <mss 1000,wscale 2>");
    inject!(t, ". 1:1(0) ack 1 win 500");
    t.send(5000);
    for n in 0..4 {
        expect!(t, ". {}:{}(1000) ack 1 win 50000", 1 + n * 1000, 1001 + n * 1000);
    }
    t.assert_quiet();
}

#[test]
fn without_the_peers_option_nothing_is_scaled() {
    // RFC 7323 § 2.2.
    let mut t = Script::listen(full());
    inject!(t, "S 0:0(0) win 1000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1 win 65535");
    inject!(t, ". 1:1(0) ack 1 win 1500");
    t.send(5000);
    expect!(t, ". 1:1001(1000) ack 1 win 65535");
    t.assert_quiet();
}

#[test]
fn timestamps_take_their_place() {
    // RFC 6691 § 2: the MSS counts the options.
    let mut t = with_timestamps();
    t.send(1000);
    expect!(t, ". 1:989(988) ack 1 <TS val 0 ecr 100>");
    expect!(t, "P. 989:1001(12) ack 1 <TS val 0 ecr 100>");
}

#[test]
fn the_timestamp_is_echoed() {
    // RFC 7323 § 4.3.
    let mut t = with_timestamps();
    t.wait(50);
    inject!(t, "P. 1:11(10) ack 1 <TS val 150 ecr 0>");
    expect!(t, ". 1:1(0) ack 11 <TS val 50 ecr 150>");
}

#[test]
fn a_gap_echoes_what_came_before_it() {
    // RFC 7323 § 4.3, (B): the segment that is missing is not the one that is echoed.
    let mut t = with_timestamps();
    inject!(t, "P. 11:21(10) ack 1 <TS val 160 ecr 0>");
    expect!(t, ". 1:1(0) ack 1 <TS val 0 ecr 100>");
    inject!(t, "P. 1:11(10) ack 1 <TS val 150 ecr 0>");
    expect!(t, ". 1:1(0) ack 21 <TS val 0 ecr 150>");
}

#[test]
fn an_old_timestamp_is_refused() {
    // RFC 7323 § 5.3, R1: PAWS.
    let mut t = with_timestamps();
    inject!(t, "P. 1:11(10) ack 1 <TS val 99 ecr 0>");
    expect!(t, ". 1:1(0) ack 1 <TS val 0 ecr 100>");
    t.read(0);
}

#[test]
fn an_old_timestamp_does_not_stop_a_reset() {
    // RFC 7323 § 5.2.
    let mut t = with_timestamps();
    inject!(t, "R 1:1(0) <TS val 99 ecr 0>");
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn after_24_days_the_timestamp_says_nothing() {
    // RFC 7323 § 5.5.
    let mut t = with_timestamps();
    t.wait(24 * 24 * 3600 * 1000);
    inject!(t, "P. 1:11(10) ack 1 <TS val 99 ecr 0>");
    expect!(t, ". 1:1(0) ack 11 <TS val 2073600000 ecr 99>");
    t.read(10);
}

#[test]
fn a_segment_without_its_timestamp_is_dropped() {
    // RFC 7323 § 3.2.
    let mut t = with_timestamps();
    inject!(t, "P. 1:11(10) ack 1");
    t.assert_quiet();
    t.read(0);
}

#[test]
fn a_round_trip_is_measured_though_it_was_repeated() {
    // RFC 7323 § 4.1: the echo tells which of them arrived.
    let mut t = with_timestamps();
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    t.wait(200);
    expect_at!(t, 200, "P. 1:101(100) ack 1 <TS val 200 ecr 100>");
    t.wait(300);
    inject!(t, ". 1:1(0) ack 101 <TS val 600 ecr 200>");
    t.send(100);
    expect_at!(t, 500, "P. 101:201(100) ack 1");
    // 0 ms, then 300 ms: SRTT 37.5 ms, RTTVAR 75 ms.
    t.wait(337);
    t.assert_quiet();
    t.wait(1);
    expect!(t, "P. 101:201(100) ack 1");
}

#[test]
fn reports_and_timestamps_share_the_room() {
    // RFC 2018 § 3: three blocks beside timestamps.
    let mut t = Script::listen(Config { sack: true, timestamps: true, ..plain() });
    inject!(t, "S 0:0(0) <mss 1000,sackOK,TS val 100 ecr 0>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1 <TS val 100 ecr 0>");
    for n in 1..4 {
        inject!(t, ". {}:{}(10) ack 1 <TS val 100 ecr 0>", 1 + n * 20, 11 + n * 20);
        t.discard();
    }
    inject!(t, ". 81:91(10) ack 1 <TS val 100 ecr 0>");
    expect!(t, ". 1:1(0) ack 1 <TS val 0 ecr 100,sack 81:91 61:71 41:51>");
}

#[test]
fn a_report_goes_with_data_that_leaves_room() {
    // RFC 2018 § 4.
    let mut t = Script::established_with_sack();
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    inject!(t, ". 1001:2001(1000) ack 101");
    expect!(t, ". 101:101(0) ack 1 <sack 1001:2001>");
    t.send(2000);
    expect!(t, ". 101:1061(960) ack 1 <sack 1001:2001>");
    expect!(t, ". 1061:2021(960) ack 1 <sack 1001:2001>");
    expect!(t, "P. 2021:2101(80) ack 1 <sack 1001:2001>");
}

#[test]
fn a_retransmission_without_room_leaves_the_report_to_an_acknowledgment() {
    // RFC 2018 § 4: the segment stays as long as it was.
    let mut t = Script::established_with_sack();
    t.send(1000);
    expect!(t, "P. 1:1001(1000) ack 1");
    t.wait(300);
    expect_at!(t, 400, "P. 1:1001(1000) ack 1 <>");
    inject!(t, ". 1001:2001(1000) ack 1");
    expect!(t, ". 1001:1001(0) ack 1 <sack 1001:2001>");
    t.wait(600);
    expect_at!(t, 1000, "P. 1:1001(1000) ack 1 <>");
}

#[test]
fn a_scale_beyond_the_largest_counts_as_that() {
    // RFC 7323 § 2.3.
    let mut t = Script::listen(full());
    inject!(t, "S 0:0(0) win 1000 <mss 1000,wscale 14>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1 win 65535");
    t.send(10_000);
    assert_eq!(t.discard(), 10);
}

#[test]
fn an_acknowledgment_with_an_old_timestamp_says_nothing() {
    // RFC 7323 § 5.3, R1.
    let mut t = with_timestamps();
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    inject!(t, ". 1:1(0) ack 101 <TS val 99 ecr 0>");
    expect!(t, ". 101:101(0) ack 1");
    assert!(t.flow().poll_timeout().is_some());
}

#[test]
fn timestamps_make_a_reopening_certain() {
    // RFC 6191 § 2: a later timestamp, though the number is lower.
    let mut t = with_timestamps();
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2 <TS val 100 ecr 0>");
    expect!(t, ". 2:2(0) ack 2");
    inject!(t, "S -5000:-5000(0) <mss 1000,TS val 200 ecr 0>");
    assert_eq!((t.discard(), t.state()), (1, State::SynReceived));
}

#[test]
fn an_old_timestamp_does_not_reopen() {
    // RFC 6191 § 2.
    let mut t = with_timestamps();
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2 <TS val 100 ecr 0>");
    expect!(t, ". 2:2(0) ack 2");
    inject!(t, "S 5000:5000(0) <mss 1000,TS val 50 ecr 0>");
    t.discard();
    assert_eq!(t.state(), State::TimeWait);
}
