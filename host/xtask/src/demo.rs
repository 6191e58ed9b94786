//! `cargo xtask demo`: the main job, start to end.

use crate::{names, repo, setup, ui};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Build and boot the demonstration
///
/// Installs what is missing, as `setup` does, builds the tool, lets it boot an ordinary threaded program and an ordinary web
/// server as virtual machines, fetches a page, and lets a client fetch one from the host by its name.
#[derive(clap::Args)]
pub struct Demo {
    /// This is the process in a namespace with a name server
    #[arg(long, hide = true)]
    inside: bool,
    /// This is the process that tries whether there can be such a namespace
    #[arg(long, hide = true)]
    try_inside: bool,
}

/// The programs, Cargo projects of their own that know nothing of this one.
const THREADS: &str = "examples/hello-threads";
const WEB: &str = "examples/web";
/// The last line that the threads print.
const LAST_LINE: &str = "all threads joined";
/// What the web server says when it is ready.
const READY: &str = "listening";
/// How long the image may take to answer: DHCP comes first.
const PATIENCE: Duration = Duration::from_secs(60);

impl Demo {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        if self.try_inside {
            return names::enter();
        }
        if self.inside {
            return names::inside();
        }
        setup::ensure()?;
        show()?;
        println!("demo: {WEB} booted as a virtual machine, and a page was fetched from it");
        Ok(())
    }
}

/// Builds the tool and runs the examples with it.
pub fn show() -> Result<()> {
    eprintln!("demo: building the tool");
    ui::run(repo::cargo().args(["build", "--quiet", "--release", "--package", "cargo-includeos"]))?;
    let tool = repo::target_dir().join("release/cargo-includeos");
    run_threads(&tool)?;
    serve_a_page(&tool)?;
    // Built here: inside there is no network.
    eprintln!("demo: cargo includeos build --release, in {}", names::CLIENT);
    let mut build = Command::new(&tool);
    ui::run(
        build
            .args(["includeos", "build", "--release", "--quiet"])
            .current_dir(repo::root().join(names::CLIENT)),
    )?;
    names::show()
}

fn run_threads(tool: &Path) -> Result<()> {
    eprintln!("demo: cargo includeos run --release, in {THREADS}");
    let mut run = Command::new(tool);
    run.args(["includeos", "run", "--release"]).current_dir(repo::root().join(THREADS));
    let mut complete = false;
    watch(&mut run, |line| complete |= line.trim_end() == LAST_LINE)?;
    ensure!(complete, "the demonstration ended without its last line, {LAST_LINE:?}");
    Ok(())
}

fn serve_a_page(tool: &Path) -> Result<()> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    eprintln!("demo: cargo includeos run --release -p {port}:80, in {WEB}");
    let mut run = Command::new(tool);
    run.args(["includeos", "run", "--release", "--timeout", "120", "-p", &format!("{port}:80")]);
    run.current_dir(repo::root().join(WEB));
    let mut client: Option<JoinHandle<Result<String>>> = None;
    watch(&mut run, |line| {
        if line.starts_with(READY) && client.is_none() {
            client = Some(thread::spawn(move || {
                let page = fetch_patiently(port, "/")?;
                fetch(port, "/stop")?;
                Ok(page)
            }));
        }
    })?;
    let client = client.with_context(|| format!("the server ended without saying {READY:?}"))?;
    let page = client.join().expect("the client does not panic")?;
    eprintln!("demo: http://127.0.0.1:{port}/ says: {}", page.trim_end());
    Ok(())
}

/// Runs a command to its good end and lets `look` see its lines.
fn watch(run: &mut Command, look: impl FnMut(&str)) -> Result<()> {
    let ok = ui::run_watched(run, look).context("the tool could not be started")?;
    if !ok {
        bail!("the demonstration failed, see above");
    }
    Ok(())
}

/// Fetches a page as soon as the image has an address.
fn fetch_patiently(port: u16, path: &str) -> Result<String> {
    let started = Instant::now();
    loop {
        // QEMU takes the connection before the image has its address, and tries again only after seconds.
        match fetch_within(port, path, Duration::from_secs(1)) {
            Ok(page) => return Ok(page),
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The body of a page.
fn fetch(port: u16, path: &str) -> Result<String> {
    fetch_within(port, path, PATIENCE)
}

fn fetch_within(port: u16, path: &str, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(patience))?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: image\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the image closed the connection")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "the image answered {head:?}");
    Ok(body.to_owned())
}
