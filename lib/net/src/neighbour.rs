//! [`Neighbours`]: the hardware addresses of hosts on a link, and whether they are still there.
//!
//! The states are those of IPv6's neighbour discovery (RFC 4861 § 7.3.2), which suit ARP as well (RFC 1122 § 2.3.2.1,
//! "unicast poll"): the cache knows neither protocol. It says whom to ask ([`Output::Solicit`]); who speaks the protocol asks,
//! and reports what it hears ([`Neighbours::note`]).
//!
//! What others say unasked never replaces an address that is known: the known one is asked first, and only if it is
//! silent is the question put to all. An attacker on the link can still answer that question; it cannot shut out a host that
//! lives.

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashTable;
use wire::MacAddr;

use crate::deadlines::Deadlines;
use crate::rng::Rng;
use crate::slab::{Handle, Slab};
use crate::{DropReason, Instant, Key, siphash};

/// Between two questions to the same neighbour (RFC 4861 § 10; RFC 1122 § 2.3.2.1 wants at least a second).
const RETRANS_TIMER: Duration = Duration::from_secs(1);
/// Questions to all before a neighbour counts as unreachable (RFC 4861 § 10).
const MAX_MULTICAST_SOLICIT: u8 = 3;
/// Questions to the known address before all are asked.
const MAX_UNICAST_SOLICIT: u8 = 2;
/// How long an answer is believed; it is varied by half in both directions (RFC 4861 § 6.3.2).
const REACHABLE_TIME_MS: u32 = 30_000;
/// Between use of an old entry and the question (RFC 4861 § 10).
const DELAY_FIRST_PROBE_TIME: Duration = Duration::from_secs(5);
/// After this long without use an entry is forgotten.
const STALE_LIFE: Duration = Duration::from_secs(600);
/// How long an unreachable neighbour is not asked again.
const FAILED_LIFE: Duration = Duration::from_secs(3);

/// Most entries of a cache; a full one gives up entries as [`Neighbours`] says.
pub const MAX_NEIGHBOURS: usize = 512;
/// Most packets that wait for one neighbour; the oldest goes for the newest (RFC 1122 § 2.3.2.2).
pub const MAX_WAITING: usize = 8;
/// Most packets that wait for all neighbours of a link; a further one is refused.
pub const MAX_WAITING_ALL: usize = 256;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for, nothing heard yet.
    Incomplete,
    /// It answered lately.
    Reachable,
    /// Known, but nothing was heard for some time; not asked until it is used.
    Stale,
    /// Used while stale; about to be asked.
    Delay,
    /// The known address is being asked.
    Probe,
    /// It did not answer; packets are refused for some seconds.
    Failed,
    /// Set by hand, never doubted.
    Permanent,
}

/// What a message of the link's protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It answers a question of ours.
    Reply,
    /// The neighbour wants something of us, and told its address with that.
    Request,
    /// It was told to all.
    Announcement,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<A, P> {
    /// Ask for the address of `address`: the known one, or with `None` everybody.
    Solicit {
        /// Whose.
        address: A,
        /// Whom.
        to: Option<MacAddr>,
    },
    /// The packet found no neighbour.
    Dropped {
        /// The packet.
        packet: P,
        /// Why: [`DropReason::NeighbourUnreachable`] deserves an ICMP error.
        reason: DropReason,
    },
}

#[derive(Debug)]
enum Slots {}

#[derive(Debug)]
struct Entry<A, P> {
    address: A,
    state: NeighbourState,
    /// [`MacAddr::UNSPECIFIED`] while incomplete or failed.
    mac: MacAddr,
    /// Questions asked in this state.
    asked: u8,
    /// This host has sent to it.
    used: bool,
    /// Not given up for others: a gateway.
    pinned: bool,
    last_used: Instant,
    waiting: VecDeque<P>,
}

