//! Resets, SYNs and acknowledgments that somebody guessed (RFC 9293 § 3.5.3, RFC 5961).

use crate::script::{Script, plain};
use net::tcp::{Error, State};

#[test]
fn a_reset_at_the_expected_number_resets() {
    // RFC 5961 § 3.2, 1.
    let mut t = Script::established(plain());
    inject!(t, "R 1:1(0)");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::Reset)));
}

#[test]
fn a_reset_elsewhere_in_the_window_is_challenged() {
    // RFC 5961 § 3.2, 2.
    let mut t = Script::established(plain());
    inject!(t, "R 2:2(0)");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_reset_outside_of_the_window_is_dropped() {
    // RFC 5961 § 3.2, 3.
    let mut t = Script::established(plain());
    inject!(t, "R 0:0(0)");
    inject!(t, "R 30000:30000(0)");
    t.assert_quiet();
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_syn_in_the_window_is_challenged() {
    // RFC 5961 § 4.2.
    let mut t = Script::established(plain());
    inject!(t, "S 5:5(0)");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
}

#[test]
fn an_ack_of_what_was_never_sent_is_challenged() {
    // RFC 9293 § 3.10.7.4, fifth check; RFC 5961 § 5.2.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:11(10) ack 9");
    expect!(t, ". 1:1(0) ack 1");
    t.read(0);
}

#[test]
fn an_ack_that_is_too_old_is_challenged() {
    // RFC 5961 § 5.2: older than the largest window.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:11(10) ack -60000");
    expect!(t, ". 1:1(0) ack 1");
    t.read(0);
}

#[test]
fn an_old_ack_brings_its_data() {
    // RFC 9293 § 3.10.7.4, fifth check: a duplicate is ignored, the segment goes on.
    let mut t = Script::established(plain());
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    inject!(t, ". 1:1(0) ack 11");
    inject!(t, "P. 1:11(10) ack 1");
    expect!(t, ". 11:11(0) ack 11");
    t.read(10);
}

#[test]
fn challenges_are_counted() {
    // RFC 5961 § 7: ten in five seconds.
    let mut t = Script::established(plain());
    for _ in 0..10 {
        inject!(t, "S 5:5(0)");
        expect!(t, ". 1:1(0) ack 1");
    }
    inject!(t, "S 5:5(0)");
    t.assert_quiet();
    t.wait(5000);
    inject!(t, "S 5:5(0)");
    expect!(t, ". 1:1(0) ack 1");
}

#[test]
fn a_segment_without_ack_is_dropped() {
    // RFC 9293 § 3.10.7.4, fifth check.
    let mut t = Script::established(plain());
    inject!(t, "P 1:11(10)");
    t.assert_quiet();
    t.read(0);
}

#[test]
fn text_outside_of_the_window_is_answered() {
    // RFC 9293 § 3.10.7.4, first check.
    let mut t = Script::established(plain());
    inject!(t, "P. 20001:20011(10) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    inject!(t, "P. -9:1(10) ack 1");
    expect!(t, ". 1:1(0) ack 1");
}

#[test]
fn a_reset_does_not_end_time_wait() {
    // RFC 1337 § 3, F1.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    inject!(t, "R 2:2(0)");
    assert_eq!(t.state(), State::TimeWait);
}

#[test]
fn a_reset_in_the_handshake() {
    // RFC 9293 § 3.10.7.4, second check: SYN-RECEIVED.
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    inject!(t, "R 1:1(0)");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::Reset)));
}

#[test]
fn abort_resets() {
    // RFC 9293 § 3.10.5.
    let mut t = Script::established(plain());
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.abort();
    expect!(t, "R. 11:11(0) ack 1");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::Aborted)));
}

#[test]
fn a_reset_in_the_last_states_is_the_end() {
    // RFC 9293 § 3.10.7.4, second check: CLOSING, LAST-ACK.
    let mut t = Script::established(plain());
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    t.close();
    expect!(t, "F. 1:1(0) ack 2");
    inject!(t, "R 2:2(0)");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, None));
}
