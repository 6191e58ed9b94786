//! The table of system calls (x86_64 numbers). One row: number, name, arguments, handler, state, and for a partial call
//! what is missing. `cargo xtask syscalls` prints it as docs/syscalls.md.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::service::Service;
use kernel::arch::current::vectors::TrapFrame;

use crate::errno::{ENOSYS, Errno, Result};
use crate::files::{attributes, directory, lock, memfd, names, open, stat, transfer};
use crate::futex::{robust, waitv};
use crate::socket::message;
use crate::{
    epoll, eventfd, file, files, futex, info, limits, memory, pipe, poll, process, scheduling, service,
    signal, signalfd, socket, thread, time, timer, timerfd, usage,
};

/// How much of a call works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As on Linux, as far as it applies to one process.
    Full,
    /// Works, but for what the text says.
    Partial(&'static str),
    /// `ENOSYS` on purpose; the text says why.
    Refused(&'static str),
}

/// One row, as documentation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number on x86_64.
    pub number: u64,
    /// Name, as in its man page.
    pub name: &'static str,
    /// State.
    pub state: State,
}

/// A register as an argument's type: the low bits, as the kernel of Linux takes them.
trait Argument {
    fn from_register(register: u64) -> Self;
}

macro_rules! argument {
    ($($kind:ty),*) => { $(impl Argument for $kind {
        fn from_register(register: u64) -> Self {
            register as $kind
        }
    })* };
}
argument!(u64, u32, i32, i64, usize);

macro_rules! syscalls {
    ($($number:literal $name:ident($($argument:ident),*) => $family:ident::$handler:ident,
       $state:ident $($gap:literal)?;)*) => {
        /// The table, ascending.
        pub const ROWS: &[Row] = &[$(Row {
            number: $number,
            name: stringify!($name),
            state: syscalls!(@state $state $($gap)?),
        }),*];

        /// Carries out a call if it belongs to `PART`: [`CORE`], which has services carry out theirs, or a service's number.
        /// `None`: no such row. Each part has a dispatch of its own, so that only the parts that are in an image hold their handlers.
        fn dispatch<const PART: u8>(number: u64, frame: &mut TrapFrame) -> Option<Result> {
            let mut registers = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9].into_iter();
            let mut next = || registers.next().unwrap_or(0);
            Some(match number {
                $($number => {
                    const OWNER: Option<Service> = syscalls!(@owner $family::$handler);
                    const NUMBER: u8 = match OWNER { Some(service) => service as u8, None => CORE };
                    if NUMBER == PART {
                        $(let $argument = next();)*
                        syscalls!(@call frame, $family::$handler, $($argument),*)
                    } else if PART == CORE && let Some(service) = OWNER {
                        service::call(service, frame)
                    } else {
                        return None;
                    }
                })*
                _ => return None,
            })
        }
    };
    (@owner attributes::$handler:ident) => { Some(Service::Files) };
    (@owner directory::$handler:ident) => { Some(Service::Files) };
    (@owner files::$handler:ident) => { Some(Service::Files) };
    (@owner lock::$handler:ident) => { Some(Service::Files) };
    (@owner memfd::$handler:ident) => { Some(Service::Files) };
    (@owner names::$handler:ident) => { Some(Service::Files) };
    (@owner open::$handler:ident) => { Some(Service::Files) };
    (@owner stat::$handler:ident) => { Some(Service::Files) };
    (@owner transfer::$handler:ident) => { Some(Service::Files) };
    (@owner pipe::$handler:ident) => { Some(Service::Pipes) };
    (@owner epoll::$handler:ident) => { Some(Service::Events) };
    (@owner eventfd::$handler:ident) => { Some(Service::Events) };
    (@owner timerfd::$handler:ident) => { Some(Service::Events) };
    (@owner signalfd::$handler:ident) => { Some(Service::Events) };
    (@owner poll::select) => { Some(Service::Events) };
    (@owner poll::pselect6) => { Some(Service::Events) };
    (@owner timer::$handler:ident) => { Some(Service::Timers) };
    (@owner scheduling::getcpu) => { None };
    (@owner scheduling::sched_getaffinity) => { None };
    (@owner scheduling::sched_setaffinity) => { None };
    (@owner scheduling::sched_yield) => { None };
    (@owner scheduling::$handler:ident) => { Some(Service::Scheduling) };
    (@owner waitv::$handler:ident) => { Some(Service::Futexes) };
    (@owner socket::$handler:ident) => { Some(Service::Net) };
    (@owner scheduling::$handler:ident) => { Some(Service::Scheduling) };
    (@owner waitv::$handler:ident) => { Some(Service::Futexes) };
    (@owner message::$handler:ident) => { Some(Service::Net) };
    (@owner socket::$handler:ident) => { Some(Service::Net) };
    (@owner $family:ident::$handler:ident) => { None };
    (@call $frame:ident, thread::clone, $($argument:ident),*) => {
        thread::clone($frame, $(Argument::from_register($argument)),*)
    };
    (@call $frame:ident, thread::clone3, $($argument:ident),*) => {
        thread::clone3($frame, $(Argument::from_register($argument)),*)
    };
    (@call $frame:ident, signal::rt_sigreturn, ) => { signal::rt_sigreturn($frame) };
    (@call $frame:ident, signal::sigaltstack, $($argument:ident),*) => {
        signal::sigaltstack($frame.rsp, $(Argument::from_register($argument)),*)
    };
    (@call $frame:ident, $family:ident::$handler:ident, $($argument:ident),*) => {
        $family::$handler($(Argument::from_register($argument)),*)
    };
    (@state full) => { State::Full };
    (@state partial $gap:literal) => { State::Partial($gap) };
    (@state refused $gap:literal) => { State::Refused($gap) };
}

