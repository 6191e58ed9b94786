//! [`Scoreboard`]: what the peer has beyond the first gap, and what is therefore lost (RFC 2018, RFC 6675).

use alloc::vec::Vec;

use wire::SeqNumber;
use wire::tcp::SackBlock;

/// Most blocks that are remembered. A peer that reports more than that gets what it lacks retransmitted in order.
const MAX_BLOCKS: usize = 64;
/// DupThresh (RFC 6675 § 2).
pub(crate) const DUP_THRESH: u32 = 3;

/// The sender's view of what was acknowledged selectively. Every call takes time for at most [`MAX_BLOCKS`] blocks.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    /// Ascending, disjoint, not touching.
    blocks: Vec<SackBlock>,
}

impl Scoreboard {
    /// Takes a block. `false`: it says nothing new, or lies outside of what was sent, `una..nxt`.
    pub(crate) fn insert(&mut self, block: SackBlock, una: SeqNumber, nxt: SeqNumber) -> bool {
        let SackBlock { mut left, mut right } = block;
        // A block below `una` is a D-SACK (RFC 2883) or late.
        if left >= right || right > nxt || left < una {
            return false;
        }
        let first = self.blocks.partition_point(|known| known.right < left);
        let touching = self.blocks[first..].iter().take_while(|known| known.left <= right).count();
        if touching == 0 {
            if self.blocks.len() == MAX_BLOCKS {
                return false;
            }
            self.blocks.insert(first, block);
            return true;
        }
        let merged = &self.blocks[first..first + touching];
        if merged[0].left <= left && right <= merged[0].right {
            return false;
        }
        left = left.earliest(merged[0].left);
        right = right.latest(merged[touching - 1].right);
        self.blocks[first] = SackBlock { left, right };
        self.blocks.drain(first + 1..first + touching);
        true
    }

    /// Forgets what is now acknowledged for good.
    pub(crate) fn acknowledge(&mut self, una: SeqNumber) {
        self.blocks.retain(|block| block.right > una);
        if let Some(first) = self.blocks.first_mut() {
            first.left = first.left.latest(una);
        }
    }

    /// Forgets everything: the peer may have thrown away what it reported (RFC 2018 § 8).
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }

    /// Whether the octet at `una` counts as lost (IsLost of RFC 6675 § 4).
    pub(crate) fn is_first_lost(&self, una: SeqNumber, mss: u32) -> bool {
        self.holes(una, una).next().is_some_and(|hole| hole.left == una && hole.is_lost(mss))
    }

    /// The first lost octets from `from` on that the peer does not have, and how many (NextSeg of RFC 6675 § 4,
    /// rule 1; rule 3 with `even_if_not_lost`).
    pub(crate) fn next_hole(
        &self,
        una: SeqNumber,
        from: SeqNumber,
        mss: u32,
        even_if_not_lost: bool,
    ) -> Option<(SeqNumber, u32)> {
        self.holes(una, una)
            .filter(|hole| hole.blocks_above > 0 && hole.right > from)
            .find(|hole| even_if_not_lost || hole.is_lost(mss))
            .map(|hole| {
                let start = hole.left.latest(from);
                (start, hole.right.since(start))
            })
    }

    /// The first octets in `from..end` that the peer did not report, and how many.
    pub(crate) fn next_missing(
        &self,
        una: SeqNumber,
        from: SeqNumber,
        end: SeqNumber,
    ) -> Option<(SeqNumber, u32)> {
        self.holes(una, end).find_map(|hole| {
            let (start, right) = (hole.left.latest(from), hole.right.earliest(end));
            (start < right).then(|| (start, right.since(start)))
        })
    }

    /// Octets that are in the network (SetPipe of RFC 6675 § 4): of those the peer did not report, the ones sent
    /// again, below `high_rxt`, and the ones that are not lost. All below `lost_below` count as lost.
    pub(crate) fn pipe(
        &self,
        una: SeqNumber,
        nxt: SeqNumber,
        high_rxt: SeqNumber,
        lost_below: SeqNumber,
        mss: u32,
    ) -> u32 {
        let part = |from: SeqNumber, to: SeqNumber| if from < to { to.since(from) } else { 0 };
        self.holes(una, nxt)
            .map(|hole| {
                let sent_again = part(hole.left, hole.right.earliest(high_rxt));
                let rest = hole.left.latest(high_rxt).latest(lost_below);
                sent_again + if hole.is_lost(mss) { 0 } else { part(rest, hole.right) }
            })
            .sum()
    }

    /// The gaps between blocks from `una` on, and the one behind the last block up to `nxt`.
    fn holes(&self, una: SeqNumber, nxt: SeqNumber) -> impl Iterator<Item = Hole> {
        let mut octets_above: u32 = self.blocks.iter().map(|block| block.right.since(block.left)).sum();
        let mut left = una;
        (0..=self.blocks.len()).filter_map(move |index| {
            let blocks_above = (self.blocks.len() - index) as u32;
            let above = octets_above;
            let hole_left = left;
            let right = match self.blocks.get(index) {
                Some(block) => {
                    octets_above -= block.right.since(block.left);
                    left = block.right;
                    block.left
                }
                None => nxt,
            };
            (hole_left < right).then_some(Hole { left: hole_left, right, blocks_above, octets_above: above })
        })
    }
}

