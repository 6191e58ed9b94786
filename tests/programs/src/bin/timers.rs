//! Timers: of the process, of threads, by real and by CPU time; what they send, and how often.

use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, siginfo_t};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

const MS: i64 = 1_000_000;

fn main() {
    once();
    again_and_again();
    alarm();
    left();
    by_cpu_time();
    values();
    overruns();
    of_a_thread();
    absolute();
    without_a_signal();
    ignored();
    descriptors();
}

fn set_interval(which: c_int, first_us: i64, interval_us: i64) {
    let time = |us| libc::timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 };
    let setting = libc::itimerval { it_interval: time(interval_us), it_value: time(first_us) };
    // SAFETY: a valid pointer.
    assert_eq!(unsafe { libc::setitimer(which, &setting, null_mut()) }, 0);
}

fn handle(signal: c_int) {
    HANDLED.store(0, SeqCst);
    // SAFETY: the handler only counts.
    unsafe { libc::signal(signal, count as *const () as usize) };
}

fn once() {
    handle(libc::SIGALRM);
    let before = Instant::now();
    set_interval(libc::ITIMER_REAL, 5_000, 0);
    while HANDLED.load(SeqCst) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    println!("once: not before its time {}", before.elapsed() >= Duration::from_millis(5));
    thread::sleep(Duration::from_millis(10));
    println!("and not again: {}", HANDLED.load(SeqCst));
}

fn again_and_again() {
    handle(libc::SIGALRM);
    set_interval(libc::ITIMER_REAL, 1_000, 1_000);
    while HANDLED.load(SeqCst) < 5 {
        // SAFETY: nothing is passed. A signal that came just before is followed by another.
        unsafe { libc::pause() };
    }
    set_interval(libc::ITIMER_REAL, 0, 0);
    let handled = HANDLED.load(SeqCst);
    thread::sleep(Duration::from_millis(5));
    println!("again and again until it is stopped: {}", HANDLED.load(SeqCst) - handled <= 1);
}

fn alarm() {
    // SAFETY: the alarm is taken back.
    let left = unsafe { [libc::alarm(0), libc::alarm(100), libc::alarm(50), libc::alarm(0), libc::alarm(0)] };
    println!("alarms: {left:?}");
}

fn left() {
    set_interval(libc::ITIMER_REAL, 10_000_000, 7_000);
    // SAFETY: a valid pointer; zeroes are a setting.
    let setting = unsafe {
        let mut setting: libc::itimerval = zeroed();
        assert_eq!(libc::getitimer(libc::ITIMER_REAL, &mut setting), 0);
        setting
    };
    let left = setting.it_value.tv_sec * 1_000_000 + setting.it_value.tv_usec;
    println!(
        "left: {}, then every {} us",
        (1_000_000..=10_000_000).contains(&left),
        setting.it_interval.tv_usec
    );
    set_interval(libc::ITIMER_REAL, 0, 0);
}

fn cpu_time() -> Duration {
    // SAFETY: a valid pointer.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time), 0);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn by_cpu_time() {
    for (name, which, signal) in
        [("profiling", libc::ITIMER_PROF, libc::SIGPROF), ("virtual", libc::ITIMER_VIRTUAL, libc::SIGVTALRM)]
    {
        handle(signal);
        let before = cpu_time();
        set_interval(which, 20_000, 0);
        thread::sleep(Duration::from_millis(50));
        let asleep = HANDLED.load(SeqCst);
        while HANDLED.load(SeqCst) == 0 {
            std::hint::spin_loop();
        }
        // Linux counts user time by its ticks.
        let used = cpu_time() - before >= Duration::from_millis(10);
        println!("{name}: asleep {asleep}, CPU time was used {used}");
    }
}

/// A POSIX timer.
struct Timer(libc::timer_t);

impl Timer {
    fn new(clock: libc::clockid_t, notify: c_int, signal: c_int, value: usize, thread: c_int) -> Self {
        // SAFETY: valid pointers; zeroes are an event.
        unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = notify;
            event.sigev_signo = signal;
            event.sigev_value.sival_ptr = value as *mut libc::c_void;
            event.sigev_notify_thread_id = thread;
            let mut timer = null_mut();
            assert_eq!(libc::timer_create(clock, &mut event, &mut timer), 0);
            Self(timer)
        }
    }

    fn set(&self, flags: c_int, first_ns: i64, interval_ns: i64) {
        let time = |ns| libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 };
        let setting = libc::itimerspec { it_interval: time(interval_ns), it_value: time(first_ns) };
        // SAFETY: a valid pointer, and a timer that is there.
        assert_eq!(unsafe { libc::timer_settime(self.0, flags, &setting, null_mut()) }, 0);
    }

    fn left(&self) -> i64 {
        // SAFETY: as above.
        unsafe {
            let mut setting: libc::itimerspec = zeroed();
            assert_eq!(libc::timer_gettime(self.0, &mut setting), 0);
            setting.it_value.tv_sec * 1_000_000_000 + setting.it_value.tv_nsec
        }
    }

    fn overrun(&self) -> c_int {
        // SAFETY: a timer that is there.
        unsafe { libc::timer_getoverrun(self.0) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: a timer that is there, once.
        assert_eq!(unsafe { libc::timer_delete(self.0) }, 0);
    }
}

