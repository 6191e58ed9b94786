//! The five hook points on a packet's way, in netfilter's words.
//!
//! ```text
//! received ─ prerouting ─ routing ─┬─ input ── socket
//!                                  └─ forward ──┐
//! socket ── output ── routing ──────────────────┴─ postrouting ─ sent
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use wire::ipv4;

use crate::{DropReason, IfaceId};

/// Where a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Received, before routing.
    Prerouting,
    /// For this host; put together if it came in fragments.
    Input,
    /// For another host, after routing.
    Forward,
    /// Made by this host, after routing.
    Output,
    /// About to leave, whoever made it; not cut into fragments yet.
    Postrouting,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next hook of the chain, and after the last one on its way.
    Accept,
    /// It ends here and is counted.
    Drop,
}

/// A packet, as a hook sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Where it came in; `None`: this host made it.
    pub input: Option<IfaceId>,
    /// Where it goes out; `None`: not known yet, or nowhere.
    pub output: Option<IfaceId>,
    /// Its header.
    pub header: &'a ipv4::Repr,
    /// The first octets behind the header: as many as are contiguous.
    pub payload: &'a [u8],
}

/// Looks at packets.
pub trait Hook: Send {
    /// Decides about one packet. Called for each, so its work adds to the cost of each.
    fn check(&mut self, packet: &View<'_>) -> Verdict;
}

impl<F: FnMut(&View<'_>) -> Verdict + Send> Hook for F {
    fn check(&mut self, packet: &View<'_>) -> Verdict {
        self(packet)
    }
}

/// A packet that every hook at [`Point::Postrouting`] accepted. Nothing else is transmitted.
#[derive(Debug)]
pub(crate) struct Filtered<P>(P);

/// That some packet was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted(());

impl Accepted {
    /// A piece of the accepted packet is accepted.
    pub(crate) fn piece<P>(self, piece: P) -> Filtered<P> {
        Filtered(piece)
    }
}

impl<P> Filtered<P> {
    pub(crate) fn into_inner(self) -> P {
        self.0
    }

    /// The packet, to be cut, and what makes its pieces transmittable.
    pub(crate) fn into_pieces(self) -> (P, Accepted) {
        (self.0, Accepted(()))
    }

    pub(crate) fn get(&self) -> &P {
        &self.0
    }
}

/// The chains. An empty one costs a look at its length.
#[derive(Default)]
pub struct Hooks {
    chains: [Vec<Box<dyn Hook>>; 5],
}

impl Hooks {
    /// Appends a hook to a chain.
    pub fn append(&mut self, point: Point, hook: Box<dyn Hook>) {
        self.chains[point as usize].push(hook);
    }

    /// Empties a chain.
    pub fn clear(&mut self, point: Point) {
        self.chains[point as usize].clear();
    }

    /// Asks a chain.
    #[inline]
    pub(crate) fn check(&mut self, point: Point, packet: &View<'_>) -> Result<(), DropReason> {
        let chain = &mut self.chains[point as usize];
        if chain.is_empty() || chain.iter_mut().all(|hook| hook.check(packet) == Verdict::Accept) {
            return Ok(());
        }
        Err(match point {
            Point::Prerouting => DropReason::Prerouting,
            Point::Input => DropReason::Input,
            Point::Forward => DropReason::Forward,
            Point::Output => DropReason::Output,
            Point::Postrouting => DropReason::Postrouting,
        })
    }

    /// Asks the last chain: the only way to a [`Filtered`]. `payload` shows what is behind the packet's header.
    pub(crate) fn postrouting<P>(
        &mut self,
        packet: P,
        header: &ipv4::Repr,
        (input, output): (Option<IfaceId>, IfaceId),
        payload: impl Fn(&P) -> &[u8],
    ) -> Result<Filtered<P>, DropReason> {
        let view = View { input, output: Some(output), header, payload: payload(&packet) };
        self.check(Point::Postrouting, &view)?;
        Ok(Filtered(packet))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.chains.iter().map(Vec::len)).finish()
    }
}
