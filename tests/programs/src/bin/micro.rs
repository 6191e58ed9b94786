//! What single operations cost: `micro CASE ...` repeats each case's operation between two marks that the counter of
//! `cargo xtask bench micro` recognises (host/counter), and prints a line for each stretch between marks, in their order:
//! `section CASE OPERATIONS DISCOUNT`, where DISCOUNT are instructions in it that do not belong to the operations. Lines
//! `note TEXT` are for the reader.
//!
//! Nothing is printed between marks, and each case first runs once without them.

use std::arch::asm;
use std::fmt;
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use programs::{number, syscall};

/// Stretches of each case: a system that does something periodic shows in a few, not in their median.
const SECTIONS: usize = 7;
const PAGE: usize = 4096;

type Case = (&'static str, fn(&mut Sections));

const CASES: &[Case] = &[
    ("empty", |sections| sections.repeat(10_000, || ())),
    ("getpid", |sections| sections.repeat(2_000, || call(number::GETPID, [0; 6]))),
    ("getppid", |sections| sections.repeat(2_000, || call(libc::SYS_getppid as u64, [0; 6]))),
    ("clock-call", clock_call),
    ("instant", |sections| sections.repeat(2_000, || _ = black_box(Instant::now()))),
    ("box", |sections| sections.repeat(2_000, || drop(black_box(Box::new([0u64; 8]))))),
    ("vec", vec_growth),
    ("mutex", mutex),
    ("mutex-contended", mutex_contended),
    ("switch", switch),
    ("condvar", condvar),
    ("channel", channel),
    ("futex-wake", futex_wake),
    ("spawn", |sections| sections.repeat(200, || thread::spawn(|| ()).join().expect("no panic"))),
    ("sleep-0", |sections| sections.repeat(200, || sleep(0))),
    ("sleep-1us", |sections| sections.repeat(200, || sleep(1_000))),
    ("map-page", |sections| sections.repeat(500, || Mapping::new(PAGE).touch())),
    ("map-mib", |sections| sections.repeat(10, || Mapping::new(256 * PAGE).touch())),
    ("page-fault", page_fault),
    ("mprotect", mprotect),
    ("signal", signal),
    ("sigprocmask", sigprocmask),
    ("wake-across", wake_across),
    ("shoot-down", shoot_down),
];

fn main() {
    for name in std::env::args().skip(1) {
        let Some((name, run)) = CASES.iter().find(|(case, _)| *case == name) else {
            println!("no case {name:?}");
            std::process::exit(2);
        };
        let mut sections = Sections { name, lines: String::new() };
        run(&mut sections);
        print!("{}", sections.lines);
    }
    println!("end");
}

/// The sections of a case.
struct Sections {
    name: &'static str,
    lines: String,
}

impl Sections {
    /// Says what a reader of the figures must know.
    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.lines += &format!("note {}: {text}\n", self.name);
    }

    fn repeat(&mut self, operations: u64, mut operation: impl FnMut()) {
        self.repeat_on(operations, || (), |()| operation());
    }

    /// Repeats an operation on something that is made anew for each section.
    fn repeat_on<S>(&mut self, operations: u64, setup: impl Fn() -> S, operation: impl FnMut(&mut S)) {
        self.repeat_beside(operations, setup, operation, || 0);
    }

    /// As above, beside a thread of which `others` tells how many instructions it has executed for itself.
    fn repeat_beside<S>(
        &mut self,
        operations: u64,
        setup: impl Fn() -> S,
        mut operation: impl FnMut(&mut S),
        others: impl Fn() -> u64,
    ) {
        for _ in 0..operations {
            // Warms up: code that was never run, memory that was never touched.
            operation(&mut setup());
        }
        for _ in 0..SECTIONS {
            let mut subject = setup();
            let before = others();
            mark_start();
            for _ in 0..operations {
                operation(&mut subject);
            }
            mark_end();
            let discount = others() - before;
            self.lines += &format!("section {} {operations} {discount}\n", self.name);
        }
    }
}

/// The octets are those of `Mark` in host/counter.
#[inline(always)]
fn mark_start() {
    // SAFETY: a `nop` of seven octets.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".ascii \"IOSs\"", options(nostack)) };
}

#[inline(always)]
fn mark_end() {
    // SAFETY: as above.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".ascii \"IOSe\"", options(nostack)) };
}

/// A system call that does nothing to memory.
fn call(number: u64, arguments: [u64; 6]) {
    // SAFETY: the callers below name calls that write nothing, or to memory that they own.
    black_box(unsafe { syscall(number, arguments) });
}

