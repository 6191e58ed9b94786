//! Robust futexes: what a thread holds when it ends is marked, and somebody who waits for it is woken (get_robust_list(2)).

use core::sync::atomic::Ordering;

use kernel::mm::Access;
use kernel::sched::thread::Thread;
use kernel::{sched, uaccess};

use super::pi::{OWNER_DIED, TID_MASK, WAITERS};
use crate::errno::{EINVAL, ESRCH, Result};

/// sizeof(struct robust_list_head): next, offset of the word from an entry, entry that is being added or removed.
const HEAD_LEN: usize = 24;
/// Most entries that are followed (`ROBUST_LIST_LIMIT`).
const ENTRIES_MAX: usize = 2048;
/// In the address of an entry: the futex is a priority-inheriting one.
const PI: u64 = 1;

/// set_robust_list(2).
pub fn set_robust_list(head: u64, len: usize) -> Result {
    if len != HEAD_LEN {
        return Err(EINVAL);
    }
    sched::current().robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

/// get_robust_list(2).
pub fn get_robust_list(pid: i32, head: u64, len: u64) -> Result {
    let thread = if pid == 0 { sched::current() } else { sched::find(pid as u32).ok_or(ESRCH)? };
    uaccess::write(len, HEAD_LEN)?;
    uaccess::write(head, thread.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}

/// Gives up what an ending thread holds. The list is the program's claim: it may be anything.
pub fn on_exit(thread: &Thread) {
    let head = thread.robust_list.load(Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let Ok([mut entry, offset, pending]) = uaccess::read::<[u64; 3]>(head) else { return };
    for _ in 0..ENTRIES_MAX {
        let at = entry & !PI;
        if at == head {
            break;
        }
        // Before the entry is given up: another thread may then free it.
        let next = uaccess::read::<u64>(at);
        if at != pending & !PI && release(thread, at.wrapping_add(offset), entry & PI != 0, false).is_none() {
            return;
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => return,
        }
    }
    if pending & !PI != 0 {
        release(thread, (pending & !PI).wrapping_add(offset), pending & PI != 0, true);
    }
}

/// Gives up one futex if the thread holds it. `None`: there is no such word.
fn release(thread: &Thread, address: u64, is_pi: bool, is_pending: bool) -> Option<()> {
    if !address.is_multiple_of(4) {
        return None;
    }
    loop {
        let word = uaccess::read::<u32>(address).ok()?;
        if is_pending && !is_pi && word & TID_MASK == 0 {
            // It may have been given back, and the wake-up not yet sent.
            super::wake(address, 1, !0);
            return Some(());
        }
        if word & TID_MASK != thread.tid {
            return Some(());
        }
        match uaccess::try_compare_exchange(address, word, word & WAITERS | OWNER_DIED) {
            Ok(found) if found == word => {
                if !is_pi && word & WAITERS != 0 {
                    super::wake(address, 1, !0);
                }
                return Some(());
            }
            Ok(_) => {}
            Err(_) => uaccess::page_in_word(address, Access::Write).ok()?,
        }
    }
}
