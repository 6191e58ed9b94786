//! `posix/conf`: what sysconf(3) and pathconf(3) say, entries of the password file, and variables of the environment.

use std::ffi::{CStr, c_int, c_long};

use super::show;

pub fn cases() {
    println!("# posix/conf");
    limits();
    of_a_file();
    passwords();
    variables();
}

/// Names and numbers.
macro_rules! named {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name)),*] };
}

fn limits() {
    let of_libc = named! {
        _SC_AIO_LISTIO_MAX _SC_AIO_MAX _SC_AIO_PRIO_DELTA_MAX _SC_ATEXIT_MAX _SC_BC_BASE_MAX _SC_BC_DIM_MAX
        _SC_BC_SCALE_MAX _SC_BC_STRING_MAX _SC_CLK_TCK _SC_COLL_WEIGHTS_MAX _SC_DELAYTIMER_MAX _SC_EXPR_NEST_MAX
        _SC_HOST_NAME_MAX _SC_IOV_MAX _SC_LINE_MAX _SC_LOGIN_NAME_MAX _SC_NGROUPS_MAX _SC_GETGR_R_SIZE_MAX
        _SC_GETPW_R_SIZE_MAX _SC_MQ_OPEN_MAX _SC_MQ_PRIO_MAX _SC_PAGE_SIZE _SC_PAGESIZE
        _SC_THREAD_DESTRUCTOR_ITERATIONS _SC_THREAD_KEYS_MAX _SC_THREAD_THREADS_MAX _SC_RE_DUP_MAX
        _SC_RTSIG_MAX _SC_SEM_NSEMS_MAX _SC_SEM_VALUE_MAX _SC_STREAM_MAX _SC_SYMLOOP_MAX _SC_TIMER_MAX
        _SC_TTY_NAME_MAX _SC_TZNAME_MAX _SC_ADVISORY_INFO _SC_BARRIERS _SC_ASYNCHRONOUS_IO _SC_CLOCK_SELECTION
        _SC_FSYNC _SC_IPV6 _SC_JOB_CONTROL _SC_MAPPED_FILES _SC_MEMLOCK _SC_MEMLOCK_RANGE _SC_MEMORY_PROTECTION
        _SC_MESSAGE_PASSING _SC_MONOTONIC_CLOCK _SC_PRIORITIZED_IO _SC_PRIORITY_SCHEDULING _SC_RAW_SOCKETS
        _SC_READER_WRITER_LOCKS _SC_REALTIME_SIGNALS _SC_REGEXP _SC_SAVED_IDS _SC_SEMAPHORES
        _SC_SHARED_MEMORY_OBJECTS _SC_SHELL _SC_SPAWN _SC_SPIN_LOCKS _SC_SPORADIC_SERVER _SC_SS_REPL_MAX
        _SC_SYNCHRONIZED_IO _SC_THREAD_ATTR_STACKADDR _SC_THREAD_ATTR_STACKSIZE _SC_THREAD_PRIO_INHERIT
        _SC_THREAD_PRIO_PROTECT _SC_THREAD_PRIORITY_SCHEDULING _SC_THREAD_PROCESS_SHARED
        _SC_THREAD_ROBUST_PRIO_INHERIT _SC_THREAD_ROBUST_PRIO_PROTECT _SC_THREAD_SAFE_FUNCTIONS
        _SC_THREAD_SPORADIC_SERVER _SC_THREADS _SC_TIMEOUTS _SC_TIMERS _SC_TRACE _SC_TRACE_EVENT_FILTER
        _SC_TRACE_EVENT_NAME_MAX _SC_TRACE_INHERIT _SC_TRACE_LOG _SC_TRACE_NAME_MAX _SC_TRACE_SYS_MAX
        _SC_TRACE_USER_EVENT_MAX _SC_TYPED_MEMORY_OBJECTS _SC_VERSION _SC_2_C_BIND _SC_2_C_DEV _SC_2_CHAR_TERM
        _SC_2_FORT_DEV _SC_2_FORT_RUN _SC_2_LOCALEDEF _SC_2_PBS _SC_2_SW_DEV _SC_2_UPE _SC_2_VERSION
        _SC_XOPEN_CRYPT _SC_XOPEN_ENH_I18N _SC_XOPEN_REALTIME _SC_XOPEN_REALTIME_THREADS _SC_XOPEN_SHM
        _SC_XOPEN_STREAMS _SC_XOPEN_UNIX _SC_XOPEN_VERSION
    };
    for (name, number) in of_libc {
        println!("{name}: {}", value(number));
    }
    // These are the machine's, and what a process may have of it.
    let of_the_system = named! {
        _SC_ARG_MAX _SC_CHILD_MAX _SC_OPEN_MAX _SC_SIGQUEUE_MAX _SC_THREAD_STACK_MIN _SC_NPROCESSORS_CONF
        _SC_NPROCESSORS_ONLN _SC_PHYS_PAGES _SC_AVPHYS_PAGES _SC_CPUTIME _SC_THREAD_CPUTIME
    };
    for (name, number) in of_the_system {
        println!("{name} is told: {}", value(number) >= -1 && error_number() == 0);
    }
}

