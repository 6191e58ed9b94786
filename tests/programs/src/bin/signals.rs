//! Signals: handlers, masks, queues, interrupted and restarted calls, faults, stacks.

use std::arch::asm;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use libc::{c_int, c_void, siginfo_t};

static HANDLED: AtomicUsize = AtomicUsize::new(0);
static LAST: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a siginfo.
    let code = unsafe { (*info).si_code };
    LAST.store(signal as usize * 1000 + (code + 500) as usize, SeqCst);
    // What a handler does to vector registers must not be seen outside.
    // SAFETY: clobbers registers that a call may clobber.
    unsafe { asm!("pcmpeqd xmm0, xmm0", "pcmpeqd xmm7, xmm7", out("xmm0") _, out("xmm7") _) };
    let here = 0u8;
    ADDRESS.store(&raw const here as usize, SeqCst);
    HANDLED.fetch_add(1, SeqCst);
}

extern "C" fn nested(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: raise may be called from a handler.
    unsafe { libc::raise(libc::SIGUSR2) };
    HANDLED.fetch_add(100, SeqCst);
}

/// Skips the instruction that faulted: `mov rax, [rax]`, three octets.
extern "C" fn skip(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo and a ucontext; the instruction's length is known.
    unsafe {
        ADDRESS.store((*info).si_addr() as usize, SeqCst);
        LAST.store((*info).si_code as usize, SeqCst);
        let context = context.cast::<libc::ucontext_t>();
        (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += 3;
        (*context).uc_mcontext.gregs[libc::REG_RAX as usize] = 77;
    }
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn install(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: a zeroed sigaction is valid, and the handlers have the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
    }
}

fn mask(how: c_int, signals: &[c_int]) {
    let set = set(signals);
    // SAFETY: the set is initialised.
    assert_eq!(unsafe { libc::pthread_sigmask(how, &set, null_mut()) }, 0);
}

fn set(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

fn is_pending(signal: c_int) -> bool {
    // SAFETY: sigpending initialises the set.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        assert_eq!(libc::sigpending(&mut set), 0);
        libc::sigismember(&set, signal) == 1
    }
}

fn raise(signal: c_int) {
    // SAFETY: the signal has a handler or is blocked.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

fn handled() -> usize {
    HANDLED.swap(0, SeqCst)
}

fn last() -> (usize, i64) {
    let last = LAST.load(SeqCst);
    (last / 1000, (last % 1000) as i64 - 500)
}

fn main() {
    install(libc::SIGUSR1, count, libc::SA_RESTART);
    install(libc::SIGUSR2, count, 0);
    raise(libc::SIGUSR1);
    println!("raised: {} {:?}", handled(), last());
    // SAFETY: the signal has a handler.
    unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
    println!("killed: {} {:?}", handled(), last());

    mask(libc::SIG_BLOCK, &[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    raise(libc::SIGUSR1);
    println!("blocked: {} pending {}", handled(), is_pending(libc::SIGUSR1));
    mask(libc::SIG_UNBLOCK, &[libc::SIGUSR1]);
    println!("unblocked: {} pending {}", handled(), is_pending(libc::SIGUSR1));

    install(libc::SIGHUP, nested, 0);
    raise(libc::SIGHUP);
    println!("nested: {}", handled());

    install(libc::SIGALRM, count, libc::SA_RESETHAND);
    raise(libc::SIGALRM);
    // SAFETY: reads the action.
    let reset = unsafe {
        let mut action: libc::sigaction = zeroed();
        libc::sigaction(libc::SIGALRM, null(), &mut action);
        action.sa_sigaction == libc::SIG_DFL
    };
    println!("reset: {} {reset}", handled());

    interrupted();
    floating_point();
    faults();
    waiting();
    alternate_stack();
    queued();
    // SAFETY: ignoring and checking.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::kill(libc::getpid(), libc::SIGTERM);
        println!("ignored; bad numbers: {} {}", libc::kill(libc::getpid(), 65), libc::kill(99_999, 0));
    }
    println!("done");
}

fn main_thread() -> usize {
    // SAFETY: always succeeds.
    unsafe { libc::pthread_self() as usize }
}

/// Sends a signal to a thread after a while: it sleeps by then, and if it does not yet, the result is the same.
fn send_later(to: usize, signal: c_int) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(60));
        // SAFETY: the thread outlives this one: it joins it.
        assert_eq!(unsafe { libc::pthread_kill(to as libc::pthread_t, signal) }, 0);
    })
}

