//! epoll(7) on counters: what is reported, to whom, and how often.

use std::io::Error;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const IN: u32 = libc::EPOLLIN as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// Longer than anything takes.
const PATIENCE_MS: i32 = 30_000;

fn main() {
    kinds();
    changes();
    descriptors();
    one_of_many_gets_a_oneshot();
    all_who_wait_get_a_level();
    registrations_come_and_go();
    deleted_while_ready();
    added_and_deleted_at_once();
    wrong_buffers();
}

struct Descriptor(i32);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: opened by the function that made this, and closed once.
        unsafe { libc::close(self.0) };
    }
}

/// A counter.
fn counter() -> Descriptor {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) };
    assert!(fd >= 0);
    Descriptor(fd)
}

impl Descriptor {
    fn add(&self, count: u64) {
        // SAFETY: the number is alive for the call.
        let written = unsafe { libc::write(self.0, (&raw const count).cast(), 8) };
        assert_eq!(written, 8);
    }

    fn take(&self) -> u64 {
        let mut count = 0u64;
        // SAFETY: the number is alive for the call.
        unsafe { libc::read(self.0, (&raw mut count).cast(), 8) };
        count
    }
}

fn epoll() -> Descriptor {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::epoll_create1(0) };
    assert!(fd >= 0);
    Descriptor(fd)
}

/// epoll_ctl(2): 0, or the error.
fn control(epoll: &Descriptor, op: i32, fd: i32, events: u32) -> i32 {
    let mut event = libc::epoll_event { events, u64: 7000 + fd as u64 };
    // SAFETY: the event is alive for the call.
    match unsafe { libc::epoll_ctl(epoll.0, op, fd, &mut event) } {
        0 => 0,
        _ => Error::last_os_error().raw_os_error().unwrap_or(-1),
    }
}

fn add(epoll: &Descriptor, of: &Descriptor, events: u32) -> i32 {
    control(epoll, libc::EPOLL_CTL_ADD, of.0, events)
}

fn modify(epoll: &Descriptor, of: &Descriptor, events: u32) -> i32 {
    control(epoll, libc::EPOLL_CTL_MOD, of.0, events)
}

fn delete(epoll: &Descriptor, of: &Descriptor) -> i32 {
    control(epoll, libc::EPOLL_CTL_DEL, of.0, 0)
}

/// The events that come, up to 8.
fn wait(epoll: &Descriptor, timeout_ms: i32) -> Vec<u32> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: there is room for 8.
    let count = unsafe { libc::epoll_wait(epoll.0, events.as_mut_ptr(), 8, timeout_ms) };
    events[..count.max(0) as usize].iter().map(|event| event.events).collect()
}

fn kinds() {
    for (name, flags) in [("level", 0), ("edge", EDGE), ("oneshot", ONESHOT), ("exclusive", EXCLUSIVE)] {
        let (epoll, counter) = (epoll(), counter());
        counter.add(1);
        let added = add(&epoll, &counter, IN | flags);
        println!("{name}: {added}, {:?} then {:?}", wait(&epoll, 0), wait(&epoll, 0));
        counter.add(1);
        println!("{name}, another one: {:?} then {:?}", wait(&epoll, 0), wait(&epoll, 0));
        let modified = modify(&epoll, &counter, IN | flags & !EXCLUSIVE);
        println!("{name}, modified: {modified}, {:?}", wait(&epoll, 0));
        counter.take();
        println!("{name}, taken: {:?}", wait(&epoll, 0));
    }
}

fn changes() {
    let (epoll, counter) = (epoll(), counter());
    counter.add(1);
    println!("not there: {} {}", modify(&epoll, &counter, IN), delete(&epoll, &counter));
    println!("nothing wanted: {} {:?}", add(&epoll, &counter, 0), wait(&epoll, 0));
    println!("twice: {}", add(&epoll, &counter, IN));
    println!("wanted now: {} {:?}", modify(&epoll, &counter, IN), wait(&epoll, 0));
    println!("made exclusive: {} {:?}", modify(&epoll, &counter, IN | EXCLUSIVE), wait(&epoll, 0));
    println!("deleted: {} {:?} {}", delete(&epoll, &counter), wait(&epoll, 0), delete(&epoll, &counter));
    println!("exclusive and oneshot: {}", add(&epoll, &counter, IN | EXCLUSIVE | ONESHOT));
    println!("exclusive: {}", add(&epoll, &counter, IN | EXCLUSIVE));
    println!("changed: {} {:?}", modify(&epoll, &counter, IN | ONESHOT), wait(&epoll, 0));
    println!("as it was: {:?}", wait(&epoll, 0));
}

