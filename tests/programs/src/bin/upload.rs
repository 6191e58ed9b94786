//! `upload ADDRESS OCTETS`: sends so many octets and ends at once. What was sent must arrive all the same.

use std::io::Write;
use std::net::TcpStream;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().expect("usage: upload ADDRESS OCTETS");
    let octets: usize = args.next().and_then(|arg| arg.parse().ok()).expect("a number of octets");
    let mut stream = TcpStream::connect(address)?;
    let data: Vec<u8> = (0..octets).map(|i| (i % 251) as u8).collect();
    stream.write_all(&data)?;
    std::process::exit(3)
}
