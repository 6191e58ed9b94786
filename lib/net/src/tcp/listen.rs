//! [`Listener`]: what is done with segments to a port where somebody listens (RFC 9293 § 3.10.7.2, RFC 4987).

use wire::tcp::{Flags, Repr};

use crate::tcp::cookie::SynCookies;
use crate::tcp::ecn::EcnMode;
use crate::tcp::options::Negotiated;
use crate::tcp::segment::bare;
use crate::tcp::{Config, FourTuple, Segment, reset_for};
use crate::{Instant, Key};

/// What to do with a segment for a listener that belongs to no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nothing.
    Ignore,
    /// Send this reset, or this answer to a SYN for which nothing is kept.
    Reply(Repr),
    /// Make a flow of it, [`crate::tcp::Flow::accept`], and call [`Listener::release`] when that flow has left
    /// SYN-RECEIVED.
    Accept,
    /// The acknowledgment of a cookie: make a flow of this SYN, as it was, with [`crate::tcp::Flow::accept_cookie`], and
    /// give it the segment.
    AcceptCookie(Repr),
}

/// Bounds what SYNs can cost: so many connections are half open at a time, each a flow; SYNs beyond that are answered by
/// cookies, for which nothing is kept. Every call takes the same time.
#[derive(Debug)]
pub struct Listener {
    max_half_open: u32,
    half_open: u32,
    cookies: SynCookies,
}

impl Listener {
    /// A listener with at most `max_half_open` connections in SYN-RECEIVED. `key` is used for nothing else, and is the
    /// same for as long as an answer may be on its way.
    pub const fn new(key: Key, max_half_open: u32) -> Self {
        Self { max_half_open, half_open: 0, cookies: SynCookies::new(key) }
    }

    /// Looks at a segment that belongs to no flow. `config`: what its flow would have.
    pub fn handle_segment(
        &mut self,
        now: Instant,
        config: &Config,
        tuple: &FourTuple,
        segment: &Segment,
    ) -> Listen {
        let repr = &segment.repr;
        let flags = repr.flags;
        if flags.has(Flags::RST) {
            Listen::Ignore
        } else if flags.has(Flags::ACK) {
            let syn =
                (!flags.has(Flags::SYN)).then(|| self.cookies.check(now, config, tuple, repr)).flatten();
            match syn {
                Some(syn) => Listen::AcceptCookie(syn),
                None => reset_for(segment).map_or(Listen::Ignore, Listen::Reply),
            }
        } else if !flags.has(Flags::SYN) || flags.has(Flags::FIN) {
            Listen::Ignore
        } else if self.half_open < self.max_half_open {
            self.half_open += 1;
            Listen::Accept
        } else {
            Listen::Reply(self.answer_with_cookie(now, config, tuple, repr))
        }
    }

    /// A flow of [`Listen::AcceptCookie`] is to count as half open, too, until [`Self::release`].
    pub fn hold(&mut self) {
        self.half_open += 1;
    }

    /// A flow of [`Listen::Accept`] has left SYN-RECEIVED, whatever for.
    pub fn release(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    /// Connections that are half open.
    pub fn half_open(&self) -> u32 {
        self.half_open
    }

    fn answer_with_cookie(&mut self, now: Instant, config: &Config, tuple: &FourTuple, syn: &Repr) -> Repr {
        let negotiated = Negotiated::with_syn(config, now, &syn.options);
        let is_ecn = config.ecn != EcnMode::Never && syn.flags.has(Flags::ECE | Flags::CWR);
        let mut options = negotiated.syn_options(config, now, true);
        let cookie = self.cookies.make(now, tuple, syn, is_ecn, &mut options);
        // What the cookie cannot keep is not agreed upon.
        let has_timestamps = options.timestamps.is_some();
        options.window_scale = options.window_scale.filter(|_| has_timestamps);
        options.sack_permitted &= has_timestamps;
        let mut flags = Flags::SYN | Flags::ACK;
        if is_ecn && has_timestamps {
            flags |= Flags::ECE;
        }
        let window = config.receive_buffer.clamp(1, u16::MAX.into()) as u16;
        let answer = bare(config.local_port, config.remote_port, cookie, syn.seq + 1, flags);
        Repr { window, options, ..answer }
    }
}