syscalls! {
    0 read(fd, buf, count) => file::read, full;
    1 write(fd, buf, count) => file::write, full;
    2 open(path, flags, mode) => open::open, full;
    3 close(fd) => file::close, full;
    4 stat(path, statbuf) => stat::stat, full;
    5 fstat(fd, statbuf) => stat::fstat, partial "times of what is no file are 0";
    6 lstat(path, statbuf) => stat::lstat, full;
    7 poll(fds, nfds, timeout) => poll::poll, full;
    8 lseek(fd, offset, whence) => file::lseek, full;
    9 mmap(addr, length, prot, flags, fd, offset) => memory::mmap, partial "no new executable pages (EACCES)";
    10 mprotect(addr, len, prot) => memory::mprotect, partial "no new executable pages (EACCES)";
    11 munmap(addr, length) => memory::munmap, partial "the image's own pages stay (EACCES)";
    12 brk(addr) => memory::brk, full;
    13 rt_sigaction(signum, act, oldact, sigsetsize) => signal::rt_sigaction, full;
    14 rt_sigprocmask(how, set, oldset, sigsetsize) => signal::rt_sigprocmask, full;
    15 rt_sigreturn() => signal::rt_sigreturn, full;
    16 ioctl(fd, op, argp) => file::ioctl, partial "FIONBIO, FIOCLEX, FIONREAD; of terminals' settings, raw mode and the window's size";
    17 pread64(fd, buf, count, offset) => transfer::pread64, full;
    18 pwrite64(fd, buf, count, offset) => transfer::pwrite64, full;
    19 readv(fd, iov, iovcnt) => file::readv, full;
    20 writev(fd, iov, iovcnt) => file::writev, full;
    21 access(path, mode) => stat::access, full;
    22 pipe(fds) => pipe::pipe, full;
    23 select(nfds, readfds, writefds, exceptfds, timeout) => poll::select, full;
    24 sched_yield() => scheduling::sched_yield, full;
    25 mremap(addr, old_len, new_len, flags, new_addr) => memory::mremap, full;
    26 msync(addr, length, flags) => memory::msync, full;
    27 mincore(addr, length, vec) => memory::mincore,
        partial "of a file's pages it tells which were touched by way of the mapping";
    28 madvise(addr, length, advice) => memory::madvise,
        partial "MADV_DONTNEED, MADV_FREE, MADV_REMOVE and MADV_POPULATE_* act; other advice is taken and not followed";
    32 dup(oldfd) => file::dup, full;
    33 dup2(oldfd, newfd) => file::dup2, full;
    34 pause() => signal::pause, full;
    35 nanosleep(duration, rem) => time::nanosleep, full;
    36 getitimer(which, value) => timer::getitimer, partial "as setitimer";
    37 alarm(seconds) => timer::alarm, full;
    38 setitimer(which, new_value, old_value) => timer::setitimer,
        partial "ITIMER_VIRTUAL counts time in calls, too; by CPU time to some milliseconds";
    39 getpid() => process::getpid, full;
    40 sendfile(out_fd, in_fd, offset, count) => transfer::sendfile, full;
    41 socket(domain, kind, protocol) => socket::socket, partial "AF_INET: SOCK_STREAM, SOCK_DGRAM; AF_UNIX: all";
    42 connect(sockfd, addr, addrlen) => socket::connect, full;
    43 accept(sockfd, addr, addrlen) => socket::accept, full;
    44 sendto(sockfd, buf, len, flags, addr, addrlen) => socket::sendto, partial "no MSG_OOB";
    45 recvfrom(sockfd, buf, len, flags, addr, addrlen) => socket::recvfrom, partial "no MSG_OOB, no MSG_ERRQUEUE";
    46 sendmsg(sockfd, msg, flags) => message::sendmsg, partial "control messages of local and datagram sockets";
    47 recvmsg(sockfd, msg, flags) => message::recvmsg, partial "control messages of local and datagram sockets; no MSG_ERRQUEUE";
    48 shutdown(sockfd, how) => socket::shutdown, full;
    49 bind(sockfd, addr, addrlen) => socket::bind, full;
    50 listen(sockfd, backlog) => socket::listen, full;
    51 getsockname(sockfd, addr, addrlen) => socket::getsockname, full;
    52 getpeername(sockfd, addr, addrlen) => socket::getpeername, full;
    53 socketpair(domain, kind, protocol, sv) => socket::socketpair, full;
    54 setsockopt(sockfd, level, optname, optval, optlen) => socket::setsockopt, partial "the options of docs/sockets.md; others are ENOPROTOOPT";
    55 getsockopt(sockfd, level, optname, optval, optlen) => socket::getsockopt, partial "as setsockopt";
    56 clone(flags, stack, parent_tid, child_tid, tls) => thread::clone, partial "threads only: no fork, no vfork";
    60 exit(status) => thread::exit, full;
    62 kill(pid, sig) => signal::kill, partial "own process; no stopping";
    63 uname(buf) => info::uname, full;
    72 fcntl(fd, op, arg) => file::fcntl, partial "F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, locks, pipe sizes; no leases, no signals";
    73 flock(fd, operation) => lock::flock, full;
    74 fsync(fd) => attributes::fsync, full;
    75 fdatasync(fd) => attributes::fsync, full;
    76 truncate(path, length) => attributes::truncate, full;
    77 ftruncate(fd, length) => attributes::ftruncate, full;
    79 getcwd(buf, size) => names::getcwd, full;
    80 chdir(path) => names::chdir, full;
    81 fchdir(fd) => names::fchdir, full;
    82 rename(old, new) => names::rename, full;
    83 mkdir(path, mode) => names::mkdir, full;
    84 rmdir(path) => names::rmdir, full;
    85 creat(path, mode) => open::creat, full;
    86 link(old, new) => names::link, full;
    87 unlink(path) => names::unlink, full;
    88 symlink(target, path) => names::symlink, full;
    89 readlink(path, buf, bufsiz) => names::readlink, full;
    90 chmod(path, mode) => attributes::chmod, full;
    91 fchmod(fd, mode) => attributes::fchmod, full;
    92 chown(path, owner, group) => attributes::chown, full;
    93 fchown(fd, owner, group) => attributes::fchown, full;
    94 lchown(path, owner, group) => attributes::lchown, full;
    95 umask(mask) => files::umask, full;
    96 gettimeofday(tv, tz) => time::gettimeofday, full;
    97 getrlimit(resource, rlim) => limits::getrlimit, partial "as prlimit64";
    98 getrusage(who, usage) => usage::getrusage,
        partial "time in calls counts as the program's; no counts of switches";
    99 sysinfo(info) => info::sysinfo, partial "loads are 0";
    100 times(buf) => usage::times, partial "time in calls counts as the program's";
    102 getuid() => process::getuid, full;
    104 getgid() => process::getuid, full;
    107 geteuid() => process::getuid, full;
    108 getegid() => process::getuid, full;
    110 getppid() => process::getppid, full;
    127 rt_sigpending(set, sigsetsize) => signal::rt_sigpending, full;
    128 rt_sigtimedwait(set, info, timeout, sigsetsize) => signal::rt_sigtimedwait, full;
    129 rt_sigqueueinfo(pid, sig, info) => signal::rt_sigqueueinfo, partial "own process; no stopping";
    130 rt_sigsuspend(mask, sigsetsize) => signal::rt_sigsuspend, full;
    131 sigaltstack(ss, old_ss) => signal::sigaltstack, full;
    132 utime(path, times) => attributes::utime, full;
    133 mknod(path, mode, dev) => names::mknod, full;
    137 statfs(path, buf) => stat::statfs, full;
    138 fstatfs(fd, buf) => stat::fstatfs, full;
    140 getpriority(which, who) => scheduling::getpriority, full;
    141 setpriority(which, who, prio) => scheduling::setpriority,
        partial "real-time threads have no nice level";
    142 sched_setparam(pid, param) => scheduling::sched_setparam, full;
    143 sched_getparam(pid, param) => scheduling::sched_getparam, full;
    144 sched_setscheduler(pid, policy, param) => scheduling::sched_setscheduler,
        partial "no SCHED_DEADLINE, no SCHED_RESET_ON_FORK (EINVAL)";
    145 sched_getscheduler(pid) => scheduling::sched_getscheduler, full;
    146 sched_get_priority_max(policy) => scheduling::sched_get_priority_max, full;
    147 sched_get_priority_min(policy) => scheduling::sched_get_priority_min, full;
    148 sched_rr_get_interval(pid, tp) => scheduling::sched_rr_get_interval, full;
    149 mlock(addr, len) => memory::mlock, full;
    150 munlock(addr, len) => memory::munlock, full;
    151 mlockall(flags) => memory::mlockall, partial "nothing is ever paged out; backs no pages in advance";
    152 munlockall() => memory::munlockall, full;
    157 prctl(op, arg2, arg3, arg4, arg5) => process::prctl,
        partial "names act; what else can be set is kept, for the whole process, and not followed";
    158 arch_prctl(op, addr) => process::arch_prctl, partial "ARCH_SET_FS and ARCH_GET_FS: %gs is the kernel's";
    159 adjtimex(buf) => time::adjtimex, partial "can be read; the clock cannot be adjusted (EPERM)";
    160 setrlimit(resource, rlim) => limits::setrlimit, partial "as prlimit64";
    162 sync() => attributes::sync, full;
    164 settimeofday(tv, tz) => time::settimeofday, partial "the clock is the machine's (EPERM)";
    186 gettid() => thread::gettid, full;
    188 setxattr(path) => attributes::xattr, partial "no extended attributes (EOPNOTSUPP)";
    189 lsetxattr(path) => attributes::lxattr, partial "no extended attributes (EOPNOTSUPP)";
    190 fsetxattr(fd) => attributes::fxattr, partial "no extended attributes (EOPNOTSUPP)";
    191 getxattr(path) => attributes::xattr, partial "no extended attributes (EOPNOTSUPP)";
    192 lgetxattr(path) => attributes::lxattr, partial "no extended attributes (EOPNOTSUPP)";
    193 fgetxattr(fd) => attributes::fxattr, partial "no extended attributes (EOPNOTSUPP)";
    194 listxattr(path) => attributes::xattr, partial "no extended attributes (EOPNOTSUPP)";
    195 llistxattr(path) => attributes::lxattr, partial "no extended attributes (EOPNOTSUPP)";
    196 flistxattr(fd) => attributes::fxattr, partial "no extended attributes (EOPNOTSUPP)";
    197 removexattr(path) => attributes::xattr, partial "no extended attributes (EOPNOTSUPP)";
    198 lremovexattr(path) => attributes::lxattr, partial "no extended attributes (EOPNOTSUPP)";
    199 fremovexattr(fd) => attributes::fxattr, partial "no extended attributes (EOPNOTSUPP)";
    200 tkill(tid, sig) => signal::tkill, partial "no stopping";
    201 time(tloc) => time::time, full;
    202 futex(uaddr, op, val, timeout, uaddr2, val3) => futex::futex,
        partial "no FUTEX_FD; nice levels are not inherited, real-time priorities are";
    203 sched_setaffinity(pid, size, mask) => scheduling::sched_setaffinity, full;
    204 sched_getaffinity(pid, size, mask) => scheduling::sched_getaffinity, full;
    213 epoll_create(size) => epoll::epoll_create, full;
    217 getdents64(fd, dirp, count) => directory::getdents64, full;
    218 set_tid_address(tidptr) => thread::set_tid_address, full;
    221 fadvise64(fd, offset, len, advice) => attributes::fadvise64, partial "advice is taken and not followed";
    222 timer_create(clockid, sevp, timerid) => timer::timer_create,
        partial "no alarm clocks; by CPU time to some milliseconds";
    223 timer_settime(timerid, flags, new_value, old_value) => timer::timer_settime, full;
    224 timer_gettime(timerid, curr_value) => timer::timer_gettime, full;
    225 timer_getoverrun(timerid) => timer::timer_getoverrun, full;
    226 timer_delete(timerid) => timer::timer_delete, full;
    227 clock_settime(clock, tp) => time::clock_settime, partial "the clock is the machine's (EPERM)";
    228 clock_gettime(clock, tp) => time::clock_gettime, partial "no alarm clocks; TAI is UTC";
    229 clock_getres(clock, res) => time::clock_getres, full;
    230 clock_nanosleep(clock, flags, t, remain) => time::clock_nanosleep, full;
    231 exit_group(status) => process::exit_group, full;
    232 epoll_wait(epfd, events, maxevents, timeout) => epoll::epoll_wait, full;
    233 epoll_ctl(epfd, op, fd, event) => epoll::epoll_ctl, full;
    234 tgkill(tgid, tid, sig) => signal::tgkill, partial "no stopping";
    235 utimes(path, times) => attributes::utimes, full;
    257 openat(dirfd, path, flags, mode) => open::openat, partial "no O_ASYNC; O_DIRECT and O_SYNC change nothing";
    258 mkdirat(dirfd, path, mode) => names::mkdirat, full;
    259 mknodat(dirfd, path, mode, dev) => names::mknodat, full;
    260 fchownat(dirfd, path, owner, group, flags) => attributes::fchownat, full;
    261 futimesat(dirfd, path, times) => attributes::futimesat, full;
    262 newfstatat(dirfd, path, statbuf, flags) => stat::newfstatat, partial "as fstat";
    263 unlinkat(dirfd, path, flags) => names::unlinkat, full;
    264 renameat(olddirfd, old, newdirfd, new) => names::renameat, full;
    265 linkat(olddirfd, old, newdirfd, new, flags) => names::linkat, full;
    266 symlinkat(target, dirfd, path) => names::symlinkat, full;
    267 readlinkat(dirfd, path, buf, bufsiz) => names::readlinkat, full;
    268 fchmodat(dirfd, path, mode) => attributes::fchmodat, full;
    269 faccessat(dirfd, path, mode) => stat::faccessat, full;
    270 pselect6(nfds, readfds, writefds, exceptfds, timeout, sigmask) => poll::pselect6, full;
    271 ppoll(fds, nfds, tmo_p, sigmask, sigsetsize) => poll::ppoll, full;
    273 set_robust_list(head, len) => robust::set_robust_list, full;
    274 get_robust_list(pid, head_ptr, len_ptr) => robust::get_robust_list, full;
    280 utimensat(dirfd, path, times, flags) => attributes::utimensat, full;
    281 epoll_pwait(epfd, events, maxevents, timeout, sigmask, sigsetsize) => epoll::epoll_pwait, full;
    282 signalfd(fd, mask, sizemask) => signalfd::signalfd, full;
    283 timerfd_create(clockid, flags) => timerfd::timerfd_create, full;
    284 eventfd(initval) => eventfd::eventfd, full;
    285 fallocate(fd, mode, offset, len) => attributes::fallocate, partial "as tmpfs: FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE";
    286 timerfd_settime(fd, flags, new_value, old_value) => timerfd::timerfd_settime, full;
    287 timerfd_gettime(fd, curr_value) => timerfd::timerfd_gettime, full;
    288 accept4(sockfd, addr, addrlen, flags) => socket::accept4, full;
    289 signalfd4(fd, mask, sizemask, flags) => signalfd::signalfd4, full;
    290 eventfd2(initval, flags) => eventfd::eventfd2, full;
    291 epoll_create1(flags) => epoll::epoll_create1, full;
    292 dup3(oldfd, newfd, flags) => file::dup3, full;
    293 pipe2(fds, flags) => pipe::pipe2, partial "no O_DIRECT";
    295 preadv(fd, iov, iovcnt, offset) => transfer::preadv, full;
    296 pwritev(fd, iov, iovcnt, offset) => transfer::pwritev, full;
    297 rt_tgsigqueueinfo(tgid, tid, sig, info) => signal::rt_tgsigqueueinfo, partial "no stopping";
    299 recvmmsg(sockfd, msgvec, vlen, flags, timeout) => message::recvmmsg, partial "as recvmsg";
    302 prlimit64(pid, resource, new_limit, old_limit) => limits::prlimit64,
        partial "RLIMIT_NOFILE bounds poll, RLIMIT_SIGPENDING signals and timers; the others are kept and limit nothing";
    305 clock_adjtime(clock, buf) => time::clock_adjtime, partial "as adjtimex";
    306 syncfs(fd) => attributes::fsync, full;
    307 sendmmsg(sockfd, msgvec, vlen, flags) => message::sendmmsg, partial "as sendmsg";
    309 getcpu(cpu, node, unused) => scheduling::getcpu, full;
    314 sched_setattr(pid, attr, flags) => scheduling::sched_setattr,
        partial "no SCHED_DEADLINE, no SCHED_FLAG_RESET_ON_FORK, no utilization (EINVAL)";
    315 sched_getattr(pid, attr, size, flags) => scheduling::sched_getattr, partial "as sched_setattr";
    316 renameat2(olddirfd, old, newdirfd, new, flags) => names::renameat2, full;
    318 getrandom(buf, buflen, flags) => info::getrandom, full;
    319 memfd_create(name, flags) => memfd::memfd_create, partial "no seals, no large pages (EINVAL)";
    324 membarrier(cmd, flags, cpu_id) => memory::membarrier,
        partial "no MEMBARRIER_CMD_*_SYNC_CORE, no MEMBARRIER_CMD_*_RSEQ";
    325 mlock2(addr, len, flags) => memory::mlock2, full;
    326 copy_file_range(fd_in, off_in, fd_out, off_out, len, flags) => transfer::copy_file_range, full;
    327 preadv2(fd, iov, iovcnt, offset, high, flags) => transfer::preadv2, partial "flags change nothing";
    328 pwritev2(fd, iov, iovcnt, offset, high, flags) => transfer::pwritev2, partial "no RWF_APPEND";
    329 pkey_mprotect(addr, len, prot, pkey) => memory::pkey_mprotect, partial "no protection keys: pkey -1 only";
    330 pkey_alloc(flags, access_rights) => memory::pkey_alloc, partial "no protection keys (ENOSPC)";
    331 pkey_free(pkey) => memory::pkey_free, partial "no protection keys (EINVAL)";
    332 statx(dirfd, path, flags, mask, statxbuf) => stat::statx, partial "as fstat";
    334 rseq(rseq, rseq_len, flags, sig) => thread::rseq, refused "libc does without";
    435 clone3(cl_args, size) => thread::clone3, partial "threads only: no fork, no vfork";
    437 openat2(dirfd, path, how, size) => open::openat2, full;
    439 faccessat2(dirfd, path, mode, flags) => stat::faccessat2, full;
    441 epoll_pwait2(epfd, events, maxevents, timeout, sigmask, sigsetsize) => epoll::epoll_pwait2, full;
    449 futex_waitv(waiters, nr, flags, timeout, clockid) => waitv::futex_waitv, full;
    452 fchmodat2(dirfd, path, mode, flags) => attributes::fchmodat2, full;
}