/// The neighbours of a link. `A`: their addresses; `P`: what waits for one.
///
/// A full cache gives up, in this order: entries of hosts that spoke to us but got nothing from us; hosts that
/// are being asked for, where they are half of all; the entry longest not used, if this host has something to
/// send. Permanent entries and gateways stay. So neither talkative strangers nor packets to every
/// address of a network push out neighbours in use.
#[derive(Debug)]
pub struct Neighbours<A, P> {
    key: Key,
    rng: Rng,
    slab: Slab<Entry<A, P>, Slots>,
    index: HashTable<(A, Handle<Slots>)>,
    timers: Deadlines,
    waiting: usize,
    dropped: VecDeque<(P, DropReason)>,
}

impl<A: Copy + Eq + Into<IpAddr>, P> Neighbours<A, P> {
    /// Nobody is known. `key` is used for nothing else.
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            rng: Rng::new(key),
            slab: Slab::new(MAX_NEIGHBOURS),
            index: HashTable::new(),
            timers: Deadlines::new(),
            waiting: 0,
            dropped: VecDeque::new(),
        }
    }

    /// Where to send a packet for `address` now. `None`: not known; [`Self::wait`] keeps the packet.
    pub fn lookup(&mut self, now: Instant, address: A) -> Option<MacAddr> {
        let handle = self.find(address)?;
        let entry = self.slab.get_mut(handle)?;
        entry.used = true;
        entry.last_used = now;
        match entry.state {
            NeighbourState::Incomplete | NeighbourState::Failed => None,
            NeighbourState::Stale => {
                entry.state = NeighbourState::Delay;
                self.timers.set(handle.index(), now + DELAY_FIRST_PROBE_TIME);
                Some(entry.mac)
            }
            _ => Some(entry.mac),
        }
    }

    /// Keeps a packet until `address` is known, and has it asked for. `Err`: the packet is not kept.
    pub fn wait(&mut self, now: Instant, address: A, packet: P) -> Result<(), (P, DropReason)> {
        if self.waiting >= MAX_WAITING_ALL {
            return Err((packet, DropReason::NeighbourQueueFull));
        }
        let handle = match self.find(address) {
            Some(handle) => handle,
            None => match self.insert(now, address, true) {
                Some(handle) => handle,
                None => return Err((packet, DropReason::NeighbourTableFull)),
            },
        };
        let Some(entry) = self.slab.get_mut(handle) else {
            return Err((packet, DropReason::NeighbourTableFull));
        };
        if entry.state == NeighbourState::Failed {
            return Err((packet, DropReason::NeighbourUnreachable));
        }
        entry.waiting.push_back(packet);
        self.waiting += 1;
        if entry.state == NeighbourState::Incomplete && self.timers.get(handle.index()).is_none() {
            // A gateway that was not asked for lately.
            self.timers.set(handle.index(), now);
        }
        if entry.waiting.len() > MAX_WAITING
            && let Some(oldest) = entry.waiting.pop_front()
        {
            self.drop_waiting(oldest, DropReason::NeighbourQueueFull);
        }
        Ok(())
    }

    /// Takes what the protocol heard of a neighbour. A host that is not known is remembered only if it wants something of
    /// us ([`Evidence::Request`]): there will be an answer for it. [`Self::pop_waiting`] follows.
    pub fn note(&mut self, now: Instant, address: A, mac: MacAddr, evidence: Evidence) {
        let handle = match self.find(address) {
            Some(handle) => handle,
            None if evidence == Evidence::Request => match self.insert(now, address, false) {
                Some(handle) => handle,
                None => return,
            },
            None => return,
        };
        let reachable_ms = REACHABLE_TIME_MS / 2 + self.rng.below(REACHABLE_TIME_MS);
        let Some(entry) = self.slab.get_mut(handle) else { return };
        let known = entry.mac == mac;
        let (state, after) = match (entry.state, evidence) {
            (NeighbourState::Permanent, _) => return,
            (NeighbourState::Incomplete, Evidence::Reply) => {
                (NeighbourState::Reachable, Duration::from_millis(reachable_ms.into()))
            }
            (NeighbourState::Probe, Evidence::Reply) if known => {
                (NeighbourState::Reachable, Duration::from_millis(reachable_ms.into()))
            }
            (NeighbourState::Incomplete | NeighbourState::Failed, _) => (NeighbourState::Stale, STALE_LIFE),
            // It is being asked already, or says what is known.
            (NeighbourState::Probe, _) => return,
            _ if known => return,
            // Another address than the known one: see whether the known one is still there.
            _ => {
                entry.state = NeighbourState::Probe;
                entry.asked = 0;
                self.timers.set(handle.index(), now);
                return;
            }
        };
        entry.mac = mac;
        entry.state = state;
        entry.asked = 0;
        self.timers.set(handle.index(), now + after);
    }

    /// A packet that waited for a neighbour that is known now, and where to send it.
    pub fn pop_waiting(&mut self, now: Instant, address: A) -> Option<(MacAddr, P)> {
        let handle = self.find(address)?;
        if self.slab.get(handle)?.waiting.is_empty() {
            return None;
        }
        let mac = self.lookup(now, address)?;
        let packet = self.slab.get_mut(handle)?.waiting.pop_front()?;
        self.waiting -= 1;
        Some((mac, packet))
    }

    /// Sets an address by hand. `false`: there is no room.
    pub fn set_permanent(&mut self, now: Instant, address: A, mac: MacAddr) -> bool {
        let Some(handle) = self.find(address).or_else(|| self.insert(now, address, true)) else {
            return false;
        };
        if let Some(entry) = self.slab.get_mut(handle) {
            entry.state = NeighbourState::Permanent;
            entry.mac = mac;
        }
        self.timers.clear(handle.index());
        true
    }

    /// Keeps the entry of a gateway, or no longer.
    pub fn pin(&mut self, now: Instant, address: A, pinned: bool) {
        let handle = match self.find(address) {
            Some(handle) => Some(handle),
            // It is made now, while there is room; it is asked when a packet comes.
            None if pinned => {
                self.insert(now, address, true).inspect(|handle| self.timers.clear(handle.index()))
            }
            None => None,
        };
        if let Some(entry) = handle.and_then(|handle| self.slab.get_mut(handle)) {
            entry.pinned = pinned;
        }
    }

    /// Takes an entry that was saved: it is believed until it is used, then asked.
    pub fn restore(&mut self, now: Instant, address: A, mac: MacAddr) {
        self.note(now, address, mac, Evidence::Request);
    }

    /// Everybody who is known.
    pub fn entries(&self) -> impl Iterator<Item = (A, MacAddr, NeighbourState)> {
        self.slab.iter().map(|(_, entry)| (entry.address, entry.mac, entry.state))
    }

    /// When [`Self::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.dropped.is_empty() { self.timers.next() } else { Some(Instant(0)) }
    }

    /// What is due, one thing at a time.
    pub fn poll(&mut self, now: Instant) -> Option<Output<A, P>> {
        loop {
            if let Some((packet, reason)) = self.dropped.pop_front() {
                return Some(Output::Dropped { packet, reason });
            }
            let index = self.timers.pop_due(now)?;
            if let Some(output) = self.slab.handle_at(index).and_then(|handle| self.expire(now, handle)) {
                return Some(output);
            }
        }
    }

    fn expire(&mut self, now: Instant, handle: Handle<Slots>) -> Option<Output<A, P>> {
        let entry = self.slab.get_mut(handle)?;
        match entry.state {
            NeighbourState::Permanent => None,
            NeighbourState::Reachable => {
                entry.state = NeighbourState::Stale;
                self.timers.set(handle.index(), now + STALE_LIFE);
                None
            }
            NeighbourState::Stale if entry.pinned => {
                self.timers.set(handle.index(), now + STALE_LIFE);
                None
            }
            NeighbourState::Failed if entry.pinned => {
                // Packets start the questions again.
                entry.state = NeighbourState::Incomplete;
                entry.asked = 0;
                None
            }
            NeighbourState::Stale | NeighbourState::Failed => {
                self.remove(handle);
                None
            }
            NeighbourState::Delay => {
                entry.state = NeighbourState::Probe;
                entry.asked = 0;
                self.ask(now, handle)
            }
            NeighbourState::Probe if entry.asked < MAX_UNICAST_SOLICIT => self.ask(now, handle),
            NeighbourState::Probe => {
                entry.state = NeighbourState::Incomplete;
                entry.mac = MacAddr::UNSPECIFIED;
                entry.asked = 0;
                self.ask(now, handle)
            }
            NeighbourState::Incomplete if entry.asked < MAX_MULTICAST_SOLICIT => self.ask(now, handle),
            NeighbourState::Incomplete => {
                entry.state = NeighbourState::Failed;
                self.timers.set(handle.index(), now + FAILED_LIFE);
                let waiting = core::mem::take(&mut entry.waiting);
                for packet in waiting {
                    self.drop_waiting(packet, DropReason::NeighbourUnreachable);
                }
                None
            }
        }
    }

    fn ask(&mut self, now: Instant, handle: Handle<Slots>) -> Option<Output<A, P>> {
        let entry = self.slab.get_mut(handle)?;
        entry.asked += 1;
        self.timers.set(handle.index(), now + RETRANS_TIMER);
        let to = (entry.state == NeighbourState::Probe).then_some(entry.mac);
        Some(Output::Solicit { address: entry.address, to })
    }

    fn find(&self, address: A) -> Option<Handle<Slots>> {
        let hash = hash(&self.key, address);
        let handle = self.index.find(hash, |(known, _)| *known == address)?.1;
        Some(handle)
    }

    /// A new entry: incomplete and to be asked for at once. Looks at all entries if the table is full.
    fn insert(&mut self, now: Instant, address: A, used: bool) -> Option<Handle<Slots>> {
        self.make_room(used)?;
        let entry = Entry {
            address,
            state: NeighbourState::Incomplete,
            mac: MacAddr::UNSPECIFIED,
            asked: 0,
            used,
            pinned: false,
            last_used: now,
            waiting: VecDeque::new(),
        };
        let handle = self.slab.insert(entry).ok()?;
        let key = self.key;
        self.index.insert_unique(hash(&key, address), (address, handle), |(known, _)| hash(&key, *known));
        self.timers.set(handle.index(), now);
        Some(handle)
    }

    fn make_room(&mut self, used: bool) -> Option<()> {
        if self.slab.len() < MAX_NEIGHBOURS {
            return Some(());
        }
        let unanswered = |state| matches!(state, NeighbourState::Incomplete | NeighbourState::Failed);
        let asking = self.slab.iter().filter(|(_, entry)| unanswered(entry.state)).count();
        let rank = |entry: &Entry<A, P>| match entry.state {
            NeighbourState::Permanent => None,
            _ if entry.pinned => None,
            _ if !entry.used => Some(0),
            state if unanswered(state) => (used && asking >= MAX_NEIGHBOURS / 2).then_some(1),
            _ => used.then_some(2),
        };
        let ranked =
            self.slab.iter().filter_map(|(handle, entry)| Some(((rank(entry)?, entry.last_used), handle)));
        let victim = ranked.min_by_key(|(rank, _)| *rank)?.1;
        self.remove(victim);
        Some(())
    }

    fn remove(&mut self, handle: Handle<Slots>) {
        let Some(entry) = self.slab.remove(handle) else { return };
        self.timers.clear(handle.index());
        let hash = hash(&self.key, entry.address);
        if let Ok(found) = self.index.find_entry(hash, |(known, _)| *known == entry.address) {
            found.remove();
        }
        for packet in entry.waiting {
            self.drop_waiting(packet, DropReason::NeighbourTableFull);
        }
    }

    fn drop_waiting(&mut self, packet: P, reason: DropReason) {
        self.waiting -= 1;
        self.dropped.push_back((packet, reason));
    }
}

