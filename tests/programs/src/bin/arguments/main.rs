//! System calls with arguments that are wrong. What Linux answers is what is expected: this prints the same there.

mod clocks;
mod files;
mod futexes;
mod memory;
mod paths;
mod process;
mod scheduling;
mod sockets;
mod timers;

use programs::{number::*, syscall};

/// The first address of the kernel's half.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;
/// The first address that is no program's (Linux's `TASK_SIZE`).
const END: u64 = 0x7fff_ffff_f000;
const NON_CANONICAL: u64 = 0x8000_0000_0000_0000;
/// Nothing is mapped between heap and mappings.
const UNMAPPED: u64 = 0x1000_0000_0000;
const PAGE: u64 = 4096;
const MAX: u64 = u64::MAX;
/// As a process or thread: there is none with this number.
const NOBODY: u64 = 0x3fff_ffff;
const PRIVATE_ANONYMOUS: u64 = 0x22;
const ANYWHERE: [(&str, u64); 6] = [
    ("null", 0),
    ("unmapped", UNMAPPED),
    ("end", END),
    ("kernel half", KERNEL_HALF),
    ("non-canonical", NON_CANONICAL),
    ("last page", 0xffff_ffff_ffff_f000),
];

fn main() {
    for (name, address) in ANYWHERE {
        pointer(name, address);
    }
    descriptors();
    lengths();
    mappings();
    threads();
    futexes::wrong();
    clocks::wrong();
    signals();
    memory::wrong();
    process::wrong();
    scheduling::wrong();
    timers::wrong();
    others();
    otherwise();
    in_a_folder(|| {
        paths::wrong();
        files::wrong();
        sockets::wrong();
    });
}

/// The folder in which files are made, of a tmpfs. Nothing else is in it.
fn folder() -> std::path::PathBuf {
    format!("/dev/shm/includeos-arguments-{}/folder", std::process::id()).into()
}

/// Has `f` work in the folder, which is gone afterwards.
fn in_a_folder(f: impl FnOnce()) {
    std::fs::create_dir_all(folder()).expect("a folder can be made");
    std::env::set_current_dir(folder()).expect("it is there");
    f();
    std::env::set_current_dir("/").expect("it is there");
    std::fs::remove_dir_all(folder().parent().expect("it has one")).expect("it can be removed");
}

/// Makes a call and prints its result.
fn show(name: &str, number: u64, arguments: &[u64]) {
    // SAFETY: the calls fail, or do nothing to memory: that is what is looked at.
    unsafe { programs::show(name, number, arguments) };
}

/// Makes a call whose result differs from run to run, and prints whether it fails.
fn show_outcome(name: &str, number: u64, arguments: &[u64]) {
    // SAFETY: as above.
    unsafe { programs::show_outcome(name, number, arguments) };
}

