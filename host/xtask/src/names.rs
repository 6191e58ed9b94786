//! A world of its own for `demo`: a name server that knows one name, and a web server behind it.
//!
//! QEMU's user network hands questions for names to the host's name server, which in a namespace of our own is ours.

use crate::{namespace, repo, setup, ui};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

/// The client, a Cargo project of its own that knows nothing of this one.
pub const CLIENT: &str = "examples/fetch";
/// The one name, and its address: QEMU's for the host.
const NAME: &str = "server.example";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const PAGE: &str = "A page of the host's.\n";

/// Runs the client as an image in that world; where this machine allows none, without the name.
pub fn show() -> Result<()> {
    setup::ensure_commands(&[("ip", "iproute2")])?;
    let run = |flag: &str| -> Result<bool> {
        let status = namespace::command(["demo", flag].map(OsString::from))?.status();
        Ok(status.context("unshare (package util-linux)")?.success())
    };
    if run("--try-inside")? {
        ensure!(run("--inside")?, "the client did not resolve {NAME} and fetch its page, see above");
        println!("demo: {CLIENT} booted as a virtual machine, resolved a name, and fetched a page");
        return Ok(());
    }
    let pages = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = pages.local_addr()?.port();
    thread::spawn(move || serve_pages(&pages));
    let said = fetch(&format!("http://{ADDRESS}:{port}/page"))?;
    ensure!(said.ends_with(PAGE), "the page is not the host's");
    println!(
        "demo: {CLIENT} booted as a virtual machine and fetched a page; NO name was resolved, as this machine lets nobody \
         make namespaces"
    );
    Ok(())
}

/// In the namespace: makes it such that names are asked for here.
pub fn enter() -> Result<()> {
    namespace::ip("link set lo up")?;
    let resolver = repo::target_dir().join("demo-resolv.conf");
    fs::write(&resolver, "nameserver 127.0.0.1\n")?;
    let mut mount = Command::new("mount");
    repo::output(mount.arg("--bind").arg(&resolver).arg(fs::canonicalize("/etc/resolv.conf")?)).map(drop)
}

/// In the namespace: serves, and runs the client.
pub fn inside() -> Result<()> {
    enter()?;
    let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).context("the name server's port")?;
    let pages = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = pages.local_addr()?.port();
    // They end with the process.
    thread::spawn(move || serve_names(&names));
    thread::spawn(move || serve_pages(&pages));
    let said = fetch(&format!("http://{NAME}:{port}/page"))?;
    ensure!(said.contains(&format!("{NAME} is [{ADDRESS}:{port}]")), "the name was not resolved");
    ensure!(said.ends_with(PAGE), "the page is not the host's");
    Ok(())
}

fn fetch(url: &str) -> Result<String> {
    eprintln!("demo: cargo includeos run --release -- {url}, in {CLIENT}");
    let mut run = Command::new(repo::target_dir().join("release/cargo-includeos"));
    run.args(["includeos", "run", "--release", "--timeout", "120", "--", url]);
    let mut said = String::new();
    let ok = ui::run_watched(run.current_dir(repo::root().join(CLIENT)), |line| said.push_str(line))?;
    ensure!(ok, "the client failed, see above");
    Ok(said)
}

fn serve_names(socket: &UdpSocket) {
    let mut packet = [0; 1500];
    while let Ok((len, from)) = socket.recv_from(&mut packet) {
        if let Some(answer) = answer(&packet[..len]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to a question of one name (RFC 1035 § 4.1): its address, or that there is no such name or record.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut name = Vec::new();
    let mut at = HEADER;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(query.get(at..at + len)?).to_ascii_lowercase());
        at += len;
    }
    let kind = u16::from_be_bytes(*query.get(at..)?.first_chunk()?);
    let question = query.get(HEADER..at + 4)?;
    let known = name.join(".") == NAME;
    let has_address = known && kind == 1;
    let mut answer = query.get(..2)?.to_vec();
    // A response, with recursion; 3: there is no such name.
    answer.extend([0x81, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if has_address {
        // The name is at offset 12; type A, class IN, 60 seconds, 4 octets.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some(answer)
}

fn serve_pages(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut request = Vec::new();
        let mut part = [0; 2048];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
                _ => break,
            }
        }
        if request.starts_with(b"GET /page ") {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn one_name_is_known() {
        let known = answer(&query("Server.Example", 1)).unwrap();
        assert_eq!(
            (&known[..4], known[7], &known[known.len() - 4..]),
            (&[7, 9, 0x81, 0x80][..], 1, &[10, 0, 2, 2][..])
        );
        let other_kind = answer(&query(NAME, 28)).unwrap();
        assert_eq!((other_kind[3], other_kind[7]), (0x80, 0));
        assert_eq!(answer(&query("other.example", 1)).unwrap()[3], 0x83);
        let whole = query(NAME, 1);
        assert!((0..whole.len()).all(|len| answer(&whole[..len]).is_none()));
    }
}
