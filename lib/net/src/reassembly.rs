//! [`Reassembly`]: datagrams that arrive in pieces (RFC 791 § 3.2, RFC 815).
//!
//! **Overlaps.** Fragments of one datagram that overlap, or that disagree about where it ends, condemn it: nothing of it is
//! delivered, and what still comes of it is dropped (RFC 5722 § 4; honest senders make no such fragments). A fragment of
//! exactly the place of one that is there is a repetition by the network and is dropped alone.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use frame::{Frame, Pool};
use hashbrown::HashTable;
use wire::{Protocol, ipv4};

use crate::deadlines::Deadlines;
use crate::frames::with_writable_head;
use crate::slab::{Handle, Slab};
use crate::{DropReason, IfaceId, Instant, Key, siphash};

/// How long the first fragment waits for the last one. RFC 791 suggests 15 s, RFC 1122 § 3.3.2 60 s or more; Linux
/// waits for 30 s, and identifications come again too soon for more (RFC 4963).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most datagrams that wait; the oldest goes for a new one.
pub const MAX_DATAGRAMS: usize = 256;
/// Most of these from one source; a further one is refused.
pub const MAX_DATAGRAMS_PER_SOURCE: usize = 64;
/// Most fragments of a datagram: 64 KiB at a path MTU of 552 octets.
pub const MAX_FRAGMENTS: usize = 128;
/// Most bytes of memory that fragments keep; the oldest datagrams go for new fragments.
pub const MAX_BYTES: usize = 4 << 20;

/// Datagrams that are not whole.
#[derive(Debug)]
pub struct Reassembly {
    key: Key,
    slab: Slab<Datagram, Slots>,
    index: HashTable<(Identity, Handle<Slots>)>,
    timers: Deadlines,
    bytes: usize,
}

#[derive(Debug)]
enum Slots {}

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: Protocol,
    ident: u16,
}

#[derive(Debug)]
struct Datagram {
    identity: Identity,
    iface: IfaceId,
    /// Ascending, disjoint.
    pieces: Vec<Piece>,
    /// Octets of the payload, when the last fragment was seen.
    len: Option<u32>,
    bytes: usize,
    condemned: bool,
}

/// Octets `start..end` of a datagram's payload. The frame of the first one begins with the IP header.
#[derive(Debug)]
struct Piece {
    start: u32,
    end: u32,
    frame: Frame,
}

/// A datagram that was given up.
#[derive(Debug)]
pub struct GivenUp {
    /// Where it came in.
    pub iface: IfaceId,
    /// Fragments that were dropped with it.
    pub fragments: u64,
    /// The first one, with its header, if it was there: what an ICMP error quotes.
    pub first: Option<Frame>,
}

