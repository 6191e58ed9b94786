//! What routers and hosts say of a connection by ICMP, as far as it can be believed (RFC 5927, RFC 1191, RFC 8201,
//! RFC 5461). The caller has found the flow by the addresses and ports of the segment that the message quotes.

use wire::SeqNumber;

use crate::Instant;
use crate::tcp::flow::{Error, Flow};
use crate::tcp::state::State;

/// An ICMP error about a segment of this flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// It did not fit the next link, which takes segments of so many octets: the MTU less IP and TCP headers.
    TooBig {
        /// Octets without IP and TCP headers.
        mss: u32,
    },
    /// Nobody is there: port, protocol or host unreachable, or forbidden.
    Unreachable,
    /// It may pass: time exceeded, network unreachable.
    Transient,
}

impl Flow {
    /// Takes an error about a segment that began at `seq`. Whoever forges one has to guess a number in flight (RFC 5927
    /// § 4.1); what it can do is make segments smaller, but not below 512 octets, or end a handshake. An established
    /// connection is never ended (§ 5.2): its segments are sent again until they arrive or are given up. Bounded work but
    /// for a smaller size, which looks at each segment in flight.
    pub fn handle_icmp_error(&mut self, now: Instant, seq: SeqNumber, error: IcmpError) {
        if self.state == State::Closed || seq < self.snd_una || seq >= self.snd_nxt {
            return;
        }
        match error {
            IcmpError::TooBig { mss } => {
                // A message about a segment that fits is a lie or late (RFC 5927 § 7.2).
                if self.state.is_synchronized() && self.path.on_too_big(now, mss) {
                    self.change_mss();
                    self.retransmit_now |= self.in_flight.first_lost().is_some();
                }
            }
            IcmpError::Unreachable if self.state == State::SynSent => self.end(Some(Error::Unreachable)),
            IcmpError::Unreachable | IcmpError::Transient => {}
        }
    }
}
