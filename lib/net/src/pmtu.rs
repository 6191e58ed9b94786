//! [`PathMtus`]: how long packets to a destination may be (RFC 1191).

use core::net::Ipv4Addr;
use core::time::Duration;

use hashbrown::HashTable;

use crate::{Instant, Key, siphash};

/// Most destinations that are remembered; the one learned longest ago goes for a new one.
pub const MAX_PATHS: usize = 1024;
/// After this long a path is tried with the full length again (RFC 1191 § 6.3).
const LIFE: Duration = Duration::from_secs(600);
/// Less is not believed: it would cost more than it could save, and is what an attacker would say (RFC 5927 § 7;
/// Linux' `min_pmtu`).
pub const MIN_PATH_MTU: u16 = 552;
/// What routers that do not say their MTU probably have (RFC 1191 § 7.1).
const PLATEAUS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 576, 552, 0];

/// A destination's MTU, as data for live update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtuState {
    /// Where to.
    pub destination: Ipv4Addr,
    /// Octets.
    pub mtu: u16,
    /// How long it was known for.
    pub age: Duration,
}

/// Destinations whose path takes less than their route's MTU.
#[derive(Debug)]
pub struct PathMtus {
    key: Key,
    paths: HashTable<Path>,
    /// Destinations forgotten for new ones.
    pub evicted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    destination: Ipv4Addr,
    mtu: u16,
    learned: Instant,
}

impl PathMtus {
    /// Nothing is known. `key` is used for nothing else.
    pub const fn new(key: Key) -> Self {
        Self { key, paths: HashTable::new(), evicted: 0 }
    }

    /// What is known of a destination's path.
    #[inline]
    pub fn get(&self, now: Instant, destination: Ipv4Addr) -> Option<u16> {
        if self.paths.is_empty() {
            return None;
        }
        let path = self.paths.find(self.hash(destination), |path| path.destination == destination)?;
        (now.since(path.learned) < LIFE).then_some(path.mtu)
    }

    /// A router said that a packet of `len` octets was too long for the next hop's `mtu`; 0: it did not say for which. The
    /// error was checked. Returns the new MTU, `None` if that is not less than before. Looks at all paths if the table is full.
    pub fn handle_too_big(&mut self, now: Instant, destination: Ipv4Addr, mtu: u16, len: u16) -> Option<u16> {
        let mtu = match mtu {
            0 => PLATEAUS.into_iter().find(|plateau| *plateau < len).unwrap_or(0),
            mtu => mtu,
        };
        let mtu = mtu.max(MIN_PATH_MTU);
        if mtu >= self.get(now, destination).unwrap_or(len) {
            return None;
        }
        self.insert(Path { destination, mtu, learned: now });
        Some(mtu)
    }

    /// All that is known.
    pub fn save(&self, now: Instant) -> impl Iterator<Item = PathMtuState> {
        self.paths.iter().map(move |path| PathMtuState {
            destination: path.destination,
            mtu: path.mtu,
            age: now.since(path.learned),
        })
    }

    /// Takes what was saved.
    pub fn restore(&mut self, now: Instant, saved: &PathMtuState) {
        let (destination, mtu) = (saved.destination, saved.mtu.max(MIN_PATH_MTU));
        self.insert(Path { destination, mtu, learned: now.before(saved.age) });
    }

    fn insert(&mut self, path: Path) {
        let hash = self.hash(path.destination);
        if let Some(known) = self.paths.find_mut(hash, |known| known.destination == path.destination) {
            *known = path;
            return;
        }
        if self.paths.len() >= MAX_PATHS
            && let Some(oldest) =
                self.paths.iter().min_by_key(|path| path.learned).map(|path| path.destination)
            && let Ok(entry) = self.paths.find_entry(self.hash(oldest), |path| path.destination == oldest)
        {
            entry.remove();
            self.evicted += 1;
        }
        let key = self.key;
        self.paths.insert_unique(hash, path, |path| siphash(&key, &path.destination.octets()));
    }

    fn hash(&self, destination: Ipv4Addr) -> u64 {
        siphash(&self.key, &destination.octets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_path_only_shrinks_until_it_is_old() {
        let mut paths = PathMtus::new(Key([1, 2]));
        assert_eq!(paths.handle_too_big(at(0), DST, 1400, 1500), Some(1400));
        assert_eq!(paths.handle_too_big(at(1), DST, 1450, 1500), None);
        assert_eq!(paths.handle_too_big(at(2), DST, 1300, 1400), Some(1300));
        assert_eq!((paths.get(at(601), DST), paths.get(at(602), DST)), (Some(1300), None));
        assert_eq!(paths.handle_too_big(at(700), DST, 1400, 1500), Some(1400));
    }

    #[test]
    fn silent_routers_are_guessed() {
        let mut paths = PathMtus::new(Key([1, 2]));
        assert_eq!(paths.handle_too_big(at(0), DST, 0, 1500), Some(1492));
        assert_eq!(paths.handle_too_big(at(0), DST, 0, 1492), Some(1006));
        assert_eq!(paths.handle_too_big(at(0), DST, 68, 1006), Some(MIN_PATH_MTU));
        assert_eq!(paths.handle_too_big(at(0), DST, 0, 552), None);
        assert_eq!(
            paths.handle_too_big(at(0), Ipv4Addr::LOCALHOST, 1600, 1500),
            None,
            "not longer than it was"
        );
    }

    #[test]
    fn bounded_and_saved() {
        let mut paths = PathMtus::new(Key([1, 2]));
        for n in 0..MAX_PATHS as u32 + 10 {
            paths.handle_too_big(at(n.into()), Ipv4Addr::from_bits(n), 1400, 1500);
        }
        assert_eq!((paths.paths.len(), paths.evicted), (MAX_PATHS, 10));
        let now = at(MAX_PATHS as u64 + 10);
        assert_eq!(paths.get(now, Ipv4Addr::from_bits(9)), None);
        let mut other = PathMtus::new(Key([3, 4]));
        paths.save(now).for_each(|saved| other.restore(at(5000), &saved));
        let newest = Ipv4Addr::from_bits(MAX_PATHS as u32 + 9);
        assert_eq!((other.get(at(5000), newest), other.get(at(5599), newest)), (Some(1400), None));
    }
}
