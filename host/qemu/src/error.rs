//! Why a machine could not be started.

use std::path::PathBuf;
use std::{fmt, io};

use crate::network::Forward;

/// A machine that could not be started or watched. What happens inside a machine is an [`crate::Outcome`].
#[derive(Debug)]
pub enum Error {
    /// The QEMU program is not there.
    NoQemu(PathBuf),
    /// The image is not there or cannot be read.
    Image(PathBuf, io::Error),
    /// A port of the host cannot be listened on.
    Port(Forward, io::Error),
    /// There is no such tap interface.
    NoTap(String),
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
            Self::Port(forward, error) => {
                let Forward { protocol, address, host, .. } = forward;
                write!(f, "{protocol} port {host} of {address} ")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(f, "is in use; choose another (-p PORT:{})", forward.guest)
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "needs rights of the administrator; choose one above 1023")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(f, "cannot be used: no interface has the address")
                    }
                    _ => write!(f, "cannot be used: {error}"),
                }
            }
            Self::NoTap(name) => write!(
                f,
                "there is no network interface {name:?}; remedy: `sudo ip tuntap add dev {name} mode tap user $USER && \
                 sudo ip link set {name} up`"
            ),
            Self::Host(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoQemu(_) | Self::NoTap(_) => None,
            Self::Image(_, error) | Self::Port(_, error) | Self::Host(_, error) => Some(error),
        }
    }
}
