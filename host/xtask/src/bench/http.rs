//! `cargo xtask bench http`: requests to a web server, in an image and in a Linux guest.

use super::busy_host;
use super::counts::{Counter, Counts};
use super::linux::Linux;
use super::profile;
use super::program::Tool;
use super::symbols::Symbols;
use super::table::{aligned, thousands};
use crate::{namespace, repo, setup};
use anyhow::{Context, Result, bail, ensure};
use qemu::{Forward, Machine, Network, Outcome, Protocol, Vm};
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Requests to an HTTP server, in an image and, for the same file, in a Linux guest
///
/// Requests per second by wrk with keep-alive, in turns, then what one request costs: guest instructions, octets moved by string
/// instructions and device accesses, by clients that count. Over a tap interface, in a network namespace of the command's own, which
/// ends with it; needs root, or user namespaces and access to /dev/net/tun. At its end the image accounts for its frames.
#[derive(clap::Args)]
pub struct Http {
    /// The server, an example: web (std, a thread for each connection) or hyper-web (tokio and hyper)
    #[arg(long, default_value = "web", value_parser = ["web", "hyper-web"])]
    server: String,
    /// Connections at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Further connections, which stay open and do nothing after one request
    #[arg(long, value_delimiter = ',', default_values_t = [0])]
    idle: Vec<usize>,
    /// How long each measurement takes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// CPUs of the machine
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Over QEMU's user network instead of a tap interface
    #[arg(long)]
    user: bool,
    /// Measure the image alone
    #[arg(long)]
    no_linux: bool,
    /// Do not count what a request costs
    #[arg(long)]
    no_counts: bool,
    /// Instead, show which functions of the image a request's instructions belong to
    #[arg(long)]
    profile: bool,
    /// This is the process in the namespace
    #[arg(long, hide = true)]
    inside: bool,
}

/// As for the other comparisons, see `micro`.
pub(super) const CPU: &str = "max,-erms,-fsrm";
const MEMORY_MIB: u32 = 256;
pub(super) const TAP: &str = "includeos0";
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const PREFIX_LEN: u8 = 24;
const READY: &str = "listening";
/// Requests for the count of one.
const COUNTED: usize = 6_000;

/// A system with the server.
struct System {
    name: &'static str,
    vm: Vm,
    address: SocketAddr,
    /// The image with its symbols.
    symbols: PathBuf,
}

/// How many connections are open.
#[derive(Clone, Copy)]
struct Open {
    connections: usize,
    idle: usize,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { connections, idle: 0 } => write!(f, "{connections}"),
            Self { connections, idle } => write!(f, "{connections}, {idle} idle"),
        }
    }
}

/// What wrk says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Load {
    requests: f64,
    median: String,
    slowest: String,
    /// Its line about errors.
    errors: Option<String>,
}

/// What a request costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    instructions: f64,
    string_bytes: f64,
    device_accesses: f64,
}

