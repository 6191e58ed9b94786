//! [`Config`]: how a stack is set up, as it stands on a command line.
//!
//! ```text
//! net.eth0=10.0.0.2/24,gw=10.0.0.1,dns=9.9.9.9,dns=1.1.1.1,mtu=1400
//! net.eth0.100=dhcp
//! net.hostname=web1 net.forward=on
//! ```
//!
//! A word is `net.NAME=VALUES`; NAME is an interface (`eth0` is the first device) or, with a number behind it, a VLAN of
//! one. VALUES are separated by commas: addresses with prefix length, `dhcp`, and settings with a name. Every error
//! names the word and what is wrong.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

use wire::vlan::VlanId;

use crate::Ipv4Cidr;
use crate::acd::ProbeTiming;
use crate::iface::{MAX_ADDRESSES, MIN_MTU};

/// What words of the command line begin with that are for the network.
pub const PREFIX: &str = "net.";

/// How a stack is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `net.hostname=`: this host's name. `None`: the image's.
    pub host_name: Option<String>,
    /// `net.forward=on|off`: packets for other hosts are sent on.
    pub forwarding: bool,
    /// The interfaces, in the order in which they were named.
    pub interfaces: Vec<InterfaceConfig>,
}

/// How an interface is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// The device's name: `eth0`.
    pub device: String,
    /// The VLAN: 100 for `eth0.100`.
    pub vlan: Option<VlanId>,
    /// `dhcp`: the rest comes from a server.
    pub dhcp: bool,
    /// Addresses with their networks.
    pub addresses: Vec<Ipv4Cidr>,
    /// `gw=`: the default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// `dns=`: name servers, best first. With `dhcp` they stand before the server's.
    pub name_servers: Vec<Ipv4Addr>,
    /// `mtu=`: most octets of a packet.
    pub mtu: Option<u16>,
    /// `probe=off|fast|full`: how addresses are probed before they are used. Default: `fast` with `dhcp`, else `off`.
    pub probe: Option<ProbeTiming>,
}

/// Most name servers of an interface.
const MAX_NAME_SERVERS: usize = 4;

/// A word that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The whole word.
    pub word: String,
    /// The part of it that is at fault.
    pub part: String,
    /// What would have been right, or why it has no effect.
    pub reason: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network: \"{}\": \"{}\": {}", self.word, self.part, self.reason)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Takes one word. `Ok(false)`: it is not for the network.
    pub fn set(&mut self, word: &str) -> Result<bool, ConfigError> {
        let Some(setting) = word.strip_prefix(PREFIX) else { return Ok(false) };
        let wrong = |part: &str, reason| ConfigError { word: word.to_owned(), part: part.to_owned(), reason };
        let (name, value) =
            setting.split_once('=').ok_or_else(|| wrong(setting, "expected net.NAME=VALUE"))?;
        match name {
            "hostname" if self.host_name.is_some() => return Err(wrong(name, "stands twice")),
            "hostname" if is_host_name(value) => self.host_name = Some(value.to_owned()),
            "hostname" => {
                return Err(wrong(
                    value,
                    "expected a name of letters, digits, hyphens and dots, 1 to 253 octets",
                ));
            }
            "forward" => {
                self.forwarding = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(wrong(value, "expected net.forward=on or off")),
                };
            }
            _ => {
                let interface =
                    InterfaceConfig::parse(name, value).map_err(|(part, reason)| wrong(part, reason))?;
                let same = |known: &InterfaceConfig| {
                    (&known.device, known.vlan) == (&interface.device, interface.vlan)
                };
                if self.interfaces.iter().any(same) {
                    return Err(wrong(name, "stands twice"));
                }
                self.interfaces.push(interface);
            }
        }
        Ok(true)
    }
}

