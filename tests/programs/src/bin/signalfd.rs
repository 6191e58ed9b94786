//! signalfd(2), and who is woken: `EPOLLEXCLUSIVE` and threads that accept.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use libc::{c_int, signalfd_siginfo};

/// Long enough for what happens at once to have happened.
const A_WHILE: Duration = Duration::from_millis(100);

fn main() -> std::io::Result<()> {
    let set = block(&[libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD, libc::SIGRTMIN()]);
    wrong(&set);
    reading(&set)?;
    waiting(&set);
    of_threads(&set)?;
    exclusive()?;
    accepting()
}

fn set_of(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: a set is plain data, and it is initialised before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

fn block(signals: &[c_int]) -> libc::sigset_t {
    let set = set_of(signals);
    // SAFETY: the set is alive for the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    set
}

/// What a call returned: a number, or the error.
fn outcome(result: c_int) -> Result<c_int, i32> {
    if result < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)) } else { Ok(result) }
}

fn signalfd(fd: c_int, set: &libc::sigset_t, flags: c_int) -> Result<c_int, i32> {
    // SAFETY: the set is alive for the call.
    outcome(unsafe { libc::signalfd(fd, set, flags) })
}

fn descriptor(set: &libc::sigset_t) -> OwnedFd {
    let fd = signalfd(-1, set, libc::SFD_NONBLOCK).expect("a descriptor");
    // SAFETY: it is new, and owned from here on.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Reads up to so many signals: number, code and value of each.
fn read(fd: &OwnedFd, most: usize) -> Result<Vec<(u32, i32, i32)>, i32> {
    // SAFETY: plain data.
    let mut infos: Vec<signalfd_siginfo> = (0..most).map(|_| unsafe { std::mem::zeroed() }).collect();
    let len = most * size_of::<signalfd_siginfo>();
    // SAFETY: as many octets as there are.
    let read = unsafe { libc::read(fd.as_raw_fd(), infos.as_mut_ptr().cast(), len) };
    let count = outcome(read as c_int)? as usize / size_of::<signalfd_siginfo>();
    infos.truncate(count);
    let own = std::process::id();
    assert!(infos.iter().all(|info| info.ssi_pid == own), "who sent it");
    Ok(infos.iter().map(|info| (info.ssi_signo, info.ssi_code, info.ssi_int)).collect())
}

fn poll(fd: &OwnedFd) -> i16 {
    let mut pollfd = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    // SAFETY: one element, alive for the call.
    unsafe { libc::poll(&raw mut pollfd, 1, 0) };
    pollfd.revents
}

fn kill(signal: c_int) {
    // SAFETY: a signal to this process that is blocked.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn queue(signal: c_int, value: usize) {
    // SAFETY: as above.
    unsafe { libc::sigqueue(libc::getpid(), signal, libc::sigval { sival_ptr: value as *mut _ }) };
}

fn wrong(set: &libc::sigset_t) {
    println!("unknown flags: {:?}", signalfd(-1, set, 1));
    println!("not open: {:?}", signalfd(99, set, 0));
    println!("another kind: {:?}", signalfd(1, set, 0));
    let fd = descriptor(set);
    println!("nothing yet: {:?}, {:#x}", read(&fd, 1), poll(&fd));
    // SAFETY: fewer octets than a signal has.
    let short = unsafe { libc::read(fd.as_raw_fd(), [0u8; 100].as_mut_ptr().cast(), 100) };
    println!("too short: {:?}", outcome(short as c_int));
    // SAFETY: so many octets are there.
    let written = unsafe { libc::write(fd.as_raw_fd(), [0u8; 8].as_ptr().cast(), 8) };
    println!("written: {:?}", outcome(written as c_int));
}

fn reading(set: &libc::sigset_t) -> std::io::Result<()> {
    let fd = descriptor(set);
    kill(libc::SIGUSR1);
    println!("pending: {:#x}", poll(&fd));
    kill(libc::SIGUSR1);
    kill(libc::SIGCHLD);
    for value in 0..3 {
        queue(libc::SIGRTMIN(), value);
    }
    // The C library has the first real-time signals for itself.
    let relative = |infos: Vec<(u32, i32, i32)>| -> Vec<(i64, i32, i32)> {
        let number = |signal: u32| i64::from(signal) - i64::from(libc::SIGRTMIN());
        infos.into_iter().map(|(signal, code, value)| (number(signal), code, value)).collect()
    };
    println!("two: {:?}", read(&fd, 2).map(relative));
    println!("the others: {:?}", read(&fd, 10).map(relative));
    println!("none: {:?}, {:#x}", read(&fd, 1), poll(&fd));
    kill(libc::SIGUSR2);
    let other = set_of(&[libc::SIGUSR1]);
    println!("another set: {:?}", signalfd(fd.as_raw_fd(), &other, 0) == Ok(fd.as_raw_fd()));
    println!("not in it: {:?}, {:#x}", read(&fd, 1), poll(&fd));
    println!("as it was: {:?}", signalfd(fd.as_raw_fd(), set, 0) == Ok(fd.as_raw_fd()));
    println!("in it: {:?}", read(&fd, 1));
    Ok(())
}

/// A thread that reads waits, and so do poll(2) and epoll(7).
fn waiting(set: &libc::sigset_t) {
    let fd = signalfd(-1, set, 0).expect("a descriptor");
    // SAFETY: it is new, and owned from here on.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let reader = thread::spawn(move || (read(&fd, 1), fd));
    thread::sleep(A_WHILE);
    kill(libc::SIGUSR1);
    let (infos, fd) = reader.join().expect("it does not panic");
    println!("who waited: {infos:?}");
    // SAFETY: no pointer is passed; the descriptor is new.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
    add(&epoll, fd.as_raw_fd(), libc::EPOLLIN as u32);
    let sender = thread::spawn(|| {
        thread::sleep(A_WHILE);
        kill(libc::SIGUSR2);
    });
    println!("epoll: {}", wait(&epoll, 5000));
    sender.join().expect("it does not panic");
    println!("then: {:?}", read(&fd, 1));
}

/// A signal to a thread is read by that thread.
fn of_threads(set: &libc::sigset_t) -> std::io::Result<()> {
    let fd = descriptor(set);
    // SAFETY: this thread lives.
    unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1) };
    thread::scope(|scope| {
        let other = scope.spawn(|| (read(&fd, 1), poll(&fd)));
        println!("another thread: {:?}", other.join().expect("it does not panic"));
    });
    println!("this one: {:#x}, {:?}", poll(&fd), read(&fd, 1));
    Ok(())
}

