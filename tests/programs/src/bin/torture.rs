//! Everything at once: locks, condition variables, channels, mappings that change under other threads, signals, timers,
//! threads that come and go, panics. `torture SECONDS [THREADS]`; ends with status 1 as soon as something is wrong.

use std::collections::VecDeque;
use std::hint::black_box;
use std::panic::catch_unwind;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

static END: AtomicBool = AtomicBool::new(false);

fn goes_on() -> bool {
    !END.load(Ordering::Relaxed)
}

/// Says what is wrong and ends the program.
macro_rules! check {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            eprintln!("torture: {}", format_args!($($message)*));
            exit(1);
        }
    };
}

/// A small generator (xorshift64*), one a thread.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

const KINDS: [fn(u64); 9] = [locks, queue, ring, mappings, signals, timers, churn, panics, arithmetic];

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let seconds = args.next().unwrap_or(1);
    let threads = args.next().unwrap_or(64);
    install_handler();
    let start = Instant::now();
    thread::scope(|scope| {
        for n in 0..threads {
            scope.spawn(move || KINDS[n as usize % KINDS.len()](n));
        }
        let mut turn = 0;
        while start.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(50));
            turn += 1;
            if seconds > 20 && turn % 200 == 0 {
                eprintln!("torture: {} s", start.elapsed().as_secs());
            }
        }
        END.store(true, Ordering::Relaxed);
        QUEUE.1.notify_all();
    });
    let counters = COUNTERS.iter().map(|counter| *counter.lock().expect("nobody panics inside")).sum::<u64>();
    check!(counters == COUNTED.load(Ordering::Relaxed), "an increment under a lock is lost");
    check!(
        PUSHED.load(Ordering::Relaxed)
            == POPPED.load(Ordering::Relaxed) + QUEUE.0.lock().unwrap().len() as u64,
        "something in the queue is lost"
    );
    check!(
        HANDLED.load(Ordering::Relaxed) == SENT.load(Ordering::Relaxed),
        "{} signals sent to oneself, {} handled",
        SENT.load(Ordering::Relaxed),
        HANDLED.load(Ordering::Relaxed)
    );
    println!("torture: {threads} threads, all is well");
}

static COUNTERS: [Mutex<u64>; 4] = [const { Mutex::new(0) }; 4];
static COUNTED: AtomicU64 = AtomicU64::new(0);
static PAIR: RwLock<(u64, u64)> = RwLock::new((0, 0));

fn locks(n: u64) {
    let mut random = Random(n + 1);
    while goes_on() {
        for _ in 0..100 {
            *COUNTERS[random.below(4) as usize].lock().expect("nobody panics inside") += 1;
            COUNTED.fetch_add(1, Ordering::Relaxed);
        }
        if random.below(4) == 0 {
            let mut pair = PAIR.write().unwrap();
            pair.0 += 1;
            thread::yield_now();
            pair.1 += 1;
        } else {
            let pair = PAIR.read().unwrap();
            check!(pair.0 == pair.1, "a reader saw half a write");
        }
    }
}

static QUEUE: (Mutex<VecDeque<u64>>, Condvar) = (Mutex::new(VecDeque::new()), Condvar::new());
static PUSHED: AtomicU64 = AtomicU64::new(0);
static POPPED: AtomicU64 = AtomicU64::new(0);

fn queue(n: u64) {
    let mut random = Random(n + 1);
    while goes_on() {
        if random.below(2) == 0 {
            QUEUE.0.lock().unwrap().push_back(n);
            PUSHED.fetch_add(1, Ordering::Relaxed);
            QUEUE.1.notify_one();
        } else {
            let (mut queue, _) = QUEUE
                .1
                .wait_timeout_while(QUEUE.0.lock().unwrap(), Duration::from_millis(20), |queue| {
                    queue.is_empty() && goes_on()
                })
                .unwrap();
            if queue.pop_front().is_some() {
                POPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Numbers go round among threads of its own.
fn ring(n: u64) {
    while goes_on() {
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            let (first, last): (Sender<u64>, Receiver<u64>) = channel();
            let (a, b) = sync_channel::<u64>(2);
            let (c, d) = channel::<u64>();
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                b.iter().for_each(|value| c.send(value + 1).unwrap());
            });
            scope.spawn(move || {
                barrier.wait();
                d.iter().for_each(|value| first.send(value + 1).unwrap());
            });
            barrier.wait();
            for value in 0..200 {
                a.send(value + n).unwrap();
                let back = last.recv().unwrap();
                check!(back == value + n + 2, "sent {} round, {back} came back", value + n);
            }
        });
    }
}

fn map(address: u64, pages: usize, extra: i32) -> *mut u64 {
    // SAFETY: a fresh mapping, or one in place of the caller's own.
    let at = unsafe {
        libc::mmap(
            address as *mut _,
            pages * 4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra,
            -1,
            0,
        )
    };
    check!(at != libc::MAP_FAILED, "mmap failed: {}", std::io::Error::last_os_error());
    at.cast()
}

