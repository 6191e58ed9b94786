//! Segments in and out.

use frame::Frame;
use wire::tcp::{Flags, Options, Repr};
use wire::{Port, SeqNumber};

use crate::tcp::Ecn;

/// A segment: its header's meaning and its payload, which is `None` where there is none.
#[derive(Debug)]
pub struct Segment {
    /// The header. The checksum is right: who parsed it or the device saw to that.
    pub repr: Repr,
    /// The octets it carries.
    pub payload: Option<Frame>,
    /// The congestion bits of its IP header.
    pub ecn: Ecn,
    /// It is several segments, each with so many octets of the payload, the last perhaps with fewer: for a device to cut
    /// ([`frame::Segmentation`]). `None`: it is one.
    pub size: Option<u16>,
}

impl Segment {
    /// A segment whose IP header says nothing of congestion.
    pub const fn new(repr: Repr, payload: Option<Frame>) -> Self {
        Self { repr, payload, ecn: Ecn::NotEct, size: None }
    }

    /// Octets it carries.
    pub fn payload_len(&self) -> u32 {
        self.payload.as_ref().map_or(0, |payload| payload.len() as u32)
    }

    /// SEG.LEN: sequence numbers it takes.
    pub fn len(&self) -> u32 {
        let flag = |flag| u32::from(self.repr.flags.has(flag));
        self.payload_len() + flag(Flags::SYN) + flag(Flags::FIN)
    }

    /// Whether it takes no sequence number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer to a segment that belongs to no connection (RFC 9293 § 3.10.7.1): a reset, but for a reset.
///
/// Also what a listener answers to an ACK (§ 3.10.7.2, second check).
pub fn reset_for(segment: &Segment) -> Option<Repr> {
    let repr = &segment.repr;
    if repr.flags.has(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if repr.flags.has(Flags::ACK) {
        (repr.ack, SeqNumber(0), Flags::RST)
    } else {
        (SeqNumber(0), repr.seq + segment.len(), Flags::RST | Flags::ACK)
    };
    Some(bare(repr.dst_port, repr.src_port, seq, ack, flags))
}

/// A header without window and options.
pub(crate) fn bare(src_port: Port, dst_port: Port, seq: SeqNumber, ack: SeqNumber, flags: Flags) -> Repr {
    Repr { src_port, dst_port, seq, ack, flags, window: 0, urgent: 0, options: Options::NONE }
}
