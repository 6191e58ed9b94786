//! What the two sides agreed on in their SYNs (RFC 7323, RFC 2018), and protection against wrapped sequence numbers.

use core::time::Duration;

use wire::SeqNumber;
use wire::tcp::{Options, Timestamps};

use crate::Instant;
use crate::tcp::Config;
use crate::tcp::windows::shift_for;

/// RFC 9293 § 3.7.1: what a peer takes that does not say.
const DEFAULT_MSS: u16 = 536;
/// Less makes more headers than data, and much work for the same: as Linux's `tcp_min_snd_mss`, eight octets beside all options.
const MIN_MSS: u16 = 48;
/// RFC 7323 § 5.5: after 24 days a timestamp says nothing.
const TIMESTAMP_LIFE: Duration = Duration::from_secs(24 * 24 * 3600);

/// The outcome of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Largest segment to send in octets, options included (RFC 6691).
    pub(crate) mss: u32,
    /// Windows are shifted in both directions.
    pub(crate) scaled: bool,
    /// What windows the peer sends are shifted by.
    pub(crate) snd_shift: u8,
    /// What windows this side sends are shifted by.
    pub(crate) rcv_shift: u8,
    /// Selective acknowledgments may be sent.
    pub(crate) sack: bool,
    /// Timestamps are on every segment.
    pub(crate) timestamps: Option<TimestampState>,
}

/// TS.Recent and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampState {
    pub(crate) recent: u32,
    pub(crate) at: Instant,
}

impl Negotiated {
    /// Before the peer's SYN.
    pub(crate) fn before(config: &Config) -> Self {
        Self {
            mss: u32::from(config.mss.min(DEFAULT_MSS)),
            scaled: false,
            snd_shift: 0,
            rcv_shift: 0,
            sack: false,
            timestamps: None,
        }
    }

    /// After the peer's SYN; what holds is what both want.
    pub(crate) fn with_syn(config: &Config, now: Instant, peer: &Options) -> Self {
        let scale = peer.window_scale.filter(|_| config.window_scale);
        Self {
            mss: u32::from(peer.mss.unwrap_or(DEFAULT_MSS).clamp(MIN_MSS, config.mss.max(MIN_MSS))),
            scaled: scale.is_some(),
            snd_shift: scale.unwrap_or(0),
            rcv_shift: if scale.is_some() { shift_for(config.receive_buffer_max) } else { 0 },
            sack: config.sack && peer.sack_permitted,
            timestamps: peer
                .timestamps
                .filter(|_| config.timestamps)
                .map(|timestamps| TimestampState { recent: timestamps.val, at: now }),
        }
    }

    /// The options of a SYN; of a SYN that answers one, only what the peer's had (RFC 7323 § 2.2, § 3.2).
    pub(crate) fn syn_options(&self, config: &Config, now: Instant, answer: bool) -> Options {
        let timestamps = match self.timestamps {
            Some(_) => self.timestamps(config, now),
            None if config.timestamps && !answer => Some(Timestamps { val: config.timestamp(now), ecr: 0 }),
            None => None,
        };
        Options {
            mss: Some(config.mss),
            window_scale: (config.window_scale && (!answer || self.scaled))
                .then(|| shift_for(config.receive_buffer_max)),
            sack_permitted: config.sack && (!answer || self.sack),
            timestamps,
            ..Options::NONE
        }
    }

    /// The timestamps of a segment that is sent now.
    pub(crate) fn timestamps(&self, config: &Config, now: Instant) -> Option<Timestamps> {
        self.timestamps.map(|state| Timestamps { val: config.timestamp(now), ecr: state.recent })
    }

    /// Takes the timestamp of an acceptable segment to be echoed (RFC 7323 § 4.3).
    pub(crate) fn note(&mut self, now: Instant, seq: SeqNumber, last_ack: SeqNumber, options: &Options) {
        if let (Some(state), Some(segment)) = (&mut self.timestamps, options.timestamps)
            && seq <= last_ack
            && (SeqNumber(segment.val) >= SeqNumber(state.recent) || now.since(state.at) >= TIMESTAMP_LIFE)
        {
            *state = TimestampState { recent: segment.val, at: now };
        }
    }
}

impl TimestampState {
    /// Whether a segment is an old one whose sequence number has become valid again (RFC 7323 § 5.3, R1).
    pub(crate) fn is_old(&self, now: Instant, options: &Options) -> bool {
        let Some(segment) = options.timestamps else { return false };
        SeqNumber(segment.val) < SeqNumber(self.recent) && now.since(self.at) < TIMESTAMP_LIFE
    }
}
