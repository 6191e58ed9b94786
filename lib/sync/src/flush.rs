//! [`FlushTickets`]: having a CPU forget translations.
//!
//! Two numbers a CPU: up to which flush it was asked, and up to which it has done. Rules:
//!
//! 1. The asker changes the page tables, then draws a ticket ([`FlushTickets::request`]). One asker at a time.
//! 2. If it then finds the CPU in the idle set, it may go on; otherwise it interrupts the CPU and waits until the ticket is
//!    done ([`FlushTickets::is_behind`]).
//! 3. The CPU reads the number, then flushes, then notes the number as done: a ticket drawn meanwhile is not taken for done.
//! 4. A CPU that leaves the idle set catches up after that, before it uses a translation again.
//! 5. The number of what is done never goes back: while a CPU catches up by rule 4 its handler may come between the flush and
//!    the note, for a later ticket. The asker of that one may not have looked in the meantime, and would wait for ever.
//!
//! From 2 and 4: either the asker does not see the CPU idle, or the CPU sees the ticket. Sequentially consistent, both of them:
//! each side writes one word and then reads the other's.

use core::mem::offset_of;

use crate::atomic::{AtomicU64, Ordering, const_fn};

/// The flushes that one CPU was asked for, and did.
#[repr(C)]
pub struct FlushTickets {
    requested: AtomicU64,
    done: AtomicU64,
}

impl FlushTickets {
    /// Where the number of the last ticket is. The handler in assembly follows rule 3 with these two words.
    pub const REQUESTED: usize = offset_of!(Self, requested);
    /// Where the number of the last ticket that was done is.
    pub const DONE: usize = offset_of!(Self, done);

    const_fn! {
        /// None was asked for.
        pub fn new() -> Self {
            Self { requested: AtomicU64::new(0), done: AtomicU64::new(0) }
        }
    }

    /// By the asker, after it has changed the tables and before it looks at the idle set.
    pub fn request(&self) {
        // Releases the change, for whoever reads this number. Pairs with `catch_up`.
        self.requested.fetch_add(1, Ordering::SeqCst);
    }

    /// By the asker: whether its ticket is not done yet.
    pub fn is_behind(&self) -> bool {
        // Acquire pairs with the Release in `catch_up`: the CPU used no old translation after. Relaxed: our own number.
        self.done.load(Ordering::Acquire) != self.requested.load(Ordering::Relaxed)
    }

    /// By the CPU whose tickets these are: does what it was asked for. In the handler, in assembly there; and after it has left
    /// the idle set, with interrupts on (rule 5).
    pub fn catch_up(&self, flush: impl FnOnce()) {
        let requested = self.requested.load(Ordering::SeqCst);
        // Relaxed: written by this CPU alone. It may be ahead: the handler came just now.
        if self.done.load(Ordering::Relaxed) < requested {
            flush();
            self.done.fetch_max(requested, Ordering::Release);
        }
    }
}

impl Default for FlushTickets {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_drawn_during_a_flush_needs_another() {
        let tickets = FlushTickets::new();
        tickets.catch_up(|| unreachable!("nobody asked"));
        tickets.request();
        tickets.catch_up(|| tickets.request());
        assert!(tickets.is_behind());
        let mut flushes = 0;
        tickets.catch_up(|| flushes += 1);
        assert!(flushes == 1 && !tickets.is_behind());
    }

    #[test]
    fn a_handler_in_the_midst_of_a_flush_is_not_undone() {
        let tickets = FlushTickets::new();
        tickets.request();
        let mut flushes = 0;
        tickets.catch_up(|| {
            tickets.request();
            tickets.catch_up(|| flushes += 1);
        });
        assert!(flushes == 1 && !tickets.is_behind(), "nobody asks again for what is done");
    }
}