/// sysconf(3): -1 with the error 0 is no limit.
fn value(name: c_int) -> c_long {
    clear_error();
    // SAFETY: a number.
    unsafe { libc::sysconf(name) }
}

fn of_a_file() {
    let names = named! {
        _PC_LINK_MAX _PC_MAX_CANON _PC_MAX_INPUT _PC_NAME_MAX _PC_PATH_MAX _PC_PIPE_BUF _PC_SYMLINK_MAX
        _PC_CHOWN_RESTRICTED _PC_NO_TRUNC _PC_VDISABLE _PC_ASYNC_IO _PC_PRIO_IO _PC_SYNC_IO _PC_FILESIZEBITS
        _PC_2_SYMLINKS _PC_ALLOC_SIZE_MIN _PC_REC_INCR_XFER_SIZE _PC_REC_MAX_XFER_SIZE _PC_REC_MIN_XFER_SIZE
        _PC_REC_XFER_ALIGN
    };
    // These are the file system's.
    let own = ["LINK_MAX", "FILESIZEBITS", "2_SYMLINKS", "ALLOC", "REC_", "SYNC_IO", "SYMLINK_MAX"];
    // SAFETY: a string with its end; the descriptor is this function's.
    unsafe {
        let fd = libc::open(c"etc/passwd".as_ptr(), libc::O_RDONLY);
        for (name, number) in names {
            clear_error();
            let value = libc::fpathconf(fd, number);
            match own.iter().any(|part| name.contains(part)) {
                true => println!("{name} is told: {}", error_number() == 0),
                false => println!("{name}: {value}"),
            }
        }
        show("close", libc::close(fd).into());
        show("fpathconf of what is closed", libc::fpathconf(fd, libc::_PC_NAME_MAX));
    }
}

unsafe extern "C" {
    /// fgetpwent(3).
    fn fgetpwent(stream: *mut libc::FILE) -> *mut libc::passwd;
}

fn passwords() {
    // SAFETY: strings with their ends; the stream is open until it is closed, and each entry is read before the next.
    unsafe {
        let stream = libc::fopen(c"etc/passwd".as_ptr(), c"r".as_ptr());
        while let Some(entry) = fgetpwent(stream).as_ref() {
            print(entry);
        }
        libc::rewind(stream);
        println!("first again:");
        if let Some(entry) = fgetpwent(stream).as_ref() {
            print(entry);
        }
        libc::fclose(stream);
    }
}

/// Prints an entry.
fn print(entry: &libc::passwd) {
    // SAFETY: libc's strings, with their ends.
    let [name, folder, shell] =
        [entry.pw_name, entry.pw_dir, entry.pw_shell].map(|text| unsafe { CStr::from_ptr(text) });
    println!("{name:?} {} {} {folder:?} {shell:?}", entry.pw_uid, entry.pw_gid);
}

fn variables() {
    // SAFETY: strings that live as long as the program; no other thread runs.
    unsafe {
        println!("HOME: {:?}", get(c"HOME"));
        show("putenv", libc::putenv(c"CPPHOME=/usr/home/cpp".as_ptr().cast_mut()).into());
        println!("CPPHOME: {:?}", get(c"CPPHOME"));
        show("setenv", libc::setenv(c"CORE_DUMP".as_ptr(), c"core.dump".as_ptr(), 1).into());
        println!("CORE_DUMP: {:?}", get(c"CORE_DUMP"));
    }
}

/// getenv(3).
fn get(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: a string with its end; what it returns stays, as nothing here takes it away.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

fn clear_error() {
    // SAFETY: this thread's own number.
    unsafe { *libc::__errno_location() = 0 };
}

fn error_number() -> c_int {
    // SAFETY: this thread's own number.
    unsafe { *libc::__errno_location() }
}
