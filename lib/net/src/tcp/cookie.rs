//! [`SynCookies`]: a connection is remembered by its peer (RFC 4987 § 3.6).
//!
//! The initial sequence number is a time of five bits, the segment size as one of eight, and 24 bits of a keyed hash of
//! these, the four-tuple and the peer's number. The other options go into the lowest six bits of the timestamp that the
//! peer echoes, as in Linux: four of the window's scale, selective acknowledgments, congestion marks. Without timestamps
//! the connection has none of them.

use core::time::Duration;

use wire::SeqNumber;
use wire::tcp::{Flags, Options, Repr};

use crate::tcp::{Config, FourTuple};
use crate::{Instant, Key, siphash};

/// Segment sizes that a cookie can name: the largest that is not above the peer's is taken (RFC 4987 § 3.6; the usual
/// links' and tunnels').
const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1400, 1440, 1460, 8960];
/// How long one value of the time lasts. A cookie holds for one to two of them.
const TICK: Duration = Duration::from_secs(64);
/// Bits of the timestamp that hold options.
const OPTION_BITS: u32 = 6;
/// No window's scale.
const NO_SCALE: u32 = 15;

/// Makes and checks cookies. An acknowledgment counts only for a while after a cookie was made, so that at other times
/// nobody gets a connection by guessing; a guess among 2^24 is right, twice as often in the second half of a tick.
#[derive(Debug)]
pub(crate) struct SynCookies {
    key: Key,
    made_at: Option<Instant>,
}

impl SynCookies {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, made_at: None }
    }

    /// The initial sequence number of the answer to `syn`; hides the options in the timestamp of `answer`.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        syn: &Repr,
        is_ecn: bool,
        answer: &mut Options,
    ) -> SeqNumber {
        self.made_at = Some(now);
        if let Some(timestamps) = &mut answer.timestamps {
            let scale = answer.window_scale.and(syn.options.window_scale).map_or(NO_SCALE, u32::from);
            let kept = scale | u32::from(answer.sack_permitted) << 4 | u32::from(is_ecn) << 5;
            // Not later than the clock: what follows must not step back.
            let mask = (1 << OPTION_BITS) - 1;
            let val = timestamps.val & !mask | kept;
            let is_later = SeqNumber(val) > SeqNumber(timestamps.val);
            timestamps.val = if is_later { val.wrapping_sub(1 << OPTION_BITS) } else { val };
        }
        let mss = syn.options.mss.unwrap_or(SIZES[1]);
        let size = SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0) as u32;
        SeqNumber(self.cookie(tick(now), size, tuple, syn.seq))
    }

    /// The SYN that the acknowledgment `ack` of a cookie stands for. Its window is that of the acknowledgment.
    pub(crate) fn check(&self, now: Instant, config: &Config, tuple: &FourTuple, ack: &Repr) -> Option<Repr> {
        if now.since(self.made_at?) > TICK * 2 {
            return None;
        }
        let cookie = (ack.ack - 1).0;
        let age = tick(now).wrapping_sub(cookie >> 27) % 32;
        let size = cookie >> 24 & 7;
        let seq = ack.seq - 1;
        if age > 1 || cookie != self.cookie(cookie >> 27, size, tuple, seq) {
            return None;
        }
        let mut options = Options { mss: Some(SIZES[size as usize]), ..Options::NONE };
        let mut flags = Flags::SYN;
        if let Some(timestamps) = ack.options.timestamps.filter(|_| config.timestamps) {
            let kept = timestamps.ecr;
            options.timestamps = Some(timestamps);
            let scale = kept & 15;
            options.window_scale =
                (scale != NO_SCALE).then_some(scale.min(wire::tcp::MAX_WINDOW_SHIFT.into()) as u8);
            options.sack_permitted = kept & 1 << 4 != 0;
            if kept & 1 << 5 != 0 {
                flags |= Flags::ECE | Flags::CWR;
            }
        }
        Some(Repr { seq, ack: SeqNumber(0), flags, options, ..*ack })
    }

    fn cookie(&self, tick: u32, size: u32, tuple: &FourTuple, seq: SeqNumber) -> u32 {
        let head = (tick & 31) << 27 | size << 24;
        let mut octets = [0; 45];
        octets[..37].copy_from_slice(&tuple.octets(2));
        octets[37..41].copy_from_slice(&seq.0.to_be_bytes());
        octets[41..].copy_from_slice(&head.to_be_bytes());
        head | siphash(&self.key, &octets) as u32 & 0x00ff_ffff
    }
}

