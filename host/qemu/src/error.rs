//! Why a machine could not be started.

use std::path::PathBuf;
use std::{fmt, io};

/// A machine that could not be started or watched. What happens inside a machine is an [`crate::Outcome`].
#[derive(Debug)]
pub enum Error {
    /// The QEMU program is not there.
    NoQemu(PathBuf),
    /// The image is not there or cannot be read.
    Image(PathBuf, io::Error),
    /// The host refused something: a pipe, a process, a file.
    Host(&'static str, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQemu(program) => write!(
                f,
                "{} was not found; install it (Debian: `sudo apt-get install --no-install-recommends \
                 qemu-system-x86`) or name it in QEMU",
                program.display()
            ),
            Self::Image(path, error) => write!(f, "image {}: {error}", path.display()),
            Self::Host(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoQemu(_) => None,
            Self::Image(_, error) | Self::Host(_, error) => Some(error),
        }
    }
}
