//! DHCP for IPv4 (RFC 2131), its options (RFC 2132), long options (RFC 3396) and classless routes (RFC 3442).

use core::net::Ipv4Addr;

use crate::{List, MacAddr, Malformed, Port};

/// Where servers listen.
pub const SERVER_PORT: Port = Port(67);
/// Where clients listen.
pub const CLIENT_PORT: Port = Port(68);
/// Octets before the options.
pub const HEADER_LEN: usize = 240;
/// Most routers, name servers or time servers that are kept of a list.
pub const MAX_ADDRESSES: usize = 4;
/// Most classless routes that are kept.
pub const MAX_ROUTES: usize = 16;
/// Octets of the least message a client must be able to take (RFC 2131 § 2), and of what [`Repr::emit`] pads to.
/// Some relays drop shorter ones than BOOTP's.
pub const MIN_LEN: usize = 300;

const MAGIC: u32 = 0x6382_5363;
const BROADCAST_FLAG: u16 = 0x8000;

view! {
    /// A DHCP message.
    Packet {
        /// Request (1) or reply (2).
        operation, set_operation: u8 = 0;
        /// Kind of hardware: 1 is Ethernet.
        hardware_type, set_hardware_type: u8 = 1;
        /// Octets of a hardware address.
        hardware_len, set_hardware_len: u8 = 2;
        /// Relays passed.
        hops, set_hops: u8 = 3;
        /// The client's number for the exchange.
        xid, set_xid: u32 = 4;
        /// Seconds since the client began.
        secs, set_secs: u16 = 8;
        /// Bit 15: the reply is to be broadcast.
        flags, set_flags: u16 = 10;
        /// The client's address, if it has one and answers ARP for it.
        ciaddr, set_ciaddr: Ipv4Addr = 12;
        /// The address the client gets.
        yiaddr, set_yiaddr: Ipv4Addr = 16;
        /// The next server of a boot.
        siaddr, set_siaddr: Ipv4Addr = 20;
        /// The relay.
        giaddr, set_giaddr: Ipv4Addr = 24;
        /// The client's hardware address.
        chaddr, set_chaddr: MacAddr = 28;
        /// What tells DHCP from nothing: 0x63825363.
        magic, set_magic: u32 = 236;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps a UDP payload. `Ok`: no accessor panics. `Field`: the magic number is missing.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        let packet = Self { buffer };
        if packet.magic() != MAGIC {
            return Err(Malformed::Field(packet.magic()));
        }
        Ok(packet)
    }

    /// The options in the order in which they count: those of the options field, then of the fields `file` and
    /// `sname` where option 52 says that they hold some (RFC 2131 § 4.1). An item `Err` ends the walk.
    pub fn options(&self) -> DhcpOptions<'_> {
        let octets = self.buffer.as_ref();
        DhcpOptions {
            area: &octets[HEADER_LEN..],
            file: &octets[108..236],
            sname: &octets[44..108],
            overload: 0,
            areas_seen: 0,
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhcpOption<'a> {
    /// Its code.
    pub code: u8,
    /// Its value, at most 255 octets.
    pub value: &'a [u8],
}

/// See [`Packet::options`].
#[derive(Clone, Debug)]
pub struct DhcpOptions<'a> {
    area: &'a [u8],
    file: &'a [u8],
    sname: &'a [u8],
    /// Bit 0: `file` holds options. Bit 1: `sname` does. Only the options field can say so.
    overload: u8,
    /// Bits as in `overload`, and bit 2: the options field is done.
    areas_seen: u8,
}