/// A signal that is blocked in this thread and its children, to be waited for.
fn blocked(offset: c_int) -> c_int {
    let signal = libc::SIGRTMIN() + offset;
    // SAFETY: valid pointers.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut()), 0);
    }
    signal
}

/// Waits for a signal, up to some milliseconds: its code, value and overrun.
fn wait_for(signal: c_int, ms: i64) -> Option<(c_int, usize, c_int)> {
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: ms * MS };
    // SAFETY: valid pointers; a timer's signal holds number, overrun and value from octet 16 on.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        let mut info: siginfo_t = zeroed();
        if libc::sigtimedwait(&set, &mut info, &timeout) != signal {
            return None;
        }
        let words = (&raw const info).cast::<c_int>();
        Some((info.si_code, words.add(6).cast::<usize>().read_unaligned(), words.add(5).read()))
    }
}

fn values() {
    let signal = blocked(1);
    let timers = [3usize, 2, 1].map(|value| {
        let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGEV_SIGNAL, signal, value, 0);
        timer.set(0, 20 * MS * value as i64, 0);
        timer
    });
    let seen: Vec<_> = (0..3).map(|_| wait_for(signal, 900)).collect();
    println!("values in the order of their times: {seen:?}");
    println!("no more: {:?}, left {}", wait_for(signal, 5), timers[0].left());
}

fn overruns() {
    let signal = blocked(2);
    let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGEV_SIGNAL, signal, 7, 0);
    timer.set(0, MS, MS);
    thread::sleep(Duration::from_millis(30));
    let (code, value, overrun) = wait_for(signal, 900).expect("it came");
    println!(
        "a late signal: {code} {value}, overrun {}, told again {}",
        overrun > 5,
        timer.overrun() == overrun
    );
    println!("goes on: {}", wait_for(signal, 900).is_some());
    timer.set(0, 0, 0);
    let _ = wait_for(signal, 5);
    println!("stopped: {:?}, left {}", wait_for(signal, 5), timer.left());
}

fn of_a_thread() {
    let signal = blocked(3);
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: nothing is passed.
        sender.send(unsafe { libc::gettid() }).expect("main receives");
        wait_for(signal, 900)
    });
    let tid = receiver.recv().expect("the thread sends");
    let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGEV_THREAD_ID, signal, 9, tid);
    timer.set(0, 10 * MS, 0);
    println!("not to this thread: {:?}", wait_for(signal, 40));
    println!("but to that one: {:?}", thread.join().expect("no panic"));
}

fn absolute() {
    let signal = blocked(4);
    for (name, clock) in [("monotonic", libc::CLOCK_MONOTONIC), ("realtime", libc::CLOCK_REALTIME)] {
        // SAFETY: a valid pointer.
        let now = unsafe {
            let mut now: libc::timespec = zeroed();
            assert_eq!(libc::clock_gettime(clock, &mut now), 0);
            now.tv_sec * 1_000_000_000 + now.tv_nsec
        };
        let timer = Timer::new(clock, libc::SIGEV_SIGNAL, signal, 1, 0);
        timer.set(libc::TIMER_ABSTIME, now + 5 * MS, 0);
        let came = wait_for(signal, 900);
        timer.set(libc::TIMER_ABSTIME, 1, 0);
        println!("{name}: {came:?}, of long ago {:?}", wait_for(signal, 900));
    }
    for (name, clock) in
        [("process", libc::CLOCK_PROCESS_CPUTIME_ID), ("thread", libc::CLOCK_THREAD_CPUTIME_ID)]
    {
        let timer = Timer::new(clock, libc::SIGEV_SIGNAL, signal, 2, 0);
        timer.set(0, 10 * MS, 0);
        let mut came = None;
        while came.is_none() {
            (0..10_000).for_each(|_| std::hint::spin_loop());
            came = wait_for(signal, 0);
        }
        println!("CPU time of the {name}: {came:?}");
    }
}

