//! [`Prr`]: how much is sent while a loss is repaired: proportional rate reduction (RFC 9937, which obsoletes RFC 6937).

/// Brings what is in flight down to the slow start threshold, in proportion to what is delivered, not in one step.
/// Sizes are octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prr {
    /// RecoverFS: what was in flight when the loss was found, at least 1.
    pub(crate) recover_fs: u32,
    /// prr_delivered.
    pub(crate) delivered: u64,
    /// prr_out.
    pub(crate) out: u64,
    /// How much may be in flight.
    pub(crate) cwnd: u32,
}

impl Prr {
    /// Recovery begins with so much in flight.
    pub(crate) fn new(in_flight: u32) -> Self {
        Self { recover_fs: in_flight.max(1), delivered: 0, out: 0, cwnd: in_flight }
    }

    /// An acknowledgment delivered octets (§ 6). `is_safe`: SND.UNA moved and no further loss was found.
    pub(crate) fn on_ack(&mut self, delivered: u32, in_flight: u32, ssthresh: u32, mss: u32, is_safe: bool) {
        self.delivered += u64::from(delivered);
        let ahead = self.delivered.saturating_sub(self.out);
        let mut count = if in_flight > ssthresh {
            let proportional =
                u128::from(self.delivered) * u128::from(ssthresh) / u128::from(self.recover_fs.max(1));
            u64::try_from(proportional).unwrap_or(u64::MAX).saturating_sub(self.out)
        } else {
            let limit = ahead.max(u64::from(delivered)) + if is_safe { u64::from(mss) } else { 0 };
            limit.min(u64::from(ssthresh - in_flight))
        };
        if self.out == 0 {
            // The first retransmission leaves at once.
            count = count.max(u64::from(mss));
        }
        self.cwnd = u32::try_from(u64::from(in_flight) + count).unwrap_or(u32::MAX);
    }

    pub(crate) fn on_send(&mut self, len: u32) {
        self.out += u64::from(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    #[test]
    fn half_of_what_is_delivered_until_the_threshold() {
        // RFC 9937 § 3: 20 segments in flight, one lost, the window halves: one segment for two that arrive.
        let mut prr = Prr::new(20 * MSS);
        let (mut in_flight, mut sent) = (19 * MSS, 0);
        for _ in 0..18 {
            in_flight -= MSS;
            prr.on_ack(MSS, in_flight, 10 * MSS, MSS, false);
            while in_flight + MSS <= prr.cwnd {
                prr.on_send(MSS);
                (in_flight, sent) = (in_flight + MSS, sent + 1);
            }
        }
        assert_eq!((sent, in_flight), (9, 10 * MSS));
    }

    #[test]
    fn below_the_threshold_no_more_than_is_delivered() {
        // RFC 9937 § 6: heavy loss; a segment more where SND.UNA moves without another loss.
        let mut prr = Prr::new(20 * MSS);
        prr.on_ack(MSS, 2 * MSS, 10 * MSS, MSS, false);
        assert_eq!(prr.cwnd, 3 * MSS);
        prr.on_send(MSS);
        prr.on_ack(MSS, 2 * MSS, 10 * MSS, MSS, true);
        assert_eq!(prr.cwnd, 4 * MSS);
    }

    #[test]
    fn the_first_retransmission_leaves_at_once() {
        let mut prr = Prr::new(20 * MSS);
        prr.on_ack(1, 16 * MSS, 10 * MSS, MSS, false);
        assert_eq!(prr.cwnd, 17 * MSS);
    }
}