fn tick(now: Instant) -> u32 {
    (now.since(Instant(0)).as_secs() / TICK.as_secs()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::bare;
    use core::net::{IpAddr, Ipv4Addr};
    use wire::Port;
    use wire::tcp::Timestamps;

    const PEER: Port = Port(5000);
    const IRS: SeqNumber = SeqNumber(77);

    fn tuple(n: u8) -> FourTuple {
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        FourTuple { local: ip(1), local_port: Port(80), remote: ip(n), remote_port: PEER }
    }

    fn syn(mss: u16) -> Repr {
        let options = Options {
            mss: Some(mss),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 5, ecr: 0 }),
            ..Options::NONE
        };
        Repr { options, ..bare(PEER, Port(80), IRS, SeqNumber(0), Flags::SYN) }
    }

    fn ack(cookie: SeqNumber, timestamps: Option<Timestamps>) -> Repr {
        let options = Options { timestamps, ..Options::NONE };
        Repr { options, ..bare(PEER, Port(80), IRS + 1, cookie + 1, Flags::ACK) }
    }

    #[test]
    fn what_the_syn_had_comes_back() {
        let mut cookies = SynCookies::new(Key([1, 2]));
        let config = Config::new(Port(80), PEER);
        for (mss, kept) in [(100, 216), (536, 536), (1000, 536), (1460, 1460), (9000, 8960)] {
            let mut answer =
                Options { timestamps: Some(Timestamps { val: 1000, ecr: 5 }), ..syn(mss).options };
            let now = Instant::from_millis(1000);
            let cookie = cookies.make(now, &tuple(2), &syn(mss), true, &mut answer);
            let val = answer.timestamps.unwrap().val;
            assert!((1000 - 64..=1000).contains(&val), "{val}");
            let echoed = ack(cookie, Some(Timestamps { val: 6, ecr: val }));
            let back = cookies.check(now, &config, &tuple(2), &echoed).unwrap();
            assert_eq!((back.seq, back.options.mss), (IRS, Some(kept)));
            assert_eq!((back.options.window_scale, back.options.sack_permitted), (Some(7), true));
            assert!(back.flags.has(Flags::SYN | Flags::ECE | Flags::CWR));
            let plain = cookies.check(now, &config, &tuple(2), &ack(cookie, None)).unwrap();
            assert_eq!((plain.options.window_scale, plain.options.sack_permitted), (None, false));
        }
    }

    #[test]
    fn what_is_no_cookie_does_not_count() {
        let mut cookies = SynCookies::new(Key([1, 2]));
        let config = Config::new(Port(80), PEER);
        let (now, mut options) = (Instant::from_millis(1000), Options::NONE);
        let is_good = |cookies: &SynCookies, at: Instant, tuple: &FourTuple, ack: &Repr| {
            cookies.check(at, &config, tuple, ack).is_some()
        };
        let made = SynCookies::new(Key([1, 2])).make(now, &tuple(2), &syn(1460), false, &mut options);
        assert!(!is_good(&cookies, now, &tuple(2), &ack(made, None)), "none was made");
        let cookie = cookies.make(now, &tuple(2), &syn(1460), false, &mut options);
        assert!(is_good(&cookies, now, &tuple(2), &ack(cookie, None)));
        assert!(!is_good(&cookies, now, &tuple(3), &ack(cookie, None)), "somebody else's");
        assert!(!is_good(&cookies, now, &tuple(2), &ack(cookie + 1, None)), "guessed");
        let other = Repr { seq: IRS + 2, ..ack(cookie, None) };
        assert!(!is_good(&cookies, now, &tuple(2), &other), "another number of the peer");
        assert!(is_good(&cookies, now + TICK, &tuple(2), &ack(cookie, None)));
        assert!(!is_good(&cookies, now + TICK * 2, &tuple(2), &ack(cookie, None)), "old");
    }
}
