//! Segments to a port where somebody listens, and to connections in TIME-WAIT: cookies are believed only if they were made.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use net::tcp::{Config, Flow, FourTuple, Handled, Listen, Listener, Segment, TimeWaitAnswer, TimeWaitTable};
use net::{Instant, Key};
use wire::tcp::{Flags, Options, Repr, Timestamps};
use wire::{Port, SeqNumber};

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let config = Config::new(Port(1), Port(2));
    let mut listener = Listener::new(Key([1, 2]), 2);
    let mut table = TimeWaitTable::new(Key([3, 4]), 4);
    let mut now = Instant(0);
    let mut cookie: Option<Repr> = None;
    for step in octets.chunks(8) {
        let &[what, peer, a, b, c, d, e, f] = step else { break };
        let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        let tuple =
            FourTuple { local: ip(1), local_port: Port(1), remote: ip(peer % 8), remote_port: Port(2) };
        now += Duration::from_millis(u64::from(f) * 100);
        table.handle_timeout(now);
        let seq = SeqNumber(u32::from_be_bytes([0, 0, a, b]));
        let mut options = Options::NONE;
        if what & 1 != 0 {
            options.timestamps = Some(Timestamps { val: c.into(), ecr: d.into() });
        }
        if what & 2 != 0 {
            (options.mss, options.window_scale, options.sack_permitted) =
                (Some(u16::from(d) * 40), Some(e % 15), true);
        }
        let mut ack = SeqNumber(u32::from_be_bytes([c, d, e, f]));
        if what & 4 != 0
            && let Some(cookie) = &cookie
        {
            // An acknowledgment of the last cookie, perhaps by somebody else.
            ack = cookie.seq + 1;
        }
        let repr = Repr {
            src_port: Port(2),
            dst_port: Port(1),
            seq,
            ack,
            flags: Flags(e),
            window: u16::from(f) * 100,
            urgent: 0,
            options,
        };
        let segment = Segment::new(repr, None);
        let segment = match table.handle_segment(now, &tuple, segment) {
            TimeWaitAnswer::Unknown(segment) | TimeWaitAnswer::Reopen(segment) => segment,
            TimeWaitAnswer::Ignore => continue,
            TimeWaitAnswer::Reply(reply) => {
                assert!(!repr.flags.has(Flags::RST) && reply.flags == Flags::ACK);
                continue;
            }
        };
        match listener.handle_segment(now, &config, &tuple, &segment) {
            Listen::Accept => {
                assert!(listener.half_open() <= 2);
                if what & 8 != 0 {
                    listener.release();
                }
            }
            Listen::Reply(reply) if reply.flags.has(Flags::SYN) => cookie = Some(reply),
            Listen::Reply(reply) => assert!(reply.flags.has(Flags::RST)),
            Listen::AcceptCookie(syn) => {
                assert_eq!(cookie.map(|cookie| cookie.seq + 1), Some(repr.ack));
                let mut flow = Flow::accept_cookie(config, now, repr.ack - 1, &syn);
                assert!(matches!(flow.handle_segment(now, segment), Handled::Done));
                while flow.poll_transmit(now).is_some() {}
                flow.close(now);
                while flow.poll_transmit(now).is_some() {}
                let fin = Repr { seq: repr.seq, ack: repr.ack + 1, flags: Flags::FIN | Flags::ACK, ..repr };
                assert!(matches!(flow.handle_segment(now, Segment::new(fin, None)), Handled::Done));
                while flow.poll_transmit(now).is_some() {}
                if let Some(time_wait) = flow.time_wait() {
                    table.insert(tuple, time_wait);
                }
                assert!(table.len() <= 4);
            }
            Listen::Ignore => {}
        }
    }
}
