//! Connections of streams and sequenced packets: listen(2), connect(2), accept(2).

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use linux::errno::{EAGAIN, ECONNREFUSED, EINVAL, EISCONN, ENOBUFS, EOPNOTSUPP, Errno};
use linux::readiness::events;
use linux::socket::{Credentials, UnixName};

use super::names::Bound;
use super::{Phase, READABLE, UnixSocket, WRITABLE, Wait, names};

/// Most connections that wait to be accepted (`net.core.somaxconn`).
const MAX_BACKLOG: usize = 4096;

impl UnixSocket {
    /// listen(2).
    pub(super) fn start_listening(&self, backlog: i32) -> Result<(), Errno> {
        if !self.is_connected_kind() {
            return Err(EOPNOTSUPP);
        }
        if self.name() == UnixName::Unnamed {
            return Err(EINVAL);
        }
        {
            let mut state = self.state.lock();
            if !matches!(self.advance(Phase::Listening), Ok(()) | Err(Phase::Listening)) {
                return Err(EINVAL);
            }
            // A negative backlog is a large one, as on Linux.
            state.backlog_max = usize::try_from(backlog).unwrap_or(MAX_BACKLOG).min(MAX_BACKLOG);
            state.peer_credentials = Some(Credentials::OWN);
        }
        self.room.notify(WRITABLE);
        Ok(())
    }

    /// connect(2). There is no connection in progress: it is there, or it has to wait for room among those to be accepted.
    pub(super) fn connect_to_listener(&self, name: &UnixName, wait: Wait) -> Result<(), Errno> {
        names::autobind_to_pass(self)?;
        loop {
            let listener = names::find(self, name)?;
            let connected = listener
                .room
                .block_on(events::OUT, wait.nonblocking, wait.deadline, || self.try_connect(&listener))?;
            if connected {
                listener.readiness.notify(READABLE);
                self.readiness.notify(WRITABLE);
                return Ok(());
            }
        }
    }

    /// Connects unless the listener was closed in the meantime: then it is to be looked for again.
    fn try_connect(&self, listener: &UnixSocket) -> Result<bool, Errno> {
        let connection = Self::new(self.kind)?;
        let mut listening = listener.state.lock();
        if listening.closed {
            return Ok(false);
        }
        if listener.phase() != Phase::Listening || listening.receive_shut {
            return Err(ECONNREFUSED);
        }
        if listening.backlog.len() > listening.backlog_max {
            return Err(EAGAIN);
        }
        listening.backlog.try_reserve(1).map_err(|_| ENOBUFS)?;
        // From here on this one is no listener, and never will be: its lock comes after one's.
        self.advance(Phase::Connected).map_err(|phase| match phase {
            Phase::Connected => EISCONN,
            _ => EINVAL,
        })?;
        connection.phase.store(Phase::Connected as u8, Ordering::Release);
        connection.listener.store(listener.inode, Ordering::Release);
        *connection.bound.lock() = Bound::as_of(listener.name());
        for (one, other) in [(self, &connection.this), (&*connection, &self.this)] {
            let mut state = one.state.lock();
            state.peer = other.upgrade();
            state.peer_credentials = Some(Credentials::OWN);
        }
        listening.backlog.push_back(connection);
        Ok(true)
    }

    /// accept(2).
    pub(super) fn accept_connection(&self, nonblocking: bool) -> Result<Arc<Self>, Errno> {
        if !self.is_connected_kind() {
            return Err(EOPNOTSUPP);
        }
        if self.phase() != Phase::Listening {
            return Err(EINVAL);
        }
        let wait = self.receive_wait(nonblocking);
        let accepted = self.readiness.block_on(events::IN, wait.nonblocking, wait.deadline, || {
            let mut state = self.state.lock();
            match state.backlog.pop_front() {
                Some(connection) => Ok(connection),
                None if state.receive_shut => Err(EINVAL),
                None => Err(EAGAIN),
            }
        })?;
        accepted.listener.store(0, Ordering::Release);
        let passes = self.passes_credentials.load(Ordering::Relaxed);
        accepted.passes_credentials.store(passes, Ordering::Relaxed);
        self.room.notify(WRITABLE);
        Ok(accepted)
    }
}