fn interrupted() {
    let sender = send_later(main_thread(), libc::SIGUSR2);
    let time = libc::timespec { tv_sec: 50, tv_nsec: 0 };
    // SAFETY: valid pointers.
    let (result, errno, left) = unsafe {
        let mut left: libc::timespec = zeroed();
        let result = libc::nanosleep(&time, &mut left);
        (result, *libc::__errno_location(), left.tv_sec)
    };
    println!("sleep: {result} {} left {left} handled {}", errno == libc::EINTR, handled());
    sender.join().unwrap();
    // A join waits on a futex, which is made again.
    let to = main_thread();
    let slow = thread::spawn(move || {
        send_later(to, libc::SIGUSR1).join().unwrap();
        thread::sleep(Duration::from_millis(30));
        5
    });
    println!("join: {} handled {}", slow.join().unwrap(), handled());
}

fn floating_point() {
    let to = main_thread();
    let sender = thread::spawn(move || {
        for n in 0..20 {
            thread::sleep(Duration::from_millis(1));
            // SAFETY: the main thread joins this one.
            unsafe { libc::pthread_kill(to as libc::pthread_t, libc::SIGUSR1) };
            while HANDLED.load(SeqCst) <= n {
                thread::yield_now();
            }
        }
    });
    let (mut x, mut wrong) = (1.0f64, 0);
    while HANDLED.load(SeqCst) < 20 {
        let y = (x * 1.5).sqrt();
        let z = (std::hint::black_box(x) * 1.5).sqrt();
        wrong += usize::from(y != z);
        x = y + 1.0;
    }
    sender.join().unwrap();
    println!("floating point: {} handled, {wrong} wrong", handled());
}

fn faults() {
    install(libc::SIGSEGV, skip, 0);
    let value: u64;
    // SAFETY: the load faults, and the handler goes on behind it with 77 in rax.
    unsafe { asm!(".byte 0x48, 0x8b, 0x00", inlateout("rax") 0x1230u64 => value) };
    println!("fault: {value} at {:#x} code {}", ADDRESS.load(SeqCst), LAST.load(SeqCst));
}

fn waiting() {
    mask(libc::SIG_BLOCK, &[libc::SIGTERM]);
    let sender = send_later(main_thread(), libc::SIGTERM);
    let waited = set(&[libc::SIGTERM]);
    let mut signal = 0;
    // SAFETY: valid pointers.
    let result = unsafe { libc::sigwait(&waited, &mut signal) };
    println!("sigwait: {result} {signal}");
    sender.join().unwrap();
    let time = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    // SAFETY: valid pointers.
    let (result, errno) =
        unsafe { (libc::sigtimedwait(&waited, null_mut(), &time), *libc::__errno_location()) };
    println!("sigtimedwait: {result} {}", errno == libc::EAGAIN);
    mask(libc::SIG_BLOCK, &[libc::SIGUSR2]);
    let sender = send_later(main_thread(), libc::SIGUSR2);
    let none = set(&[]);
    // SAFETY: the set is initialised.
    let (result, errno) = unsafe { (libc::sigsuspend(&none), *libc::__errno_location()) };
    println!("sigsuspend: {result} {} handled {}", errno == libc::EINTR, handled());
    sender.join().unwrap();
    raise(libc::SIGUSR2);
    println!("mask is back: pending {}", is_pending(libc::SIGUSR2));
    mask(libc::SIG_UNBLOCK, &[libc::SIGUSR2]);
    println!("and gone: handled {}", handled());
}

fn alternate_stack() {
    const SIZE: usize = 64 * 1024;
    let memory = vec![0u8; SIZE].leak();
    let range = memory.as_ptr_range();
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIZE };
    let small = libc::stack_t { ss_size: 100, ..stack };
    // SAFETY: the memory is leaked, hence there for ever.
    unsafe {
        let mut old: libc::stack_t = zeroed();
        println!("alternate stack: {}", libc::sigaltstack(&small, null_mut()));
        assert_eq!(libc::sigaltstack(&stack, &mut old), 0);
        install(libc::SIGUSR1, count, libc::SA_ONSTACK);
        raise(libc::SIGUSR1);
        let on_it = range.contains(&(ADDRESS.load(SeqCst) as *const u8));
        println!("handled {} on it {on_it}", handled());
        assert_eq!(libc::sigaltstack(&old, null_mut()), 0);
    }
    raise(libc::SIGUSR1);
    println!("off it {}", !range.contains(&(ADDRESS.load(SeqCst) as *const u8)) && handled() == 1);
}

fn queued() {
    let signal = libc::SIGRTMIN() + 3;
    install(signal, count, 0);
    mask(libc::SIG_BLOCK, &[signal]);
    for n in 0..5 {
        let value = libc::sigval { sival_ptr: n as *mut c_void };
        // SAFETY: the signal is blocked and has a handler.
        assert_eq!(unsafe { libc::sigqueue(libc::getpid(), signal, value) }, 0);
    }
    mask(libc::SIG_UNBLOCK, &[signal]);
    println!("queued: {} {:?}", handled(), last());
}
