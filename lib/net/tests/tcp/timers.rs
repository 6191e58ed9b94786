//! The retransmission timer, keep-alive and giving up (RFC 6298, RFC 9293 § 3.8.3, § 3.8.4).

use std::time::Duration;

use crate::script::{Script, plain};
use net::tcp::{Config, Error, KeepAlive, State};

#[test]
fn a_lost_segment_is_sent_again_and_the_timeout_doubles() {
    // RFC 6298 § 5.4, § 5.5. The handshake took no time: the least timeout of 200 ms.
    let mut t = Script::established(plain());
    t.send(100);
    expect_at!(t, 0, "P. 1:101(100) ack 1");
    for at in [200, 600, 1400, 3000, 6200] {
        let now = t.now.as_millis();
        t.wait(at - now);
        expect_at!(t, at, "P. 1:101(100) ack 1");
    }
    inject!(t, ". 1:1(0) ack 101");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn the_round_trip_time_sets_the_timeout() {
    // RFC 6298 § 2.2: 300 ms + 4 * 150 ms.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    t.wait(300);
    inject!(t, ". 1:1(0) ack 1");
    t.send(100);
    expect_at!(t, 300, "P. 1:101(100) ack 1");
    t.wait(900);
    expect_at!(t, 1200, "P. 1:101(100) ack 1");
}

#[test]
fn an_acknowledgment_restarts_the_timer() {
    // RFC 6298 § 5.3.
    let mut t = Script::established(plain());
    t.send(2000);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:2001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1001");
    t.wait(199);
    t.assert_quiet();
    t.wait(1000);
    expect!(t, "P. 1001:2001(1000) ack 1");
}

#[test]
fn a_retransmission_is_not_measured() {
    // RFC 6298 § 3: Karn's algorithm.
    let mut t = Script::established(plain());
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    t.wait(200);
    expect!(t, "P. 1:101(100) ack 1");
    t.wait(300);
    inject!(t, ". 1:1(0) ack 101");
    t.send(100);
    expect_at!(t, 500, "P. 101:201(100) ack 1");
    t.wait(200);
    expect_at!(t, 700, "P. 101:201(100) ack 1");
}

#[test]
fn after_a_timeout_one_segment_then_slow_start() {
    // RFC 5681 § 3.1, RFC 6298 § 5.4.
    let mut t = Script::established(plain());
    t.send(4000);
    for n in 0..3 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 3001:4001(1000) ack 1");
    t.wait(200);
    expect_at!(t, 200, ". 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 1001:2001(1000) ack 1");
    expect!(t, ". 2001:3001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 4001");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn a_silent_peer_is_given_up() {
    // RFC 9293 § 3.8.3: at least 100 s.
    let mut t = Script::established(Config { give_up: Duration::from_secs(100), ..plain() });
    t.send(100);
    expect!(t, "P. 1:101(100) ack 1");
    let mut last = 0;
    while t.state() == State::Established {
        let next = t.flow().poll_timeout().unwrap();
        let millis = (next.0 - t.now.0).div_ceil(1_000_000);
        t.wait(millis);
        if t.state() == State::Established {
            last = t.now.as_millis();
            expect!(t, "P. 1:101(100) ack 1");
        }
    }
    assert!(t.now.as_millis() >= 100_000 && last < 100_200);
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn an_idle_connection_is_probed() {
    // RFC 9293 § 3.8.4.
    let keep_alive = KeepAlive { idle: Duration::from_secs(10), interval: Duration::from_secs(1), probes: 3 };
    let mut t = Script::established(Config { keep_alive: Some(keep_alive), ..plain() });
    t.wait(10_000);
    expect_at!(t, 10_000, ". 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    t.wait(10_000);
    for n in 0..3 {
        expect_at!(t, 20_000 + n * 1000, ". 0:0(0) ack 1");
        t.wait(1000);
    }
    expect_at!(t, 23_000, "R. 1:1(0) ack 1");
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn a_probe_is_answered() {
    // RFC 9293 § 3.8.4: an octet that was received is acknowledged.
    let mut t = Script::established(plain());
    inject!(t, ". 0:0(0) ack 1");
    expect!(t, ". 1:1(0) ack 1");
}

#[test]
fn after_a_pause_the_window_starts_anew() {
    // RFC 5681 § 4.1.
    let mut t = Script::established(plain());
    t.send(10_000);
    for n in 0..9 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 9001:10001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 10001");
    assert_eq!(t.flow().cwnd(), 18_000);
    t.wait(1000);
    t.send(1000);
    expect!(t, "P. 10001:11001(1000) ack 1");
    assert_eq!(t.flow().cwnd(), 10_000);
}