fn clock_call(sections: &mut Sections) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let arguments = [libc::CLOCK_MONOTONIC as u64, &raw mut now as u64, 0, 0, 0, 0];
    sections.repeat(2_000, || call(number::CLOCK_GETTIME, arguments));
}

/// From nothing to 1024 numbers.
fn vec_growth(sections: &mut Sections) {
    sections.repeat(200, || {
        let mut numbers = Vec::new();
        for n in 0..1024u64 {
            numbers.push(black_box(n));
        }
        drop(black_box(numbers));
    });
}

fn mutex(sections: &mut Sections) {
    let lock = Mutex::new(0u64);
    sections.repeat(2_000, || *black_box(&lock).lock().expect("fine") += 1);
}

/// The lock is held until the other thread waits for it, and the other one takes it before the next turn.
fn mutex_contended(sections: &mut Sections) {
    let (lock, stop) = (Mutex::new(()), AtomicBool::new(false));
    let (held, tried, taken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let reach = |counter: &AtomicU64, turn| {
        while counter.load(Ordering::Acquire) != turn && !stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1.. {
                reach(&held, turn);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                tried.store(turn, Ordering::Release);
                drop(lock.lock().expect("fine"));
                taken.store(turn, Ordering::Release);
            }
        });
        let mut turn = 0;
        sections.repeat(500, || {
            turn += 1;
            let guard = lock.lock().expect("fine");
            held.store(turn, Ordering::Release);
            reach(&tried, turn);
            drop(guard);
            reach(&taken, turn);
        });
        stop.store(true, Ordering::Relaxed);
    });
}

/// To the other thread and back.
fn switch(sections: &mut Sections) {
    let (turns, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        });
        sections.repeat(500, || {
            let seen = turns.load(Ordering::Relaxed);
            while turns.load(Ordering::Relaxed) == seen {
                thread::yield_now();
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
}

/// One turn of each of two threads.
fn condvar(sections: &mut Sections) {
    const STOP: u32 = 2;
    let (turn, changed) = (Mutex::new(0u32), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let mut turn =
                    changed.wait_while(turn.lock().expect("fine"), |turn| *turn == 0).expect("fine");
                if *turn == STOP {
                    break;
                }
                *turn = 0;
                changed.notify_one();
            }
        });
        sections.repeat(500, || {
            let mut turn = turn.lock().expect("fine");
            *turn = 1;
            changed.notify_one();
            drop(changed.wait_while(turn, |turn| *turn == 1).expect("fine"));
        });
        *turn.lock().expect("fine") = STOP;
        changed.notify_one();
    });
}

/// A message to another thread and one back.
fn channel(sections: &mut Sections) {
    let (to, from_main) = mpsc::channel::<u64>();
    let (back, from_other) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || from_main.iter().try_for_each(|n| back.send(n)));
        sections.repeat(500, || {
            to.send(1).expect("the other receives");
            from_other.recv().expect("the other answers");
        });
        drop(to);
    });
}

fn futex_wake(sections: &mut Sections) {
    let word = AtomicU32::new(0);
    sections.repeat(2_000, || wake(&word));
}

fn wake(word: &AtomicU32) {
    call(
        number::FUTEX,
        [word.as_ptr() as u64, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64, 1, 0, 0, 0],
    );
}

/// Waits until the word is another.
fn wait_while(word: &AtomicU32, value: u32) {
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    while word.load(Ordering::Acquire) == value {
        call(number::FUTEX, [word.as_ptr() as u64, operation, value.into(), 0, 0, 0]);
    }
}

fn sleep(nanoseconds: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    call(number::NANOSLEEP, [&raw const time as u64, 0, 0, 0, 0, 0]);
}

