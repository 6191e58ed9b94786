//! Closing (RFC 9293 § 3.6, § 3.10.4, § 3.10.7.4).

use std::time::Duration;

use crate::script::{Script, plain};
use net::tcp::{Config, Error, Events, State};

#[test]
fn active_close() {
    // RFC 9293 § 3.6, figure 12.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    assert_eq!(t.state(), State::FinWait1);
    inject!(t, ". 1:1(0) ack 2");
    assert_eq!(t.state(), State::FinWait2);
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::TimeWait);
    t.wait(59_999);
    assert_eq!(t.state(), State::TimeWait);
    t.wait(1);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, None));
}

#[test]
fn passive_close() {
    // RFC 9293 § 3.6, figure 12, the other side.
    let mut t = Script::established(plain());
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    assert_eq!(t.state(), State::CloseWait);
    assert!(t.events.has(Events::FINISHED));
    t.close();
    expect!(t, "F. 1:1(0) ack 2");
    assert_eq!(t.state(), State::LastAck);
    inject!(t, ". 2:2(0) ack 2");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, None));
}

#[test]
fn simultaneous_close() {
    // RFC 9293 § 3.6, figure 13.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::Closing);
    inject!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::TimeWait);
}

#[test]
fn fin_and_its_ack_in_one_segment() {
    // RFC 9293 § 3.10.7.4, eighth check: FIN-WAIT-1 with our FIN acknowledged.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::TimeWait);
}

#[test]
fn half_close_still_receives() {
    // RFC 9293 § 3.6: closing is simplex.
    let mut t = Script::established(plain());
    t.shutdown();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "P. 1:101(100) ack 2");
    expect!(t, ". 2:2(0) ack 101");
    t.read(100);
    assert_eq!(t.state(), State::FinWait2);
}

#[test]
fn half_closed_peer_still_gets_data() {
    // RFC 9293 § 3.10.2: CLOSE-WAIT.
    let mut t = Script::established(plain());
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    t.send(10);
    expect!(t, "P. 1:11(10) ack 2");
}

#[test]
fn fin_follows_what_is_queued() {
    // RFC 9293 § 3.10.4: queued until all SENDs are segmentized.
    let mut t = Script::established(plain());
    t.send(1500);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:1501(500) ack 1");
    t.shutdown();
    expect!(t, "F. 1501:1501(0) ack 1");
    inject!(t, ". 1:1(0) ack 1501");
    assert_eq!(t.state(), State::FinWait1);
    inject!(t, ". 1:1(0) ack 1502");
    assert_eq!(t.state(), State::FinWait2);
}

#[test]
fn fin_before_what_is_missing_waits() {
    // RFC 9293 § 3.10.7.4: processed in sequence.
    let mut t = Script::established(plain());
    inject!(t, "FP. 101:201(100) ack 1");
    expect!(t, ". 1:1(0) ack 1");
    assert_eq!(t.state(), State::Established);
    inject!(t, ". 1:101(100) ack 1");
    expect!(t, ". 1:1(0) ack 202");
    assert_eq!(t.state(), State::CloseWait);
    t.read(200);
}

#[test]
fn a_lost_fin_is_sent_again() {
    // RFC 9293 § 3.8.1.
    let mut t = Script::established(plain());
    t.shutdown();
    expect!(t, "F. 1:1(0) ack 1");
    t.wait(200);
    expect_at!(t, 200, "F. 1:1(0) ack 1");
}

#[test]
fn a_fin_again_restarts_time_wait() {
    // RFC 9293 § 3.10.7.4, eighth check: TIME-WAIT.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    t.wait(50_000);
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    t.wait(50_000);
    assert_eq!(t.state(), State::TimeWait);
    t.wait(10_000);
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn a_later_syn_reopens_time_wait() {
    // RFC 9293 § 3.10.7.4, fourth check; RFC 6191.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 2");
    expect!(t, ". 2:2(0) ack 2");
    inject!(t, "S 1:1(0) <mss 1000>");
    expect!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::TimeWait);
    inject!(t, "S 1000:1000(0) <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1001");
    assert_eq!(t.state(), State::SynReceived);
}

