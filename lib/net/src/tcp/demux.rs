//! [`Demux`]: which flow a segment belongs to.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use wire::Port;

use crate::Key;

/// A connection's addresses and ports, as this side sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourTuple {
    /// This host's address.
    pub local: IpAddr,
    /// This host's port.
    pub local_port: Port,
    /// The peer's address.
    pub remote: IpAddr,
    /// The peer's port.
    pub remote_port: Port,
}

/// Why an entry was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is one already.
    Exists,
    /// As many as there may be.
    Full,
}

/// Finds flows by four-tuple, and listeners by address and port.
///
/// Tables are hashed under a secret key, so a peer cannot choose tuples that collide: a lookup takes the same time
/// among one flow and among a hundred thousand, and allocates nothing. `F` and `L` are what the caller calls a flow
/// and a listener, such as indices.
#[derive(Debug)]
pub struct Demux<F, L> {
    key: Key,
    flows: HashTable<(FourTuple, F)>,
    max_flows: usize,
    listeners: HashTable<(Place, Group<L>)>,
}

/// Where somebody listens; `None`: at every address.
type Place = (Option<IpAddr>, Port);

/// Who listens at a place.
#[derive(Debug)]
struct Group<L> {
    members: Vec<L>,
    /// There may be more of them (SO_REUSEPORT).
    is_shared: bool,
}

impl<F: Copy, L: Copy + PartialEq> Demux<F, L> {
    /// An empty table for at most `max_flows` flows. `key` is used for nothing else.
    pub const fn new(key: Key, max_flows: usize) -> Self {
        Self { key, flows: HashTable::new(), max_flows, listeners: HashTable::new() }
    }

    /// The flow of a segment that came from `remote` to `local`.
    #[inline]
    pub fn flow(&self, tuple: &FourTuple) -> Option<F> {
        let hash = tuple.hash(&self.key, 0);
        Some(self.flows.find(hash, |(known, _)| known == tuple)?.1)
    }

    /// Enters a flow. Allocates when the table grows.
    pub fn insert(&mut self, tuple: FourTuple, flow: F) -> Result<(), InsertError> {
        let key = self.key;
        let hash = |(tuple, _): &(FourTuple, F)| tuple.hash(&key, 0);
        let full = self.flows.len() >= self.max_flows;
        match self.flows.entry(hash(&(tuple, flow)), |(known, _)| *known == tuple, hash) {
            Entry::Occupied(_) => Err(InsertError::Exists),
            Entry::Vacant(_) if full => Err(InsertError::Full),
            Entry::Vacant(entry) => {
                entry.insert((tuple, flow));
                Ok(())
            }
        }
    }