/// One thread changes what is behind an address while another reads there: it must never see what was there before.
fn mappings(n: u64) {
    const PAGES: usize = 8;
    let mut random = Random(n + 1);
    let base = map(0, PAGES, 0) as u64;
    let epochs: [AtomicU64; PAGES] = [const { AtomicU64::new(0) }; PAGES];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (epochs, done) = (&epochs, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for (page, epoch) in epochs.iter().enumerate() {
                    let before = epoch.load(Ordering::Acquire);
                    // SAFETY: the page is always mapped; the other thread writes whole words.
                    let seen = unsafe { AtomicU64::from_ptr((base + page as u64 * 4096) as *mut u64) }
                        .load(Ordering::Acquire);
                    // 0: dropped and not written again yet.
                    check!(seen == 0 || seen >= before, "a page of the past: {seen} after {before}");
                }
            }
        });
        let mut epoch = 0;
        while goes_on() {
            epoch += 1;
            let page = random.below(PAGES as u64);
            let address = base + page * 4096;
            // SAFETY: our own page.
            unsafe {
                match random.below(4) {
                    0 => check!(
                        libc::madvise(address as *mut _, 4096, libc::MADV_DONTNEED) == 0,
                        "madvise failed"
                    ),
                    1 => {
                        check!(map(address, 1, libc::MAP_FIXED) as u64 == address, "MAP_FIXED went elsewhere")
                    }
                    2 => {
                        // A page from elsewhere, with the value in it.
                        let other = map(0, 1, 0);
                        AtomicU64::from_ptr(other).store(epoch, Ordering::Release);
                        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                        let moved =
                            libc::mremap(other.cast(), 4096, 4096, flags, address as *mut libc::c_void);
                        check!(moved as u64 == address, "mremap failed: {}", std::io::Error::last_os_error());
                    }
                    _ => {
                        check!(
                            libc::mprotect(address as *mut _, 4096, libc::PROT_READ) == 0,
                            "mprotect failed"
                        );
                        let write = libc::PROT_READ | libc::PROT_WRITE;
                        check!(libc::mprotect(address as *mut _, 4096, write) == 0, "mprotect failed");
                    }
                }
                AtomicU64::from_ptr(address as *mut u64).store(epoch, Ordering::Release);
            }
            epochs[page as usize].store(epoch, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
    });
    // SAFETY: nobody uses it any more.
    unsafe { libc::munmap(base as *mut _, PAGES * 4096) };
}

static SENT: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn on_other(_: i32) {}

fn install_handler() {
    for (signal, handler) in [(libc::SIGUSR1, on_signal as extern "C" fn(i32)), (libc::SIGUSR2, on_other)] {
        // SAFETY: the handlers touch one atomic at most.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Signals to oneself are handled before the call returns; those to another thread interrupt it somewhere.
fn signals(_: u64) {
    let barrier = Barrier::new(2);
    let (done, target) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (barrier, done, target) = (&barrier, &done, &target);
        scope.spawn(move || {
            // SAFETY: names the calling thread.
            target.store(unsafe { libc::pthread_self() }, Ordering::Relaxed);
            barrier.wait();
            let mut sum = 0u64;
            while !done.load(Ordering::Relaxed) {
                sum = black_box(sum + 1);
                if sum % 1000 == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        });
        barrier.wait();
        while goes_on() {
            for _ in 0..20 {
                SENT.fetch_add(1, Ordering::Relaxed);
                // SAFETY: a signal with a handler, to this thread.
                check!(unsafe { libc::raise(libc::SIGUSR1) } == 0, "raise failed");
            }
            // SAFETY: the other thread, which lives until `done`, and the process itself; a signal with a handler.
            unsafe {
                libc::pthread_kill(target.load(Ordering::Relaxed), libc::SIGUSR2);
                libc::kill(libc::getpid(), libc::SIGUSR2);
            }
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn timers(n: u64) {
    let mut random = Random(n + 1);
    while goes_on() {
        let wanted = Duration::from_micros(random.below(3_000));
        let start = Instant::now();
        if random.below(2) == 0 {
            thread::sleep(wanted);
            check!(start.elapsed() >= wanted, "a sleep of {wanted:?} took {:?}", start.elapsed());
        } else {
            thread::park_timeout(wanted);
        }
    }
}

fn churn(n: u64) {
    let mut random = Random(n + 1);
    while goes_on() {
        let count = 1 + random.below(6);
        let handles: Vec<_> = (0..count)
            .map(|i| {
                thread::spawn(move || {
                    let text: String = (0..i + 10).map(|c| char::from(b'a' + (c % 26) as u8)).collect();
                    (i, text.len() as u64)
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            let result = handle.join().expect("nobody panics");
            check!(result == (i as u64, i as u64 + 10), "a thread returned {result:?}");
        }
    }
}

fn panics(n: u64) {
    std::panic::set_hook(Box::new(|_| ()));
    while goes_on() {
        let caught = catch_unwind(|| {
            let held = vec![n; 10];
            if black_box(held.len()) == 10 {
                std::panic::panic_any(n);
            }
        });
        check!(caught.is_err_and(|value| value.downcast_ref::<u64>() == Some(&n)), "a panic got lost");
        let joined = thread::spawn(move || std::panic::panic_any(n + 1)).join();
        check!(joined.is_err(), "a thread's panic got lost");
    }
}

/// Registers survive whatever interrupts.
fn arithmetic(n: u64) {
    while goes_on() {
        let (mut float, mut hash) = (1.0 + n as f64, n);
        for i in 1..20_000u64 {
            float = black_box(float * 1.000_1 / 1.000_1 + i as f64 - i as f64);
            hash = black_box(hash.rotate_left(5) ^ i);
        }
        let (mut again, mut hash_again) = (1.0 + n as f64, n);
        for i in 1..20_000u64 {
            again = black_box(again * 1.000_1 / 1.000_1 + i as f64 - i as f64);
            hash_again = black_box(hash_again.rotate_left(5) ^ i);
        }
        check!(float.to_bits() == again.to_bits() && hash == hash_again, "arithmetic is not what it was");
    }
}
