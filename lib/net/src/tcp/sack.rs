//! [`Scoreboard`]: which octets beyond SND.UNA the peer reported (RFC 2018).

use alloc::vec::Vec;

use wire::SeqNumber;
use wire::tcp::SackBlock;

/// Most blocks that are remembered; what a peer reports beyond that says nothing. It takes as many losses in one
/// window to get there.
pub(crate) const MAX_BLOCKS: usize = 1024;

/// Blocks of whole segments ([`super::in_flight::InFlight::whole`]). Tells what of a report is new, so that a peer that
/// repeats its reports makes no work. Every call takes time for at most [`MAX_BLOCKS`] blocks.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    /// Ascending, disjoint, not touching.
    blocks: Vec<SackBlock>,
}

impl Scoreboard {
    /// Takes a block; `new` gets the parts of it that were not reported before.
    pub(crate) fn insert(&mut self, block: SackBlock, mut new: impl FnMut(SeqNumber, SeqNumber)) {
        let SackBlock { mut left, mut right } = block;
        let first = self.blocks.partition_point(|known| known.right < left);
        let touching = self.blocks[first..].iter().take_while(|known| known.left <= right).count();
        if touching == 0 {
            if left < right && self.blocks.len() < MAX_BLOCKS {
                self.blocks.insert(first, block);
                new(left, right);
            }
            return;
        }
        let merged = &self.blocks[first..first + touching];
        let mut from = left;
        for known in merged {
            if from < known.left {
                new(from, known.left);
            }
            from = from.latest(known.right);
        }
        if from < right {
            new(from, right);
        }
        left = left.earliest(merged[0].left);
        right = right.latest(merged[touching - 1].right);
        self.blocks[first] = SackBlock { left, right };
        self.blocks.drain(first + 1..first + touching);
    }

    /// Forgets what is now acknowledged for good.
    pub(crate) fn acknowledge(&mut self, una: SeqNumber) {
        let gone = self.blocks.partition_point(|block| block.right <= una);
        self.blocks.drain(..gone);
        if let Some(first) = self.blocks.first_mut() {
            first.left = first.left.latest(una);
        }
    }

    /// Forgets everything: the peer may have thrown away what it reported (RFC 2018 § 8).
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }
}

/// The octets that a report says arrived twice: its first block, if it lies below the acknowledgment or in the second
/// block (RFC 2883 § 4).
pub(crate) fn duplicate(ack: SeqNumber, blocks: &[SackBlock]) -> Option<SackBlock> {
    let (first, others) = blocks.split_first()?;
    let within = |second: &SackBlock| second.left <= first.left && first.right <= second.right;
    let is_duplicate = first.left < first.right && (first.right <= ack || others.first().is_some_and(within));
    is_duplicate.then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Close to the wrap, so that every test crosses it.
    const UNA: SeqNumber = SeqNumber(u32::MAX - 20);

    fn block(left: u32, right: u32) -> SackBlock {
        SackBlock { left: UNA + left, right: UNA + right }
    }

    fn board(blocks: &[(u32, u32)]) -> Scoreboard {
        let mut board = Scoreboard::default();
        for &(left, right) in blocks {
            board.insert(block(left, right), |_, _| ());
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
        assert!(blocks(&board(&[(20, 10), (10, 10)])).is_empty());
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut board = board(&[(10, 20), (30, 40)]);
        let mut new = Vec::new();
        board.insert(block(5, 50), |left, right| new.push((left.since(UNA), right.since(UNA))));
        assert_eq!(new, [(5, 10), (20, 30), (40, 50)]);
        board.insert(block(10, 45), |_, _| panic!("nothing is new"));
        assert_eq!(blocks(&board), [(5, 50)]);
    }

    #[test]
    fn acknowledged_blocks_go() {
        let mut board = board(&[(10, 20), (30, 40)]);
        board.acknowledge(UNA + 35);
        assert_eq!(blocks(&board), [(35, 40)]);
    }

    #[test]
    fn duplicates() {
        let ack = UNA + 10;
        assert_eq!(duplicate(ack, &[block(0, 10), block(20, 30)]), Some(block(0, 10)));
        assert_eq!(duplicate(ack, &[block(20, 25), block(20, 30)]), Some(block(20, 25)));
        assert_eq!(duplicate(ack, &[block(20, 30), block(40, 50)]), None);
        assert_eq!(duplicate(ack, &[block(10, 0)]), None);
        assert_eq!(duplicate(ack, &[]), None);
    }

    #[test]
    fn there_is_a_bound() {
        let many: Vec<_> = (0..2000).map(|n| (4 * n + 1, 4 * n + 2)).collect();
        assert_eq!(board(&many).blocks.len(), MAX_BLOCKS);
    }
}
