//! `bulk sends|receives ADDRESS OCTETS`: moves so many octets over one connection, 64 KiB at a time. A peer that gets them says so with
//! one octet.

use std::io::{Read, Write};
use std::net::TcpStream;

fn main() -> std::io::Result<()> {
    let args: Vec<_> = std::env::args().collect();
    let [_, direction, address, octets] = args.as_slice() else {
        panic!("usage: bulk sends|receives ADDRESS OCTETS");
    };
    let mut left: usize = octets.parse().expect("a number of octets");
    let mut buffer = vec![7; 64 * 1024];
    let mut stream = TcpStream::connect(address)?;
    if direction == "sends" {
        while left > 0 {
            let len = left.min(buffer.len());
            stream.write_all(&buffer[..len])?;
            left -= len;
        }
        stream.read_exact(&mut buffer[..1])?;
    } else {
        while left > 0 {
            let most = left.min(buffer.len());
            let len = stream.read(&mut buffer[..most])?;
            assert!(len > 0, "{left} octets are missing");
            left -= len;
        }
    }
    println!("done");
    Ok(())
}
