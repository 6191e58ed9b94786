//! What the network pass does with a stream socket: moves octets between its queues and its flow, and tells who waits.

use core::sync::atomic::Ordering;
use core::time::Duration;

use linux::errno::{ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EPIPE, ETIMEDOUT, Errno};
use linux::readiness::events;
use net::stack::{ListenerHandle, TcpHandle};
use net::tcp::{Error, Events, SendError};

use super::{Phase, TcpSocket, request};
use crate::pass::{self, Net};

impl TcpSocket {
    /// Does what the program has asked for.
    pub fn serve(&self, net: &mut Net) {
        self.posted.store(false, Ordering::Release);
        if self.take_request(request::ACCEPT) {
            self.on_accept(net);
        }
        if let Some(flow) = self.flow() {
            self.report_read(net, flow);
            self.go_on(net, flow);
        } else if self.requests.load(Ordering::Acquire) & request::CLOSE != 0 {
            self.unbind(net);
        }
    }

    /// The stack tells what happened to the flow.
    pub fn on_events(&self, net: &mut Net, flow: TcpHandle, came: Events) {
        let mut changed = 0;
        if came.has(Events::CONNECTED) {
            let mut place = self.place.lock();
            if let Phase::Connecting { flow, tuple } = place.phase {
                place.phase = Phase::Connected { flow, tuple };
            }
            changed |= events::OUT | events::WRNORM;
        }
        if came.has(Events::READABLE) {
            self.receive.lock().take_from(|frames| net.stack.tcp_receive_into(flow, frames));
            changed |= events::IN | events::RDNORM;
        }
        if came.has(Events::WRITABLE) {
            self.go_on(net, flow);
            if self.lingers.load(Ordering::Acquire) {
                changed |= events::ALWAYS;
            }
        }
        if came.has(Events::FINISHED) {
            {
                let mut receive = self.receive.lock();
                receive.finished = true;
                receive.ended = true;
            }
            changed |= events::IN | events::RDNORM | events::RDHUP;
        }
        if came.has(Events::CLOSED) {
            self.on_closed(net, flow);
            changed |= events::IN | events::OUT | events::ALWAYS | events::RDHUP;
        }
        if changed != 0 {
            self.readiness.notify(changed);
        }
    }

    /// The listener has connections, or room for more: takes all that are there, and says how many may come. One more than the
    /// backlog waits for the program, as on Linux.
    pub fn on_accept(&self, net: &mut Net) {
        let Phase::Listening { listener, backlog } = self.phase() else { return };
        while let Some(flow) = net.stack.tcp_accept(listener) {
            let Some(tuple) = net.stack.tcp_tuple(flow) else { continue };
            let socket = Self::with(Phase::Connected { flow, tuple }, self.options.lock().clone());
            net.flows.insert(flow, socket.clone());
            self.accepted.lock().push_back(socket);
            self.readiness.notify(events::IN | events::RDNORM);
        }
        let waiting = self.accepted.lock().len();
        net.stack.tcp_set_backlog(listener, (backlog + 1).saturating_sub(waiting));
    }

    /// There is memory for frames again.
    pub fn on_memory(&self) {
        self.starved.store(false, Ordering::Release);
        self.readiness.notify(events::OUT | events::WRNORM);
    }

    /// Ends whatever there is, with a reset to the peer, and makes the socket as good as new but for its address and options.
    pub(super) fn disconnect(&self, net: &mut Net) {
        match self.phase() {
            Phase::Connecting { flow, .. } | Phase::Connected { flow, .. } => {
                net.stack.tcp_abort(flow, pass::now());
                drop(net.flows.remove(flow));
            }
            Phase::Listening { listener, .. } => self.unlisten(net, listener),
            Phase::Idle | Phase::Over { .. } => {}
        }
        self.become_idle();
    }

    /// Listens no more; what nobody accepted is reset.
    pub(super) fn unlisten(&self, net: &mut Net, listener: ListenerHandle) {
        net.stack.tcp_unlisten(listener, pass::now());
        drop(net.listeners.remove(listener));
        if let Some(local) = self.place.lock().bound {
            net.bound.set_listens(self.inode, local, false);
        }
        let waiting = core::mem::take(&mut *self.accepted.lock());
        for socket in waiting {
            socket.disconnect(net);
        }
    }

    /// Gives the local address back.
    pub(super) fn unbind(&self, net: &mut Net) {
        if let Some(local) = self.place.lock().bound.take() {
            net.bound.release(self.inode, local);
        }
    }

    fn become_idle(&self) {
        self.place.lock().phase = Phase::Idle;
        // What was asked for and read concerned the connection that is gone.
        self.requests.fetch_and(request::CLOSE, Ordering::AcqRel);
        self.read.store(0, Ordering::Release);
        let receive = core::mem::take(&mut *self.receive.lock());
        let send = self.send.lock().take();
        drop((receive, send));
    }

