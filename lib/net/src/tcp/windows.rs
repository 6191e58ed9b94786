//! Windows: what may be sent, what may be received, and how silly windows are avoided (RFC 9293 § 3.8.6).

use wire::SeqNumber;

/// The peer's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    /// SND.WND: octets from SND.UNA on.
    pub(crate) size: u32,
    /// The largest window the peer ever offered.
    pub(crate) max: u32,
    /// SND.WL1 and SND.WL2: the segment of the last update.
    pub(crate) wl1: SeqNumber,
    pub(crate) wl2: SeqNumber,
}

impl SendWindow {
    /// Before the peer offered one.
    pub(crate) const fn new() -> Self {
        Self { size: 0, max: 0, wl1: SeqNumber(0), wl2: SeqNumber(0) }
    }

    /// Takes the window of a segment, whatever was before: SYN.
    pub(crate) fn set(&mut self, seq: SeqNumber, ack: SeqNumber, size: u32) {
        *self = Self { size, max: self.max.max(size), wl1: seq, wl2: ack };
    }

    /// Takes the window of a segment that is not older than the last one (RFC 9293 § 3.10.7.4, fifth check).
    pub(crate) fn update(&mut self, seq: SeqNumber, ack: SeqNumber, size: u32) {
        if self.wl1 < seq || self.wl1 == seq && self.wl2 <= ack {
            self.set(seq, ack, size);
        }
    }

    /// Whether `len` octets of `queued` may be sent, as far as their size goes: the sender's part of silly window
    /// avoidance (RFC 9293 § 3.8.6.2.1). `idle`: nothing is in flight. `held`: what is less than a segment waits for
    /// more although it is all there is (Nagle's algorithm, cork).
    pub(crate) fn is_worth_sending(&self, len: u32, queued: u32, mss: u32, idle: bool, held: bool) -> bool {
        len >= mss || len == queued && !held || idle && len >= self.max / 2 && len < queued
    }
}

/// This side's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    /// Octets that may be unread.
    pub(crate) capacity: u32,
    /// The right edge that the peer knows of. It never moves left (RFC 9293 § 3.8.6).
    pub(crate) right: SeqNumber,
}

impl ReceiveWindow {
    /// RCV.WND as the peer knows it.
    pub(crate) fn size(&self, rcv_nxt: SeqNumber) -> u32 {
        if rcv_nxt < self.right { self.right.since(rcv_nxt) } else { 0 }
    }

    /// Where the right edge would be. It moves only by a step worth telling: a segment, or half of the capacity
    /// (RFC 9293 § 3.8.6.2.2).
    fn next_right(&self, rcv_nxt: SeqNumber, unread: u32, mss: u32) -> SeqNumber {
        let right = rcv_nxt + self.capacity.saturating_sub(unread);
        let worth = mss.min(self.capacity / 2).max(1);
        if right > self.right && right.since(self.right) >= worth { right } else { self.right }
    }

    /// Whether the peer should be told of a new window at once: it grew by two segments or half of the capacity, or
    /// it was below a segment and is not any more.
    pub(crate) fn is_update_due(&self, rcv_nxt: SeqNumber, unread: u32, mss: u32) -> bool {
        let growth = self.next_right(rcv_nxt, unread, mss).since(self.right);
        growth > 0 && (growth >= (2 * mss).min(self.capacity / 2) || self.size(rcv_nxt) < mss)
    }

    /// The window field of a segment that is sent now: moves the right edge.
    pub(crate) fn advertise(&mut self, rcv_nxt: SeqNumber, unread: u32, mss: u32, shift: u8) -> u16 {
        let right = self.next_right(rcv_nxt, unread, mss);
        let size = if rcv_nxt < right { right.since(rcv_nxt) } else { 0 };
        let field = (size >> shift).min(u32::from(u16::MAX));
        // What the field cannot say was not said; what was said before holds, though the shift cuts it now.
        self.right = self.right.latest(rcv_nxt + (field << shift));
        field as u16
    }
}

/// The shift with which a window of `capacity` octets fits 16 bits (RFC 7323 § 2.3).
pub(crate) fn shift_for(capacity: u32) -> u8 {
    (0..wire::tcp::MAX_WINDOW_SHIFT)
        .find(|shift| capacity >> shift <= u32::from(u16::MAX))
        .unwrap_or(wire::tcp::MAX_WINDOW_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts() {
        assert_eq!([0, 65_535, 65_536, 131_071, 131_072, 1 << 30].map(shift_for), [0, 0, 1, 1, 2, 14]);
    }

    #[test]
    fn older_segments_do_not_move_the_window() {
        let mut window = SendWindow::new();
        window.set(SeqNumber(10), SeqNumber(5), 100);
        window.update(SeqNumber(9), SeqNumber(6), 1);
        window.update(SeqNumber(10), SeqNumber(4), 2);
        assert_eq!(window.size, 100);
        window.update(SeqNumber(10), SeqNumber(5), 50);
        assert_eq!((window.size, window.max), (50, 100));
    }

    #[test]
    fn small_segments_wait() {
        let mut window = SendWindow::new();
        window.set(SeqNumber(0), SeqNumber(0), 10_000);
        assert!(window.is_worth_sending(1000, 5000, 1000, false, true), "a full segment");
        assert!(window.is_worth_sending(1, 1, 1000, true, false), "all there is");
        assert!(!window.is_worth_sending(1, 1, 1000, false, true), "Nagle");
        assert!(!window.is_worth_sending(6000, 6000, 10_000, true, true), "cork");
        assert!(window.is_worth_sending(5000, 6000, 10_000, true, true), "half of the peer's buffer");
        assert!(!window.is_worth_sending(900, 5000, 1000, false, false), "the window's silly rest");
    }

    #[test]
    fn the_right_edge_moves_by_worthy_steps() {
        let mut window = ReceiveWindow { capacity: 10_000, right: SeqNumber(0) };
        assert_eq!(window.advertise(SeqNumber(0), 0, 1000, 0), 10_000);
        assert_eq!(window.advertise(SeqNumber(10_000), 10_000, 1000, 0), 0);
        assert_eq!(window.advertise(SeqNumber(10_000), 9_001, 1000, 0), 0, "999 octets are silly");
        assert!(!window.is_update_due(SeqNumber(10_000), 9_001, 1000));
        assert!(window.is_update_due(SeqNumber(10_000), 9_000, 1000));
        assert_eq!(window.advertise(SeqNumber(10_000), 9_000, 1000, 0), 1000);
        assert_eq!(window.advertise(SeqNumber(10_000), 10_000, 1000, 0), 1000, "it never shrinks");
    }
}
