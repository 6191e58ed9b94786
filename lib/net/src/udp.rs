//! UDP's endpoints and how a datagram finds its own (RFC 768, RFC 1122 § 4.1).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::ops::RangeInclusive;

use frame::Frame;
use hashbrown::HashTable;
use wire::{Port, icmpv4};

use crate::rng::Rng;
use crate::slab::{Handle, Slab};
use crate::tcp::FourTuple;
use crate::{IfaceId, Key, siphash};

/// Most endpoints of a stack.
pub const MAX_ENDPOINTS: usize = 65_536;
/// Most groups an endpoint joins.
pub const MAX_ENDPOINT_GROUPS: usize = 16;
/// Bytes of memory that datagrams for an endpoint may keep, unless somebody sets another limit.
pub const DEFAULT_RECEIVE_BUFFER: usize = 208 * 1024;

/// What [`UdpHandle`] names.
#[derive(Debug)]
pub enum Udp {}
/// Names an endpoint.
pub type UdpHandle = Handle<Udp>;

/// A received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// The sender.
    pub from: Ipv4Addr,
    /// The sender's port.
    pub from_port: Port,
    /// Where it was sent: an address of this host, a group, a broadcast address.
    pub to: Ipv4Addr,
    /// Where it came in.
    pub iface: IfaceId,
    /// Time to live when it arrived.
    pub ttl: u8,
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
    /// What it carries; may be empty.
    pub payload: Frame,
}

/// An ICMP error about something that an endpoint sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpError {
    /// The error. [`icmpv4::Unreachable::FragmentationNeeded`] holds the path's MTU.
    pub error: icmpv4::Repr,
    /// Where the datagram was sent.
    pub to: Ipv4Addr,
    /// To which port.
    pub to_port: Port,
}

/// What an endpoint's datagrams are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// IP_TTL.
    pub ttl: u8,
    /// IP_MULTICAST_TTL.
    pub multicast_ttl: u8,
    /// IP_MULTICAST_LOOP: this host hears what it sends to groups that it listens to.
    pub multicast_loop: bool,
    /// IP_MULTICAST_IF.
    pub multicast_iface: Option<IfaceId>,
    /// IP_TOS.
    pub traffic_class: u8,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// IP_MTU_DISCOVER: longer than the path takes is an error, not a case for fragments.
    pub dont_fragment: bool,
    /// Bytes of memory that received datagrams may keep.
    pub receive_buffer: usize,
}

impl UdpOptions {
    /// Linux' defaults, but that datagrams may be cut.
    pub const DEFAULT: Self = Self {
        ttl: 64,
        multicast_ttl: 1,
        multicast_loop: true,
        multicast_iface: None,
        traffic_class: 0,
        broadcast: false,
        dont_fragment: false,
        receive_buffer: DEFAULT_RECEIVE_BUFFER,
    };
}

/// Why an endpoint was not bound or connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// EADDRINUSE.
    InUse,
    /// EADDRNOTAVAIL: not an address of this host, or no port is left.
    NotAvailable,
    /// ENOBUFS: as many endpoints as there may be.
    Full,
    /// ENETUNREACH: no way there.
    Unreachable,
    /// The handle names nothing.
    NoEndpoint,
}

/// An endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) local: Option<Ipv4Addr>,
    pub(crate) port: Port,
    pub(crate) remote: Option<(Ipv4Addr, Port)>,
    /// SO_REUSEADDR or SO_REUSEPORT: others that want the same may have the same port.
    shared: bool,
    /// What its datagrams are like.
    pub options: UdpOptions,
    pub(crate) groups: Vec<(IfaceId, Ipv4Addr)>,
    queue: VecDeque<Datagram>,
    queued_bytes: usize,
    dropped: u64,
    pub(crate) error: Option<UdpError>,
    /// An event stands in the stack's queue.
    pub(crate) reported: bool,
}

impl Endpoint {
    /// The address it is bound to; `None`: all.
    pub fn local(&self) -> Option<Ipv4Addr> {
        self.local
    }

    /// The port it is bound to.
    pub fn port(&self) -> Port {
        self.port
    }

    /// The peer it is connected to.
    pub fn remote(&self) -> Option<(Ipv4Addr, Port)> {
        self.remote
    }

