//! What the program may set: Nagle's algorithm, cork, keep-alive, user timeout, quick acknowledgments, pacing (RFC 9293
//! § 3.7.4, § 3.8.4, RFC 5482, tcp(7)).

use std::time::Duration;

use crate::script::{Script, plain};
use net::Instant;
use net::tcp::{Algorithm, Config, Error, KeepAlive, State};

const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(1), interval: Duration::from_secs(1), probes: 100 };

#[test]
fn a_cork_holds_what_is_less_than_a_segment() {
    // tcp(7), TCP_CORK.
    let mut t = Script::established(plain());
    t.flow().set_cork(true);
    t.send(500);
    t.assert_quiet();
    t.send(600);
    expect!(t, ". 1:1001(1000) ack 1");
    t.assert_quiet();
    t.flow().set_cork(false);
    t.poll();
    expect!(t, "P. 1001:1101(100) ack 1");
}

#[test]
fn a_cork_holds_for_200_ms() {
    // tcp(7), TCP_CORK.
    let mut t = Script::established(plain());
    t.flow().set_cork(true);
    t.send(500);
    t.wait(199);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 200, "P. 1:501(500) ack 1");
    t.send(10);
    t.assert_quiet();
}

#[test]
fn a_full_segment_passes_the_cork() {
    let mut t = Script::established(plain());
    t.flow().set_cork(true);
    t.send(1000);
    expect!(t, "P. 1:1001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1001");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn the_end_pulls_the_cork() {
    let mut t = Script::established(plain());
    t.flow().set_cork(true);
    t.send(500);
    t.shutdown();
    expect!(t, "FP. 1:501(500) ack 1");
}

#[test]
fn a_corked_queue_does_not_probe_the_window() {
    // The window is open: nothing is wrong.
    let mut t = Script::established(plain());
    t.flow().set_cork(true);
    t.send(500);
    t.wait(200);
    expect_at!(t, 200, "P. 1:501(500) ack 1");
    inject!(t, ". 1:1(0) ack 501");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn nodelay_lets_go_what_waits() {
    // RFC 9293 § 3.7.4, MUST-17.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(10);
    t.assert_quiet();
    t.flow().set_nagle(false);
    t.poll();
    expect!(t, "P. 11:21(10) ack 1");
}

#[test]
fn the_end_does_not_wait_for_nagle() {
    // RFC 9293 § 3.7.4: nothing more will come to fill the segment.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(10);
    t.shutdown();
    expect!(t, "FP. 11:21(10) ack 1");
}

#[test]
fn the_rest_of_a_large_write_does_not_wait() {
    // RFC 9293 § 3.7.4, draft-minshall-nagle: only a small segment makes a small one wait.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(2500);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1001:2001(1000) ack 1");
    expect!(t, "P. 2001:2501(500) ack 1");
    t.send(1200);
    expect!(t, ". 2501:3501(1000) ack 1");
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 2001");
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 2501");
    expect!(t, "P. 3501:3701(200) ack 1");
}

#[test]
fn keep_alive_is_off_by_default() {
    // RFC 9293 § 3.8.4, MUST-25.
    let mut t = Script::established(plain());
    assert_eq!(t.flow().poll_timeout(), None);
    t.wait(10_000_000);
}

#[test]
fn keep_alive_may_be_switched_on_and_off() {
    // RFC 9293 § 3.8.4, MUST-24.
    let mut t = Script::established(plain());
    let now = t.now;
    t.flow().set_keep_alive(now, Some(KEEP_ALIVE));
    t.wait(1000);
    expect_at!(t, 1000, ". 0:0(0) ack 1");
    let now = t.now;
    t.flow().set_keep_alive(now, None);
    t.wait(100_000);
    t.assert_quiet();
}

#[test]
fn data_puts_a_probe_off() {
    // RFC 9293 § 3.8.4, MUST-26: only where nothing was heard.
    let mut t = Script::established(Config { keep_alive: Some(KEEP_ALIVE), ..plain() });
    t.wait(900);
    inject!(t, "P. 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 11");
    t.wait(999);
    t.assert_quiet();
    t.wait(1);
    expect_at!(t, 1900, ". 0:0(0) ack 11");
}

#[test]
fn data_in_flight_needs_no_probe() {
    // It asks for an answer itself.
    let mut t = Script::established(Config { keep_alive: Some(KEEP_ALIVE), ..plain() });
    t.wait(900);
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.wait(150);
    t.assert_quiet();
}

#[test]
fn unacknowledged_data_is_given_up_at_the_user_timeout() {
    // RFC 5482 § 3.
    let user_timeout = Some(Duration::from_secs(1));
    let mut t = Script::established(Config { user_timeout, ..plain() });
    t.send(100);
    expect_at!(t, 0, "P. 1:101(100) ack 1");
    t.wait(999);
    expect_at!(t, 200, "P. 1:101(100) ack 1");
    expect_at!(t, 600, "P. 1:101(100) ack 1");
    assert_eq!(t.state(), State::Established);
    t.wait(1);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::TimedOut)));
}