impl<'a> Iterator for DhcpOptions<'a> {
    type Item = Result<DhcpOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.area {
                [option::PAD, ref rest @ ..] => self.area = rest,
                // The end option may be missing at the end of an area.
                [] | [option::END, ..] => {
                    self.areas_seen |= 4;
                    if self.overload & !self.areas_seen & 1 != 0 {
                        self.areas_seen |= 1;
                        self.area = self.file;
                    } else if self.overload & !self.areas_seen & 2 != 0 {
                        self.areas_seen |= 2;
                        self.area = self.sname;
                    } else {
                        self.area = &[];
                        return None;
                    }
                }
                [code, len, ref rest @ ..] if rest.len() >= usize::from(len) => {
                    let (value, rest) = rest.split_at(usize::from(len));
                    self.area = rest;
                    if code == option::OVERLOAD && self.areas_seen & 4 == 0 {
                        match *value {
                            [which @ 1..=3] => self.overload = which,
                            _ => return Some(self.fail(code)),
                        }
                    }
                    return Some(Ok(DhcpOption { code, value }));
                }
                [code, ..] => return Some(self.fail(code)),
            }
        }
    }
}

impl<'a> DhcpOptions<'a> {
    fn fail(&mut self, code: u8) -> Result<DhcpOption<'a>, Malformed> {
        self.area = &[];
        self.overload = 0;
        Err(Malformed::Option(code))
    }
}

/// Codes of the options used (RFC 2132, RFC 3442).
pub mod option {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DOMAIN_NAME_SERVER: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const INTERFACE_MTU: u8 = 26;
    pub const NTP_SERVERS: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const CLIENT_IDENTIFIER: u8 = 61;
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}

/// What a message says (RFC 2132 § 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Client looks for servers.
    Discover = 1,
    /// Server offers an address.
    Offer = 2,
    /// Client takes an offer, or keeps what it has.
    Request = 3,
    /// Client found the address in use.
    Decline = 4,
    /// Server agrees.
    Ack = 5,
    /// Server refuses.
    Nak = 6,
    /// Client gives the address back.
    Release = 7,
    /// Client has an address and wants the rest.
    Inform = 8,
}

impl MessageType {
    const ALL: [Self; 8] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
    ];
}

/// A classless route (RFC 3442).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network; bits behind the prefix are 0.
    pub network: Ipv4Addr,
    /// Prefix length, `0..=32`.
    pub prefix_len: u8,
    /// The way there; unspecified: on the link itself.
    pub router: Ipv4Addr,
}

/// Addresses of a list option.
pub type Addresses = List<Ipv4Addr, MAX_ADDRESSES>;

/// A message's meaning. Times are in seconds. Options that occur twice count once, the first; classless routes are
/// put together from their parts (RFC 3396).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a> {
    /// What the message says.
    pub message_type: MessageType,
    /// The client's number for the exchange.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The reply is to be broadcast.
    pub broadcast: bool,
    /// The client's address, if it has one.
    pub ciaddr: Ipv4Addr,
    /// The address the client gets.
    pub yiaddr: Ipv4Addr,
    /// The next server of a boot.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: MacAddr,
    /// The server that speaks or is spoken to.
    pub server_identifier: Option<Ipv4Addr>,
    /// The address the client wants.
    pub requested_address: Option<Ipv4Addr>,
    /// Length of the lease; `u32::MAX` is for ever.
    pub lease_time: Option<u32>,
    /// T1: when to renew.
    pub renewal_time: Option<u32>,
    /// T2: when to ask any server.
    pub rebinding_time: Option<u32>,
    /// Prefix length of the link's network, from the subnet mask.
    pub prefix_len: Option<u8>,
    /// Routers, best first.
    pub routers: Addresses,
    /// Name servers, best first.
    pub name_servers: Addresses,
    /// Time servers, best first.
    pub ntp_servers: Addresses,
    /// Classless routes; where there are any, `routers` do not count (RFC 3442).
    pub routes: List<Route, MAX_ROUTES>,
    /// MTU of the link in octets, at least 68.
    pub mtu: Option<u16>,
    /// Largest message the client takes, at least 576 octets.
    pub max_message_size: Option<u16>,
    /// The client's name.
    pub host_name: Option<&'a [u8]>,
    /// The domain in which names are looked up.
    pub domain_name: Option<&'a [u8]>,
    /// What the client is known by in place of its hardware address.
    pub client_identifier: Option<&'a [u8]>,
    /// Codes of the options the client wants.
    pub parameter_request_list: Option<&'a [u8]>,
}

