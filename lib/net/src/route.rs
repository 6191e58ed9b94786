//! [`Routes`]: the way to a destination by longest prefix match.

use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

use crate::IfaceId;
use crate::iface::Origin;

/// Most routes of a table; a further one is refused.
pub const MAX_ROUTES: usize = 16_384;

/// An address as a string of bits, the first the most significant.
pub trait Bits: Copy + Eq + fmt::Debug {
    /// How many there are.
    const LEN: u8;
    /// The bit at a place before [`Self::LEN`].
    fn bit(self, place: u8) -> bool;
    /// How many bits in front are the same.
    fn common(self, other: Self) -> u8;
    /// The bits before `len`, the others 0.
    fn prefix(self, len: u8) -> Self;
}

macro_rules! bits {
    ($($ty:ty)*) => {$(
        impl Bits for $ty {
            const LEN: u8 = <$ty>::BITS as u8;
            fn bit(self, place: u8) -> bool {
                self >> (<$ty>::BITS - 1).saturating_sub(place.into()) & 1 != 0
            }
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
            fn prefix(self, len: u8) -> Self {
                self & !<$ty>::MAX.checked_shr(len.into()).unwrap_or(0)
            }
        }
    )*};
}

bits!(u32 u128);

/// A map from prefixes to values: a path-compressed binary trie. A lookup takes at most [`Bits::LEN`] steps, however many
/// prefixes there are. `u32` is IPv4's key, `u128` IPv6's.
#[derive(Debug)]
pub struct Trie<K, V> {
    nodes: Vec<Node<K, V>>,
    root: Option<u32>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    prefix: K,
    prefix_len: u8,
    value: Option<V>,
    children: [Option<u32>; 2],
}

impl<K: Bits, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: None, free: Vec::new(), len: 0 }
    }
}

impl<K: Bits, V> Trie<K, V> {
    /// Prefixes with a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values of the prefixes that `key` begins with, the longest last.
    pub fn matches(&self, key: K) -> impl Iterator<Item = &V> {
        let mut at = self.root;
        core::iter::from_fn(move || {
            loop {
                let node = &self.nodes[at? as usize];
                if key.common(node.prefix).min(K::LEN) < node.prefix_len {
                    at = None;
                    return None;
                }
                at = if node.prefix_len < K::LEN {
                    node.children[usize::from(key.bit(node.prefix_len))]
                } else {
                    None
                };
                if let Some(value) = &node.value {
                    return Some(value);
                }
            }
        })
    }

    /// The value of exactly this prefix.
    pub fn get_mut(&mut self, key: K, prefix_len: u8) -> Option<&mut V> {
        let at = self.find(key, prefix_len)?;
        self.nodes[at as usize].value.as_mut()
    }

    /// Sets the value of a prefix; returns the one it had.
    pub fn insert(&mut self, key: K, prefix_len: u8, value: V) -> Option<V> {
        let prefix_len = prefix_len.min(K::LEN);
        let key = key.prefix(prefix_len);
        let mut parent: Option<(u32, usize)> = None;
        let mut at = self.root;
        while let Some(index) = at {
            let node = &self.nodes[index as usize];
            let common = key.common(node.prefix).min(prefix_len).min(node.prefix_len);
            if common == node.prefix_len {
                if common == prefix_len {
                    let old = self.nodes[index as usize].value.replace(value);
                    self.len += usize::from(old.is_none());
                    return old;
                }
                let side = usize::from(key.bit(common));
                parent = Some((index, side));
                at = node.children[side];
                continue;
            }
            // The node's prefix and ours part before its end: a node for what they share goes between.
            let old_side = usize::from(node.prefix.bit(common));
            let above = self.allocate(key, common, None);
            self.nodes[above as usize].children[old_side] = Some(index);
            self.link(parent, Some(above));
            self.len += 1;
            if common == prefix_len {
                self.nodes[above as usize].value = Some(value);
            } else {
                let leaf = self.allocate(key, prefix_len, Some(value));
                self.nodes[above as usize].children[1 - old_side] = Some(leaf);
            }
            return None;
        }
        let leaf = self.allocate(key, prefix_len, Some(value));
        self.link(parent, Some(leaf));
        self.len += 1;
        None
    }

