//! [`Info`]: a connection's figures (TCP_INFO of tcp(7)).

use core::time::Duration;

use crate::Instant;
use crate::tcp::congestion::Controller;
use crate::tcp::flow::Flow;
use crate::tcp::in_flight::Status;
use crate::tcp::recovery::Recovery;
use crate::tcp::state::State;

/// A moment of a connection's life. Sizes are octets where nothing else is said; rates are octets a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it, or are the RFCs'")]
pub struct Info {
    pub state: State,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: bool,
    /// Window shifts: what the peer's windows are shifted by, and this side's. `None`: windows are not scaled.
    pub window_shifts: Option<(u8, u8)>,
    /// Nothing was found lost, or a loss is repaired, or the timer has expired.
    pub is_recovering: bool,
    pub is_after_timeout: bool,
    /// Times in a row that the retransmission timer expired.
    pub backoff: u32,
    /// Probes of an idle connection or of a closed window without an answer.
    pub probes: u32,
    /// The program has too little to send.
    pub app_limited: bool,
    pub rto: Duration,
    pub srtt: Duration,
    pub rttvar: Duration,
    /// `None`: not measured.
    pub min_rtt: Option<Duration>,
    /// The payload of the largest segment that is sent, and of the largest that was received.
    pub snd_mss: u32,
    pub rcv_mss: u32,
    /// What this side offered in its SYN.
    pub advertised_mss: u32,
    /// Segments that were sent and not acknowledged; of these, those reported as arrived, those taken for lost, those that were
    /// sent again and are under way.
    pub unacknowledged: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retransmitted: u32,
    pub since_data_sent: Duration,
    pub since_data_received: Duration,
    pub since_ack_received: Duration,
    pub cwnd: u32,
    /// `u32::MAX`: slow start has no end yet.
    pub ssthresh: u32,
    /// `None`: all that may leave leaves at once.
    pub pacing_rate: Option<u64>,
    pub max_pacing_rate: Option<u64>,
    pub delivery_rate: u64,
    pub delivery_rate_app_limited: bool,
    /// What the receive buffer has grown to.
    pub receive_buffer: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    /// Queued and never sent.
    pub not_sent: u32,
    pub octets_sent: u64,
    pub octets_retransmitted: u64,
    pub octets_acknowledged: u64,
    pub octets_received: u64,
    /// Octets that have arrived at the peer.
    pub delivered: u64,
    pub segments_out: u32,
    pub segments_in: u32,
    pub data_segments_out: u32,
    pub data_segments_in: u32,
    pub retransmissions: u32,
    pub timeouts: u32,
    /// Segments that the peer reported as having arrived twice.
    pub duplicates: u32,
    /// Segments received out of order.
    pub out_of_order: u32,
    pub reordering_seen: bool,
}

impl Flow {
    /// The connection's figures. A step for each segment in flight.
    pub fn info(&self, now: Instant) -> Info {
        let (srtt, rttvar) = self.rto.estimate().unwrap_or_default();
        let (mut lost, mut retransmitted) = (0, 0);
        for (_, sent) in self.in_flight.iter() {
            lost += u32::from(sent.status == Status::Lost);
            retransmitted += u32::from(sent.status == Status::Flying && sent.retransmissions > 0);
        }
        let shifts = (self.negotiated.snd_shift, self.negotiated.rcv_shift);
        Info {
            state: self.state,
            timestamps: self.negotiated.timestamps.is_some(),
            sack: self.negotiated.sack,
            ecn: self.ecn.negotiated,
            window_shifts: self.negotiated.scaled.then_some(shifts),
            is_recovering: matches!(self.recovery, Recovery::Fast { .. }),
            is_after_timeout: matches!(self.recovery, Recovery::Loss { .. }),
            backoff: self.rto.backoff(),
            probes: self.keep_alive_probes,
            app_limited: self.rate.app_limited != 0,
            rto: self.rto.timeout(),
            srtt,
            rttvar,
            min_rtt: self.min_rtt.get(),
            snd_mss: self.payload_mss(),
            rcv_mss: self.rcv_mss,
            advertised_mss: self.config.mss.into(),
            unacknowledged: self.in_flight.segments() as u32,
            sacked: self.in_flight.sacked_segments(),
            lost,
            retransmitted,
            since_data_sent: now.since(self.last_sent),
            since_data_received: now.since(self.tally.last_data_received),
            since_ack_received: now.since(self.tally.last_ack_received),
            cwnd: self.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            pacing_rate: self.pacing_rate(),
            max_pacing_rate: self.config.max_pacing_rate,
            delivery_rate: self.tally.delivery_rate(),
            delivery_rate_app_limited: self.tally.delivered_app_limited,
            receive_buffer: self.rcv_wnd.capacity,
            snd_wnd: self.snd_wnd.size,
            rcv_wnd: self.rcv_wnd.size(self.rcv_nxt),
            not_sent: self.not_sent(),
            octets_sent: self.tally.octets_sent,
            octets_retransmitted: self.tally.octets_retransmitted,
            octets_acknowledged: self.tally.octets_acknowledged,
            octets_received: self.tally.octets_received,
            delivered: self.rate.delivered,
            segments_out: self.tally.segments_out,
            segments_in: self.tally.segments_in,
            data_segments_out: self.tally.data_segments_out,
            data_segments_in: self.tally.data_segments_in,
            retransmissions: self.tally.retransmissions,
            timeouts: self.tally.timeouts,
            duplicates: self.tally.duplicates,
            out_of_order: self.tally.out_of_order,
            reordering_seen: self.rack.reordering_seen,
        }
    }

    /// Octets that were queued and never sent.
    pub fn not_sent(&self) -> u32 {
        let end = self.queue_end();
        if self.snd_nxt < end { end.since(self.snd_nxt).min(self.queue.len()) } else { 0 }
    }
}