impl<'a> Repr<'a> {
    /// A message without options.
    pub const fn new(message_type: MessageType, xid: u32, chaddr: MacAddr) -> Self {
        const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
        let no_addresses = List::new(NOBODY);
        Self {
            message_type,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: NOBODY,
            yiaddr: NOBODY,
            siaddr: NOBODY,
            giaddr: NOBODY,
            chaddr,
            server_identifier: None,
            requested_address: None,
            lease_time: None,
            renewal_time: None,
            rebinding_time: None,
            prefix_len: None,
            routers: no_addresses,
            name_servers: no_addresses,
            ntp_servers: no_addresses,
            routes: List::new(Route { network: NOBODY, prefix_len: 0, router: NOBODY }),
            mtu: None,
            max_message_size: None,
            host_name: None,
            domain_name: None,
            client_identifier: None,
            parameter_request_list: None,
        }
    }

    /// Whether servers say this, not clients.
    fn is_reply(&self) -> bool {
        matches!(self.message_type, MessageType::Offer | MessageType::Ack | MessageType::Nak)
    }

    /// Reads a message.
    ///
    /// `Option`: an option whose length or value is not that of its code, or a message type that is missing or stands
    /// in a message of the other direction. `Field`: hardware other than Ethernet.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, Malformed> {
        if packet.hardware_type() != 1 || packet.hardware_len() != 6 {
            return Err(Malformed::Field(packet.hardware_type().into()));
        }
        let mut message_type = None;
        let mut repr = Self {
            secs: packet.secs(),
            broadcast: packet.flags() & BROADCAST_FLAG != 0,
            ciaddr: packet.ciaddr(),
            yiaddr: packet.yiaddr(),
            siaddr: packet.siaddr(),
            giaddr: packet.giaddr(),
            ..Self::new(MessageType::Discover, packet.xid(), packet.chaddr())
        };
        let mut routes = LongOption::default();
        for option in packet.options() {
            let DhcpOption { code, value } = option?;
            let taken = match code {
                option::MESSAGE_TYPE => {
                    message_type = message_type.or(match *value {
                        [n @ 1..=8] => Some(MessageType::ALL[usize::from(n) - 1]),
                        _ => return Err(Malformed::Option(code)),
                    });
                    Some(())
                }
                option::CLASSLESS_ROUTES => routes.append(value),
                _ => repr.set(code, value),
            };
            taken.ok_or(Malformed::Option(code))?;
        }
        repr.message_type = message_type.ok_or(Malformed::Option(option::MESSAGE_TYPE))?;
        if packet.operation() != if repr.is_reply() { 2 } else { 1 } {
            return Err(Malformed::Option(option::MESSAGE_TYPE));
        }
        parse_routes(routes.value(), &mut repr.routes).ok_or(Malformed::Option(option::CLASSLESS_ROUTES))?;
        Ok(repr)
    }

    /// Takes one option. `None`: its length or value is not that of its code.
    fn set(&mut self, code: u8, value: &'a [u8]) -> Option<()> {
        match code {
            option::SERVER_IDENTIFIER => first(&mut self.server_identifier, address(value)?),
            option::REQUESTED_ADDRESS => first(&mut self.requested_address, address(value)?),
            option::LEASE_TIME => first(&mut self.lease_time, number(value)?),
            option::RENEWAL_TIME => first(&mut self.renewal_time, number(value)?),
            option::REBINDING_TIME => first(&mut self.rebinding_time, number(value)?),
            option::SUBNET_MASK => {
                let mask = address(value)?.to_bits();
                // RFC 950 allows gaps, nothing has supported them since RFC 1519.
                if mask.leading_ones() + mask.trailing_zeros().min(32) < 32 {
                    return None;
                }
                first(&mut self.prefix_len, mask.leading_ones() as u8);
            }
            option::ROUTER => addresses(&mut self.routers, value)?,
            option::DOMAIN_NAME_SERVER => addresses(&mut self.name_servers, value)?,
            option::NTP_SERVERS => addresses(&mut self.ntp_servers, value)?,
            option::INTERFACE_MTU => {
                let mtu = u16::from_be_bytes(value.try_into().ok()?);
                first(&mut self.mtu, (mtu >= 68).then_some(mtu)?);
            }
            option::MAX_MESSAGE_SIZE => {
                let size = u16::from_be_bytes(value.try_into().ok()?);
                first(&mut self.max_message_size, (size >= 576).then_some(size)?);
            }
            option::HOST_NAME => first(&mut self.host_name, not_empty(value)?),
            option::DOMAIN_NAME => first(&mut self.domain_name, not_empty(value)?),
            option::CLIENT_IDENTIFIER => {
                first(&mut self.client_identifier, (value.len() >= 2).then_some(value)?)
            }
            option::PARAMETER_REQUEST_LIST => first(&mut self.parameter_request_list, not_empty(value)?),
            _ => {}
        }
        Some(())
    }

    /// Writes the message and returns its length, at least [`MIN_LEN`]. `None`: the buffer is too short for all of
    /// it, or a value is longer than an option can be; the buffer's content is then of no use.
    ///
    /// 576 octets are enough for any message but one whose names are long.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Option<usize> {
        let octets = packet.buffer.as_mut();
        octets.fill(0);
        let mut options = OptionWriter { rest: octets.get_mut(HEADER_LEN..)?, written: 0 };
        self.emit_options(&mut options)?;
        let len = (HEADER_LEN + options.written).max(MIN_LEN);
        if packet.buffer.as_ref().len() < len {
            return None;
        }
        packet.set_operation(if self.is_reply() { 2 } else { 1 });
        packet.set_hardware_type(1);
        packet.set_hardware_len(6);
        packet.set_xid(self.xid);
        packet.set_secs(self.secs);
        packet.set_flags(if self.broadcast { BROADCAST_FLAG } else { 0 });
        packet.set_ciaddr(self.ciaddr);
        packet.set_yiaddr(self.yiaddr);
        packet.set_siaddr(self.siaddr);
        packet.set_giaddr(self.giaddr);
        packet.set_chaddr(self.chaddr);
        packet.set_magic(MAGIC);
        Some(len)
    }

    fn emit_options(&self, options: &mut OptionWriter<'_>) -> Option<()> {
        options.put(option::MESSAGE_TYPE, &[self.message_type as u8])?;
        for (code, address) in [
            (option::SERVER_IDENTIFIER, self.server_identifier),
            (option::REQUESTED_ADDRESS, self.requested_address),
            (option::SUBNET_MASK, self.prefix_len.map(mask)),
        ] {
            if let Some(address) = address {
                options.put(code, &address.octets())?;
            }
        }
        for (code, seconds) in [
            (option::LEASE_TIME, self.lease_time),
            (option::RENEWAL_TIME, self.renewal_time),
            (option::REBINDING_TIME, self.rebinding_time),
        ] {
            if let Some(seconds) = seconds {
                options.put(code, &seconds.to_be_bytes())?;
            }
        }
        for (code, octets) in
            [(option::INTERFACE_MTU, self.mtu), (option::MAX_MESSAGE_SIZE, self.max_message_size)]
        {
            if let Some(octets) = octets {
                options.put(code, &octets.to_be_bytes())?;
            }
        }
        for (code, list) in [
            (option::ROUTER, &self.routers),
            (option::DOMAIN_NAME_SERVER, &self.name_servers),
            (option::NTP_SERVERS, &self.ntp_servers),
        ] {
            if !list.is_empty() {
                options.begin(code, 4 * list.len())?;
                list.iter().try_for_each(|address| options.raw(&address.octets()))?;
            }
        }
        if !self.routes.is_empty() {
            let len = self.routes.iter().map(|route| 5 + route.prefix_len.div_ceil(8) as usize).sum();
            options.begin(option::CLASSLESS_ROUTES, len)?;
            for route in self.routes.iter() {
                options.raw(&[route.prefix_len])?;
                options.raw(&route.network.octets()[..route.prefix_len.div_ceil(8).min(4) as usize])?;
                options.raw(&route.router.octets())?;
            }
        }
        for (code, value) in [
            (option::HOST_NAME, self.host_name),
            (option::DOMAIN_NAME, self.domain_name),
            (option::CLIENT_IDENTIFIER, self.client_identifier),
            (option::PARAMETER_REQUEST_LIST, self.parameter_request_list),
        ] {
            if let Some(value) = value {
                options.put(code, value)?;
            }
        }
        options.raw(&[option::END])
    }
}

