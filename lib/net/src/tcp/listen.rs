//! What a listener answers (RFC 9293 § 3.10.7.2).

use wire::tcp::{Flags, Repr};

use crate::tcp::{Segment, reset_for};

/// What to do with a segment for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nothing.
    Ignore,
    /// Send this reset.
    Reset(Repr),
    /// Make a flow of it: [`crate::tcp::Flow::accept`].
    Accept,
}

/// Looks at a segment for a listener that belongs to no flow.
pub fn listen(segment: &Segment) -> Listen {
    let flags = segment.repr.flags;
    if flags.has(Flags::RST) {
        Listen::Ignore
    } else if flags.has(Flags::ACK) {
        reset_for(segment).map_or(Listen::Ignore, Listen::Reset)
    } else if flags.has(Flags::SYN) && !flags.has(Flags::FIN) {
        Listen::Accept
    } else {
        Listen::Ignore
    }
}
