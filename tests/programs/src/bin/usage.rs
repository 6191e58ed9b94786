//! What is used and what may be: CPU clocks, limits, nice levels, affinity.

use std::mem::zeroed;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

fn main() {
    clocks();
    usage();
    limits();
    nice_levels();
    affinity();
}

fn read(clock: libc::clockid_t) -> Duration {
    // SAFETY: a valid pointer.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        assert_eq!(libc::clock_gettime(clock, &mut time), 0);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn burn(clock: libc::clockid_t, time: Duration) {
    let start = read(clock);
    while read(clock) - start < time {
        std::hint::spin_loop();
    }
}

fn clocks() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let some = Duration::from_millis(20);
    let before = read(libc::CLOCK_PROCESS_CPUTIME_ID);
    let busy = thread::spawn(move || {
        burn(libc::CLOCK_THREAD_CPUTIME_ID, some);
        while !STOP.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut clock = 0;
    // SAFETY: the thread is there until it is joined.
    assert_eq!(unsafe { libc::pthread_getcpuclockid(busy.as_pthread_t(), &mut clock) }, 0);
    while read(clock) < some {
        thread::sleep(Duration::from_millis(1));
    }
    println!("another thread's clock: {}", read(clock) >= some);
    STOP.store(true, SeqCst);
    busy.join().expect("no panic");
    println!("the process's has both: {}", read(libc::CLOCK_PROCESS_CPUTIME_ID) - before >= some);
}

fn rusage(who: i32) -> libc::rusage {
    // SAFETY: a valid pointer.
    unsafe {
        let mut usage = zeroed();
        assert_eq!(libc::getrusage(who, &mut usage), 0);
        usage
    }
}

fn usage() {
    let time = |usage: &libc::rusage| {
        [usage.ru_utime, usage.ru_stime]
            .iter()
            .map(|time| time.tv_sec * 1_000_000 + time.tv_usec)
            .sum::<i64>()
    };
    burn(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_millis(50));
    let [own, process, children] =
        [libc::RUSAGE_THREAD, libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].map(rusage);
    println!("CPU time: {}, {}", time(&own) >= 20_000, time(&process) + 20_000 >= time(&own));
    println!("of children: {}", time(&children));
    let before = process.ru_maxrss;
    let large = std::hint::black_box(vec![1u8; 8 << 20]);
    println!("memory: {}", rusage(libc::RUSAGE_SELF).ru_maxrss >= before.max(large.len() as i64 >> 10));
    // SAFETY: a valid pointer.
    let (ticks, used) = unsafe {
        let mut used: libc::tms = zeroed();
        (libc::times(&mut used), used)
    };
    println!("ticks: {}, {}", ticks > 0, used.tms_utime + used.tms_stime >= 2);
}

fn limits() {
    let limit = |resource| {
        // SAFETY: a valid pointer.
        unsafe {
            let mut limit: libc::rlimit = zeroed();
            assert_eq!(libc::getrlimit(resource, &mut limit), 0);
            limit
        }
    };
    let before = limit(libc::RLIMIT_NOFILE);
    let lower = libc::rlimit { rlim_cur: 20, ..before };
    let mut files = [const { libc::pollfd { fd: -1, events: 0, revents: 0 } }; 30];
    // SAFETY: valid pointers.
    unsafe {
        println!("poll: {}", libc::poll(files.as_mut_ptr(), 30, 0));
        println!("fewer files: {}", libc::setrlimit(libc::RLIMIT_NOFILE, &lower));
        println!("now: {}", limit(libc::RLIMIT_NOFILE).rlim_cur);
        println!("poll: {} {}", libc::poll(files.as_mut_ptr(), 30, 0), libc::poll(files.as_mut_ptr(), 20, 0));
        println!("back: {}", libc::setrlimit(libc::RLIMIT_NOFILE, &before));
    }
    println!("stack: {}", limit(libc::RLIMIT_STACK).rlim_cur > 0);
}

fn nice_levels() {
    // SAFETY: nothing is passed.
    unsafe {
        println!("nice: {}", libc::getpriority(libc::PRIO_PROCESS, 0));
        let thread = thread::spawn(|| {
            assert_eq!(libc::setpriority(libc::PRIO_PROCESS, 0, 7), 0);
            let child = thread::spawn(|| libc::getpriority(libc::PRIO_PROCESS, 0));
            (libc::getpriority(libc::PRIO_PROCESS, 0), child.join().expect("no panic"))
        });
        println!("a thread's, and its child's: {:?}", thread.join().expect("no panic"));
        println!("still: {}", libc::getpriority(libc::PRIO_PROCESS, 0));
    }
}

fn affinity() {
    // SAFETY: sets of CPUs of our own.
    unsafe {
        let mut all: libc::cpu_set_t = zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut all), 0);
        let here = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &all)).all(|cpu| {
            let mut one: libc::cpu_set_t = zeroed();
            libc::CPU_SET(cpu, &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one) == 0
                && libc::sched_getcpu() == cpu as i32
        });
        println!("on each CPU in turn: {here}");
        println!("and on all again: {}", libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &all));
    }
}