/// Writes options one behind the other. `None`: no room, or too long for an option.
struct OptionWriter<'a> {
    rest: &'a mut [u8],
    written: usize,
}

impl OptionWriter<'_> {
    fn put(&mut self, code: u8, value: &[u8]) -> Option<()> {
        self.begin(code, value.len())?;
        self.raw(value)
    }

    fn begin(&mut self, code: u8, len: usize) -> Option<()> {
        self.raw(&[code, u8::try_from(len).ok()?])
    }

    fn raw(&mut self, octets: &[u8]) -> Option<()> {
        let (head, tail) = core::mem::take(&mut self.rest).split_at_mut_checked(octets.len())?;
        head.copy_from_slice(octets);
        self.rest = tail;
        self.written += octets.len();
        Some(())
    }
}

/// An option put together from its parts (RFC 3396), as far as there is room.
struct LongOption {
    octets: [u8; 9 * MAX_ROUTES],
    len: usize,
}

impl Default for LongOption {
    fn default() -> Self {
        Self { octets: [0; 9 * MAX_ROUTES], len: 0 }
    }
}

impl LongOption {
    /// `None`: there is no room.
    fn append(&mut self, part: &[u8]) -> Option<()> {
        self.octets.get_mut(self.len..self.len + part.len())?.copy_from_slice(part);
        self.len += part.len();
        Some(())
    }

