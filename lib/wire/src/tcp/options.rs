//! TCP options (RFC 9293 § 3.2, RFC 7323, RFC 2018).

use crate::{List, Malformed, SeqNumber};

/// Most SACK blocks that fit a header (RFC 2018 § 3).
pub const MAX_SACK_BLOCKS: usize = 4;
/// Largest shift of a window (RFC 7323 § 2.3).
pub const MAX_WINDOW_SHIFT: u8 = 14;

const MAX_LEN: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The timestamps option (RFC 7323 § 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the echo of the receiver's clock; significant with ACK.
    pub ecr: u32,
}

/// A block of octets that arrived out of order (RFC 2018 § 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlock {
    /// The first octet.
    pub left: SeqNumber,
    /// The octet behind the last.
    pub right: SeqNumber,
}

/// The options of a segment. Unknown kinds are skipped; of a kind that stands twice the later counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size; significant with SYN.
    pub mss: Option<u16>,
    /// Window scale, `0..=MAX_WINDOW_SHIFT`; significant with SYN.
    pub window_scale: Option<u8>,
    /// Selective acknowledgments may be sent; significant with SYN.
    pub sack_permitted: bool,
    /// Selective acknowledgments.
    pub sack: List<SackBlock, MAX_SACK_BLOCKS>,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

impl Options {
    /// No options.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        sack: List::new(SackBlock { left: SeqNumber(0), right: SeqNumber(0) }),
        timestamps: None,
    };

    /// Reads the options.
    ///
    /// `Option`: the kind whose length is below 2, reaches behind the end, or is not that of the kind. A window scale
    /// above [`MAX_WINDOW_SHIFT`] counts as that (RFC 7323 § 2.3).
    #[inline]
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        // What nearly all segments of a connection carry: NOP, NOP, timestamps (RFC 7323 appendix A).
        if let [NOP, NOP, TIMESTAMPS, 10, value @ ..] = octets
            && let Ok(value) = <[u8; 8]>::try_from(value)
        {
            return Ok(Self { timestamps: Some(timestamps(value)), ..Self::NONE });
        }
        Self::parse_any(octets)
    }

    fn parse_any(mut octets: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::NONE;
        loop {
            let kind = match *octets {
                [] | [END, ..] => return Ok(options),
                [NOP, ref rest @ ..] => {
                    octets = rest;
                    continue;
                }
                [kind, ..] => kind,
            };
            let len = *octets.get(1).ok_or(Malformed::Option(kind))?;
            let value = octets.get(2..usize::from(len)).ok_or(Malformed::Option(kind))?;
            options.set(kind, value).ok_or(Malformed::Option(kind))?;
            octets = &octets[usize::from(len)..];
        }
    }

    /// Takes one option. `None`: its length is not that of its kind.
    fn set(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        match kind {
            MSS => self.mss = Some(u16::from_be_bytes(value.try_into().ok()?)),
            WINDOW_SCALE => {
                let [shift] = value.try_into().ok()?;
                self.window_scale = Some(shift.min(MAX_WINDOW_SHIFT));
            }
            SACK_PERMITTED => {
                let [] = value.try_into().ok()?;
                self.sack_permitted = true;
            }
            SACK => {
                let (blocks, []) = value.as_chunks::<8>() else { return None };
                if blocks.is_empty() {
                    return None;
                }
                self.sack = Self::NONE.sack;
                self.sack.extend(blocks.iter().map(|&[a, b, c, d, e, f, g, h]| SackBlock {
                    left: SeqNumber(u32::from_be_bytes([a, b, c, d])),
                    right: SeqNumber(u32::from_be_bytes([e, f, g, h])),
                }));
            }
            TIMESTAMPS => self.timestamps = Some(timestamps(value.try_into().ok()?)),
            _ => {}
        }
        Some(())
    }

    /// SACK blocks for which there is room beside the other options.
    pub fn sack_room(&self) -> usize {
        let others = Self { sack: Self::NONE.sack, ..*self }.len();
        ((MAX_LEN - others).saturating_sub(4) / 8).min(MAX_SACK_BLOCKS)
    }

    /// Octets the options take, padding included: a multiple of 4, at most 40.
    pub fn len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += 12;
        } else if self.sack_permitted {
            len += 4;
        }
        len + match self.sack.len().min((MAX_LEN - len).saturating_sub(4) / 8) {
            0 => 0,
            blocks => 4 + 8 * blocks,
        }
    }

    /// Whether there is no option.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Writes the options; `octets` has [`Self::len`]. SACK blocks for which there is no room are left out.
    pub(super) fn emit(&self, octets: &mut [u8]) {
        let mut rest = octets;
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&mut rest, [MSS, 4, high, low]);
        }
        if let Some(shift) = self.window_scale {
            put(&mut rest, [NOP, WINDOW_SCALE, 3, shift]);
        }
        // SACK-permitted takes the place of the padding before timestamps, as Linux does.
        let lead = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            put(&mut rest, [lead[0], lead[1], TIMESTAMPS, 10]);
            put(&mut rest, val.to_be_bytes());
            put(&mut rest, ecr.to_be_bytes());
        } else if self.sack_permitted {
            put(&mut rest, [NOP, NOP, SACK_PERMITTED, 2]);
        }
        let blocks = self.sack.len().min(rest.len().saturating_sub(4) / 8);
        if blocks > 0 {
            put(&mut rest, [NOP, NOP, SACK, 2 + 8 * blocks as u8]);
            for block in &self.sack[..blocks] {
                put(&mut rest, block.left.0.to_be_bytes());
                put(&mut rest, block.right.0.to_be_bytes());
            }
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::NONE
    }
}

