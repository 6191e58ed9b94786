//! Makes system calls with random arguments: `fuzzcalls SEED COUNT NUMBER...`, the numbers being those of the table.
//!
//! In an image only. What it does to itself may end it; what must not happen is that the kernel ends. Arguments are numbers that
//! are interesting, random ones, and addresses: of memory of its own, beyond it, of the kernel's half. Left out is what would end
//! it or stop it at once and show nothing: `exit`, `kill` with a signal that kills, reading the console, a jump to nowhere.

use std::cell::Cell;
use std::process::exit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use programs::{number::*, syscall};

const PAGE: u64 = 4096;
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;
const END: u64 = 0x7fff_ffff_f000;
/// Threads that may be lost to calls that wait for ever.
const LOST_MAX: u64 = 24;
/// Threads that make calls at the same time.
const WORKERS: u64 = 2;

const RT_SIGRETURN: u64 = 15;
const PAUSE: u64 = 34;
const EXIT: u64 = 60;
const RT_SIGTIMEDWAIT: u64 = 128;
const RT_SIGSUSPEND: u64 = 130;
const EXIT_GROUP: u64 = 231;

static MADE: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("numbers"));
    let (seed, count) = (args.next().expect("a seed"), args.next().expect("a count"));
    let numbers: Vec<u64> = args.collect();
    assert!(!numbers.is_empty(), "usage: fuzzcalls SEED COUNT NUMBER...");
    assert!(is_image(), "not on Linux: random calls of root are dangerous");
    println!("seed {seed}, {count} calls");
    ignore_signals();
    let numbers: &'static [u64] = numbers.leak();
    let start = |n: u64| {
        let progress: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let mut worker = Worker::new(seed.wrapping_mul(1000).wrapping_add(n), progress);
        thread::spawn(move || {
            while MADE.fetch_add(1, SeqCst) < count {
                worker.call(numbers);
            }
            println!("done");
            exit(0);
        });
        progress
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|n| (start(n), 0, 0)).collect();
    let mut lost = 0;
    loop {
        thread::sleep(Duration::from_millis(20));
        for (progress, before, still) in &mut workers {
            let now = progress.load(SeqCst);
            *still = if now == *before { *still + 1 } else { 0 };
            *before = now;
            if *still > 2 {
                lost += 1;
                if lost == LOST_MAX {
                    println!("done: {} calls, the threads wait", MADE.load(SeqCst));
                    exit(0);
                }
                (*progress, *before, *still) = (start(WORKERS + lost), 0, 0);
            }
        }
    }
}

fn is_image() -> bool {
    // SAFETY: zeroes are a valid structure, and the call fills it.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name) == 0 && name.nodename.map(|octet| octet as u8).starts_with(b"includeos\0")
    }
}

/// A call that writes to the program itself would show nothing about the kernel.
fn outside_the_image(value: u64) -> u64 {
    if (0x1_0000..1 << 28).contains(&value) { value | 1 << 40 } else { value }
}

/// Has every signal ignored that can be.
fn ignore_signals() {
    let action = [1u64, 0, 0, 0];
    for signal in 1..=64 {
        // SAFETY: to ignore a signal changes no memory. It fails for two of them.
        unsafe { syscall(RT_SIGACTION, [signal, action.as_ptr() as u64, 0, 8, 0, 0]) };
    }
}

struct Worker {
    state: Cell<u64>,
    progress: &'static AtomicU64,
    /// Memory that arguments point to, read and written; in the middle of nothing.
    arena: u64,
    /// Memory that is mapped, protected and unmapped.
    victim: u64,
    /// Times: short ones. Read only.
    times: u64,
    /// A notification that is harmless. Read only.
    event: u64,
}

const ARENA_LEN: u64 = 8 * PAGE;
const VICTIM_LEN: u64 = 16 * PAGE;

