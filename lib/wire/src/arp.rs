//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use core::net::Ipv4Addr;

use crate::ethernet::EtherType;
use crate::{MacAddr, Malformed};

/// Octets of a packet.
pub const LEN: usize = 28;

/// Hardware type of Ethernet.
const HARDWARE_ETHERNET: u16 = 1;

view! {
    /// An ARP packet for IPv4 over Ethernet.
    Packet {
        /// Kind of hardware address: 1 is Ethernet.
        hardware_type, set_hardware_type: u16 = 0;
        /// Kind of protocol address.
        protocol_type, set_protocol_type: EtherType = 2;
        /// Octets of a hardware address.
        hardware_len, set_hardware_len: u8 = 4;
        /// Octets of a protocol address.
        protocol_len, set_protocol_len: u8 = 5;
        /// Request (1) or reply (2).
        operation, set_operation: u16 = 6;
        /// Sender's hardware address.
        sender_mac, set_sender_mac: MacAddr = 8;
        /// Sender's address.
        sender_ip, set_sender_ip: Ipv4Addr = 14;
        /// Target's hardware address; not looked at in requests.
        target_mac, set_target_mac: MacAddr = 18;
        /// Target's address.
        target_ip, set_target_ip: Ipv4Addr = 24;
    }
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Wraps an Ethernet payload; padding may follow. `Ok`: no accessor panics.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer })
    }
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// The packet's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// What is said.
    pub operation: Operation,
    /// Sender's hardware address: one station.
    pub sender_mac: MacAddr,
    /// Sender's address; unspecified in a probe (RFC 5227 § 1.1).
    pub sender_ip: Ipv4Addr,
    /// Target's hardware address.
    pub target_mac: MacAddr,
    /// Target's address.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Reads a packet. `Field`: other hardware, other protocol, other operation, or a group as sender.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        if packet.hardware_type() != HARDWARE_ETHERNET {
            return Err(Malformed::Field(packet.hardware_type().into()));
        }
        if packet.protocol_type() != EtherType::IPV4 {
            return Err(Malformed::Field(packet.protocol_type().0.into()));
        }
        if packet.hardware_len() != 6 || packet.protocol_len() != 4 {
            return Err(Malformed::Length(packet.hardware_len().into()));
        }
        let operation = match packet.operation() {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(Malformed::Field(other.into())),
        };
        if !packet.sender_mac().is_unicast() {
            return Err(Malformed::Field(packet.sender_mac().0[0].into()));
        }
        Ok(Self {
            operation,
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        })
    }

    /// Writes the packet; the buffer has at least [`LEN`] octets.
    pub fn emit<T: AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_hardware_type(HARDWARE_ETHERNET);
        packet.set_protocol_type(EtherType::IPV4);
        packet.set_hardware_len(6);
        packet.set_protocol_len(4);
        packet.set_operation(match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        });
        packet.set_sender_mac(self.sender_mac);
        packet.set_sender_ip(self.sender_ip);
        packet.set_target_mac(self.target_mac);
        packet.set_target_ip(self.target_ip);
    }
}
