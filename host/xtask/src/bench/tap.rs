//! `cargo xtask bench tap`: the network stack in a Linux process against Linux, over a path with delay and loss.

mod impairment;
mod namespace;
mod ours;
mod peer;
mod switch;

use super::busy_host;
use super::table::aligned;
use super::timing::Summary;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use impairment::{Path, Quality};
use namespace::Namespace;
use peer::Direction;
use std::net::Ipv4Addr;
use std::time::Duration;
use switch::Tap;

/// Measure transfers between our stack and Linux beside those between Linux and Linux, over paths with delay and loss
///
/// A client fetches from a server, or sends to it; the server is always Linux. Each frame goes through the same model of a path,
/// in this process: 100 Mbit/s, a queue, delay, loss in both directions from a seed. The clock runs at the client, from the
/// connection's begin to the last octet. Makes network namespaces and tap devices, and takes them away again; for root.
#[derive(clap::Args)]
pub struct TapBench {
    /// Runs of each case
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Losses in percent, in each direction
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 1.0, 3.0])]
    loss: Vec<f64>,
    /// Round trips in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    round_trip: Vec<u64>,
    /// Only transfers in this direction
    #[arg(long)]
    direction: Option<Direction>,
    /// What sizes the windows of all senders
    #[arg(long, default_value = "cubic")]
    algorithm: Algorithm,
    /// Our sender lets windows leave at once, as Linux' CUBIC does without the queueing discipline fq
    #[arg(long)]
    unpaced: bool,
    /// Seed of the first run's losses
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write what our sender does to standard error, a line each millisecond
    #[arg(long)]
    trace: bool,
}

/// Congestion control that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    Cubic,
    Bbr,
}

/// The Linux side of `bench tap`, in its namespace.
#[derive(clap::Args)]
pub struct TapPeer {
    #[command(subcommand)]
    role: peer::Role,
}

impl TapPeer {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        self.role.run()
    }
}

/// Addresses of server and client.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 209, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 209, 0, 2);
const PORT: u16 = 5001;
/// Our stack is to do as much of what Linux does.
const GOAL: f64 = 0.85;

impl TapBench {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let busy = busy_host();
        let server = Namespace::new("inc-tap-server")?;
        let client = Namespace::new("inc-tap-client")?;
        let (name, algorithm) = match self.algorithm {
            Algorithm::Cubic => ("cubic", net::tcp::Algorithm::Cubic),
            Algorithm::Bbr => ("bbr", net::tcp::Algorithm::Bbr),
        };
        let mut server_tap = Tap::new("inctap0", &server, SERVER, CLIENT)?;
        let mut client_tap = Tap::new("inctap1", &client, CLIENT, SERVER)?;
        let _serving = peer::serve(&server, PORT, name)?;
        let mut rows = Vec::new();
        let mut below = 0;
        let mut transfers = self.seed;
        for direction in Direction::value_variants() {
            if self.direction.is_some_and(|wanted| wanted != *direction) {
                continue;
            }
            for &loss in &self.loss {
                for &round_trip in &self.round_trip {
                    let quality = Quality::new(Duration::from_millis(round_trip), loss / 100.0);
                    let size = size(round_trip);
                    let mut linux = Vec::new();
                    let mut ours = Vec::new();
                    for run in 0..u64::from(self.runs) {
                        let path = |salt| Path::new(quality, self.seed.wrapping_add(run) << 1 | salt);
                        let mut paths = [path(0), path(1)];
                        let took = switch::between(&mut server_tap, &mut client_tap, &mut paths, || {
                            peer::fetch(&client, (SERVER, PORT), name, *direction, size)
                        });
                        linux.push(megabits(size, took.context("Linux to Linux")?));
                        let mut paths = [path(0), path(1)];
                        let transfer = ours::Transfer {
                            direction: *direction,
                            size,
                            algorithm,
                            pacing: !self.unpaced,
                            seed: transfers,
                            trace: self.trace,
                        };
                        transfers += 1;
                        let took = transfer.run(&mut server_tap, &mut paths, CLIENT, (SERVER, PORT));
                        ours.push(megabits(size, took.context("our stack to Linux")?));
                    }
                    let (linux, ours) = (Summary::of(linux), Summary::of(ours));
                    let ratio = ours.median / linux.median;
                    below += u32::from(ratio < GOAL);
                    eprintln!(
                        "bench: {direction}, {loss} %, {round_trip} ms: {:.2} of {:.2} Mbit/s, {ratio:.2}",
                        ours.median, linux.median
                    );
                    rows.push([
                        direction.to_string(),
                        format!("{loss}"),
                        format!("{round_trip}"),
                        format!("{}", size >> 10),
                        format!("{:.2}", linux.median),
                        format!("{:.2}-{:.2}", linux.low, linux.high),
                        format!("{:.2}", ours.median),
                        format!("{:.2}-{:.2}", ours.low, ours.high),
                        format!("{ratio:.2}"),
                    ]);
                }
            }
        }
        let header = [
            "client",
            "loss %",
            "round trip ms",
            "KiB",
            "Linux Mbit/s",
            "quartiles",
            "ours Mbit/s",
            "quartiles",
            "ratio",
        ];
        println!("{}", aligned(header.map(str::to_owned), rows.into_iter()));
        println!("medians over {} runs, all senders {name}; goal: a ratio of {GOAL}", self.runs);
        println!("Linux: {}", peer::linux_settings(&server)?);
        if let Some(busy) = busy {
            println!("note: {busy}");
        }
        if cfg!(debug_assertions) {
            println!(
                "note: our stack is built without optimisation; cargo run --release -p xtask -- bench tap"
            );
        }
        if below > 0 {
            bail!("{below} cases are below the goal");
        }
        Ok(())
    }
}

/// Octets of a transfer: some seconds for the slowest.
const fn size(round_trip_ms: u64) -> u64 {
    match round_trip_ms {
        0..=5 => 4 << 20,
        6..=50 => 2 << 20,
        _ => 512 << 10,
    }
}

fn megabits(octets: u64, took: Duration) -> f64 {
    octets as f64 * 8.0 / took.as_secs_f64() / 1e6
}
