//! [`Timers`]: a flow's deadlines.

use crate::Instant;

/// What a flow waits for. Each is set or not; the earliest is the flow's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    /// The retransmission timer (RFC 6298 § 5).
    pub(crate) retransmit: Option<Instant>,
    /// The persist timer: a window is closed and there is something to send (RFC 9293 § 3.8.6.1).
    pub(crate) persist: Option<Instant>,
    /// An acknowledgment is delayed (RFC 9293 § 3.8.6.3).
    pub(crate) delayed_ack: Option<Instant>,
    /// 2 MSL in TIME-WAIT.
    pub(crate) time_wait: Option<Instant>,
    /// Nothing was heard for long (RFC 9293 § 3.8.4).
    pub(crate) keep_alive: Option<Instant>,
}

impl Timers {
    /// The earliest.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.retransmit, self.persist, self.delayed_ack, self.time_wait, self.keep_alive]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Takes a deadline that has come.
pub(crate) fn expired(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|deadline| *deadline <= now).is_some()
}