/// A registration belongs to a descriptor and to what is behind it.
fn descriptors() {
    let (epoll, old) = (epoll(), counter());
    old.add(1);
    println!("registered: {}", add(&epoll, &old, IN));
    // SAFETY: the copy is closed once.
    let copy = Descriptor(unsafe { libc::dup(old.0) });
    let number = old.0;
    drop(old);
    println!("closed, but for a copy: {:?}", wait(&epoll, 0));
    let new = counter();
    println!("the number is given out again: {}", new.0 == number);
    println!("registered, too: {}", add(&epoll, &new, IN));
    new.add(1);
    println!("both: {}", wait(&epoll, 0).len());
    println!("the new one is deleted: {} {}", delete(&epoll, &new), wait(&epoll, 0).len());
    drop(copy);
    println!("the copy is closed: {:?}", wait(&epoll, 0));
}

/// Threads that wait for one item which is good for one event: each time it is armed, one of them gets it.
fn one_of_many_gets_a_oneshot() {
    const ROUNDS: u32 = 1000;
    let (epoll, counter) = (epoll(), counter());
    let (delivered, over) = (AtomicU32::new(0), AtomicBool::new(false));
    add(&epoll, &counter, 0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let events = wait(&epoll, PATIENCE_MS).len() as u32;
                    delivered.fetch_add(events, Ordering::SeqCst);
                }
            });
        }
        let mut surplus = 0;
        for round in 1..=ROUNDS {
            modify(&epoll, &counter, IN | ONESHOT);
            // Each of these queues the item again, if it is not disarmed.
            (0..4).for_each(|_| counter.add(1));
            while delivered.load(Ordering::SeqCst) < round {
                thread::yield_now();
            }
            if round % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            surplus = surplus.max(delivered.load(Ordering::SeqCst) - round);
            counter.take();
        }
        println!("delivered more than once: {surplus}");
        over.store(true, Ordering::SeqCst);
        modify(&epoll, &counter, IN);
        counter.add(1);
    });
}

/// What stays ready is reported to all who wait.
fn all_who_wait_get_a_level() {
    const WAITERS: usize = 3;
    let mut got = 0;
    for _ in 0..200 {
        let (epoll, counter) = (epoll(), counter());
        add(&epoll, &counter, IN);
        got += thread::scope(|scope| {
            let waiters = [(); WAITERS].map(|()| scope.spawn(|| wait(&epoll, PATIENCE_MS).len()));
            thread::yield_now();
            counter.add(1);
            waiters.into_iter().map(|waiter| waiter.join().expect("no panic")).sum::<usize>()
        });
    }
    println!("of 600: {got}");
}

/// Far more registrations, one after the other, than there would be memory for if something of each stayed.
fn registrations_come_and_go() {
    let (epoll, counter) = (epoll(), counter());
    counter.add(1);
    let mut failed = 0;
    for _ in 0..100_000 {
        failed += u32::from(add(&epoll, &counter, IN | EDGE) != 0);
        failed += u32::from(delete(&epoll, &counter) != 0);
    }
    println!("registrations that failed: {failed}");
    let mut ready = 0;
    for _ in 0..20_000 {
        let counter = self::counter();
        counter.add(1);
        ready += u32::from(add(&epoll, &counter, IN) == 0);
    }
    println!("closed while they were ready: {ready} {:?}", wait(&epoll, 0));
}

fn deleted_while_ready() {
    let epoll = epoll();
    let counters: Vec<_> = (0..100).map(|_| counter()).collect();
    for counter in &counters {
        counter.add(1);
        add(&epoll, counter, IN);
    }
    for counter in &counters[1..] {
        delete(&epoll, counter);
    }
    println!("one of 100 is left: {:?}", wait(&epoll, 0));
    for counter in &counters[1..] {
        add(&epoll, counter, IN);
    }
    println!("all again: {}", (0..13).map(|_| wait(&epoll, 0).len()).sum::<usize>());
}

/// Threads that register and delete the same descriptor: what is counted is what is there.
fn added_and_deleted_at_once() {
    let (epoll, counter) = (epoll(), counter());
    let there = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3000 {
                    if add(&epoll, &counter, IN) == 0 {
                        there.fetch_add(1, Ordering::SeqCst);
                    }
                    counter.add(1);
                    if delete(&epoll, &counter) == 0 {
                        there.fetch_sub(1, Ordering::SeqCst);
                    }
                    modify(&epoll, &counter, IN);
                }
            });
        }
    });
    println!("left: {} {:?} {}", there.into_inner(), wait(&epoll, 0), delete(&epoll, &counter));
}

/// An event that cannot be written is not lost.
fn wrong_buffers() {
    let (epoll, counter) = (epoll(), counter());
    counter.add(1);
    add(&epoll, &counter, IN | EDGE | ONESHOT);
    // SAFETY: nothing is mapped in the first page: the call fails.
    let result = unsafe { libc::epoll_wait(epoll.0, std::ptr::without_provenance_mut(64), 8, 0) };
    println!("nowhere to write to: {result} {:?}", Error::last_os_error().raw_os_error());
    println!("still there: {:?}", wait(&epoll, 0));
}
