//! Threads: what std offers to start, stop, guard and wait, and what must survive being preempted.

use std::arch::asm;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock, mpsc};
use std::thread;
use std::time::Duration;

fn main() {
    mutex();
    condvar();
    channel();
    barrier();
    scoped();
    timeouts();
    locals();
    caught_panic();
    preemption();
    floating_point();
    many();
    println!("at least one CPU: {}", thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 1));
    println!("on the CPU that was asked for: {}", cpu_numbers());
}

/// Goes to each CPU and asks which one it is, which needs no system call.
fn cpu_numbers() -> bool {
    // SAFETY: a zeroed set is an empty one, and the sets outlive the calls.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, size, &mut all), 0);
        let right = (0..64).filter(|&cpu| libc::CPU_ISSET(cpu, &all)).all(|cpu| {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            libc::sched_setaffinity(0, size, &one) == 0 && libc::sched_getcpu() == cpu as i32
        });
        right && libc::sched_setaffinity(0, size, &all) == 0
    }
}

fn mutex() {
    let counter = Arc::new(Mutex::new(0u64));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let counter = counter.clone();
            thread::spawn(move || {
                for i in 0..1000 {
                    let mut guard = counter.lock().expect("nobody panics");
                    *guard += 1;
                    if i % 64 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    println!("mutex: {}", counter.lock().expect("nobody panics"));
}

fn condvar() {
    let turn = Arc::new((Mutex::new(0u32), Condvar::new()));
    let other = turn.clone();
    let thread = thread::spawn(move || {
        let (turn, changed) = &*other;
        for n in (1..200).step_by(2) {
            let mut turn = changed.wait_while(turn.lock().expect("fine"), |turn| *turn != n).expect("fine");
            *turn += 1;
            changed.notify_all();
        }
    });
    let (turn, changed) = &*turn;
    for n in (0..200).step_by(2) {
        let mut turn = changed.wait_while(turn.lock().expect("fine"), |turn| *turn != n).expect("fine");
        *turn += 1;
        changed.notify_all();
    }
    thread.join().expect("no panic");
    println!("condvar: {} turns", turn.lock().expect("fine"));
}

fn channel() {
    let (sender, receiver) = mpsc::sync_channel(4);
    for worker in 0..4u64 {
        let sender = sender.clone();
        thread::spawn(move || (0..100).try_for_each(|n| sender.send((worker, n))));
    }
    drop(sender);
    let mut sums = BTreeMap::new();
    for (worker, n) in receiver {
        *sums.entry(worker).or_insert(0u64) += n;
    }
    println!("channel: {sums:?}");
}

fn barrier() {
    let barrier = Barrier::new(5);
    let leaders = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                for _ in 0..20 {
                    leaders.fetch_add(barrier.wait().is_leader().into(), Ordering::Relaxed);
                }
            });
        }
    });
    println!("barrier: {} rounds", leaders.into_inner());
}

fn scoped() {
    static ONCE: Once = Once::new();
    let (lock, runs) = (RwLock::new(vec![1]), AtomicU64::new(0));
    thread::scope(|scope| {
        for n in 0..6 {
            let (lock, runs) = (&lock, &runs);
            scope.spawn(move || {
                ONCE.call_once(|| {
                    thread::sleep(Duration::from_millis(1));
                    runs.fetch_add(1, Ordering::Relaxed);
                });
                if n % 2 == 0 {
                    lock.write().expect("fine").push(n);
                } else {
                    assert!(!lock.read().expect("fine").is_empty());
                }
            });
        }
    });
    println!("once: {}, written: {}", runs.into_inner(), lock.into_inner().expect("fine").len());
}

fn timeouts() {
    let (sender, receiver) = mpsc::channel::<()>();
    let timed_out = receiver.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout);
    drop(sender);
    let (lock, never) = (Mutex::new(()), Condvar::new());
    let wait = never.wait_timeout(lock.lock().expect("fine"), Duration::from_millis(5)).expect("fine");
    let parked = thread::spawn(thread::park);
    thread::sleep(Duration::from_millis(2));
    parked.thread().unpark();
    let joined = parked.join().is_ok();
    println!("channel times out: {timed_out}, condvar times out: {}, unparked: {joined}", wait.1.timed_out());
}

fn locals() {
    thread_local!(static OWN: Cell<u64> = const { Cell::new(7) });
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static GUARD: Guard = const { Guard });
    OWN.set(1);
    let seen: Vec<u64> = (0..4)
        .map(|n| {
            let thread = thread::spawn(move || {
                GUARD.with(|_| ());
                let before = OWN.get();
                OWN.set(n);
                thread::yield_now();
                before * 100 + OWN.get()
            });
            thread.join().expect("no panic")
        })
        .collect();
    println!("thread locals: {seen:?}, {} here, {} dropped", OWN.get(), DROPPED.load(Ordering::Relaxed));
}

