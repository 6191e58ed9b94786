//! Counters by address, for the histogram.

use crate::qemu::{self, Entry};
use std::collections::HashMap;
use std::fmt;

/// Numbers in one scoreboard: 128 KiB for each virtual CPU.
const CHUNK: usize = 16 * 1024;

/// What a slot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Instructions of the block that starts at the address.
    Instructions,
    /// Executions of the port instruction at the address.
    Ports,
    /// Device accesses of the load or store at the address.
    Mmio,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instructions => "insn",
            Self::Ports => "port",
            Self::Mmio => "mmio",
        })
    }
}

/// All slots. A block that is translated again finds its slot again.
#[derive(Default)]
pub struct Slots {
    index: HashMap<(Counted, u64), usize>,
    slots: Vec<(Counted, u64, Entry)>,
    free: Vec<Entry>,
}

impl Slots {
    /// The counter for `counted` at `address`.
    pub fn entry(&mut self, counted: Counted, address: u64) -> Entry {
        if let Some(&index) = self.index.get(&(counted, address)) {
            return self.slots[index].2;
        }
        if self.free.is_empty() {
            self.free.extend(qemu::entries(CHUNK));
        }
        let entry = self.free.pop().expect("a chunk was just added");
        self.index.insert((counted, address), self.slots.len());
        self.slots.push((counted, address, entry));
        entry
    }

    /// The counts so far, in the order in which the slots were made.
    pub fn counts(&self) -> Vec<u64> {
        self.slots.iter().map(|(_, _, entry)| entry.sum()).collect()
    }

    /// The histogram's text: `after` less `before`, which may be shorter, without the zeros.
    pub fn text(&self, before: &[u64], after: &[u64]) -> String {
        let mut lines = String::new();
        for (index, ((counted, address, _), after)) in self.slots.iter().zip(after).enumerate() {
            let count = after.wrapping_sub(before.get(index).copied().unwrap_or(0));
            if count != 0 {
                lines += &format!("{counted} {address:#x} {count}\n");
            }
        }
        lines
    }
}