fn add(epoll: &OwnedFd, fd: c_int, events: u32) {
    let mut event = libc::epoll_event { events, u64: 0 };
    // SAFETY: the event is alive for the call.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
}

fn wait(epoll: &OwnedFd, timeout: c_int) -> c_int {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: one event, alive for the call.
    unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, timeout) }
}

/// Of four instances that wait exclusively one is woken, of four others all.
fn exclusive() -> std::io::Result<()> {
    for (name, flag) in [("exclusive", libc::EPOLLEXCLUSIVE as u32), ("not exclusive", 0)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let woken = AtomicUsize::new(0);
        let ready = Barrier::new(5);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // SAFETY: no pointer is passed; the descriptor is new.
                    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
                    add(&epoll, listener.as_raw_fd(), libc::EPOLLIN as u32 | flag);
                    ready.wait();
                    if wait(&epoll, 1000) == 1 {
                        woken.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            ready.wait();
            thread::sleep(A_WHILE);
            TcpStream::connect(listener.local_addr()?)
        })?;
        println!("{name}: {} of 4", woken.load(Ordering::SeqCst));
    }
    Ok(())
}

/// Threads that accept get a connection each, however many wait; an end is for all.
fn accepting() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (accepted, ended) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| -> std::io::Result<()> {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    accepted.lock().expect("nobody panics").push(stream);
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        thread::sleep(A_WHILE);
        for n in 1..=50 {
            let _stream = TcpStream::connect(address)?;
            while accepted.lock().expect("nobody panics").len() < n {
                thread::yield_now();
            }
        }
        // SAFETY: no pointer is passed.
        unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) };
        Ok(())
    })?;
    println!("accepted: {}, ended: {}", accepted.lock().expect("nobody panics").len(), ended.into_inner());
    Ok(())
}