/// Every call that reads or writes memory, at an address that is not the program's.
fn pointer(name: &str, at: u64) {
    let show = |call: &str, number, arguments: &[u64]| show(&format!("{call} at {name}"), number, arguments);
    show("write", WRITE, &[1, at, 1]);
    show("write of a page", WRITE, &[1, at, PAGE]);
    show("write of nothing", WRITE, &[1, at, 0]);
    show("writev", WRITEV, &[1, at, 1]);
    let vector = [at, 16];
    show("writev's element", WRITEV, &[1, (&raw const vector) as u64, 1]);
    show("fstat", FSTAT, &[1, at]);
    show("poll", POLL, &[at, 1, 0]);
    show("getrandom", GETRANDOM, &[at, 16, 0]);
    show("uname", UNAME, &[at]);
    show("getcwd", GETCWD, &[at, 100]);
    show("openat", OPENAT, &[-100i64 as u64, at, 0, 0]);
    show("newfstatat's path", NEWFSTATAT, &[-100i64 as u64, at, 0, 0]);
    show("readlink", READLINK, &[at, 0, 10]);
    show("nanosleep", NANOSLEEP, &[at, 0]);
    show("clock_nanosleep", CLOCK_NANOSLEEP, &[1, 0, at, 0]);
    show("clock_gettime", CLOCK_GETTIME, &[1, at]);
    show("sysinfo", SYSINFO, &[at]);
    show("sched_getaffinity", SCHED_GETAFFINITY, &[0, 8, at]);
    show("futex wait", FUTEX, &[at, 128, 0, 0]);
    show(
        "futex wait with a timeout",
        FUTEX,
        &[(&raw const vector) as u64 & !3, 128, at as u32 as u64, at.max(8)],
    );
    show("prctl PR_SET_NAME", PRCTL, &[15, at]);
    show("prctl PR_GET_NAME", PRCTL, &[16, at]);
    show("clone3", CLONE3, &[at, 64]);
    if at != 0 {
        show("clock_getres", CLOCK_GETRES, &[1, at]);
        show("gettimeofday", GETTIMEOFDAY, &[at, 0]);
        show("gettimeofday's zone", GETTIMEOFDAY, &[0, at]);
        show("getcpu", GETCPU, &[at, 0, 0]);
        show("sigaltstack", SIGALTSTACK, &[at, 0]);
        show("sigaltstack's old", SIGALTSTACK, &[0, at]);
        show("rt_sigaction", RT_SIGACTION, &[10, at, 0, 8]);
        show("rt_sigaction's old", RT_SIGACTION, &[10, 0, at, 8]);
        show("rt_sigprocmask", RT_SIGPROCMASK, &[0, at, 0, 8]);
        show("rt_sigprocmask's old", RT_SIGPROCMASK, &[0, 0, at, 8]);
        show("prlimit64", PRLIMIT64, &[0, 3, 0, at]);
        show("prlimit64's new", PRLIMIT64, &[0, 3, at, 0]);
        show_outcome("times", TIMES, &[at]);
        show("setitimer", SETITIMER, &[0, at, 0]);
        show("setitimer's old", SETITIMER, &[0, 0, at]);
        show("timer_create's event", TIMER_CREATE, &[1, at, vector.as_ptr() as u64]);
    }
    show("mincore's vector", MINCORE, &[&raw const vector as u64 & !(PAGE - 1), PAGE, at]);
    show("getrlimit", GETRLIMIT, &[3, at]);
    show("setrlimit", SETRLIMIT, &[3, at]);
    show("getrusage", GETRUSAGE, &[0, at]);
    show("getrusage of children", GETRUSAGE, &[-1i64 as u64, at]);
    show("adjtimex", ADJTIMEX, &[at]);
    show("getitimer", GETITIMER, &[0, at]);
    show("timer_create's id", TIMER_CREATE, &[1, 0, at]);
    show("sched_getparam", SCHED_GETPARAM, &[0, at]);
    show("sched_setparam", SCHED_SETPARAM, &[0, at]);
    show("sched_setscheduler", SCHED_SETSCHEDULER, &[0, 0, at]);
    show("sched_getattr", SCHED_GETATTR, &[0, at, 48, 0]);
    show("sched_setattr", SCHED_SETATTR, &[0, at, 0]);
    show("sched_rr_get_interval", SCHED_RR_GET_INTERVAL, &[0, at]);
    show("sched_setaffinity", SCHED_SETAFFINITY, &[0, 8, at]);
    show("get_robust_list's head", GET_ROBUST_LIST, &[0, at, vector.as_ptr() as u64]);
    show("get_robust_list's length", GET_ROBUST_LIST, &[0, vector.as_ptr() as u64, at]);
    show("futex lock", FUTEX, &[at, 128 | 6]);
    show("futex unlock", FUTEX, &[at, 128 | 7]);
    show("futex try_lock", FUTEX, &[at, 128 | 8]);
    show("futex wake and change", FUTEX, &[at, 128 | 5, 1, 1, at, 0]);
    show("futex_waitv", FUTEX_WAITV, &[at, 1, 0, 0, 1]);
    show("clock_settime", CLOCK_SETTIME, &[0, at]);
    show("clock_adjtime", CLOCK_ADJTIME, &[0, at]);
    show("prctl PR_GET_PDEATHSIG", PRCTL, &[2, at]);
    show("prctl PR_GET_TSC", PRCTL, &[25, at]);
    show("arch_prctl ARCH_GET_FS", ARCH_PRCTL, &[0x1003, at]);
}

fn descriptors() {
    for (name, fd) in [("negative", -1i64 as u64), ("not open", 99), ("huge", 0x7fff_ffff)] {
        let show =
            |call: &str, number, arguments: &[u64]| show(&format!("{call}, {name}"), number, arguments);
        show("read", READ, &[fd, 0, 1]);
        show("write", WRITE, &[fd, 0, 1]);
        show("writev", WRITEV, &[fd, 0, 1]);
        show("readv", READV, &[fd, 0, 1]);
        show("close", CLOSE, &[fd]);
        show("fstat", FSTAT, &[fd, 0]);
        show("lseek", LSEEK, &[fd, 0, 0]);
        show("ioctl", IOCTL, &[fd, 0x5401, 0]);
        show("fcntl", FCNTL, &[fd, 1, 0]);
        show("mmap", MMAP, &[0, PAGE, 1, 2, fd, 0]);
    }
    show("fcntl without a meaning", FCNTL, &[1, 9999, 0]);
    show("lseek on the output", LSEEK, &[1, 0, 0]);
    // Only the low half of a register is a descriptor.
    show("a descriptor with high bits", WRITE, &[1 | 1 << 32, 0, 0]);
}