impl Http {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        setup::ensure_commands(&[("wrk", "wrk"), ("ip", "iproute2"), ("ping", "iputils-ping")])?;
        let systems = self.systems()?;
        if !self.user && !self.inside {
            let args = std::env::args_os().skip(1).chain(["--inside".into()]);
            return Err(namespace::command(args)?.exec()).context("unshare (package util-linux)");
        }
        if self.inside {
            make_tap()?;
        }
        if self.profile {
            return self.show_profile(&systems);
        }
        let busy = busy_host();
        let mut rows = Vec::new();
        let idle_too = |connections| self.idle.iter().map(move |&idle| Open { connections, idle });
        for open in self.connections.iter().copied().flat_map(idle_too) {
            let mut loads = vec![Vec::new(); systems.len()];
            for turn in 1..=self.runs {
                for (system, loads) in systems.iter().zip(&mut loads) {
                    eprintln!("bench: {}, {open} connections, turn {turn}", system.name);
                    loads.push(system.load(open, self.seconds, !self.user)?);
                }
            }
            for (system, loads) in systems.iter().zip(loads) {
                rows.push((system.name, open, best_of_middle(loads)));
            }
        }
        let costs = if self.no_counts { Vec::new() } else { self.count(&systems)? };
        report(&rows, &costs, self.user);
        if let Some(load) = busy {
            println!("{load}: the rates say little");
        }
        Ok(())
    }

    /// Builds what is measured.
    fn systems(&self) -> Result<Vec<System>> {
        let tool = Tool::build()?;
        let folder = repo::target_dir().join("bench");
        let image = tool.image(
            &repo::root().join("examples").join(&self.server),
            &self.server,
            &folder.join(&self.server),
        )?;
        let mut systems = Vec::new();
        let mut add = |name, mut vm: Vm| -> Result<()> {
            vm.machine = Machine::Q35;
            vm.cpu = CPU.to_owned();
            vm.cpus = self.cpus;
            vm.memory_mib = MEMORY_MIB;
            vm.timeout = Some(Duration::from_secs(180 + self.seconds));
            let (network, address) = self.network()?;
            vm.network = network;
            systems.push(System { name, vm, address, symbols: image.with_symbols.clone() });
            Ok(())
        };
        let mut vm = Vm::new(&image.path);
        vm.settings.log = Some(abi::cmdline::LogLevel::Info);
        if !self.user {
            vm.settings.net = vec![format!("net.eth0={GUEST}/{PREFIX_LEN}")];
        }
        add("the image", vm)?;
        if !self.no_linux {
            let init =
                tool.image(&repo::root().join("tests/programs"), "netinit", &folder.join("programs"))?;
            // QEMU's user network has this address for its machine.
            let address = if self.user { (Ipv4Addr::new(10, 0, 2, 15), 24) } else { (GUEST, PREFIX_LEN) };
            add("Linux", Linux::prepare()?.guest_with_network(&init.path, address, &image.path)?)?;
        }
        Ok(systems)
    }

    fn network(&self) -> Result<(Network, SocketAddr)> {
        if !self.user {
            return Ok((Network::Tap(TAP.to_owned()), (GUEST, 80).into()));
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let forward =
            Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host: port, guest: 80 };
        Ok((Network::User(vec![forward]), (Ipv4Addr::LOCALHOST, port).into()))
    }

    fn show_profile(&self, systems: &[System]) -> Result<()> {
        const TOP: usize = 70;
        let (counter, system) = (Counter::build()?, &systems[0]);
        let symbols = Symbols::read(&system.symbols)?;
        for &connections in &self.connections {
            let each = COUNTED.div_ceil(connections);
            let histogram = counter
                .histogram_from(&system.vm, symbols.main()?, |vm| system.request(vm, connections, each))?;
            let span = format!("of a request, {connections} connections");
            profile::show(&histogram, &symbols, &span, (each * connections) as u64, TOP)?;
        }
        Ok(())
    }

    /// Counts what a request costs: many requests, less few.
    fn count(&self, systems: &[System]) -> Result<Vec<(&'static str, usize, Cost)>> {
        let counter = Counter::build()?;
        let mut costs = Vec::new();
        for system in systems {
            for &connections in &self.connections {
                eprintln!("bench: counting in {}, {connections} connections", system.name);
                let each = COUNTED.div_ceil(connections);
                let few = system.count(&counter, connections, 1)?;
                let many = system.count(&counter, connections, each + 1)?;
                let of_one = |column: fn(&Counts) -> u64| {
                    column(&many).saturating_sub(column(&few)) as f64 / (each * connections) as f64
                };
                let cost = Cost {
                    instructions: of_one(|counts| counts.instructions),
                    string_bytes: of_one(|counts| counts.string_bytes),
                    device_accesses: of_one(|counts| counts.device_accesses),
                };
                costs.push((system.name, connections, cost));
            }
        }
        Ok(costs)
    }
}