impl Reassembly {
    /// Nothing waits. `key` is used for nothing else.
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            slab: Slab::new(MAX_DATAGRAMS),
            index: HashTable::new(),
            timers: Deadlines::new(),
            bytes: 0,
        }
    }

    /// Takes a fragment; the frame begins with its IP header and ends with its payload. The whole datagram comes back with the
    /// last one, under the first one's header. What has to go for it is handed to `give_up`.
    pub fn insert(
        &mut self,
        now: Instant,
        iface: IfaceId,
        header: &ipv4::Repr,
        mut frame: Frame,
        pool: &'static dyn Pool,
        mut give_up: impl FnMut(GivenUp),
    ) -> Result<Option<Frame>, DropReason> {
        let start = u32::from(header.fragment_offset);
        let end = start + u32::from(header.payload_len);
        if header.protocol == Protocol::TCP && (start == 8 || start == 0 && end < 16) {
            // RFC 3128: the flags would stand in the second fragment, where no filter looks.
            return Err(DropReason::TinyFragment);
        }
        if start > 0 {
            let header_len = frame.len().saturating_sub(header.payload_len.into());
            frame.pull(header_len);
        }
        let identity =
            Identity { src: header.src, dst: header.dst, protocol: header.protocol, ident: header.ident };
        let bytes = frame.footprint();
        let handle = match self.find(&identity) {
            Some(handle) => handle,
            None => self.open(now, iface, identity, &mut give_up)?,
        };
        while self.bytes + bytes > MAX_BYTES {
            let oldest =
                self.oldest().filter(|oldest| *oldest != handle).ok_or(DropReason::ReassemblyFull)?;
            self.close(oldest).into_iter().for_each(&mut give_up);
        }
        let datagram = self.slab.get_mut(handle).ok_or(DropReason::ReassemblyFull)?;
        datagram.insert(Piece { start, end, frame }, !header.more_fragments)?;
        datagram.bytes += bytes;
        self.bytes += bytes;
        if !datagram.is_whole() {
            return Ok(None);
        }
        let pieces = core::mem::take(&mut datagram.pieces);
        self.close(handle);
        assemble(pieces, pool).map(Some)
    }

    /// When [`Self::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// A datagram whose time is up.
    pub fn poll(&mut self, now: Instant) -> Option<GivenUp> {
        loop {
            let slot = self.timers.pop_due(now)?;
            if let Some(given_up) = self.slab.handle_at(slot).and_then(|handle| self.close(handle)) {
                return Some(given_up);
            }
        }
    }

    /// Gives the oldest datagram up, to make room for something more important.
    pub fn give_up_oldest(&mut self) -> Option<GivenUp> {
        self.oldest().and_then(|handle| self.close(handle))
    }

    fn find(&self, identity: &Identity) -> Option<Handle<Slots>> {
        let hash = identity.hash(&self.key);
        Some(self.index.find(hash, |(known, _)| known == identity)?.1)
    }

    fn open(
        &mut self,
        now: Instant,
        iface: IfaceId,
        identity: Identity,
        give_up: &mut impl FnMut(GivenUp),
    ) -> Result<Handle<Slots>, DropReason> {
        let of_source =
            self.slab.iter().filter(|(_, datagram)| datagram.identity.src == identity.src).count();
        if of_source >= MAX_DATAGRAMS_PER_SOURCE {
            return Err(DropReason::ReassemblyFull);
        }
        if self.slab.len() >= MAX_DATAGRAMS {
            self.give_up_oldest().into_iter().for_each(give_up);
        }
        let datagram =
            Datagram { identity, iface, pieces: Vec::new(), len: None, bytes: 0, condemned: false };
        let handle = self.slab.insert(datagram).map_err(|_| DropReason::ReassemblyFull)?;
        let key = self.key;
        self.index
            .insert_unique(identity.hash(&key), (identity, handle), |(identity, _)| identity.hash(&key));
        self.timers.set(handle.index(), now + TIMEOUT);
        Ok(handle)
    }

    fn oldest(&self) -> Option<Handle<Slots>> {
        self.slab.handle_at(self.timers.first()?)
    }

    fn close(&mut self, handle: Handle<Slots>) -> Option<GivenUp> {
        let datagram = self.slab.remove(handle)?;
        self.timers.clear(handle.index());
        self.bytes -= datagram.bytes;
        let hash = datagram.identity.hash(&self.key);
        if let Ok(entry) = self.index.find_entry(hash, |(known, _)| *known == datagram.identity) {
            entry.remove();
        }
        let fragments = datagram.pieces.len() as u64;
        let first = datagram.pieces.into_iter().next().filter(|piece| piece.start == 0);
        Some(GivenUp { iface: datagram.iface, fragments, first: first.map(|piece| piece.frame) })
    }
}

impl Identity {
    fn hash(&self, key: &Key) -> u64 {
        let mut octets = [0; 11];
        octets[..4].copy_from_slice(&self.src.octets());
        octets[4..8].copy_from_slice(&self.dst.octets());
        octets[8..10].copy_from_slice(&self.ident.to_be_bytes());
        octets[10] = self.protocol.0;
        siphash(key, &octets)
    }
}

