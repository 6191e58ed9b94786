//! Names of local sockets: in the tree of files, and abstract ones.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::Ordering;

use linux::errno::{EADDRINUSE, ECONNREFUSED, EINVAL, ENOSPC, EPROTOTYPE, Errno};
use linux::files::socket_name;
use linux::socket::UnixName;
use sync::SpinLock;

use super::UnixSocket;

/// An abstract name, with the kind of the socket: those of one kind are apart from those of another.
type Key = (u8, Arc<[u8]>);

/// Abstract names. A socket takes its own out when it is closed.
static ABSTRACT: SpinLock<BTreeMap<Key, Weak<UnixSocket>>> = SpinLock::new(BTreeMap::new());

/// A socket's name, and what keeps it.
pub struct Bound {
    /// It stays what it is when the socket is closed: others are still told it.
    pub name: UnixName,
    entry: Entry,
}

enum Entry {
    /// Nothing: there is no name, or it is the listener's.
    None,
    Abstract,
    /// The node, which leads here no longer when this is dropped.
    Node(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Any + Send + Sync>),
}

impl Default for Bound {
    fn default() -> Self {
        Self::as_of(UnixName::Unnamed)
    }
}

impl Bound {
    /// Of the listener that it was connected by.
    pub fn as_of(listener: UnixName) -> Self {
        Self { name: listener, entry: Entry::None }
    }

    /// The name leads to the socket no longer, once the caller has dropped what this gives.
    pub fn release(&mut self, socket: &UnixSocket) -> impl Sized + use<> {
        let entry = core::mem::replace(&mut self.entry, Entry::None);
        if let (Entry::Abstract, UnixName::Abstract(name)) = (&entry, &self.name) {
            ABSTRACT.lock().remove(&(socket.kind as u8, name.clone()));
        }
        entry
    }
}

/// bind(2).
///
/// # Errors
/// `EADDRINUSE`; `EINVAL`: it has a name; as of mknod(2).
pub fn bind(socket: &UnixSocket, name: &UnixName) -> Result<(), Errno> {
    match name {
        UnixName::Unnamed => autobind(socket),
        UnixName::Abstract(wanted) => {
            let mut bound = socket.bound.lock();
            if bound.name != UnixName::Unnamed {
                return Err(EINVAL);
            }
            if !claim(socket, wanted) {
                return Err(EADDRINUSE);
            }
            *bound = Bound { name: name.clone(), entry: Entry::Abstract };
            Ok(())
        }
        UnixName::Path(path) => socket_name::bind(path, socket.this.clone(), &mut |node| {
            let mut bound = socket.bound.lock();
            if bound.name != UnixName::Unnamed {
                return Err(EINVAL);
            }
            *bound = Bound { name: name.clone(), entry: Entry::Node(node) };
            Ok(())
        }),
    }
}

/// Gives a socket an abstract name of five digits, unless it has a name.
///
/// # Errors
/// `ENOSPC`: all are taken.
pub fn autobind(socket: &UnixSocket) -> Result<(), Errno> {
    const NAMES: u32 = 1 << 20;
    let mut first = [0; 4];
    // Nobody relies on these being hard to guess.
    let _ = kernel::random::fill(&mut first);
    let first = u32::from_le_bytes(first) % NAMES;
    let mut bound = socket.bound.lock();
    if bound.name != UnixName::Unnamed {
        return Ok(());
    }
    for number in 0..NAMES {
        let name: Arc<[u8]> = format!("{:05x}", (first + number) % NAMES).into_bytes().into();
        if claim(socket, &name) {
            *bound = Bound { name: UnixName::Abstract(name), entry: Entry::Abstract };
            return Ok(());
        }
    }
    Err(ENOSPC)
}

/// As [`autobind`], of a socket that passes credentials, whose peer is to know it.
pub fn autobind_to_pass(socket: &UnixSocket) -> Result<(), Errno> {
    if socket.passes_credentials.load(Ordering::Relaxed) { autobind(socket) } else { Ok(()) }
}

/// Takes an abstract name. `false`: it is taken.
fn claim(socket: &UnixSocket, name: &Arc<[u8]>) -> bool {
    let mut table = ABSTRACT.lock();
    let key = (socket.kind as u8, name.clone());
    if table.contains_key(&key) {
        return false;
    }
    table.insert(key, socket.this.clone());
    true
}

/// The socket with a name, for one of a kind.
///
/// # Errors
/// `ECONNREFUSED`: there is none; `EPROTOTYPE`: it is of another kind; as of path_resolution(7).
pub fn find(from: &UnixSocket, name: &UnixName) -> Result<Arc<UnixSocket>, Errno> {
    match name {
        UnixName::Unnamed => Err(EINVAL),
        UnixName::Abstract(name) => {
            let table = ABSTRACT.lock();
            table.get(&(from.kind as u8, name.clone())).and_then(Weak::upgrade).ok_or(ECONNREFUSED)
        }
        UnixName::Path(path) => {
            let found = socket_name::find(path)?.downcast::<UnixSocket>().map_err(|_| ECONNREFUSED)?;
            if found.kind == from.kind { Ok(found) } else { Err(EPROTOTYPE) }
        }
    }
}
