//! Error numbers (errno(3); values of x86_64 and aarch64).

use kernel::mm::MapError;
use kernel::sched::NoMemory;
use kernel::uaccess::Fault;

/// An error number, positive as in `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

macro_rules! errno {
    ($($name:ident = $value:literal;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: Errno = Errno($value);)*
    };
}

errno! {
    EPERM = 1;
    ENOENT = 2;
    ESRCH = 3;
    EINTR = 4;
    EIO = 5;
    ENXIO = 6;
    E2BIG = 7;
    EBADF = 9;
    EAGAIN = 11;
    ENOMEM = 12;
    EACCES = 13;
    EFAULT = 14;
    EBUSY = 16;
    EEXIST = 17;
    EXDEV = 18;
    ENODEV = 19;
    ENOTDIR = 20;
    EISDIR = 21;
    EINVAL = 22;
    EMFILE = 24;
    ENOTTY = 25;
    EFBIG = 27;
    ENOSPC = 28;
    ESPIPE = 29;
    EROFS = 30;
    EPIPE = 32;
    EDOM = 33;
    ERANGE = 34;
    EDEADLK = 35;
    ENAMETOOLONG = 36;
    ENOLCK = 37;
    ENOSYS = 38;
    ELOOP = 40;
    EPROTO = 71;
    EOVERFLOW = 75;
    ENOTSOCK = 88;
    EDESTADDRREQ = 89;
    EMSGSIZE = 90;
    EPROTOTYPE = 91;
    ENOPROTOOPT = 92;
    EPROTONOSUPPORT = 93;
    ESOCKTNOSUPPORT = 94;
    EOPNOTSUPP = 95;
    EAFNOSUPPORT = 97;
    EADDRINUSE = 98;
    EADDRNOTAVAIL = 99;
    ENETDOWN = 100;
    ENETUNREACH = 101;
    ECONNABORTED = 103;
    ECONNRESET = 104;
    ENOBUFS = 105;
    EISCONN = 106;
    ENOTCONN = 107;
    ETOOMANYREFS = 109;
    ETIMEDOUT = 110;
    ECONNREFUSED = 111;
    EHOSTUNREACH = 113;
    EALREADY = 114;
    EINPROGRESS = 115;
    ERESTARTSYS = 512;
    ERESTARTNOINTR = 513;
    ERESTARTNOHAND = 514;
}

// The ERESTART numbers never reach a program: `signal` turns them into EINTR, or makes the call again (as Linux'
// include/linux/errno.h has it; the first depends on SA_RESTART, the second is always made again, the third only if no
// handler ran).

impl From<Fault> for Errno {
    fn from(_: Fault) -> Self {
        EFAULT
    }
}

impl From<vfs::Error> for Errno {
    fn from(error: vfs::Error) -> Self {
        Self(error.errno())
    }
}

impl From<NoMemory> for Errno {
    fn from(_: NoMemory) -> Self {
        ENOMEM
    }
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Invalid => EINVAL,
            MapError::NoMemory => ENOMEM,
            MapError::Exists => EEXIST,
            MapError::Denied => EACCES,
            MapError::NotMapped => EFAULT,
        }
    }
}

/// What a handler returns: the value for rax, or an error.
pub type Result = core::result::Result<u64, Errno>;
