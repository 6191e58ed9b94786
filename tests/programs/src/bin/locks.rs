//! Futexes beyond a plain wait: locks whose owner inherits priority or ends, moved and chosen waiters.

use std::mem::zeroed;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use programs::{Shown, number, syscall};

const PRIVATE: u64 = 128;
const WAIT: u64 = PRIVATE;
const WAKE: u64 = 1 | PRIVATE;
const REQUEUE: u64 = 3 | PRIVATE;
const WAKE_OP: u64 = 5 | PRIVATE;
const LOCK_PI: u64 = 6 | PRIVATE;
const UNLOCK_PI: u64 = 7 | PRIVATE;
const TRYLOCK_PI: u64 = 8 | PRIVATE;
const WAIT_REQUEUE_PI: u64 = 11 | PRIVATE;
const CMP_REQUEUE_PI: u64 = 12 | PRIVATE;
const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;
const TID: u32 = OWNER_DIED - 1;

fn main() {
    moved();
    changed_and_woken();
    any_of_several();
    handed_over();
    deadlock();
    left_behind();
    moved_to_a_lock();
    mutexes();
    robust();
}

fn futex(word: &AtomicU32, op: u64, value: u64, timeout: u64, other: &AtomicU32, value3: u64) -> Shown {
    let at = |word: &AtomicU32| word.as_ptr() as u64;
    // SAFETY: words of our own, that others change only by atomic operations.
    Shown(unsafe { syscall(number::FUTEX, [at(word), op, value, timeout, at(other), value3]) })
}

fn simple(word: &AtomicU32, op: u64, value: u64) -> Shown {
    futex(word, op, value, 0, word, 0)
}

fn tid() -> u32 {
    // SAFETY: nothing is passed.
    unsafe { libc::gettid() as u32 }
}

/// Repeats a call until it returns `result`: until the threads it is about have come to wait.
fn until(result: i64, call: impl Fn() -> Shown) -> i64 {
    loop {
        match call().0 {
            found if found == result => return found,
            0 => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}

fn wait_for_waiters(word: &AtomicU32) {
    while word.load(SeqCst) & WAITERS == 0 {
        thread::sleep(Duration::from_millis(1));
    }
}

fn moved() {
    let (from, to) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| simple(&from, WAIT, 0).0)).collect();
        // Nobody is woken; whoever waits is moved, until it was three.
        let mut moved = 0;
        while moved < 3 {
            moved += futex(&from, REQUEUE, 0, 3, &to, 0).0;
            thread::sleep(Duration::from_millis(1));
        }
        println!("at the old place: {}", simple(&from, WAKE, 9));
        println!("at the new one: {}", simple(&to, WAKE, 9));
        println!("woken: {:?}", waiters.into_iter().map(|w| w.join().unwrap()).collect::<Vec<_>>());
    });
}

fn changed_and_woken() {
    let (a, b) = (AtomicU32::new(0), AtomicU32::new(5));
    thread::scope(|scope| {
        let waiters = [scope.spawn(|| simple(&a, WAIT, 0).0), scope.spawn(|| simple(&b, WAIT, 5).0)];
        // Waits until both do: a move onto itself moves and counts them.
        let waits = |word: &AtomicU32| futex(word, REQUEUE, 0, 1, word, 0);
        until(1, || waits(&a));
        until(1, || waits(&b));
        // Adds 3 to `b`, wakes at `a`, and at `b` since it was greater than 4.
        println!("woken at both: {}", futex(&a, WAKE_OP, 1, 1, &b, 1 << 28 | 4 << 24 | 3 << 12 | 4));
        println!("changed: {}, {:?}", b.load(SeqCst), waiters.map(|waiter| waiter.join().unwrap()));
    });
    println!("not so this time: {}", futex(&a, WAKE_OP, 1, 1, &b, 2 << 24 | 7 << 12 | 4));
    println!("changed: {}", b.load(SeqCst));
}

