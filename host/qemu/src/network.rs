//! The network interface of a machine.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::str::FromStr;

use abi::cmdline::VirtioMmio;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::error::Error;
use crate::machine::Machine;

/// What the machine's network interface is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// There is no interface.
    #[default]
    None,
    /// A network inside of QEMU, with a DHCP server and a way out; needs no rights. Ports of the host lead to the machine.
    User(Vec<Forward>),
    /// A tap interface of the host.
    Tap(String),
}

/// A port of the host that leads to one of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's address that is listened on.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The machine's port.
    pub guest: u16,
}

/// What a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// QEMU's name for the interface's host side.
const NETDEV: &str = "net0";
/// Where QEMU's microvm has its first virtio-mmio place, and its line, without ACPI (`hw/i386/microvm.c`: `VIRTIO_MMIO_BASE`,
/// `virtio_irq_base`). The others follow at steps of 512 octets and one line.
const MICROVM_PLACE: VirtioMmio = VirtioMmio { len: 512, base: 0xfeb0_0000, irq: 5 };

/// The interface as QEMU gets it.
pub(crate) struct Plan<'a> {
    pub(crate) network: &'a Network,
    pub(crate) machine: Machine,
    pub(crate) mac: Option<Mac>,
    pub(crate) legacy: bool,
    pub(crate) pcap: Option<&'a Path>,
}

impl Plan<'_> {
    /// The arguments for QEMU.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let netdev = match self.network {
            Network::None => return Vec::new(),
            Network::User(forwards) => {
                let forwards = forwards.iter().map(|forward| format!(",hostfwd={}", forward.rule()));
                format!("user,id={NETDEV}{}", forwards.collect::<String>())
            }
            Network::Tap(name) => format!("tap,id={NETDEV},ifname={},script=no,downscript=no", quoted(name)),
        };
        let mut device = match self.machine {
            // Without the ROM by which firmware would boot from it: it costs time.
            Machine::Q35 | Machine::Pc => {
                format!("virtio-net-pci,disable-legacy=on,romfile=,netdev={NETDEV}")
            }
            Machine::Microvm => format!("virtio-net-device,bus=virtio-mmio-bus.0,netdev={NETDEV}"),
        };
        if let Some(mac) = self.mac {
            device.push_str(&format!(",mac={mac}"));
        }
        let mut args = vec!["-netdev".to_owned(), netdev, "-device".to_owned(), device];
        if self.machine == Machine::Microvm && !self.legacy {
            // QEMU's places are from before version 1 unless told otherwise.
            args.extend(["-global".to_owned(), "virtio-mmio.force-legacy=off".to_owned()]);
        }
        if let Some(file) = self.pcap {
            let file = quoted(&file.to_string_lossy());
            args.extend(["-object".to_owned(), format!("filter-dump,id=pcap,netdev={NETDEV},file={file}")]);
        }
        args
    }

    /// What the image has to be told, as no table of the machine says so.
    pub(crate) fn virtio_mmio(&self) -> Option<VirtioMmio> {
        (self.machine == Machine::Microvm && *self.network != Network::None).then_some(MICROVM_PLACE)
    }

    /// Looks for what would have QEMU refuse to start.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.network {
            Network::None => Ok(()),
            Network::User(forwards) => {
                forwards.iter().try_for_each(|forward| forward.check().map_err(|e| Error::Port(*forward, e)))
            }
            Network::Tap(name) if !is_interface(name) => Err(Error::NoTap(name.clone())),
            Network::Tap(_) => Ok(()),
        }
    }
}

/// Whether there is such an interface in this process's network namespace. (/sys may show another one's.)
fn is_interface(name: &str) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    socket.and_then(|socket| name_to_index(socket, name)).is_ok()
}

/// A value of a QEMU option: a comma is written twice.
fn quoted(value: &str) -> String {
    value.replace(',', ",,")
}

impl Forward {
    /// As QEMU has it.
    fn rule(&self) -> String {
        let Self { protocol, address, host, guest } = self;
        format!("{protocol}:{address}:{host}-:{guest}")
    }

    /// Listens on the host's port for a moment.
    fn check(&self) -> io::Result<()> {
        let address = SocketAddr::new(IpAddr::V4(self.address), self.host);
        match self.protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, host, guest } = self;
        write!(f, "{address}:{host}:{guest}/{protocol}")
    }
}