impl InterfaceConfig {
    /// Reads `NAME` and `VALUES`. The error is the part that is wrong, and why.
    fn parse<'a>(name: &'a str, values: &'a str) -> Result<Self, (&'a str, &'static str)> {
        let (device, vlan) = match name.split_once('.') {
            None => (name, None),
            Some((device, number)) => {
                let id = number.parse().ok().and_then(VlanId::new);
                (device, Some(id.ok_or((number, "expected a VLAN, 1 to 4094"))?))
            }
        };
        if !is_device_name(device) {
            return Err((name, "no such setting: expected an interface such as eth0, hostname or forward"));
        }
        let mut config = Self {
            device: device.to_owned(),
            vlan,
            dhcp: false,
            addresses: Vec::new(),
            gateway: None,
            name_servers: Vec::new(),
            mtu: None,
            probe: None,
        };
        for part in values.split(',') {
            config.set(part).map_err(|reason| (part, reason))?;
        }
        config.check().map_err(|reason| (values, reason))?;
        Ok(config)
    }

    fn set(&mut self, part: &str) -> Result<(), &'static str> {
        let Some((name, value)) = part.split_once('=') else {
            if part == "dhcp" {
                return if core::mem::replace(&mut self.dhcp, true) { Err("stands twice") } else { Ok(()) };
            }
            let cidr: Ipv4Cidr =
                part.parse().map_err(|_| "expected dhcp, an address such as 10.0.0.2/24, or NAME=VALUE")?;
            if !crate::stack::is_host(cidr.address()) || cidr.broadcast() == Some(cidr.address()) {
                return Err("is not the address of one host");
            }
            if cidr.prefix_len() <= 30 && cidr.network() == cidr {
                return Err("is the address of the network, not of a host");
            }
            if self.addresses.iter().any(|known| known.address() == cidr.address()) {
                return Err("stands twice");
            }
            if self.addresses.len() >= MAX_ADDRESSES {
                return Err("too many addresses: 16 is the most");
            }
            self.addresses.push(cidr);
            return Ok(());
        };
        match name {
            "gw" => {
                let address = host(value)?;
                once(&mut self.gateway, address)
            }
            "dns" => {
                let address = host(value)?;
                if self.name_servers.contains(&address) {
                    return Err("stands twice");
                }
                if self.name_servers.len() >= MAX_NAME_SERVERS {
                    return Err("too many name servers: 4 is the most");
                }
                self.name_servers.push(address);
                Ok(())
            }
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= MIN_MTU);
                once(&mut self.mtu, mtu.ok_or("expected octets, 68 to 65535")?)
            }
            "probe" => once(
                &mut self.probe,
                match value {
                    "off" => ProbeTiming::NONE,
                    "fast" => ProbeTiming::FAST,
                    "full" => ProbeTiming::STANDARD,
                    _ => return Err("expected probe=off, fast or full"),
                },
            ),
            _ => Err("no such setting: expected gw, dns, mtu or probe"),
        }
    }

    /// What makes no sense together.
    fn check(&self) -> Result<(), &'static str> {
        if !self.dhcp && self.addresses.is_empty() {
            return Err("neither an address nor dhcp");
        }
        let Some(gateway) = self.gateway else { return Ok(()) };
        if self.dhcp {
            return Err("gw has no effect with dhcp, which brings its own");
        }
        if self.addresses.iter().any(|known| known.address() == gateway) {
            return Err("gw is the interface's own address");
        }
        if !self.addresses.iter().any(|known| known.contains(gateway)) {
            return Err("gw is in the network of none of the addresses");
        }
        Ok(())
    }

    /// The interface's name: `eth0`, `eth0.100`.
    pub fn name(&self) -> String {
        match self.vlan {
            Some(vlan) => alloc::format!("{}.{}", self.device, vlan.get()),
            None => self.device.clone(),
        }
    }

    /// How addresses are probed.
    pub fn probe_timing(&self) -> ProbeTiming {
        let default = if self.dhcp { ProbeTiming::FAST } else { ProbeTiming::NONE };
        self.probe.unwrap_or(default)
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("stands twice"),
    }
}

fn host(text: &str) -> Result<Ipv4Addr, &'static str> {
    let address = text.parse().ok().filter(|address| crate::stack::is_host(*address));
    address.ok_or("expected the address of one host, such as 10.0.0.1")
}

/// Letters, then a number, as Linux calls devices.
fn is_device_name(name: &str) -> bool {
    let number = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
    number.len() < name.len()
        && !number.is_empty()
        && name.len() <= 15
        && number.bytes().all(|octet| octet.is_ascii_digit())
}

