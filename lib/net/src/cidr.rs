//! [`Ipv4Cidr`]: an address with the length of its network's prefix.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

/// An address and its prefix length, `0..=32` (RFC 4632). Written `10.0.0.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Cidr {
    address: Ipv4Addr,
    prefix_len: u8,
}

impl Ipv4Cidr {
    /// `None`: the prefix is longer than 32 bits.
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Option<Self> {
        if prefix_len > 32 { None } else { Some(Self { address, prefix_len }) }
    }

    /// The address.
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Bits of the network's part.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    const fn mask(self) -> u32 {
        match self.prefix_len {
            0 => 0,
            len => u32::MAX << (32 - len),
        }
    }

    /// The network's mask.
    pub const fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// The network: the bits behind the prefix are 0.
    pub const fn network(self) -> Self {
        Self { address: Ipv4Addr::from_bits(self.address.to_bits() & self.mask()), ..self }
    }

    /// Whether an address is in the network.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.address.to_bits() & self.mask()
    }

    /// The network's broadcast address. `None`: networks of one or two addresses have none (RFC 3021).
    pub const fn broadcast(self) -> Option<Ipv4Addr> {
        if self.prefix_len > 30 {
            return None;
        }
        Some(Ipv4Addr::from_bits(self.address.to_bits() | !self.mask()))
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// The text is not `address/length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseCidrError;

impl FromStr for Ipv4Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let (address, len) = text.split_once('/').ok_or(ParseCidrError)?;
        let address = address.parse().map_err(|_| ParseCidrError)?;
        Self::new(address, len.parse().map_err(|_| ParseCidrError)?).ok_or(ParseCidrError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn networks() {
        let cidr: Ipv4Cidr = "10.1.2.3/22".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "10.1.0.0/22");
        assert_eq!(cidr.broadcast(), Some(Ipv4Addr::new(10, 1, 3, 255)));
        assert!(cidr.contains(Ipv4Addr::new(10, 1, 3, 1)) && !cidr.contains(Ipv4Addr::new(10, 1, 4, 1)));
        assert!("1.2.3.4/0".parse::<Ipv4Cidr>().unwrap().contains(Ipv4Addr::BROADCAST));
        assert_eq!("1.2.3.4/31".parse::<Ipv4Cidr>().unwrap().broadcast(), None);
        for wrong in ["1.2.3.4", "1.2.3.4/33", "1.2.3/24", "1.2.3.4/", "1.2.3.4/-1"] {
            assert_eq!(wrong.parse::<Ipv4Cidr>(), Err(ParseCidrError), "{wrong}");
        }
    }
}
