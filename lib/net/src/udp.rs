//! UDP's endpoints and how a datagram finds its own (RFC 768, RFC 1122 § 4.1).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::ops::RangeInclusive;

use frame::Frame;
use hashbrown::HashTable;
use wire::{Port, icmpv4};

use crate::ip_options::IpOptions;
use crate::rng::Rng;
use crate::slab::{Handle, Slab};
use crate::tcp::FourTuple;
use crate::{IfaceId, Instant, Key, siphash};

/// Most endpoints of a stack.
pub const MAX_ENDPOINTS: usize = 65_536;
/// Most groups an endpoint joins.
pub const MAX_ENDPOINT_GROUPS: usize = 16;
/// Most datagrams that are received as one.
const MAX_COALESCED: usize = 64;
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
    /// When it arrived.
    pub at: Instant,
    /// What it carries; may be empty.
    pub payload: Frame,
}

impl Datagram {
    /// Whether another one came by the same way, so that both may be told of as one (UDP_GRO).
    fn goes_with(&self, other: &Self) -> bool {
        let way = |of: &Self| (of.from, of.from_port, of.to, of.iface, of.ttl, of.traffic_class);
        way(self) == way(other)
    }
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
    /// What all sockets may ask for.
    pub ip: IpOptions,
    /// IP_MULTICAST_TTL.
    pub multicast_ttl: u8,
    /// IP_MULTICAST_LOOP: this host hears what it sends to groups that it listens to.
    pub multicast_loop: bool,
    /// IP_MULTICAST_IF.
    pub multicast_iface: Option<IfaceId>,
    /// IP_MULTICAST_ALL: it hears all groups that anybody on this host listens to, not only its own.
    pub multicast_all: bool,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_NO_CHECK: no checksum is sent.
    pub no_checksum: bool,
    /// IP_RECVERR: it is told of errors that say nothing final, and also while it is not connected.
    pub receive_errors: bool,
    /// Bytes of memory that received datagrams may keep.
    pub receive_buffer: usize,
}

impl UdpOptions {
    /// Linux' defaults.
    pub const DEFAULT: Self = Self {
        ip: IpOptions::DEFAULT,
        multicast_ttl: 1,
        multicast_loop: true,
        multicast_iface: None,
        multicast_all: true,
        broadcast: false,
        no_checksum: false,
        receive_errors: false,
        receive_buffer: DEFAULT_RECEIVE_BUFFER,
    };
}