#[test]
fn progress_puts_the_user_timeout_off() {
    // RFC 5482 § 3: data remains unacknowledged.
    let user_timeout = Some(Duration::from_secs(1));
    let mut t = Script::established(Config { user_timeout, ..plain() });
    t.send(2000);
    assert_eq!(t.discard(), 2);
    t.wait(150);
    inject!(t, ". 1:1(0) ack 1001");
    t.wait(900);
    t.discard();
    assert_eq!(t.state(), State::Established);
    t.wait(100);
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn a_closed_window_is_given_up_at_the_user_timeout() {
    // tcp(7), TCP_USER_TIMEOUT: also what cannot be sent, though the peer answers.
    let user_timeout = Some(Duration::from_secs(1));
    let mut t = Script::established(Config { user_timeout, ..plain() });
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    for at in [200, 600] {
        t.wait(at - t.now.as_millis());
        expect_at!(t, at, ". 1:2(1) ack 1");
        inject!(t, ". 1:1(0) ack 1 win 0");
    }
    t.wait(399);
    assert_eq!(t.state(), State::Established);
    t.wait(1);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::TimedOut)));
}

#[test]
fn a_user_timeout_decides_when_probes_are_over() {
    // tcp(7), TCP_USER_TIMEOUT overrides keep-alive.
    let user_timeout = Some(Duration::from_secs(3));
    let mut t = Script::established(Config { user_timeout, keep_alive: Some(KEEP_ALIVE), ..plain() });
    for n in 1..3 {
        t.wait(1000);
        expect_at!(t, n * 1000, ". 0:0(0) ack 1");
    }
    t.wait(1000);
    expect_at!(t, 3000, "R. 1:1(0) ack 1");
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn how_often_a_syn_is_sent_again_is_the_programs_choice() {
    // tcp(7), TCP_SYNCNT.
    let mut t = Script::connect(Config { syn_retries: Some(2), ..plain() });
    for wait in [1000, 2000, 3999] {
        assert_eq!((t.discard(), t.state()), (1, State::SynSent));
        t.wait(wait);
    }
    assert_eq!(t.state(), State::SynSent);
    t.wait(1);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::TimedOut)));
}

#[test]
fn another_algorithm_goes_on_with_the_window() {
    // tcp(7), TCP_CONGESTION.
    let mut t = Script::established_at_100_ms(Config { sack: true, ..plain() });
    t.send(30_000);
    t.discard();
    inject!(t, ". 1:1(0) ack 10001");
    let cwnd = t.flow().cwnd();
    assert!(cwnd > 10_000);
    let now = t.now;
    t.flow().set_algorithm(now, Algorithm::Cubic);
    assert_eq!(t.flow().cwnd(), cwnd);
    t.flow().set_algorithm(now, Algorithm::NewReno);
    assert_eq!(t.flow().cwnd(), cwnd);
}

#[test]
fn no_more_leaves_in_a_second_than_is_allowed() {
    // socket(7), SO_MAX_PACING_RATE.
    let mut t = Script::established_at_100_ms(Config { sack: true, ..plain() });
    t.flow().set_max_pacing_rate(Some(20_000));
    t.send(1000);
    t.discard();
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1001");
    t.send(9000);
    let at_once = t.discard();
    t.wait(200);
    let later = t.discard();
    assert!(at_once + later < 9 && later >= 2, "{at_once} at once, {later} in 200 ms");
    assert_eq!(t.flow().info(Instant(0)).max_pacing_rate, Some(20_000));
}