    /// Whether there is something to receive.
    pub fn is_readable(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether an error waits to be told.
    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// The length of the next datagram in octets.
    pub fn next_len(&self) -> Option<usize> {
        Some(self.queue.front()?.payload.len())
    }

    /// A view of the next datagram. `None`: there is none, or no memory.
    pub(crate) fn peek(&self) -> Option<Datagram> {
        let next = self.queue.front()?;
        let payload = next.payload.try_clone()?;
        let Datagram { from, from_port, to, iface, ttl, traffic_class, .. } = *next;
        Some(Datagram { from, from_port, to, iface, ttl, traffic_class, payload })
    }

    /// Datagrams that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Puts a datagram into the queue. `false`: it is full.
    pub(crate) fn push(&mut self, datagram: Datagram) -> bool {
        let bytes = datagram.payload.footprint();
        if self.queued_bytes + bytes > self.options.receive_buffer && !self.queue.is_empty() {
            self.dropped += 1;
            return false;
        }
        self.queued_bytes += bytes;
        self.queue.push_back(datagram);
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(datagram.payload.footprint());
        if self.queue.is_empty() {
            self.queued_bytes = 0;
        }
        Some(datagram)
    }

    /// Whether a datagram from `from` to `to` is for it.
    fn matches(&self, to: Ipv4Addr) -> bool {
        self.local.is_none_or(|local| local == to)
    }

    /// Whether a datagram to a group or broadcast address is for it. A program that has joined groups hears only those.
    fn hears(&self, iface: IfaceId, to: Ipv4Addr, from: (Ipv4Addr, Port)) -> bool {
        let bound = self.local.is_none_or(|local| local == to || !to.is_multicast());
        let joined = !to.is_multicast() || self.groups.contains(&(iface, to));
        bound && joined && self.remote.is_none_or(|remote| remote == from)
    }
}

/// All endpoints of a stack. Lookups are hashed under a secret key and do not depend on how many endpoints there are;
/// those that share a port without being connected are searched one by one.
#[derive(Debug)]
pub(crate) struct Endpoints {
    key: Key,
    slab: Slab<Endpoint, Udp>,
    connected: HashTable<(FourTuple, UdpHandle)>,
    ports: HashTable<PortUse>,
}

/// Who uses a port.
#[derive(Debug)]
struct PortUse {
    port: Port,
    /// Endpoints that are not connected.
    unconnected: Vec<UdpHandle>,
    connected: u32,
}

impl Endpoints {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, slab: Slab::new(MAX_ENDPOINTS), connected: HashTable::new(), ports: HashTable::new() }
    }

    pub(crate) fn get(&self, handle: UdpHandle) -> Option<&Endpoint> {
        self.slab.get(handle)
    }

    pub(crate) fn get_mut(&mut self, handle: UdpHandle) -> Option<&mut Endpoint> {
        self.slab.get_mut(handle)
    }

    /// Makes an endpoint. [`Port::NONE`]: at a free port of `range`, tried one after the other from a random one on.
    pub(crate) fn bind(
        &mut self,
        local: Option<Ipv4Addr>,
        port: Port,
        shared: bool,
        range: &RangeInclusive<u16>,
        rng: &mut Rng,
    ) -> Result<UdpHandle, BindError> {
        let port = match port {
            Port::NONE => self.free_port(range, rng).ok_or(BindError::NotAvailable)?,
            port if self.is_taken(local, port, shared) => return Err(BindError::InUse),
            port => port,
        };
        let endpoint = Endpoint {
            local,
            port,
            remote: None,
            shared,
            options: UdpOptions::DEFAULT,
            groups: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            dropped: 0,
            error: None,
            reported: false,
        };
        let handle = self.slab.insert(endpoint).map_err(|_| BindError::Full)?;
        self.port_use(port).unconnected.push(handle);
        Ok(handle)
    }

    /// Binds the endpoint to a peer, or with `None` to none. `local`: the address datagrams leave from.
    pub(crate) fn connect(
        &mut self,
        handle: UdpHandle,
        local: Ipv4Addr,
        remote: Option<(Ipv4Addr, Port)>,
    ) -> Result<(), BindError> {
        let endpoint = self.slab.get(handle).ok_or(BindError::NoEndpoint)?;
        let tuple = remote.map(|remote| tuple(local, endpoint.port, remote));
        if let Some(tuple) = tuple
            && self.connected_to(&tuple).is_some_and(|other| other != handle)
        {
            return Err(BindError::InUse);
        }
        self.unlink(handle);
        let endpoint = self.slab.get_mut(handle).ok_or(BindError::NoEndpoint)?;
        endpoint.remote = remote;
        let port = endpoint.port;
        match tuple {
            None => self.port_use(port).unconnected.push(handle),
            Some(tuple) => {
                endpoint.local = Some(local);
                self.port_use(port).connected += 1;
                let key = self.key;
                let hash = |(tuple, _): &(FourTuple, UdpHandle)| siphash(&key, &tuple.octets(2));
                self.connected.insert_unique(hash(&(tuple, handle)), (tuple, handle), hash);
            }
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, handle: UdpHandle) -> Option<Endpoint> {
        self.slab.get(handle)?;
        self.unlink(handle);
        let endpoint = self.slab.remove(handle)?;
        let hash = self.hash_port(endpoint.port);
        if let Ok(entry) = self.ports.find_entry(hash, |used| used.port == endpoint.port)
            && entry.get().unconnected.is_empty()
            && entry.get().connected == 0
        {
            entry.remove();
        }
        Some(endpoint)
    }

    /// Whose a datagram to one of this host's own addresses is: the endpoint connected to the sender, else one bound to the
    /// address, else one bound to the port. Of several that share, the sender's address and port choose.
    pub(crate) fn lookup(&self, tuple: &FourTuple) -> Option<UdpHandle> {
        if let Some(handle) = self.connected_to(tuple) {
            return Some(handle);
        }
        let IpAddr::V4(local) = tuple.local else { return None };
        let unconnected = &self.find_port(tuple.local_port)?.unconnected;
        if let [only] = unconnected[..] {
            return self.slab.get(only)?.matches(local).then_some(only);
        }
        let bound_to = |address: Option<Ipv4Addr>| {
            unconnected.iter().copied().filter(move |handle| {
                self.slab.get(*handle).is_some_and(|endpoint| endpoint.local == address)
            })
        };
        let choose = |address| {
            let count = bound_to(address).count();
            let choice = (siphash(&self.key, &tuple.octets(3)) % count.max(1) as u64) as usize;
            bound_to(address).nth(choice)
        };
        choose(Some(local)).or_else(|| choose(None))
    }

    /// Whose a datagram to a group or broadcast address is: the `n`-th of all that listen.
    pub(crate) fn listener(
        &self,
        n: usize,
        iface: IfaceId,
        to: Ipv4Addr,
        port: Port,
        from: (Ipv4Addr, Port),
    ) -> Option<UdpHandle> {
        let unconnected = self.find_port(port)?.unconnected.iter().copied();
        unconnected
            .filter(|handle| self.slab.get(*handle).is_some_and(|endpoint| endpoint.hears(iface, to, from)))
            .nth(n)
    }

    /// Bytes that datagrams keep, and datagrams dropped at full queues: for reports.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    fn connected_to(&self, tuple: &FourTuple) -> Option<UdpHandle> {
        if self.connected.is_empty() {
            return None;
        }
        let hash = siphash(&self.key, &tuple.octets(2));
        Some(self.connected.find(hash, |(known, _)| known == tuple)?.1)
    }

    fn is_taken(&self, local: Option<Ipv4Addr>, port: Port, shared: bool) -> bool {
        if self.find_port(port).is_none() {
            return false;
        }
        self.slab.iter().any(|(_, other)| {
            let overlaps = local.is_none() || other.local.is_none() || local == other.local;
            other.port == port && overlaps && !(shared && other.shared)
        })
    }

    fn free_port(&self, range: &RangeInclusive<u16>, rng: &mut Rng) -> Option<Port> {
        let count = u32::from(*range.end()).checked_sub(u32::from(*range.start()))? + 1;
        let first = rng.below(count);
        (0..count)
            .map(|n| Port(range.start() + ((first + n) % count) as u16))
            .find(|port| *port != Port::NONE && self.find_port(*port).is_none())
    }

    /// Takes the endpoint out of the tables, not out of the slab.
    fn unlink(&mut self, handle: UdpHandle) {
        let Some(endpoint) = self.slab.get(handle) else { return };
        let port = endpoint.port;
        match (endpoint.remote, endpoint.local) {
            (Some(remote), Some(local)) => {
                let tuple = tuple(local, port, remote);
                let hash = siphash(&self.key, &tuple.octets(2));
                if let Ok(entry) = self.connected.find_entry(hash, |(known, _)| *known == tuple) {
                    entry.remove();
                }
                let used = self.port_use(port);
                used.connected = used.connected.saturating_sub(1);
            }
            _ => self.port_use(port).unconnected.retain(|known| *known != handle),
        }
    }

    fn find_port(&self, port: Port) -> Option<&PortUse> {
        self.ports.find(self.hash_port(port), |used| used.port == port)
    }

    fn port_use(&mut self, port: Port) -> &mut PortUse {
        let key = self.key;
        let hash = |used: &PortUse| siphash(&key, &used.port.0.to_be_bytes());
        let new = PortUse { port, unconnected: Vec::new(), connected: 0 };
        self.ports.entry(hash(&new), |used| used.port == port, hash).or_insert(new).into_mut()
    }

    fn hash_port(&self, port: Port) -> u64 {
        siphash(&self.key, &port.0.to_be_bytes())
    }
}

