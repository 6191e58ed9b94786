//! Messages: datagrams, and those of a connection of sequenced packets.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux::buffers::UserBuffers;
use linux::errno::{
    EAGAIN, ECONNREFUSED, ECONNRESET, EFAULT, EINVAL, EMSGSIZE, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE, Errno,
};
use linux::fd::Description;
use linux::readiness::events;
use linux::socket::{Address, Control, Credentials, Kind, Outgoing, Received, UnixName, flags};

use super::inbox::{Message, Queued};
use super::rights::{self, Rights};
use super::{ENDED, MAX_QUEUED, NOBODY, Phase, State, UnixSocket, WRITABLE, Wait, ancillary, named, names};

/// Octets of the send buffer that a message leaves free (Linux' unix_dgram_sendmsg).
const RESERVED: usize = 32;

/// Where a message goes.
enum Destination {
    Peer,
    Name(UnixName),
}

/// What became of an attempt to deliver a message.
enum Delivery {
    Done,
    /// The socket with the name is closed: it is to be looked for again.
    Gone,
}

/// A message that is received.
struct Next {
    message: Arc<Message>,
    /// Octets of it to pass over.
    skip: usize,
    rights: Vec<Arc<Description>>,
    credentials: Credentials,
}

impl UnixSocket {
    /// connect(2) of a datagram socket.
    pub(super) fn connect_datagrams(&self, name: &UnixName) -> Result<(), Errno> {
        names::autobind_to_pass(self)?;
        loop {
            let other = names::find(self, name)?;
            {
                let state = other.state.lock();
                if state.closed {
                    continue;
                }
                if state.peer.is_some() && !state.is_peer(self) {
                    return Err(EPERM);
                }
            }
            self.set_peer(Some(other));
            return Ok(());
        }
    }

    /// Changes where messages go. Those that came from another one are lost, as on Linux, and their sender is told.
    pub(super) fn set_peer(&self, peer: Option<Arc<Self>>) {
        let before = core::mem::replace(&mut self.state.lock().peer, peer.clone());
        let Some(before) = before else { return };
        self.forget_room_of(&before);
        self.readiness.notify(WRITABLE);
        if !peer.is_some_and(|peer| Arc::ptr_eq(&peer, &before)) {
            self.disconnected(&before);
        }
    }

    fn disconnected(&self, before: &Self) {
        let lost = core::mem::take(&mut self.state.lock().inbox);
        if lost.is_empty() {
            return;
        }
        rights::release(lost.into_descriptions());
        self.made_room();
        let reset = {
            let mut state = before.state.lock();
            let reset = !state.closed && state.is_peer(self);
            if reset {
                state.error = Some(ECONNRESET);
            }
            reset
        };
        if reset {
            before.readiness.notify(ENDED);
        }
    }

    pub(super) fn send_message(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        wait: Wait,
    ) -> Result<usize, Errno> {
        let is_connection = self.kind == Kind::SeqPacket;
        if is_connection {
            self.state.lock().take_error()?;
            if self.phase() != Phase::Connected {
                return Err(ENOTCONN);
            }
        }
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        let destination = match outgoing.to {
            Some(Address::Unix(name @ (UnixName::Path(_) | UnixName::Abstract(_)))) if !is_connection => {
                Destination::Name(name)
            }
            Some(_) if !is_connection => return Err(EINVAL),
            _ => Destination::Peer,
        };
        names::autobind_to_pass(self)?;
        let len = from.len();
        if len > self.send_limit().saturating_sub(RESERVED) {
            return Err(EMSGSIZE);
        }
        self.wait_to_send(wait)?;
        let (rights, credentials) = ancillary(outgoing.control);
        let rights = Rights::new(rights)?;
        let this = self.this.upgrade().ok_or(EPIPE)?;
        let message = Message::read(this, from, len, &rights)?;
        if message.octets.len() < len {
            return Err(EFAULT);
        }
        let mut queued = Some(Queued { message: Arc::new(message), start: 0, rights, credentials });
        loop {
            let (other, is_peer) = match &destination {
                Destination::Peer => (self.peer().ok_or(ENOTCONN)?, true),
                Destination::Name(name) => (names::find(self, name)?, false),
            };
            let delivered = other.room.block_on(events::OUT, wait.nonblocking, wait.deadline, || {
                self.deliver(&other, is_peer, &mut queued)
            })?;
            match delivered {
                Delivery::Done => return Ok(len),
                Delivery::Gone if is_connection => return Err(EPIPE),
                Delivery::Gone if is_peer => {
                    self.lose_peer(&other);
                    return Err(ECONNREFUSED);
                }
                Delivery::Gone => {}
            }
        }
    }