struct Hole {
    left: SeqNumber,
    right: SeqNumber,
    blocks_above: u32,
    octets_above: u32,
}

impl Hole {
    /// IsLost (RFC 6675 § 4).
    fn is_lost(&self, mss: u32) -> bool {
        self.blocks_above >= DUP_THRESH || self.octets_above > (DUP_THRESH - 1) * mss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 10;
    /// Close to the wrap, so that every test crosses it.
    const UNA: SeqNumber = SeqNumber(u32::MAX - 20);

    fn board(blocks: &[(u32, u32)]) -> Scoreboard {
        let mut board = Scoreboard::default();
        for &(left, right) in blocks {
            board.insert(SackBlock { left: UNA + left, right: UNA + right }, UNA, UNA + 1000);
        }
        board
    }

    fn blocks(board: &Scoreboard) -> Vec<(u32, u32)> {
        board.blocks.iter().map(|block| (block.left.since(UNA), block.right.since(UNA))).collect()
    }

    #[test]
    fn blocks_merge() {
        assert_eq!(blocks(&board(&[(30, 40), (10, 20), (20, 30)])), [(10, 40)]);
        assert_eq!(blocks(&board(&[(30, 40), (10, 20), (15, 35)])), [(10, 40)]);
        assert_eq!(blocks(&board(&[(10, 20), (30, 40), (50, 60), (0, 100)])), [(0, 100)]);
        assert_eq!(blocks(&board(&[(10, 40), (20, 30)])), [(10, 40)]);
    }

    #[test]
    fn impossible_blocks_say_nothing() {
        assert!(blocks(&board(&[(20, 10), (990, 1001), (10, 10)])).is_empty());
        let below = SackBlock { left: UNA - 5, right: UNA + 5 };
        assert!(!Scoreboard::default().insert(below, UNA, UNA + 10));
    }

    #[test]
    fn acknowledged_blocks_go() {
        let mut board = board(&[(10, 20), (30, 40)]);
        board.acknowledge(UNA + 35);
        assert_eq!(blocks(&board), [(35, 40)]);
    }

    #[test]
    fn lost_by_octets_or_by_blocks() {
        assert!(!board(&[(10, 30)]).is_first_lost(UNA, MSS), "two segments above");
        assert!(board(&[(10, 31)]).is_first_lost(UNA, MSS), "more than two");
        assert!(board(&[(10, 11), (20, 21), (30, 31)]).is_first_lost(UNA, MSS), "three blocks");
        assert!(!board(&[(0, 100)]).is_first_lost(UNA, MSS), "there is no hole");
    }

    #[test]
    fn next_hole_in_order() {
        let board = board(&[(10, 20), (30, 60)]);
        assert_eq!(board.next_hole(UNA, UNA, MSS, false), Some((UNA, 10)));
        assert_eq!(board.next_hole(UNA, UNA + 10, MSS, false), Some((UNA + 20, 10)));
        assert_eq!(board.next_hole(UNA, UNA + 25, MSS, false), Some((UNA + 25, 5)));
        assert_eq!(board.next_hole(UNA, UNA + 30, MSS, true), None);
    }

    #[test]
    fn pipe_counts_what_is_in_the_network() {
        let board = board(&[(10, 20), (30, 60)]);
        // Both holes are lost; behind the last block 40 octets travel.
        assert_eq!(board.pipe(UNA, UNA + 100, UNA, UNA, MSS), 40);
        assert_eq!(board.pipe(UNA, UNA + 100, UNA + 10, UNA, MSS), 50);
        assert_eq!(board.pipe(UNA, UNA + 100, UNA, UNA + 100, MSS), 0);
    }

    #[test]
    fn there_is_a_bound() {
        let many: Vec<_> = (0..200).map(|n| (4 * n + 1, 4 * n + 2)).collect();
        assert_eq!(board(&many).blocks.len(), MAX_BLOCKS);
    }
}