fn tuple(local: Ipv4Addr, local_port: Port, (remote, remote_port): (Ipv4Addr, Port)) -> FourTuple {
    FourTuple { local: IpAddr::V4(local), local_port, remote: IpAddr::V4(remote), remote_port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frame::HeapPool;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const RANGE: RangeInclusive<u16> = 50_000..=50_009;

    struct Bench(Endpoints, Rng);

    impl Bench {
        fn new() -> Self {
            Self(Endpoints::new(Key([1, 2])), Rng::new(Key([3, 4])))
        }

        fn bind(&mut self, local: Option<Ipv4Addr>, port: u16, shared: bool) -> Result<UdpHandle, BindError> {
            self.0.bind(local, Port(port), shared, &RANGE, &mut self.1)
        }

        fn lookup(&self, local: Ipv4Addr, port: u16, remote: (Ipv4Addr, u16)) -> Option<UdpHandle> {
            self.0.lookup(&tuple(local, Port(port), (remote.0, Port(remote.1))))
        }
    }

    #[test]
    fn connected_before_address_before_port() {
        let mut bench = Bench::new();
        let any = bench.bind(None, 53, true).unwrap();
        assert_eq!(bench.bind(None, 53, false), Err(BindError::InUse));
        let of_a = bench.bind(Some(A), 53, true).unwrap();
        let to_b = bench.bind(Some(A), 53, true).unwrap();
        bench.0.connect(to_b, A, Some((B, Port(9)))).unwrap();
        assert_eq!(bench.lookup(A, 53, (B, 9)), Some(to_b));
        assert_eq!(bench.lookup(A, 53, (B, 10)), Some(of_a));
        assert_eq!(bench.lookup(B, 53, (A, 10)), Some(any));
        assert_eq!(bench.lookup(A, 54, (B, 9)), None);
        bench.0.connect(to_b, A, None).unwrap();
        bench.0.close(of_a);
        assert_eq!(bench.lookup(A, 53, (B, 9)), Some(to_b));
        bench.0.close(to_b);
        bench.0.close(any);
        assert!(bench.0.ports.is_empty() && bench.0.connected.is_empty());
    }

    #[test]
    fn ports_run_out() {
        let mut bench = Bench::new();
        let all: Vec<_> = (0..10).map(|_| bench.bind(None, 0, false).unwrap()).collect();
        assert_eq!(bench.bind(None, 0, false), Err(BindError::NotAvailable));
        bench.0.close(all[3]);
        assert!(bench.bind(None, 0, false).is_ok());
    }

    #[test]
    fn sharers_split_the_senders() {
        let mut bench = Bench::new();
        let all: Vec<_> = (0..4).map(|_| bench.bind(None, 53, true).unwrap()).collect();
        for handle in all {
            let count = (0..400).filter(|n| bench.lookup(A, 53, (B, *n)) == Some(handle)).count();
            assert!((50..150).contains(&count), "{count}");
        }
        assert_eq!(bench.lookup(A, 53, (B, 7)), bench.lookup(A, 53, (B, 7)));
    }

    #[test]
    fn a_full_queue_counts() {
        let mut bench = Bench::new();
        let pool = HeapPool::leak(0);
        let handle = bench.bind(None, 53, false).unwrap();
        let endpoint = bench.0.get_mut(handle).unwrap();
        let datagram = || Datagram {
            from: B,
            from_port: Port(9),
            to: A,
            iface: IfaceId(1),
            ttl: 1,
            traffic_class: 0,
            payload: Frame::allocate(pool, 0, 1000).unwrap(),
        };
        endpoint.options.receive_buffer = 3 * datagram().payload.footprint();
        let taken = (0..10).filter(|_| endpoint.push(datagram())).count();
        assert_eq!((taken, endpoint.dropped()), (3, 7));
        while endpoint.pop().is_some() {}
        assert!(endpoint.push(datagram()));
    }
}