    /// Takes a prefix out.
    pub fn remove(&mut self, key: K, prefix_len: u8) -> Option<V> {
        let index = self.find(key, prefix_len)?;
        let value = self.nodes[index as usize].value.take()?;
        self.len -= 1;
        // Nodes without value and with less than two children are not needed: at most this one and the one above.
        let mut path = Vec::new();
        let mut at = self.root;
        while let Some(here) = at {
            if here == index {
                break;
            }
            let node = &self.nodes[here as usize];
            let side = usize::from(key.bit(node.prefix_len));
            path.push((here, side));
            at = node.children[side];
        }
        let mut here = index;
        loop {
            let parent = path.pop();
            let node = &self.nodes[here as usize];
            let only = match node.children {
                [Some(_), Some(_)] => return Some(value),
                [child, None] | [None, child] => child,
            };
            if node.value.is_some() {
                return Some(value);
            }
            self.link(parent, only);
            self.free.push(here);
            match parent {
                Some((above, _)) => here = above,
                None => return Some(value),
            }
        }
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().filter_map(|node| node.value.as_ref())
    }

    fn find(&self, key: K, prefix_len: u8) -> Option<u32> {
        let mut at = self.root;
        loop {
            let index = at?;
            let node = &self.nodes[index as usize];
            if node.prefix_len > prefix_len || key.common(node.prefix).min(K::LEN) < node.prefix_len {
                return None;
            }
            if node.prefix_len == prefix_len {
                return Some(index);
            }
            at = node.children[usize::from(key.bit(node.prefix_len))];
        }
    }

    fn allocate(&mut self, key: K, prefix_len: u8, value: Option<V>) -> u32 {
        let node = Node { prefix: key.prefix(prefix_len), prefix_len, value, children: [None; 2] };
        match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn link(&mut self, parent: Option<(u32, usize)>, child: Option<u32>) {
        match parent {
            Some((index, side)) => self.nodes[index as usize].children[side] = child,
            None => self.root = child,
        }
    }
}

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network; bits behind the prefix are not looked at.
    pub network: Ipv4Addr,
    /// Its prefix length, `0..=32`; 0 is the default route.
    pub prefix_len: u8,
    /// The next hop. `None`: destinations are on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// Where packets leave.
    pub iface: IfaceId,
    /// Of two ways with the same prefix, the one with the lower metric is taken.
    pub metric: u32,
    /// Most octets of a packet, if less than the interface's MTU.
    pub mtu: Option<u16>,
    /// The source address of what this host sends this way. `None`: chosen from the interface's.
    pub source: Option<Ipv4Addr>,
    /// Who entered it.
    pub origin: Origin,
}

impl Route {
    /// Whether both stand for the same place in the table.
    fn is_same(&self, other: &Self) -> bool {
        (self.iface, self.gateway, self.metric) == (other.iface, other.gateway, other.metric)
    }
}

/// The routing table.
#[derive(Debug, Default)]
pub struct Routes {
    /// For each prefix the ways, best first.
    trie: Trie<u32, Vec<Route>>,
    len: usize,
}

impl Routes {
    /// Enters a route, or replaces the one to the same network by the same interface, gateway and metric. `false`: there are
    /// [`MAX_ROUTES`].
    pub fn add(&mut self, route: Route) -> bool {
        let key = route.network.to_bits();
        let Some(ways) = self.trie.get_mut(key, route.prefix_len) else {
            if self.len >= MAX_ROUTES {
                return false;
            }
            self.len += 1;
            self.trie.insert(key, route.prefix_len, alloc::vec![route]);
            return true;
        };
        if let Some(known) = ways.iter_mut().find(|known| known.is_same(&route)) {
            *known = route;
            return true;
        }
        if self.len >= MAX_ROUTES {
            return false;
        }
        self.len += 1;
        let place = ways.partition_point(|known| known.metric <= route.metric);
        ways.insert(place, route);
        true
    }

    /// Takes the routes out for which `remove` says so.
    pub fn remove_if(&mut self, remove: impl Fn(&Route) -> bool) {
        let gone: Vec<Route> = self.iter().filter(|route| remove(route)).copied().collect();
        for route in gone {
            let key = route.network.to_bits();
            let Some(ways) = self.trie.get_mut(key, route.prefix_len) else { continue };
            let before = ways.len();
            ways.retain(|known| !known.is_same(&route));
            self.len -= before - ways.len();
            if ways.is_empty() {
                self.trie.remove(key, route.prefix_len);
            }
        }
    }