#[test]
fn figures_count_what_happened() {
    // tcp(7), TCP_INFO.
    let mut t = Script::established_at_100_ms(Config { sack: true, ..plain() });
    t.send(3000);
    t.discard();
    inject!(t, "P. 1:501(500) ack 1001");
    t.discard();
    let info = t.flow().info(Instant(100_000_000));
    assert_eq!((info.state, info.unacknowledged, info.not_sent), (State::Established, 2, 0));
    assert_eq!((info.octets_sent, info.octets_acknowledged, info.octets_received), (3000, 1001, 500));
    assert_eq!((info.data_segments_out, info.data_segments_in), (3, 1));
    // SYN-ACK, three of data, one acknowledgment; the end of the handshake, one of data.
    assert_eq!((info.segments_out, info.segments_in), (5, 2));
    t.wait(2000);
    assert!(t.discard() > 0);
    let info = t.flow().info(Instant(2_100_000_000));
    assert!(info.retransmissions >= 1 && info.timeouts >= 1 && info.backoff >= 1, "{info:?}");
    assert_eq!(info.octets_sent - info.octets_retransmitted, 3000);
    assert_eq!(info.since_data_received, Duration::from_secs(2));
}

#[test]
fn quick_acknowledgments_may_be_asked_for() {
    // tcp(7), TCP_QUICKACK.
    let large = Config { receive_buffer: 60_000, receive_buffer_max: 60_000, ..plain() };
    let mut t = Script::established(large);
    for n in 0..16 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        t.discard();
    }
    inject!(t, ". 16001:17001(1000) ack 1");
    t.assert_quiet();
    t.flow().set_quick_ack(true);
    t.poll();
    expect!(t, ". 1:1(0) ack 17001");
    inject!(t, ". 17001:18001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 18001");
}

#[test]
fn the_initial_window_leaves_at_once() {
    // RFC 9002 § 7.7; Linux paces from the eleventh segment on.
    let mut t = Script::established_at_100_ms(Config { sack: true, pacing: true, ..plain() });
    t.send(20_000);
    assert_eq!(t.discard(), 10);
}

/// A round trip of 100 ms, a window of 10 kB; something was acknowledged, and it is 200 ms now.
#[track_caller]
fn paced() -> Script {
    let mut t = Script::established_at_100_ms(Config { sack: true, pacing: true, ..plain() });
    t.send(1000);
    expect_at!(t, 100, "P. 1:1001(1000) ack 1");
    t.wait(100);
    inject!(t, ". 1:1(0) ack 1001");
    t
}

#[test]
fn a_window_is_spread_over_the_round_trip() {
    // Twice 10 kB in 100 ms: a segment each 5 ms, two at first.
    let mut t = paced();
    t.send(5000);
    expect_at!(t, 200, ". 1001:2001(1000) ack 1");
    expect_at!(t, 200, ". 2001:3001(1000) ack 1");
    t.wait(14);
    expect_at!(t, 205, ". 3001:4001(1000) ack 1");
    expect_at!(t, 210, ". 4001:5001(1000) ack 1");
    t.wait(1);
    expect_at!(t, 215, "P. 5001:6001(1000) ack 1");
}

#[test]
fn acknowledgments_are_not_paced() {
    let mut t = paced();
    t.send(5000);
    t.discard();
    inject!(t, "P. 1:101(100) ack 1001");
    expect_at!(t, 200, ". 3001:3001(0) ack 101");
}

#[test]
fn a_retransmission_after_a_timeout_is_not_paced() {
    let mut t = Script::established_at_100_ms(Config { pacing: true, ..plain() });
    t.send(1000);
    t.discard();
    t.wait(300);
    expect_at!(t, 400, "P. 1:1001(1000) ack 1");
}

#[test]
fn without_a_round_trip_time_nothing_is_paced() {
    let mut t = Script::established(Config { pacing: true, ..plain() });
    t.send(10_000);
    assert_eq!(t.discard(), 10);
}

#[test]
fn bbr_paces_by_itself() {
    // draft-ietf-ccwg-bbr § 5.6.2: 2.77 times 10 kB in 100 ms, after the first acknowledgment.
    let bbr = Config { algorithm: Algorithm::Bbr, sack: true, ..plain() };
    let mut t = Script::established_at_100_ms(bbr);
    t.send(30_000);
    let at_once = t.discard();
    assert!((2..=11).contains(&at_once), "{at_once}");
    t.wait(100);
    t.discard();
    inject!(t, ". 1:1(0) ack 2001");
    let burst = t.discard();
    t.wait(20);
    let later = t.discard();
    assert!(burst <= 3 && later > 0, "{burst} {later}");
}
