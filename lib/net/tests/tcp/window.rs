//! Windows (RFC 9293 § 3.8.6).

use crate::script::{Script, plain};
use net::tcp::{Config, Error};

#[test]
fn the_peers_window_is_kept() {
    // RFC 9293 § 3.8.6.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 1500");
    t.send(3000);
    expect!(t, ". 1:1001(1000) ack 1");
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 1001 win 2000");
    expect!(t, ". 1001:2001(1000) ack 1");
    expect!(t, "P. 2001:3001(1000) ack 1");
}

#[test]
fn an_older_segment_does_not_change_the_window() {
    // RFC 9293 § 3.10.7.4, fifth check: SND.WL1, SND.WL2.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:11(10) ack 1 win 5000");
    expect!(t, ". 1:1(0) ack 11");
    inject!(t, ". 11:11(0) ack 1 win 1000");
    t.send(1000);
    expect!(t, "P. 1:1001(1000) ack 11");
    inject!(t, ". 11:11(0) ack 1001 win 3000");
    // From before: its window is not taken.
    inject!(t, ". 11:11(0) ack 1 win 0");
    t.send(1000);
    expect!(t, "P. 1001:2001(1000) ack 11");
}

#[test]
fn a_closed_window_is_probed() {
    // RFC 9293 § 3.8.6.1.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    t.assert_quiet();
    t.wait(200);
    expect_at!(t, 200, ". 1:2(1) ack 1");
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.wait(400);
    expect_at!(t, 600, ". 1:2(1) ack 1");
    inject!(t, ". 1:1(0) ack 2 win 1000");
    expect!(t, "P. 2:101(99) ack 1");
}

#[test]
fn a_window_may_stay_closed_for_ever() {
    // RFC 9293 § 3.8.6.1, MUST-37: as long as the peer answers.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    let mut answered = 0;
    while answered < 30 {
        let next = t.flow().poll_timeout().unwrap();
        let millis = (next.0 - t.now.0).div_ceil(1_000_000);
        t.wait(millis);
        expect!(t, ". 1:2(1) ack 1");
        inject!(t, ". 1:1(0) ack 1 win 0");
        answered += 1;
    }
    assert_eq!(t.flow().error(), None);
}

#[test]
fn a_silent_peer_with_a_closed_window_is_given_up() {
    // RFC 9293 § 3.8.3.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    for _ in 0..100 {
        let Some(next) = t.flow().poll_timeout() else { break };
        let millis = (next.0 - t.now.0).div_ceil(1_000_000);
        t.wait(millis);
        if t.flow().error().is_none() {
            expect!(t, ". 1:2(1) ack 1");
        }
    }
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn a_silly_window_is_not_filled() {
    // RFC 9293 § 3.8.6.2.1: neither a segment, nor all there is, nor half of the largest window.
    let mut t = Script::established(plain());
    t.send(50_000);
    for n in 0..10 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    inject!(t, ". 1:1(0) ack 10001 win 500");
    t.assert_quiet();
    // The override timeout (0.2 s to 1 s in the RFC).
    t.wait(200);
    expect_at!(t, 200, ". 10001:10501(500) ack 1");
}

#[test]
fn the_window_closes_and_opens_by_worthy_steps() {
    // RFC 9293 § 3.8.6.2.2.
    let mut t = Script::established(Config { receive_buffer: 4000, receive_buffer_max: 4000, ..plain() });
    for n in 0..4 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        expect!(t, ". 1:1(0) ack {} win {}", 1001 + n * 1000, 3000 - n * 1000);
    }
    t.read(4000);
    expect!(t, ". 1:1(0) ack 4001 win 4000");
}

#[test]
fn a_small_read_opens_nothing() {
    // RFC 9293 § 3.8.6.2.2: less than a segment and less than half of the buffer.
    let mut t = Script::established(Config { receive_buffer: 4000, receive_buffer_max: 4000, ..plain() });
    inject!(t, ". 1:501(500) ack 1");
    expect!(t, ". 1:1(0) ack 501 win 3500");
    inject!(t, ". 501:4001(3500) ack 1");
    expect!(t, ". 1:1(0) ack 4001 win 0");
    let frame = t.flow().receive().unwrap();
    assert_eq!(frame.len(), 500);
    let now = t.now;
    t.flow().read(now, 500);
    t.read(3500);
    expect!(t, ". 1:1(0) ack 4001 win 4000");
}

#[test]
fn an_acknowledgment_counts_at_a_closed_window() {
    // RFC 9293 § 3.10.7.4, first check: "special allowance".
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 11:11(0) ack 1001 win 0");
    inject!(t, ". 1001:1101(100) ack 11");
    expect!(t, ". 11:11(0) ack 1001 win 0");
    assert_eq!(t.flow().poll_timeout(), None, "our data is acknowledged");
}

#[test]
fn a_reset_counts_at_a_closed_window() {
    // RFC 9293 § 3.10.7.4, first check.
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
    inject!(t, "R 1001:1001(0)");
    assert_eq!(t.flow().error(), Some(Error::Reset));
}

#[test]
fn an_acknowledgment_at_the_right_edge_counts() {
    // RFC 9293 § 3.10.7.4 would drop it; Linux does not. Two sides that filled each other's windows and lost the first
    // segments would never end.
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    inject!(t, ". 1001:1001(0) ack 11");
    assert_eq!(t.flow().poll_timeout(), None);
    inject!(t, ". 1002:1002(0) ack 11");
    expect!(t, ". 11:11(0) ack 1");
}

#[test]
fn a_fin_behind_text_that_is_not_taken_is_not_reached() {
    // RFC 9293 § 3.10.7.4, seventh and eighth check, at a closed window.
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
    inject!(t, "FP. 1001:1017(16) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
    t.read(1000);
    expect!(t, ". 1:1(0) ack 1001 win 1000");
    inject!(t, "FP. 1001:1017(16) ack 1");
    expect!(t, ". 1:1(0) ack 1018");
    t.read(16);
}

#[test]
fn probes_are_further_and_further_apart() {
    // RFC 9293 § 3.8.6.1, SHLD-30.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    for at in [200, 600, 1400, 3000, 6200] {
        t.wait(at - t.now.as_millis());
        expect_at!(t, at, ". 1:2(1) ack 1");
        inject!(t, ". 1:1(0) ack 1 win 0");
    }
}

#[test]
fn a_window_that_opens_by_itself_needs_no_probe() {
    // RFC 9293 § 3.8.6.1.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    t.wait(150);
    inject!(t, ". 1:1(0) ack 1 win 1000");
    expect_at!(t, 150, "P. 1:101(100) ack 1");
}

#[test]
fn a_probe_that_is_taken_moves_on() {
    // RFC 9293 § 3.8.6.1.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(100);
    t.wait(200);
    expect!(t, ". 1:2(1) ack 1");
    inject!(t, ". 1:1(0) ack 2 win 0");
    t.wait(200);
    expect_at!(t, 400, ". 2:3(1) ack 1");
}

#[test]
fn a_probe_of_a_closed_window_is_answered() {
    // RFC 9293 § 3.8.6.1, MUST-34: with the window as it is.
    let mut t = Script::established(Config { receive_buffer: 1000, receive_buffer_max: 1000, ..plain() });
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
    inject!(t, ". 1001:1002(1) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 0");
}

#[test]
fn a_segment_that_fills_half_of_a_small_window_is_sent() {
    // RFC 9293 § 3.8.6.2.1, (3): a peer whose whole buffer is less than a segment.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) win 600 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1 win 600");
    t.send(2000);
    expect!(t, ". 1:601(600) ack 1");
}