impl System {
    /// Has wrk load the server.
    fn load(&self, open: Open, seconds: u64, ping: bool) -> Result<Load> {
        let (load, console) = self.serve(&self.vm, |address| {
            if ping {
                repo::output(Command::new("ping").args(["-c", "3", "-i", "0.2", "-q", &GUEST.to_string()]))
                    .context("ping")?;
            }
            let idle: Vec<_> = (0..open.idle).map(|_| connect(address)).collect::<Result<_>>()?;
            let mut wrk = Command::new("wrk");
            wrk.args([
                "-t",
                "1",
                "-c",
                &open.connections.to_string(),
                "-d",
                &seconds.to_string(),
                "--latency",
            ]);
            wrk.arg(format!("http://{address}/"));
            let load = Load::parse(&repo::output(&mut wrk)?)?;
            for mut stream in idle {
                requests(&mut stream, 1).context("a connection that was idle")?;
            }
            Ok(load)
        })?;
        for line in console.lines().filter(|line| line.contains("frames")) {
            eprintln!("bench: {}", line.trim());
        }
        ensure!(!console.contains("frames are missing"), "the image's frames do not add up:\n{console}");
        Ok(load)
    }

    fn count(&self, counter: &Counter, connections: usize, each: usize) -> Result<Counts> {
        Ok(counter.total(&self.vm, |vm| self.request(vm, connections, each))?.0)
    }

    /// Boots the server and has so many clients send so many requests each, at least one.
    fn request(&self, vm: &Vm, connections: usize, each: usize) -> Result<()> {
        self.serve(vm, |address| {
            // One after the other: behind QEMU's user network the host lets two connections wait, and forgets others for seconds.
            let clients: Vec<_> = (0..connections).map(|_| connect(address)).collect::<Result<_>>()?;
            thread::scope(|scope| {
                let clients: Vec<_> = clients
                    .into_iter()
                    .map(|mut stream| scope.spawn(move || requests(&mut stream, each.saturating_sub(1))))
                    .collect();
                clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
            })
        })?;
        Ok(())
    }

    /// Boots the server, does the work when it is ready, and stops it. Returns also the console.
    fn serve<T: Send>(
        &self,
        vm: &Vm,
        work: impl FnOnce(SocketAddr) -> Result<T> + Send,
    ) -> Result<(T, String)> {
        let address = self.address;
        let mut console = String::new();
        let running = vm.start()?;
        let stopper = running.stopper()?;
        let (result, outcome) = thread::scope(|scope| -> Result<_> {
            let (mut work, mut client) = (Some((work, stopper)), None);
            let outcome = running.pump(|octets| {
                console += &String::from_utf8_lossy(octets);
                if console.contains(READY)
                    && let Some((work, stopper)) = work.take()
                {
                    client = Some(scope.spawn(move || {
                        let result = answers(address).and_then(|()| work(address));
                        if result.is_err() || fetch(address, "/stop").is_err() {
                            stopper.stop();
                        }
                        result
                    }));
                }
                ControlFlow::Continue(())
            })?;
            Ok((client.map(|client| client.join().expect("the client does not panic")), outcome))
        })?;
        match result {
            None => bail!("{}: the server did not start: {outcome}\nits console:\n{console}", self.name),
            Some(Err(error)) => Err(error.context(format!("{}: {outcome}\n{console}", self.name))),
            Some(Ok(_)) if self.name == "the image" && outcome != Outcome::Exited(0) => {
                bail!("{}: {outcome}\nits console:\n{console}", self.name)
            }
            Some(Ok(result)) => Ok((result, console)),
        }
    }
}

pub(super) fn make_tap() -> Result<()> {
    namespace::ip("link set lo up")?;
    namespace::ip(&format!("tuntap add {TAP} mode tap"))
        .context("a tap interface needs access to /dev/net/tun; or take --user")?;
    namespace::ip(&format!("addr add {HOST}/{PREFIX_LEN} dev {TAP}"))?;
    namespace::ip(&format!("link set {TAP} up"))
}

