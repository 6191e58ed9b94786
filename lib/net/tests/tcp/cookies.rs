//! SYN cookies (RFC 4987 § 3.6) and the bound of half-open connections.

use std::time::Duration;

use crate::script::{Script, plain};
use net::Key;
use net::tcp::{Config, Listener, State};

/// A listener that has no room for half-open connections.
fn flooded(config: Config) -> Script {
    let mut t = Script::listen(config);
    t.listener = Listener::new(Key([5, 6]), 0);
    t
}

fn full() -> Config {
    Config { sack: true, timestamps: true, window_scale: true, ..plain() }
}

#[test]
fn a_cookie_that_comes_back_is_a_connection() {
    let mut t = flooded(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    assert_eq!(t.discard(), 1);
    assert!(t.flow.is_none(), "nothing is kept");
    let ack = t.cookie_ack();
    inject!(t, ". 1:1(0) ack {ack} win 50000");
    assert_eq!(t.state(), State::Established);
    // A size that the cookie can name.
    t.send(600);
    expect!(t, ". 1:537(536) ack 1");
    expect!(t, "P. 537:601(64) ack 1");
}

#[test]
fn data_with_the_cookie_is_taken() {
    let mut t = flooded(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    t.discard();
    let ack = t.cookie_ack();
    inject!(t, "P. 1:101(100) ack {ack} win 50000");
    expect!(t, ". 1:1(0) ack 101");
    t.read(100);
}

#[test]
fn options_come_back_in_the_timestamp() {
    let mut t = flooded(full());
    t.now = net::Instant::from_millis(1000);
    inject!(t, "S 0:0(0) win 50000 <mss 1460,sackOK,TS val 100 ecr 0,wscale 7>");
    t.discard();
    let val = t.replied.unwrap().options.timestamps.unwrap().val;
    assert!((1000 - 64..=1000).contains(&val), "{val}");
    let ack = t.cookie_ack();
    inject!(t, ". 1:1(0) ack {ack} win 10 <TS val 101 ecr {val}>");
    // A window of 1280 octets, if it is scaled.
    t.send(2000);
    expect!(t, ". 1:989(988) ack 1 <TS val 1000 ecr 101>");
    inject!(t, "P. 101:201(100) ack 1 win 10 <TS val 102 ecr {val}>");
    expect!(t, ". 989:989(0) ack 1 <TS val 1000 ecr 101,sack 101:201>");
}

#[test]
fn without_timestamps_a_cookie_has_no_options() {
    let mut t = flooded(full());
    inject!(t, "S 0:0(0) win 50000 <mss 1460,sackOK,wscale 7>");
    t.discard();
    let options = t.replied.unwrap().options;
    assert_eq!((options.sack_permitted, options.window_scale), (false, None));
}

#[test]
fn a_guess_is_reset() {
    let mut t = flooded(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    t.discard();
    let ack = t.cookie_ack().wrapping_add(1);
    inject!(t, ". 1:1(0) ack {ack} win 50000");
    expect!(t, "R {ack}:{ack}(0)");
    assert!(t.flow.is_none());
}

#[test]
fn a_cookie_of_another_number_is_reset() {
    let mut t = flooded(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    t.discard();
    let ack = t.cookie_ack();
    inject!(t, ". 2:2(0) ack {ack} win 50000");
    assert_eq!((t.discard(), t.flow.is_none()), (1, true));
}

#[test]
fn an_old_cookie_is_reset() {
    let mut t = flooded(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    t.discard();
    let ack = t.cookie_ack();
    t.now += Duration::from_secs(129);
    inject!(t, ". 1:1(0) ack {ack} win 50000");
    assert_eq!((t.discard(), t.flow.is_none()), (1, true));
}

#[test]
fn half_open_connections_are_counted() {
    let mut t = Script::listen(plain());
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
    assert_eq!(t.listener.half_open(), 1);
    t.flow = None;
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    assert!(t.flow.is_none(), "a cookie");
    t.discard();
    t.listener.release();
    inject!(t, "S 0:0(0) win 50000 <mss 1000>");
    expect!(t, "S. 0:0(0) ack 1");
}

#[test]
fn a_listener_ignores_what_opens_nothing() {
    // RFC 9293 § 3.10.7.2.
    let mut t = Script::listen(plain());
    inject!(t, "FS 0:0(0) <mss 1000>");
    inject!(t, "F 0:0(0)");
    inject!(t, "P 0:10(10)");
    inject!(t, "R. 0:0(0) ack 1");
    t.assert_quiet();
    assert!(t.flow.is_none());
}

#[test]
fn a_syn_ack_to_a_listener_is_reset() {
    // RFC 9293 § 3.10.7.2, second check.
    let mut t = Script::listen(plain());
    inject!(t, "S. 0:0(0) ack 7");
    expect!(t, "R 7:7(0)");
}