fn timestamps([a, b, c, d, e, f, g, h]: [u8; 8]) -> Timestamps {
    Timestamps { val: u32::from_be_bytes([a, b, c, d]), ecr: u32::from_be_bytes([e, f, g, h]) }
}

/// Writes a word and moves on.
fn put(rest: &mut &mut [u8], word: [u8; 4]) {
    if let Some((head, tail)) = core::mem::take(rest).split_first_chunk_mut() {
        *head = word;
        *rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds_refused(octets: &[u8], kind: u8) {
        assert_eq!(Options::parse(octets), Err(Malformed::Option(kind)), "{octets:?}");
    }

    #[test]
    fn each_option() {
        let octets = [2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8];
        let options = Options::parse(&octets).unwrap();
        assert_eq!((options.mss, options.window_scale), (Some(1460), Some(7)));
        assert!(options.sack_permitted);
        assert_eq!(options.timestamps, Some(Timestamps { val: 9, ecr: 8 }));
        let mut emitted = [0xaa; 20];
        assert_eq!(options.len(), 20);
        options.emit(&mut emitted);
        assert_eq!(emitted, octets);
    }

    #[test]
    fn unknown_kinds_are_skipped() {
        assert_eq!(Options::parse(&[254, 4, 1, 2, 2, 4, 0, 9]).unwrap().mss, Some(9));
        assert_eq!(Options::parse(&[1, 1, 0, 2]), Ok(Options::NONE), "nothing counts behind the end");
    }

    #[test]
    fn impossible_lengths_are_refused() {
        kinds_refused(&[254], 254);
        kinds_refused(&[254, 0], 254);
        kinds_refused(&[254, 1], 254);
        kinds_refused(&[2, 4, 0], 2);
        kinds_refused(&[2, 3, 0], 2);
        kinds_refused(&[3, 2], 3);
        kinds_refused(&[4, 3, 0], 4);
        kinds_refused(&[5, 2], 5);
        kinds_refused(&[5, 9, 0, 0, 0, 0, 0, 0, 0], 5);
        kinds_refused(&[1, 1, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0], 8);
    }

    #[test]
    fn a_window_shift_has_a_bound() {
        assert_eq!(Options::parse(&[3, 3, 200]).unwrap().window_scale, Some(14));
    }

    #[test]
    fn sack_blocks_beside_timestamps() {
        let mut options = Options { timestamps: Some(Timestamps { val: 1, ecr: 2 }), ..Options::NONE };
        assert_eq!(options.sack_room(), 3);
        let block = |n| SackBlock { left: SeqNumber(n), right: SeqNumber(n + 1) };
        options.sack.extend((0..9).map(block));
        assert_eq!(options.sack.len(), 4);
        let mut octets = [0; 40];
        assert_eq!(options.len(), 40);
        options.emit(&mut octets);
        let parsed = Options::parse(&octets).unwrap();
        assert_eq!(*parsed.sack, [block(0), block(1), block(2)]);
        assert_eq!(Options::NONE.sack_room(), 4);
    }
}