fn lengths() {
    let text = b"unseen\n";
    let at = text.as_ptr() as u64;
    show("write, length -1", WRITE, &[1, at, MAX]);
    show("write, length wraps", WRITE, &[1, at, MAX - at + 1]);
    show("write, length reaches the kernel", WRITE, &[1, at, 1 << 47]);
    show("getrandom, length -1", GETRANDOM, &[at, MAX, 0]);
    show("getrandom, unknown flags", GETRANDOM, &[at, 0, 0x100]);
    show("writev, count -1", WRITEV, &[1, at, MAX]);
    show("writev, count 1025", WRITEV, &[1, at, 1025]);
    show("writev, count 0", WRITEV, &[1, at, 0]);
    let vectors = [at, MAX, at, 2];
    show("writev, element of length -1", WRITEV, &[1, (&raw const vectors) as u64, 2]);
    let vectors = [UNMAPPED, 0, at, 0];
    show("writev, empty elements", WRITEV, &[1, (&raw const vectors) as u64, 2]);
    show("poll, count -1", POLL, &[at, MAX, 0]);
    show("poll of nothing", POLL, &[0, 0, 0]);
    show("getcwd, size 0", GETCWD, &[at, 0]);
    show("getcwd, size 1", GETCWD, &[at, 1]);
    show("readlink, size 0", READLINK, &[at, at, 0]);
    show("readlink, size -1", READLINK, &[at, at, MAX]);
    let long = vec![b'a'; 5000];
    show("openat, a long path", OPENAT, &[-100i64 as u64, long.as_ptr() as u64, 0, 0]);
    show("openat, an empty path", OPENAT, &[-100i64 as u64, c"".as_ptr() as u64, 0, 0]);
    show("openat, no such file", OPENAT, &[-100i64 as u64, c"/no/such/file".as_ptr() as u64, 0, 0]);
    show("newfstatat, an empty path", NEWFSTATAT, &[1, c"".as_ptr() as u64, at, 0]);
    show("sched_getaffinity, size 0", SCHED_GETAFFINITY, &[0, 0, at]);
    show("sched_getaffinity, size 12", SCHED_GETAFFINITY, &[0, 12, at]);
    show("set_robust_list, length 0", SET_ROBUST_LIST, &[0, 0]);
    show("rt_sigaction, set of 4", RT_SIGACTION, &[10, 0, 0, 4]);
    show("rt_sigprocmask, set of 16", RT_SIGPROCMASK, &[0, 0, 0, 16]);
}

