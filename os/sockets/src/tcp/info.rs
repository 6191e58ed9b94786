//! `struct tcp_info` (linux/tcp.h), as of Linux 6.17.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use net::tcp::{Info, State};

/// A state as `tcpi_state` has it, of a socket without a connection.
pub(super) const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Octets of the structure.
const LEN: usize = 248;
/// Slow start has no end yet (`TCP_INFINITE_SSTHRESH`).
const NO_THRESHOLD: u32 = 0x7fff_ffff;
/// Segments by which the network is taken to reorder at first.
const REORDERING: u32 = 3;

/// Of a socket without a connection.
pub(super) fn without_connection(state: u8) -> Vec<u8> {
    let mut octets = vec![0; LEN];
    octets[0] = state;
    octets
}

/// Of a listener: how many connections wait, and how many may.
pub(super) fn of_listener(waiting: usize, backlog: usize) -> Vec<u8> {
    let mut octets = without_connection(LISTEN);
    octets[24..28].copy_from_slice(&(waiting as u32).to_le_bytes());
    octets[28..32].copy_from_slice(&(backlog as u32).to_le_bytes());
    octets
}

/// Of a connection whose socket holds so many octets more to be sent. What there is no figure for is 0: docs/sockets.md names it.
pub(super) fn of_connection(info: &Info, path_mtu: u16, held: usize) -> Vec<u8> {
    let mss = info.snd_mss.max(1);
    let mut to = Fields(Vec::with_capacity(LEN));
    to.0.extend([
        state(info.state),
        recovery(info),
        info.backoff.min(255) as u8,
        info.probes.min(255) as u8,
        info.backoff.min(255) as u8,
        options(info),
        info.window_shifts.map_or(0, |(snd, rcv)| snd & 15 | rcv << 4),
        info.delivery_rate_app_limited.into(),
    ]);
    to.u32s([us(info.rto), 0, info.snd_mss, info.rcv_mss]);
    to.u32s([info.unacknowledged, info.sacked, info.lost, info.retransmitted, 0]);
    to.u32s([ms(info.since_data_sent), 0, ms(info.since_data_received), ms(info.since_ack_received)]);
    to.u32s([path_mtu.into(), info.receive_buffer, us(info.srtt), us(info.rttvar)]);
    let threshold = if info.ssthresh == u32::MAX { NO_THRESHOLD } else { info.ssthresh.div_ceil(mss) };
    to.u32s([threshold, info.cwnd.div_ceil(mss), info.advertised_mss, REORDERING]);
    to.u32s([0, info.receive_buffer, info.retransmissions]);
    to.u64s([info.pacing_rate.unwrap_or(u64::MAX), info.max_pacing_rate.unwrap_or(u64::MAX)]);
    to.u64s([info.octets_acknowledged, info.octets_received]);
    let not_sent = info.not_sent.saturating_add(held as u32);
    to.u32s([info.segments_out, info.segments_in, not_sent, info.min_rtt.map_or(u32::MAX, us)]);
    to.u32s([info.data_segments_in, info.data_segments_out]);
    to.u64s([info.delivery_rate, 0, 0, 0]);
    to.u32s([info.delivered.div_ceil(mss.into()) as u32, 0]);
    to.u64s([info.octets_sent, info.octets_retransmitted]);
    to.u32s([info.duplicates, info.reordering_seen.into(), info.out_of_order]);
    to.u32s([info.snd_wnd, info.rcv_wnd, 0, info.timeouts.min(0xffff), 0]);
    to.0
}

struct Fields(Vec<u8>);

impl Fields {
    fn u32s<const N: usize>(&mut self, fields: [u32; N]) {
        self.0.extend(fields.into_iter().flat_map(u32::to_le_bytes));
    }

    fn u64s<const N: usize>(&mut self, fields: [u64; N]) {
        self.0.extend(fields.into_iter().flat_map(u64::to_le_bytes));
    }
}

/// `TCP_ESTABLISHED` and its kin.
fn state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => CLOSE,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

/// `TCP_CA_Loss`, `TCP_CA_Recovery`, `TCP_CA_Open`.
fn recovery(info: &Info) -> u8 {
    match (info.is_after_timeout, info.is_recovering) {
        (true, _) => 4,
        (false, true) => 3,
        (false, false) => 0,
    }
}

/// `TCPI_OPT_TIMESTAMPS` and its kin.
fn options(info: &Info) -> u8 {
    let bits = [info.timestamps, info.sack, info.window_shifts.is_some(), info.ecn];
    bits.into_iter().enumerate().map(|(n, is_on)| u8::from(is_on) << n).sum()
}

fn us(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

fn ms(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use net::Instant;
    use net::tcp::{Config, Flow};
    use wire::{Port, SeqNumber};

    use super::*;

    #[test]
    fn the_structure_is_as_long_as_linuxs() {
        let flow = Flow::connect(Config::new(Port(1), Port(2)), Instant(0), SeqNumber(0));
        let octets = of_connection(&flow.info(Instant(7_000_000)), 1500, 9);
        assert_eq!(octets.len(), LEN);
        let at = |at: usize| u32::from_le_bytes(*octets[at..].first_chunk().unwrap());
        assert_eq!((octets[0], at(8), at(44), at(60)), (2, 1_000_000, 7, 1500), "state, RTO, last sent, MTU");
        assert_eq!((at(76), at(144), at(148)), (NO_THRESHOLD, 9, u32::MAX), "threshold, not sent, least RTT");
        assert_eq!((of_listener(3, 9)[24], of_listener(3, 9)[28]), (3, 9));
    }
}