/// `8080:80`, `127.0.0.1:8080:80`, `5353:53/udp`, as docker has it; without an address the loopback interface's.
impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(format!("{other:?} is no protocol; there are tcp and udp")),
        };
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("{text:?} is no port; ports are numbers from 1 to 65535")),
        };
        let parts: Vec<_> = ports.split(':').collect();
        let (address, host, guest) = match parts[..] {
            [host, guest] => (Ipv4Addr::LOCALHOST, host, guest),
            [address, host, guest] => {
                let address = address.parse().map_err(|_| format!("{address:?} is no IPv4 address"))?;
                (address, host, guest)
            }
            _ => return Err("expected [ADDRESS:]HOST-PORT:IMAGE-PORT[/udp], for instance 8080:80".to_owned()),
        };
        Ok(Self { protocol, address, host: port(host)?, guest: port(guest)? })
    }
}

impl Mac {
    /// An address of the kind that QEMU gives to its machines, the same for the same number.
    pub fn of_qemu(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        Self([0x52, 0x54, 0, a, b, c])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// `52:54:00:12:34:56`.
impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octet = |part: &str| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok())?;
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        let octets = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
        match octets {
            Some(octets) if octets[0] & 1 == 0 => Ok(Self(octets)),
            Some(_) => Err("the address of a group is no interface's".to_owned()),
            None => Err("expected an Ethernet address as 52:54:00:12:34:56".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(network: &Network, machine: Machine) -> Plan<'_> {
        Plan { network, machine, mac: None, legacy: false, pcap: None }
    }

    #[test]
    fn ports_as_docker_has_them() {
        let forward = |text: &str| text.parse::<Forward>().map(|forward| forward.to_string());
        assert_eq!(forward("8080:80"), Ok("127.0.0.1:8080:80/tcp".to_owned()));
        assert_eq!(forward("5353:53/udp"), Ok("127.0.0.1:5353:53/udp".to_owned()));
        assert_eq!(forward("0.0.0.0:1:65535/tcp"), Ok("0.0.0.0:1:65535/tcp".to_owned()));
        for (wrong, part) in [
            ("80", "for instance 8080:80"),
            ("", "for instance 8080:80"),
            ("0:80", "\"0\" is no port"),
            ("8080:65536", "\"65536\" is no port"),
            ("8080:http", "\"http\" is no port"),
            ("8080:80/sctp", "\"sctp\" is no protocol"),
            ("localhost:8080:80", "\"localhost\" is no IPv4 address"),
            ("1:2:3:4", "for instance 8080:80"),
        ] {
            let error = forward(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn addresses() {
        let mac = |text: &str| text.parse::<Mac>().map(|mac| mac.to_string());
        assert_eq!(mac("52:54:00:AB:cd:0f"), Ok("52:54:00:ab:cd:0f".to_owned()));
        for wrong in ["", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:5g", "01:00:5e:00:00:01"] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_machine_gets_its_kind_of_device() {
        let network = Network::User(vec!["8080:80".parse().unwrap(), "5353:53/udp".parse().unwrap()]);
        let args = plan(&network, Machine::Q35).arguments();
        assert_eq!(args[1], "user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:5353-:53");
        assert!(args[3].starts_with("virtio-net-pci,disable-legacy=on"));
        let mut plan = Plan {
            mac: Some(Mac::of_qemu(0x12_3456)),
            pcap: Some(Path::new("/tmp/a,b.pcap")),
            ..plan(&network, Machine::Microvm)
        };
        let args = plan.arguments();
        assert!(args[3].starts_with("virtio-net-device,") && args[3].ends_with("mac=52:54:00:12:34:56"));
        assert!(args.contains(&"virtio-mmio.force-legacy=off".to_owned()));
        assert!(args.last().unwrap().ends_with(",netdev=net0,file=/tmp/a,,b.pcap"));
        assert_eq!(plan.virtio_mmio(), Some(MICROVM_PLACE));
        plan.legacy = true;
        assert!(!plan.arguments().contains(&"-global".to_owned()));
    }

    #[test]
    fn without_a_network_there_is_nothing() {
        let plan = plan(&Network::None, Machine::Microvm);
        assert_eq!((plan.arguments(), plan.virtio_mmio()), (Vec::new(), None));
        assert!(plan.check().is_ok());
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let forward = Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host, guest: 80 };
        let network = Network::User(vec![forward]);
        let error = plan(&network, Machine::Q35).check().unwrap_err().to_string();
        assert!(error.contains(&format!("port {host}")) && error.contains("in use"), "{error}");
    }

    #[test]
    fn a_tap_that_is_not_there_is_named_with_the_remedy() {
        let network = Network::Tap("no-such-tap".to_owned());
        let error = plan(&network, Machine::Q35).check().unwrap_err().to_string();
        assert!(error.contains("no-such-tap") && error.contains("ip tuntap add"), "{error}");
    }
}
