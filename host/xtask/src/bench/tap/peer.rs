//! Linux's side: a server and a client, each a process in its namespace.
//!
//! A connection begins with the client's request: the direction, and how many octets. A server that gets them says so with one
//! octet; one that gives them gives them.

use super::namespace::Namespace;
use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt::set_tcp_congestion;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Octets of a request.
pub const REQUEST_LEN: usize = 9;
/// After so long without a single octet something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which way octets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// To the server.
    Sends,
    /// From the server.
    Receives,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sends => "sends",
            Self::Receives => "receives",
        })
    }
}

/// What a process of its own does in a namespace.
#[derive(clap::Subcommand)]
pub enum Role {
    /// Serve for ever
    Server { port: u16, algorithm: String },
    /// Make one transfer and write how many nanoseconds it took
    Client { server: Ipv4Addr, port: u16, algorithm: String, direction: Direction, size: u64 },
}

impl Role {
    /// Plays the role.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Server { port, algorithm } => {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
                // Connections inherit it.
                set_tcp_congestion(&listener, &algorithm)?;
                println!("listening");
                for stream in listener.incoming() {
                    let stream = stream?;
                    // A client that goes away is its own affair.
                    std::thread::spawn(move || answer(stream));
                }
                Ok(())
            }
            Self::Client { server, port, algorithm, direction, size } => {
                println!("{}", transfer((server, port), &algorithm, direction, size)?.as_nanos());
                Ok(())
            }
        }
    }
}

/// The request for a transfer.
pub fn request(direction: Direction, size: u64) -> [u8; REQUEST_LEN] {
    let mut octets = [direction as u8; REQUEST_LEN];
    octets[1..].copy_from_slice(&size.to_be_bytes());
    octets
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut octets = [0; REQUEST_LEN];
    stream.read_exact(&mut octets)?;
    let [direction, size @ ..] = octets;
    let size = u64::from_be_bytes(size);
    if direction == Direction::Sends as u8 {
        read(&mut stream, size)?;
        stream.write_all(&[1])?;
    } else {
        write(&mut stream, size)?;
    }
    Ok(())
}

fn transfer(server: (Ipv4Addr, u16), algorithm: &str, direction: Direction, size: u64) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server)?;
    set_tcp_congestion(&stream, algorithm)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request(direction, size))?;
    match direction {
        Direction::Sends => {
            write(&mut stream, size)?;
            read(&mut stream, 1)?;
        }
        Direction::Receives => read(&mut stream, size)?,
    }
    Ok(began.elapsed())
}

fn read(stream: &mut TcpStream, mut size: u64) -> Result<()> {
    let mut buffer = [0; 1 << 16];
    while size > 0 {
        let most = buffer.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        let len = stream.read(&mut buffer[..most])?;
        ensure!(len > 0, "{size} octets are missing");
        size -= len as u64;
    }
    Ok(())
}

fn write(stream: &mut TcpStream, mut size: u64) -> Result<()> {
    let buffer = [7; 1 << 16];
    while size > 0 {
        let len = buffer.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        stream.write_all(&buffer[..len])?;
        size -= len as u64;
    }
    Ok(())
}

/// A process that ends with the value.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server.
pub fn serve(namespace: &Namespace, port: u16, algorithm: &str) -> Result<Server> {
    let mut command = namespace.command(&std::env::current_exe()?);
    command.args(["bench", "tap-peer", "server", &port.to_string(), algorithm]).stdout(Stdio::piped());
    let mut server = Server(command.spawn()?);
    let stdout = server.0.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line.trim() == "listening", "the server does not start");
    Ok(server)
}

/// One transfer by a Linux client; returns how long it took.
pub fn fetch(
    namespace: &Namespace,
    (server, port): (Ipv4Addr, u16),
    algorithm: &str,
    direction: Direction,
    size: u64,
) -> Result<Duration> {
    let mut command = namespace.command(&std::env::current_exe()?);
    command.args(["bench", "tap-peer", "client", &server.to_string(), &port.to_string(), algorithm]);
    let output = command.args([direction.to_string(), size.to_string()]).output()?;
    if !output.status.success() {
        bail!("the client: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let nanos = String::from_utf8_lossy(&output.stdout).trim().parse();
    Ok(Duration::from_nanos(nanos.context("the client tells no time")?))
}

/// The kernel, and what of its settings bears on transfers.
pub fn linux_settings(namespace: &Namespace) -> Result<String> {
    let mut told = vec![std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()];
    for name in ["sack", "timestamps", "rmem", "wmem"] {
        let path = format!("/proc/sys/net/ipv4/tcp_{name}");
        let value = namespace.command("cat".as_ref()).arg(&path).output()?.stdout;
        let value = String::from_utf8_lossy(&value).split_whitespace().collect::<Vec<_>>().join(" ");
        told.push(format!("tcp_{name}={value}"));
    }
    Ok(told.join(", "))
}