impl Datagram {
    fn insert(&mut self, piece: Piece, last: bool) -> Result<(), DropReason> {
        if self.condemned {
            return Err(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= MAX_FRAGMENTS {
            return Err(DropReason::ReassemblyFull);
        }
        let place = self.pieces.partition_point(|known| known.start < piece.start);
        if let Some(known) = self.pieces.get(place)
            && (known.start, known.end) == (piece.start, piece.end)
        {
            return Err(DropReason::FragmentDuplicate);
        }
        let overlaps = place > 0 && self.pieces[place - 1].end > piece.start
            || self.pieces.get(place).is_some_and(|next| next.start < piece.end);
        let disagrees = if last {
            self.len.is_some() || self.pieces.last().is_some_and(|highest| highest.end > piece.end)
        } else {
            self.len.is_some_and(|len| piece.end > len)
        };
        if overlaps || disagrees {
            // The pieces stay until they time out, so that they are counted; they are never put together.
            self.condemned = true;
            return Err(DropReason::FragmentOverlap);
        }
        if last {
            self.len = Some(piece.end);
        }
        self.pieces.insert(place, piece);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        let Some(len) = self.len else { return false };
        let mut reached = 0;
        self.pieces.iter().all(|piece| {
            let follows = piece.start == reached;
            reached = piece.end;
            follows
        }) && reached == len
    }
}

/// Chains the pieces and makes the first one's header that of the whole.
fn assemble(pieces: Vec<Piece>, pool: &'static dyn Pool) -> Result<Frame, DropReason> {
    let mut whole: Option<Frame> = None;
    // From behind: appending walks the chain it appends to.
    for Piece { mut frame, .. } in pieces.into_iter().rev() {
        if let Some(rest) = whole {
            frame.append(rest).map_err(|_| DropReason::NoMemory)?;
        }
        whole = Some(frame);
    }
    let whole = whole.ok_or(DropReason::ReassemblyFull)?;
    let mut whole = with_writable_head(whole, ipv4::MAX_HEADER_LEN, pool).ok_or(DropReason::NoMemory)?;
    let total_len = u16::try_from(whole.len()).map_err(|_| DropReason::Ipv4Header)?;
    let head = whole.head_mut().ok_or(DropReason::NoMemory)?;
    let mut packet = ipv4::Packet::new_unchecked(head);
    packet.set_total_len(total_len);
    packet.set_flags_offset(0);
    packet.fill_checksum();
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use frame::HeapPool;

    struct Bench {
        reassembly: Reassembly,
        pool: &'static HeapPool,
        given_up: Vec<GivenUp>,
    }

    fn bench() -> Bench {
        Bench { reassembly: Reassembly::new(Key([1, 2])), pool: HeapPool::leak(1000), given_up: Vec::new() }
    }

    fn value_at(offset: u32) -> u8 {
        (offset.wrapping_mul(0x9e37_79b1) >> 24) as u8
    }

    impl Bench {
        /// Octets `start..end` of datagram `ident`; the last ones if `last`.
        fn fragment(
            &mut self,
            at_ms: u64,
            ident: u16,
            start: u32,
            end: u32,
            last: bool,
        ) -> Result<Option<Frame>, DropReason> {
            self.fragment_from(at_ms, Ipv4Addr::new(192, 0, 2, 1), ident, start, end, last)
        }

        fn fragment_from(
            &mut self,
            at_ms: u64,
            src: Ipv4Addr,
            ident: u16,
            start: u32,
            end: u32,
            last: bool,
        ) -> Result<Option<Frame>, DropReason> {
            let header = ipv4::Repr {
                src,
                dst: Ipv4Addr::new(192, 0, 2, 2),
                protocol: Protocol::UDP,
                traffic_class: 0,
                ident,
                dont_fragment: false,
                more_fragments: !last,
                fragment_offset: start as u16,
                ttl: 64,
                payload_len: (end - start) as u16,
            };
            let mut octets = std::vec![0; 20 + (end - start) as usize];
            header.emit(&mut ipv4::Packet::new_unchecked(&mut octets[..]));
            (start..end).zip(&mut octets[20..]).for_each(|(at, octet)| *octet = value_at(at));
            let frame = crate::frames::frame_of(&octets, self.pool).unwrap();
            let given_up = &mut self.given_up;
            self.reassembly.insert(
                Instant::from_millis(at_ms),
                IfaceId(1),
                &header,
                frame,
                self.pool,
                |gone| given_up.push(gone),
            )
        }
    }

    fn check(whole: &Frame, len: u32) {
        let octets: Vec<u8> = whole.segments().flat_map(|segment| segment.octets).copied().collect();
        let packet = ipv4::Packet::new_checked(&octets[..]).unwrap();
        let repr = ipv4::Repr::parse(&packet).unwrap();
        assert!(!repr.is_fragment());
        assert_eq!(u32::from(repr.payload_len), len);
        assert!(packet.payload().iter().enumerate().all(|(at, octet)| *octet == value_at(at as u32)));
    }

    #[test]
    fn any_order() {
        let mut bench = bench();
        let mut rng = Rng::new(Key([5, 6]));
        for ident in 0..300 {
            let len = 8 + rng.below(4000);
            let step = 8 * (1 + rng.below(60));
            let mut pieces: Vec<_> =
                (0..len).step_by(step as usize).map(|start| (start, (start + step).min(len))).collect();
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, rng.below(at as u32 + 1) as usize);
            }
            if pieces.len() > MAX_FRAGMENTS {
                continue;
            }
            for (count, &(start, end)) in pieces.iter().enumerate() {
                let whole = bench.fragment(0, ident, start, end, end == len).unwrap();
                assert_eq!(whole.is_some(), count + 1 == pieces.len());
                whole.inspect(|whole| check(whole, len));
            }
        }
        assert_eq!((bench.reassembly.bytes, bench.reassembly.slab.len(), bench.pool.out().0), (0, 0, 0));
    }

