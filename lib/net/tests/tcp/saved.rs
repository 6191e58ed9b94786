//! Saving and restoring a flow.

use crate::script::{Script, plain};
use frame::HeapPool;
use net::Instant;
use net::tcp::{Config, Flow, FlowState, RestoreError, State};

/// A connection with something of everything, saved.
fn saved() -> (Script, FlowState) {
    let mut t = Script::established(Config { sack: true, ..plain() });
    t.send(1500);
    expect!(t, ". 1:1001(1000) ack 1");
    expect!(t, "P. 1001:1501(500) ack 1");
    inject!(t, "P. 1:101(100) ack 501");
    expect!(t, ". 1501:1501(0) ack 101");
    inject!(t, "P. 201:301(100) ack 501");
    expect!(t, ". 1501:1501(0) ack 101");
    let now = t.now;
    let saved = t.flow().save(now).unwrap();
    (t, saved)
}

#[test]
fn a_restored_flow_answers_as_the_first_would_have() {
    let (mut t, saved) = saved();
    t.flow = Some(Flow::restore(&saved, HeapPool::leak(100), t.now).unwrap());
    inject!(t, "P. 101:201(100) ack 501");
    expect!(t, ". 1501:1501(0) ack 301");
    t.read(300);
    t.wait(200);
    expect!(t, ". 501:1001(500) ack 301");
    inject!(t, ". 301:301(0) ack 1501");
    t.shutdown();
    expect!(t, "F. 1501:1501(0) ack 301");
    assert_eq!(t.state(), State::FinWait1);
}

#[test]
fn numbers_that_wrap_to_the_first_one_are_nothing_special() {
    // RFC 9293 § 3.4: after 4 GiB SND.UNA is the initial sequence number again.
    let (mut t, saved) = saved();
    let wrapped = FlowState { iss: saved.snd_una, irs: saved.rcv_nxt, ..saved };
    t.flow = Some(Flow::restore(&wrapped, HeapPool::leak(100), t.now).unwrap());
    t.wait(200);
    expect!(t, ". 501:1001(500) ack 101");
    inject!(t, ". 101:101(0) ack 1501");
    t.send(10);
    expect!(t, "P. 1501:1511(10) ack 101");
}

#[test]
fn the_timestamp_clock_goes_on() {
    // RFC 7323 § 5.4: it must not step back, whatever the new clock says.
    let mut t = Script::listen(Config { timestamps: true, ..plain() });
    inject!(t, "S 0:0(0) <mss 1000,TS val 100 ecr 0>");
    expect!(t, "S. 0:0(0) ack 1 <mss 1000,TS val 0 ecr 100>");
    inject!(t, ". 1:1(0) ack 1 <TS val 100 ecr 0>");
    t.wait(5000);
    let now = t.now;
    let saved = t.flow().save(now).unwrap();
    t.now = Instant::from_millis(7);
    t.flow = Some(Flow::restore(&saved, HeapPool::leak(100), t.now).unwrap());
    t.send(10);
    expect!(t, "P. 1:11(10) ack 1 <TS val 5000 ecr 100>");
}

#[test]
fn what_cannot_be_is_refused() {
    let (t, good) = saved();
    let refused = |change: &dyn Fn(&mut FlowState)| {
        let mut bad = good.clone();
        change(&mut bad);
        Flow::restore(&bad, HeapPool::leak(100), t.now).err()
    };
    let impossible = |field| Some(RestoreError::Impossible(field));
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|s| s.version = 9), Some(RestoreError::Version(9)));
    assert_eq!(refused(&|s| s.state = State::Closed), impossible("state"));
    assert_eq!(refused(&|s| s.mss = 0), impossible("mss"));
    assert_eq!(refused(&|s| s.snd_shift = 15), impossible("snd_shift"));
    assert_eq!(refused(&|s| s.snd_nxt += 1), impossible("snd_nxt"));
    assert_eq!(refused(&|s| s.snd_una += 2000), impossible("snd_nxt"));
    assert_eq!(refused(&|s| s.fin_acknowledged = true), impossible("fin_acknowledged"));
    assert_eq!(refused(&|s| s.unread = 0), impossible("unread"));
    assert_eq!(refused(&|s| s.pieces[0].0 = s.rcv_nxt), impossible("pieces"));
    assert_eq!(refused(&|s| s.pieces[0].2.clear()), impossible("pieces"));
    assert_eq!(refused(&|s| s.pieces.push(s.pieces[0].clone())), impossible("pieces"));
}

#[test]
fn what_is_over_is_not_saved() {
    let mut t = Script::established(plain());
    t.abort();
    expect!(t, "R. 1:1(0) ack 1");
    let now = t.now;
    assert_eq!(t.flow().save(now), None);
}
