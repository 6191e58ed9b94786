//! `cargo xtask bench bulk`: what an octet costs that goes over a connection in a long row of others.

use super::counts::{Counter, Counts};
use super::http::{CPU, GUEST, HOST, PREFIX_LEN, TAP, make_tap};
use super::program::Tool;
use super::table::aligned;
use crate::{namespace, repo, setup};
use anyhow::{Context, Result, bail, ensure};
use qemu::{Machine, Network, Outcome, Vm};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Count what a transfer over one connection costs for each octet, with and without a device that cuts segments
///
/// Guest instructions, octets moved by string instructions and device accesses: a long transfer, less a short one. The peer is Linux,
/// over a tap interface in a network namespace of the command's own; needs root, or user namespaces and access to /dev/net/tun.
#[derive(clap::Args)]
pub struct Bulk {
    /// MiB that the long transfer has more than the short one
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// This is the process in the namespace
    #[arg(long, hide = true)]
    inside: bool,
}

const MEMORY_MIB: u32 = 64;
const TIMEOUT: Duration = Duration::from_secs(300);
const SHORT: u64 = 2 << 20;
/// What the device is not to offer, and how that is told.
const DEVICES: [(&str, &[&str]); 2] = [
    ("as it is", &[]),
    (
        "cuts nothing",
        &["-global", "virtio-net-device.host_tso4=off", "-global", "virtio-net-pci.host_tso4=off"],
    ),
];

impl Bulk {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        setup::ensure_commands(&[("ip", "iproute2")])?;
        let folder = repo::target_dir().join("bench/programs");
        let image = Tool::build()?.image(&repo::root().join("tests/programs"), "bulk", &folder)?;
        if !self.inside {
            let args = std::env::args_os().skip(1).chain(["--inside".into()]);
            return Err(namespace::command(args)?.exec()).context("unshare (package util-linux)");
        }
        make_tap()?;
        let counter = Counter::build()?;
        let octets = self.mib << 20;
        let mut rows = Vec::new();
        for direction in ["sends", "receives"] {
            for (device, arguments) in DEVICES {
                eprintln!("bench: {direction}, the device {device}");
                let run = |octets| transfer(&counter, &image.path, direction, octets, arguments);
                let (short, _) = run(SHORT)?;
                let (long, took) = run(SHORT + octets)?;
                let of_one = |column: fn(&Counts) -> u64| {
                    column(&long).saturating_sub(column(&short)) as f64 / octets as f64
                };
                rows.push([
                    format!("{direction}, the device {device}"),
                    format!("{:.3}", of_one(|counts| counts.instructions)),
                    format!("{:.3}", of_one(|counts| counts.string_bytes)),
                    format!("{:.1}", 1024.0 * of_one(|counts| counts.device_accesses) * 1024.0),
                    format!("{:.0}", (octets + SHORT) as f64 / took.as_secs_f64() / 1e6),
                ]);
            }
        }
        let header =
            ["of one octet", "instructions", "string bytes", "device accesses in a MiB", "MB/s, counted"];
        println!("{}", aligned(header.map(str::to_owned), rows.into_iter()));
        println!("{} MiB, q35, -cpu {CPU}, one CPU, TCG", self.mib);
        Ok(())
    }
}

/// Boots the program, plays its peer, and returns what the machine executed from its start to its end, and how long the transfer took.
fn transfer(
    counter: &Counter,
    image: &Path,
    direction: &str,
    octets: u64,
    arguments: &[&str],
) -> Result<(Counts, Duration)> {
    let listener = TcpListener::bind((HOST, 0))?;
    let address = listener.local_addr()?;
    let mut vm = Vm::new(image);
    vm.machine = Machine::Q35;
    vm.cpu = CPU.to_owned();
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm.network = Network::Tap(TAP.to_owned());
    vm.settings.net = vec![format!("net.eth0={GUEST}/{PREFIX_LEN}")];
    vm.settings.args = vec![direction.to_owned(), address.to_string(), octets.to_string()];
    vm.extra.extend(arguments.iter().map(Into::into));
    let sends = direction == "sends";
    let peer = thread::spawn(move || play_peer(&listener, sends, octets));
    let (counts, finished) = counter.total(&vm, |vm| Ok(vm.run()?))?;
    if finished.outcome != Outcome::Exited(0) {
        bail!("{}\nits console:\n{}", finished.outcome, finished.text());
    }
    let took = peer.join().expect("the peer does not panic")?;
    Ok((counts, took))
}

fn play_peer(listener: &TcpListener, guest_sends: bool, octets: u64) -> Result<Duration> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let began = Instant::now();
    let mut buffer = vec![7; 1 << 16];
    let mut left = octets;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left)?);
        let len =
            if guest_sends { stream.read(&mut buffer[..most])? } else { stream.write(&buffer[..most])? };
        ensure!(len > 0, "{left} octets are missing");
        left -= len as u64;
    }
    if guest_sends {
        stream.write_all(&[1])?;
    } else {
        // Until the other side has all of it.
        let _ = stream.read(&mut buffer[..1]);
    }
    Ok(began.elapsed())
}
