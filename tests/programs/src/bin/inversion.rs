//! Priority inversion on one CPU: a thread of no priority holds a lock for which one of high priority waits, while one of medium
//! priority never gives the CPU up. It ends only if the holder inherits. Takes the right to real-time priorities.

use std::mem::zeroed;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use programs::{number, syscall};

static LOCK: AtomicU32 = AtomicU32::new(0);
static RELEASE: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);

const MAIN: i32 = 50;
const HIGH: i32 = 30;
const MEDIUM: i32 = 20;

fn main() {
    // SAFETY: a set of CPUs of our own.
    unsafe {
        let mut cpus: libc::cpu_set_t = zeroed();
        libc::CPU_SET(0, &mut cpus);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cpus), 0);
    }
    set_priority(libc::SCHED_FIFO, MAIN);
    let low = thread::spawn(|| {
        set_priority(libc::SCHED_OTHER, 0);
        lock();
        while !RELEASE.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: nothing is passed.
        let own = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
        unlock();
        own
    });
    until(|| LOCK.load(SeqCst) != 0);
    let high = thread::spawn(|| {
        set_priority(libc::SCHED_FIFO, HIGH);
        lock();
        DONE.store(true, SeqCst);
        unlock();
    });
    until(|| LOCK.load(SeqCst) >> 31 != 0);
    let medium = thread::spawn(|| {
        set_priority(libc::SCHED_FIFO, MEDIUM);
        while !DONE.load(SeqCst) {
            std::hint::spin_loop();
        }
    });
    thread::sleep(Duration::from_millis(20));
    println!("the medium one runs, and nobody else: {}", !DONE.load(SeqCst));
    RELEASE.store(true, SeqCst);
    high.join().expect("no panic");
    println!("the high one had the lock");
    medium.join().expect("no panic");
    println!("the low one kept its own policy: {}", low.join().expect("no panic"));
}

fn set_priority(policy: i32, sched_priority: i32) {
    let parameter = libc::sched_param { sched_priority };
    // SAFETY: a valid pointer.
    let result = unsafe { libc::sched_setscheduler(0, policy, &parameter) };
    assert_eq!(result, 0, "real-time priorities are refused");
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn lock() {
    // SAFETY: a word of our own.
    assert_eq!(unsafe { syscall(number::FUTEX, [LOCK.as_ptr() as u64, 6 | 128, 0, 0, 0, 0]) }, 0);
}

fn unlock() {
    // SAFETY: as above.
    assert_eq!(unsafe { syscall(number::FUTEX, [LOCK.as_ptr() as u64, 7 | 128, 0, 0, 0, 0]) }, 0);
}