/// RFC 1123 § 2.1.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn parse(words: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for word in words.split(' ') {
            assert!(config.set(word)?, "{word}");
        }
        Ok(config)
    }

    #[test]
    fn reads_what_is_said() {
        let config = parse(
            "net.eth0=10.0.0.2/24,gw=10.0.0.1,dns=9.9.9.9,dns=1.1.1.1,mtu=1400,192.0.2.1/32 net.eth1.100=dhcp,probe=full \
             net.hostname=web-1.example net.forward=on",
        )
        .unwrap();
        assert_eq!((config.host_name.as_deref(), config.forwarding), (Some("web-1.example"), true));
        let [first, second] = &config.interfaces[..] else { panic!("{config:?}") };
        assert_eq!((first.name().as_str(), first.dhcp, first.mtu), ("eth0", false, Some(1400)));
        assert_eq!(first.addresses, ["10.0.0.2/24".parse().unwrap(), "192.0.2.1/32".parse().unwrap()]);
        assert_eq!(first.gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(first.name_servers, [Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)]);
        assert_eq!(first.probe_timing(), ProbeTiming::NONE);
        assert_eq!((second.name().as_str(), second.dhcp), ("eth1.100", true));
        assert_eq!(second.probe_timing(), ProbeTiming::STANDARD);
        assert_eq!(Config::default().set("env=A=b"), Ok(false));
    }

    #[test]
    fn no_text_panics() {
        let mut rng = crate::rng::Rng::new(crate::Key([1, 2]));
        let parts = [
            "net.",
            "eth0",
            ".5",
            "=",
            ",",
            "dhcp",
            "10.0.0.2/24",
            "gw=",
            "mtu=",
            "9999999999",
            "dns=",
            "-",
            "ü",
            "hostname",
            "probe=",
        ];
        for _ in 0..20_000 {
            let word: String =
                (0..rng.below(9)).map(|_| parts[rng.below(parts.len() as u32) as usize]).collect();
            let _ = Config::default().set(&word);
            let _ = Config::default().set(&alloc::format!("net.eth0={word}"));
        }
    }

    #[test]
    fn errors_name_the_part_and_the_reason() {
        for (words, part, reason) in [
            ("net.eth0", "eth0", "expected net.NAME=VALUE"),
            ("net.eth0=", "", "expected dhcp, an address"),
            ("net.eth0=10.0.0.2", "10.0.0.2", "expected dhcp, an address"),
            ("net.eth0=10.0.0.2/33", "10.0.0.2/33", "expected dhcp, an address"),
            ("net.eth0=10.0.0.255/24", "10.0.0.255/24", "not the address of one host"),
            ("net.eth0=10.0.0.0/24", "10.0.0.0/24", "the address of the network"),
            ("net.eth0=224.0.0.1/24", "224.0.0.1/24", "not the address of one host"),
            ("net.eth0=10.0.0.2/24,gw=10.0.1.1", "10.0.0.2/24,gw=10.0.1.1", "gw is in the network of none"),
            ("net.eth0=10.0.0.2/24,gw=10.0.0.2", "10.0.0.2/24,gw=10.0.0.2", "own address"),
            ("net.eth0=dhcp,gw=10.0.0.2", "dhcp,gw=10.0.0.2", "no effect"),
            ("net.eth0=dhcp,dhcp", "dhcp", "twice"),
            ("net.eth0=dhcp,mtu=67", "mtu=67", "68 to 65535"),
            ("net.eth0=dhcp,mtu=1400,mtu=1400", "mtu=1400", "twice"),
            ("net.eth0=dhcp,dns=local", "dns=local", "address of one host"),
            ("net.eth0=dhcp,speed=1", "speed=1", "no such setting"),
            ("net.eth0=mtu=1400", "mtu=1400", "neither"),
            ("net.eth0.0=dhcp", "0", "VLAN"),
            ("net.eth0.4095=dhcp", "4095", "VLAN"),
            ("net.eth=dhcp", "eth", "no such setting"),
            ("net.=dhcp", "", "no such setting"),
            ("net.eth0=dhcp net.eth0=dhcp", "eth0", "twice"),
            ("net.hostname=-a", "-a", "expected a name"),
            ("net.forward=yes", "yes", "on or off"),
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.part, part, "{words}");
            assert!(error.reason.contains(reason), "{words}: {error}");
            assert!(error.to_string().contains(&error.word));
        }
    }
}