fn hash<A: Into<IpAddr>>(key: &Key, address: A) -> u64 {
    match address.into() {
        IpAddr::V4(v4) => siphash(key, &v4.octets()),
        IpAddr::V6(v6) => siphash(key, &v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    type Cache = Neighbours<Ipv4Addr, u32>;

    fn ip(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 + n)
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn cache() -> Cache {
        Neighbours::new(Key([1, 2]))
    }

    fn solicit(to: Option<MacAddr>) -> Option<Output<Ipv4Addr, u32>> {
        Some(Output::Solicit { address: ip(1), to })
    }

    fn state(cache: &Cache) -> Option<NeighbourState> {
        cache.entries().find(|entry| entry.0 == ip(1)).map(|entry| entry.2)
    }

    /// A neighbour that answered at 0.
    fn reachable() -> Cache {
        let mut cache = cache();
        cache.wait(at(0), ip(1), 7).unwrap();
        assert_eq!(cache.poll(at(0)), solicit(None));
        cache.note(at(0), ip(1), A, Evidence::Reply);
        assert_eq!(cache.pop_waiting(at(0), ip(1)), Some((A, 7)));
        cache
    }

    #[test]
    fn a_packet_waits_for_the_answer() {
        let mut cache = cache();
        assert_eq!(cache.lookup(at(0), ip(1)), None);
        cache.wait(at(0), ip(1), 7).unwrap();
        cache.wait(at(0), ip(1), 8).unwrap();
        assert_eq!(cache.poll(at(0)), solicit(None));
        assert_eq!((cache.poll(at(999)), cache.pop_waiting(at(999), ip(1))), (None, None));
        assert_eq!(cache.poll(at(1000)), solicit(None), "once a second");
        cache.note(at(1500), ip(1), A, Evidence::Reply);
        assert_eq!(cache.pop_waiting(at(1500), ip(1)), Some((A, 7)));
        assert_eq!(cache.pop_waiting(at(1500), ip(1)), Some((A, 8)));
        assert_eq!(cache.pop_waiting(at(1500), ip(1)), None);
        assert_eq!(cache.lookup(at(1500), ip(1)), Some(A));
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while() {
        let mut cache = cache();
        cache.wait(at(0), ip(1), 7).unwrap();
        for second in 0..3 {
            assert_eq!(cache.poll(at(second * 1000)), solicit(None));
        }
        let dropped = Output::Dropped { packet: 7, reason: DropReason::NeighbourUnreachable };
        assert_eq!(cache.poll(at(3000)), Some(dropped));
        assert_eq!(cache.wait(at(3500), ip(1), 8), Err((8, DropReason::NeighbourUnreachable)));
        assert_eq!((cache.poll(at(6000)), state(&cache)), (None, None));
        cache.wait(at(6000), ip(1), 9).unwrap();
        assert_eq!(cache.poll(at(6000)), solicit(None));
    }

    #[test]
    fn an_old_entry_is_used_and_asked() {
        let mut cache = reachable();
        assert_eq!(cache.poll(at(46_000)), None);
        assert_eq!(state(&cache), Some(NeighbourState::Stale));
        assert_eq!(cache.poll(at(100_000)), None, "nobody asks for what is not used");
        assert_eq!(cache.lookup(at(100_000), ip(1)), Some(A));
        assert_eq!(state(&cache), Some(NeighbourState::Delay));
        assert_eq!(cache.poll(at(105_000)), solicit(Some(A)));
        cache.note(at(105_001), ip(1), A, Evidence::Reply);
        assert_eq!(state(&cache), Some(NeighbourState::Reachable));
    }

    #[test]
    fn an_unused_entry_is_forgotten() {
        let mut cache = reachable();
        cache.poll(at(46_000));
        cache.poll(at(700_000));
        assert_eq!(state(&cache), None);
    }

    #[test]
    fn a_stranger_does_not_take_an_address_over() {
        for evidence in [Evidence::Request, Evidence::Announcement, Evidence::Reply] {
            let mut cache = reachable();
            cache.note(at(10), ip(1), B, evidence);
            assert_eq!(cache.lookup(at(10), ip(1)), Some(A), "{evidence:?}");
            assert_eq!(cache.poll(at(10)), solicit(Some(A)), "the known one is asked");
            cache.note(at(11), ip(1), B, Evidence::Reply);
            assert_eq!(cache.lookup(at(11), ip(1)), Some(A));
            cache.note(at(12), ip(1), A, Evidence::Reply);
            assert_eq!(
                (cache.lookup(at(12), ip(1)), state(&cache)),
                (Some(A), Some(NeighbourState::Reachable))
            );
        }
    }

    #[test]
    fn an_address_moves_when_the_old_one_is_silent() {
        let mut cache = reachable();
        cache.note(at(0), ip(1), B, Evidence::Announcement);
        assert_eq!(cache.poll(at(0)), solicit(Some(A)));
        assert_eq!(cache.poll(at(1000)), solicit(Some(A)));
        assert_eq!(cache.poll(at(2000)), solicit(None));
        cache.note(at(2001), ip(1), B, Evidence::Reply);
        assert_eq!(cache.lookup(at(2001), ip(1)), Some(B));
    }

    #[test]
    fn what_nobody_asked_for_makes_no_entry() {
        let mut cache = cache();
        cache.note(at(0), ip(1), A, Evidence::Announcement);
        cache.note(at(0), ip(1), A, Evidence::Reply);
        assert_eq!(state(&cache), None);
        cache.note(at(0), ip(1), A, Evidence::Request);
        assert_eq!(state(&cache), Some(NeighbourState::Stale));
    }

    #[test]
    fn queues_are_bounded() {
        let mut cache = cache();
        for n in 0..=MAX_WAITING as u32 {
            cache.wait(at(0), ip(1), n).unwrap();
        }
        let oldest = Output::Dropped { packet: 0, reason: DropReason::NeighbourQueueFull };
        assert_eq!(cache.poll(at(0)), Some(oldest));
        let mut kept = MAX_WAITING;
        for n in 2..1000 {
            kept += usize::from(cache.wait(at(0), ip(n), n).is_ok());
        }
        assert_eq!(kept, MAX_WAITING_ALL);
    }

    #[test]
    fn strangers_and_scans_do_not_push_out_neighbours_in_use() {
        let mut cache = cache();
        cache.set_permanent(at(0), ip(1), A);
        cache.pin(at(0), ip(2), true);
        let used: Vec<_> = (3..40).map(ip).collect();
        for &address in &used {
            cache.wait(at(0), address, 0).unwrap();
            cache.note(at(0), address, B, Evidence::Reply);
            assert!(cache.pop_waiting(at(0), address).is_some());
        }
        for n in 0..5000 {
            cache.note(at(1), ip(10_000 + n), B, Evidence::Request);
            // A scan: each packet to another address.
            let _ = cache.wait(at(2), ip(100_000 + n), 0);
            while let Some(Output::Dropped { .. } | Output::Solicit { .. }) = cache.poll(at(2)) {}
        }
        assert!(cache.entries().count() <= MAX_NEIGHBOURS);
        assert!(cache.entries().any(|entry| entry.0 == ip(2)));
        for &address in used.iter().chain([&ip(1)]) {
            assert!(cache.lookup(at(3), address).is_some(), "{address}");
        }
    }

    #[test]
    fn a_pinned_gateway_is_asked_when_it_is_needed() {
        let mut cache = cache();
        cache.pin(at(0), ip(1), true);
        assert_eq!(cache.poll(at(0)), None);
        cache.wait(at(5), ip(1), 1).unwrap();
        assert_eq!(cache.poll(at(5)), solicit(None));
        for second in 1..3 {
            assert_eq!(cache.poll(at(5 + second * 1000)), solicit(None));
        }
        assert!(matches!(cache.poll(at(3005)), Some(Output::Dropped { .. })));
        assert_eq!(cache.poll(at(6005)), None);
        cache.wait(at(7000), ip(1), 2).unwrap();
        assert_eq!(cache.poll(at(7000)), solicit(None), "it stays, and is asked again");
    }
}
