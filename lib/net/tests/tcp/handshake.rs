//! Opening (RFC 9293 § 3.5, § 3.10.7.2, § 3.10.7.3).

use crate::script::{Script, plain};
use net::tcp::{Error, Events, State};

#[test]
fn active_open() {
    // RFC 9293 § 3.5, figure 6.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0) win 20000 <mss 1000>");
    inject!(t, "S. 0:0(0) ack 1 win 1000 <mss 1460>");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
    assert!(t.events.has(Events::CONNECTED));
}

#[test]
fn passive_open() {
    // RFC 9293 § 3.5, figure 6.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) win 1000 <mss 1460>");
    expect!(t, "S. 0:0(0) ack 1 win 20000 <mss 1000>");
    assert_eq!(t.state(), State::SynReceived);
    inject!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn simultaneous_open() {
    // RFC 9293 § 3.5, figure 7.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "S 0:0(0) win 1000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    assert_eq!(t.state(), State::SynReceived);
    inject!(t, "S. 0:0(0) ack 1 win 1000 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_wrong_ack_of_the_syn_is_reset() {
    // RFC 9293 § 3.10.7.3, first check.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "S. 0:0(0) ack 2");
    expect!(t, "R 2:2(0)");
    inject!(t, "S. 0:0(0) ack 0");
    expect!(t, "R 0:0(0)");
    assert_eq!(t.state(), State::SynSent);
}

#[test]
fn an_ack_alone_does_not_answer_a_syn() {
    // RFC 9293 § 3.10.7.3, fifth check.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::SynSent);
    t.assert_quiet();
}

#[test]
fn refused() {
    // RFC 9293 § 3.10.7.3, second check.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "R. 0:0(0) ack 1");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::Refused)));
}

#[test]
fn a_reset_that_does_not_know_the_syn_is_dropped() {
    // RFC 9293 § 3.10.7.3, second check.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "R 0:0(0)");
    inject!(t, "R. 0:0(0) ack 5");
    assert_eq!(t.state(), State::SynSent);
}

#[test]
fn a_listener_resets_an_ack() {
    // RFC 9293 § 3.10.7.2, second check.
    let mut t = Script::listen(plain());
    inject!(t, "R 0:0(0)");
    t.assert_quiet();
    inject!(t, ". 0:0(0) ack 7");
    expect!(t, "R 7:7(0)");
}

#[test]
fn a_wrong_ack_in_syn_received_is_reset() {
    // RFC 9293 § 3.10.7.4, fifth check.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 3");
    expect!(t, "R 3:3(0)");
    inject!(t, ". 1:1(0) ack 0");
    expect!(t, "R 0:0(0)");
    assert_eq!(t.state(), State::SynReceived);
}

#[test]
fn a_syn_again_is_answered_again() {
    // RFC 9293 § 3.8.1: the answer was lost.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
}

#[test]
fn data_with_the_last_ack_of_the_handshake() {
    // RFC 9293 § 3.10.7.4: processing goes on after the fifth check.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "P. 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 101");
    t.read(100);
}

#[test]
fn data_queued_before_the_handshake_follows_it() {
    // RFC 9293 § 3.10.2.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.send(10);
    inject!(t, "S. 0:0(0) ack 1 <mss 1000>");
    expect!(t, "P. 1:11(10) ack 1");
}

#[test]
fn closed_in_the_handshake() {
    // RFC 9293 § 3.10.4: SYN-SENT, and SYN-RECEIVED.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.close();
    assert_eq!(t.state(), State::Closed);

    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    t.close();
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, "F. 1:1(0) ack 1");
    assert_eq!(t.state(), State::FinWait1);
}

#[test]
fn syns_are_sent_again_and_given_up() {
    // RFC 6298 § 2.1, § 5.5; RFC 9293 § 3.8.3: at least 3 minutes.
    let mut t = Script::connect(plain());
    expect_at!(t, 0, "S 0:0(0)");
    for at in [1000, 3000, 7000, 15_000, 31_000, 63_000, 123_000] {
        let now = t.now.as_millis();
        t.wait(at - now);
        expect_at!(t, at, "S 0:0(0)");
    }
    t.wait(60_000);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::TimedOut)));
}

#[test]
fn a_lost_syn_makes_the_first_timeout_long() {
    // RFC 6298 § 5.7: 3 s when data begins, as no round trip was measured.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.wait(1000);
    expect_at!(t, 1000, "S 0:0(0)");
    inject!(t, "S. 0:0(0) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.wait(3000);
    expect_at!(t, 4000, "P. 1:11(10) ack 1");
}

#[test]
fn an_answer_to_a_syn_is_sent_again() {
    // RFC 6298 § 5.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect_at!(t, 0, "S. 0:0(0) ack 1");
    for at in [1000, 3000, 7000] {
        t.wait(at - t.now.as_millis());
        expect_at!(t, at, "S. 0:0(0) ack 1");
    }
    inject!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn an_answer_that_nobody_wants_is_given_up() {
    // RFC 9293 § 3.8.3.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    while t.state() == State::SynReceived {
        t.discard();
        let next = t.flow().poll_timeout().unwrap();
        t.wait((next.0 - t.now.0).div_ceil(1_000_000));
    }
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
    assert!(t.now.as_millis() >= 180_000);
}

#[test]
fn data_on_a_syn_is_left_for_the_peer_to_repeat() {
    // RFC 9293 § 3.10.7.2, third check, allows it; RFC 7413 is left out.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:100(100) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "P. 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 101");
    t.read(100);
}

#[test]
fn data_on_an_answer_is_left_for_the_peer_to_repeat() {
    // RFC 9293 § 3.10.7.3, fourth check.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "S. 0:100(100) ack 1 <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, "P. 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 101");
    t.read(100);
}

#[test]
fn simultaneous_open_survives_a_loss() {
    // RFC 9293 § 3.5, figure 7: the answer is sent again, and a bare acknowledgment will do.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "S 0:0(0) win 1000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    t.wait(1000);
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn simultaneous_open_takes_data() {
    // RFC 9293 § 3.5.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    t.send(10);
    inject!(t, "S 0:0(0) win 1000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "S. 0:0(0) ack 1 win 1000 <mss 1000>");
    expect!(t, "P. 1:11(10) ack 1");
}

#[test]
fn a_reset_ends_a_simultaneous_open() {
    // RFC 9293 § 3.10.7.4, second check: an active open in SYN-RECEIVED was refused.
    let mut t = Script::connect(plain());
    expect!(t, "S 0:0(0)");
    inject!(t, "S 0:0(0) win 1000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "R 1:1(0)");
    assert_eq!(t.flow().error(), Some(Error::Refused));
}

#[test]
fn an_old_duplicate_syn_is_survived() {
    // RFC 9293 § 3.5, figure 9: the peer resets what it did not begin.
    let mut t = Script::listen(plain());
    inject!(t, "S -500:-500(0) <mss 1000>");
    assert_eq!(t.discard(), 1);
    inject!(t, "R -499:-499(0)");
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn half_open_connections_are_discovered() {
    // RFC 9293 § 3.5.1, figure 10: the peer has forgotten the connection, and its SYN is challenged.
    let mut t = Script::established(plain());
    inject!(t, "S 9000:9000(0) <mss 1000>");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, "R 1:1(0)");
    assert_eq!(t.flow().error(), Some(Error::Reset));
}
