//! Timeouts that were none: F-RTO (RFC 5682).

use crate::script::{Script, plain};

/// Four segments are in flight, the timer has expired at 200 ms and sent the first again, and two more are queued.
#[track_caller]
fn timed_out() -> Script {
    let mut t = Script::established(plain());
    t.send(4000);
    for n in 0..3 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 3001:4001(1000) ack 1");
    t.wait(200);
    expect_at!(t, 200, ". 1:1001(1000) ack 1");
    t.send(2000);
    t.assert_quiet();
    t
}

#[test]
fn new_data_tells_whether_the_timeout_was_spurious() {
    // § 2.1, step 2.
    let mut t = timed_out();
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 4001:5001(1000) ack 1");
    expect!(t, "P. 5001:6001(1000) ack 1");
}

#[test]
fn progress_by_what_was_not_sent_again_undoes_the_timeout() {
    // § 2.1, step 3 b.
    let mut t = timed_out();
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 4001:5001(1000) ack 1");
    expect!(t, "P. 5001:6001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 2001");
    t.assert_quiet();
    assert!(t.flow().cwnd() >= 10_000, "{}", t.flow().cwnd());
    inject!(t, ". 1:1(0) ack 6001");
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn a_duplicate_after_new_data_confirms_the_timeout() {
    // § 2.1, step 3 a.
    let mut t = timed_out();
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 4001:5001(1000) ack 1");
    expect!(t, "P. 5001:6001(1000) ack 1");
    inject!(t, ". 1:1(0) ack 1001");
    expect!(t, ". 1001:2001(1000) ack 1");
    assert!(t.flow().cwnd() <= 3000, "{}", t.flow().cwnd());
}

#[test]
fn a_duplicate_before_that_confirms_it_too() {
    // § 2.1, step 2 a.
    let mut t = timed_out();
    inject!(t, ". 1:1(0) ack 1");
    expect!(t, ". 1001:2001(1000) ack 1");
}

#[test]
fn all_acknowledged_at_once_is_the_end_of_it() {
    // § 2.1, step 2 a.
    let mut t = timed_out();
    inject!(t, ". 1:1(0) ack 4001");
    expect!(t, ". 4001:5001(1000) ack 1");
    expect!(t, "P. 5001:6001(1000) ack 1");
    assert_eq!(t.flow().cwnd(), 2000);
}

#[test]
fn a_report_of_what_was_not_sent_again_undoes_the_timeout() {
    // § 3.1, step 3 b.
    let mut t = Script::established_with_sack();
    t.send(4000);
    for n in 0..3 {
        expect!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 3001:4001(1000) ack 1");
    t.wait(200);
    expect_at!(t, 300, "P. 3001:4001(1000) ack 1");
    t.wait(300);
    expect_at!(t, 600, ". 1:1001(1000) ack 1");
    t.send(2000);
    t.assert_quiet();
    t.wait(10);
    inject!(t, ". 1:1(0) ack 1 <sack 1001:2001>");
    // The probe may have been lost; the others fly.
    expect!(t, ". 3001:4001(1000) ack 1");
    expect!(t, ". 4001:5001(1000) ack 1");
    expect!(t, "P. 5001:6001(1000) ack 1");
    assert!(t.flow().cwnd() >= 10_000, "{}", t.flow().cwnd());
}