/// How an endpoint is to be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// SO_REUSEADDR: others that say the same may have the same port. What is sent to one goes to the last that came.
    pub share_address: bool,
    /// SO_REUSEPORT: others that say the same may have the same port. Senders are spread over them.
    pub share_port: bool,
    /// IP_FREEBIND: the address need not be one of this host's.
    pub nonlocal: bool,
    /// SO_BINDTODEVICE.
    pub device: Option<IfaceId>,
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
    share_address: bool,
    share_port: bool,
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
        Some(Datagram { payload, ..*next })
    }

    /// The next datagram, and those behind it that came by the same way and are as long, as one of `room` octets at most; the last
    /// of them may be shorter. Says how long each is if they are several.
    pub(crate) fn pop_many(&mut self, room: usize) -> Option<(Datagram, Option<u16>)> {
        let mut all = self.pop()?;
        let (each, mut count) = (all.payload.len(), 1);
        while each > 0
            && count < MAX_COALESCED
            && all.payload.len() == each * count
            && let Some(next) = self.queue.front()
            && all.goes_with(next)
            && (1..=each).contains(&next.payload.len())
            && all.payload.len() + next.payload.len() <= room
            && let Some(next) = self.pop()
        {
            if let Err(payload) = all.payload.append(next.payload) {
                // Its place is at the front.
                self.queued_bytes += payload.footprint();
                self.queue.push_front(Datagram { payload, ..next });
                break;
            }
            count += 1;
        }
        Some((all, u16::try_from(each).ok().filter(|_| count > 1)))
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

    /// Octets of memory that the queue takes.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether what came in at an interface may be for it. `None`: wherever it came in.
    fn is_heard_at(&self, iface: Option<IfaceId>) -> bool {
        iface.is_none_or(|iface| self.options.ip.hears(iface))
    }

    /// Whether a datagram to a group or broadcast address is for it.
    fn hears(&self, iface: IfaceId, to: Ipv4Addr, from: (Ipv4Addr, Port)) -> bool {
        let bound = self.local.is_none_or(|local| local == to || !to.is_multicast());
        let joined = !to.is_multicast() || self.options.multicast_all || self.groups.contains(&(iface, to));
        bound && joined && self.is_heard_at(Some(iface)) && self.remote.is_none_or(|remote| remote == from)
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
        options: BindOptions,
        range: &RangeInclusive<u16>,
        rng: &mut Rng,
    ) -> Result<UdpHandle, BindError> {
        let port = match port {
            Port::NONE => self.free_port(range, rng).ok_or(BindError::NotAvailable)?,
            port if self.is_taken(local, port, &options) => return Err(BindError::InUse),
            port => port,
        };
        let endpoint = Endpoint {
            local,
            port,
            remote: None,
            share_address: options.share_address,
            share_port: options.share_port,
            options: UdpOptions {
                ip: IpOptions { device: options.device, ..IpOptions::DEFAULT },
                ..UdpOptions::DEFAULT
            },
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

    /// Whose a datagram to one of this host's own addresses is that came in at `iface`: the endpoint connected to the sender, else
    /// one bound to the address, else one bound to the port, each first one bound to the interface. Of several that share by
    /// [`BindOptions::share_port`] the sender's address and port choose, of others it is the last that came.
    pub(crate) fn lookup(&self, tuple: &FourTuple, iface: Option<IfaceId>) -> Option<UdpHandle> {
        let is_heard =
            |handle: UdpHandle| self.slab.get(handle).is_some_and(|endpoint| endpoint.is_heard_at(iface));
        if let Some(handle) = self.connected_to(tuple).filter(|handle| is_heard(*handle)) {
            return Some(handle);
        }
        let IpAddr::V4(local) = tuple.local else { return None };
        let unconnected = &self.find_port(tuple.local_port)?.unconnected;
        // Those bound to the interface before those that are not, and to the address before those to all.
        let rank = &|endpoint: &Endpoint| match endpoint.local {
            _ if !endpoint.is_heard_at(iface) => 0,
            Some(address) if address != local => 0,
            bound => 1 + u8::from(endpoint.options.ip.device.is_some()) + 2 * u8::from(bound.is_some()),
        };
        let ranked =
            || unconnected.iter().filter_map(move |&handle| Some((rank(self.slab.get(handle)?), handle)));
        let (best, last) = ranked().max_by_key(|(rank, _)| *rank).filter(|(rank, _)| *rank > 0)?;
        if unconnected.len() == 1 || !self.slab.get(last)?.share_port {
            return Some(last);
        }
        let group = || {
            let shares =
                |handle: UdpHandle| self.slab.get(handle).is_some_and(|endpoint| endpoint.share_port);
            ranked().filter(move |(rank, handle)| *rank == best && shares(*handle))
        };
        let choice = siphash(&self.key, &tuple.octets(3)) % group().count().max(1) as u64;
        group().nth(choice as usize).map(|(_, handle)| handle)
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

    fn is_taken(&self, local: Option<Ipv4Addr>, port: Port, options: &BindOptions) -> bool {
        if self.find_port(port).is_none() {
            return false;
        }
        self.slab.iter().any(|(_, other)| {
            let overlaps = local.is_none() || other.local.is_none() || local == other.local;
            let device = other.options.ip.device;
            let meets = options.device.is_none() || device.is_none() || options.device == device;
            let shared =
                options.share_address && other.share_address || options.share_port && other.share_port;
            other.port == port && overlaps && meets && !shared
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
            let options = BindOptions { share_port: shared, ..BindOptions::default() };
            self.0.bind(local, Port(port), options, &RANGE, &mut self.1)
        }

        fn lookup(&self, local: Ipv4Addr, port: u16, remote: (Ipv4Addr, u16)) -> Option<UdpHandle> {
            self.lookup_at(local, port, remote, IfaceId(1))
        }

        fn lookup_at(
            &self,
            local: Ipv4Addr,
            port: u16,
            remote: (Ipv4Addr, u16),
            iface: IfaceId,
        ) -> Option<UdpHandle> {
            self.0.lookup(&tuple(local, Port(port), (remote.0, Port(remote.1))), Some(iface))
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
    fn of_those_that_share_an_address_the_last_one_hears() {
        let mut bench = Bench::new();
        let options = BindOptions { share_address: true, ..BindOptions::default() };
        let mut bind = || bench.0.bind(None, Port(53), options, &RANGE, &mut bench.1).unwrap();
        let [first, last] = [bind(), bind()];
        assert!((0..100).all(|n| bench.lookup(A, 53, (B, n)) == Some(last)));
        bench.0.close(last);
        assert_eq!(bench.lookup(A, 53, (B, 9)), Some(first));
        assert_eq!(bench.bind(None, 53, true), Err(BindError::InUse), "it shares by port only");
    }

    #[test]
    fn one_bound_to_an_interface_hears_nothing_else() {
        let mut bench = Bench::new();
        let device = Some(IfaceId(2));
        let options = BindOptions { device, ..BindOptions::default() };
        let bound = bench.0.bind(None, Port(53), options, &RANGE, &mut bench.1).unwrap();
        assert_eq!(bench.lookup(A, 53, (B, 9)), None);
        assert_eq!(bench.lookup_at(A, 53, (B, 9), IfaceId(2)), Some(bound));
        let other = BindOptions { device: Some(IfaceId(1)), ..options };
        let other = bench.0.bind(None, Port(53), other, &RANGE, &mut bench.1).unwrap();
        assert_eq!(bench.lookup(A, 53, (B, 9)), Some(other), "each interface has its own");
        assert_eq!(bench.bind(None, 53, false), Err(BindError::InUse), "all interfaces are among them");
        bench.0.connect(bound, A, Some((B, Port(9)))).unwrap();
        assert_eq!(bench.lookup(A, 53, (B, 9)), Some(other), "nor when it is connected");
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
            at: Instant(0),
            payload: Frame::allocate(pool, 0, 1000).unwrap(),
        };
        endpoint.options.receive_buffer = 3 * datagram().payload.footprint();
        let taken = (0..10).filter(|_| endpoint.push(datagram())).count();
        assert_eq!((taken, endpoint.dropped()), (3, 7));
        while endpoint.pop().is_some() {}
        assert!(endpoint.push(datagram()));
    }

    #[test]
    fn datagrams_of_one_way_are_received_as_one() {
        let mut bench = Bench::new();
        let pool = HeapPool::leak(0);
        let handle = bench.bind(None, 53, false).unwrap();
        let endpoint = bench.0.get_mut(handle).unwrap();
        let datagram = |port: u16, len: usize| {
            let mut payload = Frame::allocate(pool, 0, 1000).unwrap();
            payload.push_back(len).unwrap().fill(len as u8);
            Datagram {
                from: B,
                from_port: Port(port),
                to: A,
                iface: IfaceId(1),
                ttl: 1,
                traffic_class: 0,
                at: Instant(0),
                payload,
            }
        };
        for (port, len) in [(9, 100), (9, 100), (9, 40), (9, 40), (8, 40), (8, 0), (8, 40), (8, 50), (8, 50)]
        {
            assert!(endpoint.push(datagram(port, len)));
        }
        let mut lens = Vec::new();
        while let Some((datagram, each)) = endpoint.pop_many(1000) {
            lens.push((datagram.payload.len(), each));
        }
        let expected = [(240, Some(100)), (40, None), (40, None), (0, None), (40, None), (100, Some(50))];
        assert_eq!(lens, expected, "the last may be shorter, none is longer or of another sender");
        (0..3).for_each(|_| assert!(endpoint.push(datagram(9, 100))));
        assert_eq!(endpoint.pop_many(250).unwrap().0.payload.len(), 200, "no more than there is room for");
        assert_eq!(endpoint.queued_bytes(), endpoint.peek().unwrap().payload.footprint());
    }
}
