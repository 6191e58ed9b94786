//! Descriptors on their way from one local socket to another (`SCM_RIGHTS`).
//!
//! **Cycles.** A socket on its way in its own queue, or two in each other's, would be kept by nothing but themselves when the
//! program closes its descriptors. As on Linux they are looked for when a local socket is closed: a description that is on its way is
//! *garbage* if all that hold it are messages in queues of sockets that are garbage. Which ones these are is found by a look at the
//! queues that may hold sockets, in which nothing moves meanwhile: whoever puts a message with a socket into a queue or takes it out
//! holds the lock of the [`Holders`]. A message that somebody has taken out counts as any other holder does, so that what it brings is
//! not garbage.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use linux::errno::{ENOMEM, ETOOMANYREFS, Errno};
use linux::fd::Description;
use linux::limits;
use sync::{SpinGuard, SpinLock};

use super::UnixSocket;

/// Descriptions on their way, and local sockets among them.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
static SOCKETS_IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
/// Sockets that were closed since garbage was looked for.
static CLOSED: AtomicUsize = AtomicUsize::new(0);
/// Searches for garbage that were asked for since the present one began, and that one; 0: there is none.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// As many sockets on their way may be looked at for one that is closed.
const LOOKED_AT: usize = 16;

static HOLDERS: SpinLock<Holders> = SpinLock::new(Holders(Vec::new()));

/// The sockets in whose queues there may be sockets.
pub struct Holders(Vec<Weak<UnixSocket>>);

/// Holds up the search for garbage, while a message with sockets goes into a queue or out of it. Before the sockets' own locks.
pub fn moving() -> SpinGuard<'static, Holders> {
    HOLDERS.lock()
}