fn any_of_several() {
    let words = [const { AtomicU32::new(0) }; 3];
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let vector: Vec<u64> =
                words.iter().flat_map(|word| [0, word.as_ptr() as u64, 2 | PRIVATE]).collect();
            // SAFETY: the vector and its words are ours.
            unsafe { syscall(number::FUTEX_WAITV, [vector.as_ptr() as u64, 3, 0, 0, 1, 0]) }
        });
        until(1, || simple(&words[2], WAKE, 1));
        println!("woken at {}", waiter.join().unwrap());
    });
    println!("nobody left: {} {}", simple(&words[0], WAKE, 9), simple(&words[1], WAKE, 9));
}

fn handed_over() {
    let lock = AtomicU32::new(0);
    println!("lock: {}", simple(&lock, LOCK_PI, 0));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let tried = simple(&lock, TRYLOCK_PI, 0);
            let locked = simple(&lock, LOCK_PI, 0);
            let mine = lock.load(SeqCst) & TID == tid();
            format!("{tried}, {locked}, mine {mine}, {}", simple(&lock, UNLOCK_PI, 0))
        });
        wait_for_waiters(&lock);
        // It may still be on its way: the word says so before it waits.
        thread::sleep(Duration::from_millis(5));
        println!("woken as a plain one: {}", simple(&lock, WAKE, 1));
        println!("unlock: {}", simple(&lock, UNLOCK_PI, 0));
        println!("there: {}", waiter.join().unwrap());
    });
    println!("free: {}", lock.load(SeqCst));
    let (soon, lock) = (libc::timespec { tv_sec: 1, tv_nsec: 0 }, AtomicU32::new(0));
    println!("lock: {}", simple(&lock, LOCK_PI, 0));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| futex(&lock, LOCK_PI, 0, (&raw const soon) as u64, &lock, 0).to_string());
        println!("by 1970 and a second: {}", waiter.join().unwrap());
    });
    println!("unlock: {}", simple(&lock, UNLOCK_PI, 0));
}

fn deadlock() {
    let locks = [const { AtomicU32::new(0) }; 3];
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        // Two threads that hold one lock each and wait for the next; we hold the last, and ask for the first.
        for n in 0..2 {
            let (locks, next) = (&locks, &next);
            scope.spawn(move || {
                assert_eq!(simple(&locks[n], LOCK_PI, 0).0, 0);
                next.fetch_add(1, SeqCst);
                while next.load(SeqCst) < 3 {
                    thread::sleep(Duration::from_millis(1));
                }
                assert_eq!(simple(&locks[n + 1], LOCK_PI, 0).0, 0);
                assert_eq!(simple(&locks[n + 1], UNLOCK_PI, 0).0, 0);
                assert_eq!(simple(&locks[n], UNLOCK_PI, 0).0, 0);
            });
        }
        println!("the last: {}", simple(&locks[2], LOCK_PI, 0));
        next.fetch_add(1, SeqCst);
        wait_for_waiters(&locks[1]);
        wait_for_waiters(&locks[2]);
        thread::sleep(Duration::from_millis(10));
        println!("the first: {}", simple(&locks[0], LOCK_PI, 0));
        println!("unlock: {}", simple(&locks[2], UNLOCK_PI, 0));
    });
    println!("all free: {}", locks.iter().all(|lock| lock.load(SeqCst) == 0));
}

/// The owner ends without a word.
fn left_behind() {
    let lock = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(simple(&lock, LOCK_PI, 0).0, 0);
            wait_for_waiters(&lock);
            thread::sleep(Duration::from_millis(5));
        });
        while lock.load(SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        println!("left behind: {}", simple(&lock, LOCK_PI, 0));
    });
    let word = lock.load(SeqCst);
    println!("mine: {}, and marked: {}", word & TID == tid(), word & OWNER_DIED != 0);
    println!("unlock: {}, {}", simple(&lock, UNLOCK_PI, 0), lock.load(SeqCst));
}