fn without_a_signal() {
    let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGEV_NONE, 0, 0, 0);
    timer.set(0, 5 * MS, 0);
    let before = timer.left();
    thread::sleep(Duration::from_millis(6));
    println!("without a signal: {}, then {}", before > 0 && before <= 5 * MS, timer.left());
    timer.set(0, MS, 2 * MS);
    thread::sleep(Duration::from_millis(6));
    println!("again and again: {}", (1..=2 * MS).contains(&timer.left()));
}

fn ignored() {
    // SAFETY: ignores a signal, and has it handled again.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let timer = Timer::new(libc::CLOCK_MONOTONIC, libc::SIGEV_SIGNAL, libc::SIGUSR1, 0, 0);
    timer.set(0, 1, 1);
    thread::sleep(Duration::from_millis(5));
    timer.set(0, MS, MS);
    thread::sleep(Duration::from_millis(5));
    handle(libc::SIGUSR1);
    let deadline = Instant::now() + Duration::from_secs(5);
    while HANDLED.load(SeqCst) == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    println!("ignored, and then not: {}", HANDLED.load(SeqCst) > 0);
    // SAFETY: as above.
    unsafe { libc::sigaction(libc::SIGUSR1, null(), null_mut()) };
}

/// Timers that are waited for as descriptors.
fn descriptors() {
    let create = |clock, flags| {
        // SAFETY: no pointer is passed.
        unsafe { libc::timerfd_create(clock, flags) }
    };
    let errno = || std::io::Error::last_os_error().raw_os_error();
    let span = |seconds, nanoseconds| libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let set = |timer, flags, value, interval| {
        let new = libc::itimerspec { it_interval: interval, it_value: value };
        let mut old = libc::itimerspec { it_interval: span(7, 7), it_value: span(7, 7) };
        // SAFETY: both are alive for the call.
        match unsafe { libc::timerfd_settime(timer, flags, &new, &mut old) } {
            0 => format!("before {} s, each {} s", old.it_value.tv_sec, old.it_interval.tv_sec),
            _ => format!("{:?}", errno()),
        }
    };
    let read = move |timer, len: usize| {
        let mut times = 0u64;
        // SAFETY: at most 8 octets are asked for.
        match unsafe { libc::read(timer, (&raw mut times).cast(), len.min(8)) } {
            8 => format!("{times} times"),
            other => format!("{other} {:?}", errno()),
        }
    };
    let poll = |timer, ms| {
        let mut pollfd = libc::pollfd { fd: timer, events: libc::POLLIN, revents: 0 };
        // SAFETY: one element, alive for the call.
        unsafe { libc::poll(&mut pollfd, 1, ms) }
    };
    println!("no clock: {} {:?}, no flag: {} {:?}", create(99, 0), errno(), create(1, 1), errno());
    let timer = create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
    println!("not set: {}, too short: {}, poll {}", read(timer, 8), read(timer, 7), poll(timer, 0));
    println!("{}", set(timer, 0, span(0, 1), span(0, 0)));
    println!("once: poll {}, {}, {}", poll(timer, 10_000), read(timer, 8), read(timer, 8));
    println!("{}", set(timer, 0, span(3600, 0), span(100, 0)));
    println!("{}", set(timer, 0, span(0, 0), span(5, 0)));
    println!("{}", set(timer, 0, span(0, 2_000_000_000), span(0, 0)));
    println!("{}", set(timer, 8, span(0, 1), span(0, 0)));
    println!("{}, {}", set(0, 0, span(1, 0), span(0, 0)), set(-1, 0, span(1, 0), span(0, 0)));
    // SAFETY: the buffer and its length.
    println!("write: {} {:?}", unsafe { libc::write(timer, [0u8; 8].as_ptr().cast(), 8) }, errno());

    // What was missed is counted: ten and a half intervals ago.
    let wall = create(libc::CLOCK_REALTIME, 0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    println!("{}", set(wall, libc::TFD_TIMER_ABSTIME, span(now.as_secs() as i64 - 10_500, 0), span(1000, 0)));
    println!("missed: {}", read(wall, 8));
    let mut left = libc::itimerspec { it_interval: span(0, 0), it_value: span(0, 0) };
    // SAFETY: alive for the call.
    unsafe { libc::timerfd_gettime(wall, &mut left) };
    println!("left: {}, each {} s", (1..=500).contains(&left.it_value.tv_sec), left.it_interval.tv_sec);

    // A thread that waits, and another one that lets the timer run.
    let blocked = create(libc::CLOCK_MONOTONIC, 0);
    let waiter = std::thread::spawn(move || read(blocked, 8));
    println!("{}", set(blocked, 0, span(0, 20_000_000), span(0, 0)));
    println!("waited: {}", waiter.join().expect("no panic"));
    for timer in [timer, wall, blocked] {
        // SAFETY: opened above, closed once.
        unsafe { libc::close(timer) };
    }
}