    #[test]
    fn overlaps_condemn_the_datagram() {
        // (start, end, last) of a second fragment beside 0..16 and 32..48.
        for (start, end, last) in
            [(8, 24, false), (24, 40, false), (8, 32, false), (16, 24, true), (32, 40, false), (0, 8, false)]
        {
            let mut bench = bench();
            assert!(bench.fragment(0, 1, 0, 16, false).unwrap().is_none());
            assert!(bench.fragment(0, 1, 32, 48, true).unwrap().is_none());
            assert_eq!(
                bench.fragment(0, 1, start, end, last).err(),
                Some(DropReason::FragmentOverlap),
                "{start}..{end}"
            );
            assert_eq!(
                bench.fragment(0, 1, 16, 32, false).err(),
                Some(DropReason::FragmentOverlap),
                "what comes later is dropped, too"
            );
            assert!(bench.fragment(0, 2, 0, 8, true).unwrap().is_some(), "another datagram is not concerned");
        }
    }

    #[test]
    fn repetitions_do_no_harm() {
        let mut bench = bench();
        assert!(bench.fragment(0, 1, 0, 16, false).unwrap().is_none());
        assert_eq!(bench.fragment(0, 1, 0, 16, false).err(), Some(DropReason::FragmentDuplicate));
        check(&bench.fragment(0, 1, 16, 32, true).unwrap().unwrap(), 32);
    }

    #[test]
    fn time_is_bounded() {
        let mut bench = bench();
        assert!(bench.fragment(100, 1, 0, 16, false).unwrap().is_none());
        assert!(bench.fragment(20_000, 1, 16, 32, false).unwrap().is_none());
        assert!(bench.fragment(200, 2, 16, 32, false).unwrap().is_none());
        assert!(bench.reassembly.poll(Instant::from_millis(30_099)).is_none());
        let gone = bench.reassembly.poll(Instant::from_millis(30_100)).unwrap();
        assert_eq!(
            (gone.fragments, gone.first.map(|first| first.len())),
            (2, Some(36)),
            "the first one with its header"
        );
        let gone = bench.reassembly.poll(Instant::from_millis(30_200)).unwrap();
        assert!(gone.first.is_none() && gone.fragments == 1);
        assert_eq!(bench.pool.out().0, 0);
    }

    #[test]
    fn counts_and_bytes_are_bounded() {
        let mut bench = bench();
        let of = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
        let mut refused = 0;
        for n in 0..100 {
            refused += usize::from(bench.fragment_from(0, of(0), n, 0, 16, false).is_err());
        }
        assert_eq!(refused, 100 - MAX_DATAGRAMS_PER_SOURCE);
        for n in 1..2000 {
            bench.fragment_from(u64::from(n), of(n), 0, 0, 8192, false).unwrap();
            assert!(bench.reassembly.bytes <= MAX_BYTES && bench.reassembly.slab.len() <= MAX_DATAGRAMS);
        }
        assert!(bench.given_up.len() > 1700);
        bench.given_up.clear();
        while bench.reassembly.give_up_oldest().is_some() {}
        assert_eq!((bench.pool.out().0, bench.reassembly.bytes), (0, 0));
    }
}
