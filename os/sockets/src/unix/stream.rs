//! Octets through a stream.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use linux::buffers::UserBuffers;
use linux::errno::{EAGAIN, EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPIPE, Errno};
use linux::fd::Description;
use linux::pace::Pace;
use linux::readiness::events;
use linux::socket::{Control, Credentials, Outgoing, Received, flags};

use super::inbox::{Message, Queued};
use super::rights::{self, Rights};
use super::{NOBODY, Phase, UnixSocket, Wait, ancillary, named};

/// Octets of a stream that are moved at once.
const STEP: usize = 4096;

/// What one step of a receive gave.
struct Part {
    taken: usize,
    from: Arc<UnixSocket>,
    credentials: Credentials,
    rights: Vec<Arc<Description>>,
    /// The message ends here, and what follows may be received with it.
    goes_on: bool,
}

impl UnixSocket {
    pub(super) fn send_stream(
        &self,
        from: &mut UserBuffers,
        outgoing: Outgoing,
        flags: u32,
        wait: Wait,
    ) -> Result<usize, Errno> {
        if flags & flags::OOB != 0 {
            return Err(EOPNOTSUPP);
        }
        if outgoing.to.is_some() {
            return Err(if self.phase() == Phase::Connected { EISCONN } else { EOPNOTSUPP });
        }
        let (rights, credentials) = ancillary(outgoing.control);
        let peer = {
            let state = self.state.lock();
            let peer = state.peer.clone().ok_or(ENOTCONN)?;
            if state.send_shut {
                return Err(EPIPE);
            }
            peer
        };
        // They go with the first octets.
        let mut rights = if from.is_empty() { Rights::none() } else { Rights::new(rights)? };
        let (mut done, mut pace) = (0, Pace::new());
        while !from.is_empty() {
            let sent = self.send_part(&peer, from, &mut rights, credentials, wait);
            match sent {
                Ok(sent) => {
                    done += sent;
                    if pace.moved(sent) {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn send_part(
        &self,
        peer: &Arc<Self>,
        from: &mut UserBuffers,
        rights: &mut Rights,
        credentials: Option<Credentials>,
        wait: Wait,
    ) -> Result<usize, Errno> {
        self.wait_to_send(wait)?;
        let this = self.this.upgrade().ok_or(EPIPE)?;
        let credentials = self.credentials_for(peer, credentials);
        let message = Message::read(this, from, from.len().min(STEP), rights)?;
        let len = message.octets.len();
        let queued =
            Queued { message: Arc::new(message), start: 0, rights: core::mem::take(rights), credentials };
        peer.enqueue(&mut Some(queued), |state| {
            if state.closed || state.receive_shut { Err(EPIPE) } else { Ok(()) }
        })?;
        Ok(len)
    }

    pub(super) fn receive_stream(
        &self,
        to: &mut UserBuffers,
        flags: u32,
        wait: Wait,
    ) -> Result<Received, Errno> {
        if self.phase() != Phase::Connected || flags & flags::OOB != 0 {
            return Err(EINVAL);
        }
        let (peek, passes) = (flags & flags::PEEK != 0, self.passes_credentials.load(Ordering::Relaxed));
        let all = flags & flags::WAITALL != 0 && !peek;
        let mut skip = if peek { self.peek_start() } else { 0 };
        let mut received = Received::default();
        let (mut first, mut credentials, mut pace) = (true, None, Pace::new());
        while first || !to.is_empty() {
            let nonblocking = wait.nonblocking || !first && !all;
            // What a receive is told that has octets already is for the next one.
            let told = !first && !all;
            let part = self.readiness.block_on(events::IN, nonblocking, wait.deadline, || {
                self.receive_part(to, peek.then_some(skip), told, credentials)
            });
            match part {
                Ok(Some(part)) => {
                    if first {
                        received.from = named(&part.from);
                        credentials = passes.then_some(part.credentials);
                    }
                    first = false;
                    received.len += part.taken;
                    skip += part.taken;
                    let has_rights = !part.rights.is_empty();
                    if has_rights {
                        received.control.push(Control::Rights(part.rights));
                    }
                    if !part.goes_on || has_rights || pace.moved(part.taken) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) if !first => break,
                Err(error) => return Err(error),
            }
        }
        self.move_peek_start(peek, received.len);
        // At the end Linux has some, too: of nobody at all.
        if first && passes {
            credentials = Some(Credentials { pid: 0, uid: 0, gid: 0 });
        }
        // Before descriptors, as on Linux.
        if let Some(credentials) = credentials {
            received.control.insert(0, Control::Credentials(credentials));
        }
        Ok(received)
    }

    /// Delivers octets of the first message, or, with `peek`, of those behind so many octets. `Ok(None)`: the end, or a message that
    /// is not to be received together with those before it, whose sender's credentials are `same`.
    fn receive_part(
        &self,
        to: &mut UserBuffers,
        peek: Option<usize>,
        told: bool,
        same: Option<Credentials>,
    ) -> Result<Option<Part>, Errno> {
        let turn = self.receiving.lock();
        let (message, start, credentials) = {
            let mut state = self.state.lock();
            let found = state.inbox.find(peek.unwrap_or(0));
            match found {
                Some((queued, skip)) => {
                    let credentials = queued.credentials.unwrap_or(NOBODY);
                    (queued.message.clone(), queued.start + skip, credentials)
                }
                None if told => return Ok(None),
                None => {
                    state.take_error()?;
                    return if state.receive_shut { Ok(None) } else { Err(EAGAIN) };
                }
            }
        };
        if same.is_some_and(|same| same != credentials) {
            return Ok(None);
        }
        let octets = message.octets.get(start..).unwrap_or_default();
        let taken = to.write(&octets[..octets.len().min(to.len())])?;
        let goes_on = taken == octets.len();
        let rights = self.take_rights(&message, peek.is_some());
        let consumed = match peek {
            Some(_) => None,
            None => self.state.lock().inbox.consume(taken),
        };
        drop(turn);
        let part = Part { taken, from: message.sender.clone(), credentials, rights, goes_on };
        // With the locks open: it tells the sender.
        drop((message, consumed));
        Ok(Some(part))
    }

    /// The descriptions of a message in the queue: they go with its first octets; one who peeks gets them, too.
    fn take_rights(&self, message: &Arc<Message>, peek: bool) -> Vec<Arc<Description>> {
        let is_it = |queued: &&mut Queued| Arc::ptr_eq(&queued.message, message);
        let (has_rights, has_sockets) = {
            let mut state = self.state.lock();
            let found = state.inbox.iter_mut().find(is_it);
            found.map_or((false, false), |found| (!found.rights.is_empty(), found.rights.has_sockets()))
        };
        if !has_rights {
            return Vec::new();
        }
        let moving = has_sockets.then(rights::moving);
        let taken = {
            let mut state = self.state.lock();
            let Some(found) = state.inbox.iter_mut().find(is_it) else { return Vec::new() };
            if peek { Ok(found.rights.peek()) } else { Err(core::mem::take(&mut found.rights)) }
        };
        let taken = taken.unwrap_or_else(Rights::into_descriptions);
        drop(moving);
        taken
    }
}