    /// Takes a flow out.
    pub fn remove(&mut self, tuple: &FourTuple) -> Option<F> {
        let hash = tuple.hash(&self.key, 0);
        let entry = self.flows.find_entry(hash, |(known, _)| known == tuple).ok()?;
        Some(entry.remove().0.1)
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The listener for a segment from `tuple.remote` to `tuple.local`: one for that address before one for all. Of several that
    /// share a place the addresses and ports choose, so that all segments of a handshake meet the same one.
    pub fn listener(&self, tuple: &FourTuple) -> Option<L> {
        let port = tuple.local_port;
        [(Some(tuple.local), port), (None, port)].iter().find_map(|place| {
            let (_, group) = self.listeners.find(self.hash_place(place), |(known, _)| known == place)?;
            match group.members[..] {
                [only] => Some(only),
                ref several => {
                    let choice = tuple.hash(&self.key, 2) % several.len().max(1) as u64;
                    several.get(choice as usize).copied()
                }
            }
        })
    }

    /// Enters a listener; `local` of `None` stands for every address. `is_shared`: others that say the same may listen there, too.
    ///
    /// # Errors
    /// [`InsertError::Exists`].
    pub fn listen(
        &mut self,
        local: Option<IpAddr>,
        port: Port,
        listener: L,
        is_shared: bool,
    ) -> Result<(), InsertError> {
        let place = (local, port);
        let key = self.key;
        let hash = |(place, _): &(Place, Group<L>)| hash_place(&key, place);
        match self.listeners.entry(self.hash_place(&place), |(known, _)| *known == place, hash) {
            Entry::Occupied(mut entry) => {
                let (_, group) = entry.get_mut();
                if !is_shared || !group.is_shared {
                    return Err(InsertError::Exists);
                }
                group.members.push(listener);
            }
            Entry::Vacant(entry) => {
                entry.insert((place, Group { members: vec![listener], is_shared }));
            }
        }
        Ok(())
    }

    /// Takes a listener out. `false`: it is not there.
    pub fn unlisten(&mut self, local: Option<IpAddr>, port: Port, listener: L) -> bool {
        let place = (local, port);
        let hash = self.hash_place(&place);
        let Ok(mut entry) = self.listeners.find_entry(hash, |(known, _)| *known == place) else {
            return false;
        };
        let members = &mut entry.get_mut().1.members;
        let before = members.len();
        members.retain(|known| *known != listener);
        let is_removed = members.len() < before;
        if members.is_empty() {
            entry.remove();
        }
        is_removed
    }

    fn hash_place(&self, place: &Place) -> u64 {
        hash_place(&self.key, place)
    }
}

fn hash_place(key: &Key, &(local, local_port): &Place) -> u64 {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let tuple = FourTuple { local: local.unwrap_or(any), local_port, remote: any, remote_port: Port::NONE };
    tuple.hash(key, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(n: u32) -> FourTuple {
        let ip = |n: u32| IpAddr::V4(Ipv4Addr::from(n));
        FourTuple { local: ip(1), local_port: Port(80), remote: ip(n), remote_port: Port(n as u16) }
    }

    #[test]
    fn each_flow_is_found_until_it_is_removed() {
        let mut demux: Demux<u32, ()> = Demux::new(Key([1, 2]), 10_000);
        for n in 0..10_000 {
            assert_eq!(demux.insert(tuple(n), n), Ok(()));
        }
        assert_eq!(demux.insert(tuple(5), 0), Err(InsertError::Exists));
        assert_eq!(demux.insert(tuple(10_000), 0), Err(InsertError::Full));
        for n in 0..10_000 {
            assert_eq!(demux.flow(&tuple(n)), Some(n));
        }
        assert_eq!((demux.remove(&tuple(7)), demux.remove(&tuple(7))), (Some(7), None));
        assert_eq!((demux.flow(&tuple(7)), demux.len()), (None, 9_999));
    }

    #[test]
    fn the_nearest_listener_is_found() {
        let mut demux: Demux<(), u8> = Demux::new(Key([1, 2]), 1);
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let to = |n, port| FourTuple { local: ip(n), local_port: Port(port), ..tuple(7) };
        demux.listen(None, Port(80), 0, false).unwrap();
        demux.listen(Some(ip(1)), Port(80), 1, false).unwrap();
        assert_eq!(demux.listen(None, Port(80), 2, true), Err(InsertError::Exists));
        assert_eq!(demux.listener(&to(1, 80)), Some(1));
        assert_eq!(demux.listener(&to(2, 80)), Some(0));
        assert_eq!(demux.listener(&to(1, 81)), None);
        assert!(!demux.unlisten(Some(ip(1)), Port(80), 0));
        assert!(demux.unlisten(Some(ip(1)), Port(80), 1));
        assert_eq!(demux.listener(&to(1, 80)), Some(0));
    }

    #[test]
    fn peers_are_spread_over_those_that_share() {
        let mut demux: Demux<(), u8> = Demux::new(Key([1, 2]), 1);
        for listener in 0..4 {
            demux.listen(None, Port(80), listener, true).unwrap();
        }
        assert_eq!(demux.listen(None, Port(80), 4, false), Err(InsertError::Exists));
        let chosen = |demux: &Demux<(), u8>, n| demux.listener(&tuple(n)).unwrap();
        for listener in 0..4 {
            let count = (0..400).filter(|&n| chosen(&demux, n) == listener).count();
            assert!((50..150).contains(&count), "{count}");
        }
        assert_eq!(chosen(&demux, 7), chosen(&demux, 7));
        for listener in 0..4 {
            assert!(demux.unlisten(None, Port(80), listener));
        }
        assert_eq!(demux.listener(&tuple(7)), None);
    }
}
