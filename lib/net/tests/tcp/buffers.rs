//! Buffers that grow with what the path and the program need, within a budget.

use crate::script::{Script, pattern, plain, value_at};
use frame::Frame;
use net::tcp::{Config, Events, SendError};

#[test]
fn a_fast_reader_gets_a_larger_window() {
    let mut t = Script::established(Config { receive_buffer: 4000, receive_buffer_max: 16_000, ..plain() });
    for n in 0..4 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        expect!(t, ". 1:1(0) ack {} win {}", 1001 + n * 1000, 3000 - n * 1000);
    }
    t.wait(1);
    t.read(4000);
    expect!(t, ". 1:1(0) ack 4001 win 12000");
}

#[test]
fn a_slow_reader_does_not() {
    let mut t = Script::established(Config { receive_buffer: 4000, receive_buffer_max: 16_000, ..plain() });
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 3000");
    t.wait(1000);
    t.read(1000);
    assert_eq!(t.flow().receive_buffer(), 4000);
}

#[test]
fn the_budget_bounds_the_window() {
    let mut t = Script::established(Config { receive_buffer: 4000, receive_buffer_max: 6000, ..plain() });
    for n in 0..4 {
        inject!(t, ". {}:{}(1000) ack 1", 1 + n * 1000, 1001 + n * 1000);
        t.discard();
    }
    t.wait(1);
    t.read(4000);
    expect!(t, ". 1:1(0) ack 4001 win 6000");
}

#[test]
fn the_scale_is_for_what_the_window_may_become() {
    // RFC 7323 § 2.3: it cannot change later.
    let config = Config { window_scale: true, receive_buffer_max: 1 << 20, ..plain() };
    let mut t = Script::connect(config);
    expect!(t, "S 0:0(0) win 20000 <mss 1000,wscale 5>");
}

#[test]
fn a_smaller_budget_takes_nothing_back() {
    // RFC 9293 § 3.8.6, SHLD-14: the right edge does not move left.
    let mut t = Script::established(plain());
    t.flow().set_buffer_limits(5000, 5000);
    inject!(t, ". 1:1001(1000) ack 1");
    expect!(t, ". 1:1(0) ack 1001 win 19000");
    inject!(t, ". 1001:19001(18000) ack 1");
    expect!(t, ". 1:1(0) ack 19001 win 1000");
    t.read(19_000);
    expect!(t, ". 1:1(0) ack 19001 win 5000");
}

#[test]
fn the_send_buffer_holds_two_windows() {
    let mut t = Script::established(Config { send_buffer: 5000, send_buffer_max: 100_000, ..plain() });
    assert_eq!(t.flow().send_room(), 20_000);
    t.send(20_000);
    assert_eq!((t.flow().send_room(), t.discard()), (0, 10));
    inject!(t, ". 1:1(0) ack 10001");
    assert!(t.events.has(Events::WRITABLE));
    assert!(t.flow().send_room() > 20_000, "{}", t.flow().send_room());
    t.discard();
}

#[test]
fn the_budget_bounds_the_send_buffer() {
    let mut t = Script::established(Config { send_buffer: 5000, send_buffer_max: 100_000, ..plain() });
    t.flow().set_buffer_limits(20_000, 8000);
    assert_eq!(t.flow().send_room(), 8000);
}

#[test]
fn a_window_in_use_grows_and_an_idle_one_does_not() {
    // RFC 7661 § 1: the congestion window is not raised by what does not fill it.
    let mut t = Script::established(plain());
    for n in 0..20 {
        t.send(100);
        t.discard();
        inject!(t, ". 1:1(0) ack {}", 101 + n * 100);
    }
    assert_eq!(t.flow().cwnd(), 10_000);
}

#[test]
fn small_frames_fill_the_memory_before_the_octets() {
    // A frame of one octet takes a hundred times its memory: what is charged is the memory (as Linux' sk_wmem_queued).
    let mut t = Script::established(Config { send_buffer: 20_000, send_buffer_max: 20_000, ..plain() });
    inject!(t, ". 1:1(0) ack 1 win 0");
    let mut queued = 0;
    while t.flow().send_room() > 0 {
        let frame = pattern(t.pool, queued, 1);
        t.flow().send(frame).unwrap();
        queued += 1;
    }
    assert!((100..2000).contains(&queued), "{queued} frames of one octet");
    let refused = pattern(t.pool, queued, 1);
    assert!(matches!(t.flow().send(refused), Err(SendError::Full(_))));
}

#[test]
fn small_frames_share_memory_while_they_wait() {
    let mut t = Script::established(Config { send_buffer: 20_000, send_buffer_max: 20_000, ..plain() });
    inject!(t, ". 1:1(0) ack 1 win 0");
    for place in 0..20_000 {
        let mut frame = Frame::allocate(t.pool, 0, 500).unwrap();
        frame.push_back(1).unwrap()[0] = value_at(place);
        t.flow().send(frame).unwrap();
    }
    assert_eq!((t.flow().send_room(), t.flow().unacknowledged()), (0, 20_000));
}