    fn take_request(&self, what: u32) -> bool {
        self.requests.fetch_and(!what, Ordering::AcqRel) & what != 0
    }

    /// Tells the flow what the program has read.
    fn report_read(&self, net: &mut Net, flow: TcpHandle) {
        let read = self.read.swap(0, Ordering::AcqRel);
        if read > 0 {
            net.stack.tcp_read(flow, read, pass::now());
        }
    }

    /// Moves what is to be sent into the flow as far as that has room, and does what comes after.
    fn go_on(&self, net: &mut Net, flow: TcpHandle) {
        self.push(net, flow);
        let requests = self.requests.load(Ordering::Acquire);
        if requests & request::CLOSE != 0 {
            self.give_up(net, flow);
        } else if requests & request::SHUTDOWN != 0 && self.send.lock().is_empty() {
            self.take_request(request::SHUTDOWN);
            net.stack.tcp_shutdown(flow, pass::now());
        }
    }

    fn push(&self, net: &mut Net, flow: TcpHandle) {
        loop {
            // The lock is not held while the stack works.
            let Some(frame) = self.send.lock().pop() else { break };
            match net.stack.tcp_send(flow, frame, pass::now()) {
                Ok(()) => {}
                Err(SendError::Full(frame)) => {
                    self.send.lock().put_back(frame);
                    break;
                }
                // Nobody will have it. Why is told with the event that follows, the error first: `on_closed`.
                Err(SendError::Closed(_)) => {}
            }
        }
        let limits = self.send_limits();
        let held = net.stack.tcp(flow).map_or(0, |flow| flow.not_sent() as usize);
        let wanted = {
            let mut send = self.send.lock();
            send.held_by_flow = held;
            let told = send.wanted && send.is_writable(limits);
            send.wanted &= !told;
            told
        };
        if wanted {
            self.readiness.notify(events::OUT | events::WRNORM);
        }
    }

    /// Nobody uses the socket: its flow goes on alone until all is sent, or is reset if something was not read (RFC 9293
    /// § 3.6.1, RFC 1122 § 4.2.2.13) or the program said so (`SO_LINGER` of 0).
    fn give_up(&self, net: &mut Net, flow: TcpHandle) {
        let abort =
            self.receive.lock().octets() > 0 || self.options.lock().common.linger() == Some(Duration::ZERO);
        if !abort && !self.send.lock().is_empty() {
            // There is more than the flow has room for: on with it when there is. The peer may not let that take for ever.
            net.stack.tcp_orphan(flow, pass::now());
            return;
        }
        if abort {
            net.stack.tcp_abort(flow, pass::now());
        } else {
            // The program may have read the rest just now, on another CPU: told to the flow, which takes what is not read
            // for a reason to reset.
            self.report_read(net, flow);
            net.stack.tcp_close(flow, pass::now());
        }
        self.forget(net, flow);
    }

    /// The flow is done.
    fn on_closed(&self, net: &mut Net, flow: TcpHandle) {
        let error = net.stack.tcp(flow).and_then(|flow| flow.error()).map(|error| match error {
            Error::Refused => ECONNREFUSED,
            // As Linux tells who has seen the peer's end already.
            Error::Reset if self.receive.lock().finished => EPIPE,
            Error::Reset => ECONNRESET,
            Error::TimedOut => unreachable_or_timeout(net, flow),
            Error::Aborted => ECONNABORTED,
            Error::Unreachable => EHOSTUNREACH,
        });
        if let Some(error) = error {
            self.set_error(error);
        }
        net.stack.tcp_close(flow, pass::now());
        self.forget(net, flow);
        self.receive.lock().ended = true;
        self.send.lock().shut = true;
    }

    /// The flow is no longer this socket's.
    fn forget(&self, net: &mut Net, flow: TcpHandle) {
        let phase = self.phase();
        match phase {
            // The program may try again.
            Phase::Connecting { .. } => self.become_idle(),
            Phase::Connected { tuple, .. } => self.place.lock().phase = Phase::Over { tuple },
            _ => {}
        }
        // What was queued and nobody sends any more is memory.
        drop(self.send.lock().take());
        if self.requests.load(Ordering::Acquire) & request::CLOSE != 0 {
            self.unbind(net);
        }
        drop(net.flows.remove(flow));
    }
}

/// A connection that timed out may have been told why.
fn unreachable_or_timeout(net: &Net, flow: TcpHandle) -> Errno {
    match net.stack.tcp_icmp_error(flow) {
        Some(wire::icmpv4::Repr::Unreachable(_)) => EHOSTUNREACH,
        _ => ETIMEDOUT,
    }
}
