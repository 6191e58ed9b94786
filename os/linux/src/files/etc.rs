//! Files of /etc that a resolver needs to know, where the image's tree has none.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sync::{Once, SpinLock};
use vfs::walk::{self, Resolve, Start};
use vfs::{Content, FileType, Time, namespace};

use super::Node;

/// Makes a text.
type Text = fn() -> Vec<u8>;

/// Names and texts.
const FILES: &[(&str, Text)] = &[
    ("/etc/hosts", || b"127.0.0.1 localhost\n::1 localhost ip6-localhost\n".to_vec()),
    ("/etc/nsswitch.conf", || b"hosts: files dns\n".to_vec()),
    ("/etc/host.conf", || b"multi on\n".to_vec()),
    ("/etc/resolv.conf", resolv_conf),
];

/// What /etc/resolv.conf says. The network writes it when it learns name servers.
static RESOLV_CONF: SpinLock<String> = SpinLock::new(String::new());

/// Waits until the network knows its name servers, for a bounded time.
static WAIT_FOR_SERVERS: Once<fn()> = Once::new();

/// Has `wait` called before /etc/resolv.conf is opened: who asks for a name right after the start should not be told that there are
/// no servers, only because nobody has answered yet.
pub fn set_wait_for_servers(wait: fn()) {
    let _ = WAIT_FOR_SERVERS.set(wait);
}

/// Replaces what /etc/resolv.conf says.
pub fn set_resolv_conf(text: String) {
    // What it replaces is dropped when the lock is open.
    let _before = core::mem::replace(&mut *RESOLV_CONF.lock(), text);
}

fn resolv_conf() -> Vec<u8> {
    if let Some(wait) = WAIT_FOR_SERVERS.get() {
        wait();
    }
    RESOLV_CONF.lock().clone().into_bytes()
}

/// Makes those that are not there.
///
/// # Errors
/// [`vfs::Error::NoSpace`].
pub(super) fn make(root: &Arc<Node>, now: Time) -> vfs::Result<()> {
    let start = Start { root: root.clone(), at: root.clone(), resolve: Resolve::default() };
    for (path, text) in FILES {
        // What the tree has instead of a directory is the tree's.
        let Ok(at) = walk::parent(&start, path.as_bytes()) else { return Ok(()) };
        let content = Content::Text(Box::new(*text));
        match namespace::make(&at, FileType::Regular, 0o644, content, now) {
            Ok(_) | Err(vfs::Error::Exists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