fn moved_to_a_lock() {
    let (condition, lock) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let result = futex(&condition, WAIT_REQUEUE_PI, 0, 0, &lock, 0xffff_ffff).0;
                    let mine = lock.load(SeqCst) & TID == tid();
                    (result, mine, simple(&lock, UNLOCK_PI, 0).0)
                })
            })
            .collect();
        println!("lock: {}", simple(&lock, LOCK_PI, 0));
        let mut moved = 0;
        while moved < 2 {
            moved += futex(&condition, CMP_REQUEUE_PI, 1, 2, &lock, 0).0;
            thread::sleep(Duration::from_millis(1));
        }
        println!("unlock: {}", simple(&lock, UNLOCK_PI, 0));
        println!("{:?}", waiters.into_iter().map(|w| w.join().unwrap()).collect::<Vec<_>>());
    });
    println!("free: {}", lock.load(SeqCst) & TID);
}

/// A mutex of libc, with these attributes.
fn mutex(protocol: libc::c_int, robust: bool) -> Box<libc::pthread_mutex_t> {
    // SAFETY: the attributes are initialised; the mutex stays where it is.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = zeroed();
        assert_eq!(libc::pthread_mutexattr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_mutexattr_setprotocol(&mut attributes, protocol), 0);
        if robust {
            assert_eq!(libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST), 0);
        }
        let mut mutex: Box<libc::pthread_mutex_t> = Box::new(zeroed());
        assert_eq!(libc::pthread_mutex_init(&mut *mutex, &attributes), 0);
        mutex
    }
}

struct Shared(*mut libc::pthread_mutex_t);
// SAFETY: a mutex is there to be used by several threads.
unsafe impl Sync for Shared {}

fn mutexes() {
    let mut inherits = mutex(libc::PTHREAD_PRIO_INHERIT, false);
    let (shared, counter) = (Shared(&mut *inherits), AtomicU64::new(0));
    let shared = &shared;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..500 {
                    // SAFETY: the mutex is initialised, and is given back by who took it.
                    unsafe {
                        assert_eq!(libc::pthread_mutex_lock(shared.0), 0);
                        // Not one operation: the mutex makes it one.
                        counter.store(counter.load(SeqCst) + 1, SeqCst);
                        if i % 50 == 0 {
                            thread::yield_now();
                        }
                        assert_eq!(libc::pthread_mutex_unlock(shared.0), 0);
                    }
                }
            });
        }
    });
    println!("counted under a mutex that inherits: {}", counter.into_inner());
}

fn robust() {
    for (name, protocol) in [("plain", libc::PTHREAD_PRIO_NONE), ("inheriting", libc::PTHREAD_PRIO_INHERIT)] {
        let mut mutex = mutex(protocol, true);
        let shared = &Shared(&mut *mutex);
        // SAFETY: as in `mutexes`; the mutex outlives its threads.
        unsafe {
            thread::scope(|scope| {
                scope.spawn(move || assert_eq!(libc::pthread_mutex_lock({ shared }.0), 0));
            });
            let found = libc::pthread_mutex_lock(shared.0);
            println!("{name}, its owner ended before: {}", found == libc::EOWNERDEAD);
            println!("mended: {}", libc::pthread_mutex_consistent(shared.0));
            println!("unlocked: {}", libc::pthread_mutex_unlock(shared.0));
            // Now somebody waits when the owner ends.
            let owner = &AtomicU32::new(0);
            thread::scope(|scope| {
                scope.spawn(move || {
                    assert_eq!(libc::pthread_mutex_lock({ shared }.0), 0);
                    owner.store(1, SeqCst);
                    thread::sleep(Duration::from_millis(20));
                });
                while owner.load(SeqCst) == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                let found = libc::pthread_mutex_lock(shared.0);
                println!("{name}, it ended meanwhile: {}", found == libc::EOWNERDEAD);
                // Not mended: nobody gets it any more.
                println!("unlocked: {}", libc::pthread_mutex_unlock(shared.0));
                println!("lost: {}", libc::pthread_mutex_lock(shared.0) == libc::ENOTRECOVERABLE);
            });
        }
    }
}
