//! [`Error`]: why a call on files fails.

/// Why; the discriminant is Linux' number (errno(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Error {
    /// A directory cannot be linked to, or what is asked is not for such a node (EPERM).
    NotPermitted = 1,
    /// No such name (ENOENT).
    NotFound = 2,
    /// Reading failed (EIO).
    Io = 5,
    /// There is no device behind the node (ENXIO).
    NoDevice = 6,
    /// Memory is short (ENOMEM).
    NoMemory = 12,
    /// No file of this kind can be executed (EACCES).
    Denied = 13,
    /// Something is mounted there, or the name is the caller's own (EBUSY).
    Busy = 16,
    /// The name is taken (EEXIST).
    Exists = 17,
    /// The nodes are in different file systems (EXDEV).
    CrossesFileSystems = 18,
    /// What is not a directory is used as one (ENOTDIR).
    NotADirectory = 20,
    /// A directory where there must not be one (EISDIR).
    IsADirectory = 21,
    /// An argument is not one of those there are (EINVAL).
    Invalid = 22,
    /// More octets than a file may have (EFBIG).
    TooLarge = 27,
    /// The file system is at its limits, or memory is (ENOSPC).
    NoSpace = 28,
    /// The file system cannot be written to (EROFS).
    ReadOnly = 30,
    /// A name of more than 255 octets (ENAMETOOLONG).
    NameTooLong = 36,
    /// The directory has entries (ENOTEMPTY).
    NotEmpty = 39,
    /// Too many symbolic links in a path, or one where none may be followed (ELOOP).
    TooManyLinks = 40,
    /// No data behind the offset (ENXIO of lseek(2) is [`Error::NoDevice`]; this one is EOVERFLOW).
    Overflow = 75,
    /// Not supported by nodes of this kind (EOPNOTSUPP).
    NotSupported = 95,
}

/// The result of a call on files.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// Linux' number.
    pub fn errno(self) -> u16 {
        self as u16
    }
}