fn caught_panic() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let joined =
        thread::Builder::new().name("faller".to_owned()).spawn(|| panic!("over")).expect("a thread").join();
    let caught = panic::catch_unwind(|| std::hint::black_box([1, 2, 3])[std::hint::black_box(3)]);
    panic::set_hook(hook);
    let text = joined.expect_err("it panicked").downcast::<&str>().expect("a literal");
    println!("panic of a thread: {text:?}, caught here: {}", caught.is_err());
}

/// Two threads that wait for each other without a system call: only preemption lets both go on.
fn preemption() {
    let (ping, pong) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ping.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            pong.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            ping.store(true, Ordering::Release);
            while !pong.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        });
    });
    println!("preempted: {}", pong.into_inner());
}

/// Registers of each thread hold values of its own while it is preempted again and again.
fn floating_point() {
    let barrier = Barrier::new(4);
    let intact = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..4u64 {
            let (barrier, intact) = (&barrier, &intact);
            scope.spawn(move || {
                barrier.wait();
                let pattern = 0x0101_0101_0101_0101 * (n + 1);
                let vectors = if is_x86_feature_detected!("avx") {
                    spin_with_avx(pattern)
                } else {
                    spin_with_sse(pattern)
                };
                let sum: f64 = (0..300_000u32).fold(0.0, |sum, i| sum + f64::from(i) * 0.5 * (n + 1) as f64);
                let right = sum == 0.5 * (n + 1) as f64 * (299_999.0 * 300_000.0 / 2.0);
                intact.fetch_add(
                    u64::from(vectors && spin_with_rounding(n as u32) && right),
                    Ordering::Relaxed,
                );
            });
        }
    });
    println!("registers intact in {} threads", intact.into_inner());
}

/// Turns of an empty loop: several time slices.
const TURNS: u64 = 20_000_000;

fn spin_with_sse(pattern: u64) -> bool {
    let mut seen = [0u64; 2];
    // SAFETY: writes the two words of `seen` and declared registers.
    unsafe {
        asm!("movq xmm9, {pattern}", "movlhps xmm9, xmm9", "2: dec {turns}", "jnz 2b", "movups [{seen}], xmm9",
            pattern = in(reg) pattern, turns = inout(reg) TURNS => _, seen = in(reg) &mut seen, out("xmm9") _,
            options(nostack));
    }
    seen == [pattern; 2]
}

fn spin_with_avx(pattern: u64) -> bool {
    let mut seen = [0u64; 4];
    // SAFETY: the CPU has AVX (the caller looked); writes the four words of `seen` and declared registers.
    unsafe {
        asm!("vmovq xmm9, {pattern}", "vmovlhps xmm9, xmm9, xmm9", "vinsertf128 ymm9, ymm9, xmm9, 1",
            "2: dec {turns}", "jnz 2b", "vmovups [{seen}], ymm9", "vzeroupper",
            pattern = in(reg) pattern, turns = inout(reg) TURNS => _, seen = in(reg) &mut seen,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _, options(nostack));
    }
    seen == [pattern; 4]
}

/// The rounding mode in MXCSR and the x87 control word are each thread's own.
fn spin_with_rounding(mode: u32) -> bool {
    let (mxcsr, control) = (0x1f80 | (mode & 3) << 13, 0x037f | (mode as u16 & 3) << 10);
    let (mut mxcsr_seen, mut control_seen) = (0u32, 0u16);
    // SAFETY: reads and writes the four values; both control registers are as Rust expects them at the end.
    unsafe {
        asm!("ldmxcsr [{mxcsr}]", "fldcw [{control}]", "2: dec {turns}", "jnz 2b", "stmxcsr [{mxcsr_seen}]",
            "fnstcw [{control_seen}]", "ldmxcsr [{default}]", "fldcw [{default87}]",
            mxcsr = in(reg) &mxcsr, control = in(reg) &control, turns = inout(reg) TURNS => _,
            mxcsr_seen = in(reg) &mut mxcsr_seen, control_seen = in(reg) &mut control_seen,
            default = in(reg) &0x1f80u32, default87 = in(reg) &0x037fu16, options(nostack));
    }
    // The low six bits are sticky exception flags.
    (mxcsr_seen & !0x3f, control_seen) == (mxcsr, control)
}

/// Threads come and go: their stacks must come back.
fn many() {
    let mut sum = 0;
    for round in 0..20u64 {
        let threads: Vec<_> = (0..20u64).map(|n| thread::spawn(move || round * n)).collect();
        sum += threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<u64>();
    }
    println!("400 threads: {sum}");
}
