//! The network: sockets inside one machine, and a web server that is fetched from by the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use boot_tests::{Boot, Image, Machine, linux};
use qemu::{Forward, Network, Protocol};

/// How long the host waits for an answer: far longer than it takes, and not for ever.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn sockets_inside_one_machine() {
    linux::same(&Image::program("loopback"), &[], &[], &[]);
}

#[test]
fn descriptors() {
    linux::same(&Image::program("descriptors"), &[], &[], &[]);
}

#[test]
fn local_sockets() {
    linux::same(&Image::program("unix"), &[], &[], &[]);
}

#[test]
fn pairs_of_sockets() {
    linux::same(&Image::program("pairs"), &[], &[], &[]);
}

/// The host fetches from an unmodified server, over user networking, on every machine type, with one CPU and with several.
#[test]
fn a_web_server_is_fetched_from() {
    let image = Image::example("web");
    for (machine, cpus) in [(Machine::Q35, 1), (Machine::Microvm, 1), (Machine::Pc, 2), (Machine::Microvm, 4)]
    {
        let port = free_port();
        let forward =
            Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host: port, guest: 80 };
        let boot = Boot::new(&image)
            .machine(machine)
            .cpus(cpus)
            .network(Network::User(vec![forward]))
            .args(&["0.0.0.0:80"]);
        let (told, listening) = mpsc::channel();
        let client = std::thread::spawn(move || {
            listening.recv_timeout(PATIENCE).expect("the server listens");
            fetch_all(port)
        });
        let ended = boot.run_watched(|console| {
            if console.contains("listening") {
                let _ = told.send(());
            }
        });
        let bodies = client.join().expect("the client is served");
        assert_eq!(ended.outcome, qemu::Outcome::Exited(0), "{machine} {cpus} CPUs:\n{}", ended.console);
        assert!(bodies[0].starts_with("Hello from an IncludeOS image!"), "{bodies:?}");
        assert_eq!(bodies.len(), 22);
        assert_eq!(bodies[21], "Good bye.\n");
    }
}

/// An image connects to the host as soon as it runs, sends, and ends: all of it arrives.
#[test]
fn what_was_sent_arrives_after_the_end() {
    const OCTETS: usize = 300_000;
    let image = Image::program("upload");
    for (machine, cpus) in [(Machine::Q35, 1), (Machine::Microvm, 2)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the image connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut octets = Vec::new();
            stream.read_to_end(&mut octets).map(|_| octets)
        });
        // QEMU's user network has the host at 10.0.2.2.
        Boot::new(&image)
            .machine(machine)
            .cpus(cpus)
            .network(Network::User(Vec::new()))
            .args(&[&format!("10.0.2.2:{port}"), &OCTETS.to_string()])
            .expect(3);
        let octets = server.join().expect("no panic").expect("the connection is not reset");
        assert_eq!(octets.len(), OCTETS, "{machine}");
        assert!(octets.iter().enumerate().all(|(i, octet)| *octet == (i % 251) as u8));
    }
}

/// The cable is pulled before DHCP has answered and while a connection stands, and put back: both go on.
#[test]
fn the_cable_is_pulled_and_put_back() {
    let image = Image::example("web");
    let (port, monitor) = (free_port(), free_port());
    let forward = Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host: port, guest: 80 };
    let boot = Boot::new(&image)
        .network(Network::User(vec![forward]))
        .settings("log=info")
        .qemu(&["-monitor", &format!("tcp:127.0.0.1:{monitor},server=on,wait=off")]);
    let console = Arc::new(Mutex::new(String::new()));
    let seen = console.clone();
    let client = std::thread::spawn(move || {
        let wait_for = |count: usize, text: &str| {
            let started = Instant::now();
            while console.lock().expect("nobody panics").matches(text).count() < count {
                assert!(started.elapsed() < PATIENCE, "{text:?} did not come");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(1, "eth0: 52:54");
        let mut monitor = TcpStream::connect((Ipv4Addr::LOCALHOST, monitor)).expect("QEMU listens");
        let mut set_link = |state: &str| writeln!(monitor, "set_link net0 {state}").expect("QEMU listens");
        set_link("off");
        wait_for(1, "the link is down");
        std::thread::sleep(Duration::from_secs(1));
        set_link("on");
        wait_for(1, "by DHCP");
        let mut first = connect(port);
        assert!(get(&mut first, "/").expect("an answer").starts_with("Hello"));
        set_link("off");
        wait_for(2, "the link is down");
        let request = std::thread::spawn(move || (get(&mut first, "/headers"), first));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!request.is_finished(), "nothing comes through");
        set_link("on");
        let (answer, mut first) = request.join().expect("no panic");
        assert!(answer.expect("an answer, late").starts_with("GET /headers"));
        assert_eq!(get(&mut first, "/stop").expect("an answer"), "Good bye.\n");
    });
    let ended = boot.run_watched(|console| console.clone_into(&mut seen.lock().expect("nobody panics")));
    client.join().unwrap_or_else(|_| panic!("the image's console:\n{}", ended.console));
    assert_eq!(ended.outcome, qemu::Outcome::Exited(0), "{}", ended.console);
}

/// On a network where nobody answers the program is told after some seconds, and ends.
#[test]
fn nobody_answers_dhcp() {
    let (local, remote) = (free_port(), free_port());
    let netdev = format!("socket,id=alone,udp=127.0.0.1:{remote},localaddr=127.0.0.1:{local}");
    let device = "virtio-net-pci,disable-legacy=on,romfile=,netdev=alone";
    let ended = Boot::new(&Image::program("upload"))
        .qemu(&["-netdev", &netdev, "-device", device])
        .args(&["10.0.2.2:80", "1"])
        .expect(1);
    assert!(ended.console.contains("Network is unreachable"), "{}", ended.console);
}

/// An address that somebody else has is not used, and that is said (RFC 5227).
#[test]
fn an_address_in_use_is_named() {
    // The host's, on QEMU's user network.
    let ended = Boot::new(&Image::program("loopback"))
        .network(Network::User(Vec::new()))
        .settings("net.eth0=10.0.2.2/24,probe=fast")
        .expect(0);
    assert!(ended.console.contains("10.0.2.2 is in use by"), "{}", ended.console);
}

/// A port of the host that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Fetches on one connection, on several at once, and then ends the server. Returns the bodies.
fn fetch_all(port: u16) -> Vec<String> {
    let mut bodies = Vec::new();
    // QEMU takes connections before the image has its address, and lets them go then.
    let mut first = loop {
        let mut stream = connect(port);
        // QEMU tries again only after seconds; a connection of our own is quicker.
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        match get(&mut stream, "/") {
            Ok(body) => {
                bodies.push(body);
                stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
                break stream;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    for _ in 0..10 {
        bodies.push(get(&mut first, "/headers").expect("an answer"));
    }
    let others: Vec<_> = (0..10).map(|_| std::thread::spawn(move || get_patiently(port))).collect();
    bodies.extend(others.into_iter().map(|other| other.join().expect("no panic")));
    bodies.push(get(&mut first, "/stop").expect("an answer"));
    bodies
}

/// Fetches on a connection of its own. QEMU listens at the forwarded port with a backlog of 1, so that the host's kernel resets
/// some of many connections that come at once.
fn get_patiently(port: u16) -> String {
    loop {
        match get(&mut connect(port), "/") {
            Ok(body) => return body,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("QEMU forwards");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    BufReader::new(stream)
}

/// One request.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> std::io::Result<String> {
    stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: image\r\n\r\n").as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    String::from_utf8(body).map_err(std::io::Error::other)
}
