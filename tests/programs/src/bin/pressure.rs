//! Asks for too much, of one thing at a time: `pressure areas`. Each ends by a refusal, and the program goes on.

use std::thread;
use std::time::{Duration, Instant};

use libc::{
    MAP_ANONYMOUS, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, c_int, c_void,
};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const TIB: usize = 1 << 40;

fn main() {
    let what = std::env::args().nth(1).expect("usage: pressure WHAT");
    match what.as_str() {
        "areas" => areas(),
        "advice" => advice(),
        "populate" => populate(),
        "tables" => tables(),
        "promises" => promises(),
        "blocked_signal" => blocked_signal(),
        "huge" => huge(),
        "pipes" => pipes(),
        "pairs" => pairs(),
        other => panic!("no {other}"),
    }
    println!("{what}: went on");
}

fn map(hint: usize, len: usize, protection: c_int, flags: c_int) -> Option<*mut u8> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | flags;
    // SAFETY: anonymous memory at a place of the kernel's choosing.
    let address = unsafe { libc::mmap(hint as *mut c_void, len, protection, flags, -1, 0) };
    (address != libc::MAP_FAILED).then_some(address.cast())
}

fn unmap(address: *mut u8, len: usize) {
    // SAFETY: what `map` returned, not used any more.
    assert_eq!(unsafe { libc::munmap(address.cast(), len) }, 0);
}

/// Splits a reservation until there are as many areas as there may be.
fn areas() {
    let base = map(0, TIB, PROT_NONE, MAP_NORESERVE).expect("a reservation");
    // SAFETY: pages of the reservation.
    let protect = |page: usize| unsafe { libc::mprotect(base.add(page * PAGE).cast(), PAGE, PROT_READ) };
    let split = (0..200_000).step_by(2).take_while(|&page| protect(page) == 0).count();
    assert!((1_000..100_000).contains(&split), "{split}");
    unmap(base, TIB);
    assert!(map(0, MIB, PROT_READ | PROT_WRITE, 0).is_some());
}

/// Gives up part of a mapping that goes on behind it, as libc does with the unused part of a thread's stack.
fn advice() {
    let base = map(0, 8 * PAGE, PROT_READ | PROT_WRITE, 0).expect("memory");
    // SAFETY: just mapped.
    unsafe {
        (0..8).for_each(|page| base.add(page * PAGE).write_volatile(1));
        assert_eq!(libc::madvise(base.add(2 * PAGE).cast(), 3 * PAGE, libc::MADV_DONTNEED), 0);
        let left: Vec<u8> = (0..8).map(|page| base.add(page * PAGE).read_volatile()).collect();
        assert_eq!(left, [1, 1, 0, 0, 0, 1, 1, 1]);
    }
}

/// Backs as much of a reservation as there is memory for.
fn populate() {
    let base = map(0, TIB, PROT_READ | PROT_WRITE, MAP_NORESERVE | MAP_POPULATE).expect("a reservation");
    unmap(base, TIB);
}

/// One page at a time, each where there is no page table yet.
fn tables() {
    for round in 0..20_000 {
        let page = map(0x10_0000_0000 + round * 2 * MIB, PAGE, PROT_READ | PROT_WRITE, 0).expect("a page");
        // SAFETY: just mapped.
        unsafe { page.write_volatile(1) };
        unmap(page, PAGE);
    }
}

/// Memory that was written stays promised when it cannot be written any more.
fn promises() {
    let mut held = Vec::new();
    while let Some(part) = map(0, MIB, PROT_READ | PROT_WRITE, 0) {
        for page in 0..MIB / PAGE {
            // SAFETY: just mapped.
            unsafe { part.add(page * PAGE).write_volatile(1) };
        }
        // SAFETY: just mapped.
        assert_eq!(unsafe { libc::mprotect(part.cast(), MIB, PROT_READ) }, 0);
        held.push(part);
    }
    assert!(held.len() > 2);
    held.into_iter().for_each(|part| unmap(part, MIB));
}

/// A sleeper that blocks a signal, and gets it, keeps nobody from running.
fn blocked_signal() {
    let sleeper = thread::spawn(|| {
        // SAFETY: initialised by sigemptyset.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGUSR1);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
        thread::sleep(Duration::from_secs(30));
    });
    thread::sleep(Duration::from_millis(50));
    use std::os::unix::thread::JoinHandleExt;
    // SAFETY: the thread sleeps for half a minute.
    assert_eq!(unsafe { libc::pthread_kill(sleeper.as_pthread_t(), libc::SIGUSR1) }, 0);
    // Half the sleep: more than any machine needs for this, and less than a blocked one takes.
    let before = Instant::now();
    thread::sleep(Duration::from_millis(10));
    assert!(before.elapsed() < Duration::from_secs(15));
}

/// A reservation of half the address space is given up at once, not page by page.
fn huge() {
    for shift in [40, 44, 46] {
        let base = map(0, 1 << shift, PROT_NONE, MAP_NORESERVE).expect("a reservation");
        unmap(base, 1 << shift);
    }
}

/// Raises the limit of descriptors, makes pairs of them and fills each until nothing more is taken, as long as there are any.
fn fill(make: impl Fn() -> Option<[c_int; 2]>) {
    let limit = libc::rlimit { rlim_cur: 8192, rlim_max: 8192 };
    // SAFETY: the limit is alive for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let octets = vec![0u8; 256 << 10];
    let (mut descriptors, mut filled, mut refused) = (Vec::new(), 0u64, 0);
    while let Some(pair) = make() {
        descriptors.extend(pair);
        let before = filled;
        loop {
            // SAFETY: the buffer and its length.
            let written = unsafe { libc::write(pair[1], octets.as_ptr().cast(), octets.len()) };
            let Ok(written) = u64::try_from(written) else { break };
            filled += written;
        }
        refused += u32::from(filled == before);
        if refused > 100 {
            break;
        }
    }
    for descriptor in descriptors {
        // SAFETY: opened by `make`, closed once.
        unsafe { libc::close(descriptor) };
    }
    assert!(filled > 2 * MIB as u64, "{filled} octets");
    // All of it is back.
    assert!(vec![1u8; 8 * MIB].iter().all(|octet| *octet == 1));
}

fn pipes() {
    fill(|| {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) == 0 };
        // SAFETY: no pointer is passed.
        made.then(|| unsafe { libc::fcntl(ends[1], libc::F_SETPIPE_SZ, 1 << 20) });
        made.then_some(ends)
    });
}

fn pairs() {
    fill(|| {
        let mut ends = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        // SAFETY: room for two descriptors.
        let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) == 0 };
        made.then_some(ends)
    });
}