impl Holders {
    /// # Errors
    /// `ENOMEM`.
    pub fn register(&mut self, holder: &UnixSocket) -> Result<(), Errno> {
        if !holder.holds_sockets.load(Ordering::Relaxed) {
            self.0.try_reserve(1).map_err(|_| ENOMEM)?;
            self.0.push(holder.this.clone());
            holder.holds_sockets.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A socket is closed, and its queue empty.
pub fn forget_holder(holder: &UnixSocket) {
    if holder.holds_sockets.load(Ordering::Relaxed) {
        let mut holders = HOLDERS.lock();
        holders.0.retain(|other| !core::ptr::eq(other.as_ptr(), holder));
    }
}

/// The descriptions of a message, counted as long as they are on their way.
#[derive(Default)]
pub struct Rights {
    descriptions: Vec<Arc<Description>>,
    sockets: usize,
}

impl Rights {
    pub const fn none() -> Self {
        Self { descriptions: Vec::new(), sockets: 0 }
    }

    /// # Errors
    /// `ETOOMANYREFS`: more than `RLIMIT_NOFILE` are on their way.
    pub fn new(descriptions: Vec<Arc<Description>>) -> Result<Self, Errno> {
        if descriptions.is_empty() {
            return Ok(Self::none());
        }
        let are_too_many = || IN_FLIGHT.load(Ordering::Relaxed) as u64 > limits::files();
        if are_too_many() {
            collect();
            if are_too_many() {
                return Err(ETOOMANYREFS);
            }
        }
        let sockets = descriptions.iter().filter(|description| socket(description).is_some()).count();
        IN_FLIGHT.fetch_add(descriptions.len(), Ordering::Relaxed);
        SOCKETS_IN_FLIGHT.fetch_add(sockets, Ordering::Relaxed);
        Ok(Self { descriptions, sockets })
    }

    pub fn is_empty(&self) -> bool {
        self.descriptions.is_empty()
    }

    pub fn len(&self) -> usize {
        self.descriptions.len()
    }

    /// Whether local sockets are among them: then they move only with [`moving`].
    pub fn has_sockets(&self) -> bool {
        self.sockets > 0
    }

    /// Others for the same, which are not on their way.
    pub fn peek(&self) -> Vec<Arc<Description>> {
        self.descriptions.clone()
    }

    /// They have arrived.
    pub fn into_descriptions(mut self) -> Vec<Arc<Description>> {
        self.arrive()
    }

    fn arrive(&mut self) -> Vec<Arc<Description>> {
        let sockets = core::mem::take(&mut self.sockets);
        IN_FLIGHT.fetch_sub(self.descriptions.len(), Ordering::Relaxed);
        SOCKETS_IN_FLIGHT.fetch_sub(sockets, Ordering::Relaxed);
        core::mem::take(&mut self.descriptions)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        release(self.arrive());
    }
}

fn socket(description: &Description) -> Option<&UnixSocket> {
    description.downcast()
}

/// Lets descriptions go, one after the other, however deep they are in each other: the queue of a socket that is closed by this is
/// emptied first, so that closing it lets nothing go.
pub fn release(mut descriptions: Vec<Arc<Description>>) {
    while let Some(description) = descriptions.pop() {
        let Some(last) = Arc::into_inner(description) else { continue };
        if let Some(socket) = socket(&last) {
            descriptions.append(&mut socket.end(true));
        }
        drop(last);
    }
}

/// Looks for garbage, unless that was done for sockets that were closed shortly before and there is much to be looked at.
pub fn collect_at_close() {
    let sockets = SOCKETS_IN_FLIGHT.load(Ordering::Relaxed);
    if sockets > 0 && (CLOSED.fetch_add(1, Ordering::Relaxed) + 1) * LOOKED_AT >= sockets {
        collect();
    }
}

/// Closes the sockets that are kept by nothing but themselves. Closing them comes back here, and others may: who is at it looks again
/// for them, so that this does not go deep, and not for ever: a few times.
///
/// Bound of work: each time a step for each message in the queues that hold sockets, and sorting the sockets on their way.
fn collect() {
    const TIMES: u32 = 8;
    if WANTED.fetch_add(1, Ordering::AcqRel) > 0 {
        return;
    }
    for _ in 0..TIMES {
        let wanted = WANTED.load(Ordering::Acquire);
        CLOSED.store(0, Ordering::Relaxed);
        let garbage = find_garbage(&mut HOLDERS.lock().0);
        let is_all = garbage.is_empty();
        drop(garbage);
        if is_all && WANTED.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
    }
    WANTED.store(0, Ordering::Release);
}

/// A description on its way, by the inode of its socket.
struct Vertex {
    socket: u64,
    /// All that hold it.
    holders: usize,
    /// Messages in queues that hold it.
    found: usize,
    /// Somebody can still receive it.
    alive: bool,
}

/// Takes what is garbage out of the queues. An empty list, too, if there is no memory to find out.
fn find_garbage(holders: &mut Vec<Weak<UnixSocket>>) -> Vec<Rights> {
    holders.retain(|holder| holder.strong_count() > 0);
    let mut sockets: Vec<Arc<UnixSocket>> = Vec::new();
    // From the socket in whose queue a description is to the description's.
    let mut edges: Vec<(u64, u64)> = Vec::new();
    let mut vertices: Vec<Vertex> = Vec::new();
    if sockets.try_reserve(holders.len()).is_err() {
        return Vec::new();
    }
    sockets.extend(holders.iter().filter_map(Weak::upgrade));
    for holder in &sockets {
        let owner = owner(holder);
        let state = holder.state.lock();
        for queued in state.inbox.iter() {
            for description in &queued.rights.descriptions {
                let Some(socket) = socket(description) else { continue };
                if edges.try_reserve(1).is_err() || vertices.try_reserve(1).is_err() {
                    return Vec::new();
                }
                edges.push((owner, socket.inode));
                let holders = Arc::strong_count(description);
                vertices.push(Vertex { socket: socket.inode, holders, found: 1, alive: false });
            }
        }
    }
    edges.sort_unstable();
    vertices.sort_unstable_by_key(|vertex| vertex.socket);
    vertices.dedup_by(|next, kept| {
        let same = next.socket == kept.socket;
        kept.found += usize::from(same);
        same
    });
    mark_alive(&mut vertices, &edges);
    let is_garbage = |socket: u64| find(&vertices, socket).is_some_and(|at| !vertices[at].alive);
    let mut garbage = Vec::new();
    for holder in sockets.iter().filter(|holder| is_garbage(owner(holder))) {
        for queued in holder.state.lock().inbox.iter_mut() {
            if queued.rights.has_sockets() && garbage.try_reserve(1).is_ok() {
                garbage.push(core::mem::take(&mut queued.rights));
            }
        }
    }
    garbage
}

/// Marks what is held by something else than messages, and what is in the queues of what is alive.
fn mark_alive(vertices: &mut [Vertex], edges: &[(u64, u64)]) {
    let mut next = Vec::new();
    if next.try_reserve(vertices.len() + edges.len()).is_err() {
        // All of them, for now.
        vertices.iter_mut().for_each(|vertex| vertex.alive = true);
        return;
    }
    for vertex in vertices.iter_mut().filter(|vertex| vertex.holders > vertex.found) {
        vertex.alive = true;
        next.push(vertex.socket);
    }
    // Who is not on its way is held by a descriptor.
    next.extend(edges.iter().map(|(owner, _)| *owner).filter(|owner| find(vertices, *owner).is_none()));
    while let Some(owner) = next.pop() {
        let from = edges.partition_point(|edge| edge.0 < owner);
        for (_, target) in edges[from..].iter().take_while(|edge| edge.0 == owner) {
            if let Some(at) = find(vertices, *target)
                && !core::mem::replace(&mut vertices[at].alive, true)
            {
                next.push(*target);
            }
        }
    }
}

fn find(vertices: &[Vertex], socket: u64) -> Option<usize> {
    vertices.binary_search_by_key(&socket, |vertex| vertex.socket).ok()
}

/// The socket by which one can come to a queue: of a connection that was not accepted the listener.
fn owner(holder: &UnixSocket) -> u64 {
    match holder.listener.load(Ordering::Acquire) {
        0 => holder.inode,
        listener => listener,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these sockets on their way are garbage: each with the number of its descriptors, and in whose queues it is.
    fn garbage(sockets: &[(u64, usize)], edges: &[(u64, u64)]) -> Vec<u64> {
        let found = |socket| edges.iter().filter(|edge| edge.1 == socket).count();
        let mut vertices: Vec<Vertex> = sockets
            .iter()
            .map(|&(socket, descriptors)| {
                let found = found(socket);
                Vertex { socket, holders: descriptors + found, found, alive: false }
            })
            .collect();
        let mut edges = edges.to_vec();
        edges.sort_unstable();
        mark_alive(&mut vertices, &edges);
        vertices.iter().filter(|vertex| !vertex.alive).map(|vertex| vertex.socket).collect()
    }

    #[test]
    fn a_socket_in_its_own_queue_is_garbage_without_a_descriptor() {
        assert_eq!(garbage(&[(1, 0)], &[(1, 1)]), [1]);
        assert_eq!(garbage(&[(1, 1)], &[(1, 1)]), [0; 0]);
    }

    #[test]
    fn a_ring_is_garbage_until_somebody_can_receive_from_it() {
        let ring = [(1, 2), (2, 3), (3, 1)];
        assert_eq!(garbage(&[(1, 0), (2, 0), (3, 0)], &ring), [1, 2, 3]);
        assert_eq!(garbage(&[(1, 0), (2, 1), (3, 0)], &ring), [0; 0]);
        // In the queue of one that is not on its way.
        assert_eq!(garbage(&[(1, 0), (2, 0), (3, 0)], &[(1, 2), (2, 3), (3, 1), (9, 3)]), [0; 0]);
    }

    #[test]
    fn what_only_garbage_holds_is_garbage() {
        assert_eq!(garbage(&[(1, 0), (2, 0), (3, 0)], &[(1, 1), (1, 2), (2, 3)]), [1, 2, 3]);
        assert_eq!(garbage(&[(1, 0), (2, 0), (3, 1)], &[(1, 1), (1, 2), (2, 3)]), [1, 2]);
    }
}