/// Private anonymous memory, whole pages.
struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> Self {
        // SAFETY: a new mapping touches nothing.
        let start = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: start.cast(), len }
    }

    /// Writes an octet to each page.
    fn touch(&self) {
        (0..self.len / PAGE).for_each(|page| self.touch_page(page));
    }

    fn touch_page(&self, page: usize) {
        assert!(page * PAGE < self.len);
        // SAFETY: inside of the mapping, which is writable.
        unsafe { self.start.add(page * PAGE).write_volatile(1) };
    }

    fn protect(&self, protection: i32) {
        // SAFETY: nobody refers to the mapping.
        let result = unsafe { libc::mprotect(self.start.cast(), self.len, protection) };
        assert_eq!(result, 0);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody refers to the mapping.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

fn page_fault(sections: &mut Sections) {
    const PAGES: usize = 256;
    sections.repeat_on(
        PAGES as u64,
        || (Mapping::new(PAGES * PAGE), 0),
        |(mapping, page)| {
            mapping.touch_page(*page);
            *page += 1;
        },
    );
}

/// A page that is in use loses the right to be written, and gets it back.
fn mprotect(sections: &mut Sections) {
    let mapping = Mapping::new(PAGE);
    mapping.touch();
    sections.repeat(500, || {
        mapping.protect(libc::PROT_READ);
        mapping.protect(libc::PROT_READ | libc::PROT_WRITE);
    });
}

fn signal(sections: &mut Sections) {
    static CAUGHT: AtomicU64 = AtomicU64::new(0);
    extern "C" fn handler(_signal: i32) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only adds to an atomic; `gettid` has no precondition.
    let thread = unsafe {
        libc::signal(libc::SIGUSR1, handler as extern "C" fn(i32) as usize);
        libc::gettid()
    };
    let arguments = [std::process::id().into(), thread as u64, libc::SIGUSR1 as u64, 0, 0, 0];
    sections.repeat(500, || call(number::TGKILL, arguments));
    assert_eq!(CAUGHT.load(Ordering::Relaxed), 500 * (SECTIONS as u64 + 1));
}

fn sigprocmask(sections: &mut Sections) {
    let set = 1u64 << (libc::SIGUSR2 - 1);
    let arguments = [libc::SIG_BLOCK as u64, &raw const set as u64, 0, 8, 0, 0];
    sections.repeat(2_000, || call(number::RT_SIGPROCMASK, arguments));
}

/// Asks for a CPU. Where the system has no such call it is left to its scheduler.
fn stay_on(cpu: u32) {
    let mask = 1u64 << cpu;
    // SAFETY: reads the mask.
    unsafe { syscall(libc::SYS_sched_setaffinity as u64, [0, 8, &raw const mask as u64, 0, 0, 0]) };
}

/// The system call itself: what libc makes of it is no matter here.
fn this_cpu() -> i32 {
    let mut cpu = 0u32;
    call(number::GETCPU, [&raw mut cpu as u64, 0, 0, 0, 0, 0]);
    cpu as i32
}

/// Wakes a thread on the other CPU, which wakes this one. Both halt meanwhile.
fn wake_across(sections: &mut Sections) {
    const STOP: u32 = 2;
    let (there, here) = (AtomicU32::new(0), AtomicU32::new(1));
    let (turns, apart, main_cpu) = (AtomicU64::new(0), AtomicU64::new(0), AtomicI32::new(-1));
    stay_on(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(1);
            loop {
                wait_while(&there, 0);
                if there.swap(0, Ordering::AcqRel) == STOP {
                    break;
                }
                turns.fetch_add(1, Ordering::Relaxed);
                apart.fetch_add((main_cpu.load(Ordering::Relaxed) != this_cpu()).into(), Ordering::Relaxed);
                here.store(1, Ordering::Release);
                wake(&here);
            }
        });
        let set = |value| {
            there.store(value, Ordering::Release);
            wake(&there);
        };
        sections.repeat(300, || {
            main_cpu.store(this_cpu(), Ordering::Relaxed);
            here.store(0, Ordering::Release);
            set(1);
            wait_while(&here, 0);
        });
        set(STOP);
    });
    sections.note(format_args!("{} of {} turns were on two CPUs", apart.into_inner(), turns.into_inner()));
}

/// Takes a page away while the other CPU runs the program.
fn shoot_down(sections: &mut Sections) {
    /// Instructions of one turn.
    const TURN: u64 = 3;
    let (turns, stop, other) = (AtomicU64::new(0), AtomicBool::new(false), AtomicI32::new(-1));
    stay_on(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(1);
            other.store(this_cpu(), Ordering::Relaxed);
            // SAFETY: reads and writes the two atomics.
            unsafe {
                asm!("2: inc qword ptr [{turns}]", "cmp byte ptr [{stop}], 0", "je 2b",
                    turns = in(reg) turns.as_ptr(), stop = in(reg) stop.as_ptr(), options(nostack));
            }
        });
        while other.load(Ordering::Relaxed) == -1 || turns.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let spun = || turns.load(Ordering::Relaxed) * TURN;
        sections.repeat_beside(200, || (), |()| Mapping::new(PAGE).touch(), spun);
        stop.store(true, Ordering::Relaxed);
    });
    let apart = other.into_inner() != this_cpu();
    sections.note(format_args!("the other thread was on another CPU: {apart}"));
}
