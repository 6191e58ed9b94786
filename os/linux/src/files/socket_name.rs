//! Names of local sockets in the tree of files (unix(7)). Sockets come here by [`super::operations`]: the image may hold no files.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::any::Any;

use abi::service::Service;
use sync::SpinLock;
use vfs::walk::{self, Resolve};
use vfs::{Content, FileType, namespace};

use super::{AT_FDCWD, Node, Outcome, masked, now, operations, start};
use crate::errno::{EADDRINUSE, ECONNREFUSED, EEXIST, Errno};
use crate::service;

/// What is behind a name: the caller's.
pub type Object = dyn Any + Send + Sync;
/// Keeps a name: when it is dropped the node leads to nobody, as that of a socket that is closed.
pub type Keeper = Box<Object>;

/// Makes a node that leads to an object, with the permissions that the umask leaves, and hands `take` what keeps it; if `take`
/// refuses, the node goes.
///
/// # Errors
/// `EADDRINUSE`: the name is taken; as of mknod(2), and of `take`; `ENOSYS`: the image holds no files.
pub fn bind(path: &[u8], object: Weak<Object>, take: &mut dyn FnMut(Keeper) -> Outcome<()>) -> Outcome<()> {
    match operations() {
        Some(files) => (files.bind_socket)(path, object, take),
        None => Err(absent()),
    }
}

/// The object behind a name.
///
/// # Errors
/// `ECONNREFUSED`: the node leads to none; as of path_resolution(7); `ENOSYS`: the image holds no files.
pub fn find(path: &[u8]) -> Outcome<Arc<Object>> {
    match operations() {
        Some(files) => (files.find_socket)(path),
        None => Err(absent()),
    }
}

fn absent() -> Errno {
    service::absent(Service::Files).err().unwrap_or(ECONNREFUSED)
}

/// [`bind`], where there are files.
pub(super) fn make(
    path: &[u8],
    object: Weak<Object>,
    take: &mut dyn FnMut(Keeper) -> Outcome<()>,
) -> Outcome<()> {
    const PERMISSIONS: u32 = 0o777;
    let at = walk::parent(&start(AT_FDCWD, path, Resolve::default())?, path)?;
    let content = Content::Endpoint(SpinLock::new(Some(object)));
    let made = namespace::make(&at, FileType::Socket, masked(PERMISSIONS), content, now());
    let node = made.map_err(|error| match error.into() {
        EEXIST => EADDRINUSE,
        error => error,
    })?;
    take(Box::new(Name(node))).inspect_err(|_| {
        let _ = namespace::unlink(&at, now());
    })
}

/// [`find`], where there are files.
pub(super) fn look_up(path: &[u8]) -> Outcome<Arc<Object>> {
    let node = walk::node(&start(AT_FDCWD, path, Resolve::default())?, path, true)?;
    let Content::Endpoint(object) = node.content() else { return Err(ECONNREFUSED) };
    if node.kind() != FileType::Socket {
        return Err(ECONNREFUSED);
    }
    let found = object.lock().as_ref().and_then(Weak::upgrade).ok_or(ECONNREFUSED)?;
    node.accessed(now());
    Ok(found)
}

struct Name(Arc<Node>);

impl Drop for Name {
    fn drop(&mut self) {
        if let Content::Endpoint(object) = self.0.content() {
            // Dropped when the lock is open.
            let _object = object.lock().take();
        }
    }
}
