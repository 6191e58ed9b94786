//! Explicit congestion notification (RFC 3168, RFC 5562, draft-ietf-tcpm-generalized-ecn "ECN++").
//!
//! Feedback is that of RFC 3168; more accurate feedback (RFC 9768) is not here. Which segments are sent as capable is
//! ECN++ for such feedback: SYN-ACKs, data, retransmissions, window probes and FINs, but neither SYNs nor pure
//! acknowledgments, whose marks nobody would answer.

use wire::SeqNumber;
use wire::tcp::Flags;

/// The two bits of the IP header (RFC 3168 § 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not capable: routers drop it.
    #[default]
    NotEct = 0,
    /// Capable; for experiments (RFC 8311).
    Ect1 = 1,
    /// Capable: routers may mark it.
    Ect0 = 2,
    /// Marked: congestion was experienced.
    Ce = 3,
}

impl Ecn {
    /// From the traffic class octet of an IP header.
    pub const fn from_traffic_class(octet: u8) -> Self {
        match octet & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// Whether to use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnMode {
    /// Never.
    Never,
    /// If the peer asks. What Linux does by default.
    #[default]
    IfAsked,
    /// Ask, and grant.
    Ask,
}

/// What both sides do with marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnState {
    /// Both are capable.
    pub(crate) negotiated: bool,
    /// A mark arrived, and the peer has not said that it slowed down: ECE on each segment.
    pub(crate) echo: bool,
    /// CWR on the next new data.
    pub(crate) cwr_pending: bool,
    /// Until this is acknowledged, echoes are of the marks that were answered already.
    pub(crate) reduced_until: Option<SeqNumber>,
}

impl EcnState {
    /// The flags of this side's SYN (RFC 3168 § 6.1.1).
    pub(crate) fn syn_flags(mode: EcnMode, is_first: bool) -> Flags {
        // Where a firewall drops such SYNs, the second one gets through (§ 6.1.1.1).
        if mode == EcnMode::Ask && is_first { Flags::ECE | Flags::CWR } else { Flags::NONE }
    }

    /// The peer's SYN or SYN-ACK has come.
    pub(crate) fn negotiate(&mut self, mode: EcnMode, syn: Flags, asked: bool) {
        let (ece, cwr) = (syn.has(Flags::ECE), syn.has(Flags::CWR));
        self.negotiated = match syn.has(Flags::ACK) {
            false => mode != EcnMode::Never && ece && cwr,
            // A SYN-ACK with both reflects what it does not know.
            true => asked && ece && !cwr,
        };
    }

    /// A segment arrived. Returns whether the acknowledgment should not wait, as the peer is to slow down.
    pub(crate) fn on_segment(&mut self, ecn: Ecn, flags: Flags, has_text: bool) -> bool {
        if !self.negotiated {
            return false;
        }
        if flags.has(Flags::CWR) && has_text {
            self.echo = false;
        }
        let marked = ecn == Ecn::Ce;
        let first = marked && !self.echo;
        self.echo |= marked;
        first
    }

    /// Whether an acknowledgment asks for less, for the first time in a round trip (RFC 3168 § 6.1.2).
    pub(crate) fn is_congested(&mut self, flags: Flags, ack: SeqNumber, nxt: SeqNumber) -> bool {
        self.reduced_until.take_if(|until| ack >= *until);
        if !self.negotiated || !flags.has(Flags::ECE) || self.reduced_until.is_some() {
            return false;
        }
        self.reduce(nxt);
        true
    }

    /// The window was reduced, for whatever reason: the peer is told, and echoes until `nxt` is acknowledged are old.
    pub(crate) fn reduce(&mut self, nxt: SeqNumber) {
        if self.negotiated {
            self.cwr_pending = true;
            self.reduced_until = Some(nxt);
        }
    }

    /// Whether the next new data tells the peer of a reduction.
    pub(crate) fn says_reduced(&self) -> bool {
        self.cwr_pending
    }

    /// The flags of a segment after the handshake.
    pub(crate) fn flags(&mut self, is_new_data: bool) -> Flags {
        let mut flags = if self.echo { Flags::ECE } else { Flags::NONE };
        if is_new_data && core::mem::take(&mut self.cwr_pending) {
            flags |= Flags::CWR;
        }
        flags
    }

    /// The codepoint of a segment that takes sequence numbers.
    pub(crate) fn codepoint(&self) -> Ecn {
        if self.negotiated { Ecn::Ect0 } else { Ecn::NotEct }
    }
}
