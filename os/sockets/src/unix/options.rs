//! Options of local sockets (socket(7), unix(7)).

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux::errno::{EOPNOTSUPP, Errno};
use linux::socket::{AF_UNIX, Credentials, Kind};

use super::{Phase, UnixSocket};
use crate::options::{SOL_SOCKET, int, name, of_int};

const PASSCRED: i32 = 16;
const PEERCRED: i32 = 17;
const PEEK_OFF: i32 = 42;

/// Those of who is not connected.
const NO_PEER: Credentials = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };

impl UnixSocket {
    /// setsockopt(2).
    pub(super) fn set(&self, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(EOPNOTSUPP);
        }
        match option {
            PASSCRED => self.passes_credentials.store(int(value)? != 0, Ordering::Relaxed),
            PEEK_OFF => self.peek_offset.store(int(value)?, Ordering::Relaxed),
            _ => self.options.lock().set(option, value)?,
        }
        Ok(())
    }

    /// getsockopt(2).
    pub(super) fn get(&self, level: i32, option: i32) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(EOPNOTSUPP);
        }
        Ok(match option {
            name::ERROR => of_int(self.state.lock().error.take().map_or(0, |Errno(error)| error.into())),
            name::TYPE => of_int(match self.kind {
                Kind::Stream => 1,
                Kind::Datagram => 2,
                Kind::SeqPacket => 5,
            }),
            name::PROTOCOL => of_int(0),
            name::DOMAIN => of_int(AF_UNIX.into()),
            name::ACCEPTCONN => of_int((self.phase() == Phase::Listening).into()),
            PASSCRED => of_int(self.passes_credentials.load(Ordering::Relaxed).into()),
            PEERCRED => self.state.lock().peer_credentials.unwrap_or(NO_PEER).octets().to_vec(),
            PEEK_OFF => of_int(self.peek_offset.load(Ordering::Relaxed)),
            _ => self.options.lock().get(option)?,
        })
    }

    /// Octets that a look at the queue passes over.
    pub(super) fn peek_start(&self) -> usize {
        usize::try_from(self.peek_offset.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// So many octets were looked at, or received: the next look goes on where it was.
    pub(super) fn move_peek_start(&self, peek: bool, octets: usize) {
        let octets = i32::try_from(octets).unwrap_or(i32::MAX);
        let _ = self.peek_offset.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |offset| {
            let moved =
                if peek { offset.saturating_add(octets) } else { offset.saturating_sub(octets).max(0) };
            (offset >= 0).then_some(moved)
        });
    }
}