fn mappings() {
    // A page to do wrong things to, with a gap behind it.
    // SAFETY: fresh memory that only the calls below see.
    let page = unsafe { syscall(MMAP, [0, 3 * PAGE, 3, PRIVATE_ANONYMOUS, MAX, 0]) } as u64;
    show("a gap", MUNMAP, &[page + PAGE, PAGE]);

    let mmap = |name: &str, arguments: [u64; 6]| show(&format!("mmap, {name}"), MMAP, &arguments);
    mmap("length 0", [0, 0, 3, PRIVATE_ANONYMOUS, MAX, 0]);
    mmap("length -1", [0, MAX, 3, PRIVATE_ANONYMOUS, MAX, 0]);
    mmap("length wraps at the page", [0, MAX - PAGE + 2, 3, PRIVATE_ANONYMOUS, MAX, 0]);
    mmap("all of the address space", [0, END, 0, PRIVATE_ANONYMOUS, MAX, 0]);
    mmap("more than the address space", [0, 1 << 48, 0, PRIVATE_ANONYMOUS, MAX, 0]);
    mmap("no type", [0, PAGE, 3, 0x20, MAX, 0]);
    mmap("a type that is none", [0, PAGE, 3, 0x2f, MAX, 0]);
    mmap("odd offset", [0, PAGE, 3, PRIVATE_ANONYMOUS, MAX, 5]);
    mmap("fixed at an odd address", [page + 1, PAGE, 3, PRIVATE_ANONYMOUS | 0x10, MAX, 0]);
    mmap("fixed at the end", [END, PAGE, 3, PRIVATE_ANONYMOUS | 0x10, MAX, 0]);
    mmap("fixed over the end", [END - PAGE, 2 * PAGE, 3, PRIVATE_ANONYMOUS | 0x10, MAX, 0]);
    mmap("fixed in the kernel's half", [KERNEL_HALF, PAGE, 3, PRIVATE_ANONYMOUS | 0x10, MAX, 0]);
    mmap("fixed, wrapping", [page, MAX - page, 3, PRIVATE_ANONYMOUS | 0x10, MAX, 0]);
    mmap("in the place of another", [page, PAGE, 3, PRIVATE_ANONYMOUS | 0x10_0000, MAX, 0]);
    mmap("no descriptor, no type, no length", [0, 0, 0, 0, MAX, 0]);

    let mprotect = |name: &str, arguments: [u64; 3]| show(&format!("mprotect, {name}"), MPROTECT, &arguments);
    mprotect("odd address", [page + 1, PAGE, 1]);
    mprotect("length 0", [page, 0, 1]);
    mprotect("length 0, unmapped", [UNMAPPED, 0, 1]);
    mprotect("length -1", [page, MAX, 1]);
    mprotect("length wraps", [page, MAX - PAGE + 1, 1]);
    mprotect("unmapped", [UNMAPPED, PAGE, 1]);
    mprotect("over a gap", [page, 3 * PAGE, 3]);
    mprotect("kernel half", [KERNEL_HALF, PAGE, 3]);
    mprotect("last page", [0xffff_ffff_ffff_f000, PAGE, 3]);
    mprotect("unknown rights", [page, PAGE, 0x80]);
    mprotect("grows both ways", [page, PAGE, 0x0300_0001]);

    let munmap = |name: &str, arguments: [u64; 2]| show(&format!("munmap, {name}"), MUNMAP, &arguments);
    munmap("odd address", [page + 1, PAGE]);
    munmap("length 0", [page, 0]);
    munmap("length -1", [page, MAX]);
    munmap("unmapped", [UNMAPPED, PAGE]);
    munmap("kernel half", [KERNEL_HALF, PAGE]);
    munmap("over the end", [END - PAGE, 2 * PAGE]);
    munmap("last page", [0xffff_ffff_ffff_f000, PAGE]);

    let madvise = |name: &str, arguments: [u64; 3]| show(&format!("madvise, {name}"), MADVISE, &arguments);
    madvise("odd address", [page + 1, PAGE, 4]);
    madvise("length 0", [page, 0, 4]);
    madvise("length -1", [page, MAX, 4]);
    madvise("unmapped", [UNMAPPED, PAGE, 4]);
    madvise("over a gap", [page, 3 * PAGE, 4]);
    madvise("no such advice", [page, PAGE, 99]);
    madvise("no such advice, length 0", [page, 0, 99]);
    madvise("kernel half", [KERNEL_HALF, PAGE, 4]);
    show("clean up", MUNMAP, &[page, 3 * PAGE]);
}