    /// The best way to a destination whose interface is up: of the longest prefix that has one, the one with the least
    /// metric.
    pub fn lookup(&self, destination: Ipv4Addr, is_up: impl Fn(IfaceId) -> bool) -> Option<&Route> {
        let up = |ways: &'_ Vec<Route>| ways.iter().position(|way| is_up(way.iface));
        let found = self.trie.matches(destination.to_bits()).filter_map(|ways| Some((ways, up(ways)?)));
        let (ways, place) = found.last()?;
        ways.get(place)
    }

    /// All routes.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.trie.values().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::rng::Rng;
    use std::collections::HashMap;

    fn longest<K: Bits, V: Copy>(trie: &Trie<K, V>, key: K) -> Option<V> {
        trie.matches(key).last().copied()
    }

    /// Against a table that is searched in full; few distinct bits, so that prefixes nest and part.
    fn model<K: Bits + std::hash::Hash>(key_of: impl Fn(&mut Rng) -> K) {
        let mut rng = Rng::new(Key([3, 4]));
        let mut trie = Trie::default();
        let mut table: HashMap<(K, u8), u32> = HashMap::new();
        for step in 0..20_000 {
            let (key, len) = (key_of(&mut rng), rng.below(u32::from(K::LEN) + 1) as u8);
            let prefix = key.prefix(len);
            match rng.below(3) {
                0 => assert_eq!(trie.insert(key, len, step), table.insert((prefix, len), step)),
                1 => {
                    let gone = table.keys().next().copied().unwrap_or((prefix, len));
                    assert_eq!(trie.remove(gone.0, gone.1), table.remove(&gone));
                }
                _ => {
                    let best = table
                        .iter()
                        .filter(|((prefix, len), _)| key.prefix(*len) == *prefix)
                        .max_by_key(|((_, len), _)| *len);
                    assert_eq!(longest(&trie, key), best.map(|(_, value)| *value));
                }
            }
            assert_eq!(trie.len(), table.len());
        }
        for ((prefix, len), value) in table {
            assert_eq!(trie.remove(prefix, len), Some(value));
        }
        assert_eq!(trie.free.len(), trie.nodes.len(), "no node is left");
    }

    #[test]
    fn as_a_searched_table_ipv4() {
        model(|rng| rng.next() as u32 & 0xe000_0103);
    }

    #[test]
    fn as_a_searched_table_ipv6() {
        model(|rng| u128::from(rng.next()) << 64 & 0xe000_0001_8000_0000_0000_0000_0000_0000 | 1);
    }

    fn route(network: &str, iface: u16, gateway: u8, metric: u32) -> Route {
        let (network, len) = network.split_once('/').unwrap();
        Route {
            network: network.parse().unwrap(),
            prefix_len: len.parse().unwrap(),
            gateway: (gateway > 0).then(|| Ipv4Addr::new(10, 0, 0, gateway)),
            iface: IfaceId(iface),
            metric,
            mtu: None,
            source: None,
            origin: Origin::Static,
        }
    }

    #[test]
    fn the_nearest_way_then_the_cheapest_that_is_up() {
        let mut routes = Routes::default();
        assert!(routes.add(route("0.0.0.0/0", 1, 1, 100)));
        assert!(routes.add(route("0.0.0.0/0", 2, 2, 10)));
        assert!(routes.add(route("10.0.0.0/8", 1, 0, 0)));
        assert!(routes.add(route("10.1.0.0/16", 2, 3, 0)));
        let up = |down: u16| move |iface: IfaceId| iface.0 != down;
        let to = |routes: &Routes, dst: [u8; 4], down: u16| {
            routes.lookup(Ipv4Addr::from(dst), up(down)).map(|route| (route.iface.0, route.gateway))
        };
        let gateway = |n| Some(Ipv4Addr::new(10, 0, 0, n));
        assert_eq!(to(&routes, [10, 2, 0, 1], 9), Some((1, None)));
        assert_eq!(to(&routes, [10, 1, 0, 1], 9), Some((2, gateway(3))));
        assert_eq!(to(&routes, [10, 1, 0, 1], 2), Some((1, None)));
        assert_eq!(to(&routes, [192, 0, 2, 1], 9), Some((2, gateway(2))));
        assert_eq!(to(&routes, [192, 0, 2, 1], 2), Some((1, gateway(1))));
        assert!(routes.add(Route { mtu: Some(1400), ..route("10.1.0.0/16", 2, 3, 0) }));
        assert_eq!(routes.len(), 4, "the same way again takes its place");
        routes.remove_if(|route| route.iface == IfaceId(2));
        assert_eq!((routes.len(), to(&routes, [10, 1, 0, 1], 9)), (2, Some((1, None))));
    }
}