/// Where a call belongs that is in every image.
const CORE: u8 = u8::MAX;

/// Carries out a call of the service with the number `PART` ([`Kind`]). Only that service's record refers to it.
///
/// # Errors
/// `ENOSYS`: the call belongs to another one.
pub fn call_of<const PART: u8>(frame: &mut TrapFrame) -> Result {
    dispatch::<PART>(number_of(frame), frame).unwrap_or(Err(ENOSYS))
}

/// The low half of rax is the number.
pub(crate) fn number_of(frame: &TrapFrame) -> u64 {
    u64::from(frame.error as u32)
}

/// Calls that were named in the log: a bit a number.
static NAMED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Names a call once: `what` is missing.
pub(crate) fn name_once(number: u64, what: core::fmt::Arguments<'_>) {
    // Numbers beyond the table share the last bit: a program that tries them all must not flood the console.
    let number = number.min(64 * NAMED.len() as u64 - 1);
    let word = &NAMED[(number / 64) as usize];
    let bit = 1 << (number % 64);
    if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        kernel::log!(Warn, "{what}");
    }
}

/// Carries out the call that `frame` holds, result in `rax`. The entry from the program.
#[expect(unsafe_code, reason = "the symbol by which kernel/arch calls this crate, which it does not know")]
#[unsafe(no_mangle)]
pub fn linux_syscall(frame: &mut TrapFrame) {
    let number = number_of(frame);
    let result = dispatch::<CORE>(number, frame).unwrap_or_else(|| {
        name_once(number, format_args!("system call {} is not implemented (ENOSYS)", number as i32));
        Err(ENOSYS)
    });
    frame.rax = match result {
        Ok(value) => value,
        Err(Errno(errno)) => (-i64::from(errno)) as u64,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend() {
        assert!(ROWS.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
