#![no_main]
//! Segments with numbers near those of the connection, calls of the program and time, in any order.

use std::sync::OnceLock;
use std::time::Duration;

use frame::{Frame, HeapPool};
use libfuzzer_sys::fuzz_target;
use net::Instant;
use net::tcp::{Config, Flow, Handled, Segment, State};
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

fuzz_target!(|octets: &[u8]| {
    let [how, script @ ..] = octets else { return };
    let config = Config {
        sack: how & 1 != 0,
        timestamps: how & 2 != 0,
        window_scale: how & 4 != 0,
        nagle: how & 8 != 0,
        mss: 100,
        receive_buffer: 2000,
        receive_buffer_max: 4000,
        send_buffer: 4000,
        send_buffer_max: 8000,
        ..Config::new(Port(1), Port(2))
    };
    let mut now = Instant(0);
    let mut flow = Flow::connect(config, now, ISS);
    if how & 16 != 0 {
        let options =
            Options::parse(&[2, 4, 0, 100, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 2]).unwrap();
        let syn = Repr {
            src_port: Port(2),
            dst_port: Port(1),
            seq: IRS,
            ack: SeqNumber(0),
            flags: Flags::SYN,
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
                let seq = IRS + u32::from(u16::from_le_bytes([a, b]) % 4096) - 100;
                let ack = ISS + u32::from(u16::from_le_bytes([c, d]) % 4096) - 100;
                let mut options = Options::NONE;
                if let [x, y] = *rest {
                    if x & 1 != 0 {
                        options.timestamps = Some(wire::tcp::Timestamps { val: x.into(), ecr: y.into() });
                    }
                    if x & 2 != 0 {
                        let left = ISS + 16 * u32::from(y);
                        options.sack.push(wire::tcp::SackBlock { left, right: left + u32::from(x) });
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
                if let Handled::Reopen(_) = flow.handle_segment(now, Segment::new(repr, payload)) {
                    return;
                }
            }
            4 => {
                let _ = flow.send(frame(usize::from(a) * 4));
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
            _ => match a % 4 {
                0 => flow.shutdown_send(),
                1 => flow.close(now),
                2 => flow.abort(),
                _ => {
                    if let Some(saved) = flow.save(now) {
                        flow = Flow::restore(&saved, pool(), now).unwrap();
                    }
                }
            },
        }
        for burst in 0.. {
            let Some(segment) = flow.poll_transmit(now) else { break };
            assert!(burst < 200, "it does not stop sending: {segment:?}");
            assert!(segment.repr.header_len() + segment.payload_len() as usize <= 60 + 100);
        }
        assert!(flow.state() == State::Closed || flow.send_room() <= 8000);
    }
});
