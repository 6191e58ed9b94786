//! [`TailLossProbe`]: the last segment once more, so that the loss of a tail is found without a timeout (RFC 8985 § 7).

use core::time::Duration;

use wire::SeqNumber;

/// For how long a peer may delay the acknowledgment of a single segment (§ 7.2).
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
/// Before there is a round-trip time (§ 7.2).
const INITIAL: Duration = Duration::from_secs(1);
/// Shorter waits than timers are fine; as Linux's two jiffies.
const MIN: Duration = Duration::from_millis(2);

/// The probe timeout (§ 7.2). `is_single`: one segment is in flight.
pub(crate) fn timeout(srtt: Option<Duration>, is_single: bool) -> Duration {
    let Some(srtt) = srtt else { return INITIAL };
    let delay = if is_single { MAX_ACK_DELAY } else { Duration::ZERO };
    (srtt * 2 + delay).max(MIN)
}

/// A probe whose fate is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailLossProbe {
    /// SND.NXT when it was sent.
    pub(crate) end: SeqNumber,
    /// It was a segment sent before.
    pub(crate) is_retransmission: bool,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeFate {
    Unknown,
    /// Nothing was lost, or loss detection will find it.
    Harmless,
    /// It repaired a loss, which counts as a sign of congestion.
    Repaired,
}

impl TailLossProbe {
    /// What an acknowledgment says (§ 7.4.2). `duplicate`: it reports the probe as arrived twice, or is a duplicate
    /// without any report.
    pub(crate) fn fate(&self, ack: SeqNumber, duplicate: bool) -> ProbeFate {
        if ack < self.end {
            ProbeFate::Unknown
        } else if !self.is_retransmission || duplicate {
            ProbeFate::Harmless
        } else if ack > self.end {
            ProbeFate::Repaired
        } else {
            ProbeFate::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn timeouts() {
        assert_eq!(timeout(None, false), MS(1000));
        assert_eq!(timeout(Some(MS(100)), false), MS(200));
        assert_eq!(timeout(Some(MS(100)), true), MS(400));
        assert_eq!(timeout(Some(MS(0)), false), MS(2));
    }

    #[test]
    fn fates() {
        let end = SeqNumber(5);
        let probe = TailLossProbe { end, is_retransmission: true };
        assert_eq!(probe.fate(end - 1, true), ProbeFate::Unknown);
        assert_eq!(probe.fate(end, false), ProbeFate::Unknown);
        assert_eq!(probe.fate(end, true), ProbeFate::Harmless);
        assert_eq!(probe.fate(end + 1, false), ProbeFate::Repaired);
        assert_eq!(TailLossProbe { is_retransmission: false, ..probe }.fate(end, false), ProbeFate::Harmless);
    }
}
