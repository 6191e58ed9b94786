//! Timers that are none, and settings that are none.

use programs::number::*;

use super::{MAX, NOBODY, show, show_outcome};

pub fn wrong() {
    intervals();
    let mut id = [0xffff_ffffu32; 2];
    let id_at = id.as_mut_ptr() as u64;
    for clock in [4, 5, 6, 12, 99, MAX] {
        show(&format!("timer_create by clock {clock}"), TIMER_CREATE, &[clock, 0, id_at]);
    }
    // value, signal, notification, thread
    let create = |name: &str, signal: u32, notify: u32, thread: u32| {
        let mut event = [0u64; 8];
        event[1] = u64::from(signal) | u64::from(notify) << 32;
        event[2] = thread.into();
        show(&format!("timer_create, {name}"), TIMER_CREATE, &[1, event.as_ptr() as u64, id_at]);
    };
    create("signal 0", 0, 0, 0);
    create("signal 65", 65, 0, 0);
    create("negative signal", u32::MAX, 0, 0);
    create("no such notification", 10, 3, 0);
    create("no such notification either", 10, 99, 0);
    create("a thread's, of nobody", 10, 4, NOBODY as u32);
    create("a thread's, of thread 0", 10, 4, 0);
    create("a thread's, without a signal", 0, 4, std::process::id());

    create("nothing", 0, 1, 0);
    // SAFETY: our own word, which the call has written.
    let id = u64::from(unsafe { (id_at as *const u32).read_volatile() });
    let mut setting = [0i64; 4];
    let at = setting.as_mut_ptr() as u64;
    for (name, wrong) in [("no timer", 0x7fff_ffff), ("a negative timer", MAX)] {
        show(&format!("timer_settime, {name}"), TIMER_SETTIME, &[wrong, 0, at, 0]);
        show(&format!("timer_gettime, {name}"), TIMER_GETTIME, &[wrong, at]);
        show(&format!("timer_getoverrun, {name}"), TIMER_GETOVERRUN, &[wrong]);
        show(&format!("timer_delete, {name}"), TIMER_DELETE, &[wrong]);
    }
    for (name, setting) in SETTINGS {
        show(&format!("timer_settime, {name}"), TIMER_SETTIME, &[id, 0, setting.as_ptr() as u64, 0]);
    }
    show("timer_settime, to nothing", TIMER_SETTIME, &[id, 0, 0, at]);
    show("timer_settime, unknown flags", TIMER_SETTIME, &[id, 0xff, at, at]);
    show("timer_gettime", TIMER_GETTIME, &[id, at]);
    show("timer_getoverrun", TIMER_GETOVERRUN, &[id]);
    show("timer_delete", TIMER_DELETE, &[id]);
    show("timer_delete twice", TIMER_DELETE, &[id]);
    for clock in [0, 1, 2, 3, 7, 11] {
        show(&format!("timer_create by clock {clock}"), TIMER_CREATE, &[clock, 0, id_at]);
        // SAFETY: as above.
        let id = u64::from(unsafe { (id_at as *const u32).read_volatile() });
        show(&format!("timer_delete by clock {clock}"), TIMER_DELETE, &[id]);
    }
}

/// Interval and time left, each in seconds and parts.
const SETTINGS: [(&str, [i64; 4]); 6] = [
    ("negative", [0, 0, -1, 0]),
    ("negative part", [0, 0, 0, -1]),
    ("too many parts", [0, 0, 0, 1_000_000_000]),
    ("negative interval", [-1, 0, 0, 0]),
    ("too many parts of an interval", [0, 1_000_000_000, 0, 0]),
    ("the end of time", [0, 0, i64::MAX, 999_999]),
];

fn intervals() {
    let mut setting = [0i64; 4];
    let at = setting.as_mut_ptr() as u64;
    for which in [3, 99, MAX] {
        show(&format!("getitimer {which}"), GETITIMER, &[which, at]);
        show(&format!("setitimer {which}"), SETITIMER, &[which, at, 0]);
    }
    for which in 0..3 {
        for (name, setting) in SETTINGS {
            show(&format!("setitimer {which}, {name}"), SETITIMER, &[which, setting.as_ptr() as u64, 0]);
        }
        show(&format!("setitimer {which} off"), SETITIMER, &[which, at, at]);
        show(&format!("getitimer {which}"), GETITIMER, &[which, at]);
        println!("off: {setting:?}");
    }
    show("alarm in a long time", ALARM, &[0xffff_ffff]);
    show_outcome("alarm off", ALARM, &[0]);
    show("alarm off twice", ALARM, &[0]);
}
