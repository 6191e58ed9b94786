//! The files that libc looks for, as long as there is no file tree: what a resolver needs to know.

use alloc::string::String;
use alloc::sync::Arc;

use core::sync::atomic::{AtomicU64, Ordering};

use kernel::uaccess;
use sync::{Once, SpinLock};

use crate::buffers::UserBuffers;
use crate::errno::{EINVAL, Errno, Result};
use crate::fd::{self, File, Stat};
use crate::file::ALWAYS_READY;
use crate::readiness::Readiness;

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n";
const NSSWITCH: &str = "hosts: files dns\n";
const HOST_CONF: &str = "multi on\n";

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

/// The file at a path, if it is one of these.
pub(crate) fn open(path: &[u8]) -> Option<Arc<dyn File>> {
    let text = match path {
        b"/etc/hosts" => HOSTS.into(),
        b"/etc/nsswitch.conf" => NSSWITCH.into(),
        b"/etc/host.conf" => HOST_CONF.into(),
        b"/etc/resolv.conf" => {
            if let Some(wait) = WAIT_FOR_SERVERS.get() {
                wait();
            }
            RESOLV_CONF.lock().clone()
        }
        _ => return None,
    };
    Some(Arc::new(TextFile { text, offset: AtomicU64::new(0), inode: fd::next_inode() }))
}

/// A file with this text, as it was when it was opened.
struct TextFile {
    text: String,
    offset: AtomicU64,
    inode: u64,
}

impl File for TextFile {
    fn read(&self, to: &mut UserBuffers, _nonblocking: bool) -> core::result::Result<usize, Errno> {
        let offset = self.offset.load(Ordering::Relaxed);
        let rest = self.text.as_bytes().get(offset as usize..).unwrap_or_default();
        let done = to.write(rest)?;
        self.offset.store(offset + done as u64, Ordering::Relaxed);
        Ok(done)
    }

    fn events(&self) -> u32 {
        ALWAYS_READY
    }

    fn readiness(&self) -> Option<&Readiness> {
        None
    }

    fn seek(&self, offset: i64, whence: i32) -> Result {
        let base = match whence {
            0 => 0,
            1 => self.offset.load(Ordering::Relaxed) as i64,
            2 => self.text.len() as i64,
            _ => return Err(EINVAL),
        };
        let offset = base.checked_add(offset).and_then(|at| u64::try_from(at).ok()).ok_or(EINVAL)?;
        self.offset.store(offset, Ordering::Relaxed);
        Ok(offset)
    }

    fn stat(&self) -> Stat {
        const S_IFREG: u32 = 0o100_000;
        Stat { mode: S_IFREG | 0o444, inode: self.inode, size: self.text.len() as u64, device: 0 }
    }

    fn ioctl(&self, op: u32, arg: u64) -> Result {
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(crate::errno::ENOTTY);
        }
        let left = (self.text.len() as u64).saturating_sub(self.offset.load(Ordering::Relaxed));
        uaccess::write(arg, left as i32)?;
        Ok(0)
    }

    fn access_mode(&self) -> u32 {
        0
    }
}