/// Waits until the server answers.
fn answers(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    loop {
        match fetch(address, "/") {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn fetch(address: SocketAddr, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the server answered {answer:?}");
    Ok(())
}

/// A connection that has carried one request.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    requests(&mut stream, 1)?;
    Ok(stream)
}

/// Requests one after the other on one connection.
fn requests(stream: &mut TcpStream, count: usize) -> Result<()> {
    let mut answer = Vec::new();
    for _ in 0..count {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        answer.clear();
        while !is_complete(&answer) {
            let mut octets = [0; 2048];
            let read = stream.read(&mut octets)?;
            ensure!(read > 0, "the server closed the connection");
            answer.extend_from_slice(&octets[..read]);
        }
    }
    Ok(())
}

/// Whether a head and all of its body are there.
fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let header = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
    let length: usize = head.lines().find_map(header).unwrap_or(0);
    body.len() >= length
}

impl Load {
    fn parse(text: &str) -> Result<Self> {
        let after = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
        let requests = after("Requests/sec:").and_then(|rest| rest.parse().ok());
        let errors = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
        Ok(Self {
            requests: requests.with_context(|| format!("wrk says no rate:\n{text}"))?,
            median: after("50%").unwrap_or_default().to_owned(),
            slowest: after("Latency")
                .and_then(|rest| rest.split_whitespace().nth(2))
                .unwrap_or_default()
                .to_owned(),
            errors: errors.map(|line| line.trim().to_owned()),
        })
    }
}

/// The turn with the median rate; the errors of all.
fn best_of_middle(mut loads: Vec<Load>) -> Load {
    loads.sort_by(|a, b| a.requests.total_cmp(&b.requests));
    let errors = loads.iter().find_map(|load| load.errors.clone());
    Load { errors, ..loads.swap_remove(loads.len() / 2) }
}

fn report(rows: &[(&str, Open, Load)], costs: &[(&str, usize, Cost)], user: bool) {
    let header = ["system", "connections", "requests/s", "median", "slowest", "errors"];
    let cells = rows.iter().map(|(name, open, load)| {
        [
            (*name).to_owned(),
            open.to_string(),
            thousands(load.requests),
            load.median.clone(),
            load.slowest.clone(),
            load.errors.clone().unwrap_or_else(|| "none".to_owned()),
        ]
    });
    println!("{}", aligned(header.map(str::to_owned), cells));
    if !costs.is_empty() {
        let header = ["of one request", "connections", "instructions", "string bytes", "device accesses"];
        let cells = costs.iter().map(|(name, connections, cost)| {
            [
                (*name).to_owned(),
                connections.to_string(),
                thousands(cost.instructions),
                thousands(cost.string_bytes),
                format!("{:.1}", cost.device_accesses),
            ]
        });
        println!("{}", aligned(header.map(str::to_owned), cells));
    }
    let network = if user { "QEMU's user network" } else { "a tap interface" };
    println!("TCG, q35, -cpu {CPU}, {MEMORY_MIB} MiB, over {network}; the load comes from the same host");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read() {
        let text = "Running 1s test @ http://10.77.0.2/\n  1 threads and 1 connections\n  Thread Stats   Avg      \
                    Stdev     Max   +/- Stdev\n    Latency   220.10us   51.00us   1.23ms   90.00%\n    Req/Sec     \
                    4.50k    100.00     4.60k    70.00%\n  Latency Distribution\n     50%  215.00us\n     99%  \
                    400.00us\n  4500 requests in 1.00s, 400.00KB read\n  Socket errors: connect 0, read 0, write 0, \
                    timeout 2\nRequests/sec:   4500.25\nTransfer/sec:    400.00KB\n";
        let load = Load::parse(text).unwrap();
        assert_eq!(
            (load.requests, load.median.as_str(), load.slowest.as_str()),
            (4500.25, "215.00us", "1.23ms")
        );
        assert_eq!(load.errors.as_deref(), Some("Socket errors: connect 0, read 0, write 0, timeout 2"));
        assert!(Load::parse("nothing").is_err());
    }

    #[test]
    fn answers_end_where_their_length_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(is_complete(answer));
        assert!(!is_complete(&answer[..answer.len() - 1]) && !is_complete(b"HTTP/1.1 200 OK\r\n"));
    }
}
