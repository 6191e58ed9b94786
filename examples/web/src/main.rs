//! A web server on `std::net`, a thread for each connection. Nothing in it knows of IncludeOS.
//!
//! `web [ADDRESS]`: the address to listen at, 0.0.0.0:80 if none is given. `/` greets, `/headers` shows the request,
//! `/stop` ends the program.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

static SERVED: AtomicU64 = AtomicU64::new(0);

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:80".to_owned());
    let started = Instant::now();
    let listener = TcpListener::bind(&address)?;
    println!("listening at {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // A client that goes away is its own affair.
            let _ = serve(stream, started);
        });
    }
    Ok(())
}

/// Answers requests on one connection until the client closes it or asks to.
fn serve(stream: TcpStream, started: Instant) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut headers = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            headers.push_str(&line);
        }
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.split_whitespace().nth(1).unwrap_or("/");
        let (status, body) = match path {
            "/" => (
                "200 OK",
                format!(
                    "Hello from {}! Request {served}, up {:.3} s.\n",
                    place(),
                    started.elapsed().as_secs_f64()
                ),
            ),
            "/headers" => ("200 OK", format!("{request}{headers}")),
            "/stop" => ("200 OK", "Good bye.\n".to_owned()),
            _ => ("404 Not Found", "There is no such page.\n".to_owned()),
        };
        let close = headers.to_ascii_lowercase().contains("connection: close") || path == "/stop";
        let connection = if close { "close" } else { "keep-alive" };
        // In one write, so that it goes out as one segment.
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        writer.write_all(answer.as_bytes())?;
        if path == "/stop" {
            writer.shutdown(std::net::Shutdown::Write)?;
            // Until the client has it.
            let _ = reader.read_line(&mut String::new());
            std::process::exit(0);
        }
        if close {
            return Ok(());
        }
    }
}

fn place() -> &'static str {
    // The one process of an image has number 1.
    if std::process::id() == 1 { "an IncludeOS image" } else { "a Linux process" }
}