    /// Delivers a message; `EAGAIN`: there is no room.
    fn deliver(&self, other: &Self, is_peer: bool, queued: &mut Option<Queued>) -> Result<Delivery, Errno> {
        if let Some(queued) = queued {
            queued.credentials = self.credentials_for(other, queued.credentials);
        }
        loop {
            let (mut gone, mut full) = (false, false);
            let put = other.enqueue(queued, |state| {
                (gone, full) = (state.closed, self.is_full(other, state));
                if state.peer.is_some() && !state.is_peer(self) {
                    Err(EPERM)
                } else if state.receive_shut {
                    Err(EPIPE)
                } else if full {
                    Err(EAGAIN)
                } else {
                    Ok(())
                }
            });
            match put {
                _ if gone => return Ok(Delivery::Gone),
                // Who is told later that there is room looks again.
                Err(EAGAIN) if full && is_peer && self.want_room_of(other) => {}
                put => return put.map(|()| Delivery::Done),
            }
        }
    }

    /// Whether the queue of another one is full. Who has this one as its peer is bounded by what this one may send.
    fn is_full(&self, other: &Self, state: &State) -> bool {
        !core::ptr::eq(self, other) && !state.is_peer(self) && state.inbox.len() > MAX_QUEUED
    }

    /// A message could not be delivered because the peer is closed.
    fn lose_peer(&self, peer: &Arc<Self>) {
        let was_peer = {
            let mut state = self.state.lock();
            let was_peer = state.is_peer(peer);
            if was_peer {
                state.peer = None;
            }
            was_peer
        };
        if was_peer {
            self.forget_room_of(peer);
            self.readiness.notify(WRITABLE);
            self.disconnected(peer);
        }
    }

    /// Whether the peer, if there is one, has room; if not, it will tell.
    pub(super) fn peer_has_room(&self) -> bool {
        let Some(peer) = self.peer() else { return true };
        let is_full = self.is_full(&peer, &peer.state.lock());
        !is_full || self.want_room_of(&peer)
    }

    /// Stands in a full socket's list of those that want room; `true`: it has room, or is closed, after all.
    fn want_room_of(&self, other: &Self) -> bool {
        let mut state = other.state.lock();
        if state.closed || !self.is_full(other, &state) {
            return true;
        }
        if self.wants_room_of.swap(other.inode, Ordering::AcqRel) != other.inode
            && state.wanted.try_reserve(1).is_ok()
        {
            state.wanted.push(self.this.clone());
        }
        false
    }

    /// Wants no room of a socket any more.
    pub(super) fn forget_room_of(&self, other: &Self) {
        let mut state = other.state.lock();
        if self.wants_room_of.compare_exchange(other.inode, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            state.wanted.retain(|sender| !core::ptr::eq(sender.as_ptr(), self));
        }
    }

    pub(super) fn receive_message(
        &self,
        to: &mut UserBuffers,
        flags: u32,
        wait: Wait,
    ) -> Result<Received, Errno> {
        if self.kind == Kind::SeqPacket && self.phase() != Phase::Connected {
            return Err(ENOTCONN);
        }
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        let peek = (flags & flags::PEEK != 0).then(|| self.peek_start());
        let next = self.readiness.block_on(events::IN, wait.nonblocking, wait.deadline, || {
            match self.next_message(peek) {
                // Who does not wait hears of the end only from a connection.
                Err(EAGAIN) if self.is_at_end(wait.nonblocking) => Ok(None),
                next => next.map(Some),
            }
        })?;
        let Some(Next { message, skip, rights, credentials }) = next else { return Ok(Received::default()) };
        if peek.is_none() {
            self.made_room();
        }
        let octets = message.octets.get(skip..).unwrap_or_default();
        // A message that cannot be delivered is lost, as on Linux.
        let fits = octets.len().min(to.len());
        let written = if fits == 0 { 0 } else { to.write(&octets[..fits])? };
        if written < fits {
            return Err(EFAULT);
        }
        self.move_peek_start(peek.is_some(), if peek.is_some() { written } else { message.octets.len() });
        let mut received = Received::datagram(written, octets.len(), named(&message.sender), flags);
        if self.passes_credentials.load(Ordering::Relaxed) {
            received.control.push(Control::Credentials(credentials));
        }
        if !rights.is_empty() {
            received.control.push(Control::Rights(rights));
        }
        Ok(received)
    }

    fn is_at_end(&self, nonblocking: bool) -> bool {
        self.state.lock().receive_shut && (self.kind == Kind::SeqPacket || !nonblocking)
    }

    /// The next message, which leaves the queue, or, with `peek`, the one with the octet behind so many others.
    fn next_message(&self, peek: Option<usize>) -> Result<Next, Errno> {
        // A message with sockets moves when nobody looks for garbage; that it has some shows only now.
        let mut moving = None;
        loop {
            let mut state = self.state.lock();
            state.take_error()?;
            let (queued, skip) = state.inbox.find(peek.unwrap_or(0)).ok_or(EAGAIN)?;
            if queued.rights.has_sockets() && moving.is_none() {
                drop(state);
                moving = Some(rights::moving());
                continue;
            }
            let credentials = queued.credentials.unwrap_or(NOBODY);
            if peek.is_some() {
                let (message, rights) = (queued.message.clone(), queued.rights.peek());
                return Ok(Next { message, skip, rights, credentials });
            }
            let Queued { message, rights, .. } = state.inbox.pop().ok_or(EAGAIN)?;
            return Ok(Next { message, skip: 0, rights: rights.into_descriptions(), credentials });
        }
    }
}