    fn value(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// Reads classless routes (RFC 3442). `None`: a prefix longer than 32 bits, or a route that is cut.
fn parse_routes(mut octets: &[u8], routes: &mut List<Route, MAX_ROUTES>) -> Option<()> {
    while let [prefix_len @ 0..=32, ref rest @ ..] = *octets {
        let (significant, rest) = rest.split_at_checked(prefix_len.div_ceil(8).into())?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut network = [0; 4];
        network[..significant.len()].copy_from_slice(significant);
        // Bits behind the prefix must be taken as 0.
        let network = Ipv4Addr::from_bits(u32::from_be_bytes(network) & mask(prefix_len).to_bits());
        // More routes than are kept are left out.
        routes.push(Route { network, prefix_len, router: Ipv4Addr::from(*router) });
        octets = rest;
    }
    octets.is_empty().then_some(())
}

fn mask(prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32_u32.saturating_sub(prefix_len.into())).unwrap_or(0))
}

fn first<V>(slot: &mut Option<V>, value: V) {
    slot.get_or_insert(value);
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

fn addresses(list: &mut Addresses, value: &[u8]) -> Option<()> {
    let (chunks, []) = value.as_chunks::<4>() else { return None };
    if chunks.is_empty() {
        return None;
    }
    list.extend(chunks.iter().map(|octets| Ipv4Addr::from(*octets)));
    Some(())
}

fn not_empty(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    /// An ACK with these options.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut octets = std::vec![0; HEADER_LEN];
        octets[..3].copy_from_slice(&[2, 1, 6]);
        octets[236..240].copy_from_slice(&MAGIC.to_be_bytes());
        octets.extend_from_slice(&[53, 1, 5]);
        octets.extend_from_slice(options);
        octets
    }

    fn refused(options: &[u8], code: u8) {
        let octets = message(options);
        let packet = Packet::new_checked(&octets).unwrap();
        assert_eq!(Repr::parse(&packet), Err(Malformed::Option(code)), "{options:?}");
    }

    #[test]
    fn what_is_emitted_is_parsed() {
        let mut repr = Repr::new(MessageType::Ack, 0x1234_5678, MAC);
        repr.broadcast = true;
        repr.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        repr.server_identifier = Some(Ipv4Addr::new(10, 0, 2, 2));
        repr.lease_time = Some(86_400);
        repr.prefix_len = Some(24);
        repr.routers.push(Ipv4Addr::new(10, 0, 2, 2));
        repr.name_servers.extend([Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(9, 9, 9, 9)]);
        for prefix_len in [0, 1, 8, 9, 24, 25, 32] {
            let network = Ipv4Addr::from_bits(0xc0a8_ffff & mask(prefix_len).to_bits());
            repr.routes.push(Route { network, prefix_len, router: Ipv4Addr::new(10, 0, 2, 7) });
        }
        repr.mtu = Some(1400);
        repr.domain_name = Some(b"example.org");
        let mut octets = [0xaa; 576];
        let len = repr.emit(&mut Packet::new_unchecked(&mut octets[..])).unwrap();
        let packet = Packet::new_checked(&octets[..len]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(repr));
        assert_eq!(repr.emit(&mut Packet::new_unchecked(&mut octets[..299])), None);
    }

    #[test]
    fn overload_reads_file_then_sname() {
        let mut octets = message(&[52, 1, 3, 255, 12, 1, b'x']);
        octets[108..115].copy_from_slice(&[3, 4, 10, 0, 0, 1, 255]);
        octets[44..50].copy_from_slice(&[3, 4, 10, 0, 0, 2]);
        octets[50..53].copy_from_slice(&[52, 1, 3]);
        let packet = Packet::new_checked(&octets).unwrap();
        let repr = Repr::parse(&packet).unwrap();
        assert_eq!(*repr.routers, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(repr.host_name, None, "it stands behind the end");
    }

    #[test]
    fn classless_routes_in_two_parts() {
        // The route's octets are split in the middle of an address (RFC 3396 § 5).
        let octets = message(&[121, 4, 8, 10, 192, 0, 121, 2, 2, 1, 255]);
        let repr =
            Packet::new_checked(&octets).map(|packet| *Repr::parse(&packet).unwrap().routes.first().unwrap());
        let route =
            Route { network: Ipv4Addr::new(10, 0, 0, 0), prefix_len: 8, router: Ipv4Addr::new(192, 0, 2, 1) };
        assert_eq!(repr, Ok(route));
    }

    #[test]
    fn impossible_options_are_refused() {
        refused(&[53], 53);
        refused(&[51, 3, 0, 0, 0], 51);
        refused(&[51, 4, 0, 0, 0], 51);
        refused(&[1, 4, 255, 0, 255, 0], 1);
        refused(&[3, 0], 3);
        refused(&[3, 5, 1, 2, 3, 4, 5], 3);
        refused(&[26, 2, 0, 67], 26);
        refused(&[52, 1, 4], 52);
        refused(&[121, 1, 33], 121);
        refused(&[121, 5, 8, 10, 1, 2, 3], 121);
    }

    #[test]
    fn a_message_without_a_type_is_not_dhcp() {
        let mut octets = message(&[]);
        octets[240] = 0;
        octets[241] = 0;
        octets[242] = 0;
        let packet = Packet::new_checked(&octets).unwrap();
        assert_eq!(Repr::parse(&packet), Err(Malformed::Option(53)));
        octets[0] = 1;
        octets[240..243].copy_from_slice(&[53, 1, 5]);
        let packet = Packet::new_checked(&octets).unwrap();
        assert_eq!(Repr::parse(&packet), Err(Malformed::Option(53)), "a client does not acknowledge");
    }
}
