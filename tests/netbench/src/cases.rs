//! The cases.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use net::Key;
use net::tcp::{Demux, FourTuple};
use wire::Port;
use wire::tcp::Flags;

use crate::host::{Host, Program};
use crate::memory;
use crate::ours::Ours;
use crate::peer::{MSS, Peer};
use crate::sections::{SECTIONS, Sections};
use crate::smol::{self, Smol};

type Case = (&'static str, fn(&mut Sections));

pub const CASES: &[Case] = &[
    ("empty", |sections| (0..SECTIONS).for_each(|_| sections.mark("empty", 1, || ()))),
    ("ours-in", |sections| segments_in::<Ours>(sections, "ours-in", false)),
    ("smol-in", |sections| segments_in::<Smol>(sections, "smol-in", false)),
    ("ours-in-checksum", |sections| segments_in::<Ours>(sections, "ours-in-checksum", true)),
    ("smol-in-checksum", |sections| segments_in::<Smol>(sections, "smol-in-checksum", true)),
    ("ours-out", |sections| segments_out::<Ours>(sections, "ours-out", false)),
    ("smol-out", |sections| segments_out::<Smol>(sections, "smol-out", false)),
    ("ours-out-checksum", |sections| segments_out::<Ours>(sections, "ours-out-checksum", true)),
    ("smol-out-checksum", |sections| segments_out::<Smol>(sections, "smol-out-checksum", true)),
    ("ours-connection", |sections| connections::<Ours>(sections, "ours-connection")),
    ("smol-connection", |sections| connections::<Smol>(sections, "smol-connection")),
    ("lookup-1", |sections| lookup(sections, "lookup-1", 1)),
    ("lookup-1000", |sections| lookup(sections, "lookup-1000", 1_000)),
    ("lookup-100000", |sections| lookup(sections, "lookup-100000", 100_000)),
    ("ours-among-1", |sections| among::<Ours>(sections, "ours-among-1", 0)),
    ("ours-among-1000", |sections| among::<Ours>(sections, "ours-among-1000", 999)),
    ("ours-among-10000", |sections| among::<Ours>(sections, "ours-among-10000", 9_999)),
    ("ours-among-100000", |sections| among::<Ours>(sections, "ours-among-100000", 99_999)),
    ("smol-among-1", |sections| among::<Smol>(sections, "smol-among-1", 0)),
    ("smol-among-1000", |sections| among::<Smol>(sections, "smol-among-1000", 999)),
    ("smol-among-10000", |sections| among::<Smol>(sections, "smol-among-10000", 9_999)),
    ("memory", idle_memory),
];

/// Segments of a burst, as of a device.
const BURST: usize = 16;
/// Round trips after which a window has grown.
const WINDOWS: usize = 50;
/// Between bursts, and between a segment and its acknowledgment.
const STEP_US: u64 = 1_000;

/// Full segments come in and are read, in bursts; each second one is acknowledged.
fn segments_in<H: Host>(sections: &mut Sections, case: &str, checksums: bool) {
    let mut host = H::new(Program::Read, 1, checksums);
    let mut peer = Peer::new(0);
    peer.introduce(&mut host);
    peer.open(&mut host, 0);
    let mut now = 0;
    for n in 0..2 * SECTIONS {
        sections.warms_up = n < SECTIONS;
        now += STEP_US;
        for _ in 0..BURST {
            host.load(&peer.segment(Flags::ACK | Flags::PSH, MSS));
        }
        sections.mark(case, BURST, || host.run(now));
        peer.take(&host.sent());
    }
}

/// A program's octets go out in full segments; each second one is acknowledged. What an acknowledgment makes room for is written
/// and sent at once.
fn segments_out<H: Host>(sections: &mut Sections, case: &str, checksums: bool) {
    let mut host = H::new(Program::Write, 1, checksums);
    let mut peer = Peer::new(0);
    peer.introduce(&mut host);
    peer.open(&mut host, 0);
    let mut now = 0;
    for n in 0..WINDOWS + SECTIONS {
        sections.warms_up = n < WINDOWS;
        for pair in host.sent().chunks(2) {
            peer.take(pair);
            host.load(&peer.segment(Flags::ACK, 0));
        }
        now += STEP_US;
        sections.mark_counted(case, || {
            host.run(now);
            host.sent_count()
        });
    }
}

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Octets of a request and of an answer.
const REQUEST: usize = 100;
const ANSWER: usize = 1000;

/// A connection is opened; a request is answered; the peer closes, and so does the program. In four steps, each for
/// [`CONNECTIONS`] of them.
fn connections<H: Host>(sections: &mut Sections, case: &str) {
    let mut host = H::new(Program::Answer(ANSWER), CONNECTIONS, false);
    Peer::new(0).introduce(&mut host);
    let mut now = 0;
    for n in 0..2 * SECTIONS {
        sections.warms_up = n < SECTIONS;
        let first = (n * CONNECTIONS) as u32;
        let mut peers: Vec<_> = (first..first + CONNECTIONS as u32).map(Peer::new).collect();
        let mut step = |host: &mut H, name: &str| {
            now += STEP_US;
            sections.mark(&format!("{case}-{name}"), CONNECTIONS, || host.run(now));
            host.sent()
        };
        peers.iter_mut().for_each(|peer| host.load(&peer.syn()));
        let sent = step(&mut host, "open");
        for (peer, frame) in peers.iter_mut().zip(&sent) {
            peer.take_syn_ack(frame);
            host.load(&peer.segment(Flags::ACK, 0));
            host.load(&peer.segment(Flags::ACK | Flags::PSH, REQUEST));
        }
        let sent = step(&mut host, "request");
        for peer in &mut peers {
            let before = peer.ack;
            peer.take(&sent);
            assert_eq!(peer.ack.since(before), ANSWER as u32);
            host.load(&peer.segment(Flags::ACK | Flags::FIN, 0));
        }
        let sent = step(&mut host, "close");
        for peer in &mut peers {
            let before = peer.ack;
            peer.take(&sent);
            assert_eq!(peer.ack.since(before), 1, "it closes");
            host.load(&peer.segment(Flags::ACK, 0));
        }
        step(&mut host, "end");
    }
}

/// The flow of a segment is found.
fn lookup(sections: &mut Sections, case: &str, flows: u32) {
    const LOOKUPS: usize = 1024;
    let tuple = |n: u32| FourTuple {
        local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        local_port: Port(80),
        remote: IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + n / 50_000)),
        remote_port: Port((n % 50_000) as u16),
    };
    let mut demux: Demux<u32, ()> = Demux::new(Key([1, 2]), flows as usize);
    for n in 0..flows {
        demux.insert(tuple(n), n).expect("room");
    }
    // In no order that a cache could know.
    let wanted: Vec<_> =
        (0..LOOKUPS as u64).map(|n| tuple((n * 0x9e37_79b9 % u64::from(flows)) as u32)).collect();
    for n in 0..2 * SECTIONS {
        sections.warms_up = n < SECTIONS;
        sections.mark(case, LOOKUPS, || {
            for tuple in &wanted {
                black_box(demux.flow(black_box(tuple)));
            }
        });
    }
}

/// A segment of a request and its answer, beside others without traffic.
fn among<H: Host>(sections: &mut Sections, case: &str, others: usize) {
    let mut host = H::new(Program::Answer(REQUEST), 1, false);
    let mut peer = Peer::new(0);
    peer.introduce(&mut host);
    host.add_idle(others);
    peer.open(&mut host, 0);
    let mut now = 1_000_000;
    for n in 0..2 * SECTIONS {
        now += STEP_US;
        sections.warms_up = n < SECTIONS;
        host.load(&peer.segment(Flags::ACK | Flags::PSH, REQUEST));
        sections.mark(case, 1, || host.run(now));
        peer.take(&host.sent());
    }
}

/// What a connection takes on which nothing happens.
fn idle_memory(sections: &mut Sections) {
    const COUNT: usize = 10_000;
    let mut host = Ours::new(Program::Read, COUNT, false);
    let before = memory::out();
    host.add_idle(COUNT);
    sections.memory("ours", (memory::out() - before) / COUNT);
    sections.memory("smol", smol::memory_of_one());
}
