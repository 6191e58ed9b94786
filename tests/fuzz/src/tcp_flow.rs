//! Segments with numbers near those of the connection, calls of the program and time, in any order.

use std::sync::OnceLock;
use std::time::Duration;

use frame::{Frame, HeapPool};
use net::Instant;
use net::tcp::{Algorithm, Config, Ecn, EcnMode, Flow, Handled, IcmpError, KeepAlive, Segment, State};
use wire::tcp::{Flags, Options, Repr};
use wire::{Port, SeqNumber};

const ISS: SeqNumber = SeqNumber(u32::MAX - 100);
const IRS: SeqNumber = SeqNumber(u32::MAX - 50);

fn pool() -> &'static HeapPool {
    static POOL: OnceLock<&'static HeapPool> = OnceLock::new();
    POOL.get_or_init(|| HeapPool::leak(1000))
}

fn frame(len: usize) -> Frame {
    let mut frame = Frame::allocate(pool(), 0, len).unwrap();
    frame.push_back(len).unwrap();
    frame
}

/// Plays the octets.
pub fn run(octets: &[u8]) {
    let [how, more, script @ ..] = octets else { return };
    let config = Config {
        sack: how & 1 != 0,
        timestamps: how & 2 != 0,
        window_scale: how & 4 != 0,
        nagle: how & 8 != 0,
        pacing: how & 32 != 0,
        ecn: if how & 64 != 0 { EcnMode::Ask } else { EcnMode::IfAsked },
        algorithm: [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr][usize::from(more % 3)],
        user_timeout: (more & 64 != 0).then_some(Duration::from_secs(20)),
        keep_alive: (more & 128 != 0).then_some(KeepAlive {
            idle: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            probes: 3,
        }),
        mss: 600,
        receive_buffer: 4000,
        receive_buffer_max: 8000,
        send_buffer: 8000,
        send_buffer_max: 16_000,
        ..Config::new(Port(1), Port(2))
    };
    let mut now = Instant(0);
    let mut flow = Flow::connect(config, now, ISS);
    if how & 16 != 0 {
        let options =
            Options::parse(&[2, 4, 2, 88, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 2]).unwrap();
        let syn = Repr {
            src_port: Port(2),
            dst_port: Port(1),
            seq: IRS,
            ack: SeqNumber(0),
            flags: if how & 128 != 0 { Flags::SYN | Flags::ECE | Flags::CWR } else { Flags::SYN },
            window: 1000,
            urgent: 0,
            options,
        };
        flow = Flow::accept(config, now, ISS, &syn);
    }
    for step in script.chunks(8) {
        let &[what, a, b, c, d, e, ref rest @ ..] = step else { break };
        match what % 8 {
            0..=3 => {
                let seq = IRS + u32::from(u16::from_le_bytes([a, b]) % 8192) - 100;
                let ack = ISS + u32::from(u16::from_le_bytes([c, d]) % 16_384) - 100;
                let mut options = Options::NONE;
                if let [x, y] = *rest {
                    if x & 1 != 0 {
                        options.timestamps = Some(wire::tcp::Timestamps { val: x.into(), ecr: y.into() });
                    }
                    if x & 2 != 0 {
                        let left = ISS + 1 + 60 * u32::from(y);
                        options
                            .sack
                            .push(wire::tcp::SackBlock { left, right: left + 60 * u32::from(x >> 2) });
                        if x & 1 != 0 {
                            options.sack.push(wire::tcp::SackBlock { left: left - 600, right: left + 1200 });
                        }
                    }
                }
                let flags = Flags(if what & 8 != 0 { e } else { 0x10 });
                let repr = Repr {
                    src_port: Port(2),
                    dst_port: Port(1),
                    seq,
                    ack,
                    flags,
                    window: u16::from(d) << 4,
                    urgent: 0,
                    options,
                };
                let len = usize::from(what >> 4) * 40;
                let payload = (len > 0).then(|| frame(len));
                let segment = Segment { ecn: Ecn::from_traffic_class(e >> 6), ..Segment::new(repr, payload) };
                if let Handled::Reopen(_) = flow.handle_segment(now, segment) {
                    return;
                }
            }
            4 => {
                let _ = flow.send(frame(usize::from(a) * 8));
            }
            5 => {
                while let Some(frame) = flow.receive() {
                    flow.read(now, frame.len() as u32);
                }
            }
            6 => {
                now += Duration::from_millis(u64::from(u16::from_le_bytes([a, b])));
                if flow.poll_timeout().is_some_and(|at| at <= now) {
                    flow.handle_timeout(now);
                }
            }
            _ => match a % 10 {
                4 => flow.set_cork(b & 1 != 0),
                5 => flow.set_nagle(b & 1 != 0),
                6 => flow.set_buffer_limits(u32::from(b) * 64, 16_000),
                7 => flow.set_quick_ack(b & 1 == 0),
                8 => {
                    let error = match b % 3 {
                        0 => IcmpError::Unreachable,
                        1 => IcmpError::Transient,
                        _ => IcmpError::TooBig { mss: u32::from(c) * 4 },
                    };
                    flow.handle_icmp_error(now, ISS + u32::from(u16::from_le_bytes([d, e])), error);
                }
                9 => now += Duration::from_secs(u64::from(b)),
                0 => flow.shutdown_send(),
                1 => flow.close(now),
                2 => flow.abort(),
                _ => {
                    if let Some(saved) = flow.save(now) {
                        flow = Flow::restore(&saved, pool(), now).unwrap();
                        assert_eq!(flow.save(now), Some(saved));
                    }
                }
            },
        }
        for burst in 0.. {
            let most = 1 + burst % 3;
            let Some(segment) = flow.poll_transmit_many(now, most) else { break };
            assert!(burst < 200, "it does not stop sending: {segment:?}");
            let each = segment.size.map_or(segment.payload_len(), u32::from);
            assert!(
                segment.repr.header_len() + each as usize <= 20 + 600 && segment.payload_len() <= most * each
                    || segment.payload.is_none()
            );
        }
        assert!(flow.state() == State::Closed || flow.send_room() <= 16_000);
    }
}