#[test]
fn data_behind_the_fin_is_not_data() {
    // RFC 9293 § 3.10.7.4, seventh check: CLOSE-WAIT.
    let mut t = Script::established(plain());
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    inject!(t, "P. 2:12(10) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    t.read(0);
}

#[test]
fn closing_with_unread_data_resets() {
    // RFC 9293 § 3.6.1, RFC 1122 § 4.2.2.13.
    let mut t = Script::established(plain());
    inject!(t, "P. 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 11");
    t.close();
    expect!(t, "R. 1:1(0) ack 11");
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn data_for_a_closed_reader_resets() {
    // RFC 9293 § 3.6.1, RFC 1122 § 4.2.2.13.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "P. 1:11(10) ack 2");
    expect!(t, "R. 2:2(0) ack 1");
    assert_eq!(t.flow().error(), Some(Error::Aborted));
}

#[test]
fn how_long_a_peer_may_leave_its_direction_open_is_the_programs_choice() {
    // tcp(7), TCP_LINGER2.
    let mut t = Script::established(Config { fin_wait_2: Some(Duration::from_secs(5)), ..plain() });
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, ". 1:1(0) ack 2");
    t.wait(4999);
    assert_eq!(t.state(), State::FinWait2);
    t.wait(1);
    assert_eq!(t.state(), State::Closed);
    let mut t = Script::established(Config { fin_wait_2: None, ..plain() });
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, ". 1:1(0) ack 2");
    expect!(t, "R. 2:2(0) ack 1");
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn a_peer_that_never_closes_is_left() {
    // A bound that RFC 9293 leaves open: FIN-WAIT-2 of a connection nobody holds lasts a minute.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, ". 1:1(0) ack 2");
    t.wait(60_000);
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn nothing_is_sent_after_the_end() {
    // RFC 9293 § 3.10.2: CLOSED.
    let mut t = Script::established(plain());
    t.abort();
    expect!(t, "R. 1:1(0) ack 1");
    inject!(t, "P. 1:11(10) ack 1");
    t.assert_quiet();
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn the_last_data_carries_the_fin() {
    // RFC 9293 § 3.10.4.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(1500);
    expect!(t, ". 11:1011(1000) ack 1");
    t.close();
    expect!(t, "FP. 1011:1511(500) ack 1");
}

#[test]
fn a_fin_that_was_lost_with_its_data_is_sent_again_with_it() {
    // RFC 9293 § 3.8.1.
    let mut t = Script::established(Config { nagle: true, ..plain() });
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.send(10);
    t.shutdown();
    expect!(t, "FP. 11:21(10) ack 1");
    inject!(t, ". 1:1(0) ack 11");
    t.wait(200);
    expect!(t, "FP. 11:21(10) ack 1");
    inject!(t, ". 1:1(0) ack 22");
    assert_eq!(t.state(), State::FinWait2);
}

#[test]
fn a_fin_without_its_data_is_not_acknowledged_alone() {
    // RFC 9293 § 3.4: the acknowledgment of all but the FIN.
    let mut t = Script::established(plain());
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    t.shutdown();
    expect!(t, "F. 11:11(0) ack 1");
    inject!(t, ". 1:1(0) ack 11");
    t.wait(200);
    expect!(t, "F. 11:11(0) ack 1");
}

#[test]
fn the_fin_of_last_ack_is_sent_again() {
    // RFC 9293 § 3.6, figure 12, TCP Peer B.
    let mut t = Script::established(plain());
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 1:1(0) ack 2");
    t.close();
    expect!(t, "F. 1:1(0) ack 2");
    t.wait(200);
    expect!(t, "F. 1:1(0) ack 2");
    assert_eq!(t.state(), State::LastAck);
}

#[test]
fn the_peers_fin_again_in_closing_is_acknowledged() {
    // RFC 9293 § 3.10.7.4, eighth check: CLOSING remains.
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 2:2(0) ack 2");
    inject!(t, "F. 1:1(0) ack 1");
    expect!(t, ". 2:2(0) ack 2");
    assert_eq!(t.state(), State::Closing);
}

#[test]
fn half_close_in_the_other_direction_sends_all() {
    // RFC 9293 § 3.6: the peer's end does not stop what is queued.
    let mut t = Script::established(plain());
    t.send(15_000);
    assert_eq!(t.discard(), 10);
    inject!(t, "F. 1:1(0) ack 10001");
    for n in 10..14 {
        expect!(t, ". {}:{}(1000) ack 2", 1 + n * 1000, 1001 + n * 1000);
    }
    expect!(t, "P. 14001:15001(1000) ack 2");
    t.close();
    expect!(t, "F. 15001:15001(0) ack 2");
    inject!(t, ". 2:2(0) ack 15002");
    assert_eq!((t.state(), t.flow().error()), (State::Closed, None));
}

#[test]
fn a_fin_waits_for_the_window() {
    // RFC 9293 § 3.10.4: the FIN follows what is queued.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 1000");
    t.send(2000);
    expect!(t, ". 1:1001(1000) ack 1");
    t.shutdown();
    t.assert_quiet();
    inject!(t, ". 1:1(0) ack 1001 win 1000");
    expect!(t, "FP. 1001:2001(1000) ack 1");
}

#[test]
fn nothing_may_be_sent_after_the_end() {
    // RFC 9293 § 3.10.2: FIN-WAIT-1.
    let mut t = Script::established(plain());
    t.shutdown();
    expect!(t, "F. 1:1(0) ack 1");
    let frame = crate::script::pattern(frame::HeapPool::leak(1), 0, 10);
    assert!(matches!(t.flow().send(frame), Err(net::tcp::SendError::Closed(_))));
}

#[test]
fn closing_twice_is_closing_once() {
    let mut t = Script::established(plain());
    t.close();
    expect!(t, "F. 1:1(0) ack 1");
    inject!(t, ". 1:1(0) ack 2");
    t.wait(30_000);
    t.close();
    t.wait(30_000);
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn what_arrived_before_the_end_stays_readable() {
    // RFC 9293 § 3.10.3: CLOSE-WAIT, and after a reset.
    let mut t = Script::established(plain());
    inject!(t, "FP. 1:11(10) ack 1");
    expect!(t, ". 1:1(0) ack 12");
    inject!(t, "R 12:12(0)");
    assert_eq!(t.flow().error(), Some(Error::Reset));
    t.read(10);
}

/// The peer answers everything with a closed window, looking each second, for so long.
#[track_caller]
fn answer_with_a_closed_window(t: &mut Script, seconds: u32) {
    for _ in 0..seconds {
        t.wait(1000);
        if t.discard() > 0 {
            inject!(t, ". 1:1(0) ack 1 win 0");
            t.discard();
        }
    }
}

#[test]
fn a_closed_window_does_not_keep_a_connection_that_nobody_holds() {
    // RFC 9293 § 3.8.3, R2; Linux' tcp_orphan_retries.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 0");
    t.send(10);
    answer_with_a_closed_window(&mut t, 1000);
    assert_eq!(t.state(), State::Established, "a program that waits may wait (RFC 9293 § 3.8.6.1)");
    t.close();
    answer_with_a_closed_window(&mut t, 99);
    assert_eq!(t.state(), State::FinWait1, "from the close on, not before");
    answer_with_a_closed_window(&mut t, 61);
    assert_eq!((t.state(), t.flow().error()), (State::Closed, Some(Error::TimedOut)));
    assert_eq!(t.flow().poll_timeout(), None);
}

#[test]
fn a_slow_peer_gets_all_of_a_closed_connection() {
    // Linux' tcp_orphan_retries: what counts is the time without any progress.
    let mut t = Script::established(plain());
    inject!(t, ". 1:1(0) ack 1 win 1");
    t.send(5);
    t.close();
    for taken in 1..=5 {
        answer_with_a_closed_window(&mut t, 0);
        t.wait(30_000);
        t.discard();
        inject!(t, ". 1:1(0) ack {} win 1", 1 + taken);
        t.discard();
        t.wait(30_000);
        t.discard();
    }
    inject!(t, ". 1:1(0) ack 7");
    assert_eq!(t.state(), State::FinWait2);
}

#[test]
fn a_silent_peer_of_a_connection_that_nobody_holds_is_left() {
    // RFC 9293 § 3.8.3: R2 is at least 100 s. LAST-ACK, and CLOSING.
    let mut last_ack = Script::established(plain());
    inject!(last_ack, "F. 1:1(0) ack 1");
    last_ack.discard();
    last_ack.close();
    let mut closing = Script::established(plain());
    closing.close();
    expect!(closing, "F. 1:1(0) ack 1");
    inject!(closing, "F. 1:1(0) ack 1");
    for (mut t, state) in [(last_ack, State::LastAck), (closing, State::Closing)] {
        for _ in 0..99 {
            t.discard();
            t.wait(1000);
        }
        t.discard();
        assert_eq!(t.state(), state);
        t.wait(1000);
        t.discard();
        assert_eq!(t.state(), State::Closed);
    }
}

#[test]
fn a_shorter_user_timeout_stays() {
    // RFC 5482 § 3.
    let config = Config { user_timeout: Some(Duration::from_secs(10)), ..plain() };
    let mut t = Script::established(config);
    t.send(10);
    t.close();
    t.discard();
    for _ in 0..10 {
        t.wait(1000);
        t.discard();
    }
    assert_eq!(t.flow().error(), Some(Error::TimedOut));
}

#[test]
fn data_for_a_program_that_has_left_resets_while_there_is_more_to_queue() {
    // RFC 1122 § 4.2.2.13.
    let mut t = Script::established(plain());
    let now = t.now;
    t.flow().orphan(now);
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1");
    inject!(t, "P. 1:11(10) ack 1");
    expect!(t, "R. 11:11(0) ack 1");
}
