//! Explicit congestion notification (RFC 3168, ECN++).

use crate::script::{Script, plain};
use net::tcp::{Config, EcnMode, State};

fn asking() -> Config {
    Config { ecn: EcnMode::Ask, ..plain() }
}

/// A connection that the peer opened, and asked for ECN.
#[track_caller]
fn established() -> Script {
    let mut t = Script::listen(plain());
    inject!(t, "SEW 0:0(0) win 50000 <mss 1000>");
    expect!(t, "S.E 0:0(0) ack 1 ecn 2");
    inject!(t, ". 1:1(0) ack 1 win 50000");
    t
}

#[track_caller]
fn ten_segments(t: &mut Script) {
    t.send(10_000);
    for n in 0..9 {
        expect!(t, ". {}:{}(1000) ack 1 ecn 2", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 9001:10001(1000) ack 1 ecn 2");
}

#[test]
fn a_syn_asks() {
    // RFC 3168 § 6.1.1; the SYN itself is not capable (ECN++ § 3.2.1).
    let mut t = Script::connect(asking());
    expect!(t, "SEW 0:0(0) ecn 0");
    inject!(t, "S.E 0:0(0) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1 ecn 0");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1 ecn 2");
}

#[test]
fn by_default_nobody_is_asked() {
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
}

#[test]
fn who_asks_is_granted() {
    // RFC 3168 § 6.1.1; the answer is capable (RFC 5562).
    established();
}

#[test]
fn never_is_never() {
    let mut t = Script::listen(Config { ecn: EcnMode::Never, ..plain() });
    inject!(t, "SEW 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1 ecn 0");
}

#[test]
fn a_syn_with_half_of_the_flags_does_not_ask() {
    // RFC 3168 § 6.1.1.
    let mut t = Script::listen(plain());
    inject!(t, "SE 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1 ecn 0");
}

#[test]
fn an_answer_with_both_flags_grants_nothing() {
    // RFC 3168 § 6.1.1: it reflects bits that it does not know.
    let mut t = Script::connect(asking());
    expect!(t, "SEW 0:0(0)");
    inject!(t, "S.EW 0:0(0) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1 ecn 0");
}

#[test]
fn a_syn_that_was_lost_asks_no_more() {
    // RFC 3168 § 6.1.1.1: a firewall may have dropped it.
    let mut t = Script::connect(asking());
    expect!(t, "SEW 0:0(0)");
    t.wait(1000);
    expect!(t, "S 0:0(0)");
    inject!(t, "S.E 0:0(0) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1 ecn 0");
}

#[test]
fn an_answer_that_was_lost_is_sent_again_without_capability() {
    // RFC 5562 § 3.2.
    let mut t = Script::listen(plain());
    inject!(t, "SEW 0:0(0) <mss 1000>");
    expect!(t, "S.E 0:0(0) ack 1 ecn 2");
    t.wait(1000);
    expect!(t, "S.E 0:0(0) ack 1 ecn 0");
}

#[test]
fn acknowledgments_are_not_capable() {
    // ECN++ § 3.2.3: with this feedback nobody would answer a mark.
    let mut t = established();
    inject!(t, "P. 1:101(100) ack 1 ecn 2");
    expect!(t, ". 1:1(0) ack 101 ecn 0");
}

#[test]
fn retransmissions_are_capable() {
    // ECN++ § 3.2.7.
    let mut t = established();
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1 ecn 2");
    t.wait(200);
    expect!(t, "P. 1:11(10) ack 1 ecn 2");
}

#[test]
fn a_fin_is_capable() {
    // ECN++ § 3.2.5.
    let mut t = established();
    t.shutdown();
    expect!(t, "F. 1:1(0) ack 1 ecn 2");
}

#[test]
fn a_window_probe_is_capable() {
    // ECN++ § 3.2.4.
    let mut t = established();
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(10);
    t.wait(200);
    expect!(t, ". 1:2(1) ack 1 ecn 2");
}

#[test]
fn a_mark_is_echoed_until_it_is_answered() {
    // RFC 3168 § 6.1.3.
    let mut t = established();
    inject!(t, "P. 1:101(100) ack 1 ecn 3");
    expect!(t, ".E 1:1(0) ack 101");
    inject!(t, "P. 101:201(100) ack 1 ecn 2");
    expect!(t, ".E 1:1(0) ack 201");
    inject!(t, "P.W 201:301(100) ack 1 ecn 2");
    expect!(t, ". 1:1(0) ack 301");
}

#[test]
fn a_mark_on_the_segment_that_answers_is_a_new_one() {
    // RFC 3168 § 6.1.3.
    let mut t = established();
    inject!(t, "P. 1:101(100) ack 1 ecn 3");
    expect!(t, ".E 1:1(0) ack 101");
    inject!(t, "P.W 101:201(100) ack 1 ecn 3");
    expect!(t, ".E 1:1(0) ack 201");
}

#[test]
fn an_echo_halves_the_window_once() {
    // RFC 3168 § 6.1.2.
    let mut t = established();
    ten_segments(&mut t);
    inject!(t, ".E 1:1(0) ack 1001");
    assert_eq!(t.flow().cwnd(), 5000);
    inject!(t, ".E 1:1(0) ack 6001");
    assert_eq!(t.flow().cwnd(), 5000);
}

#[test]
fn the_next_data_says_that_the_window_was_reduced() {
    // RFC 3168 § 6.1.2: CWR.
    let mut t = established();
    ten_segments(&mut t);
    inject!(t, ".E 1:1(0) ack 6001");
    t.send(2000);
    expect!(t, ".W 10001:11001(1000) ack 1 ecn 2");
}

#[test]
fn an_echo_after_a_round_trip_is_a_new_one() {
    // RFC 3168 § 6.1.2.
    let mut t = established();
    ten_segments(&mut t);
    inject!(t, ".E 1:1(0) ack 5001");
    assert_eq!(t.flow().cwnd(), 5000);
    inject!(t, ".E 1:1(0) ack 10001");
    assert_eq!(t.flow().cwnd(), 2500);
}

#[test]
fn a_loss_is_told_as_a_mark_is() {
    // RFC 3168 § 6.1.2: the window was reduced for any reason.
    let mut t = established();
    ten_segments(&mut t);
    for _ in 0..3 {
        inject!(t, ". 1:1(0) ack 1");
    }
    expect!(t, ". 1:1001(1000) ack 1 ecn 2");
    inject!(t, ". 1:1(0) ack 10001");
    t.send(10);
    expect!(t, "P.W 10001:10011(10) ack 1 ecn 2");
}

#[test]
fn without_agreement_marks_say_nothing() {
    // RFC 3168 § 6.1.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:101(100) ack 1 ecn 3");
    expect!(t, ". 1:1(0) ack 101");
    t.send(10_000);
    assert_eq!(t.discard(), 10);
    inject!(t, ".E 101:101(0) ack 1001");
    assert!(t.flow().cwnd() >= 10_000);
    assert_eq!(t.state(), State::Established);
}