fn threads() {
    const VM: u64 = 0x100;
    const SIGHAND: u64 = 0x800;
    const THREAD: u64 = 0x1_0000;
    show("clone, a thread without signal handlers", CLONE, &[THREAD | VM]);
    show("clone, signal handlers without memory", CLONE, &[SIGHAND]);
    show(
        "clone, thread-local storage in the kernel's half",
        CLONE,
        &[THREAD | VM | SIGHAND | 0x8_0000, PAGE, 0, 0, KERNEL_HALF],
    );
    let clone3 = |name: &str, arguments: &[u64], size: u64| {
        show(&format!("clone3, {name}"), CLONE3, &[arguments.as_ptr() as u64, size]);
    };
    clone3("size 0", &[0; 11], 0);
    clone3("size 63", &[0; 11], 63);
    clone3("size of two pages", &[0; 1024], 8192);
    clone3("what this version does not know", &[THREAD | VM | SIGHAND, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 96);
    clone3("a stack without a size", &[THREAD | VM | SIGHAND, 0, 0, 0, 0, PAGE, 0, 0], 64);
    clone3("a size without a stack", &[THREAD | VM | SIGHAND, 0, 0, 0, 0, 0, PAGE, 0], 64);
    clone3("a stack that wraps", &[THREAD | VM | SIGHAND, 0, 0, 0, 0, PAGE, MAX, 0], 64);
    clone3("a stack in the kernel's half", &[THREAD | VM | SIGHAND, 0, 0, 0, 0, KERNEL_HALF, PAGE, 0], 64);
    clone3("a thread with a signal at its end", &[THREAD | VM | SIGHAND, 0, 0, 0, 17, 0, 0, 0], 64);
    clone3("a signal that is none", &[0, 0, 0, 0, 0x100, 0, 0, 0], 64);
    clone3("the old signal octet", &[THREAD | VM | SIGHAND | 17, 0, 0, 0, 0, 0, 0, 0], 64);
    clone3("flags that are none", &[THREAD | VM | SIGHAND | 1 << 40, 0, 0, 0, 0, 0, 0, 0], 64);
}

fn signals() {
    show("rt_sigaction 0", RT_SIGACTION, &[0, 0, 0, 8]);
    show("rt_sigaction 65", RT_SIGACTION, &[65, 0, 0, 8]);
    let action = [1u64, 0, 0, 0];
    let at = (&raw const action) as u64;
    show("rt_sigaction of SIGKILL", RT_SIGACTION, &[9, at, 0, 8]);
    show("rt_sigaction of SIGSTOP", RT_SIGACTION, &[19, at, 0, 8]);
    show("rt_sigprocmask, no such operation", RT_SIGPROCMASK, &[9, at, 0, 8]);
    let small = [at, 0, 100];
    show("sigaltstack, small", SIGALTSTACK, &[(&raw const small) as u64, 0]);
    let flags = [at, 0x10, 1 << 16];
    show("sigaltstack, unknown flags", SIGALTSTACK, &[(&raw const flags) as u64, 0]);
    show("kill, no such signal", KILL, &[0, 65]);
    show("kill, negative signal", KILL, &[0, MAX]);
    show("kill, nothing", KILL, &[0, 0]);
    show("kill, nobody", KILL, &[0x3fff_ffff, 0]);
    show("tkill, thread 0", TKILL, &[0, 0]);
    show("tkill, nobody", TKILL, &[0x3fff_ffff, 0]);
    show("tgkill, process 0", TGKILL, &[0, 1, 0]);
    show("tgkill, nobody", TGKILL, &[0x3fff_ffff, 0x3fff_ffff, 0]);
}

fn others() {
    show("arch_prctl, %fs in the kernel's half", ARCH_PRCTL, &[0x1002, KERNEL_HALF]);
    show("arch_prctl, %fs non-canonical", ARCH_PRCTL, &[0x1002, NON_CANONICAL]);
    show("arch_prctl, no such operation", ARCH_PRCTL, &[0x7777, 0]);
    show("prctl, no such operation", PRCTL, &[0x7777_7777, 0]);
    show("prlimit64, no such limit", PRLIMIT64, &[0, 99, 0, 0]);
    show("prlimit64, nobody", PRLIMIT64, &[0x3fff_ffff, 3, 0, 0]);
    let wrong = [5u64, 3];
    show("prlimit64, soft above hard", PRLIMIT64, &[0, 4, (&raw const wrong) as u64, 0]);
    // Only the low half of a register is the call's number: this one is read(2), of nothing.
    show("a huge number", 1 << 40, &[0; 6]);
}

/// Calls that are right on Linux and refused here, on purpose: docs/compatibility.md says why.
fn otherwise() {
    show_outcome("mmap, executable", MMAP, &[0, PAGE, 5, PRIVATE_ANONYMOUS, MAX, 0]);
    // SAFETY: fresh memory that only the calls below see.
    let page = unsafe { syscall(MMAP, [0, PAGE, 3, PRIVATE_ANONYMOUS, MAX, 0]) } as u64;
    show("mprotect, executable", MPROTECT, &[page, PAGE, 5]);
    show("pkey_mprotect, executable", PKEY_MPROTECT, &[page, PAGE, 5, MAX]);
    let mut base = [0u64; 1];
    show("arch_prctl ARCH_GET_GS", ARCH_PRCTL, &[0x1004, base.as_mut_ptr() as u64]);
    show("arch_prctl ARCH_SET_GS", ARCH_PRCTL, &[0x1001, 0]);
    show("rseq", RSEQ, &[0, 0, 0, 0]);
    // Size, policy, flags: SCHED_FLAG_RESET_ON_FORK.
    let attributes = [48u64, 1, 0, 0, 0, 0];
    show("sched_setattr, reset on fork", SCHED_SETATTR, &[0, attributes.as_ptr() as u64, 0]);
}