impl Worker {
    fn new(seed: u64, progress: &'static AtomicU64) -> Self {
        let map = |len: u64, protection: i32| {
            // SAFETY: fresh memory, never given back.
            let at = unsafe { libc::mmap(null_mut(), len as usize, protection, 0x4022, -1, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            at as u64
        };
        // A call that is given too great a length meets nothing.
        let nothing = map(64 << 20, libc::PROT_NONE);
        let arena = nothing + (32 << 20);
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: within what was just mapped.
        assert_eq!(unsafe { libc::mprotect(arena as *mut _, ARENA_LEN as usize, read_write) }, 0);
        let times: &'static [u64] = Vec::leak(vec![0, 1000, 0, 50_000]);
        let event: &'static [u64] = Vec::leak(vec![7, 34, 0, 0, 0, 0, 0, 0]);
        Self {
            state: Cell::new(seed),
            progress,
            arena,
            victim: map(VICTIM_LEN, read_write),
            times: times.as_ptr() as u64,
            event: event.as_ptr() as u64,
        }
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.state.get();
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&self, bound: u64) -> u64 {
        self.random() % bound
    }

    fn one_of<const N: usize>(&self, values: [u64; N]) -> u64 {
        values[self.below(N as u64) as usize]
    }

    fn hostile(&self) -> u64 {
        outside_the_image(match self.below(6) {
            0 => 0,
            1 => KERNEL_HALF + self.below(1 << 46),
            // Just below is the main thread's stack.
            2 => END + self.below(2) * self.below(PAGE),
            3 => u64::MAX - self.below(2 * PAGE),
            4 => 1 << self.below(64),
            _ => 0x1000_0000_0000 + self.below(PAGE),
        })
    }

    fn pointer(&self) -> u64 {
        match self.below(8) {
            0 => self.hostile(),
            1 => self.arena + self.below(ARENA_LEN),
            _ => self.arena + self.below(ARENA_LEN) / 8 * 8,
        }
    }

    fn number(&self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX - self.below(20),
            2 => 1 << self.below(64),
            3 => self.random(),
            4 => self.random() as u32 as u64,
            _ => self.below(70),
        }
    }

    /// A pointer or a number, but no address in the program's image or heap.
    fn any(&self) -> u64 {
        outside_the_image(if self.below(2) == 0 { self.pointer() } else { self.number() })
    }

    /// A range of the victim, or one that is not the program's.
    fn range(&self) -> [u64; 2] {
        let offset = self.below(VICTIM_LEN + PAGE) / PAGE * PAGE;
        match self.below(4) {
            0 => [self.hostile() | 1 << 47, self.number()],
            1 => {
                [self.victim + offset + self.below(PAGE), self.below(VICTIM_LEN - offset.min(VICTIM_LEN - 1))]
            }
            _ => [self.victim + offset, self.below((VICTIM_LEN - offset.min(VICTIM_LEN)) / PAGE + 1) * PAGE],
        }
    }

    fn fill_arena(&self) {
        for _ in 0..64 {
            let value = self.any();
            let at = self.arena + self.below(ARENA_LEN) / 8 * 8;
            // SAFETY: in the arena, whose words only calls read.
            unsafe { (at as *mut u64).write_volatile(value) };
        }
    }

    fn call(&mut self, numbers: &[u64]) {
        let number = numbers[self.below(numbers.len() as u64) as usize];
        if self.below(16) == 0 {
            self.fill_arena();
        }
        let mut arguments: [u64; 6] = std::array::from_fn(|_| self.any());
        let bad_fd = [99, u64::MAX, 3, 1 << 31];
        let harmless = [0, 10, 12, 17, 34, 40, 64, 65, u64::MAX];
        let short = if self.below(8) == 0 { self.hostile() } else { self.times };
        match number {
            RT_SIGRETURN | EXIT | EXIT_GROUP => return,
            // They wait for signals, which are ignored.
            PAUSE | RT_SIGSUSPEND if self.below(500) != 0 => return,
            READ | READV | WRITE | WRITEV | CLOSE => arguments[0] = self.one_of(bad_fd),
            POLL => arguments[2] = self.below(2),
            MMAP | MPROTECT | MUNMAP | MADVISE | MREMAP | MSYNC | MINCORE | MLOCK | MUNLOCK | MLOCK2
            | PKEY_MPROTECT => {
                [arguments[0], arguments[1]] = self.range();
                match number {
                    MMAP => arguments[3] = self.number() & !0x10 | if self.below(2) == 0 { 0x22 } else { 0 },
                    MREMAP => arguments[4] = self.range()[0],
                    _ => {}
                }
            }
            BRK => arguments[0] = self.one_of([0, 1, u64::MAX, END, KERNEL_HALF]),
            RT_SIGACTION => arguments[1] = self.one_of([0, KERNEL_HALF, u64::MAX]),
            NANOSLEEP => arguments[0] = short,
            CLOCK_NANOSLEEP => (arguments[1], arguments[2]) = (0, short),
            RT_SIGTIMEDWAIT => arguments[2] = short,
            CLONE => arguments[0] &= !0x1_0000,
            CLONE3 => arguments[0] = self.hostile(),
            KILL | TKILL | RT_SIGQUEUEINFO => arguments[1] = self.one_of(harmless),
            TGKILL | RT_TGSIGQUEUEINFO => {
                arguments[0] = self.one_of([1, 1, 1, 2]);
                arguments[2] = self.one_of(harmless);
            }
            ARCH_PRCTL => arguments[0] = self.one_of([0x1001, 0x1003, 0x1004, 0x7777]),
            TIMER_CREATE => arguments[1] = self.one_of([0, KERNEL_HALF, self.event]),
            TIMER_SETTIME => arguments[2] = short,
            FUTEX => {
                arguments[0] = self.pointer();
                arguments[1] = self.below(15) | self.one_of([0, 128, 128, 256 + 128]);
                arguments[2] = self.below(3);
                arguments[3] = if self.below(3) == 0 { self.below(3) } else { short };
                arguments[4] = self.pointer();
            }
            FUTEX_WAITV => arguments[3] = short,
            _ => {}
        }
        // Fewer arguments that make no sense: the low bits of a number mean something more often.
        if self.below(4) == 0 {
            arguments[2] = self.below(4);
        }
        // SAFETY: what it may do to this program's memory it may do: see above.
        unsafe { syscall(number, arguments) };
        self.progress.fetch_add(1, SeqCst);
    }
}
