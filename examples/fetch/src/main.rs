//! A web client on `std::net`. Nothing in it knows of IncludeOS.
//!
//! `fetch URL`: resolves the name, connects, prints what the page says.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("expected a URL, as http://example.com/")?;
    let rest = url.strip_prefix("http://").ok_or("the URL does not begin with http://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse()?),
        None => (authority, 80),
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    println!("{host} is {addresses:?}");
    let mut stream = TcpStream::connect(&*addresses)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer ends within its head")?;
    println!("{}", head.lines().next().unwrap_or_default());
    print!("{body}");
    Ok(())
}
